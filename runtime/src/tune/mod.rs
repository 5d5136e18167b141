//! Tuning with the kernels that are compiled in, on the machine at hand.
//!
//! What is tried, how it is judged and what the results look like is [`tritune_tuning`]'s; here are the clock, the weights
//! and the kernels.

mod bandwidth;
mod bench;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use bandwidth::{Stream, bandwidth};
pub use bench::{Bench, BenchError, cold_pool};

use tritune_codegen::{Isa, KernelId, Layout, Op};
use tritune_tuning::case::Case;
use tritune_tuning::machine::Machine;
use tritune_tuning::pick::{self, Weighting};
use tritune_tuning::results::{Results, SCHEMA, Source};
use tritune_tuning::search::{Observer, Search};
use tritune_tuning::shapes::Shape;
use tritune_tuning::space::{self, SpaceError};

use crate::kernels::{KERNELS, Kernel, Runnable};

/// Tokens that stand for a prompt: every mr of a space divides it, so that no kernel is charged for a tail that another
/// one will compute.
const PROMPT: usize = 240;

/// What to tune, and for how long.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Shapes of weights.
    pub shapes: Vec<Shape>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Instruction sets; those that no other one on this machine extends, where empty.
    pub isas: Vec<Isa>,
    /// Wall-clock time for all measuring.
    pub budget: Duration,
    /// Bytes of weights to go through before any is used again; `None`: more than this machine's caches hold.
    pub pool_bytes: Option<usize>,
    /// The command line, for the record.
    pub command: String,
}

impl Tuning {
    /// Measures, and settles what each shape is to be computed with.
    ///
    /// Set `interrupt` to stop between two passes: the results then hold what was measured, and say that they are not
    /// complete.
    ///
    /// # Errors
    /// Where a space file is damaged, or no compiled-in kernel is a candidate.
    pub fn run(&self, interrupt: &AtomicBool, observer: &mut impl Observer) -> Result<Results, TuneError> {
        let isas = if self.isas.is_empty() { Isa::best_here() } else { self.isas.clone() };
        let kernels: Vec<Runnable> =
            KERNELS.iter().filter(|kernel| isas.contains(&kernel.id.isa)).filter_map(Kernel::detect).collect();
        if kernels.is_empty() {
            return Err(TuneError::NoCandidates { isas: isas.iter().map(Isa::to_string).collect() });
        }
        let defaults: Vec<KernelId> =
            space::defaults(isas.iter().copied())?.into_iter().filter(KernelId::detected).collect();
        // Defaults first: they are what every other candidate is compared with.
        let mut candidates: Vec<KernelId> = defaults.clone();
        candidates.extend(kernels.iter().map(Runnable::id).filter(|id| !defaults.contains(id)));
        let candidates = partnered(candidates);
        let machine = Machine::detect(Isa::here());
        let bandwidths = self.threads.iter().map(|&threads| bandwidth(threads)).collect();
        let cases = telling(Case::list(&self.shapes, &self.threads, &candidates, &[PROMPT]), &candidates);
        let search = Search { cases: &cases, candidates: &candidates, budget: self.budget, interrupt };
        let findings =
            search.run(&mut Bench::new(&kernels, self.pool_bytes.unwrap_or_else(|| cold_pool(&machine))), observer);
        let picks = pick::choose(&findings.samples, &defaults, Weighting::default());
        let mut picked: Vec<KernelId> = picks.iter().map(|pick| pick.kernel).collect();
        picked.sort_unstable();
        picked.dedup();
        let source = |id: &KernelId| {
            let kernel = kernels.iter().find(|kernel| kernel.id() == *id)?;
            Some(Source { name: *id, source: kernel.source_hash().into() })
        };
        Ok(Results {
            schema: SCHEMA,
            complete: findings.complete,
            date: Results::now(),
            command: self.command.clone(),
            compiler: env!("TRITUNE_COMPILER").into(),
            machine,
            bandwidths,
            kernels: picked.iter().filter_map(source).collect(),
            picks,
            samples: findings.samples,
        })
    }
}

/// The candidates whose layouts serve as many operations as any does: a tensor is packed once, and its layout is to serve
/// single tokens and prompts.
fn partnered(candidates: Vec<KernelId>) -> Vec<KernelId> {
    let ops =
        |layout| -> BTreeSet<Op> { candidates.iter().filter(|id| id.layout() == layout).map(|id| id.op).collect() };
    let most = candidates.iter().map(|id| ops(id.layout()).len()).max().unwrap_or(0);
    candidates.iter().filter(|id| ops(id.layout()).len() == most).copied().collect()
}

/// The cases that every layout has candidates for. The others would decide for a layout by having no rival in it; what
/// is asked of them at run time is served in pieces by the kernels of these.
fn telling(cases: Vec<Case>, candidates: &[KernelId]) -> Vec<Case> {
    let layouts = |suits: &dyn Fn(&KernelId) -> bool| -> BTreeSet<Layout> {
        candidates.iter().filter(|kernel| suits(kernel)).map(KernelId::layout).collect()
    };
    let all = layouts(&|_| true).len();
    cases.into_iter().filter(|case| layouts(&|kernel| case.suits(kernel)).len() == all).collect()
}

/// Why nothing was tuned.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// No kernel to measure.
    #[error("no kernel for {} is compiled in that this machine runs; `tritune kernels` lists them", isas.join(", "))]
    NoCandidates {
        /// The instruction sets asked for.
        isas: Vec<String>,
    },
    /// A damaged space.
    #[error(transparent)]
    Space(#[from] SpaceError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<KernelId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// A layout without a gemm neither wins nor costs the others their gemm cases.
    #[test]
    fn a_layout_without_a_partner_does_not_decide() {
        let names = ["gemv_t200_1x16k64u1__avx2_mad", "gemv_t200_2x16k64u1__avx2_mad", "gemm_t200_2x16k64u1__avx2_mad"];
        let lonely = "gemv_t200_1x32k64u1__avx2_lut";
        let candidates = partnered(ids(&[&names[..], &[lonely]].concat()));
        assert_eq!(candidates, ids(&names));
        let shapes = ["640x2560".parse().unwrap()];
        let cases = telling(Case::list(&shapes, &[1], &candidates, &[PROMPT]), &candidates);
        assert_eq!(
            cases.iter().map(|case| (case.op, case.m)).collect::<Vec<_>>(),
            [(Op::Gemv, 1), (Op::Gemv, 2), (Op::Gemm, PROMPT)]
        );
        // With a second layout that serves both operations, two tokens tell nothing: it has no kernel for them.
        let more = ["gemv_t200_1x8k64u1__avx2_mad", "gemm_t200_4x8k64u1__avx2_mad"];
        let candidates = partnered(ids(&[&names[..], &more, &[lonely]].concat()));
        let cases = telling(Case::list(&shapes, &[1], &candidates, &[PROMPT]), &candidates);
        assert_eq!(cases.iter().map(|case| (case.op, case.m)).collect::<Vec<_>>(), [(Op::Gemv, 1), (Op::Gemm, PROMPT)]);
        // Alone, it is what there is.
        assert_eq!(partnered(ids(&[lonely])), ids(&[lonely]));
    }
}
