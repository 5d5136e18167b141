//! Proof at load that a kernel returns the integers of the reference.
//!
//! A few rows and turns suffice: a kernel's code does not depend on how many it is given. The data are those that break
//! kernels: activations of ±127 and −128 against rows of one sign, whose sums are the largest, and a pattern that gives
//! each position of a byte another value.

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

/// Two panels less a row, a turn more than whole blocks: with one sum a row, and with blocks.
fn compare(kernel: &Runnable) -> Result<(), Fault> {
    let tile = kernel.id().tile;
    let (nr, kb) = (usize::from(tile.nr), usize::from(tile.kb));
    let n = 2 * nr - usize::from(nr > 1);
    case(kernel, n, 2 * kb + 1, 2 * kb + 1)?;
    case(kernel, n, 2 * kb, kb)
}

/// Trit + 1 of a check matrix.
fn code(row: usize, column: usize) -> u8 {
    match row % 4 {
        0 => 0,
        1 => 2,
        _ => ((row * 7 + column * 5 + column / 4) % 3) as u8,
    }
}

/// Activation of a check token.
fn activation(token: usize, column: usize) -> i8 {
    match token % 3 {
        0 => [127, -127, -128][column / 8 % 3],
        1 => -128,
        _ => (token * 31 + column * 37) as u8 as i8,
    }
}

fn case(kernel: &Runnable, n: usize, k: usize, block: usize) -> Result<(), Fault> {
    let codes: Vec<u8> = (0..n).flat_map(|row| (0..k).map(move |column| code(row, column))).collect();
    let weights = Packed::new(kernel.id().layout(), n, k, block, &codes)?;
    let (mr, blocks, stride) = (kernel.tokens(), weights.blocks(), weights.layout().padded_k(k));
    let mut values = vec![0; mr * stride];
    for (token, row) in values.chunks_exact_mut(stride).enumerate() {
        row[..k].iter_mut().enumerate().for_each(|(column, value)| *value = activation(token, column));
    }
    let sums: Vec<i32> = values
        .chunks_exact(stride)
        .flat_map(|row| row[..k].chunks(block).map(|block| block.iter().map(|&x| i32::from(x)).sum()))
        .collect();
    let mut out = vec![i32::MIN; kernel.outputs(&weights, weights.panels())];
    kernel.products(&weights, 0..weights.panels(), Tokens { values: &values, stride, sums: &sums }, &mut out)?;
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
mod tests {
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

    #[test]
    fn a_lie_is_found() {
        let truth = KERNELS.iter().find(|kernel| kernel.id.isa == Isa::Scalar).unwrap();
        let liar: &'static Kernel = Box::leak(Box::new(Kernel::new(truth.id, "", off_by_one)));
        let fault = check(&liar.detect().unwrap()).unwrap_err();
        assert!(matches!(fault, Fault::Wrong { found, expected, .. } if found == expected + 1), "{fault}");
        assert!(fault.to_string().contains(&truth.id.to_string()));
    }
}
