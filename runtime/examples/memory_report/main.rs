//! Bytes that the pool, the system's allocator and mimalloc take for the bytes that are live, as two tables.
//!
//! `cargo run --release --example memory_report`; every row is a process of its own, since what an allocator has taken
//! it seldom gives back. Resident bytes are read from /proc and are there on Linux alone.

mod mix;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;

use mimalloc::MiMalloc;
use mix::{MIXES, Mix};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tritune::memory::{HybridMemoryPool, PoolConfig, Statistics};

const LIVE: usize = 10_000;
/// Blocks that are replaced, each time one at random.
const REPLACED: usize = 200_000;
/// Live bytes that the adversary has at most.
const ADVERSARY: usize = 256 << 20;
const MIB: f64 = (1 << 20) as f64;

enum Allocator {
    Pool(HybridMemoryPool),
    Global(&'static dyn GlobalAlloc),
}

struct Blocks {
    allocator: Allocator,
    live: Vec<(NonNull<u8>, Layout)>,
    asked: usize,
    resident: usize,
}

impl Blocks {
    fn new(name: &str) -> Blocks {
        let allocator = match name {
            "system" => Allocator::Global(&System),
            "mimalloc" => Allocator::Global(&MiMalloc),
            "pool, 4 KiB pages" => {
                Allocator::Pool(HybridMemoryPool::new(PoolConfig { huge_pages: false, ..PoolConfig::default() }))
            }
            _ => Allocator::Pool(HybridMemoryPool::default()),
        };
        Blocks { allocator, live: Vec::with_capacity(1 << 17), asked: 0, resident: resident() }
    }

    fn allocate(&mut self, size: usize) -> (NonNull<u8>, Layout) {
        let layout = Layout::from_size_align(size, 64).expect("a layout");
        let start = match &self.allocator {
            Allocator::Pool(pool) => pool.allocate_raw(layout).expect("memory"),
            // SAFETY: no mix has blocks of no size.
            Allocator::Global(global) => NonNull::new(unsafe { global.alloc(layout) }).expect("memory"),
        };
        // SAFETY: the block is that large; it is used as blocks are, so that its pages count.
        unsafe { start.write_bytes(1, size) };
        self.asked += size;
        (start, layout)
    }

    fn add(&mut self, size: usize) {
        let block = self.allocate(size);
        self.live.push(block);
    }

    fn free(&mut self, (start, layout): (NonNull<u8>, Layout)) {
        self.asked -= layout.size();
        match &self.allocator {
            // SAFETY: allocated by it with this layout.
            Allocator::Pool(pool) => unsafe { pool.deallocate(start, layout) },
            // SAFETY: as above.
            Allocator::Global(global) => unsafe { global.dealloc(start.as_ptr(), layout) },
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        match &self.allocator {
            Allocator::Pool(pool) => Some(pool.statistics()),
            Allocator::Global(_) => None,
        }
    }

    /// Overhead: by the pool's own count of held bytes, and by what the process has more in memory than before.
    fn overheads(&self) -> String {
        let held = self.statistics().map_or("—".into(), |statistics| percent(statistics.overhead()));
        let resident = resident().saturating_sub(self.resident);
        format!("{held} | {}", percent(resident as f64 / self.asked as f64 - 1.0))
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn mixed(name: &str, mix: &Mix) {
    let mut blocks = Blocks::new(name);
    let mut rng = SmallRng::seed_from_u64(4);
    for _ in 0..LIVE {
        blocks.add(mix.size(&mut rng));
    }
    let filled = blocks.overheads();
    for _ in 0..REPLACED {
        let at = rng.random_range(0..LIVE);
        let block = blocks.live.swap_remove(at);
        blocks.free(block);
        blocks.add(mix.size(&mut rng));
    }
    let (replaced, asked) = (blocks.overheads(), blocks.asked as f64 / MIB);
    let cached = blocks.statistics().map_or("—".into(), |s| format!("{:.2} MiB", s.cached_bytes as f64 / MIB));
    let trimmed = match &blocks.allocator {
        Allocator::Pool(pool) => {
            pool.trim();
            blocks.overheads()
        }
        Allocator::Global(_) => "— | —".into(),
    };
    let statistics = blocks.statistics();
    let peak = statistics.as_ref().map_or("—".into(), |s| format!("{:.0} MiB", s.peak_asked_bytes as f64 / MIB));
    let hits = statistics.map_or("—".into(), |s| percent(s.hit_rate()));
    println!("{} | {name} | {asked:.0} MiB | {peak} | {filled} | {replaced} | {trimmed} | {cached} | {hits}", mix.name);
}

/// Robson's adversary: fills what is free with blocks of a size, frees every other one, and doubles the size, so that no
/// hole serves.
fn adversary(name: &str) {
    let mut blocks = Blocks::new(name);
    let mut size = 80 << 10;
    let mut worst = 0.0_f64;
    let mut most = 0;
    while size <= 16 << 20 {
        while blocks.asked + size <= ADVERSARY {
            blocks.add(size);
        }
        most = most.max(blocks.asked);
        for (at, block) in std::mem::take(&mut blocks.live).into_iter().enumerate() {
            if at % 2 == 0 { blocks.free(block) } else { blocks.live.push(block) }
        }
        worst = worst.max(blocks.statistics().map_or(0.0, |statistics| statistics.fragmentation()));
        size *= 2;
    }
    let taken = resident().saturating_sub(blocks.resident) as f64 / most as f64;
    let statistics = blocks.statistics();
    let held = statistics.as_ref().map_or("—".into(), |s| format!("{:.2}", s.peak_held_bytes as f64 / most as f64));
    let last = statistics.as_ref().map_or("—".into(), |s| format!("{:.2}", s.fragmentation()));
    let worst = statistics.map_or("—".into(), |_| format!("{worst:.2}"));
    for block in std::mem::take(&mut blocks.live) {
        blocks.free(block);
    }
    let end = blocks.statistics().map_or("—".into(), |s| format!("{:.2}", s.fragmentation()));
    println!("{name} | {held} | {taken:.2} | {worst} | {last} | {end}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [what, name] if what == "adversary" => return adversary(name),
        [what, name] => return MIXES.iter().filter(|mix| mix.name == what).for_each(|mix| mixed(name, mix)),
        _ => (),
    }
    let own = std::env::current_exe().expect("this program");
    let row = |what: &str, name: &str| {
        let done = std::process::Command::new(&own).args([what, name]).status().expect("runs");
        assert!(done.success(), "{what} {name}: {done}");
    };
    println!(
        "{LIVE} live blocks aligned to 64 bytes, every byte written. Overhead is bytes taken / bytes asked for - 1:"
    );
    println!(
        "held, by the pool's statistics (all that its regions ever handed out, in pages of 4 KiB, caches and holes"
    );
    println!(
        "included); resident, what the process has more in memory than before, its own collections included. After"
    );
    println!(
        "the blocks were allocated; after {REPLACED} of them, each at random, were freed and another allocated; and"
    );
    println!("after `trim`.\n");
    MIXES.iter().for_each(|mix| println!("{}: {}", mix.name, mix.about));
    println!(
        "\nmix | allocator | asked | at most | held, filled | resident | held, replaced | resident | held, trimmed | resident | cached | hits"
    );
    println!("---|---|---|---|---|---|---|---|---|---|---|---");
    for mix in &MIXES {
        for name in ["pool", "pool, 4 KiB pages", "system", "mimalloc"] {
            row(mix.name, name);
        }
    }
    println!(
        "\nAn adversary with up to {} MiB live, who frees every other block and doubles the size:\n",
        ADVERSARY >> 20
    );
    println!(
        "allocator | peak held / peak live | resident / peak live | fragmentation, worst | at its end | all freed"
    );
    println!("---|---|---|---|---|---");
    ["pool", "system", "mimalloc"].into_iter().for_each(|name| row("adversary", name));
}
