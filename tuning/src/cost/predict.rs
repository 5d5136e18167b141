//! How long a kernel takes in a case, as a roofline has it.
//!
//! A pass needs the time in which its weights come from memory, and that in which each thread executes its share of the
//! instructions, of which products that add to one accumulator wait for each other. The two overlap, but not perfectly: the
//! root of the sum of their squares is near the longer one, and tells which of two kernels that are bound by memory leaves
//! it less to wait for. To this come the time in which each thread builds tables, where the kernel reads tables, and that in
//! which threads are woken. Weights are cold, since a model's fit no cache; tokens are computed mr at a time, and padding
//! costs what weights cost. Bandwidth is taken from the results where it was measured; all else is a constant below. Not
//! modelled: which instructions can start in the same cycle, activations and tables that fall out of a cache, and stores.

use tritune_codegen::{KernelId, Operand};

use super::Cost;
use crate::case::Case;
use crate::results::Bandwidth;

/// By how much a predicted time may be wrong against another: what is predicted to be faster by less is not known to be.
/// Half of 200 samples from AMD Zen 5 with AVX-VNNI and AVX-512 were within 21 % of their prediction, the bias aside, as
/// [`accuracy`](super::accuracy()) reports it.
pub const ERROR: f64 = 0.25;

/// Instructions a second and thread: two and a half to three in a cycle of 3.5 to 4 GHz. Gemm kernels on Zen 5 execute 8 to
/// 13 · 10⁹ of those counted.
const INSTRUCTIONS: f64 = 1e10;

/// Seconds until a product can be added to: four to five cycles.
const LATENCY: f64 = 1.1e-9;

/// Seconds to build the tables of a token, for each column: a microsecond for 2560 of them.
const TABLES: f64 = 4e-10;

/// Seconds until several threads are at work and have said that they are done.
const WAKING: f64 = 1e-6;

/// Bytes a second that one thread streams where nothing was measured: what one core has in flight, some 20 lines, over a
/// latency of 80 ns.
const ALONE: f64 = 15e9;

/// Bytes a second that any number of threads stream where nothing was measured: two channels of DDR5.
const TOGETHER: f64 = 40e9;

/// What bounds the kernels of a machine: how fast it streams memory.
#[derive(Clone, Debug, Default)]
pub struct Roofline {
    measured: Vec<Bandwidth>,
}

impl Roofline {
    /// With bandwidths as they were measured; none where nothing was.
    pub fn new(bandwidths: &[Bandwidth]) -> Self {
        Roofline { measured: bandwidths.to_vec() }
    }

    /// Bytes a second that `threads` threads read together: as measured, else as the next fewer threads do, for more are
    /// not slower; else their share of what more threads do.
    pub fn bytes_per_second(&self, threads: usize) -> f64 {
        let fewer = self.measured.iter().filter(|known| known.threads <= threads).max_by_key(|known| known.threads);
        let more = self.measured.iter().filter(|known| known.threads > threads).min_by_key(|known| known.threads);
        match (fewer, more) {
            (Some(known), _) => known.gigabytes_per_second * 1e9,
            (None, Some(known)) => known.gigabytes_per_second * 1e9 * threads as f64 / known.threads as f64,
            (None, None) => TOGETHER.min(ALONE * threads as f64),
        }
    }

    /// Seconds that a pass of `kernel`, which must pass [`KernelId::check`], is predicted to take in `case`: positive and
    /// finite.
    pub fn seconds(&self, kernel: &KernelId, case: &Case) -> f64 {
        let columns = kernel.layout().padded_k(case.shape.k) as f64;
        let tables = match kernel.operand() {
            Operand::Tables(_) => TABLES * columns * case.m as f64,
            Operand::Rows => 0.0,
        };
        let waking = if case.threads > 1 { WAKING } else { 0.0 };
        let (memory, arithmetic) = self.bounds(kernel, case);
        memory.hypot(arithmetic) + tables + waking
    }

    /// Seconds that a pass takes at least: for the bytes of weights or for the arithmetic, whichever is slower.
    pub fn bound(&self, kernel: &KernelId, case: &Case) -> f64 {
        let (memory, arithmetic) = self.bounds(kernel, case);
        memory.max(arithmetic)
    }

    fn bounds(&self, kernel: &KernelId, case: &Case) -> (f64, f64) {
        let (layout, shape) = (kernel.layout(), case.shape);
        let bytes = layout.bytes(shape.n, shape.k) as f64;
        let weights = layout.padded_n(shape.n) as f64 * layout.padded_k(shape.k) as f64;
        let products = weights * case.m.next_multiple_of(kernel.tile.mr.into()) as f64 / case.threads.max(1) as f64;
        let Cost { instructions, waits, .. } = Cost::of(kernel, &[]);
        let arithmetic = products * (instructions / INSTRUCTIONS).max(waits * LATENCY);
        (bytes / self.bytes_per_second(case.threads), arithmetic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Effort, Space};
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use tritune_codegen::{Isa, Op};

    fn case(op: Op, m: usize, threads: usize) -> Case {
        Case { shape: "2560x2560".parse().unwrap(), threads, op, m }
    }

    fn seconds(kernel: &str, m: usize, bandwidth: f64) -> f64 {
        let kernel: KernelId = kernel.parse().unwrap();
        let roofline = Roofline::new(&[Bandwidth { threads: 1, gigabytes_per_second: bandwidth }]);
        roofline.seconds(&kernel, &case(kernel.op, m, 1))
    }

    #[test]
    fn single_tokens_take_as_long_as_their_bytes() {
        let t200 = seconds("gemv_t200_1x32k64u4__avx512vnni_dot", 1, 10.0);
        assert!((t200 * 10e9 / (2560.0 * 640.0) - 1.0).abs() < 0.05, "{t200}");
        let t167 = seconds("gemv_t167_1x64k48u2__avx512vnni_lut", 1, 10.0);
        assert!(t167 > 0.8 * t200 && t167 < 0.9 * t200, "{t167} {t200}");
        assert!(t200 > 1.8 * seconds("gemv_t200_1x32k64u4__avx512vnni_dot", 1, 20.0));
        let two_vectors = seconds("gemv_t200_1x32k64u4__avx512vnni_dot", 1, 10.0);
        assert!(
            two_vectors < seconds("gemv_t200_1x16k64u4__avx512vnni_dot", 1, 10.0),
            "as many bytes, fewer broadcasts"
        );
    }

    #[test]
    fn prompts_take_as_long_as_their_instructions() {
        let gemm = "gemm_t200_8x32k64u1__avx512vnni_dot";
        assert!((seconds(gemm, 240, 10.0) / seconds(gemm, 240, 1000.0) - 1.0).abs() < 0.01);
        assert!((seconds(gemm, 240, 1000.0) / seconds(gemm, 120, 1000.0) - 2.0).abs() < 0.01);
        assert_eq!(seconds(gemm, 233, 10.0), seconds(gemm, 240, 10.0), "the last pass is as long as the others");
    }

    #[test]
    fn a_single_chain_of_products_is_waited_for() {
        let [one, four] = [1, 4].map(|ku| seconds(&format!("gemv_t200_1x8k64u{ku}__avxvnni_dot"), 1, 30.0));
        assert!(one > 1.5 * four, "{one} {four}");
    }

    #[test]
    fn bandwidths_of_other_numbers_of_threads_are_bounds() {
        let known = |threads, gigabytes_per_second| Bandwidth { threads, gigabytes_per_second };
        let roofline = Roofline::new(&[known(8, 80.0), known(2, 30.0)]);
        for (threads, expected) in [(1, 15.0), (2, 30.0), (3, 30.0), (8, 80.0), (64, 80.0)] {
            assert_eq!(roofline.bytes_per_second(threads), expected * 1e9, "{threads}");
        }
        let nominal = Roofline::default();
        assert!(nominal.bytes_per_second(1) < nominal.bytes_per_second(2));
        assert_eq!(nominal.bytes_per_second(8), nominal.bytes_per_second(64));
    }

    /// Every kernel that may be tried on any instruction set.
    static ALL: LazyLock<Vec<KernelId>> = LazyLock::new(|| {
        let of = |isa| {
            let space = Space::for_isa(isa).unwrap();
            [Op::Gemv, Op::Gemm].map(|op| space.kernels(op, Effort::Full)).concat()
        };
        Isa::ALL.into_iter().flat_map(of).collect()
    });

    proptest! {
        #[test]
        fn times_are_positive_and_finite(
            n in 1usize..=1 << 24, k in 1usize..=1 << 24, m in 1usize..100_000, threads in 1usize..1024,
            bandwidth in prop::option::of(1e-3..1e6f64),
        ) {
            let known = bandwidth.map(|gigabytes_per_second| Bandwidth { threads: 4, gigabytes_per_second });
            let roofline = Roofline::new(known.as_slice());
            for kernel in ALL.iter() {
                let m = if kernel.op == Op::Gemv { kernel.tile.mr.into() } else { m };
                let case = Case { shape: crate::shapes::Shape { n, k }, threads, op: kernel.op, m };
                let (seconds, bound) = (roofline.seconds(kernel, &case), roofline.bound(kernel, &case));
                prop_assert!(seconds.is_finite() && bound > 0.0 && seconds >= bound, "{kernel} in {case}: {seconds}");
            }
        }
    }
}
