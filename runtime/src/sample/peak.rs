use super::{Candidate, Error, Scores};

/// Logits looked at before the best so far is updated: small enough to be found again in the first-level cache.
const BLOCK: usize = 1024;
/// Independent maxima, so that the compiler keeps them in vector registers.
const LANES: usize = 16;

/// The largest logit, the lowest id among equals; NaN, +∞ and nothing but −∞ are errors.
pub(super) fn peak(logits: &[f32], scores: Scores<'_>) -> Result<Candidate, Error> {
    if logits.is_empty() {
        return Err(Error::Empty);
    }
    let mut best = f32::NEG_INFINITY;
    let mut block = 0;
    for (index, values) in logits.chunks(BLOCK).enumerate() {
        let (largest, nan) = largest(values);
        if nan || largest == f32::INFINITY {
            return Err(broken(logits, scores));
        }
        if largest > best {
            (best, block) = (largest, index);
        }
    }
    let start = block * BLOCK;
    match logits[start..].iter().position(|&logit| logit == best) {
        Some(offset) if best > f32::NEG_INFINITY => Ok(Candidate { logit: best, id: scores.id(start + offset) }),
        _ => Err(Error::Forbidden { count: logits.len() }),
    }
}

/// The largest of `values`, and whether any is NaN (which the comparisons pass over).
fn largest(values: &[f32]) -> (f32, bool) {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let mut nans = [false; LANES];
    let (rows, rest) = values.as_chunks::<LANES>();
    let mut look = |lane: usize, value: f32| {
        maxima[lane] = if value > maxima[lane] { value } else { maxima[lane] };
        nans[lane] |= value.is_nan();
    };
    for row in rows {
        for (lane, &value) in row.iter().enumerate() {
            look(lane, value);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        look(lane, value);
    }
    (maxima.into_iter().fold(f32::NEG_INFINITY, f32::max), nans.contains(&true))
}

fn broken(logits: &[f32], scores: Scores<'_>) -> Error {
    let bad = logits.iter().enumerate().find(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY);
    bad.map_or(Error::Empty, |(index, &value)| Error::Logit { id: scores.id(index), value })
}
