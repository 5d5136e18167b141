//! Elements of one type, with a scale for each token where they are codes.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::KvType;
use crate::memory::{FixedVec, HybridMemoryPool, MemoryError};

/// Elements as they are stored.
#[derive(Debug)]
pub enum Store {
    /// As computed.
    F32(FixedVec<f32>),
    /// Rounded.
    F16(FixedVec<f16>),
    /// Codes, and what one step of a token's codes is worth.
    I8 {
        /// Elements.
        codes: FixedVec<i8>,
        /// One a token.
        scales: FixedVec<f32>,
    },
}

/// Elements converted at a time.
const RUN: usize = 64;

impl Store {
    /// Room for as many elements, of as many tokens. The memory is touched only as it is used.
    pub(super) fn new(kv: KvType, elements: usize, tokens: usize) -> Result<Self, MemoryError> {
        Ok(match kv {
            KvType::F32 => Store::F32(reserved(elements)?),
            KvType::F16 => Store::F16(reserved(elements)?),
            KvType::I8 => Store::I8 { codes: reserved(elements)?, scales: reserved(tokens)? },
        })
    }

    /// Sets the number of elements and of tokens; new ones are zeros.
    pub(super) fn resize(&mut self, elements: usize, tokens: usize) {
        match self {
            Store::F32(all) => all.resize(elements, 0.0),
            Store::F16(all) => all.resize(elements, f16::ZERO),
            Store::I8 { codes, scales } => {
                codes.resize(elements, 0);
                scales.resize(tokens, 0.0);
            }
        }
    }

    /// Writes a token's elements `first`, `first + step`, …: all of them are within the type's range.
    pub(super) fn write(&mut self, token: usize, row: &[f32], first: usize, step: usize) {
        match self {
            Store::F32(all) => {
                for (place, &x) in all[first..].iter_mut().step_by(step).zip(row) {
                    *place = x;
                }
            }
            Store::F16(all) => {
                for (run, row) in row.chunks(RUN).enumerate() {
                    let mut half = [f16::ZERO; RUN];
                    half[..row.len()].convert_from_f32_slice(row);
                    let places = all[first + run * RUN * step..].iter_mut().step_by(step);
                    for (place, &x) in places.zip(&half[..row.len()]) {
                        *place = x;
                    }
                }
            }
            Store::I8 { codes, scales } => {
                let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                scales[token] = largest / 127.0;
                for (place, &x) in codes[first..].iter_mut().step_by(step).zip(row) {
                    *place = (x * factor).round() as i8;
                }
            }
        }
    }

    /// Bytes of as many elements of as many tokens, as [`Store::save`] writes them.
    pub(super) fn state_bytes(kv: KvType, elements: usize, tokens: usize) -> usize {
        match kv {
            KvType::F32 => elements * size_of::<f32>(),
            KvType::F16 => elements * size_of::<f16>(),
            KvType::I8 => elements + tokens * size_of::<f32>(),
        }
    }

    /// Appends all elements, little-endian, and the scales behind them.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        match self {
            Store::F32(all) => all.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Store::F16(all) => all.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Store::I8 { codes, scales } => {
                out.extend(codes.iter().map(|code| *code as u8));
                scales.iter().for_each(|scale| out.extend(scale.to_le_bytes()));
            }
        }
    }

    /// Whether all numbers that [`Store::save`] wrote are finite.
    pub(super) fn is_finite(kv: KvType, elements: usize, bytes: &[u8]) -> bool {
        let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite());
        match kv {
            KvType::F32 => floats(bytes),
            KvType::F16 => bytes.as_chunks::<2>().0.iter().all(|bytes| f16::from_le_bytes(*bytes).is_finite()),
            KvType::I8 => floats(&bytes[elements..]),
        }
    }

    /// Takes over what [`Store::save`] wrote of as many elements and tokens as there are now.
    pub(super) fn load(&mut self, bytes: &[u8]) {
        match self {
            Store::F32(all) => {
                for (x, bytes) in all.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *x = f32::from_le_bytes(*bytes);
                }
            }
            Store::F16(all) => {
                for (x, bytes) in all.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *x = f16::from_le_bytes(*bytes);
                }
            }
            Store::I8 { codes, scales } => {
                let (of_codes, of_scales) = bytes.split_at(codes.len());
                codes.iter_mut().zip(of_codes).for_each(|(code, byte)| *code = *byte as i8);
                for (scale, bytes) in scales.iter_mut().zip(of_scales.as_chunks::<4>().0) {
                    *scale = f32::from_le_bytes(*bytes);
                }
            }
        }
    }

    /// The number that an element of a token stands for: the slow way back, for tests.
    #[cfg(test)]
    pub(super) fn at(&self, token: usize, element: usize) -> f32 {
        match self {
            Store::F32(all) => all[element],
            Store::F16(all) => all[element].to_f32(),
            Store::I8 { codes, scales } => f32::from(codes[element]) * scales[token],
        }
    }
}

fn reserved<T: Copy>(elements: usize) -> Result<FixedVec<T>, MemoryError> {
    FixedVec::with_capacity(HybridMemoryPool::sparse(), elements)
}
