//! The function between the two halves of a gated feed-forward network.

use std::fmt;

use multiversion::multiversion;

use crate::vector::exp_inlined;

/// What is done to the gate before it multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// The same of a gate of at most the limit; what it multiplies is held within ± the limit.
    ClampedSilu {
        /// Above 0.
        limit: f32,
    },
    /// x · Φ(x), by the tangent's approximation: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) (Hendrycks & Gimpel,
    /// 2016, arXiv:1606.08415).
    Gelu,
    /// max(x, 0)².
    ReluSquared,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activation::Silu => f.pad("silu"),
            Activation::ClampedSilu { limit } => write!(f, "silu, clamped at {limit}"),
            Activation::Gelu => f.pad("gelu, tanh approximation"),
            Activation::ReluSquared => f.pad("relu²"),
        }
    }
}

impl Activation {
    /// out = act(gate) · up, element by element. Returns whether every result is finite.
    pub fn gated(self, gate: &[f32], up: &[f32], out: &mut [f32]) -> bool {
        match self {
            Activation::Silu => silu(gate, up, out),
            Activation::ClampedSilu { limit } => clamped_silu(gate, up, limit, out),
            Activation::Gelu => gelu(gate, up, out),
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
fn clamped_silu(gate: &[f32], up: &[f32], limit: f32, out: &mut [f32]) -> bool {
    let mut finite = true;
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        // Infinite values would be clamped to finite ones.
        finite &= gate.is_finite() & up.is_finite();
        let gate = if gate > limit { limit } else { gate };
        *out = gate / (1.0 + exp_inlined(-gate)) * up.clamp(-limit, limit);
        finite &= out.is_finite();
    }
    finite
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn gelu(gate: &[f32], up: &[f32], out: &mut [f32]) -> bool {
    /// 2 · √(2/π): (1 + tanh(u)) / 2 is sigmoid(2u), which loses nothing where tanh is near −1.
    const TWICE: f32 = 1.595_769;
    let mut finite = true;
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        let u = TWICE * gate * (1.0 + 0.044_715 * gate * gate);
        *out = gate / (1.0 + exp_inlined(-u)) * up;
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
        assert!(Activation::Gelu.gated(&gate, &up, &mut out));
        for i in 0..gate.len() {
            let x = f64::from(gate[i]);
            let tanh = ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh();
            let exact = 0.5 * x * (1.0 + tanh) * f64::from(up[i]);
            assert!((f64::from(out[i]) - exact).abs() <= 1e-6 * exact.abs().max(1.0), "gelu({x})");
        }
        assert!(Activation::ClampedSilu { limit: 1.5 }.gated(&gate, &up, &mut out));
        for i in 0..gate.len() {
            let (gate, up) = (gate[i].min(1.5), up[i].clamp(-1.5, 1.5));
            let exact = gate / (1.0 + (-gate).exp()) * up;
            assert!((out[i] - exact).abs() <= 1e-6 * exact.abs().max(1.0), "clamped silu({gate})");
        }
    }

    #[test]
    fn what_is_not_finite_is_told() {
        let mut out = [0f32; 2];
        let clamped = Activation::ClampedSilu { limit: 7.0 };
        for activation in [Activation::Silu, clamped, Activation::Gelu, Activation::ReluSquared] {
            for bad in [f32::NAN, f32::INFINITY] {
                assert!(!activation.gated(&[1.0, bad], &[1.0, 1e10], &mut out), "{activation} {bad}");
            }
            assert!(!activation.gated(&[1.0, 1.0], &[f32::NAN, 1.0], &mut out));
            // A large gate is another's overflow, and the clamp's business.
            assert_eq!(activation.gated(&[1.0, 1e30], &[1.0, 1e10], &mut out), activation == clamped, "{activation}");
        }
    }
}
