//! Ternary matrices on their way from a file's bytes to the layouts of their kernels: all of a model together, in pieces of
//! some panels, so that no core waits for another's last matrix, and no matrix is there at a byte a weight.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gguf::Data;
use crate::kernels::{self, Layout, PackError, Packed};
use crate::quant::{self, Rows};
use crate::region::Region;
use crate::threads::Pool;

/// Weights of a piece: enough to be worth a claim, few enough that all threads end together.
const PIECE: usize = if cfg!(test) { 1 << 11 } else { 1 << 20 };
/// Packed matrices begin at multiples of this, as in a file of them.
const PAGE: usize = 4096;
/// After so many pieces of a matrix the file's pages of those before are released.
const RELEASE: usize = if cfg!(test) { 2 } else { 16 };
/// So many matrices ahead of their turn the file's pages are asked for.
const AHEAD: usize = 8;

/// A matrix to be packed.
pub(super) struct Plan<'a> {
    /// The tensor that it is in.
    pub(super) rows: &'a Rows<'a>,
    /// That tensor's bytes.
    pub(super) data: Data,
    /// Its first row.
    pub(super) first: usize,
    /// Its rows.
    pub(super) n: usize,
    /// How it is packed.
    pub(super) layout: Layout,
    /// Columns that are summed apart.
    pub(super) block: usize,
}

/// Why a matrix is not packed.
pub(super) enum Failure {
    /// There is no memory for all of them.
    Memory(io::Error),
    /// The matrix of this index has damaged rows.
    Decode(usize, quant::Error),
    /// The matrix of this index cannot have its layout.
    Pack(usize, PackError),
}

/// Some panels of a matrix, and the place for them.
struct Piece<'a> {
    plan: usize,
    /// Among the pieces of its matrix.
    number: usize,
    out: Mutex<&'a mut [u8]>,
}

impl Plan<'_> {
    fn bytes(&self) -> Result<usize, PackError> {
        Packed::room(self.layout, self.n, self.rows.k(), self.block)
    }

    fn panel_bytes(&self) -> usize {
        self.layout.panel_bytes(self.rows.k())
    }

    /// Panels of a piece: all, where the rows cannot be decoded apart.
    fn panels(&self) -> usize {
        let nr = usize::from(self.layout.nr);
        match self.rows.is_divisible() {
            true => (PIECE / (nr * self.rows.k())).max(1),
            false => self.n.div_ceil(nr),
        }
    }

    /// Packs the panels from `panel` on that fill `out`.
    fn pack(&self, panel: usize, codes: &mut Vec<u8>, out: &mut [u8]) -> Result<(), quant::Error> {
        let (nr, k) = (usize::from(self.layout.nr), self.rows.k());
        // A panel at a time, which stays in the cache; all at once, where the rows cannot be decoded apart.
        let together = if self.rows.is_divisible() { 1 } else { self.panels() };
        for (turn, out) in out.chunks_mut(together * self.panel_bytes()).enumerate() {
            let start = (panel + turn * together) * nr;
            let rows = start..(start + together * nr).min(self.n);
            codes.resize(rows.len() * k, 0);
            self.rows.read(self.first + rows.start..self.first + rows.end, codes)?;
            kernels::pack(self.layout, k, codes, out);
        }
        Ok(())
    }

    /// Lets go of the file's pages with these rows, about: who needs some of them after all reads them again.
    fn release(&self, rows: Range<usize>) {
        let at = |row: usize| {
            let share = (self.first + row.min(self.n)) as u128 * self.data.len() as u128 / self.rows.n() as u128;
            share as usize
        };
        self.data.release(at(rows.start)..at(rows.end));
    }
}

/// Packs all of them, and calls `done` after each, from any thread. The bytes are one piece of memory.
pub(super) fn pack(pool: &Pool, plans: &[Plan<'_>], done: &(dyn Fn() + Sync)) -> Result<Vec<Packed>, Failure> {
    let bytes: Result<Vec<usize>, Failure> =
        plans.iter().enumerate().map(|(index, plan)| plan.bytes().map_err(|why| Failure::Pack(index, why))).collect();
    let bytes = bytes?;
    let mut region =
        Region::new(bytes.iter().map(|bytes| bytes.next_multiple_of(PAGE)).sum()).map_err(Failure::Memory)?;
    let (mut pieces, mut left) = (Vec::new(), Vec::new());
    let mut rest = region.bytes_mut();
    for (index, (plan, bytes)) in plans.iter().zip(&bytes).enumerate() {
        let out = rest.split_off_mut(..bytes.next_multiple_of(PAGE)).unwrap_or_default();
        let outs = out[..*bytes].chunks_mut(plan.panels() * plan.panel_bytes());
        left.push(AtomicUsize::new(outs.len()));
        pieces.extend(outs.enumerate().map(|(number, out)| Piece { plan: index, number, out: Mutex::new(out) }));
    }
    // What takes longest comes first.
    pieces.sort_by_key(|piece| plans[piece.plan].rows.is_divisible());

    let scratch: Vec<Mutex<Vec<u8>>> = (0..pool.threads()).map(|_| Mutex::default()).collect();
    let failure: Mutex<Option<(usize, quant::Error)>> = Mutex::new(None);
    pool.for_each(pieces.len(), |thread, index| {
        let Piece { plan: of, number, out } = &pieces[index];
        let (plan, panels) = (&plans[*of], plans[*of].panels());
        if *number == 0 {
            let ahead = if index == 0 { 0..AHEAD + 1 } else { of + AHEAD..of + AHEAD + 1 };
            plans.iter().take(ahead.end).skip(ahead.start).for_each(|plan| plan.data.prefetch());
        }
        // Nobody comes after the first failure; those before it were claimed before it.
        if lock(&failure).as_ref().is_some_and(|(first, _)| index > *first) {
            return;
        }
        if let Err(why) = plan.pack(number * panels, &mut lock(&scratch[thread]), &mut lock(out)) {
            let mut failure = lock(&failure);
            if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                *failure = Some((index, why));
            }
            return;
        }
        let rows = panels * usize::from(plan.layout.nr);
        if number % RELEASE == 0 && *number >= 2 * RELEASE {
            plan.release((number - 2 * RELEASE) * rows..(number - RELEASE) * rows);
        }
        if left[*of].fetch_sub(1, SeqCst) == 1 {
            plan.release(0..plan.n);
            done();
        }
    });
    if let Some((index, why)) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(Failure::Decode(pieces[index].plan, why));
    }
    drop(pieces);
    let all = Data::memory(region);
    let mut at = 0;
    let packed = plans.iter().zip(bytes).enumerate().map(|(index, (plan, bytes))| {
        let data = all.slice(at..at + bytes);
        at += bytes.next_multiple_of(PAGE);
        Packed::of(plan.layout, plan.n, plan.rows.k(), plan.block, data).map_err(|why| Failure::Pack(index, why))
    });
    packed.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::gguf::Kind;
    use crate::kernels::Weights;
    use crate::quant::{Scales, Trits, trits};

    fn layout(weights: Weights, nr: u16, kb: u16) -> Layout {
        Layout { weights, nr, kb }
    }

    /// Packs the matrices of stacks of these types, rows and columns; the first of them as they are there, and made.
    fn packed(cases: &[(Kind, usize, usize)], layout: Layout, threads: usize) -> Vec<(Packed, Packed)> {
        const COUNT: usize = 4;
        let code = |i: usize| (i.wrapping_mul(2_654_435_761) >> 9) % 3;
        let stacks = cases.iter().map(|&(kind, n, k)| {
            let n = n * COUNT;
            let codes: Vec<u8> = (0..n * k).map(|i| code(i) as u8).collect();
            let trits = Trits { n, k, codes, scales: Scales::Tensor(0.5) };
            (trits::encode(kind, &trits).unwrap(), trits)
        });
        let stacks: Vec<(Vec<u8>, Trits)> = stacks.collect();
        let rows = stacks.iter().zip(cases);
        let rows: Vec<Rows<'_>> =
            rows.map(|((bytes, trits), (kind, ..))| Rows::new(*kind, bytes, trits.n, trits.k).unwrap()).collect();
        let (mut plans, mut expected) = (Vec::new(), Vec::new());
        for (((bytes, trits), rows), &(_, n, k)) in stacks.iter().zip(&rows).zip(cases) {
            for first in (0..COUNT).map(|i| i * n) {
                let data = Data::owned(bytes.clone());
                plans.push(Plan { rows, data, first, n, layout, block: k });
                let codes = &trits.codes[first * k..(first + n) * k];
                expected.push(Packed::new(layout, n, k, k, codes).unwrap());
            }
        }
        let done = AtomicUsize::new(0);
        let found = pack(&Pool::new(threads), &plans, &|| {
            done.fetch_add(1, Relaxed);
        });
        let Ok(found) = found else { panic!("they are sound") };
        assert_eq!(done.into_inner(), plans.len());
        found.into_iter().zip(expected).collect()
    }

    #[test]
    fn what_is_packed_in_pieces_is_what_is_packed_whole() {
        let layouts = [
            layout(Weights::T200, 16, 64),
            layout(Weights::T200, 32, 16),
            layout(Weights::T167, 16, 96),
            layout(Weights::T167, 2, 24),
            layout(Weights::T160, 8, 20),
        ];
        let cases = [
            (Kind::I2_S, 100, 256),
            (Kind::I2_S, 72, 104),
            (Kind::I2_S, 1, 32),
            (Kind::I2_S_ARM64, 33, 80),
            (Kind::TQ1_0, 17, 512),
            (Kind::TQ2_0, 3, 2560),
            (Kind::Q2_0, 31, 192),
            (Kind::Q2_0_G128, 5, 384),
            (Kind::PQ2_0, 65, 128),
            (Kind::IQ1_BN, 90, 192),
            (Kind::IQ2_BN, 35, 64),
            (Kind::IQ2_BN_R4, 41, 64),
            (Kind::TL1, 384, 4096),
            (Kind::TL2, 384, 1536),
        ];
        for (layout, threads) in layouts.into_iter().zip([2, 3, 1, 2, 4]) {
            for (case, (found, expected)) in packed(&cases, layout, threads).into_iter().enumerate() {
                assert!(found.bytes() == expected.bytes(), "{layout}: {:?}", cases[case / 4]);
                assert_eq!(found.blocks(), 1);
            }
        }
    }

    #[test]
    fn the_first_of_several_faults_is_told() {
        let (n, k) = (64, 256);
        let codes = vec![1; n * k];
        let sound = trits::encode(Kind::I2_S, &Trits { n, k, codes, scales: Scales::Tensor(0.5) }).unwrap();
        let damaged = |bytes: &[usize]| {
            let mut damaged = sound.clone();
            bytes.iter().for_each(|&at| damaged[at] = 0xff);
            Data::owned(damaged)
        };
        let data = [damaged(&[]), damaged(&[17 * k / 4, 60 * k / 4]), damaged(&[5])];
        let rows: Vec<Rows<'_>> = data.iter().map(|data| Rows::new(Kind::I2_S, data, n, k).unwrap()).collect();
        let plans = |layout, block| -> Vec<Plan<'_>> {
            let plan = |(rows, data): (_, &Data)| Plan { rows, data: data.clone(), first: 0, n, layout, block };
            rows.iter().zip(&data).map(plan).collect()
        };
        for _ in 0..20 {
            let pool = Pool::new(3);
            match pack(&pool, &plans(layout(Weights::T200, 8, 64), k), &|| ()) {
                Err(Failure::Decode(1, why)) => assert!(why.to_string().contains("row 17, column 0"), "{why}"),
                _ => panic!("the second matrix is damaged"),
            }
        }
        let wrong = pack(&Pool::new(1), &plans(layout(Weights::T200, 8, 64), 96), &|| ());
        assert!(matches!(wrong, Err(Failure::Pack(0, PackError::Block { .. }))));
        assert!(pack(&Pool::new(2), &[], &|| ()).is_ok_and(|packed| packed.is_empty()));
    }
}
