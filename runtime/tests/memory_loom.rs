//! The lock-free shelf in every order that threads may take, as the memory model allows them (loom).
//!
//! The file of the shelf is compiled here once more, with loom's atomics in the place of the standard library's, so that
//! neither a feature nor a flag is needed.

#![allow(dead_code)] // of what the shelf has and these tests do not need

#[path = "../src/memory/block.rs"]
mod block;
#[path = "../src/memory/shelf.rs"]
mod shelf;

/// What the shelf is built of.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicPtr, AtomicUsize};
}

use std::ptr::NonNull;

use block::Block;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use shelf::{Shelf, Shelves};

/// Memory of blocks: loom tells where two threads touch one of them without an order.
type Memory = Arc<[UnsafeCell<u32>; 2]>;

fn memory() -> Memory {
    Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)])
}

fn block(memory: &Memory, index: usize) -> Block {
    Block::new(NonNull::from(&memory[index]).cast())
}

fn index(memory: &Memory, block: Block) -> usize {
    let start = block.start();
    memory.iter().position(|cell| NonNull::from(cell).cast() == start).expect("a block of this memory")
}

/// Writes a block as its only owner would.
fn write(memory: &Memory, index: usize) {
    // SAFETY: loom's cell reports, instead of allowing, any access at the same time.
    memory[index].with_mut(|value| unsafe { *value += 1 });
}

#[test]
fn a_block_is_taken_once() {
    loom::model(|| {
        let (memory, shelf) = (memory(), Arc::new(Shelf::new(2)));
        shelf.put(block(&memory, 0)).expect("a place");
        shelf.put(block(&memory, 1)).expect("a place");
        let take = || {
            let (memory, shelf) = (memory.clone(), shelf.clone());
            move || {
                let taken = index(&memory, shelf.take()?);
                write(&memory, taken);
                Some(taken)
            }
        };
        let other = thread::spawn(take());
        let mut taken = [take()(), other.join().expect("no panic"), shelf.take().map(|block| index(&memory, block))];
        taken.sort();
        assert_eq!(taken, [None, Some(0), Some(1)]);
    });
}

#[test]
fn a_place_is_given_once() {
    loom::model(|| {
        let (memory, shelf) = (memory(), Arc::new(Shelf::new(1)));
        let put = |at: usize| {
            let (memory, shelf) = (memory.clone(), shelf.clone());
            move || {
                write(&memory, at);
                shelf.put(block(&memory, at)).err().map(|back| index(&memory, back))
            }
        };
        let other = thread::spawn(put(1));
        let mut all = vec![put(0)(), other.join().expect("no panic")];
        all.push(shelf.take().map(|block| index(&memory, block)));
        all.sort();
        // One was refused, and one is on the shelf: none is lost, and none is there twice.
        assert_eq!(all, [None, Some(0), Some(1)]);
        assert!(shelf.take().is_none());
    });
}

/// Two threads free and allocate; what the shelf does not take goes to a list under a lock, as to the pool's heap.
#[test]
fn blocks_go_between_threads() {
    loom::model(|| {
        let memory = memory();
        let shelf = Arc::new(Shelf::new(1));
        let heap = Arc::new(Mutex::new(Vec::new()));
        let work = |own: usize| {
            let (memory, shelf, heap) = (memory.clone(), shelf.clone(), heap.clone());
            move || {
                write(&memory, own);
                if let Err(back) = shelf.put(block(&memory, own)) {
                    heap.lock().expect("no panic").push(index(&memory, back));
                }
                let taken = shelf.take().map(|taken| index(&memory, taken));
                // What was taken is ours alone, whoever had it before.
                taken.inspect(|&taken| write(&memory, taken))
            }
        };
        let other = thread::spawn(work(1));
        let mut all = vec![work(0)(), other.join().expect("no panic")];
        all.extend(heap.lock().expect("no panic").drain(..).map(Some));
        all.push(shelf.take().map(|block| index(&memory, block)));
        let mut all: Vec<usize> = all.into_iter().flatten().collect();
        all.sort();
        assert_eq!(all, [0, 1]);
    });
}

#[test]
fn shelves_keep_to_their_limit() {
    loom::model(|| {
        let (memory, shelves) = (memory(), Arc::new(Shelves::new([(1, 60), (1, 60), (1, 100)].into_iter(), 100)));
        let work = |at: usize| {
            let (memory, shelves) = (memory.clone(), shelves.clone());
            move || {
                let back = shelves.put(at, block(&memory, at)).err().map(|back| index(&memory, back));
                (back, shelves.take(at).map(|block| index(&memory, block)))
            }
        };
        let other = thread::spawn(work(1));
        let (first, second) = (work(0)(), other.join().expect("no panic"));
        for (at, (back, taken)) in [first, second].into_iter().enumerate() {
            // Refused or put, and then taken, as nobody else takes of this class.
            assert!(back.xor(taken) == Some(at));
        }
        // Nothing is counted now: there is room for all bytes of the limit.
        shelves.put(2, block(&memory, 0)).expect("room");
    });
}
