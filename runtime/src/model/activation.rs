//! The function between the two halves of a gated feed-forward network.

use std::fmt;

use multiversion::multiversion;

use crate::vector::exp_inlined;

/// What is done to the gate before it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// max(x, 0)².
    ReluSquared,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Activation::Silu => "silu",
            Activation::ReluSquared => "relu²",
        })
    }
}

impl Activation {
    /// out = act(gate) · up, element by element. Returns whether every result is finite.
    pub fn gated(self, gate: &[f32], up: &[f32], out: &mut [f32]) -> bool {
        match self {
            Activation::Silu => silu(gate, up, out),
            Activation::ReluSquared => relu_squared(gate, up, out),
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn silu(gate: &[f32], up: &[f32], out: &mut [f32]) -> bool {
    let mut finite = true;
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp_inlined(-gate)) * up;
        finite &= out.is_finite();
    }
    finite
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn relu_squared(gate: &[f32], up: &[f32], out: &mut [f32]) -> bool {
    let mut finite = true;
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        // Not `max`, which would make zero of NaN.
        let gate = if gate < 0.0 { 0.0 } else { gate };
        *out = gate * gate * up;
        finite &= out.is_finite();
    }
    finite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_what_their_names_say() {
        let gate: Vec<f32> = (-50..=50).map(|i| i as f32 / 4.0).collect();
        let up: Vec<f32> = gate.iter().map(|x| 1.0 - x / 7.0).collect();
        let mut out = vec![0f32; gate.len()];
        assert!(Activation::Silu.gated(&gate, &up, &mut out));
        for i in 0..gate.len() {
            let exact = gate[i] / (1.0 + (-gate[i]).exp()) * up[i];
            assert!((out[i] - exact).abs() <= 1e-6 * exact.abs().max(1.0), "silu({})", gate[i]);
        }
        assert!(Activation::ReluSquared.gated(&gate, &up, &mut out));
        for i in 0..gate.len() {
            assert_eq!(out[i], gate[i].max(0.0).powi(2) * up[i], "relu²({})", gate[i]);
        }
    }

    #[test]
    fn what_is_not_finite_is_told() {
        let mut out = [0f32; 2];
        for activation in [Activation::Silu, Activation::ReluSquared] {
            for bad in [f32::NAN, f32::INFINITY, 1e30] {
                assert!(!activation.gated(&[1.0, bad], &[1.0, 1e10], &mut out), "{activation} {bad}");
            }
            assert!(!activation.gated(&[1.0, 1.0], &[f32::NAN, 1.0], &mut out));
        }
    }
}
