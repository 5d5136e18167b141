//! One situation that a kernel is wanted for.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use tritune_codegen::{KernelId, Layout, Op};

use crate::shapes::Shape;

/// Tokens that stand for a prompt: every mr of a space divides it, so that no kernel is charged for a tail that another
/// one will compute.
pub const PROMPT: usize = 240;

/// What is measured and picked for: a product of this shape, for this many tokens, on this many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Case {
    /// The weight matrix.
    #[serde(with = "crate::name")]
    pub shape: Shape,
    /// Threads that share the work.
    pub threads: usize,
    /// Few tokens or many.
    #[serde(with = "crate::name")]
    pub op: Op,
    /// Tokens.
    pub m: usize,
}

impl Case {
    /// Whether `kernel` is a candidate here: a gemv kernel for its own number of tokens and, in several passes, for multiples
    /// of it; a gemm kernel for any.
    pub fn suits(&self, kernel: &KernelId) -> bool {
        self.op == kernel.op && (self.op == Op::Gemm || self.m.is_multiple_of(kernel.tile.mr.into()))
    }

    /// Whether `kernel` computes all tokens of a gemv in one pass.
    pub fn is_own(&self, kernel: &KernelId) -> bool {
        self.op == kernel.op && self.m == usize::from(kernel.tile.mr)
    }

    /// The cases in which `kernels` can be told apart: for each shape and number of threads a gemv with every number of
    /// tokens that there is a kernel for, and a gemm with each of `gemm_tokens`. All of a shape are together, for packed
    /// weights serve all of them.
    pub fn list(shapes: &[Shape], threads: &[usize], kernels: &[KernelId], gemm_tokens: &[usize]) -> Vec<Case> {
        let mut tokens: Vec<(Op, usize)> = Vec::new();
        for kernel in kernels {
            match kernel.op {
                Op::Gemv => tokens.push((Op::Gemv, kernel.tile.mr.into())),
                Op::Gemm => tokens.extend(gemm_tokens.iter().map(|&m| (Op::Gemm, m))),
            }
        }
        tokens.sort_unstable();
        tokens.dedup();
        let of_shape = |&shape: &Shape| {
            let at = |&(op, m): &(Op, usize)| threads.iter().map(move |&threads| Case { shape, threads, op, m });
            tokens.iter().flat_map(at).collect::<Vec<_>>()
        };
        shapes.iter().flat_map(of_shape).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {} m={} threads={}", self.op, self.shape, self.m, self.threads))
    }
}

/// The candidates whose layouts serve as many operations as any does: a tensor is packed once, and its layout is to serve
/// single tokens and prompts.
pub fn partnered(candidates: Vec<KernelId>) -> Vec<KernelId> {
    let ops =
        |layout| -> BTreeSet<Op> { candidates.iter().filter(|id| id.layout() == layout).map(|id| id.op).collect() };
    let most = candidates.iter().map(|id| ops(id.layout()).len()).max().unwrap_or(0);
    candidates.iter().filter(|id| ops(id.layout()).len() == most).copied().collect()
}

/// The cases that every layout has candidates for. The others would decide for a layout by having no rival in it; what
/// is asked of them at run time is served in pieces by the kernels of these.
pub fn telling(cases: Vec<Case>, candidates: &[KernelId]) -> Vec<Case> {
    let layouts = |suits: &dyn Fn(&KernelId) -> bool| -> BTreeSet<Layout> {
        candidates.iter().filter(|kernel| suits(kernel)).map(KernelId::layout).collect()
    };
    let all = layouts(&|_| true).len();
    cases.into_iter().filter(|case| layouts(&|kernel| case.suits(kernel)).len() == all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_follow_from_the_kernels() {
        let kernels = [
            "gemm_t200_16x16k64u1__avx512vnni_dot",
            "gemv_t200_4x16k64u2__avx512vnni_dot",
            "gemv_t200_1x16k64u4__avx512vnni_dot",
            "gemv_t200_1x32k64u4__avx512vnni_dot",
        ]
        .map(|name| name.parse().unwrap());
        let shapes = ["640x2560", "2560x640"].map(|shape| shape.parse().unwrap());
        let cases = Case::list(&shapes, &[1, 2], &kernels, &[128]);
        assert_eq!(cases.len(), 3 * 2 * 2);
        assert_eq!(cases[0].to_string(), "gemv 640x2560 m=1 threads=1");
        assert_eq!(cases[5].to_string(), "gemm 640x2560 m=128 threads=2");
        assert_eq!(cases[11].to_string(), "gemm 2560x640 m=128 threads=2");
        assert!(cases.iter().all(|case| kernels.iter().any(|kernel| case.suits(kernel))));
        assert!(!cases[0].suits(&kernels[1]), "a gemv of four tokens is no candidate for one");
        let four = cases[2];
        assert!((four.op, four.m) == (Op::Gemv, 4) && four.suits(&kernels[2]), "one of one token is, in four passes");
        assert!(four.is_own(&kernels[1]) && !four.is_own(&kernels[2]));
    }

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
        // A second layout computes two tokens in two passes.
        let more = ["gemv_t200_1x8k64u1__avx2_mad", "gemm_t200_4x8k64u1__avx2_mad"];
        let candidates = partnered(ids(&[&names[..], &more, &[lonely]].concat()));
        let cases = telling(Case::list(&shapes, &[1], &candidates, &[PROMPT]), &candidates);
        assert_eq!(
            cases.iter().map(|case| (case.op, case.m)).collect::<Vec<_>>(),
            [(Op::Gemv, 1), (Op::Gemv, 2), (Op::Gemm, PROMPT)]
        );
        // One that has no kernel for a single token cannot be told apart there.
        let wide = ["gemv_t200_2x8k64u1__avx2_mad", "gemm_t200_4x8k64u1__avx2_mad"];
        let candidates = partnered(ids(&[&names[..], &wide].concat()));
        let cases = telling(Case::list(&shapes, &[1], &candidates, &[PROMPT]), &candidates);
        assert_eq!(cases.iter().map(|case| (case.op, case.m)).collect::<Vec<_>>(), [(Op::Gemv, 2), (Op::Gemm, PROMPT)]);
        // Alone, it is what there is.
        assert_eq!(partnered(ids(&[lonely])), ids(&[lonely]));
    }
}
