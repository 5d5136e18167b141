//! Which kernels compute a matrix: what is forced; else what was tuned on this machine, on one of its microarchitecture, or
//! on one of its instruction sets; else the default of the best instruction set, unless the analytic model is sure of better.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use tritune_codegen::{Isa, KernelId, Layout, Method, NameError, Op, Schedule};
use tritune_tuning::case::{self, Case, PROMPT};
use tritune_tuning::pick::{self, Weighting};
use tritune_tuning::shapes::Shape;

use super::generated::{DEFAULTS, KERNELS};
use super::picks::{Found, Kinship, Picks};
use super::runnable::{Kernel, Runnable};
use super::self_check::{self, Fault};

/// An instruction set or kernel that must be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Only this instruction set, and those below it for what it has no kernel for.
    Isa(Isa),
    /// This kernel, and others only for what it cannot do.
    Kernel(KernelId),
}

impl FromStr for Force {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        match name.contains("__") {
            true => name.parse().map(Force::Kernel),
            false => name.parse().map(Force::Isa),
        }
    }
}

impl fmt::Display for Force {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Force::Isa(isa) => isa.fmt(f),
            Force::Kernel(id) => id.fmt(f),
        }
    }
}

/// The policy by which kernels are chosen for every matrix of a model.
#[derive(Clone, Debug)]
pub struct Selection {
    table: &'static [Kernel],
    force: Option<Force>,
    threads: usize,
    picks: Picks,
    /// Whether a kernel that fails its self-check is an error, and none is taken in its place.
    strict: bool,
}

/// Where a choice came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Asked for.
    Forced(Force),
    /// Measured.
    Tuned {
        /// The machine's name, which is its results file's.
        machine: String,
        /// What it is to this one.
        kinship: Kinship,
        /// The nearest shape that was measured, where this one was not.
        nearest: Option<Shape>,
        /// The number of threads that it was measured with, where that is another one than the plan's.
        threads: Option<usize>,
    },
    /// Predicted to be faster than the defaults, by more than predictions are wrong.
    Analytic,
    /// The default menu of an instruction set.
    Default(Isa),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Forced(force) => write!(f, "forced: {force}"),
            Source::Tuned { machine, kinship, nearest, threads } => {
                match kinship {
                    Kinship::Same => write!(f, "tuned here, on {machine}")?,
                    kin => write!(f, "tuned on {machine}, {kin}")?,
                }
                nearest.map_or(Ok(()), |shape| write!(f, ", for {shape}, the nearest shape measured"))?;
                let plural = if *threads == Some(1) { "" } else { "s" };
                threads.map_or(Ok(()), |count| write!(f, ", on {count} thread{plural}, the nearest number measured"))
            }
            Source::Analytic => write!(f, "analytic model: sure to be faster than the default"),
            Source::Default(isa) => write!(f, "default of {isa}"),
        }
    }
}

/// Kernels that may serve a matrix together, before they are proved.
struct Menu {
    source: Source,
    /// All of one layout, and how each is run.
    kernels: Vec<(KernelId, Schedule)>,
    crossover: Option<usize>,
    /// Why none of it is to be used.
    unfit: Option<String>,
}

impl Menu {
    /// What was measured, for a plan that runs on `threads` threads, and a matrix whose layout must do as `fits` says.
    fn tuned(found: Found<'_>, threads: usize, fits: impl Fn(KernelId) -> Result<(), String>) -> Self {
        let Found { pick, kinship, is_exact } = found;
        let nearest = (!is_exact).then_some(Shape { n: pick.n, k: pick.k });
        let threads = (pick.threads != threads).then_some(pick.threads);
        let source = Source::Tuned { machine: pick.machine.to_string(), kinship, nearest, threads };
        let why = pick.kernels.iter().find_map(|(id, _)| fits(*id).err());
        let unfit = why.map(|why| format!("what was {source}: {why}"));
        Menu { source, kernels: pick.kernels.to_vec(), crossover: pick.crossover, unfit }
    }

    fn untuned(source: Source, kernels: impl IntoIterator<Item = KernelId>) -> Self {
        let kernels = kernels.into_iter().map(|id| (id, Schedule::default())).collect();
        Menu { source, kernels, crossover: None, unfit: None }
    }
}

/// The kernels that compute a matrix; all read one layout, since weights are packed once.
#[derive(Clone, Debug)]
pub struct Choice {
    /// By tokens computed together, most first; never empty.
    kernels: Vec<Runnable>,
    /// So many tokens or more that are left over go to one pass of the gemm, for more of them than there are.
    crossover: Option<usize>,
    /// Where the choice came from.
    pub source: Source,
    /// What was passed over, and why: kernels that failed their self-check, picks that do not apply.
    pub notes: Vec<String>,
}

impl Choice {
    /// One kernel for everything.
    pub fn only(kernel: Runnable) -> Self {
        let id = kernel.id();
        let source = Source::Forced(Force::Kernel(id));
        Choice { kernels: vec![kernel], crossover: None, source, notes: Vec::new() }
    }

    /// These kernels, of one layout, one for each number of tokens and operation; with two, the first is kept.
    ///
    /// # Panics
    /// Where there is none, or they differ in layout.
    pub fn of(mut kernels: Vec<Runnable>, crossover: Option<usize>, source: Source, notes: Vec<String>) -> Self {
        kernels.sort_by_key(|kernel| (std::cmp::Reverse(kernel.tokens()), kernel.id().op));
        kernels.dedup_by_key(|kernel| (kernel.tokens(), kernel.id().op));
        assert!(kernels.windows(2).all(|pair| pair[0].id().layout() == pair[1].id().layout()), "packed once");
        assert!(!kernels.is_empty(), "a choice has kernels");
        Choice { kernels, crossover, source, notes }
    }

    /// The kernel for the next tokens where `m` are left: the widest that does not exceed them, else the narrowest. Of
    /// two as wide, the gemm where more passes follow, the gemv where one pass is all. From the crossover on, tokens left
    /// over by the narrowest gemm go to it all the same.
    pub fn kernel(&self, m: usize) -> &Runnable {
        let gemm = self.kernels.iter().rfind(|kernel| kernel.id().op == Op::Gemm);
        if let Some(gemm) = gemm.filter(|gemm| m < gemm.tokens() && self.crossover.is_some_and(|least| m >= least)) {
            return gemm;
        }
        let narrowest = &self.kernels[self.kernels.len() - 1];
        let widest = self.kernels.iter().find(|kernel| kernel.tokens() <= m).unwrap_or(narrowest);
        let op = if m >= 2 * widest.tokens() { Op::Gemm } else { Op::Gemv };
        let equal = self.kernels.iter().filter(|kernel| kernel.tokens() == widest.tokens());
        equal.into_iter().find(|kernel| kernel.id().op == op).unwrap_or(widest)
    }

    /// How the weights are to be packed.
    pub fn layout(&self) -> Layout {
        self.kernels[0].id().layout()
    }

    /// All kernels, most tokens first.
    pub fn kernels(&self) -> &[Runnable] {
        &self.kernels
    }

    /// So many tokens or more that are left over go to one pass of the gemm; absent where that was not measured.
    pub fn crossover(&self) -> Option<usize> {
        self.crossover
    }
}

impl Selection {
    /// The policy for plans that run on `threads` threads: `force` if given, else what was measured, else what is sure to be
    /// faster than the defaults, else those.
    ///
    /// # Errors
    /// Where what is forced is not compiled in, or this machine cannot run it.
    pub fn new(force: Option<Force>, threads: usize) -> Result<Self, SelectionError> {
        Self::of(KERNELS, force, threads, Picks::here())
    }

    /// The same, but that a kernel which fails its self-check is an error, in place of the next kernel being taken.
    #[must_use]
    pub fn strict(self) -> Self {
        Selection { strict: true, ..self }
    }

    /// The policy over a table of kernels.
    pub(super) fn of(
        table: &'static [Kernel],
        force: Option<Force>,
        threads: usize,
        picks: Picks,
    ) -> Result<Self, SelectionError> {
        match force {
            Some(Force::Isa(isa)) if !isa.detected() => return Err(SelectionError::NotHere { isa }),
            Some(Force::Kernel(kernel)) if !table.iter().any(|known| known.id == kernel) => {
                return Err(SelectionError::NotCompiled { kernel });
            }
            Some(Force::Kernel(kernel)) if !kernel.detected() => {
                return Err(SelectionError::Forced { kernel, why: lacking(kernel) });
            }
            _ => (),
        }
        Ok(Selection { table, force, threads, picks, strict: false })
    }

    /// What was asked for.
    pub fn force(&self) -> Option<Force> {
        self.force
    }

    /// Threads that the plan is for.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Instruction sets to use, most wanted first.
    pub fn isas(&self) -> Vec<Isa> {
        match self.force {
            Some(Force::Isa(isa)) | Some(Force::Kernel(KernelId { isa, .. })) => isa.descent().collect(),
            None => Isa::here().into_iter().rev().collect(),
        }
    }

    /// Chooses for an `n × k` matrix whose weights have a scale of their own every `block` columns (`k`: one a row).
    ///
    /// Every kernel chosen has passed its self-check; one that failed is left out, and noted.
    ///
    /// # Errors
    /// Where a forced kernel does not fit the matrix or fails its self-check, or no kernel is left.
    pub fn choose(&self, n: usize, k: usize, block: usize) -> Result<Choice, SelectionError> {
        let mut notes = self.picks.notes().to_vec();
        if let Some(Force::Kernel(kernel)) = self.force
            && !kernel.layout().keeps_apart(k, block)
        {
            let why = format!("its layout {} does not keep blocks of {block} columns apart", kernel.layout());
            return Err(SelectionError::Forced { kernel, why });
        }
        for Menu { source, kernels: menu, crossover, unfit } in self.menus(n, k, block) {
            if let Some(why) = unfit {
                notes.push(why);
                continue;
            }
            let mut kernels = Vec::new();
            for &(id, schedule) in &menu {
                match self.prove(id)? {
                    Ok(kernel) => kernels.push(kernel.scheduled(schedule)),
                    Err(why) if self.force == Some(Force::Kernel(id)) => {
                        return Err(SelectionError::Forced { kernel: id, why });
                    }
                    Err(why) => notes.push(why),
                }
            }
            if kernels.is_empty() {
                match (self.force, menu.first()) {
                    // Where it has no kernel that fits, the next below it serves; where it has, and all are wrong, not.
                    (Some(Force::Isa(isa)), Some((first, _))) if first.isa == isa => {
                        return Err(SelectionError::ForcedIsa { isa, notes: notes.join("; ") });
                    }
                    _ => continue,
                }
            }
            // What was measured serves every number of tokens as it was measured.
            let measured = matches!(source, Source::Tuned { .. });
            if !(measured && kernels.iter().any(|kernel| kernel.tokens() == 1)) {
                self.complete(&mut kernels, &mut notes)?;
            }
            return Ok(Choice::of(kernels, crossover, source, notes));
        }
        Err(SelectionError::None { n, k, block, notes: notes.join("; ") })
    }

    /// Candidate menus, most wanted first; the kernels of one share a layout that keeps blocks apart.
    fn menus(&self, n: usize, k: usize, block: usize) -> Vec<Menu> {
        match self.force {
            Some(Force::Kernel(id)) => vec![Menu::untuned(Source::Forced(Force::Kernel(id)), [id])],
            Some(Force::Isa(_)) => self.chosen_by_hand(k, block),
            None => {
                let (mut menus, by_hand) = (self.tuned(n, k, block), self.chosen_by_hand(k, block));
                menus.extend(self.analytic(n, k, block, &by_hand));
                menus.extend(by_hand);
                menus
            }
        }
    }

    /// What was measured; of picks that name the same kernels, the first.
    fn tuned(&self, n: usize, k: usize, block: usize) -> Vec<Menu> {
        let fits = |id: KernelId| {
            if !id.layout().keeps_apart(k, block) {
                return Err(format!("{id} does not keep blocks of {block} columns apart"));
            }
            self.kernel(id).map(|_| ())
        };
        let mut menus: Vec<Menu> = Vec::new();
        for found in self.picks.find(n, k, self.threads) {
            if menus.iter().all(|menu| menu.kernels != *found.pick.kernels) {
                menus.push(Menu::tuned(found, self.threads, fits));
            }
        }
        menus
    }

    /// The default of each instruction set; then, for what no default fits, all kernels of the first layout that keeps the
    /// blocks apart.
    fn chosen_by_hand(&self, k: usize, block: usize) -> Vec<Menu> {
        let fits = |id: &KernelId| id.layout().keeps_apart(k, block);
        let isas = self.isas();
        let source = |isa| self.force.map_or(Source::Default(isa), Source::Forced);
        let mut menus = Vec::new();
        for isa in &isas {
            menus.push(Menu::untuned(source(*isa), DEFAULTS.iter().copied().filter(|id| id.isa == *isa && fits(id))));
        }
        for isa in &isas {
            let own = || self.table.iter().map(|kernel| kernel.id).filter(|id| id.isa == *isa);
            if let Some(layout) = own().find(fits).map(|id| id.layout()) {
                menus.push(Menu::untuned(source(*isa), own().filter(|id| id.layout() == layout)));
            }
        }
        menus
    }

    /// What the analytic model picks of all that is compiled in; none where it leaves what was chosen by hand as it is.
    fn analytic(&self, n: usize, k: usize, block: usize, by_hand: &[Menu]) -> Option<Menu> {
        let fits = |id: &KernelId| id.layout().keeps_apart(k, block) && id.detected();
        let candidates = case::partnered(self.table.iter().map(|kernel| kernel.id).filter(fits).collect());
        let known = |menu: &Menu| -> Vec<KernelId> {
            menu.kernels.iter().map(|(id, _)| *id).filter(|id| candidates.contains(id)).collect()
        };
        let defaults: Vec<KernelId> = by_hand.iter().flat_map(known).collect();
        // Where what would run has no gemv of its own, its gemm serves, which a gemv's case does not rate.
        let own = by_hand.iter().map(known).find(|own| !own.is_empty())?;
        let cases = Case::list(&[Shape { n, k }], &[self.threads], &own, &[PROMPT]);
        let cases = case::telling(cases, &candidates);
        let picks = pick::predicted(&cases, &candidates, &defaults, self.picks.roofline(), Weighting::default());
        let is_sure = picks.iter().any(|pick| Some(pick.kernel) != pick.default);
        // A kernel that computes more tokens in several passes is there once.
        let kernels: BTreeSet<KernelId> = picks.into_iter().map(|pick| pick.kernel).collect();
        is_sure.then(|| Menu::untuned(Source::Analytic, kernels))
    }

    /// Adds, for the tokens that kernels leave over, others of their layout for fewer tokens than their widest: of the most
    /// wanted instruction set that has one that is right; lookups before products, since their layouts are made for them.
    fn complete(&self, kernels: &mut Vec<Runnable>, notes: &mut Vec<String>) -> Result<(), SelectionError> {
        let widest = kernels.iter().map(Runnable::tokens).max().unwrap_or(0);
        let Some(layout) = kernels.first().map(|kernel| kernel.id().layout()) else { return Ok(()) };
        for isa in self.isas() {
            let others = self.table.iter().map(|kernel| kernel.id).filter(|id| id.isa == isa && id.layout() == layout);
            let mut others: Vec<KernelId> =
                others.filter(|id| usize::from(id.tile.mr) < widest && id.detected()).collect();
            others.sort_by_key(|id| id.method != Method::Lut);
            for other in others {
                if kernels.iter().all(|kernel| kernel.id().tile.mr != other.tile.mr) {
                    match self.prove(other)? {
                        Ok(kernel) => kernels.push(kernel),
                        Err(why) => notes.push(why),
                    }
                }
            }
        }
        Ok(())
    }

    /// A kernel that is compiled in, runs here, and has passed its self-check; else why it is passed over.
    fn prove(&self, id: KernelId) -> Result<Result<Runnable, String>, SelectionError> {
        let kernel = match self.kernel(id) {
            Ok(kernel) => kernel,
            Err(why) => return Ok(Err(why)),
        };
        let span = tracing::debug_span!("self-check", kernel = %id);
        match span.in_scope(|| self_check::check(&kernel)) {
            Ok(()) => Ok(Ok(kernel)),
            Err(fault) if self.strict => Err(SelectionError::Fault { fault }),
            Err(fault) => {
                tracing::warn!(kernel = %id, %fault, "recovery: the next kernel is taken");
                Ok(Err(fault.to_string()))
            }
        }
    }

    /// A kernel that is compiled in and runs here.
    fn kernel(&self, id: KernelId) -> Result<Runnable, String> {
        let kernel = self.table.iter().find(|kernel| kernel.id == id);
        let kernel = kernel.ok_or_else(|| format!("kernel {id} is not compiled in"))?;
        kernel.detect().ok_or_else(|| lacking(id))
    }
}

/// Why this machine does not run a kernel.
fn lacking(kernel: KernelId) -> String {
    let missing: Vec<&str> = kernel.missing_features().collect();
    format!("this machine lacks {} for {kernel}", missing.join(", "))
}

/// No kernel, or not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The forced kernel is unknown to this binary.
    #[error("kernel {kernel} is not compiled in; `tritune kernels` lists those that are")]
    NotCompiled {
        /// The kernel.
        kernel: KernelId,
    },
    /// The forced instruction set is not this machine's.
    #[error("this machine does not run {isa}; `tritune kernels` lists what it runs")]
    NotHere {
        /// The instruction set.
        isa: Isa,
    },
    /// The forced kernel cannot be trusted.
    #[error("forced kernel {kernel} cannot be used: {why}")]
    Forced {
        /// The kernel.
        kernel: KernelId,
        /// Why.
        why: String,
    },
    /// The forced instruction set cannot be trusted.
    #[error("no kernel of the forced instruction set {isa} can be used: {notes}")]
    ForcedIsa {
        /// The instruction set.
        isa: Isa,
        /// Why.
        notes: String,
    },
    /// A kernel is wrong, and no other was to be taken in its place.
    #[error("{fault}; report it, and load with other kernels meanwhile (`Recovery::Degrade`)")]
    Fault {
        /// What is wrong.
        fault: Fault,
    },
    /// Nothing is left.
    #[error("no kernel serves {n} × {k} weights with a scale for each {block} columns: {notes}")]
    None {
        /// Rows.
        n: usize,
        /// Columns.
        k: usize,
        /// Columns of a block.
        block: usize,
        /// What was passed over.
        notes: String,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::picks::Pick;
    use super::super::picks::tests::{machine, pick};
    use super::super::runnable::Args;
    use super::*;
    use tritune_tuning::machine::Machine;

    /// A kernel that computes nothing.
    unsafe fn idle(_: &Args) {}

    /// The table with an idle function in the place of some kernels' own.
    fn table(idles: impl Fn(KernelId) -> bool) -> &'static [Kernel] {
        let broken = |kernel: &Kernel| match idles(kernel.id) {
            true => Kernel::new(kernel.id, kernel.source_hash, idle),
            false => *kernel,
        };
        Vec::leak(KERNELS.iter().map(broken).collect())
    }

    /// The usual policy, over a table in which the best default kernel for one token computes nothing.
    pub(crate) fn selection_with_a_liar() -> Selection {
        let best = selection(KERNELS, None).choose(100, 300, 300).unwrap().kernel(1).id();
        selection(table(|id| id == best), None)
    }

    fn selection(table: &'static [Kernel], force: Option<Force>) -> Selection {
        Selection::of(table, force, 1, Picks::default()).unwrap()
    }

    /// What was measured on this machine, on one thread, for one shape.
    fn picked(n: usize, k: usize, kernels: &[(KernelId, Schedule)], crossover: Option<usize>) -> Picks {
        let here = machine("here", "new");
        let kernels = kernels.to_vec().into();
        Picks::new(&here, Ok(None), &[Pick { k, kernels, crossover, ..pick(&here, n, 1, &[]) }])
    }

    /// Some kernels that this machine runs.
    fn some(count: usize) -> Vec<KernelId> {
        let here = KERNELS.iter().filter(|kernel| kernel.id.detected());
        let some: Vec<KernelId> = here.map(|kernel| kernel.id).take(count).collect();
        assert_eq!(some.len(), count);
        some
    }

    /// What a single token is computed with where nothing is forced or measured.
    fn best_default() -> KernelId {
        selection(KERNELS, None).choose(100, 300, 300).unwrap().kernel(1).id()
    }

    #[test]
    fn a_kernel_that_fails_its_check_is_replaced_and_named() {
        let liar = best_default();
        let choice = selection(table(|id| id == liar), None).choose(100, 300, 300).unwrap();
        assert!(choice.kernels().iter().all(|kernel| kernel.id() != liar));
        assert!(choice.notes.iter().any(|note| note.contains(&liar.to_string())), "{:?}", choice.notes);
    }

    /// Each in turn, with what extends it: prompts and single tokens go to what the machine would run without them.
    #[test]
    fn an_instruction_set_that_fails_as_a_whole_gives_way_to_the_next() {
        for broken in Isa::here().into_iter().filter(|isa| *isa != Isa::Scalar) {
            let fails = |isa: Isa| isa.extends(broken);
            let choice = selection(table(|id| fails(id.isa)), None).choose(100, 300, 300).unwrap();
            assert!(choice.kernels().iter().all(|kernel| !fails(kernel.id().isa)), "{broken}");
            let Source::Default(next) = choice.source else { panic!("{}", choice.source) };
            let own = selection(KERNELS, Some(Force::Isa(next))).choose(100, 300, 300).unwrap();
            for m in [1, 512] {
                assert_eq!(choice.kernel(m).id(), own.kernel(m).id(), "without {broken}, for {m} tokens");
            }
            let forced = selection(table(|id| fails(id.isa)), Some(Force::Isa(broken))).choose(100, 300, 300);
            assert!(matches!(forced, Err(SelectionError::ForcedIsa { isa, .. }) if isa == broken), "{forced:?}");
        }
    }

    #[test]
    fn what_is_forced_and_wrong_is_an_error() {
        let liar = best_default();
        let error = selection(table(|id| id == liar), Some(Force::Kernel(liar))).choose(9, 9, 9).unwrap_err();
        assert!(error.to_string().contains(&format!("forced kernel {liar}")), "{error}");
        let all = selection(table(|_| true), None).choose(9, 9, 9).unwrap_err();
        assert!(all.to_string().contains("is wrong"), "{all}");
    }

    #[test]
    fn forced_kernels_and_instruction_sets_are_used() {
        for kernel in KERNELS.iter().filter(|kernel| kernel.detect().is_some()) {
            let force = Force::Kernel(kernel.id);
            let choice = selection(KERNELS, Some(force)).choose(100, 300, 300).unwrap();
            assert_eq!(choice.layout(), kernel.id.layout());
            let tokens = usize::from(kernel.id.tile.mr);
            assert_eq!(choice.kernel(tokens).id(), kernel.id, "for {tokens} tokens");
            assert_eq!(choice.source, Source::Forced(force));
        }
        for isa in Isa::here() {
            let choice = selection(KERNELS, Some(Force::Isa(isa))).choose(100, 300, 300).unwrap();
            assert!(choice.kernels().iter().any(|kernel| kernel.id().isa == isa));
            assert!(choice.kernels().iter().all(|kernel| isa.extends(kernel.id().isa)));
        }
    }

    #[test]
    fn what_cannot_be_forced_is_refused_by_name() {
        let absent: KernelId = "gemv_t200_7x24k16u1__scalar_dot".parse().unwrap();
        let error = Selection::new(Some(Force::Kernel(absent)), 1).unwrap_err();
        assert!(error.to_string().contains("not compiled in"), "{error}");
        if let Some(isa) = Isa::ALL.into_iter().find(|isa| !isa.detected()) {
            assert_eq!(Selection::new(Some(Force::Isa(isa)), 1).unwrap_err(), SelectionError::NotHere { isa });
        }
        assert!("avx3".parse::<Force>().unwrap_err().to_string().contains("avx512vnni"));
    }

    #[test]
    fn picks_of_this_machine_come_first_where_they_fit() {
        let slow = *DEFAULTS.iter().find(|id| id.isa == Isa::Scalar).unwrap();
        let schedule = Schedule { pieces: 2, ahead: 1024 };
        let isa = DEFAULTS.iter().find(|id| id.isa.detected()).unwrap().isa;
        let selection = Selection::of(KERNELS, None, 1, picked(100, 300, &[(slow, schedule)], None)).unwrap();
        let tuned = selection.choose(100, 300, 300).unwrap();
        assert_eq!(tuned.source.to_string(), "tuned here, on here");
        assert_eq!((tuned.kernel(1).id(), tuned.kernel(1).schedule()), (slow, schedule));
        let near = selection.choose(101, 300, 300).unwrap();
        assert_eq!(near.source.to_string(), "tuned here, on here, for 100x300, the nearest shape measured");
        assert_eq!((near.kernel(1).id(), near.kernel(1).schedule()), (slow, schedule));
        assert_eq!(selection.choose(201, 300, 300).unwrap().source, Source::Default(isa));
    }

    /// One thread and sixty-four share memory otherwise.
    #[test]
    fn picks_of_another_number_of_threads_say_so() {
        let id = some(1)[0];
        let here = machine("here", "new");
        for (measured, asked, source) in [
            (1, 64, "tuned here, on here, on 1 thread, the nearest number measured"),
            (8, 1, "tuned here, on here, on 8 threads, the nearest number measured"),
            (2, 2, "tuned here, on here"),
        ] {
            let picks = Picks::new(&here, Ok(None), &[pick(&here, 100, measured, &[id])]);
            let selection = Selection::of(KERNELS, None, asked, picks).unwrap();
            assert_eq!(selection.choose(100, 64, 64).unwrap().source.to_string(), source);
        }
    }

    /// Each source in turn, once those before it are gone.
    #[test]
    fn sources_come_in_order() {
        let here = machine("here", "new");
        let (sibling, cousin) = (machine("sibling", "new"), machine("cousin", "old"));
        let stranger =
            Machine { isas: vec!["scalar".into(), "amx".into(), "neon".into()], ..machine("stranger", "old") };
        let ids = some(6);
        let of = |machine: &Machine, n, at: usize| pick(machine, n, 1, &ids[at..=at]);
        // Listed backwards, for order is not where they stand.
        let mut picks = vec![
            of(&stranger, 100, 0),
            of(&cousin, 120, 5),
            of(&cousin, 100, 4),
            of(&sibling, 110, 3),
            of(&sibling, 100, 2),
            of(&here, 150, 1),
            of(&here, 100, 0),
        ];
        for (source, kernel) in [
            ("tuned here, on here", 0),
            ("tuned here, on here, for 150x64, the nearest shape measured", 1),
            ("tuned on sibling, a machine of the same microarchitecture", 2),
            ("tuned on sibling, a machine of the same microarchitecture, for 110x64, the nearest shape measured", 3),
            ("tuned on cousin, a machine of the same instruction sets", 4),
            ("tuned on cousin, a machine of the same instruction sets, for 120x64, the nearest shape measured", 5),
        ] {
            let selection = Selection::of(KERNELS, None, 1, Picks::new(&here, Ok(None), &picks)).unwrap();
            let choice = selection.choose(100, 64, 64).unwrap();
            assert_eq!((choice.source.to_string().as_str(), choice.notes.len()), (source, 0));
            assert!(choice.kernels().iter().any(|known| known.id() == ids[kernel]), "{source}");
            let forced = Selection::of(KERNELS, Some(Force::Isa(Isa::Scalar)), 1, Picks::new(&here, Ok(None), &picks));
            assert_eq!(forced.unwrap().choose(100, 64, 64).unwrap().source.to_string(), "forced: scalar");
            picks.pop();
        }
        assert_eq!(picks.len(), 1);
        let selection = Selection::of(KERNELS, None, 1, Picks::new(&here, Ok(None), &picks)).unwrap();
        let choice = selection.choose(100, 64, 64).unwrap();
        assert!(matches!(choice.source, Source::Default(_) | Source::Analytic), "{}", choice.source);
    }

    #[test]
    fn picks_that_cannot_be_run_are_passed_over_with_a_note() {
        let here = machine("here", "new");
        let absent: KernelId = "gemv_t200_7x24k16u1__scalar_dot".parse().unwrap();
        let good = some(1);
        let picks = [pick(&here, 100, 1, &[good[0], absent]), pick(&machine("sibling", "new"), 100, 1, &good)];
        let selection = Selection::of(KERNELS, None, 1, Picks::new(&here, Ok(None), &picks)).unwrap();
        let choice = selection.choose(100, 64, 64).unwrap();
        assert!(choice.source.to_string().contains("sibling"), "{}", choice.source);
        let [note] = &choice.notes[..] else { panic!("{:?}", choice.notes) };
        assert!(note.contains("tuned here") && note.contains(&absent.to_string()), "{note}");
        // Another machine's instruction set.
        if let Some(other) = KERNELS.iter().find(|kernel| !kernel.id.detected()) {
            let picks = [pick(&machine("sibling", "new"), 100, 1, &[other.id])];
            let selection = Selection::of(KERNELS, None, 1, Picks::new(&here, Ok(None), &picks)).unwrap();
            let choice = selection.choose(100, 64, 64).unwrap();
            assert!(!choice.source.to_string().contains("tuned"), "{}", choice.source);
            assert!(choice.notes[0].contains("lacks"), "{:?}", choice.notes);
        }
    }

    #[test]
    fn results_that_could_not_be_read_are_noted_in_every_choice() {
        let picks = Picks::new(&machine("here", "new"), Err("m.toml is damaged".into()), &[]);
        for force in [None, Some(Force::Isa(Isa::Scalar))] {
            let selection = Selection::of(KERNELS, force, 1, picks.clone()).unwrap();
            for n in [100, 200] {
                assert_eq!(selection.choose(n, 64, 64).unwrap().notes, ["m.toml is damaged"]);
            }
        }
    }

    /// Over kernels that every machine runs: the default of scalar code, and panels of a single row.
    #[test]
    fn the_model_keeps_defaults_unless_it_is_sure() {
        let narrow =
            ["gemv_t200_1x1k64u1__scalar_dot", "gemm_t200_4x1k64u1__scalar_dot"].map(|name| name.parse().unwrap());
        let defaults: Vec<KernelId> = DEFAULTS.iter().copied().filter(|id| id.isa == Isa::Scalar).collect();
        let table = defaults.iter().chain(&narrow).map(|id| Kernel::new(*id, "", idle)).collect();
        let selection = selection(Vec::leak(table), None);
        let first = |n| selection.menus(n, 640, 640).into_iter().find(|menu| menu.source == Source::Analytic);
        assert!(defaults[0].tile.nr >= 4, "padding to {}", defaults[0]);
        assert!(first(2560).is_none());
        let menu = first(1).expect("one row, of a panel of several");
        assert_eq!(menu.kernels.iter().map(|(id, _)| *id).collect::<Vec<_>>(), narrow);
    }

    /// What is chosen without measurements is what was chosen by hand, on shapes of models.
    #[test]
    fn shapes_of_models_get_the_defaults() {
        let selection = selection(KERNELS, None);
        for (n, k) in [(640, 2560), (2560, 2560), (6912, 2560), (2560, 6912), (3072, 23040), (23040, 3072)] {
            let choice = selection.choose(n, k, k).unwrap();
            assert!(matches!(choice.source, Source::Default(_)), "{n}x{k}: {}", choice.source);
        }
    }

    /// Tokens that the gemm leaves over go to it from the crossover on, and to kernels for fewer below.
    #[test]
    fn from_the_crossover_on_the_gemm_takes_what_is_left() {
        let isa = best_default().isa;
        let of = |op| DEFAULTS.iter().copied().filter(move |id| id.isa == isa && id.op == op);
        let gemm = of(Op::Gemm).max_by_key(|id| id.tile.mr).unwrap();
        let all: Vec<_> = of(Op::Gemv).chain([gemm]).map(|id| (id, Schedule::default())).collect();
        let width = usize::from(gemm.tile.mr);
        let choice = |crossover| {
            let selection = Selection::of(KERNELS, None, 1, picked(100, 300, &all, crossover)).unwrap();
            selection.choose(100, 300, 300).unwrap()
        };
        for m in 1..=3 * width {
            let untold = choice(None).kernel(m).id();
            assert!(usize::from(untold.tile.mr) <= m, "{untold} for {m}");
            for least in [1, 2, width] {
                let expected = if m >= least && m < width { gemm } else { untold };
                assert_eq!(choice(Some(least)).kernel(m).id(), expected, "{m} tokens, crossover {least}");
            }
        }
    }

    /// Kernels that happen to be compiled in, for other machines or as defaults, do not outdo what was measured.
    #[test]
    fn what_was_picked_is_not_overridden_by_wider_kernels() {
        let isa = best_default().isa;
        let mut kernels: Vec<KernelId> = DEFAULTS.iter().copied().filter(|id| id.isa == isa).collect();
        kernels.sort_by_key(|id| id.tile.mr);
        let [first, second, ..] = kernels[..] else { panic!("{isa} has one default") };
        let both = [first, second].map(|id| (id, Schedule::default()));
        let selection = Selection::of(KERNELS, None, 1, picked(100, 300, &both, None)).unwrap();
        let choice = selection.choose(100, 300, 300).unwrap();
        assert_eq!(choice.kernel(512).id(), second);
    }

    #[test]
    fn picks_that_do_not_keep_blocks_apart_are_noted() {
        let wide = *DEFAULTS.iter().find(|id| id.tile.kb == 64 && id.detected()).unwrap();
        let picks = picked(64, 320, &[(wide, Schedule::default())], None);
        let error = Selection::of(KERNELS, None, 1, picks).unwrap().choose(64, 320, 16).unwrap_err();
        assert!(error.to_string().contains("tuned here"), "{error}");
        let forced = Selection::of(KERNELS, Some(Force::Kernel(wide)), 1, Picks::default()).unwrap();
        assert!(forced.choose(64, 320, 16).unwrap_err().to_string().contains("blocks of 16"));
    }

    #[test]
    fn blocks_find_a_kernel_whose_turns_do_not_straddle_them() {
        let selection = selection(KERNELS, None);
        for block in [32, 64, 128, 256] {
            let choice = selection.choose(64, 512, block).unwrap();
            assert_eq!(block % usize::from(choice.layout().kb), 0);
            assert!(choice.kernel(512).tokens() > 1, "prompts are computed together");
        }
        // No kernel has turns of 8.
        assert!(selection.choose(64, 512, 8).unwrap_err().to_string().contains("each 8"));
    }
}
