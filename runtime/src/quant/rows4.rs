//! Four rows side by side: IQ2_BN_R4. Of every 64 columns there are 64 bytes; byte 16·l + 4·r + i holds, at shift 2·q,
//! column 16·l + 4·q + i of row r.

use super::each;

/// Rows that lie together.
const ROWS: usize = 4;

/// Bytes of a row in each 64 columns, and where in them a column is: its byte, its shift.
const fn place(row: usize, column: usize) -> (usize, usize) {
    (16 * (column / 16) + 4 * row + column % 4, 2 * (column % 16 / 4))
}

/// Codes `[4, k]` of as many rows; `out` says how long they are.
#[inline(always)]
pub(super) fn unpack(bytes: &[u8], out: &mut [u8]) {
    let k = out.len() / ROWS;
    for (row, out) in out.chunks_exact_mut(k.max(1)).enumerate() {
        each(bytes, out, |bytes: &[u8; 64], out: &mut [u8; 64]| {
            for (column, out) in out.iter_mut().enumerate() {
                let (byte, shift) = place(row, column);
                *out = bytes[byte] >> shift & 3;
            }
        });
    }
}

/// The way back, into zeros.
pub(super) fn pack(codes: &[u8], out: &mut [u8]) {
    let k = codes.len() / ROWS;
    for (row, codes) in codes.chunks_exact(k.max(1)).enumerate() {
        for (codes, out) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<64>().0) {
            for (column, code) in codes.iter().enumerate() {
                let (byte, shift) = place(row, column);
                out[byte] |= code << shift;
            }
        }
    }
}
