//! A fork-join pool for work that is forked some hundred times a token: workers spin for a bounded while, then park.
//!
//! Work is claimed item by item, and nobody waits for a thread that has claimed none: where a neighbour holds the core
//! of a worker, the others do its share. A fork costs about a microsecond while the workers spin. They never spin when
//! there are more threads than cores to run them, nor while several callers are at work: then the core that a spinning
//! worker holds is the core that the work waits for.

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread spins before it parks or yields: longer than the gaps between the forks of a token.
const SPIN: Duration = Duration::from_micros(60);
/// Turns of the spin loop between looks at the clock.
const SPIN_TURNS: u32 = 32;
/// More threads than this are not asked of the system.
const MAX_THREADS: usize = 1024;

type Task = dyn Fn(usize) + Sync;

/// A fixed set of threads that run one task at a time together.
#[derive(Debug)]
pub struct Pool {
    team: Arc<Team>,
    workers: Vec<Worker>,
    spin: Duration,
    /// One fork at a time: callers that come meanwhile do without the others.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Worker {
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Team {
    /// Twice the number of forks so far, plus 1 while one is open to workers.
    forks: AtomicUsize,
    /// Workers that may be about the task: they have come in, and not left yet.
    inside: AtomicUsize,
    task: UnsafeCell<Option<*const Task>>,
    asleep: Vec<AtomicBool>,
    /// Callers that are at work, by all threads or alone.
    callers: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("forks", &self.forks).field("inside", &self.inside).finish_non_exhaustive()
    }
}

// SAFETY: `task` is the only field that is not Sync. It is written by the caller that holds `turn`, while the fork is
// closed and `inside` is 0; it is read by workers that came `inside` and saw the fork open after that.
unsafe impl Sync for Team {}
// SAFETY: the pointer in `task` is only followed while the caller of `run`, who owns the referent, waits.
unsafe impl Send for Team {}

impl Team {
    fn serve(&self, index: usize, spin: Duration) {
        let mut seen = 0;
        loop {
            let fork = self.wait(index, seen, self.spin(spin));
            if self.stop.load(SeqCst) {
                return;
            }
            self.inside.fetch_add(1, SeqCst);
            // Look again, now that the caller sees us: it closes the fork first and looks at `inside` after, so that
            // either we see it closed, or it waits for us to leave.
            if self.forks.load(SeqCst) == fork {
                // SAFETY: the fork is open and we are inside, so the caller has written `task` and will not return from
                // `run` before we leave; the closure behind the pointer lives until then, and is Sync.
                let task = unsafe { (*self.task.get()).map(|task| &*task) };
                if let Some(task) = task
                    && let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index)))
                {
                    *lock(&self.panic) = Some(panic);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
            seen = fork;
        }
    }

    /// How long to spin, of as long as may be.
    fn spin(&self, most: Duration) -> Duration {
        if self.callers.load(Relaxed) > 1 { Duration::ZERO } else { most }
    }

    /// Waits for a fork that is open and was not seen yet, or for the end.
    fn wait(&self, index: usize, seen: usize, spin: Duration) -> usize {
        let due = || {
            let forks = self.forks.load(SeqCst);
            (forks != seen && forks % 2 == 1 || self.stop.load(SeqCst)).then_some(forks)
        };
        let asleep = &self.asleep[index - 1];
        loop {
            if let Some(fork) = spin_until(spin, due) {
                return fork;
            }
            // Say that we sleep, then look once more: the caller opens the fork first and looks at `asleep` after, so
            // that one of the two sees the other.
            asleep.store(true, SeqCst);
            if let Some(fork) = due() {
                asleep.store(false, SeqCst);
                return fork;
            }
            thread::park();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks until there is an answer or the time is up; at least once.
fn spin_until<T>(time: Duration, answer: impl Fn() -> Option<T>) -> Option<T> {
    let mut start = None;
    loop {
        for _ in 0..SPIN_TURNS {
            if let Some(answer) = answer() {
                return Some(answer);
            }
            std::hint::spin_loop();
        }
        if start.get_or_insert_with(Instant::now).elapsed() >= time {
            return None;
        }
    }
}

/// Cores that this process may use: affinity and cgroup limits respected.
pub fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] being one of them; 0 means as many as are
    /// [`available`], and 1024 is the most. A thread that the system refuses to start is done without.
    pub fn new(threads: usize) -> Self {
        let threads = if threads == 0 { available() } else { threads };
        let threads = threads.min(MAX_THREADS);
        let spin = if threads > available() { Duration::ZERO } else { SPIN };
        let team = Arc::new(Team {
            forks: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            callers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut workers = Vec::new();
        for index in 1..threads {
            let team = Arc::clone(&team);
            let spawned =
                thread::Builder::new().name(format!("tritune-{index}")).spawn(move || team.serve(index, spin));
            match spawned {
                Ok(handle) => workers.push(Worker { thread: handle.thread().clone(), handle: Some(handle) }),
                Err(_) => break,
            }
        }
        Pool { team, workers, spin, turn: Mutex::new(()) }
    }

    /// Threads that share the work, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(thread, item)` once for every item of `0..items`, and returns when all are done. Threads claim items
    /// in order; `thread` is below [`Pool::threads`], and no two tasks with the same `thread` run at once.
    ///
    /// # Panics
    /// Passes on a panic of the task.
    pub fn for_each(&self, items: usize, task: impl Fn(usize, usize) + Sync) {
        let next = AtomicUsize::new(0);
        let work = |thread| {
            loop {
                let item = next.fetch_add(1, Relaxed);
                if item >= items {
                    return;
                }
                task(thread, item);
            }
        };
        if items > 1 { self.run(work) } else { work(0) }
    }

    /// Runs `task(thread, items)` for ranges of up to `claim` items that make up `0..items`, as [`Pool::for_each`] does for
    /// single ones: for items that are read front to back, and best one after the other.
    ///
    /// # Panics
    /// Passes on a panic of the task; where `claim` is 0.
    pub fn for_each_range(&self, items: usize, claim: usize, task: impl Fn(usize, Range<usize>) + Sync) {
        self.for_each(items.div_ceil(claim), |thread, claimed| {
            task(thread, claimed * claim..((claimed + 1) * claim).min(items));
        });
    }

    /// Runs `task(0)` on the caller's thread, and `task(i)` on every other thread i that comes before the caller is
    /// done; returns when all of them are. The task claims its work: a thread that comes late finds none.
    ///
    /// Where the other threads are at work for another caller, or for the task that calls this, the caller's does it alone:
    /// nobody waits for another's work, and no core is left idle by it.
    ///
    /// # Panics
    /// Passes on a panic of the task, after all threads are done with it.
    pub fn run(&self, task: impl Fn(usize) + Sync) {
        if self.workers.is_empty() {
            return task(0);
        }
        let _caller = Caller::new(&self.team.callers);
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            // The panic of a task is its caller's; the lock guards nothing that it could have left half done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return task(0),
        };
        let task: &(dyn Fn(usize) + Sync) = &task;
        // SAFETY: only the lifetime is erased. The pointer is followed only by workers that are inside an open fork, and
        // this function does not return or unwind before it has closed the fork and all are outside.
        let erased = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Task>(task) };
        self.leave();
        // SAFETY: `turn` is held, the fork is closed and nobody is inside: nobody else touches `task` now.
        unsafe { *self.team.task.get() = Some(erased) };
        self.team.forks.fetch_add(1, SeqCst);
        self.wake();
        let own = catch_unwind(AssertUnwindSafe(|| task(0)));
        self.team.forks.fetch_add(1, SeqCst);
        self.leave();
        let theirs = lock(&self.team.panic).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Waits until no worker is inside.
    fn leave(&self) {
        let left = || (self.team.inside.load(SeqCst) == 0).then_some(());
        while spin_until(self.team.spin(self.spin), left).is_none() {
            thread::yield_now();
        }
    }

    fn wake(&self) {
        for (worker, asleep) in self.workers.iter().zip(&self.team.asleep) {
            if asleep.swap(false, SeqCst) {
                worker.thread.unpark();
            }
        }
    }
}

/// Counted for as long as it is at work.
struct Caller<'a>(&'a AtomicUsize);

impl<'a> Caller<'a> {
    fn new(callers: &'a AtomicUsize) -> Self {
        callers.fetch_add(1, Relaxed);
        Caller(callers)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.team.stop.store(true, SeqCst);
        self.wake();
        for worker in &mut self.workers {
            if let Some(handle) = worker.handle.take() {
                // A worker catches its task's panics, so that joining cannot fail.
                let _ = handle.join();
            }
        }
    }
}

/// A slice that the threads of a fork write to, each its own part.
#[derive(Debug)]
pub struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: `Parts` gives out `&mut T` to other threads, which `T: Send` allows; that no two overlap is the promise that
// `Parts::part` asks of its caller.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Borrows `slice` for as long as its parts are written.
    pub fn new(slice: &'a mut [T]) -> Self {
        Parts { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// One part, to be written by the caller alone.
    ///
    /// # Panics
    /// Where the range is not within the slice.
    ///
    /// # Safety
    /// No other part that overlaps `range` may be alive.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of {} elements", self.len);
        // SAFETY: within the slice (checked above), borrowed mutably for 'a, and disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Where an element lies, for who writes parts that are no ranges. To write through it is to have a part of those
    /// elements: no other may be alive.
    ///
    /// # Panics
    /// Where there is no such element.
    pub fn pointer(&self, index: usize) -> *mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        self.start.wrapping_add(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads);
            let counts: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
            for fork in 1..=500 {
                pool.for_each(counts.len(), |thread, item| {
                    assert!(thread < threads);
                    counts[item].fetch_add(1, SeqCst);
                });
                assert!(counts.iter().all(|count| count.load(SeqCst) == fork));
            }
        }
    }

    #[test]
    fn ranges_are_all_items_once() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            for (items, claim) in [(0, 1), (1, 5), (5, 5), (20, 8), (21, 7), (50, 1)] {
                let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                pool.for_each_range(items, claim, |thread, range| {
                    assert!(thread < threads && !range.is_empty() && range.len() <= claim);
                    range.for_each(|item| _ = counts[item].fetch_add(1, SeqCst));
                });
                assert!(counts.iter().all(|count| count.load(SeqCst) == 1), "{items} items, {claim} at a time");
            }
        }
    }

    /// A task that waits for all threads to be in it ends only if parked workers wake.
    #[test]
    fn parked_workers_wake() {
        let pool = Pool::new(3);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            let here = AtomicUsize::new(0);
            pool.run(|_| {
                here.fetch_add(1, SeqCst);
                while here.load(SeqCst) < 3 {
                    thread::yield_now();
                }
            });
        }
    }

    /// Forks in quick succession, so that workers come late, or into the next one.
    #[test]
    fn what_a_fork_borrows_outlives_it() {
        let pool = Pool::new(4);
        for fork in 0..20_000usize {
            let here = fork;
            let total = AtomicUsize::new(0);
            pool.for_each(3, |_, item| {
                assert_eq!(here, fork);
                total.fetch_add(item + 1, SeqCst);
            });
            assert_eq!(total.into_inner(), 6);
        }
    }

    #[test]
    fn parts_are_written_by_their_threads() {
        let pool = Pool::new(2);
        let mut numbers = vec![0usize; 1000];
        let parts = Parts::new(&mut numbers);
        pool.for_each(10, |_, item| {
            let range = item * 100..(item + 1) * 100;
            // SAFETY: the ranges of different items do not overlap.
            for (number, value) in unsafe { parts.part(range.clone()) }.iter_mut().zip(range) {
                *number = value;
            }
        });
        assert!(numbers.iter().enumerate().all(|(i, &number)| i == number));
    }

    /// Each of two callers ends only after the other has done its own work: nobody waits for another's.
    #[test]
    fn callers_do_not_wait_for_each_other() {
        let pool = Pool::new(2);
        let done = AtomicUsize::new(0);
        let begin = Instant::now();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    pool.for_each(8, |_, item| {
                        if item == 7 {
                            done.fetch_add(1, SeqCst);
                            while done.load(SeqCst) < 2 {
                                assert!(begin.elapsed() < Duration::from_secs(60), "one waits for the other");
                                thread::yield_now();
                            }
                        }
                    });
                });
            }
        });
        let items = AtomicUsize::new(0);
        pool.for_each(3, |_, _| pool.for_each(5, |_, _| _ = items.fetch_add(1, SeqCst)));
        assert_eq!(items.into_inner(), 15, "within a task, too");
    }

    #[test]
    fn panics_are_passed_on_and_the_pool_survives() {
        let pool = Pool::new(2);
        for item in [0, 9] {
            let caught = catch_unwind(AssertUnwindSafe(|| pool.for_each(10, |_, i| assert_ne!(i, item))));
            assert!(caught.is_err());
        }
        pool.for_each(10, |_, _| ());
    }
}
