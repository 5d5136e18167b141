//! Ternary matrices as sections: their packed weights, and apart from them their scales, which say how they are cut.

use super::{Pack, Section};
use crate::gguf::Data;
use crate::kernels::{Layout, Packed};
use crate::quant::Scales;

/// What follows the name of a matrix in that of its scales.
const SCALES: &str = ":scales";

/// The sections of a matrix.
pub(crate) fn sections(name: &str, weights: &Packed, scales: &Scales) -> [Section; 2] {
    let form = form(weights.layout(), weights.n(), weights.k(), weights.k() / weights.blocks());
    let numbers = scales.numbers().iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let how = match scales {
        Scales::Tensor(_) => TENSOR.into(),
        Scales::Row(_) => ROW.into(),
        Scales::Block { size, .. } => format!("{BLOCK}{size}"),
    };
    [
        Section { name: format!("{name}{SCALES}"), form: how, data: Data::owned(numbers) },
        Section { name: name.into(), form, data: weights.data() },
    ]
}

const TENSOR: &str = "tensor";
const ROW: &str = "row";
const BLOCK: &str = "block ";

/// The scales of an `n × k` matrix, where they are there.
pub(crate) fn scales(pack: &Pack, name: &str, n: usize, k: usize) -> Option<Scales> {
    let Section { form, data, .. } = pack.section(&format!("{name}{SCALES}"))?;
    let (numbers, rest) = data.as_chunks::<4>();
    let scales: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let fits = |count: Option<usize>| rest.is_empty() && count == Some(scales.len());
    if !scales.iter().all(|scale| scale.is_finite()) {
        return None;
    }
    match form.as_str() {
        TENSOR => fits(Some(1)).then(|| Scales::Tensor(scales[0])),
        ROW => fits(Some(n)).then_some(Scales::Row(scales)),
        block => {
            let size = block.strip_prefix(BLOCK)?.parse().ok().filter(|&size| size != 0 && k.is_multiple_of(size))?;
            fits(n.checked_mul(k / size)).then_some(Scales::Block { size, scales })
        }
    }
}

/// The packed weights of an `n × k` matrix, where they are there in this layout, with as many columns under a scale.
pub(crate) fn weights(pack: &Pack, name: &str, layout: Layout, n: usize, k: usize, block: usize) -> Option<Packed> {
    let section = pack.section(name).filter(|section| section.form == form(layout, n, k, block))?;
    Packed::of(layout, n, k, block, section.data.clone()).ok()
}

fn form(layout: Layout, n: usize, k: usize, block: usize) -> String {
    format!("{layout} {n}x{k} {block}")
}
