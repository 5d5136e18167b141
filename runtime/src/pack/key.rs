//! Which model's file packed weights are of: told without reading all of it.

use std::time::UNIX_EPOCH;

use twox_hash::xxhash3_128::Hasher;

use crate::gguf::File;

/// Bytes of a tensor that are looked at in one place.
const SAMPLE: usize = 256;
/// Places, evenly spread from the first byte to the last.
const SAMPLES: usize = 4;

/// The hash of a model's file: of each part its length, when it was last written, all that comes before its tensors; of each
/// tensor how it is read, and some of its bytes.
pub(super) fn of(model: &File) -> u128 {
    hash(model, true)
}

/// The same whenever it was written: of a copy, too.
pub(crate) fn content(model: &File) -> u128 {
    hash(model, false)
}

fn hash(model: &File, with_time: bool) -> u128 {
    let mut hasher = Hasher::new();
    for (header, bytes, modified) in model.headers() {
        let modified = modified.filter(|_| with_time).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hasher.write(&bytes.to_le_bytes());
        hasher.write(&modified.unwrap_or_default().as_nanos().to_le_bytes());
        hasher.write(&(header.len() as u64).to_le_bytes());
        hasher.write(&header);
    }
    for tensor in model.tensors() {
        hasher.write(tensor.kind.to_string().as_bytes());
        let data = model.data(tensor);
        let sample = SAMPLE.min(data.len());
        let last = data.len() - sample;
        for at in 0..SAMPLES {
            hasher.write(&data[at * last / (SAMPLES - 1)..][..sample]);
        }
    }
    hasher.finish_128()
}
