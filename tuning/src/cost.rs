//! What can be said of a kernel without running it, and which candidates that already rules out.
//!
//! The model counts what the templates emit: a step of the loop over a panel loads each vector of weights, decodes it
//! once, broadcasts activations or loads tables for each token, and multiplies or looks up. It knows no latencies and no
//! caches; it only sorts out what cannot win among kernels that work alike, and says so in words. Kernels of different
//! weight codes or methods are left for measuring to compare.

use std::collections::HashSet;
use std::fmt;

use tritune_codegen::{Isa, KernelId, Layout, Method, Op, Weights};

use crate::machine::Machine;
use crate::shapes::Shape;

/// A candidate that moves more than this many times the bytes of the thriftiest is padding, not packing.
const MAX_BYTES: f64 = 1.125;

/// A candidate that needs more than this many times the instructions of the leanest has no memory wall to hide behind.
const MAX_INSTRUCTIONS: f64 = 1.5;

/// What one kernel costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Vector registers that are live in the inner loop.
    pub registers: usize,
    /// Instructions for one weight and one token; a memory operand counts as the load that it is.
    pub instructions: f64,
    /// Bytes of packed weights, padding included, for one weight of the shapes.
    pub bytes: f64,
}

/// What becomes of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is measured.
    Measured(Cost),
    /// It is not, and why.
    Pruned(String),
}

impl Cost {
    /// The cost of `kernel`, which must pass [`KernelId::check`], on `shapes`.
    pub fn of(kernel: &KernelId, shapes: &[Shape]) -> Cost {
        let Work { instructions, registers } = Work::of(kernel);
        let (packed, weights) = shapes.iter().fold((0.0, 0.0), |(packed, weights), shape| {
            (packed + kernel.layout().bytes(shape.n, shape.k) as f64, weights + shape.weights() as f64)
        });
        let products = kernel.tile.nr as usize * kernel.weights.step() * kernel.tile.mr as usize;
        Cost {
            registers,
            instructions: instructions / products as f64,
            bytes: if weights > 0.0 { packed / weights } else { 0.0 },
        }
    }
}

/// What a step of the inner loop does for all rows and tokens of a tile.
struct Work {
    instructions: f64,
    registers: usize,
}

impl Work {
    fn of(kernel: &KernelId) -> Work {
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
            registers: tokens * vectors * chains + vectors + codes + temporaries,
        }
    }

    fn permute(kernel: &KernelId) -> Work {
        let (tokens, vectors, chains) = Work::sizes(kernel);
        // For each half: shift, mask and quarter, signs. For each token: two tables; lookups and products.
        let step = vectors * 8 + 2 * tokens * (2 + vectors * 4);
        Work { instructions: step as f64, registers: 2 * tokens * vectors * chains + 2 * vectors + 7 }
    }

    fn shuffle(kernel: &KernelId) -> Work {
        let (tokens, vectors, chains) = Work::sizes(kernel);
        let groups = vectors / 4;
        let signed = usize::from(kernel.weights.has_signs());
        // Sorting four vectors into planes; for each plane and half: shift, mask, signs. For each token: two tables;
        // two lookups, turned by their signs, unpacked, added.
        let step = groups * (16 + 8 * (2 + 2 * signed)) + 8 * tokens * (2 + groups * (6 + 2 * signed));
        Work { instructions: step as f64, registers: 2 * tokens * groups * chains + 4 * groups + 4 }
    }

    fn pairs(kernel: &KernelId) -> Work {
        let (tokens, vectors, _) = Work::sizes(kernel);
        let trits = kernel.weights.trits();
        let step = vectors * (Work::decoding(kernel, 1) + trits) + trits / 2 * tokens / 2 * (2 + 2 * vectors);
        Work { instructions: step as f64, registers: tokens * vectors + 2 * vectors + 1 }
    }

    /// A product of tiles counts as the cycles that it takes: one for each token.
    fn tiles(kernel: &KernelId) -> Work {
        let (tokens, vectors, _) = Work::sizes(kernel);
        let trits = kernel.weights.trits();
        let step = vectors * (Work::decoding(kernel, 1) + trits);
        // Four columns of 16 rows and 16 tokens are a sixteenth of a product of 16 cycles.
        let products = tokens as f64 / 16.0 * (vectors * trits) as f64;
        Work { instructions: step as f64 + products, registers: 12 + 2 * vectors }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { registers, instructions, bytes } = self;
        write!(f, "{registers} registers, {instructions:.3} instructions and {bytes:.3} bytes a weight")
    }
}

/// Judges every candidate, in order. Of each operation at least one passes, if `machine` runs any without spilling.
pub fn prune(candidates: &[KernelId], machine: &Machine, shapes: &[Shape]) -> Vec<(KernelId, Verdict)> {
    let mut judged: Vec<(KernelId, Verdict)> = candidates
        .iter()
        .map(|kernel| {
            let verdict = alone(kernel, machine, shapes).map_or_else(Verdict::Pruned, Verdict::Measured);
            (*kernel, verdict)
        })
        .collect();
    // Each rule compares with what the rules before it have left.
    for rule in [padding, instructions, partners] {
        let left: Vec<(KernelId, Cost)> = judged
            .iter()
            .filter_map(|(kernel, verdict)| match verdict {
                Verdict::Measured(cost) => Some((*kernel, *cost)),
                Verdict::Pruned(_) => None,
            })
            .collect();
        for (kernel, verdict) in &mut judged {
            if let Verdict::Measured(cost) = verdict
                && let Some(why) = rule(kernel, cost, &left)
            {
                *verdict = Verdict::Pruned(why);
            }
        }
    }
    judged
}

/// The cost of a candidate, or what rules it out by itself.
fn alone(kernel: &KernelId, machine: &Machine, shapes: &[Shape]) -> Result<Cost, String> {
    kernel.check().map_err(|error| error.why)?;
    if !machine.runs(kernel.isa) {
        return Err(format!("this machine does not run {}", kernel.isa));
    }
    let cost = Cost::of(kernel, shapes);
    let available = kernel.isa.vector_registers();
    // One lane is no vector: which registers plain code takes is the compiler's affair.
    if kernel.isa.vector_bytes() > 4 && cost.registers > available {
        let live = cost.registers;
        return Err(format!("it would spill: {live} registers are live in its loop, {} has {available}", kernel.isa));
    }
    Ok(cost)
}

fn padding(kernel: &KernelId, cost: &Cost, left: &[(KernelId, Cost)]) -> Option<String> {
    let rivals = left.iter().filter(|(other, _)| (other.op, other.weights) == (kernel.op, kernel.weights));
    let (least, bytes) = rivals.map(|(other, cost)| (other, cost.bytes)).min_by(|a, b| a.1.total_cmp(&b.1))?;
    (cost.bytes > MAX_BYTES * bytes).then(|| {
        let more = (cost.bytes / bytes - 1.0) * 100.0;
        format!("it pads: on these shapes it moves {more:.0} % more bytes than {least}")
    })
}

fn instructions(kernel: &KernelId, cost: &Cost, left: &[(KernelId, Cost)]) -> Option<String> {
    let same_task =
        |other: &KernelId| other.cell() == kernel.cell() && (kernel.op == Op::Gemm || other.tile.mr == kernel.tile.mr);
    let rivals = left.iter().filter(|(other, _)| same_task(other));
    let leanest = rivals.map(|(other, cost)| (other, cost.instructions)).min_by(|a, b| a.1.total_cmp(&b.1));
    let (leanest, fewest) = leanest?;
    (cost.instructions > MAX_INSTRUCTIONS * fewest)
        .then(|| format!("it needs {:.1} times the instructions of {leanest}", cost.instructions / fewest))
}

fn partners(kernel: &KernelId, _: &Cost, left: &[(KernelId, Cost)]) -> Option<String> {
    let others = || left.iter().map(|(other, _)| other).filter(|other| other.op != kernel.op);
    let layouts: HashSet<Layout> = others().map(KernelId::layout).collect();
    let other = others().next()?.op;
    let lonely = !layouts.contains(&kernel.layout());
    // Were all lonely, nothing would be left to measure.
    let some_match = left.iter().any(|(any, _)| any.op == kernel.op && layouts.contains(&any.layout()));
    (lonely && some_match).then(|| format!("no {other} candidate reads its layout {}", kernel.layout()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::Model;
    use crate::space::{Effort, Space};
    use tritune_codegen::Tile;

    fn shapes() -> Vec<Shape> {
        Model::named("bitnet-b1.58-2b4t").unwrap().shapes().collect()
    }

    fn judge(names: &[&str], shapes: &[Shape]) -> Vec<Verdict> {
        let kernels: Vec<KernelId> = names.iter().map(|name| name.parse().unwrap()).collect();
        let machine = Machine::detect(Isa::ALL);
        prune(&kernels, &machine, shapes).into_iter().map(|(_, verdict)| verdict).collect()
    }

    fn why(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Pruned(why) => why,
            Verdict::Measured(cost) => panic!("not pruned: {cost}"),
        }
    }

    #[test]
    fn costs_count_what_templates_emit() {
        let cost = |name: &str| Cost::of(&name.parse().unwrap(), &shapes());
        // A step of 16 columns by 16 rows: a load, four masks, four broadcasts and products; four accumulators, weights, codes.
        let gemv = cost("gemv_t200_1x16k64u4__avx512vnni_dot");
        assert_eq!((gemv.registers, gemv.instructions * 256.0, gemv.bytes), (6, 13.0, 0.25));
        // Without an accumulator a position: three shifts more.
        assert_eq!(cost("gemv_t200_1x16k64u1__avx512vnni_dot").instructions * 256.0, 16.0);
        // Mad, eight rows by two tokens: 1 + 7 + 4 · (2 broadcasts + 2 · 2), and a quarter of the widening of four.
        let mad = cost("gemv_t200_2x8k64u1__avx2_mad");
        assert_eq!((mad.registers, mad.instructions * 256.0), (6, 33.0));
    }

    #[test]
    fn defaults_are_never_pruned() {
        for isa in Isa::ALL {
            let space = Space::for_isa(isa).unwrap();
            for effort in [Effort::Quick, Effort::Full] {
                let candidates = [space.kernels(Op::Gemv, effort), space.kernels(Op::Gemm, effort)].concat();
                let judged = prune(&candidates, &Machine::detect([isa]), &shapes());
                let measured =
                    |kernel: &KernelId| judged.contains(&(*kernel, Verdict::Measured(Cost::of(kernel, &shapes()))));
                for kernel in space.defaults() {
                    assert!(measured(&kernel), "{kernel}");
                }
                let left = candidates.iter().filter(|kernel| measured(kernel)).count();
                let limit = if effort == Effort::Quick { 26 } else { 90 };
                assert!(left <= limit, "{isa} {effort:?}: {left}");
            }
        }
    }

    #[test]
    fn reasons_are_given() {
        let [lean, spilling] =
            &judge(&["gemm_t200_16x16k64u1__avx512vnni_dot", "gemm_t200_16x32k64u1__avx512vnni_dot"], &shapes())[..]
        else {
            panic!("two candidates, two verdicts")
        };
        assert!(matches!(lean, Verdict::Measured(_)));
        assert!(why(spilling).contains("spill"), "{spilling:?}");

        let narrow = [Shape { n: 24, k: 64 }];
        let verdicts = judge(&["gemv_t200_1x16k64u1__avx512vnni_dot", "gemv_t200_1x64k64u1__avx512vnni_dot"], &narrow);
        assert!(
            why(&verdicts[1]).contains("100 % more bytes than gemv_t200_1x16k64u1__avx512vnni_dot"),
            "{verdicts:?}"
        );

        let verdicts = judge(&["gemm_t200_1x8k64u1__avx2_mad", "gemm_t200_8x8k64u1__avx2_mad"], &shapes());
        assert!(why(&verdicts[0]).contains("times the instructions of gemm_t200_8x8k64u1__avx2_mad"), "{verdicts:?}");

        let verdicts = judge(
            &["gemv_t200_1x8k64u1__avx2_mad", "gemv_t200_1x16k64u1__avx2_mad", "gemm_t200_8x8k64u1__avx2_mad"],
            &shapes(),
        );
        assert!(why(&verdicts[1]).contains("no gemm candidate reads its layout"), "{verdicts:?}");
        assert!(matches!(verdicts[0], Verdict::Measured(_)));

        let kernel: KernelId = "gemv_t200_1x16k64u4__avx512vnni_dot".parse().unwrap();
        let judged = prune(&[kernel], &Machine::detect([Isa::Scalar]), &shapes());
        assert_eq!(why(&judged[0].1), "this machine does not run avx512vnni");
        let impossible = KernelId { tile: Tile { nr: 0, ..kernel.tile }, ..kernel };
        let judged = prune(&[impossible], &Machine::detect(Isa::ALL), &shapes());
        assert!(why(&judged[0].1).contains("at least one"));
    }

    #[test]
    fn nothing_is_pruned_down_to_nothing() {
        let tiny = [Shape { n: 1, k: 1 }];
        for (gemv, gemm) in [
            ("gemv_t200_1x16k64u1__avx2_mad", "gemm_t200_8x8k64u1__avx2_mad"),
            ("gemv_t200_1x8k64u1__avx2_mad", "gemm_t200_4x16k64u1__avx2_mad"),
        ] {
            for verdict in judge(&[gemv, gemm], &tiny) {
                assert!(matches!(verdict, Verdict::Measured(_)), "{verdict:?}");
            }
        }
        assert_eq!(judge(&["gemv_t200_1x8k64u1__avx2_mad"], &[]).len(), 1);
    }
}
