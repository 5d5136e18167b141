//! What can be said of a kernel without running it.
//!
//! [`Cost`] counts what the templates emit: instructions, live registers and bytes of weights. [`prune()`] sorts
//! out what cannot win among kernels that work alike, and says so in words. [`Roofline`] makes a time of the counts, short
//! and rough: it serves where nothing was measured, and [`accuracy()`] says how far it is from what was.

mod accuracy;
mod predict;
mod prune;
mod work;

pub use accuracy::{Accuracy, accuracy};
pub use predict::{ERROR, Roofline};
pub use prune::{Reason, Verdict, prune};

use std::fmt;

use tritune_codegen::KernelId;

use crate::shapes::Shape;
use work::Work;

/// What one kernel costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Vector registers that are live in the inner loop.
    pub registers: usize,
    /// Instructions for one weight and one token; a memory operand counts as the load that it is.
    pub instructions: f64,
    /// Products for one weight and one token that wait for each other: there are as many for every output, and a tile
    /// computes its outputs side by side.
    pub waits: f64,
    /// Bytes of packed weights, padding included, for one weight of the shapes.
    pub bytes: f64,
}

impl Cost {
    /// The cost of `kernel`, which must pass [`KernelId::check`], on `shapes`.
    pub fn of(kernel: &KernelId, shapes: &[Shape]) -> Cost {
        let Work { instructions, waits, registers } = Work::of(kernel);
        let (packed, weights) = shapes.iter().fold((0.0, 0.0), |(packed, weights), shape| {
            (packed + kernel.layout().bytes(shape.n, shape.k) as f64, weights + shape.weights() as f64)
        });
        let products = (kernel.tile.nr as usize * kernel.weights.step() * kernel.tile.mr as usize) as f64;
        Cost {
            registers,
            instructions: instructions / products,
            waits: waits / products,
            bytes: if weights > 0.0 { packed / weights } else { 0.0 },
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { registers, instructions, bytes, .. } = self;
        write!(f, "{registers} registers, {instructions:.3} instructions and {bytes:.3} bytes a weight")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::Model;

    #[test]
    fn costs_count_what_templates_emit() {
        let shapes: Vec<Shape> = Model::named("bitnet-b1.58-2b4t").unwrap().shapes().collect();
        let cost = |name: &str| Cost::of(&name.parse().unwrap(), &shapes);
        // A step of 16 columns by 16 rows: a load, four masks, four broadcasts and products; four accumulators, weights, codes.
        let gemv = cost("gemv_t200_1x16k64u4__avx512vnni_dot");
        assert_eq!((gemv.registers, gemv.instructions * 256.0, gemv.bytes), (6, 13.0, 0.25));
        assert_eq!(gemv.waits * 256.0, 1.0, "each position in a byte has an accumulator of its own");
        // Without an accumulator a position: three shifts more, and four products that wait for each other.
        let one = cost("gemv_t200_1x16k64u1__avx512vnni_dot");
        assert_eq!((one.instructions * 256.0, one.waits * 256.0), (16.0, 4.0));
        // Mad, eight rows by two tokens: 1 + 7 + 4 · (2 broadcasts + 2 · 2), and a quarter of the widening of four.
        let mad = cost("gemv_t200_2x8k64u1__avx2_mad");
        assert_eq!((mad.registers, mad.instructions * 256.0, mad.waits), (6, 33.0, 0.0));
    }
}
