//! Ids that several formats share: which of them a file means is told by the distances between its tensors, once for
//! all tensors of the id.

use super::file::{Order, Part, Stretch};
use super::{Error, I2sLayout, Kind, Tensor, align};

/// Sets type and size of every tensor whose id several formats share, in all parts alike.
///
/// # Errors
/// Where a distance fits none of the formats, distances contradict each other, or all of them fit several.
pub(super) fn settle(parts: &[Part], tensors: &mut [Tensor], order: &Order) -> Result<(), Error> {
    let mut ids: Vec<u32> = tensors.iter().map(|tensor| tensor.kind.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    // The layouts of I2_S do not differ in size: that is for the user to say.
    let told = I2sLayout::default().kind().id();
    for id in ids.into_iter().filter(|&id| id != told) {
        let formats: Vec<Kind> = Kind::sharing(id).collect();
        if formats.len() < 2 {
            continue;
        }
        let kind = decide(parts, tensors, order, id, &formats)?;
        for tensor in tensors.iter_mut().filter(|tensor| tensor.kind.id() == id) {
            let refuse = |source| Error::Shape {
                path: parts[tensor.part].path.to_path_buf(),
                tensor: tensor.name.clone(),
                shape: tensor.shape.clone(),
                source,
            };
            tensor.bytes = kind.bytes(&tensor.shape).map_err(refuse)?.unwrap_or(0);
            tensor.kind = kind;
        }
    }
    Ok(())
}

fn decide(parts: &[Part], tensors: &[Tensor], order: &Order, id: u32, formats: &[Kind]) -> Result<Kind, Error> {
    let refuse = |tensor: &Tensor, why: String| {
        let path = parts[tensor.part].path.to_path_buf();
        Error::Shared { path, tensor: tensor.name.clone(), id, why }
    };
    let mut left = formats.to_vec();
    let mut last = None;
    for Stretch { tensor, room, next } in order.stretches(parts, tensors) {
        if tensor.kind.id() != id {
            continue;
        }
        let takes = |kind: &Kind| kind.bytes(&tensor.shape).ok().flatten();
        let alignment = parts[tensor.part].alignment;
        let fits = |kind: &Kind| takes(kind).is_some_and(|need| fits(need, room, alignment));
        if !formats.iter().any(fits) {
            if next.is_none() {
                // The file may be cut short, or something may follow: that is checked once the type is known.
                last = Some(tensor);
                continue;
            }
            let sizes: Vec<String> =
                formats.iter().filter_map(|kind| takes(kind).map(|need| format!("{need} as {kind}"))).collect();
            let why = format!("the next one starts {room} bytes after it, and it takes {}", sizes.join(" or "));
            return Err(refuse(tensor, why));
        }
        left.retain(|kind| fits(kind));
        if left.is_empty() {
            return Err(refuse(tensor, format!("its {room} bytes contradict those of the tensors before it")));
        }
        last = Some(tensor);
    }
    match (&left[..], last) {
        ([kind], _) => Ok(*kind),
        (_, Some(tensor)) => {
            let names: Vec<String> = left.iter().map(Kind::to_string).collect();
            Err(refuse(tensor, format!("{} are all possible by the sizes in the file", names.join(" and "))))
        }
        // No tensor has the id, so that nothing depends on it.
        (_, None) => Ok(formats[0]),
    }
}

/// Whether `need` bytes, and what fills them up to the alignment, are `room`.
fn fits(need: u64, room: u64, alignment: u64) -> bool {
    need <= room && align(need, alignment).is_some_and(|end| room <= end)
}

/// Formats that cannot be read, under the id of one that can: that one, the name, elements and bytes of a block.
const OTHERS: [(Kind, &str, u64, u64); 1] = [(Kind::TL2, "MXFP4", 32, 17)];

/// The format that `tensor` has by its size, where that is not the one that its id means here.
pub(super) fn another(tensor: &Tensor, room: u64, alignment: u64) -> Option<&'static str> {
    if fits(tensor.bytes, room, alignment) {
        return None;
    }
    let is = |(kind, _, elements, bytes): &(Kind, &str, u64, u64)| {
        let need = (tensor.elements() / elements).checked_mul(*bytes);
        let whole = tensor.k().is_multiple_of(*elements);
        tensor.kind == *kind && whole && need.is_some_and(|need| fits(need, room, alignment))
    };
    OTHERS.into_iter().find(is).map(|(_, name, ..)| name)
}

#[cfg(test)]
mod tests {
    use super::super::writer::zeros;
    use super::super::{File, Header};
    use super::*;

    fn file(tensors: &[(&str, &[u64], Kind)]) -> Vec<u8> {
        zeros(Header::new(), tensors)
    }

    fn kinds(bytes: Vec<u8>) -> Result<Vec<Kind>, String> {
        let file = File::from_bytes("m.gguf", bytes).map_err(|error| error.to_string())?;
        Ok(file.tensors().iter().map(|tensor| tensor.kind).collect())
    }

    #[test]
    fn groups_of_q2_0_are_told_by_distances() {
        for kind in [Kind::Q2_0, Kind::Q2_0_G128] {
            let wide: &[u64] = &[256, 64];
            assert_eq!(kinds(file(&[("a", wide, kind), ("b", wide, kind)])), Ok(vec![kind; 2]));
            // The distance to the end of the file counts as well.
            assert_eq!(kinds(file(&[("n", &[4], Kind::F32), ("a", wide, kind)])), Ok(vec![Kind::F32, kind]));
            // Small tensors fit both, and go by the others.
            let small: &[u64] = &[128];
            assert_eq!(kinds(file(&[("a", small, kind), ("b", wide, kind)])), Ok(vec![kind; 2]));
        }
        // Rows that have no whole number of groups of 128 leave one possibility.
        assert_eq!(kinds(file(&[("a", &[192, 2], Kind::Q2_0)])), Ok(vec![Kind::Q2_0]));
    }

    #[test]
    fn what_sizes_do_not_tell_is_refused_by_name() {
        let small = kinds(file(&[("a", &[128], Kind::Q2_0)])).unwrap_err();
        assert!(
            small.contains("`a` has type id 42") && small.contains("Q2_0 and Q2_0_G128 are all possible"),
            "{small}"
        );

        // Sizes of neither: the tensor is of F16 in truth. The id stands behind the name and two dimensions.
        let mut bytes = file(&[("a", &[256, 64], Kind::F16), ("b", &[4], Kind::F32)]);
        bytes[24 + 8 + 1 + 4 + 16] = 42;
        let neither = kinds(bytes).unwrap_err();
        assert!(neither.contains("starts 32768 bytes after it"), "{neither}");
        assert!(neither.contains("4608 as Q2_0 or 4352 as Q2_0_G128"), "{neither}");

        let mixed = file(&[("a", &[256, 64], Kind::Q2_0), ("b", &[256, 64], Kind::Q2_0_G128), ("c", &[4], Kind::F32)]);
        let mixed = kinds(mixed).unwrap_err();
        assert!(mixed.contains("`b` has type id 42") && mixed.contains("contradict"), "{mixed}");
    }

    #[test]
    fn a_file_that_is_cut_short_is_told_to_be() {
        let wide: &[u64] = &[256, 64];
        let mut bytes = file(&[("a", wide, Kind::Q2_0), ("b", wide, Kind::Q2_0)]);
        bytes.truncate(bytes.len() - 1);
        let cut = kinds(bytes).unwrap_err();
        assert!(cut.contains("truncated") && cut.contains("from the tensor `b` on"), "{cut}");
    }
}
