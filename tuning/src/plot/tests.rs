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

fn some_speeds() -> Speeds {
    let bar = |program: &str, median: f64| {
        let (slowest, fastest) = (median * 0.95, median * 1.02);
        Bar { program: program.into(), median, slowest, fastest }
    };
    let test = |name: &str, roofline, ours, theirs| TestSpeeds {
        name: name.into(),
        roofline,
        bars: vec![bar("tritune", ours), bar("llama.cpp", theirs)],
    };
    let model = |name: &str, roofline| ModelSpeeds {
        name: name.into(),
        what: "bitnet 2.41 B I2_S, 1.18 GB".into(),
        prompts: vec![test("pp512, 1 thread", None, 44.2, 25.1), test("pp512, 2 threads", None, 71.3, 44.0)],
        generations: vec![
            test("tg128, 1 thread", Some(12.6 * roofline), 8.31, 6.4),
            test("tg128, 2 threads", Some(21.9 * roofline), 14.9, 9.7),
        ],
    };
    Speeds {
        machine: example().machine,
        date: "2026-02-03T04:05:06Z".into(),
        command: "cargo xtask bench --peer llama.cpp=llama-bench".into(),
        versions: "tritune 0.1.0; llama.cpp build 6178".into(),
        remark: "medians of 5 rounds".into(),
        models: vec![model("2b4t", 1.0), model("3b", 0.9)],
    }
}

#[test]
fn speeds_are_shown_program_by_program() {
    let picture = speeds(&some_speeds()).unwrap();
    let words = words(&picture);
    let machine = crate::text::printable(&example().machine.model, 60);
    for expected in [
        &format!("Tokens per second: {machine}"),
        "medians of 5 rounds",
        "tritune 0.1.0; llama.cpp build 6178",
        "prompt, tokens/s",
        "generation, tokens/s",
        "tg128, 2 threads",
        "llama.cpp",
        "71.3",
        "14.9",
        "68 %",
        "21.9",
        "what memory allows: its bandwidth ÷ bytes that a token reads",
    ] {
        assert!(words.contains(expected), "{expected}\n{words}");
    }
    let document = Document::parse(&picture).unwrap();
    let fills = |colour: RGBColor| {
        let hex = format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
        document.descendants().filter(|node| node.attribute("fill") == Some(&hex)).count()
    };
    // Four tests of two models, and the legend.
    assert_eq!((fills(BLUE), fills(RGBColor(0xe6, 0x9f, 0x00))), (9, 9));
}

#[test]
fn hostile_speeds_are_drawn_within_the_paper() {
    let mut hostile = some_speeds();
    hostile.remark = "\u{0}<&".repeat(10_000);
    let model = &mut hostile.models[0];
    model.name = "</text>".repeat(1000);
    model.what = "\u{ffff}]]>".repeat(1000);
    model.prompts[0].name = "x".repeat(1000);
    model.prompts[0].bars[0].median = f64::NAN;
    model.prompts[1].bars[0].fastest = f64::INFINITY;
    model.prompts[1].bars[1].slowest = -1.0;
    model.generations[0].roofline = Some(f64::NAN);
    model.generations[1].roofline = Some(f64::MAX);
    let all_bad = &mut hostile.models[1].generations;
    all_bad.iter_mut().for_each(|test| {
        test.roofline = None;
        test.bars.iter_mut().for_each(|bar| (bar.median, bar.slowest, bar.fastest) = (0.0, f64::INFINITY, 0.0));
    });
    let picture = speeds(&hostile).unwrap();
    assert!(picture.len() < 100_000, "{}", picture.len());
    let document = Document::parse(&picture).unwrap();
    let number = |text: &str| text.parse::<f64>().unwrap();
    let height = number(document.root_element().attribute("height").unwrap());
    for node in document.descendants().filter(|node| node.is_element()) {
        for (name, most) in [("x", 960.0), ("y", height)] {
            assert!(node.attribute(name).is_none_or(|at| (0.0..=most).contains(&number(at))), "{node:?}");
        }
    }
    hostile.models.clear();
    assert!(words(&speeds(&hostile).unwrap()).contains("nothing was measured"));
}
