//! Ten thousand damaged files: each is refused in one line that names it, or is a model whose numbers are finite.
//!
//! Weights have no checksum: a bit that flips in one gives another model, which runs. What is promised of a damaged file
//! is that whatever is wrong with it is said or computes finite logits; that it neither panics nor hangs; and that it
//! never costs more memory than twice its size, or than the sound file takes where that is more (a vocabulary in tables
//! is larger than its file, and buffers do not depend on it).

mod shared;
mod tiny;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tritune::gguf::File;
use tritune::kernels::Selection;
use tritune::model::{Model, Session, SessionOptions};
use tritune::threads::Pool;
use tritune::tokenizer::{Special, Tokenizer};

/// Files to be made in all.
const CASES: usize = 10_000;
const SEED: u64 = 1580;
/// Memory that nothing of a file's size takes: messages, tables of a handful of entries.
const SLACK: usize = 1 << 20;

/// Counts what the current thread holds, and has held at most.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn hold(bytes: usize) {
    HELD.set(HELD.get().wrapping_add(bytes));
    MOST.set(MOST.get().max(HELD.get()));
}

fn let_go(bytes: usize) {
    HELD.set(HELD.get().saturating_sub(bytes));
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are thread-local numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size());
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        hold(layout.size());
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there while the one is copied to the other.
        hold(size);
        let_go(layout.size());
        // SAFETY: the caller's promises are ours.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let_go(layout.size());
        // SAFETY: the caller's promises are ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `work`, and the most bytes that it held beyond those held before.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, MOST.get() - before)
}

/// A sound file, to be damaged.
struct Subject {
    name: String,
    bytes: Vec<u8>,
    /// Where the first tensor begins.
    header: usize,
    /// Bytes that it takes while sound, beyond its own.
    memory: usize,
    cases: usize,
}

impl Subject {
    fn new(name: String, bytes: Vec<u8>, cases: usize, selection: &Selection) -> Subject {
        let file = File::from_bytes(&name, bytes.clone()).unwrap();
        let header = file.tensors().iter().map(|tensor| tensor.offset as usize).min().unwrap_or(bytes.len());
        let whole = bytes.clone();
        let (fate, memory) = counted(|| fate(whole, selection));
        let expected = if header < bytes.len() { Fate::Ran } else { Fate::Tokenized };
        assert_eq!(fate, expected, "{name} while sound");
        Subject { name, bytes, header, memory, cases }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    /// It has a tokenizer that works, and no model that can be run.
    Tokenized,
    /// It is a model whose logits are finite.
    Ran,
}

/// Opens, loads and runs a file as far as it goes.
fn fate(bytes: Vec<u8>, selection: &Selection) -> Fate {
    const NAME: &str = "mutated.gguf";
    let named = |error: &dyn std::error::Error| {
        let line = error.to_string();
        assert!(line.contains(NAME), "{line}");
    };
    let file = match File::from_bytes(NAME, bytes) {
        Ok(file) => file,
        Err(error) => {
            named(&error);
            return Fate::Refused;
        }
    };
    let mut fate = Fate::Refused;
    let mut ids = vec![0, 1, 2];
    match Tokenizer::from_gguf(&file) {
        Ok(tokenizer) => {
            fate = Fate::Tokenized;
            // A vocabulary may lack what the text needs; what it could write, it can read.
            if let Ok(found) = tokenizer.encode("the rest of it\n is 1815", Special::Parse) {
                tokenizer.decode(&found).unwrap();
                if !found.is_empty() {
                    ids = found;
                }
            }
        }
        Err(error) => named(&error),
    }
    match Model::from_gguf(&file, selection, Pool::new(1), &|_, _| ()) {
        Ok(model) => {
            let vocab = model.config().vocab as u32;
            ids.iter_mut().for_each(|id| *id = (*id).min(vocab - 1));
            let options = SessionOptions { kv: None, context: Some(ids.len()) };
            let mut session = Session::new(&model, options).unwrap();
            if let Ok(logits) = session.feed(&ids) {
                assert!(logits.iter().all(|logit| logit.is_finite()), "logits that are not finite");
                fate = Fate::Ran;
            }
        }
        Err(error) => named(&error),
    }
    fate
}

/// Numbers that arithmetic goes wrong with.
const NUMBERS: [u64; 12] =
    [0, 1, 3, 31, 255, 4096, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 1 << 62, i64::MAX as u64, u64::MAX];

/// Damages `bytes`, mostly within the header: flips bits, writes numbers, cuts, moves, and mixes in pieces of `donor`.
fn damage(bytes: &mut Vec<u8>, header: usize, donor: &[u8], rng: &mut SmallRng) {
    let range = if rng.random_ratio(3, 4) { header.min(bytes.len()) } else { bytes.len() };
    if range == 0 {
        return;
    }
    let at = rng.random_range(0..range);
    match rng.random_range(0..8) {
        0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => {
            let number = NUMBERS[rng.random_range(0..NUMBERS.len())].to_le_bytes();
            let len = [1, 2, 4, 8][rng.random_range(0..4)].min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&number[..len]);
        }
        3 => bytes.truncate(at),
        4 => {
            let until = rng.random_range(at..=(at + 64).min(bytes.len()));
            bytes.drain(at..until);
        }
        5 => {
            let from = rng.random_range(0..range);
            let len = rng.random_range(0..256).min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
        }
        6 => {
            let from = rng.random_range(0..donor.len());
            let piece = &donor[from..(from + rng.random_range(0..256)).min(donor.len())];
            let until = if rng.random() { at } else { (at + piece.len()).min(bytes.len()) };
            bytes.splice(at..until, piece.iter().copied());
        }
        _ => {
            // The start of the one and the end of the other.
            let from = rng.random_range(0..donor.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&donor[from..]);
        }
    }
}

/// Real files, with the number of cases that each is good for: the large ones take long.
fn real() -> Vec<(String, Vec<u8>, usize)> {
    let demo = include_bytes!("../demo/austen-5m-i2_s.gguf");
    let mut files = vec![("the demo".to_owned(), demo.to_vec(), 150)];
    let fixtures = ["bitnet-2b4t-i2_s", "bitnet-3b-i2_s-ragged", "llama-falcon3-i2_s", "llama-trilm-tq1_0"];
    let fixtures = fixtures.map(|name| (format!("fixtures/{name}.gguf"), 75));
    let vocabularies = [("gpt-2", 10), ("falcon", 10), ("llama-bpe", 4), ("llama-spm", 20)];
    let vocabularies = vocabularies.map(|(name, cases)| (format!("vocab/ggml-vocab-{name}.gguf"), cases));
    for (name, cases) in fixtures.into_iter().chain(vocabularies) {
        if let Some(path) = shared::find(&name) {
            files.push((name, std::fs::read(path).unwrap(), cases));
        }
    }
    files
}

#[test]
fn damaged_models_are_refused_or_compute_finite_numbers() {
    let selection = Selection::new(None, 1).unwrap();
    let mut subjects: Vec<Subject> =
        real().into_iter().map(|(name, bytes, cases)| Subject::new(name, bytes, cases, &selection)).collect();
    let rest = CASES - subjects.iter().map(|subject| subject.cases).sum::<usize>();
    for (number, kind) in tiny::KINDS.into_iter().enumerate() {
        let cases = rest / tiny::KINDS.len() + usize::from(number < rest % tiny::KINDS.len());
        let bytes = tiny::model(kind, 256, &mut SmallRng::seed_from_u64(SEED + number as u64));
        subjects.push(Subject::new(format!("a model of {kind}"), bytes, cases, &selection));
    }
    // The large ones first, so that no thread is left alone with one at the end.
    let cases: Vec<(&Subject, usize)> =
        subjects.iter().flat_map(|subject| (0..subject.cases).map(move |case| (subject, case))).collect();
    assert_eq!(cases.len(), CASES);

    let (next, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = |number: usize| {
        let (subject, case) = cases[number];
        let mut rng = SmallRng::seed_from_u64(SEED ^ (number as u64) << 16);
        let donor = &subjects[rng.random_range(0..subjects.len())].bytes;
        let mut bytes = subject.bytes.clone();
        for _ in 0..rng.random_range(1..4) {
            damage(&mut bytes, subject.header, donor, &mut rng);
        }
        let limit = subject.memory.max(2 * bytes.len()) + SLACK;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (fate, most) = counted(|| fate(bytes, &selection));
            assert!(most <= limit, "{most} bytes, where {limit} are due");
            ran.fetch_add(usize::from(fate == Fate::Ran), Relaxed);
        }));
        if let Err(panic) = outcome {
            eprintln!("{}, case {case}, of seed {SEED}, number {number}", subject.name);
            resume_unwind(panic);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let claim = || Some(next.fetch_add(1, Relaxed)).filter(|number| *number < CASES);
                std::iter::from_fn(claim).for_each(run);
            });
        }
    });
    // Some damage does no harm; were it all or none, this would not test anything.
    let ran = ran.into_inner();
    assert!((CASES / 20..CASES - CASES / 20).contains(&ran), "{ran} of {CASES} ran");
}
