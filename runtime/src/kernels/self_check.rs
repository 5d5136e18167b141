//! Proof at load that a kernel returns the integers of the reference.
//!
//! Few rows and turns suffice: a kernel's code does not depend on how many it is given, but for sums that grow. The data
//! are those that break kernels: activations of ±127 and −128 against rows of one sign, whose sums are the largest, over
//! enough columns to overflow 16 bits; and activations without a period, which tell columns apart.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::packed::Packed;
use super::reference;
use super::runnable::{CallError, Runnable, Tokens};
use tritune_codegen::KernelId;

/// A kernel that did not return the integers of the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A wrong integer.
    #[error("kernel {kernel} is wrong: token {token}, row {row}, block {block}: {found} where {expected} is right")]
    Wrong {
        /// The kernel.
        kernel: KernelId,
        /// Token of the tile.
        token: usize,
        /// Output row.
        row: usize,
        /// Block of columns.
        block: usize,
        /// What it returned.
        found: i32,
        /// What is right.
        expected: i32,
    },
    /// The call itself was refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The check's own matrix could not be packed.
    #[error(transparent)]
    Pack(#[from] super::packed::PackError),
    /// There was no memory to check it with.
    #[error("it cannot be checked: {0}")]
    Memory(String),
}

type Verdicts = HashMap<(KernelId, usize), Result<(), Fault>>;

/// Compares a kernel with the reference once in the life of this process, and remembers the verdict.
///
/// # Errors
/// [`Fault`], with the first integer that differs.
pub fn check(kernel: &Runnable) -> Result<(), Fault> {
    static VERDICTS: LazyLock<Mutex<Verdicts>> = LazyLock::new(Mutex::default);
    // The address tells apart tables that hold the same id.
    let key = (kernel.id(), kernel.address());
    let known = VERDICTS.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    known.unwrap_or_else(|| {
        let verdict = compare(kernel);
        VERDICTS.lock().unwrap_or_else(PoisonError::into_inner).insert(key, verdict.clone());
        verdict
    })
}

/// Turns enough that sums of 16 bits overflow where they are never widened: 2¹⁵ / (2 · 2 · 128) terms in each half.
const LONG: usize = 64 * 4 + 16;

/// Two panels less a row; with one sum a row, whose last turn is nearly empty, and with blocks; each token of the tile
/// in turn sees each kind of activations.
fn compare(kernel: &Runnable) -> Result<(), Fault> {
    let tile = kernel.id().tile;
    let (nr, kb) = (usize::from(tile.nr), usize::from(tile.kb));
    let n = 2 * nr - usize::from(nr > 1);
    for kind in 0..KINDS {
        case(kernel, n, 2 * kb + 1, 2 * kb + 1, kind)?;
        if kernel.id().layout().keeps_apart(2 * kb, kb) {
            case(kernel, n, 2 * kb, kb, kind)?;
        }
    }
    case(kernel, nr, LONG.max(kb + 1), LONG.max(kb + 1), 1)
}

/// Trit + 1 of a check matrix: rows of one sign, and rows without a period.
fn code(row: usize, column: usize) -> u8 {
    match row % 4 {
        0 => 0,
        1 => 2,
        _ => (mixed(row * 1031 + column) % 3) as u8,
    }
}

/// Kinds of activations.
const KINDS: usize = 3;

/// Activation of a token of one kind: extremes in turn, one extreme throughout, or without a period, in columns and in
/// tokens alike.
fn activation(token: usize, kind: usize, column: usize) -> i8 {
    match (token + kind) % KINDS {
        0 => [127, -127, -128][column / 8 % 3],
        1 => -128,
        _ => mixed(token * 4099 + column) as i8,
    }
}

/// A number that tells its neighbours apart (the finaliser of SplitMix64).
fn mixed(i: usize) -> u64 {
    let z = (i as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn case(kernel: &Runnable, n: usize, k: usize, block: usize, kind: usize) -> Result<(), Fault> {
    let codes: Vec<u8> = (0..n).flat_map(|row| (0..k).map(move |column| code(row, column))).collect();
    let weights = Packed::new(kernel.id().layout(), n, k, block, &codes)?;
    let (mr, blocks, stride) = (kernel.tokens(), weights.blocks(), weights.layout().padded_k(k));
    let mut values = vec![0; mr * stride];
    for (token, row) in values.chunks_exact_mut(stride).enumerate() {
        row[..k].iter_mut().enumerate().for_each(|(column, value)| *value = activation(token, kind, column));
    }
    let sums: Vec<i32> = values
        .chunks_exact(stride)
        .flat_map(|row| row[..k].chunks(block).map(|block| block.iter().map(|&x| i32::from(x)).sum()))
        .collect();
    let mut out = vec![i32::MIN; kernel.outputs(&weights, weights.panels())];
    let tables = kernel.tables(&values, stride, k).map_err(|error| Fault::Memory(error.to_string()))?;
    let tokens = Tokens { values: &values, stride, sums: &sums, tables: tables.from(0) };
    kernel.products(&weights, 0..weights.panels(), tokens, &mut out)?;
    let nr = usize::from(kernel.id().tile.nr);
    for (row, codes) in codes.chunks_exact(k).enumerate() {
        for (token, values) in values.chunks_exact(stride).enumerate() {
            for (b, expected) in reference::products(codes, &values[..k], block).enumerate() {
                let found = out[((row / nr * blocks + b) * mr + token) * nr + row % nr];
                if found != expected {
                    return Err(Fault::Wrong { kernel: kernel.id(), token, row, block: b, found, expected });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::runnable::{Args, Kernel};
    use super::super::{Isa, KERNELS};
    use super::*;

    #[test]
    fn every_kernel_that_this_machine_runs_is_right() {
        let checked: Vec<_> = KERNELS.iter().filter_map(Kernel::detect).map(|kernel| check(&kernel)).collect();
        assert!(!checked.is_empty());
        assert_eq!(checked.into_iter().find_map(Result::err), None);
    }

    /// Right but for its last output.
    unsafe fn off_by_one(args: &Args) {
        let truth = KERNELS.iter().find(|kernel| kernel.id.isa == Isa::Scalar).unwrap();
        let tile = truth.id.tile;
        // SAFETY: the same promise, to the kernel that the lie is derived from.
        unsafe {
            truth.call(args);
            *args.out.add(args.panels * args.blocks * usize::from(tile.mr) * usize::from(tile.nr) - 2) += 1;
        }
    }

    /// Whether [`turncoat`] lies.
    pub(crate) static LYING: AtomicBool = AtomicBool::new(false);

    /// Right at first.
    unsafe fn right_at_first(args: &Args) {
        let truth = KERNELS.iter().find(|kernel| kernel.id.isa == Isa::Scalar).unwrap();
        // SAFETY: the same promise, to the same kernel.
        unsafe { if LYING.load(Ordering::SeqCst) { off_by_one(args) } else { truth.call(args) } }
    }

    /// A kernel that is right until [`LYING`] is set.
    pub(crate) fn turncoat() -> Runnable {
        let truth = KERNELS.iter().find(|kernel| kernel.id.isa == Isa::Scalar).unwrap();
        let turncoat: &'static Kernel = Box::leak(Box::new(Kernel::new(truth.id, "", right_at_first)));
        turncoat.detect().unwrap()
    }

    /// Calls the scalar kernel for decoding, after its arguments were tampered with.
    unsafe fn tampered(args: &Args, tamper: impl Fn(&mut [i8])) {
        let truth = decoder();
        let columns = args.blocks * args.turns * usize::from(truth.id.tile.kb);
        // SAFETY: one token: `columns` activations are readable; the copy stands in for them in the same call.
        unsafe {
            let mut values = std::slice::from_raw_parts(args.activations, columns).to_vec();
            tamper(&mut values);
            truth.call(&Args { activations: values.as_ptr(), ..*args });
        }
    }

    fn decoder() -> &'static Kernel {
        KERNELS.iter().find(|kernel| kernel.id.isa == Isa::Scalar && kernel.id.tile.mr == 1).unwrap()
    }

    unsafe fn third_position_twice(args: &Args) {
        // SAFETY: the caller's promise.
        unsafe { tampered(args, |values| values.chunks_exact_mut(16).for_each(|step| step.copy_within(8..12, 12))) }
    }

    unsafe fn columns_swapped(args: &Args) {
        // SAFETY: the caller's promise.
        unsafe { tampered(args, |values| values.chunks_exact_mut(4).for_each(|lane| lane.swap(1, 2))) }
    }

    /// Sums in 16 bits.
    unsafe fn never_widened(args: &Args) {
        let truth = decoder();
        let count = args.panels * args.blocks * usize::from(truth.id.tile.nr);
        // SAFETY: the caller's promise; `count` outputs of one token were written by the call.
        unsafe {
            truth.call(args);
            std::slice::from_raw_parts_mut(args.out, count).iter_mut().for_each(|sum| *sum = i32::from(*sum as i16));
        }
    }

    #[test]
    fn subtle_lies_are_found() {
        for lie in [third_position_twice as unsafe fn(&Args), columns_swapped, never_widened] {
            let liar: &'static Kernel = Box::leak(Box::new(Kernel::new(decoder().id, "", lie)));
            assert!(matches!(check(&liar.detect().unwrap()), Err(Fault::Wrong { .. })));
        }
    }

    #[test]
    fn a_lie_is_found() {
        let truth = KERNELS.iter().find(|kernel| kernel.id.isa == Isa::Scalar).unwrap();
        let liar: &'static Kernel = Box::leak(Box::new(Kernel::new(truth.id, "", off_by_one)));
        let fault = check(&liar.detect().unwrap()).unwrap_err();
        assert!(matches!(fault, Fault::Wrong { found, expected, .. } if found == expected + 1), "{fault}");
        assert!(fault.to_string().contains(&truth.id.to_string()));
    }
}
