//! The tuner with real kernels: what it measures is right, complete, and saved as it is read again.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tritune::kernels::Isa;
use tritune::tune::Tuning;
use tritune_tuning::pick::Weighting;
use tritune_tuning::results::Results;

fn tuning(seconds: f64) -> Tuning {
    Tuning {
        shapes: vec!["96x320".parse().expect("a shape")],
        threads: vec![1],
        isas: vec![],
        budget: Duration::from_secs_f64(seconds),
        objective: Weighting::default(),
        pool_bytes: Some(1 << 20),
        command: "a test".into(),
    }
}

#[test]
fn a_short_search_picks_for_every_shape() {
    let results = tuning(120.0).run(&AtomicBool::new(false), &mut ()).expect("there are kernels");
    assert!(results.complete);
    let failed: Vec<_> = results.samples.iter().filter_map(|sample| sample.failed.as_ref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(results.picks.iter().any(|pick| pick.case.m == 1), "no pick for decoding");
    assert!(results.picks.iter().any(|pick| pick.case.m > 8), "no pick for prompts");
    for pick in &results.picks {
        assert!(Isa::best_here().contains(&pick.kernel.isa));
        assert_eq!(pick.kernel.layout(), results.picks[0].kernel.layout(), "one tensor, one layout");
    }
    // The compiled-in hashes are those of the generator that compiled them.
    results.check(|kernel| kernel.source_hash().ok()).expect("measured today");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(results.file_name());
    results.save(&path).expect("saved");
    assert_eq!(Results::load(&path).expect("read again").picks, results.picks);
}

#[test]
fn an_interrupt_says_that_results_are_not_complete() {
    let results = tuning(5.0).run(&AtomicBool::new(true), &mut ()).expect("there are kernels");
    assert!(!results.complete);
    assert!(results.picks.is_empty());
}

#[test]
fn an_instruction_set_without_kernels_here_is_refused() {
    let missing = Isa::ALL.into_iter().find(|isa| !isa.detected());
    let Some(isa) = missing else { return println!("skipped: this machine runs every instruction set") };
    let error = Tuning { isas: vec![isa], ..tuning(0.1) }.run(&AtomicBool::new(false), &mut ()).unwrap_err();
    assert!(error.to_string().contains(isa.name()), "{error}");
}
