//! One situation that a kernel is wanted for.

use std::fmt;

use serde::{Deserialize, Serialize};
use tritune_codegen::{KernelId, Op};

use crate::shapes::Shape;

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
    /// Whether `kernel` is a candidate here: a gemv kernel for exactly its own number of tokens, a gemm kernel for any.
    pub fn suits(&self, kernel: &KernelId) -> bool {
        self.op == kernel.op && (self.op == Op::Gemm || self.m == kernel.tile.mr as usize)
    }

    /// The cases in which `kernels` can be told apart: for each shape and number of threads a gemv with every number of
    /// tokens that there is a kernel for, and a gemm with each of `gemm_tokens`. Gemv with one token comes first.
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
        let mut cases = Vec::new();
        for (op, m) in tokens {
            for &shape in shapes {
                cases.extend(threads.iter().map(|&threads| Case { shape, threads, op, m }));
            }
        }
        cases
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {} m={} threads={}", self.op, self.shape, self.m, self.threads))
    }
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
        assert_eq!(cases[11].to_string(), "gemm 2560x640 m=128 threads=2");
        assert!(cases.iter().all(|case| kernels.iter().any(|kernel| case.suits(kernel))));
        assert!(!cases[0].suits(&kernels[1]), "a gemv of four tokens is no candidate for one");
    }
}
