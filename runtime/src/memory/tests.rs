//! The pool against a model of it, and what it promises at its ends.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, mpsc};
use std::thread;

use proptest::prelude::*;

use super::*;

/// Few cases under Miri, which takes a thousand times as long.
const CASES: u32 = if cfg!(miri) { 3 } else { 96 };
const STEPS: usize = if cfg!(miri) { 30 } else { 250 };
/// Of so many bytes one is looked at.
const STRIDE: usize = if cfg!(miri) { 97 } else { 1 };

/// A pool whose parts are so small that every path is taken.
fn small_pool() -> HybridMemoryPool {
    HybridMemoryPool::new(PoolConfig {
        region_bytes: 2 << 20,
        retained_bytes: 1 << 20,
        thread_cache_bytes: 64 << 10,
        shared_cache_bytes: 32 << 10,
        ..PoolConfig::default()
    })
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// Runs on a thread that has ended, thread-locals and all, when this returns: a scope alone waits for less.
fn elsewhere(work: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(work).join().expect("no panic"));
}

/// A block with every byte of one value, which is how it must stay.
struct Filled {
    start: NonNull<u8>,
    layout: Layout,
    value: u8,
}

// SAFETY: a block has no tie to a thread.
unsafe impl Send for Filled {}

impl Filled {
    fn new(pool: &HybridMemoryPool, layout: Layout, value: u8) -> Filled {
        let start = pool.allocate_raw(layout).expect("memory");
        assert_eq!(start.addr().get() % layout.align().max(if layout.size() > 0 { LINE } else { 1 }), 0);
        // SAFETY: the block is that large, and ours.
        unsafe { start.write_bytes(value, layout.size()) };
        Filled { start, layout, value }
    }

    fn free(self, pool: &HybridMemoryPool) {
        // SAFETY: `new` wrote so many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) };
        assert!(
            bytes.iter().step_by(STRIDE).all(|&byte| byte == self.value),
            "a block of {:?} has changed",
            self.layout
        );
        // SAFETY: allocated in `new` with this layout, and `self` is gone.
        unsafe { pool.deallocate(self.start, self.layout) };
    }
}

#[test]
fn classes_waste_little() {
    let mut last = 0;
    for class in 0..class::COUNT {
        assert!(class::size(class) > last && class::size(class).is_multiple_of(LINE));
        last = class::size(class);
    }
    assert_eq!((class::size(0), last), (LINE, class::LARGEST));
    for size in 1..=class::LARGEST {
        let class = class::of(layout(size, 1)).expect("a class");
        let block = class::size(class);
        assert!(block >= size && (class == 0 || class::size(class - 1) < size), "{size}: {block}");
        assert!(block - size < LINE.max(size.div_ceil(32)), "{size}: {block}");
    }
    assert_eq!(class::of(layout(class::LARGEST + 1, 1)), None);
    assert_eq!(class::of(layout(64, 128)), None);
}

#[test]
fn runs_join_and_fit_best() {
    let mut runs = runs::Runs::default();
    runs.insert(64, 640);
    runs.insert(1024, 128);
    runs.insert(4096, 128);
    assert_eq!(
        (runs.cut(128, 64, 5), runs.cut(128, 4096, 5), runs.cut(128, 4096, 5)),
        (Some((1024, 1)), Some((4096, 1)), None)
    );
    assert_eq!((runs.ending(704), runs.ending(703), runs.bytes(), runs.longest()), (Some(64), None, 640, 640));
    assert_eq!((runs.cut(192, 64, 2), runs.bytes(), runs.cut(64, 128, 1)), (Some((320, 2)), 256, Some((256, 1))));
    // Beyond the bounds runs stay apart.
    runs.join(256..320, 256..512);
    runs.join(320..512, 256..512);
    assert_eq!((runs.bytes(), runs.longest(), runs.ending(512)), (448, 256, Some(256)));
    runs.join(576..640, 0..1024);
    runs.join(512..576, 0..1024);
    assert_eq!((runs.bytes(), runs.longest(), runs.at_least(200).pop()), (576, 384, Some(256..640)));
    runs.insert(0, 0);
    runs.clear(0..64);
    assert_eq!(runs.bytes(), 576);
    runs.clear(0..1024);
    assert_eq!((runs.bytes(), runs.longest(), runs.cut(64, 1, 1)), (0, 0, None));
}

/// A step of a trace.
#[derive(Clone, Debug)]
enum Step {
    Raw { size: usize, align: usize },
    Typed { len: usize },
    Free(usize),
    FreeElsewhere(usize),
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![
        8 => 0usize..2200,
        4 => 2000usize..70_000,
        2 => 60_000usize..300_000,
        1 => 300_000usize..3_000_000,
    ];
    let size = size.prop_map(|size| if cfg!(miri) { size / 40 } else { size });
    let align = prop_oneof![6 => 0u32..7, 1 => 7u32..13, 1 => 13u32..22];
    let step = prop_oneof![
        8 => (size.clone(), align).prop_map(|(size, align)| Step::Raw { size, align: 1 << align }),
        4 => size.prop_map(|size| Step::Typed { len: size / 4 }),
        8 => any::<usize>().prop_map(Step::Free),
        2 => any::<usize>().prop_map(Step::FreeElsewhere),
        1 => Just(Step::Trim),
    ];
    prop::collection::vec(step, 1..STEPS)
}

enum Live {
    Raw(Filled),
    Typed(ScopedAllocation<u32>, u32),
}

impl Live {
    fn range(&self) -> (usize, usize) {
        let (start, len) = match self {
            Live::Raw(filled) => (filled.start.addr().get(), filled.layout.size()),
            Live::Typed(typed, _) => (typed.as_ptr().addr(), size_of_val::<[u32]>(typed)),
        };
        (start, start + len)
    }

    fn bytes(&self) -> u64 {
        let (start, end) = self.range();
        (end - start) as u64
    }

    fn free(self, pool: &HybridMemoryPool) {
        match self {
            Live::Raw(filled) => filled.free(pool),
            Live::Typed(typed, value) => assert!(typed.iter().step_by(STRIDE).all(|&element| element == value)),
        }
    }
}

fn run(steps: Vec<Step>) {
    let pool = small_pool();
    let mut live: Vec<Live> = Vec::new();
    let mut ranges: BTreeMap<usize, usize> = BTreeMap::new();
    for (number, step) in steps.into_iter().enumerate() {
        let block = match step {
            Step::Raw { size, align } => Live::Raw(Filled::new(&pool, layout(size, align), number as u8)),
            Step::Typed { len } => {
                let mut typed = pool.allocate_typed::<u32>(len).expect("memory");
                assert!(typed.len() == len && typed.iter().step_by(STRIDE).all(|&element| element == 0));
                typed.fill(number as u32);
                Live::Typed(typed, number as u32)
            }
            Step::Free(index) | Step::FreeElsewhere(index) if !live.is_empty() => {
                let block = live.swap_remove(index % live.len());
                let (start, end) = block.range();
                if end > start {
                    assert_eq!(ranges.remove(&start), Some(end));
                }
                match step {
                    Step::Free(_) => block.free(&pool),
                    _ => elsewhere(|| block.free(&pool)),
                }
                continue;
            }
            Step::Free(_) | Step::FreeElsewhere(_) => continue,
            Step::Trim => {
                pool.trim();
                continue;
            }
        };
        let (start, end) = block.range();
        if end > start {
            let before = ranges.range(..end).next_back();
            assert!(before.is_none_or(|(_, &end)| end <= start), "{start:#x}..{end:#x} overlaps {before:x?}");
            ranges.insert(start, end);
        }
        live.push(block);
        if number % 16 == 0 {
            let statistics = pool.statistics();
            assert_eq!(statistics.live(), live.iter().filter(|block| block.bytes() > 0).count() as u64);
            assert_eq!(statistics.asked_bytes, live.iter().map(Live::bytes).sum::<u64>());
            assert!(statistics.peak_asked_bytes >= statistics.asked_bytes);
            assert!(statistics.held_bytes >= statistics.asked_bytes);
            assert!(statistics.held_bytes <= statistics.mapped_bytes);
            assert!(statistics.large_free_longest <= statistics.large_free_bytes);
        }
    }
    live.into_iter().for_each(|block| block.free(&pool));
    empty(&pool);
}

/// Nothing is live, and nothing was lost: all of it goes back to the system.
fn empty(pool: &HybridMemoryPool) {
    let statistics = pool.statistics();
    assert_eq!((statistics.live(), statistics.asked_bytes, pool.leaks().is_empty()), (0, 0, true));
    pool.trim();
    let statistics = pool.statistics();
    assert_eq!((statistics.cached_bytes, statistics.held_bytes, statistics.mapped_bytes), (0, 0, 0));
    assert_eq!((statistics.large_free_bytes, statistics.overhead(), statistics.fragmentation()), (0, 0.0, 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_trace_is_as_its_model(steps in steps()) {
        run(steps);
    }
}

#[test]
fn blocks_are_freed_by_other_threads() {
    let blocks = if cfg!(miri) { 15 } else { 4000 };
    let pool = small_pool();
    // In a ring, each thread frees what the one before it had.
    thread::scope(|scope| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::sync_channel::<Filled>(64)).unzip();
        let mut threads = Vec::new();
        for (at, receiver) in receivers.into_iter().enumerate() {
            let (pool, sender) = (&pool, senders[(at + 1) % 3].clone());
            threads.push(scope.spawn(move || {
                for number in 0..blocks {
                    let size = 1 + number * 7919 % if number % 50 == 0 { 100_000 } else { 5000 };
                    let mut block = Some(Filled::new(pool, layout(size, 8), (number * 3 + at) as u8));
                    // Never waits for room while it has what another waits for.
                    while let Some(full) = block.take() {
                        match sender.try_send(full) {
                            Ok(()) => (),
                            Err(mpsc::TrySendError::Full(back)) => {
                                block = Some(back);
                                if let Ok(other) = receiver.try_recv() {
                                    other.free(pool);
                                }
                                thread::yield_now();
                            }
                            Err(mpsc::TrySendError::Disconnected(back)) => back.free(pool),
                        }
                    }
                    if let Ok(other) = receiver.try_recv() {
                        other.free(pool);
                    }
                }
                drop(sender);
                receiver.iter().for_each(|other| other.free(pool));
            }));
        }
        drop(senders);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    empty(&pool);
}

#[test]
fn what_a_thread_keeps_returns_when_it_ends() {
    let pool = HybridMemoryPool::default();
    let scope = |pool: &HybridMemoryPool| {
        let blocks: Vec<_> = (0..20).map(|number| Filled::new(pool, layout(300, 8), number)).collect();
        blocks.into_iter().for_each(|block| block.free(pool));
    };
    elsewhere(|| scope(&pool));
    let first = pool.statistics();
    for _ in 0..20 {
        elsewhere(|| scope(&pool));
    }
    let last = pool.statistics();
    assert_eq!(first.held_bytes, last.held_bytes);
    let allocations = |statistics: &Statistics| statistics.classes.iter().map(|class| class.allocations).sum::<u64>();
    assert_eq!((allocations(&first), allocations(&last)), (20, 420));
    assert_eq!(last.cache_hits + last.cache_misses, 420);
    assert!(last.hit_rate() > 0.5);
    empty(&pool);
}

#[test]
fn what_cannot_be_had_is_an_error() {
    let pool = small_pool();
    let error = pool.allocate_typed::<u64>(usize::MAX / 4).expect_err("too many");
    assert_eq!((error.code(), error.to_string().contains("4611686018427387903")), ("TT0101", true));
    let error = pool.allocate_raw(layout(1, 4 << 20)).expect_err("too aligned");
    assert_eq!((error.code(), error.to_string().contains("4194304")), ("TT0102", true));
    for size in [isize::MAX as usize, isize::MAX as usize - (3 << 20), 1 << 60] {
        let error = pool.allocate_raw(layout(size, 1)).expect_err("too much");
        assert_eq!((error.code(), error.to_string().contains(&size.to_string())), ("TT0103", true));
    }
    empty(&pool);
}

#[test]
fn a_limit_holds_and_what_is_freed_serves_again() {
    let pool = HybridMemoryPool::new(PoolConfig { limit_bytes: Some(5 << 20), ..PoolConfig::default() });
    let large = pool.allocate_typed::<u8>(4 << 20).expect("within the limit");
    let error = pool.allocate_typed::<u8>(2 << 20).expect_err("beyond it");
    assert_eq!(error.code(), "TT0104");
    assert!(pool.statistics().mapped_bytes <= 5 << 20);
    drop(large);
    // The region of the large ones is retained, and makes room for small ones.
    let mut small = Vec::new();
    loop {
        match pool.allocate_typed::<u8>(60 << 10) {
            Ok(block) => small.push(block),
            Err(error) => break assert_eq!(error.code(), "TT0104"),
        }
    }
    assert!(!small.is_empty());
    drop(small);
    pool.trim();
    assert_eq!(pool.allocate_typed::<u8>(5 << 20).expect("all of it").len(), 5 << 20);
}

#[test]
fn nothing_has_no_size() {
    let pool = small_pool();
    assert!(pool.allocate_typed::<f32>(0).expect("nothing").is_empty());
    assert_eq!(pool.allocate_typed::<()>(usize::MAX).expect("nothing").len(), usize::MAX);
    let start = pool.allocate_raw(layout(0, 4096)).expect("nothing");
    assert_eq!(start.addr().get() % 4096, 0);
    // SAFETY: as allocated.
    unsafe { pool.deallocate(start, layout(0, 4096)) };
    empty(&pool);
}

#[test]
fn elements_outlive_the_pool() {
    let pool = small_pool();
    let mut row = pool.allocate_typed::<f32>(1000).expect("memory");
    let large = pool.allocate_typed::<u64>(20_000).expect("memory");
    drop(pool);
    row.fill(2.0);
    assert_eq!((row.iter().sum::<f32>(), large.iter().sum::<u64>()), (2000.0, 0));
    thread::spawn(move || drop(row)).join().expect("no panic");
    drop(large);
}

#[test]
fn pools_do_not_mix() {
    let (one, two) = (small_pool(), small_pool());
    for _ in 0..10 {
        let (a, b) = (Filled::new(&one, layout(100, 8), 1), Filled::new(&two, layout(100, 8), 2));
        assert_eq!((one.statistics().live(), two.statistics().live()), (1, 1));
        a.free(&one);
        b.free(&two);
    }
    drop(one);
    empty(&two);
}

#[test]
fn the_process_has_one_pool() {
    let pool = HybridMemoryPool::instance();
    assert!(std::ptr::eq(pool, HybridMemoryPool::instance()));
    let row = pool.allocate_typed::<i8>(6912).expect("memory");
    assert_eq!(format!("{:?}", &row[..2]), "[0, 0]");
    drop(row);
    report_leaks();
}

#[test]
fn adversaries_fragment_and_frees_join() {
    let pool = HybridMemoryPool::new(PoolConfig { retained_bytes: 16 << 20, ..PoolConfig::default() });
    let (size, count) = (100 << 10, if cfg!(miri) { 6 } else { 60 });
    let mut blocks: Vec<_> = (0..count).map(|_| Some(Filled::new(&pool, layout(size, 64), 7))).collect();
    blocks.iter_mut().step_by(2).filter_map(Option::take).for_each(|block| block.free(&pool));
    let holes = pool.statistics();
    assert!(holes.large_free_bytes >= (size * count / 2) as u64);
    assert!(holes.fragmentation() > 0.6, "{}", holes.fragmentation());
    // The holes serve what fits, without more of the system's memory.
    let again: Vec<_> = (0..count / 2).map(|_| Filled::new(&pool, layout(size - 5000, 64), 8)).collect();
    assert_eq!(pool.statistics().held_bytes, holes.held_bytes);
    again.into_iter().chain(blocks.into_iter().flatten()).for_each(|block| block.free(&pool));
    let one = Filled::new(&pool, layout(size * count, 64), 9);
    assert_eq!(pool.statistics().held_bytes, holes.held_bytes);
    one.free(&pool);
    assert!(pool.statistics().fragmentation() < 1e-9);
    empty(&pool);
}

#[test]
fn pages_between_live_blocks_go_back() {
    let pool = small_pool();
    for size in [10_000, 100_000] {
        let count = if cfg!(miri) { 8 } else { 100 };
        let mut blocks: Vec<_> = (0..count).map(|_| Some(Filled::new(&pool, layout(size, 64), 7))).collect();
        blocks.iter_mut().step_by(2).filter_map(Option::take).for_each(|block| block.free(&pool));
        let before = pool.statistics();
        pool.trim();
        pool.trim();
        let after = pool.statistics();
        if cfg!(all(target_os = "linux", not(miri))) {
            // Two pages of each are partly live.
            assert!(after.held_bytes <= after.asked_bytes + (count as u64 / 2 + 1) * 8192, "{after:?}");
            assert!(after.held_bytes < before.held_bytes * 4 / 5);
        }
        // What was given back serves again, as zeros, and in part.
        let again: Vec<_> = (0..count / 2).map(|_| pool.allocate_typed::<u8>(size - 3000).expect("memory")).collect();
        assert!(again.iter().all(|block| block.iter().step_by(STRIDE).all(|&byte| byte == 0)));
        assert!(pool.statistics().held_bytes >= pool.statistics().asked_bytes);
        drop(again);
        blocks.into_iter().flatten().for_each(|block| block.free(&pool));
        empty(&pool);
    }
}

#[test]
fn dry_pages_are_counted_once() {
    let page = footprint::PAGE;
    let mut dry = dry::Dry::default();
    assert_eq!((dry.insert(page..5 * page), dry.insert(4 * page..8 * page)), (4 * page, 3 * page));
    assert!(dry.covers(&(2 * page..7 * page)) && !dry.covers(&(0..2 * page)));
    // A byte wets its page.
    assert_eq!((dry.remove(3 * page + 5..3 * page + 6), dry.bytes()), (page, 6 * page));
    assert!(dry.covers(&(page..3 * page)) && dry.covers(&(4 * page..8 * page)));
    assert_eq!((dry.remove(0..100 * page), dry.bytes(), dry.remove(0..page)), (6 * page, 0, 0));
}

#[test]
fn empty_regions_go_back_beyond_what_is_retained() {
    let pool =
        HybridMemoryPool::new(PoolConfig { retained_bytes: 8 << 20, region_bytes: 4 << 20, ..small_pool_config() });
    let blocks: Vec<_> = (0..8).map(|_| pool.allocate_raw(layout(4 << 20, 64)).expect("memory")).collect();
    assert_eq!(pool.statistics().held_bytes, 32 << 20);
    for block in blocks {
        // SAFETY: allocated above with this layout.
        unsafe { pool.deallocate(block, layout(4 << 20, 64)) };
    }
    let statistics = pool.statistics();
    // Blocks that wait for their size to be asked for again are half as many bytes as are retained.
    assert!(statistics.held_bytes <= 12 << 20, "{}", statistics.held_bytes);
    assert_eq!(statistics.peak_held_bytes, 32 << 20);
    empty(&pool);
}

fn small_pool_config() -> PoolConfig {
    PoolConfig { thread_cache_bytes: 0, shared_cache_bytes: 0, ..PoolConfig::default() }
}

#[test]
fn pools_without_caches_work() {
    let pool = HybridMemoryPool::new(small_pool_config());
    let blocks: Vec<_> = (0..50).map(|number| Filled::new(&pool, layout(1 + number * 500, 8), 3)).collect();
    blocks.into_iter().for_each(|block| block.free(&pool));
    assert_eq!(pool.statistics().cached_bytes, 0);
    empty(&pool);
}

#[test]
fn fresh_memory_is_zero_and_used_memory_is_cleared() {
    let pool = small_pool();
    for _ in 0..3 {
        let mut block = pool.allocate_typed::<u8>(200_000).expect("memory");
        assert!(block.iter().step_by(STRIDE).all(|&byte| byte == 0));
        block.fill(0xff);
        drop(block);
        pool.trim();
    }
    let first = pool.allocate_typed::<u8>(100_000).expect("memory");
    let mut second = pool.allocate_typed::<u8>(100_000).expect("memory");
    second.fill(0xff);
    drop(second);
    // From the free run, and on into what nobody had yet.
    assert!(pool.allocate_typed::<u8>(500_000).expect("memory").iter().step_by(STRIDE).all(|&byte| byte == 0));
    drop(first);
}

/// A block that a thread frees while its thread-locals are being dropped.
#[test]
fn threads_may_free_while_they_end() {
    struct Late(Option<ScopedAllocation<u8>>, Arc<HybridMemoryPool>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0 = self.1.allocate_typed(5000).ok();
        }
    }
    thread_local!(static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) });
    let pool = Arc::new(small_pool());
    let theirs = Arc::clone(&pool);
    thread::spawn(move || {
        // Before the pool's own thread-local and after it: the order of their ends is the platform's.
        let block = theirs.allocate_typed(3000).ok();
        LATE.with(|late| *late.borrow_mut() = Some(Late(block, Arc::clone(&theirs))));
        drop(theirs.allocate_typed::<u8>(100));
    })
    .join()
    .expect("no panic");
    empty(&pool);
}

#[test]
fn allocations_are_send_and_sync() {
    fn is<T: Send + Sync>() {}
    is::<ScopedAllocation<f32>>();
    is::<HybridMemoryPool>();
    is::<MemoryError>();
    is::<keeper::Keeper>();
}

#[cfg(debug_assertions)]
#[test]
fn leaks_are_told_and_wrong_frees_refused() {
    let pool = small_pool();
    let blocks: Vec<_> = (0..3).map(|_| pool.allocate_typed::<f32>(100).expect("memory")).collect();
    let large = pool.allocate_typed::<u8>(100_000).expect("memory");
    let report = pool.leaks();
    assert_eq!((report.allocations, report.bytes), (4, 101_200));
    assert_eq!(
        report.leaks,
        [Leak { bytes: 100_000, class_bytes: None, count: 1 }, Leak { bytes: 400, class_bytes: Some(448), count: 3 },]
    );
    assert_eq!(report.to_string(), "4 live allocations of 101200 bytes: 1 × 100000 bytes (no class), 3 × 400 bytes");
    drop((blocks, large));
    let block = Filled::new(&pool, layout(100, 8), 1);
    let (start, size) = (block.start, block.layout);
    // SAFETY: not the layout that it had: in debug builds that is refused, and nothing is freed.
    unsafe { pool.deallocate(start, layout(200, 8)) };
    block.free(&pool);
    // SAFETY: freed already, which debug builds refuse, too.
    unsafe { pool.deallocate(start, size) };
    empty(&pool);
}
