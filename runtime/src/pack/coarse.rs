//! Int8 copies of float matrices as sections: codes, and apart from them the numbers of each row.

use super::{Pack, Section};
use crate::gguf::Data;
use crate::linear::Coarse;

/// What follows the name of a matrix in those of its copy's sections.
const CODES: &str = ":int8";
const LIMITS: &str = ":int8 limits";

/// The sections of a copy.
pub(crate) fn sections(name: &str, coarse: &Coarse) -> [Section; 2] {
    let form = form(coarse.n(), coarse.k());
    let limits = coarse.limits().into_iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    [
        Section { name: format!("{name}{LIMITS}"), form: form.clone(), data: Data::owned(limits) },
        Section { name: format!("{name}{CODES}"), form, data: coarse.codes() },
    ]
}

/// The copy of an `n × k` matrix, where it is there.
pub(crate) fn find(pack: &Pack, name: &str, n: usize, k: usize) -> Option<Coarse> {
    let section = |what: &str| pack.section(&format!("{name}{what}")).filter(|section| section.form == form(n, k));
    let (codes, limits) = (section(CODES)?, section(LIMITS)?);
    let (limits, rest) = limits.data.as_chunks::<4>();
    let limits: Vec<f32> = limits.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (scales, errors) = limits.split_at_checked(n).filter(|_| rest.is_empty())?;
    Coarse::of(n, k, codes.data.clone(), scales.to_vec(), errors.to_vec())
}

fn form(n: usize, k: usize) -> String {
    format!("{n}x{k}")
}
