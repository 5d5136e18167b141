//! What was measured, here or on machines like this one: kernels by shape and number of threads.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use tritune_codegen::{Isa, KernelId, Schedule};
use tritune_tuning::cost::Roofline;
use tritune_tuning::machine::Machine;
use tritune_tuning::results::{Results, Tensor};

use super::cache;
use super::generated::{KERNELS, PICKS};

/// A measured shape stands for others whose rows and columns are at most so many times as many, or as few: they are as cold
/// as it is, and padding is about as large a part of them.
const CLASS: usize = 2;

/// The kernels that won for one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The machine that they were measured on.
    pub machine: Cow<'static, str>,
    /// Its architecture, vendor, family and model.
    pub microarchitecture: Cow<'static, str>,
    /// The instruction sets that it runs, plainest first; none where not all of them are known.
    pub isas: Cow<'static, [Isa]>,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Threads that they were measured with.
    pub threads: usize,
    /// The kernels, all of one layout, and how each is run.
    pub kernels: Cow<'static, [(KernelId, Schedule)]>,
    /// So many tokens or more that are left over go to one pass of the gemm.
    pub crossover: Option<usize>,
}

/// How near the machine of a measurement is to the one at hand; the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kinship {
    /// It is this one, or one that is called the same.
    Same,
    /// One of the same microarchitecture.
    Microarchitecture,
    /// One that runs the same instruction sets.
    Isas,
}

impl Kinship {
    /// What the machine of `pick` is to `here`; `None` for a stranger.
    fn of(pick: &Pick, here: &Machine) -> Option<Kinship> {
        if pick.machine == here.id {
            Some(Kinship::Same)
        } else if pick.microarchitecture == here.microarchitecture {
            Some(Kinship::Microarchitecture)
        } else {
            (!pick.isas.is_empty() && *pick.isas == here.tier()).then_some(Kinship::Isas)
        }
    }
}

impl fmt::Display for Kinship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kinship::Same => "this machine",
            Kinship::Microarchitecture => "a machine of the same microarchitecture",
            Kinship::Isas => "a machine of the same instruction sets",
        })
    }
}

/// A pick that may serve a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) pick: &'a Pick,
    pub(super) kinship: Kinship,
    /// Whether it was measured for this very shape, and not for one like it.
    pub(super) is_exact: bool,
}

/// The picks that may apply to this machine.
#[derive(Clone, Debug, Default)]
pub struct Picks {
    /// Of equals the first counts.
    picks: Vec<(Kinship, Pick)>,
    /// What is known of this machine's memory.
    roofline: Roofline,
    /// Results that should have been read and could not be.
    notes: Vec<String>,
}

impl Picks {
    /// What the user's own results say, and what was compiled in, for the machine that this process runs on; read once.
    pub(super) fn here() -> Self {
        static HERE: LazyLock<Picks> = LazyLock::new(|| {
            let machine = Machine::detect(Isa::here());
            let own = cache::results_cache().map_or(Ok(None), |path| cache::read(&path, &machine, KERNELS));
            Picks::new(&machine, own, PICKS)
        });
        HERE.clone()
    }

    /// What applies to `machine`: its user's `own` results, or why they are not used, before those compiled in.
    pub(super) fn new(machine: &Machine, own: Result<Option<Results>, String>, compiled: &[Pick]) -> Self {
        let (own, notes) = match own {
            Ok(own) => (own, Vec::new()),
            Err(note) => (None, vec![note]),
        };
        let roofline = own.as_ref().map(|own| Roofline::new(&own.bandwidths)).unwrap_or_default();
        let own = own.iter().flat_map(Pick::all);
        let related = own.chain(compiled.iter().cloned());
        let picks = related.filter_map(|pick| Some((Kinship::of(&pick, machine)?, pick))).collect();
        Picks { picks, roofline, notes }
    }

    /// Every pick that may serve a shape, the most to be trusted first: by kinship of the machine; then by shape, this
    /// very one before the nearest of its class, as |ln n/n′| + |ln k/k′| has it; then by number of threads.
    pub(super) fn find(&self, n: usize, k: usize, threads: usize) -> Vec<Found<'_>> {
        let alike = |a: usize, b: usize| a.max(b) <= a.min(b).saturating_mul(CLASS);
        let of_class = self.picks.iter().filter(|(_, pick)| alike(pick.n, n) && alike(pick.k, k));
        let apart = |a: usize, b: usize| (a as f64 / b as f64).ln().abs();
        let distance = |pick: &Pick| apart(pick.n, n) + apart(pick.k, k);
        let mut found: Vec<&(Kinship, Pick)> = of_class.collect();
        found.sort_by(|(kinship, pick), (other_kinship, other)| {
            let nearer = distance(pick).total_cmp(&distance(other));
            let by_threads = || pick.threads.abs_diff(threads).cmp(&other.threads.abs_diff(threads));
            kinship.cmp(other_kinship).then(nearer).then_with(by_threads)
        });
        let found = found.into_iter();
        found.map(|(kinship, pick)| Found { pick, kinship: *kinship, is_exact: (pick.n, pick.k) == (n, k) }).collect()
    }

    /// What is known of this machine's memory.
    pub(super) fn roofline(&self) -> &Roofline {
        &self.roofline
    }

    /// Results that should have been read and could not be, and what to do.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Pick {
    /// The picks of a results file.
    fn all(results: &Results) -> Vec<Pick> {
        let machine = &results.machine;
        let pick = |Tensor { shape, threads, candidates, crossover }| Pick {
            machine: machine.id.clone().into(),
            microarchitecture: machine.microarchitecture.clone().into(),
            isas: machine.tier().into(),
            n: shape.n,
            k: shape.k,
            threads,
            kernels: candidates.into_iter().map(|candidate| (candidate.kernel, candidate.schedule)).collect(),
            crossover,
        };
        results.tensors().into_iter().map(pick).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine by this name, of this microarchitecture, with the instruction sets of the one at hand.
    pub(in super::super) fn machine(id: &str, microarchitecture: &str) -> Machine {
        let here = Machine::detect(Isa::here());
        Machine { id: id.into(), microarchitecture: microarchitecture.into(), ..here }
    }

    /// A pick for `n × 64` weights.
    pub(in super::super) fn pick(machine: &Machine, n: usize, threads: usize, kernels: &[KernelId]) -> Pick {
        Pick {
            machine: machine.id.clone().into(),
            microarchitecture: machine.microarchitecture.clone().into(),
            isas: machine.tier().into(),
            n,
            k: 64,
            threads,
            kernels: kernels.iter().map(|id| (*id, Schedule::default())).collect(),
            crossover: None,
        }
    }

    fn found(picks: &Picks, n: usize, k: usize, threads: usize) -> Vec<(String, usize, usize)> {
        let found = picks.find(n, k, threads).into_iter();
        found.map(|found| (found.pick.machine.to_string(), found.pick.n, found.pick.threads)).collect()
    }

    #[test]
    fn nearest_number_of_threads() {
        let here = machine("here", "new");
        let picks = Picks::new(&here, Ok(None), &[(64, 1), (64, 8), (32, 2)].map(|(n, t)| pick(&here, n, t, &[])));
        assert_eq!(picks.find(64, 64, 2)[0].pick.threads, 1);
        assert_eq!(picks.find(64, 64, 6)[0].pick.threads, 8);
        assert_eq!(picks.find(32, 64, 9)[0].pick.threads, 2);
    }

    #[test]
    fn the_nearest_machine_comes_first_then_the_nearest_shape() {
        let here = machine("here", "new");
        let (sibling, cousin) = (machine("sibling", "new"), machine("cousin", "old"));
        let stranger =
            Machine { isas: vec!["scalar".into(), "neon".into(), "avx2".into()], ..machine("stranger", "old") };
        let unknown = Machine { isas: vec!["scalar".into(), "avx10".into()], ..machine("unknown", "old") };
        let compiled = [
            pick(&stranger, 100, 1, &[]),
            pick(&unknown, 100, 1, &[]),
            pick(&cousin, 100, 1, &[]),
            pick(&sibling, 120, 1, &[]),
            pick(&sibling, 100, 2, &[]),
            pick(&here, 180, 1, &[]),
            pick(&here, 90, 8, &[]),
        ];
        let picks = Picks::new(&here, Ok(None), &compiled);
        let expected =
            [("here", 90, 8), ("here", 180, 1), ("sibling", 100, 2), ("sibling", 120, 1), ("cousin", 100, 1)];
        assert_eq!(found(&picks, 100, 64, 1), expected.map(|(name, n, threads)| (name.to_string(), n, threads)));
        let exact: Vec<bool> = picks.find(100, 64, 1).iter().map(|found| found.is_exact).collect();
        assert_eq!(exact, [false, false, true, false, true]);
        let kinships: Vec<Kinship> = picks.find(100, 64, 1).iter().map(|found| found.kinship).collect();
        assert!(kinships.is_sorted() && kinships[4] == Kinship::Isas);
    }

    #[test]
    fn classes_end_at_twice_and_half() {
        let here = machine("here", "new");
        let picks = Picks::new(&here, Ok(None), &[pick(&here, 100, 1, &[])]);
        for (n, k, is_found) in [
            (50, 64, true),
            (49, 64, false),
            (200, 64, true),
            (201, 64, false),
            (100, 32, true),
            (100, 31, false),
            (100, 128, true),
            (100, 129, false),
            (200, 32, true),
            (usize::MAX, 64, false),
            (1, 1, false),
        ] {
            assert_eq!(!picks.find(n, k, 1).is_empty(), is_found, "{n}x{k}");
        }
        // Rows and columns count alike: 130 × 64 is nearer to 100 × 64 than 100 × 110 is.
        let (wide, tall) = (Pick { k: 110, ..pick(&here, 100, 1, &[]) }, pick(&here, 130, 1, &[]));
        let picks = Picks::new(&here, Ok(None), &[wide, tall]);
        assert_eq!(picks.find(100, 64, 1)[0].pick.n, 130);
    }

    #[test]
    fn why_own_results_are_not_used_is_kept() {
        let here = machine("here", "new");
        let picks = Picks::new(&here, Err("damaged".into()), &[pick(&here, 100, 1, &[])]);
        assert_eq!(picks.notes(), ["damaged"]);
        assert_eq!(picks.find(100, 64, 1).len(), 1);
    }
}
