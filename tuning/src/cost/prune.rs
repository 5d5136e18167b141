//! Which candidates need not be measured, for others of their kind cannot but be faster.
//!
//! Knows no latencies and no caches, and no times: kernels of different weight codes or methods are left for measuring to
//! compare.

use std::collections::HashSet;
use std::fmt;

use tritune_codegen::{Isa, KernelId, Layout, Op};

use super::Cost;
use crate::machine::Machine;
use crate::shapes::Shape;

/// A candidate that moves more than this many times the bytes of the thriftiest is padding, not packing.
const MAX_BYTES: f64 = 1.125;

/// A candidate that needs more than this many times the instructions of the leanest has no memory wall to hide behind.
const MAX_INSTRUCTIONS: f64 = 1.5;

/// What becomes of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is measured.
    Measured(Cost),
    /// It is not, and why.
    Pruned(Reason),
}

/// Why a candidate cannot win, or not be run at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// No such kernel can be generated.
    Impossible(String),
    /// The machine lacks its instruction set.
    NotHere(Isa),
    /// More registers are live in its loop than there are.
    Spills {
        /// How many.
        live: usize,
        /// Of which instruction set.
        isa: Isa,
    },
    /// It moves more bytes than another of its weight code.
    Pads {
        /// How many times as many.
        ratio: f64,
        /// The other.
        than: KernelId,
    },
    /// It needs more instructions than another of its cell.
    Instructions {
        /// How many times as many.
        ratio: f64,
        /// The other.
        than: KernelId,
    },
    /// No kernel for the other operation reads its layout.
    Partnerless {
        /// The other operation.
        op: Op,
        /// The layout.
        layout: Layout,
    },
}

impl Reason {
    /// In a few words, alike for all candidates that are pruned for the same reason.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Impossible(_) => "cannot be generated",
            Reason::NotHere(_) => "not for this machine",
            Reason::Spills { .. } => "would spill",
            Reason::Pads { .. } => "padding",
            Reason::Instructions { .. } => "too many instructions",
            Reason::Partnerless { .. } => "no partner of their layout",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Impossible(why) => f.write_str(why),
            Reason::NotHere(isa) => write!(f, "this machine does not run {isa}"),
            Reason::Spills { live, isa } => {
                let available = isa.vector_registers();
                write!(f, "it would spill: {live} registers are live in its loop, {isa} has {available}")
            }
            Reason::Pads { ratio, than } => {
                let more = (ratio - 1.0) * 100.0;
                write!(f, "it pads: on these shapes it moves {more:.0} % more bytes than {than}")
            }
            Reason::Instructions { ratio, than } => write!(f, "it needs {ratio:.1} times the instructions of {than}"),
            Reason::Partnerless { op, layout } => write!(f, "no {op} candidate reads its layout {layout}"),
        }
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
fn alone(kernel: &KernelId, machine: &Machine, shapes: &[Shape]) -> Result<Cost, Reason> {
    kernel.check().map_err(|error| Reason::Impossible(error.why))?;
    if !machine.runs(kernel.isa) {
        return Err(Reason::NotHere(kernel.isa));
    }
    let cost = Cost::of(kernel, shapes);
    // One lane is no vector: which registers plain code takes is the compiler's affair.
    if kernel.isa.vector_bytes() > 4 && cost.registers > kernel.isa.vector_registers() {
        return Err(Reason::Spills { live: cost.registers, isa: kernel.isa });
    }
    Ok(cost)
}

fn padding(kernel: &KernelId, cost: &Cost, left: &[(KernelId, Cost)]) -> Option<Reason> {
    let rivals = left.iter().filter(|(other, _)| (other.op, other.weights) == (kernel.op, kernel.weights));
    let (least, bytes) = rivals.map(|(other, cost)| (other, cost.bytes)).min_by(|a, b| a.1.total_cmp(&b.1))?;
    (cost.bytes > MAX_BYTES * bytes).then(|| Reason::Pads { ratio: cost.bytes / bytes, than: *least })
}

fn instructions(kernel: &KernelId, cost: &Cost, left: &[(KernelId, Cost)]) -> Option<Reason> {
    let same_task =
        |other: &KernelId| other.cell() == kernel.cell() && (kernel.op == Op::Gemm || other.tile.mr == kernel.tile.mr);
    let rivals = left.iter().filter(|(other, _)| same_task(other));
    let leanest = rivals.map(|(other, cost)| (other, cost.instructions)).min_by(|a, b| a.1.total_cmp(&b.1));
    let (leanest, fewest) = leanest?;
    (cost.instructions > MAX_INSTRUCTIONS * fewest)
        .then(|| Reason::Instructions { ratio: cost.instructions / fewest, than: *leanest })
}

fn partners(kernel: &KernelId, _: &Cost, left: &[(KernelId, Cost)]) -> Option<Reason> {
    let others = || left.iter().map(|(other, _)| other).filter(|other| other.op != kernel.op);
    let layouts: HashSet<Layout> = others().map(KernelId::layout).collect();
    let other = others().next()?.op;
    let lonely = !layouts.contains(&kernel.layout());
    // Were all lonely, nothing would be left to measure.
    let some_match = left.iter().any(|(any, _)| any.op == kernel.op && layouts.contains(&any.layout()));
    (lonely && some_match).then(|| Reason::Partnerless { op: other, layout: kernel.layout() })
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

    fn why(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Pruned(why) => why.to_string(),
            Verdict::Measured(cost) => panic!("not pruned: {cost}"),
        }
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
