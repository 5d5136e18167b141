//! What a turn of a kernel's inner loop does, counted from what the templates emit.
//!
//! A step of the loop over a panel loads each vector of weights, decodes it once, broadcasts activations or loads tables for
//! each token, and multiplies or looks up.

use tritune_codegen::{Isa, KernelId, Method, Weights};

/// What a step of the inner loop does for all rows and tokens of a tile.
pub(super) struct Work {
    pub(super) instructions: f64,
    /// Dot products that are added to the same accumulator, one after the other: each waits for the one before.
    pub(super) waits: f64,
    pub(super) registers: usize,
}

impl Work {
    pub(super) fn of(kernel: &KernelId) -> Work {
        match kernel.method {
            Method::Dot | Method::Mad => Work::product(kernel),
            Method::Lut if kernel.isa == Isa::Avx512Vnni => Work::permute(kernel),
            Method::Lut => Work::shuffle(kernel),
            Method::Tile if kernel.isa == Isa::Amx => Work::tiles(kernel),
            Method::Tile => Work::pairs(kernel),
        }
    }

    /// Tokens, vectors of rows, accumulators an output.
    fn sizes(kernel: &KernelId) -> (usize, usize, usize) {
        let vectors = (usize::from(kernel.tile.nr) / kernel.isa.lanes()).max(1);
        (kernel.tile.mr.into(), vectors, kernel.tile.ku.into())
    }

    /// To load and decode a vector of weights, a step of it.
    fn decoding(kernel: &KernelId, in_place: usize) -> usize {
        let trits = kernel.weights.trits();
        match kernel.weights {
            // A shift brings as many positions in place as stay there.
            Weights::T200 => 1 + trits + (trits / in_place - 1),
            // For each half: shift, mask, signs; for each trit: lookup, xor, add.
            Weights::T167 => 1 + 2 * 4 + 3 * trits,
            Weights::T160 => 1 + 3 * trits,
        }
    }

    fn product(kernel: &KernelId) -> Work {
        let (tokens, vectors, chains) = Work::sizes(kernel);
        let trits = kernel.weights.trits();
        let dot = kernel.method == Method::Dot;
        let in_place = kernel.in_place();
        let multiplication = if dot { 1 } else { 2 };
        let step = vectors * Work::decoding(kernel, in_place) + trits * tokens * (1 + vectors * multiplication);
        let widening = if dot { 0 } else { 2 * tokens * vectors * chains };
        let steps = usize::from(kernel.tile.kb) / kernel.weights.step();

        // A dot product of a single vector of rows broadcasts its activations itself, where the encoding can.
        let embedded = kernel.isa == Isa::Avx512Vnni && vectors == 1;
        // The 32-bit sums of mad are touched once a turn, so that memory may hold them; so may masks and tables. With
        // one token, a code is used as soon as it is masked.
        let codes = if tokens == 1 { 1 } else { vectors };
        let temporaries = if dot { usize::from(!embedded) } else { 2 };
        Work {
            instructions: step as f64 + widening as f64 / steps.max(1) as f64,
            // Additions, which mad waits for, take a cycle.
            waits: if dot { trits as f64 / chains as f64 } else { 0.0 },
            registers: tokens * vectors * chains + vectors + codes + temporaries,
        }
    }

    fn permute(kernel: &KernelId) -> Work {
        let (tokens, vectors, chains) = Work::sizes(kernel);
        // For each half: shift, mask and quarter, signs. For each token: two tables; lookups and products.
        let step = vectors * 8 + 2 * tokens * (2 + vectors * 4);
        // Each half adds a product to the sums of low bytes, and one to those of high bytes.
        let waits = 2.0 / chains as f64;
        Work { instructions: step as f64, waits, registers: 2 * tokens * vectors * chains + 2 * vectors + 7 }
    }

    fn shuffle(kernel: &KernelId) -> Work {
        let (tokens, vectors, chains) = Work::sizes(kernel);
        let groups = vectors / 4;
        let signed = usize::from(kernel.weights.has_signs());
        // Sorting four vectors into planes; for each plane and half: shift, mask, signs. For each token: two tables;
        // two lookups, turned by their signs, unpacked, added.
        let step = groups * (16 + 8 * (2 + 2 * signed)) + 8 * tokens * (2 + groups * (6 + 2 * signed));
        Work { instructions: step as f64, waits: 0.0, registers: 2 * tokens * groups * chains + 4 * groups + 4 }
    }

    fn pairs(kernel: &KernelId) -> Work {
        let (tokens, vectors, _) = Work::sizes(kernel);
        let trits = kernel.weights.trits();
        let step = vectors * (Work::decoding(kernel, 1) + trits) + trits / 2 * tokens / 2 * (2 + 2 * vectors);
        let waits = (trits / 2) as f64;
        Work { instructions: step as f64, waits, registers: tokens * vectors + 2 * vectors + 1 }
    }

    /// A product of tiles counts as the cycles that it takes: one for each token.
    fn tiles(kernel: &KernelId) -> Work {
        let (tokens, vectors, _) = Work::sizes(kernel);
        let trits = kernel.weights.trits();
        let step = vectors * (Work::decoding(kernel, 1) + trits);
        // Four columns of 16 rows and 16 tokens are a sixteenth of a product of 16 cycles.
        let products = tokens as f64 / 16.0 * (vectors * trits) as f64;
        Work { instructions: step as f64 + products, waits: 0.0, registers: 12 + 2 * vectors }
    }
}
