//! The scalar instruction set's only vector: one lane of four bytes.

use tritune_codegen::Weights;

/// Four activations at `pointer`, first in the lowest byte.
///
/// # Safety
/// Four bytes at `pointer` are readable.
pub(super) unsafe fn broadcast(pointer: *const i8) -> u32 {
    // SAFETY: readable by the caller's promise; alignment is not required.
    u32::from_le(unsafe { pointer.cast::<u32>().read_unaligned() })
}

/// `sum` plus the dot product of four unsigned codes and four signed activations.
pub(super) fn dot(sum: i32, codes: u32, activations: u32) -> i32 {
    let (codes, activations) = (codes.to_le_bytes(), activations.to_le_bytes());
    (0..4).map(|i| i32::from(codes[i]) * i32::from(activations[i] as i8)).fold(sum, |sum, product| sum + product)
}

/// For each of four indices below 16 the entry of a table.
pub(super) fn lookup(table: &[u8; 16], indices: u32) -> u32 {
    u32::from_le_bytes(indices.to_le_bytes().map(|index| table[usize::from(index & 15)]))
}

/// The four lowest bits, each as a byte of 0xff or 0.
pub(super) fn expand(bits: u8) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i| 0u8.wrapping_sub(bits >> i & 1)))
}

/// Byte-wise sum.
pub(super) fn add_bytes(a: u32, b: u32) -> u32 {
    bytewise(a, b, u8::wrapping_add)
}

/// Byte-wise difference.
pub(super) fn sub_bytes(a: u32, b: u32) -> u32 {
    bytewise(a, b, u8::wrapping_sub)
}

fn bytewise(a: u32, b: u32, operation: fn(u8, u8) -> u8) -> u32 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u32::from_le_bytes([0, 1, 2, 3].map(|i| operation(a[i], b[i])))
}

/// Digit `q` of four bytes of five base-3 digits.
pub(super) fn digit(bytes: u32, q: u32) -> u32 {
    u32::from_le_bytes(bytes.to_le_bytes().map(|byte| Weights::T160.decode(byte, 0, q as usize)))
}
