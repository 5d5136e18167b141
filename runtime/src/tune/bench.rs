//! One kernel, one case, one pass: the path that a model takes, over weights that are in no cache.

use std::collections::HashMap;
use std::io;
use std::sync::{LazyLock, OnceLock};
use std::time::Instant;

use tritune_codegen::{Isa, Layout, Op};
use tritune_tuning::candidate::Candidate;
use tritune_tuning::case::Case;
use tritune_tuning::machine::Machine;
use tritune_tuning::search::{Excluded, Measure};

use super::copies::Copies;
use crate::kernels::self_check::{self, Fault};
use crate::kernels::{Choice, PackError, Runnable, reference};
use crate::linear::{Activations, LinearError, project};
use crate::quant::trits::{Scales, Trits};
use crate::threads::Pool;

/// A pool of weights is at least this large, as a model is: pools of twice the last-level cache that a virtual machine
/// admits to were seen to be read 1.5 times as fast.
const POOL_BYTES: u64 = 512 << 20;
/// And this many times as large as the last-level cache: each core complex may have one.
const POOL_CACHES: u64 = 4;
/// But not larger than this: caches that large are shared with other machines' cores, and filling pools takes the time that
/// measuring should have.
const POOL_MOST: u64 = 1 << 30;
/// A gemm needs so many caches' worth, and at least so many bytes: it reads weights once in a time in which they could be
/// read a hundred times.
const GEMM_POOL_CACHES: usize = 2;
const GEMM_POOL_BYTES: usize = 32 << 20;
/// Tokens from the first on of which all that is computed is compared with the reference before a kernel is timed: all of the
/// widest tile.
const COMPARED: usize = 32;
/// Bytes of weights that a gemv pass goes through for one token, unless the pool has fewer, and proportionally fewer for more
/// tokens; the next pass goes on from there. A gemm is long enough on one matrix.
const PASS_BYTES: usize = 32 << 20;

/// Bytes of weights that a machine's caches do not hold.
pub fn cold_pool(machine: &Machine) -> usize {
    POOL_BYTES.max(POOL_CACHES * machine.last_level_cache().unwrap_or(0)).min(POOL_MOST) as usize
}

/// The same, as far as a gemm minds.
fn gemm_pool() -> usize {
    static CACHE: LazyLock<u64> = LazyLock::new(|| Machine::detect(Isa::here()).last_level_cache().unwrap_or(0));
    GEMM_POOL_BYTES.max(GEMM_POOL_CACHES * *CACHE as usize)
}

/// Runs candidates for the tuner.
#[derive(Debug)]
pub struct Bench<'a> {
    kernels: &'a [Runnable],
    /// Bytes of a pool of weights.
    pool_bytes: usize,
    threads: Option<Pool>,
    work: Option<Work>,
    excluded: Vec<Excluded>,
}

/// What the candidates of one case share.
#[derive(Debug)]
struct Work {
    case: Case,
    trits: Trits,
    x: Activations,
    y: Vec<f32>,
    /// What the reference computes, all rows: for the first [`COMPARED`] tokens, and last of all for the last token.
    expected: Vec<(usize, Vec<i32>)>,
    /// Matrices to go through, for each layout.
    pools: HashMap<Layout, Copies>,
}

/// Why a candidate is out.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Its integers are not the reference's.
    #[error("token {token}, row {row}: {found} where {expected} is right")]
    Wrong {
        /// Token.
        token: usize,
        /// Output row.
        row: usize,
        /// What it computed.
        found: f32,
        /// What the reference computes.
        expected: i32,
    },
    /// It failed its self-check.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It could not be run.
    #[error(transparent)]
    Linear(#[from] LinearError),
    /// Its weights could not be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// It is not among the kernels at hand.
    #[error("the kernel is not compiled in, or not for this machine")]
    Missing,
    /// There is no memory for weights to go through.
    #[error(
        "no memory for {bytes} bytes of copies of the weights: {source}; use a machine with more, or close other programs"
    )]
    Room {
        /// Bytes.
        bytes: usize,
        /// What the system says.
        source: io::Error,
    },
    /// A pass was asked for that had not been prepared.
    #[error("the case was not prepared")]
    Unprepared,
}

impl<'a> Bench<'a> {
    /// Runs some of `kernels`, over pools of so many bytes of weights.
    pub fn new(kernels: &'a [Runnable], pool_bytes: usize) -> Self {
        Bench { kernels, pool_bytes, threads: None, work: None, excluded: Vec::new() }
    }

    /// Kernels that were seen to compute what is wrong.
    pub(super) fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    /// Takes note of kernels that compute what is wrong.
    pub(super) fn exclude(&mut self, out: impl IntoIterator<Item = Excluded>) {
        self.excluded.extend(out);
    }

    pub(super) fn runnable(&self, Candidate { kernel, schedule }: Candidate) -> Result<Runnable, BenchError> {
        let found = self.kernels.iter().find(|known| known.id() == kernel).ok_or(BenchError::Missing)?;
        Ok(found.scheduled(schedule))
    }

    /// Packs weights for some kernels of one layout.
    pub(super) fn pack_choice(&mut self, choice: &Choice, case: &Case) -> Result<(), BenchError> {
        if self.threads.as_ref().is_none_or(|pool| pool.threads() != case.threads) {
            self.threads = Some(Pool::new(case.threads));
        }
        let Some(pool) = &self.threads else { return Err(BenchError::Unprepared) };
        let work = match self.work.take() {
            Some(work) if work.case == *case => work,
            Some(Work { case: Case { shape, .. }, trits, pools, .. }) if shape == case.shape => {
                Work { pools, ..Work::new(*case, trits, pool)? }
            }
            _ => Work::new(*case, trits(case), pool)?,
        };
        let work = self.work.insert(work);
        let layout = choice.layout();
        if !work.pools.contains_key(&layout) {
            let pool_bytes = match case.op {
                Op::Gemv => self.pool_bytes,
                Op::Gemm => self.pool_bytes.min(gemm_pool()),
            };
            work.pools.insert(layout, Copies::new(&work.trits, layout, pool_bytes, pool)?);
        }
        Ok(())
    }

    /// Compares what some kernels compute for a case, packed before, with the reference.
    pub(super) fn check_choice(&mut self, choice: &Choice, case: &Case) -> Result<(), BenchError> {
        choice.kernels().iter().try_for_each(self_check::check)?;
        self.time_choice(choice, case, 0)?;
        self.work.as_ref().map_or(Ok(()), |work| work.compare(0..work.expected.len()))
    }

    /// Seconds of one product by some kernels, over weights that are in no cache; a pass goes through `bytes` bytes of
    /// them, and the next one goes on from there. What the last product of it comes to for the first token and the last is
    /// compared with the reference.
    pub(super) fn time_choice(&mut self, choice: &Choice, case: &Case, bytes: usize) -> Result<f64, BenchError> {
        let (Some(pool), Some(work)) = (&self.threads, &mut self.work) else { return Err(BenchError::Unprepared) };
        let Some(copies) = work.pools.get_mut(&choice.layout()) else { return Err(BenchError::Unprepared) };
        if work.case != *case {
            return Err(BenchError::Unprepared);
        }
        let count = bytes.div_ceil(case.shape.weights() / 4).max(1);
        let matrices = copies.take(count, choice)?;
        // What is not written is not right by an earlier kernel's work.
        work.y.fill(f32::NAN);
        // Threads are awake in a model: they come from another layer.
        pool.run(|_| ());
        let start = Instant::now();
        for matrix in &matrices {
            // A model tabulates once for each matrix, or two or three that share their input.
            work.x.renew();
            project(pool, &mut work.x, [(matrix, &mut work.y)])?;
        }
        let seconds = start.elapsed().as_secs_f64() / count as f64;
        work.compare([0, work.expected.len() - 1])?;
        Ok(seconds)
    }
}

/// Random weights of a case's shape.
fn trits(case: &Case) -> Trits {
    let (n, k) = (case.shape.n, case.shape.k);
    let codes = (0..n * k).map(|i| code(i as u64)).collect();
    Trits { n, k, codes, scales: Scales::Tensor(1.0) }
}

impl Work {
    fn new(case: Case, trits: Trits, pool: &Pool) -> Result<Self, LinearError> {
        let (n, k) = (trits.n, trits.k);
        let mut x = Activations::new();
        for (token, row) in x.rows_mut(case.m, k)?.chunks_exact_mut(k).enumerate() {
            // Integers of which the largest is 127: they are their own int8 values, and sums come out unscaled.
            row.iter_mut().enumerate().for_each(|(i, x)| *x = f32::from((token * 7 + i * 31) as u8 as i8).max(-127.0));
            row[token % k] = 127.0;
        }
        // Beforehand: a model quantises once for several matrices.
        x.quantize(pool)?;
        let tokens: Vec<usize> = (0..case.m.min(COMPARED)).chain([case.m - 1]).collect();
        let expected: Vec<OnceLock<Vec<i32>>> = tokens.iter().map(|_| OnceLock::new()).collect();
        pool.for_each(tokens.len(), |_, index| {
            let x: Vec<i8> = x.rows()[tokens[index] * k..][..k].iter().map(|x| *x as i8).collect();
            let rows = trits.codes.chunks_exact(k).map(|codes| reference::products(codes, &x, k).sum());
            expected[index].get_or_init(|| rows.collect());
        });
        let expected = expected.into_iter().map(|rows| rows.into_inner().unwrap_or_default());
        let expected = tokens.into_iter().zip(expected).collect();
        Ok(Work { case, trits, x, y: vec![0.0; case.m * n], expected, pools: HashMap::new() })
    }

    /// Compares what y is for some of the expected tokens with the reference.
    fn compare(&self, which: impl IntoIterator<Item = usize>) -> Result<(), BenchError> {
        let n = self.trits.n;
        for (token, expected) in which.into_iter().map(|index| &self.expected[index]) {
            let token = *token;
            for (row, (&found, &expected)) in self.y[token * n..][..n].iter().zip(expected).enumerate() {
                if found != expected as f32 {
                    return Err(BenchError::Wrong { token, row, found, expected });
                }
            }
        }
        Ok(())
    }
}

/// Trit + 1, as random as it need be (SplitMix64's finaliser).
fn code(i: u64) -> u8 {
    let z = (i ^ (i >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % 3) as u8
}

impl Measure for Bench<'_> {
    type Error = BenchError;

    fn pack(&mut self, candidate: Candidate, case: &Case) -> Result<(), BenchError> {
        self.pack_choice(&Choice::only(self.runnable(candidate)?), case)
    }

    fn check(&mut self, candidate: Candidate, case: &Case) -> Result<(), BenchError> {
        self.check_choice(&Choice::only(self.runnable(candidate)?), case)
    }

    fn time(&mut self, candidate: Candidate, case: &Case) -> Result<f64, BenchError> {
        let bytes = match case.op {
            Op::Gemv => PASS_BYTES.min(self.pool_bytes) / case.m,
            Op::Gemm => 0,
        };
        self.time_choice(&Choice::only(self.runnable(candidate)?), case, bytes)
    }

    fn convicts(error: &BenchError) -> bool {
        matches!(error, BenchError::Wrong { .. } | BenchError::Fault(_))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::kernels::self_check::tests::{LYING, turncoat};
    use crate::kernels::{KERNELS, Kernel};
    use tritune_codegen::{KernelId, Tile};

    fn case(kernel: KernelId) -> Case {
        Case { shape: "96x320".parse().expect("a shape"), threads: 1, op: kernel.op, m: kernel.tile.mr.into() }
    }

    /// Kernels of one layout share its copies, each pass going on where the one before ended.
    #[test]
    fn passes_go_through_the_pool() {
        const POOL: usize = 2 << 20;
        let layout = |kernel: &Runnable| kernel.id().layout();
        let kernels: Vec<Runnable> = KERNELS.iter().filter_map(Kernel::detect).collect();
        let decoders = |kernel: &&Runnable| kernel.id().op == Op::Gemv && kernel.id().tile.mr == 1;
        let first = kernels.iter().find(decoders).expect("a kernel for decoding");
        let alike = kernels.iter().filter(decoders).filter(|kernel| layout(kernel) == layout(first));
        let case = case(first.id());
        let mut bench = Bench::new(&kernels, POOL);
        let mut before = 0;
        for kernel in alike {
            bench.pack(kernel.id().into(), &case).expect("packed");
            for check in [true, false] {
                if check {
                    bench.check(kernel.id().into(), &case).expect("right");
                } else {
                    bench.time(kernel.id().into(), &case).expect("right");
                }
                let pools = &bench.work.as_ref().expect("packed").pools;
                let passed = pools[&layout(first)].passed();
                let least = if check { 1 } else { POOL / layout(first).bytes(case.shape.n, case.shape.k) };
                assert!(pools.len() == 1 && passed - before >= least, "{passed} after {before}");
                before = passed;
            }
        }
        assert!(cold_pool(&Machine::detect(Isa::here())) as u64 >= POOL_BYTES);
    }

    #[test]
    fn a_kernel_that_goes_wrong_while_it_is_timed_is_out() {
        let kernels = [turncoat()];
        let id = kernels[0].id();
        let case = case(id);
        let mut bench = Bench::new(&kernels, 1 << 20);
        bench.pack(id.into(), &case).expect("packed");
        bench.check(id.into(), &case).expect("right so far");
        bench.time(id.into(), &case).expect("right so far");
        LYING.store(true, Ordering::SeqCst);
        let error = bench.time(id.into(), &case).expect_err("wrong");
        assert!(matches!(error, BenchError::Wrong { .. }), "{error}");
        assert!(error.to_string().contains("is right"), "{error}");
    }

    #[test]
    fn what_was_not_packed_is_not_run() {
        let kernels: Vec<Runnable> = KERNELS.iter().filter_map(Kernel::detect).collect();
        let id = kernels[0].id();
        let mut bench = Bench::new(&kernels, 1 << 20);
        assert!(matches!(bench.time(id.into(), &case(id)), Err(BenchError::Unprepared)));
        bench.pack(id.into(), &case(id)).expect("packed");
        let other = Case { shape: "64x320".parse().expect("a shape"), ..case(id) };
        assert!(matches!(bench.time(id.into(), &other), Err(BenchError::Unprepared)));
        let missing = KernelId { tile: Tile { nr: 64, ..id.tile }, ..id };
        assert!(kernels.iter().any(|kernel| kernel.id() == missing) || bench.pack(missing.into(), &case(id)).is_err());
    }
}
