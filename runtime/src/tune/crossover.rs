//! From how many tokens on a gemm computes what it leaves over: one pass for more tokens than there are, against several
//! for fewer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tritune_codegen::{KernelId, Op};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::results::{Crossover, Tail, four_figures};
use tritune_tuning::search::{Observer, Phase, Progress};
use tritune_tuning::stats;

use super::bench::{Bench, BenchError};
use crate::kernels::{Choice, Runnable, Source};

/// Rounds for each number of tokens: of a difference too small for them, either side will do.
const ROUNDS: usize = 7;
/// Bytes of weights that a pass goes through.
const PASS_BYTES: usize = 4 << 20;

/// What went wrong with a kernel.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) case: Case,
    pub(super) kernel: KernelId,
    pub(super) error: BenchError,
}

/// Looks for the crossover by halving, for one gemm costs the same however few tokens there are, and others cost the more
/// the more there are. `kernels` are the picks for a shape and a number of threads. `None` where there is nothing to
/// decide, or the time is up.
pub(super) fn crossover(
    bench: &mut Bench<'_>,
    kernels: &[Runnable],
    case: &Case,
    until: Option<Instant>,
    interrupt: &AtomicBool,
    observer: &mut impl Observer,
) -> Result<Option<Crossover>, Box<Failure>> {
    let source = || kernels.first().map(|kernel| Source::Default(kernel.id().isa));
    let few: Vec<Runnable> = kernels.iter().filter(|kernel| kernel.id().op == Op::Gemv).copied().collect();
    let gemm = kernels.iter().filter(|kernel| kernel.id().op == Op::Gemm).map(Runnable::tokens).min();
    let (Some(source), Some(width)) = (source(), gemm) else { return Ok(None) };
    if few.is_empty() || width < 2 {
        return Ok(None);
    }
    let gemv = Choice::of(few, None, source.clone(), Vec::new());
    let gemm = Choice::of(kernels.to_vec(), Some(1), source, Vec::new());
    let (mut low, mut high, mut tried) = (1, width, Vec::new());
    while high - low > 1 {
        let m = low.midpoint(high);
        let case = Case { op: Op::Gemv, m, ..*case };
        let failure = |choice: &Choice| {
            // The widest takes all of them but what it leaves over.
            let kernel = choice.kernel(m).id();
            move |error| Box::new(Failure { case, kernel, error })
        };
        let mut goes_on = |choice: &Choice, rounds: usize| {
            let time_left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            let kernel = *choice.kernel(m);
            observer.progress(&Progress {
                phase: Phase::Crossing,
                case,
                candidate: Candidate { kernel: kernel.id(), schedule: kernel.schedule() },
                done: 0,
                cases: 1,
                left: high - low - 1,
                rounds,
                leader: None,
                fraction: 1.0 - (high - low) as f64 / width as f64,
                time_left,
            });
            !time_left.is_zero() && !interrupt.load(Ordering::Relaxed)
        };
        for choice in [&gemv, &gemm] {
            if !goes_on(choice, 0) {
                return Ok(None);
            }
            bench.pack_choice(choice, &case).map_err(failure(choice))?;
            bench.check_choice(choice, &case).map_err(failure(choice))?;
        }
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (choice, times) in [&gemv, &gemm].into_iter().zip(&mut times) {
                if !goes_on(choice, round) {
                    return Ok(None);
                }
                times.push(bench.time_choice(choice, &case, PASS_BYTES).map_err(failure(choice))?);
            }
        }
        let [gemv, gemm] = times.map(|times| four_figures(stats::trimmed_mean(&times).unwrap_or(f64::MAX)));
        tried.push(Tail { m, gemv, gemm });
        *if gemm <= gemv { &mut high } else { &mut low } = m;
    }
    tried.sort_by_key(|tail| tail.m);
    Ok(Some(Crossover { shape: case.shape, threads: case.threads, tokens: high, tried }))
}
