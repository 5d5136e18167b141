//! A fork-join pool for work that is forked some hundred times a token: workers spin for a bounded while, then park.
//!
//! A fork costs about a microsecond while the workers spin. They never spin when there are more threads than cores to
//! run them: then the core that a spinning worker holds is the core that the work waits for.

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// Turns of the spin loop before a worker parks: some tens of microseconds, longer than the gaps within a token.
const SPIN_TURNS: u32 = 20_000;

type Task = dyn Fn(usize) + Sync;

/// A fixed set of threads that run one task at a time together.
#[derive(Debug)]
pub struct Pool {
    team: Arc<Team>,
    workers: Vec<Worker>,
    spin: u32,
    /// One fork at a time: callers from other threads wait here.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Worker {
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

struct Team {
    /// Counts forks; a worker runs the task when it sees a count that it has not seen.
    forks: AtomicUsize,
    /// Workers that have not finished the current task.
    running: AtomicUsize,
    task: UnsafeCell<Option<*const Task>>,
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("forks", &self.forks).field("running", &self.running).finish_non_exhaustive()
    }
}

// SAFETY: `task` is the only field that is not Sync. It is written only by the caller that holds `turn`, while
// `running` is 0, so that no worker reads it; workers read it only after the store to `forks` that follows the write.
unsafe impl Sync for Team {}
// SAFETY: the pointer in `task` is only followed while the caller of `run`, who owns the referent, waits.
unsafe impl Send for Team {}

impl Team {
    fn serve(&self, index: usize, spin: u32) {
        let mut seen = 0;
        loop {
            let mut turns = 0;
            while self.forks.load(SeqCst) == seen {
                if turns < spin {
                    turns += 1;
                    std::hint::spin_loop();
                    continue;
                }
                // Say that we sleep, then look once more: the caller stores `forks` first and looks at `asleep` after,
                // so that one of the two sees the other.
                self.asleep[index - 1].store(true, SeqCst);
                while self.forks.load(SeqCst) == seen {
                    thread::park();
                }
                self.asleep[index - 1].store(false, SeqCst);
            }
            seen = self.forks.load(SeqCst);
            if self.stop.load(SeqCst) {
                return;
            }
            // SAFETY: `forks` changed, so the caller has written `task` and waits in `run` until `running` is 0; the
            // closure behind the pointer outlives that wait, and is Sync.
            let task = unsafe { (*self.task.get()).map(|task| &*task) };
            if let Some(task) = task
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index)))
            {
                *lock(&self.panic) = Some(panic);
            }
            self.running.fetch_sub(1, SeqCst);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cores that this process may use: affinity and cgroup limits respected.
pub fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] being one of them; 0 means as many as are
    /// [`available`]. A thread that the system refuses to start is done without.
    pub fn new(threads: usize) -> Self {
        let threads = if threads == 0 { available() } else { threads };
        let spin = if threads > available() { 0 } else { SPIN_TURNS };
        let team = Arc::new(Team {
            forks: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
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

    /// Runs `task(i)` on every thread i of the pool, the caller being thread 0, and returns when all are done.
    ///
    /// A task must not call `run` on the same pool: it would wait for itself.
    ///
    /// # Panics
    /// Passes on a panic of the task, after all threads are done with it.
    pub fn run(&self, task: impl Fn(usize) + Sync) {
        if self.workers.is_empty() {
            return task(0);
        }
        let _turn = lock(&self.turn);
        let task: &(dyn Fn(usize) + Sync) = &task;
        // SAFETY: only the lifetime is erased. The pointer is followed only between the store to `forks` and `running`
        // reaching 0, and this function does not return or unwind before that.
        let erased = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const Task>(task) };
        // SAFETY: `turn` is held and `running` is 0: nobody else touches `task` now.
        unsafe { *self.team.task.get() = Some(erased) };
        self.team.running.store(self.workers.len(), SeqCst);
        self.team.forks.fetch_add(1, SeqCst);
        self.wake();
        let own = catch_unwind(AssertUnwindSafe(|| task(0)));
        let mut turns = 0;
        while self.team.running.load(SeqCst) != 0 {
            if turns < self.spin {
                turns += 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        let theirs = lock(&self.team.panic).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    fn wake(&self) {
        for (worker, asleep) in self.workers.iter().zip(&self.team.asleep) {
            if asleep.load(SeqCst) {
                worker.thread.unpark();
            }
        }
    }

    /// The part of `0..count` that thread `index` of this pool takes, in whole multiples of `grain`.
    pub fn share(&self, index: usize, count: usize, grain: usize) -> Range<usize> {
        let (grains, threads) = (count.div_ceil(grain), self.threads());
        let cut = |i: usize| (grains * i / threads * grain).min(count);
        cut(index)..cut(index + 1)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.team.stop.store(true, SeqCst);
        self.team.forks.fetch_add(1, SeqCst);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_runs_every_fork_once() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads);
            let counts: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for fork in 1..=200 {
                pool.run(|i| {
                    counts[i].fetch_add(1, SeqCst);
                });
                assert!(counts.iter().all(|count| count.load(SeqCst) == fork));
            }
        }
    }

    #[test]
    fn parked_workers_wake() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            let ran = AtomicUsize::new(0);
            pool.run(|_| {
                ran.fetch_add(1, SeqCst);
            });
            assert_eq!(ran.into_inner(), 2);
        }
    }

    #[test]
    fn shares_cover_without_overlap() {
        let pool = Pool::new(3);
        for (count, grain) in [(0, 1), (1, 16), (100, 16), (96, 16), (7, 1), (5, 64)] {
            let mut next = 0;
            for i in 0..3 {
                let share = pool.share(i, count, grain);
                assert_eq!(share.start, next);
                assert!(share.start.is_multiple_of(grain) || share.is_empty());
                next = share.end;
            }
            assert_eq!(next, count);
        }
    }

    #[test]
    fn parts_are_written_by_their_threads() {
        let pool = Pool::new(2);
        let mut numbers = vec![0usize; 1000];
        let parts = Parts::new(&mut numbers);
        pool.run(|i| {
            let share = pool.share(i, 1000, 1);
            // SAFETY: shares of different threads do not overlap.
            for (number, value) in unsafe { parts.part(share.clone()) }.iter_mut().zip(share) {
                *number = value;
            }
        });
        assert!(numbers.iter().enumerate().all(|(i, &number)| i == number));
    }

    #[test]
    fn panics_are_passed_on_and_the_pool_survives() {
        let pool = Pool::new(2);
        for thread in [0, 1] {
            let caught = catch_unwind(AssertUnwindSafe(|| pool.run(|i| assert_ne!(i, thread))));
            assert!(caught.is_err());
        }
        pool.run(|_| ());
    }
}
