//! The matrix: which operations, weight codes and methods an instruction set has kernels for.

use crate::isa::Isa;
use crate::kernel::{KernelId, Method, Op, Weights};

/// Kernels that differ by their tile alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What the machine must have.
    pub isa: Isa,
    /// What is computed.
    pub op: Op,
    /// How weights are coded.
    pub weights: Weights,
    /// How products are formed.
    pub method: Method,
}

/// Cells that stand in one line: all combinations of operations and weight codes.
struct Line {
    isa: Isa,
    method: Method,
    ops: &'static [Op],
    weights: &'static [Weights],
}

const BOTH: &[Op] = &[Op::Gemv, Op::Gemm];
const GEMV: &[Op] = &[Op::Gemv];
const GEMM: &[Op] = &[Op::Gemm];

#[rustfmt::skip]
const LINES: &[Line] = {
    use {Isa::*, Method::*, Weights::*};
    &[
        Line { isa: Scalar,     method: Dot,  ops: BOTH, weights: &[T200, T167, T160] },
        Line { isa: Avx2,       method: Mad,  ops: BOTH, weights: &[T200, T167] },
        Line { isa: Avx2,       method: Lut,  ops: GEMV, weights: &[T200, T167] },
        Line { isa: AvxVnni,    method: Dot,  ops: BOTH, weights: &[T200, T167] },
        Line { isa: AvxVnni,    method: Lut,  ops: GEMV, weights: &[T167] },
        Line { isa: Avx512Bw,   method: Mad,  ops: BOTH, weights: &[T200, T167] },
        Line { isa: Avx512Bw,   method: Lut,  ops: GEMV, weights: &[T167] },
        Line { isa: Avx512Vnni, method: Dot,  ops: BOTH, weights: &[T200, T167] },
        Line { isa: Avx512Vnni, method: Lut,  ops: GEMV, weights: &[T167] },
        Line { isa: Amx,        method: Tile, ops: BOTH, weights: &[T200, T167] },
        Line { isa: Neon,       method: Mad,  ops: BOTH, weights: &[T200, T167] },
        Line { isa: Neon,       method: Lut,  ops: GEMV, weights: &[T167] },
        Line { isa: NeonDot,    method: Dot,  ops: BOTH, weights: &[T200, T167] },
        Line { isa: NeonI8mm,   method: Dot,  ops: GEMV, weights: &[T200, T167] },
        Line { isa: NeonI8mm,   method: Tile, ops: GEMM, weights: &[T200, T167] },
    ]
};

impl Cell {
    /// Every cell that has kernels.
    pub fn all() -> impl Iterator<Item = Cell> {
        LINES.iter().flat_map(|line| {
            let cells = line.ops.iter().flat_map(|op| line.weights.iter().map(move |weights| (*op, *weights)));
            cells.map(|(op, weights)| Cell { isa: line.isa, op, weights, method: line.method })
        })
    }

    /// Whether there are kernels in this cell.
    pub fn exists(&self) -> bool {
        Cell::all().any(|cell| cell == *self)
    }
}

impl KernelId {
    /// Where in the matrix it stands.
    pub fn cell(&self) -> Cell {
        Cell { isa: self.isa, op: self.op, weights: self.weights, method: self.method }
    }
}
