//! Kernels timed on this machine for the shapes of a model, before it is loaded. Some seconds here, and what wins is shown;
//! `tritune tune` does the same, longer and with more care, and keeps it for every later load.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tritune::gguf::File;
use tritune::model::Model;
use tritune::threads;
use tritune::tune::Tuning;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/austen-5m-i2_s.gguf");

fn main() -> Result<(), tritune::Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| DEMO.into());
    let tuning = Tuning {
        // Small enough for a demonstration: caches hold some of it.
        pool_bytes: Some(16 << 20),
        ..Tuning::of_file(&File::open(&path)?, threads::available(), Duration::from_secs(10))
    };
    let results = tuning.run(&AtomicBool::new(false), &mut ())?;
    for pick in &results.picks {
        println!("{}: {} in {:.1} µs", pick.case, pick.candidate(), 1e6 * pick.seconds);
    }
    assert!(!results.picks.is_empty(), "the time was too short");
    println!("{:?} runs on {} threads", Model::load(&path)?.path(), threads::available());
    Ok(())
}
