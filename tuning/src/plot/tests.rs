use roxmltree::Document;

use super::*;
use crate::results::tests::example;

/// The words on a picture.
fn words(picture: &str) -> String {
    let document = Document::parse(picture).unwrap();
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.filter_map(|node| node.text()).map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn pictures_are_xml_with_title_units_and_origin() {
    let results = example();
    for (draw, title, labels) in [
        (
            roofline as Draw,
            "Roofline",
            &["rate, GMAC/s", "arithmetic intensity, multiply-adds a byte of weights", "2 threads", "t200 dot"][..],
        ),
        (parameters, "Time per parameter", &["time ÷ best of its case", "accumulators", "throughout nr 16, kb 64"]),
        (
            gains,
            "Tuned against default",
            &["150 → 125", "1.20", "default → tuned, µs", "2560x6912", "the default stays"],
        ),
    ] {
        let picture = draw(&results).unwrap();
        let words = words(&picture);
        let title = format!("{title}: {}", crate::text::printable(&results.machine.model, 60));
        let small = format!("{} · {} · {}", results.date, results.command, results.compiler);
        let head = "amd-epyc-2c · ";
        for expected in labels.iter().copied().chain([title.as_str(), &small, head]) {
            assert!(words.contains(expected), "{expected}\n{words}");
        }
        let document = Document::parse(&picture).unwrap();
        let root = document.root_element();
        let paper = root.children().find(|node| node.is_element()).unwrap();
        assert_eq!((paper.tag_name().name(), paper.attribute("fill")), ("rect", Some("#FFFFFF")), "white paper");
        assert_eq!(paper.attribute("height"), root.attribute("height"));
    }
}

#[test]
fn the_same_results_give_the_same_bytes() {
    for picture in PICTURES {
        assert_eq!((picture.draw)(&example()).unwrap(), (picture.draw)(&example()).unwrap(), "{}", picture.file);
    }
}

#[test]
fn without_measurements_pictures_say_so() {
    let mut results = example();
    results.picks.clear();
    results.samples.clear();
    for picture in PICTURES {
        let words = words(&(picture.draw)(&results).unwrap());
        assert!(words.contains("nothing was "), "{words}");
    }
}

/// What validation lets pass may still be absurd.
#[test]
fn hostile_results_are_drawn_within_the_paper() {
    let mut results = example();
    results.machine.model = "<script>\u{0}\u{1b}]]>&".repeat(10_000);
    results.command = "\u{ffff}\n\"'".repeat(10_000);
    results.picks[0].seconds = f64::MIN_POSITIVE / 4.0;
    results.picks[0].error = Some(f64::MAX);
    results.picks[1].default_seconds = Some(f64::MAX);
    results.picks[1].regret = f64::MAX;
    results.samples[0].times = vec![f64::MIN_POSITIVE, f64::MIN_POSITIVE];
    results.samples[1].times = vec![f64::MAX, f64::MAX];
    results.samples[1].eliminated = None;
    results.bandwidths[0].gigabytes_per_second = f64::MAX;
    for case in results.samples.iter_mut().map(|sample| &mut sample.case).filter(|case| case.m == 128) {
        case.m = usize::MAX;
        case.threads = usize::MAX;
    }
    for picture in PICTURES {
        let picture = (picture.draw)(&results).unwrap();
        assert!(picture.len() < 100_000, "{}", picture.len());
        let document = Document::parse(&picture).unwrap();
        let number = |text: &str| text.parse::<f64>().unwrap();
        let height = number(document.root_element().attribute("height").unwrap());
        for node in document.descendants().filter(|node| node.is_element()) {
            for (name, most) in
                [("cx", 960.0), ("x1", 960.0), ("x", 960.0), ("cy", height), ("y1", height), ("y", height)]
            {
                if let Some(at) = node.attribute(name) {
                    assert!((0.0..=most).contains(&number(at)), "{node:?}");
                }
            }
        }
    }
}

#[test]
fn no_two_families_share_a_colour() {
    let families = || Weights::NAMES.iter().flat_map(|(w, _)| Method::NAMES.iter().map(move |(m, _)| (*w, *m)));
    for one in families() {
        for other in families().filter(|other| *other != one) {
            assert_ne!(colour(one), colour(other), "{one:?} {other:?}");
        }
    }
}
