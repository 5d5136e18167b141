//! The index of a folder like those that searches leave: two machines, twenty candidates and more in every case. Pages and
//! pictures stay in `target/tmp/index`, to be looked at.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roxmltree::Document;
use tritune_codegen::{Isa, KernelId, Method, Op, Schedule, Weights};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::cost::{self, Cost, Roofline, Verdict};
use tritune_tuning::index::{Index, PAGE};
use tritune_tuning::machine::{Cache, Machine};
use tritune_tuning::pick::{self, Weighting};
use tritune_tuning::results::{Bandwidth, Results, SCHEMA, Sample, Source};
use tritune_tuning::shapes::{Model, Shape};
use tritune_tuning::space::{self, Effort, Space};

fn machine(id: &str, model: &str, cores: usize, isas: &[Isa]) -> Machine {
    Machine {
        id: id.into(),
        model: model.into(),
        microarchitecture: "x86_64 AuthenticAMD family 26 model 2".into(),
        stepping: 1,
        os: "linux".into(),
        virtualised: Some(true),
        cores,
        isas: isas.iter().map(Isa::to_string).collect(),
        features: ["avx2", "avx512f", "avx512_vnni"].map(String::from).into(),
        caches: vec![Cache { level: 1, bytes: 48 << 10 }, Cache { level: 2, bytes: 1 << 20 }],
    }
}

/// Seconds that a candidate might take: bytes over bandwidth or instructions over clock, whichever is more, and a spread
/// of its own.
fn seconds(case: &Case, kernel: &KernelId, bandwidth: f64, rng: &mut SmallRng) -> f64 {
    let cost = Cost::of(kernel, &[case.shape]);
    let products = case.m as f64 * case.shape.weights() as f64;
    let tokens = (case.m as f64 / f64::from(kernel.tile.mr)).ceil();
    let passes = if case.op == Op::Gemv { 1.0 } else { tokens / case.shape.n as f64 };
    let memory = passes * kernel.layout().bytes(case.shape.n, case.shape.k) as f64 / (bandwidth * 1e9);
    let compute = products * cost.instructions / (9e9 * case.threads as f64);
    let luck = 1.0 + rng.random_range(0.0f64..1.0).powi(3);
    2e-6 + memory.max(compute).max(1e-9) * luck * if kernel.weights == Weights::T167 { 1.05 } else { 1.0 }
}

/// What a search on `machine` might have left.
fn search(machine: Machine, isas: &[Isa], shapes: &[Shape], threads: &[usize]) -> Results {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut candidates: Vec<KernelId> = space::defaults(isas.iter().copied()).unwrap();
    for isa in isas {
        let space = Space::for_isa(*isa).unwrap();
        let all = [space.kernels(Op::Gemv, Effort::Quick), space.kernels(Op::Gemm, Effort::Quick)].concat();
        let measured = cost::prune(&all, &machine, shapes).into_iter();
        let measured =
            measured.filter(|(_, verdict)| matches!(verdict, Verdict::Measured(_))).map(|(kernel, _)| kernel);
        candidates.extend(measured.collect::<Vec<_>>());
    }
    let defaults = space::defaults(isas.iter().copied()).unwrap();
    let mut seen = std::collections::HashSet::new();
    candidates.retain(|kernel| seen.insert(*kernel));
    let mut samples = Vec::new();
    let bandwidth = |threads: usize| 26.0 * (threads as f64).powf(0.5);
    for case in Case::list(shapes, threads, &candidates, &[240]) {
        let mut times: HashMap<KernelId, f64> = HashMap::new();
        let rivals = candidates.iter().filter(|kernel| case.suits(kernel));
        for kernel in rivals.clone() {
            times.insert(*kernel, seconds(&case, kernel, bandwidth(case.threads), &mut rng));
        }
        let best = times.values().copied().fold(f64::INFINITY, f64::min);
        for kernel in rivals {
            let slower = times[kernel] / best;
            let passes = if slower > 1.3 { 4 } else { 24 };
            let times: Vec<f64> = (0..passes).map(|_| times[kernel] * rng.random_range(1.0..1.03)).collect();
            let eliminated = (slower > 1.1).then(|| format!("{:.0} % slower", (slower - 1.0) * 100.0));
            samples.push(Sample { eliminated, ..Sample::new(case, *kernel, &times) });
        }
    }
    samples.sort_by_key(|sample| sample.case);
    let mut picks = pick::choose(&samples, &defaults, Weighting::default());
    for pick in &mut picks {
        // Schedules are compared on what was picked.
        let variants = [(4, 2048), (4, 8192), (2, 4096), (8, 4096)].map(|(pieces, ahead)| Schedule { pieces, ahead });
        for schedule in variants {
            let time = pick.seconds * rng.random_range(0.93..1.2);
            let times: Vec<f64> = (0..8).map(|_| time * rng.random_range(1.0..1.03)).collect();
            samples.push(Sample::new(pick.case, Candidate { kernel: pick.kernel, schedule }, &times));
        }
    }
    let bandwidths: Vec<Bandwidth> =
        threads.iter().map(|&threads| Bandwidth { threads, gigabytes_per_second: bandwidth(threads) * 1.05 }).collect();
    pick::compare(&mut picks, &samples, &Roofline::new(&bandwidths), Weighting::default());
    let measured: BTreeSet<KernelId> = samples.iter().map(|sample| sample.kernel).collect();
    Results {
        schema: SCHEMA,
        complete: true,
        date: "2026-11-25T03:50:00Z".into(),
        command: "cargo xtask tune --quick".into(),
        compiler: "rustc 1.95.0 (59807616e 2026-04-14)".into(),
        machine,
        bandwidths,
        objective: Weighting::default(),
        pool_bytes: 512 << 20,
        load: Some(0.02),
        kernels: measured.into_iter().map(|name| Source { name, source: "0123456789abcdef".into() }).collect(),
        picks,
        crossovers: Vec::new(),
        samples,
    }
}

#[test]
fn a_folder_of_searches_is_shown_completely() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("index");
    fs::create_dir_all(&folder).unwrap();
    let shapes: Vec<Shape> = Model::named("bitnet-b1.58-2b4t").unwrap().shapes().collect();
    let epyc = machine("amd-epyc-9555-f26m2-2c", "AMD EPYC 9555 64-Core Processor", 2, &[Isa::Avx512Vnni]);
    let isas = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni];
    let laptop = machine("intel-i7-1165g7-8c", "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", 8, &isas);
    let small = ["256x256", "128x256", "768x256", "256x768"].map(|shape| shape.parse().unwrap());
    let mut all = [
        search(epyc, &[Isa::Avx512Vnni], &[&shapes[..], &small].concat(), &[1, 2]),
        search(laptop, &isas, &shapes, &[1, 4, 8]),
    ];
    // A default that should have stayed.
    let Results { picks, samples, .. } = &mut all[1];
    let other = |sample: &&Sample| sample.case == picks[0].case && sample.kernel != picks[0].kernel;
    picks[0].default = samples.iter().find(other).map(|sample| sample.kernel);
    picks[0].default_seconds = Some(0.9 * picks[0].seconds);
    for results in &all {
        results.save(&folder.join(results.file_name())).unwrap();
    }
    let index = Index::of(&all).unwrap();
    index.write(&folder).unwrap();
    assert!(index.outdated(&folder).unwrap().is_empty());

    let page = fs::read_to_string(folder.join(PAGE)).unwrap();
    for results in &all {
        for pick in &results.picks {
            assert!(page.contains(&pick.kernel.to_string()), "{}", pick.kernel);
        }
        let folder = folder.join(&results.machine.id);
        let mut circles = Vec::new();
        for picture in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(picture.unwrap().path()).unwrap();
            let document = Document::parse(&text).unwrap();
            circles.push(document.descendants().filter(|node| node.has_tag_name("circle")).count());
        }
        assert_eq!(circles.len(), 3, "three pictures");
        // Those that fall on each other are drawn once; the gains have none.
        assert_eq!(circles.iter().filter(|count| **count > results.samples.len() / 3).count(), 2, "{circles:?}");
        assert!(results.samples.iter().any(|sample| sample.kernel.method != Method::Dot), "more than one colour");
    }
}
