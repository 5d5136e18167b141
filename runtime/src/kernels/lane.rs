//! The scalar instruction set's only vector: one lane of four bytes.

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
