//! How near kernels come to what the machine can do: a gemv to a plain read of as many bytes, a gemm to its own peak.
//!
//! Each round times every kernel once, and between them a read of as many bytes by the same threads: what is printed are
//! medians over rounds, and medians of the ratios within rounds. Weights are cold in every pass, tables for lookups are
//! built in every pass, and every kernel is compared with the reference before it is timed. A `--pool` of fewer bytes shows
//! what kernels do from caches.
//!
//! ```text
//! cargo bench -p tritune --bench limits -- [--shape NxK]… [--threads 1,2] [--rounds R] [--tokens M] [--pool BYTES] KERNEL…
//! ```

use std::process::ExitCode;

use tritune::kernels::{KERNELS, Kernel, KernelId, Op, Runnable};
use tritune::threads::Pool;
use tritune::tune::{Bench, Stream, cold_pool};
use tritune_tuning::case::Case;
use tritune_tuning::machine::Machine;
use tritune_tuning::search::Measure;
use tritune_tuning::shapes::Shape;

/// Layers of BitNet b1.58 2B4T.
const SHAPES: [&str; 3] = ["2560x2560", "6912x2560", "2560x6912"];
/// Bytes that a read goes through: as many as a pass of kernels, to within a matrix.
const READ: usize = 32 << 20;
/// Tokens of a gemm.
const TOKENS: usize = 512;

struct Arguments {
    shapes: Vec<Shape>,
    threads: Vec<usize>,
    rounds: usize,
    tokens: usize,
    pool: Option<usize>,
    kernels: Vec<KernelId>,
}

fn arguments() -> Result<Arguments, String> {
    let mut found =
        Arguments { shapes: vec![], threads: vec![1, 2], rounds: 15, tokens: TOKENS, pool: None, kernels: vec![] };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text} is not a number"));
        match word.as_str() {
            "--shape" => found.shapes.push(value()?.parse().map_err(|error| format!("{error}"))?),
            "--threads" => found.threads = value()?.split(',').map(number).collect::<Result<_, _>>()?,
            "--rounds" => found.rounds = number(&value()?)?.max(1),
            "--tokens" => found.tokens = number(&value()?)?.max(1),
            "--pool" => found.pool = Some(number(&value()?)?),
            name => found.kernels.push(name.parse().map_err(|error| format!("{error}"))?),
        }
    }
    if found.shapes.is_empty() {
        found.shapes = SHAPES.iter().filter_map(|shape| shape.parse().ok()).collect();
    }
    Ok(found)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let kernels: Vec<Runnable> = KERNELS.iter().filter_map(Kernel::detect).collect();
    let chosen = |id: &KernelId| arguments.kernels.is_empty() || arguments.kernels.contains(id);
    let ids: Vec<KernelId> = kernels.iter().map(Runnable::id).filter(chosen).collect();
    if let Some(missing) = arguments.kernels.iter().find(|id| !ids.contains(id)) {
        return Err(format!("{missing} is not compiled in, or this machine does not run it"));
    }
    let pool_bytes = arguments.pool.unwrap_or_else(|| cold_pool(&Machine::detect([])));
    let mut stream = Stream::default();
    println!("| shape | threads | kernel | m | µs | GB/s | of read | Gweights/s | GMAC/s |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for &threads in &arguments.threads {
        let pool = Pool::new(threads);
        for &shape in &arguments.shapes {
            let mut bench = Bench::new(&kernels, pool_bytes);
            for op in [Op::Gemv, Op::Gemm] {
                let tokens = |id: &KernelId| if op == Op::Gemv { id.tile.mr.into() } else { arguments.tokens };
                let contenders: Vec<KernelId> = ids.iter().copied().filter(|id| id.op == op).collect();
                let mut times: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); contenders.len()];
                // Work is prepared for one number of tokens at a time.
                let mut counts: Vec<usize> = contenders.iter().map(tokens).collect();
                counts.sort_unstable();
                counts.dedup();
                for m in counts {
                    let case = Case { shape, threads, op, m };
                    let of_case = || contenders.iter().enumerate().filter(|(_, id)| tokens(id) == m);
                    for (_, id) in of_case() {
                        bench
                            .pack((*id).into(), &case)
                            .and_then(|()| bench.check((*id).into(), &case))
                            .map_err(|error| format!("{id}: {error}"))?;
                    }
                    for _ in 0..arguments.rounds {
                        for (i, id) in of_case() {
                            let read = READ as f64 / stream.read(&pool, READ);
                            let seconds = bench.time((*id).into(), &case).map_err(|error| format!("{id}: {error}"))?;
                            let bytes = id.layout().bytes(shape.n, shape.k) as f64;
                            times[i].0.push(seconds);
                            times[i].1.push(bytes / seconds / read);
                        }
                    }
                    for (i, id) in of_case() {
                        let (seconds, ratio) = (median(&mut times[i].0), median(&mut times[i].1));
                        let (bytes, weights) = (id.layout().bytes(shape.n, shape.k) as f64, shape.weights() as f64);
                        println!(
                            "| {shape} | {threads} | {id} | {m} | {:.1} | {:.2} | {:.1} % | {:.1} | {:.0} |",
                            seconds * 1e6,
                            bytes / seconds / 1e9,
                            ratio * 100.0,
                            weights / seconds / 1e9,
                            weights * m as f64 / seconds / 1e9
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| measure(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
