//! Models in several files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp's gguf-split writes them.
//!
//! Each part is a GGUF file. Three of its keys say which one it is (`split.no`, from 0), of how many
//! (`split.count`), and how many tensors the model has in all parts together (`split.tensors.count`). Everything else
//! that is said of the model is said in the first part, which may have no tensors.

use std::path::{Path, PathBuf};

use super::file::{Contents, Tensor};
use super::value::Value;
use super::{ALIGNMENT_KEY, Error, metadata};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// Where keys are that are about the split, not about the model.
const SPLIT: &str = "split.";

/// Most parts read: known models have some dozens, and each takes a memory map.
const MAX_PARTS: u64 = 1024;

/// What a part says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    number: u64,
    count: u64,
    tensors: u64,
}

impl Place {
    /// The place of a file among its parts; `None` where it is a whole model.
    fn read(contents: &Contents) -> Result<Option<Place>, Error> {
        let path = contents.path();
        let optional = |key: &str| contents.value(key).map(|value| metadata::read::<u64>(path, key, value)).transpose();
        let required =
            |key: &str| optional(key)?.ok_or_else(|| Error::MissingKey { path: path.into(), key: key.into() });
        // gguf-split leaves a count of 0 in what it has merged.
        let Some(count) = optional(COUNT)?.filter(|count| *count > 1) else { return Ok(None) };
        if count > MAX_PARTS {
            let what = format!("`{COUNT}`");
            return Err(Error::Limit { path: path.into(), what, count, limit: MAX_PARTS });
        }
        let place = Place { number: required(NUMBER)?, count, tensors: required(TENSORS)? };
        if place.number >= count {
            let (what, limit) = (format!("`{NUMBER}`"), count - 1);
            return Err(Error::Limit { path: path.into(), what, count: place.number, limit });
        }
        Ok(Some(place))
    }
}

/// How the name of part `number` ends.
fn ending(number: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", number + 1)
}

/// The whole model of which `first` may be only the first part: finds the other parts by name, and has `open` open them.
pub(super) fn complete(first: Contents, open: impl Fn(&Path) -> Result<Contents, Error>) -> Result<Contents, Error> {
    let Some(place) = Place::read(&first)? else { return Ok(first) };
    let Place { number, count, .. } = place;
    let path = first.path().to_owned();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(stem) = name.strip_suffix(&ending(number, count)) else {
        return Err(Error::PartName { path: path.clone(), number, count, ending: ending(number, count) });
    };
    let part = |number| path.with_file_name(format!("{stem}{}", ending(number, count)));
    if number != 0 {
        return Err(Error::NotFirst { path: path.clone(), number, count, first: part(0) });
    }
    let paths: Vec<PathBuf> = (1..count).map(part).collect();
    let missing: Vec<PathBuf> = paths.iter().filter(|path| !path.exists()).cloned().collect();
    if !missing.is_empty() {
        return Err(Error::MissingParts { path: path.clone(), count, missing });
    }
    let mut whole = first;
    for (number, path) in (1..).zip(&paths) {
        let other = open(path)?;
        check(&whole, &other, Place { number, ..place })?;
        add(&mut whole, other);
    }
    if whole.tensors.len() as u64 != place.tensors {
        let (count, expected, found) = (whole.parts.len(), place.tensors, whole.tensors.len());
        return Err(Error::PartTensors { path: path.clone(), count, expected, found });
    }
    unique(&whole)?;
    whole.metadata.retain(|(key, _)| !key.starts_with(SPLIT));
    whole.indexed()
}

/// Checks that `part` is the one that is due at `place`, and contradicts nothing that the first part says.
fn check(first: &Contents, part: &Contents, place: Place) -> Result<(), Error> {
    let shown = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    let refuse = |key: &str, found: String, expected: String| {
        Err(Error::Part { path: part.path().into(), key: key.into(), found, expected, first: first.path().into() })
    };
    for (key, due) in [(COUNT, place.count), (NUMBER, place.number), (TENSORS, place.tensors)] {
        let found = part.value(key);
        let number = found.map(|value| metadata::read::<u64>(part.path(), key, value)).transpose()?;
        if number != Some(due) {
            let expected =
                if key == NUMBER { format!("its place is {due}, counted from 0,") } else { format!("{due}") };
            return refuse(key, shown(found), expected);
        }
    }
    // Offsets count from a part's own header, by its own alignment.
    let about_the_model = |key: &str| !key.starts_with(SPLIT) && key != ALIGNMENT_KEY;
    for (key, value) in part.metadata.iter().filter(|(key, _)| about_the_model(key)) {
        let first = first.value(key);
        if first != Some(value) {
            return refuse(key, value.to_string(), shown(first));
        }
    }
    Ok(())
}

fn add(whole: &mut Contents, other: Contents) {
    let part = whole.parts.len();
    whole.parts.extend(other.parts);
    whole.tensors.extend(other.tensors.into_iter().map(|tensor| Tensor { part, ..tensor }));
}

/// Checks that no tensor is in two parts.
fn unique(whole: &Contents) -> Result<(), Error> {
    let mut seen = std::collections::HashMap::new();
    for Tensor { name, part, .. } in &whole.tensors {
        if let Some(other) = seen.insert(name.as_str(), *part) {
            let path = |part: usize| -> Box<Path> { whole.parts[part].path.clone() };
            let (path, other) = (path(*part).into(), path(other).into());
            return Err(Error::PartTensor { path, tensor: name.clone(), other });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::writer::zeros;
    use super::super::{File, Header, Kind, Writer};
    use super::*;

    /// A part with some tensors of one element, which is `byte` throughout.
    struct Sketch {
        keys: Vec<(&'static str, Value)>,
        tensors: Vec<&'static str>,
        byte: u8,
    }

    impl Sketch {
        /// Part `number` of three with four tensors, two of them in the first.
        fn new(number: u16) -> Sketch {
            let tensors = match number {
                0 => vec!["a", "b"],
                1 => vec!["c"],
                _ => vec!["d"],
            };
            let keys = vec![(NUMBER, number.into()), (COUNT, 3u16.into()), (TENSORS, 4i32.into())];
            Sketch { keys, tensors, byte: number as u8 }
        }

        fn set(mut self, key: &'static str, value: impl Into<Value>) -> Sketch {
            self.keys.retain(|(known, _)| *known != key);
            self.keys.push((key, value.into()));
            self
        }

        fn write(&self, path: &Path) {
            let mut header = Header::new();
            for (key, value) in &self.keys {
                header.set(*key, value.clone());
            }
            for name in &self.tensors {
                header.tensor(*name, &[1], Kind::F32).unwrap();
            }
            let mut writer = Writer::new(Vec::new(), header).unwrap();
            for name in &self.tensors {
                writer.write_tensor(name, &[self.byte; 4]).unwrap();
            }
            std::fs::write(path, writer.finish().unwrap()).unwrap();
        }
    }

    /// Writes parts into a folder and opens the first.
    fn open(parts: &[Sketch]) -> (tempfile::TempDir, Result<File, Error>) {
        let folder = tempfile::tempdir().unwrap();
        for (number, part) in (0..).zip(parts) {
            part.write(&folder.path().join(format!("m{}", ending(number, 3))));
        }
        let file = File::open(folder.path().join("m-00001-of-00003.gguf"));
        (folder, file)
    }

    fn parts() -> [Sketch; 3] {
        [0, 1, 2].map(Sketch::new)
    }

    #[test]
    fn parts_are_one_model() {
        let [first, second, third] = parts();
        let (folder, file) = open(&[first.set("name", "x").set(ALIGNMENT_KEY, 64u32), second, third.set("name", "x")]);
        let file = file.unwrap();
        assert_eq!(file.metadata().iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["name", ALIGNMENT_KEY]);
        assert_eq!((file.str("name").unwrap(), file.value(COUNT)), ("x", None));
        assert_eq!(file.tensors().iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        for (name, part) in [("a", 0), ("b", 0), ("c", 1), ("d", 2)] {
            let tensor = file.tensor(name).unwrap();
            assert_eq!(*file.data(tensor), [part as u8; 4]);
            assert_eq!(file.path_of(tensor), folder.path().join(format!("m{}", ending(part, 3))));
        }
        let on_disk: u64 = file.parts().map(|path| std::fs::metadata(path).unwrap().len()).sum();
        assert_eq!((file.parts().len(), file.bytes()), (3, on_disk));
    }

    #[test]
    fn the_first_part_may_have_no_tensors() {
        let [mut first, mut second, third] = parts();
        second.tensors.splice(0..0, first.tensors.drain(..));
        let (_folder, file) = open(&[first, second, third]);
        assert_eq!(file.unwrap().tensors().len(), 4);
    }

    #[test]
    fn a_count_of_one_or_none_is_a_whole_model() {
        for count in [0u16, 1] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("m.gguf");
            Sketch::new(0).set(COUNT, count).write(&path);
            assert_eq!(File::open(path).unwrap().tensors().len(), 2);
        }
    }

    #[track_caller]
    fn assert_says(file: Result<File, Error>, words: &[&str]) {
        let refusal = file.err().map_or_else(|| "no error".into(), |error| error.to_string());
        for words in words {
            assert!(refusal.contains(words), "`{words}` not in: {refusal}");
        }
    }

    #[test]
    fn parts_that_are_not_there_are_named() {
        let [first, second, _] = parts();
        let (folder, file) = open(&[first]);
        assert_says(file, &["m-00001-of-00003.gguf", "some are", "m-00002-of-00003.gguf, ", "m-00003-of-00003.gguf"]);
        second.write(&folder.path().join("m-00002-of-00003.gguf"));
        let file = File::open(folder.path().join("m-00001-of-00003.gguf"));
        assert_says(file, &["one is missing: ", "m-00003-of-00003.gguf;", "same folder"]);
    }

    #[test]
    fn another_part_than_the_first_names_the_first() {
        let (folder, _) = open(&parts());
        let open = || File::open(folder.path().join("m-00003-of-00003.gguf"));
        assert_says(open(), &["is part 3 of 3", "name the first part", "m-00001-of-00003.gguf"]);
        std::fs::remove_file(folder.path().join("m-00001-of-00003.gguf")).unwrap();
        assert_says(open(), &["m-00001-of-00003.gguf, once it is downloaded"]);
    }

    #[test]
    fn a_part_with_another_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["model.gguf", "m-00001-of-00002.gguf", "m-00002-of-00003.gguf", "m-1-of-3.gguf"] {
            let path = folder.path().join(name);
            Sketch::new(0).write(&path);
            assert_says(File::open(path), &[name, "is part 1 of 3", "`-00001-of-00003.gguf`", "names back"]);
        }
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let with = |change: &dyn Fn([Sketch; 3]) -> [Sketch; 3]| open(&change(parts())).1;
        let renamed = with(&|[a, b, _]| [a, b, Sketch::new(1)]);
        assert_says(renamed, &["m-00003-of-00003.gguf: `split.no` is the u16 1, but its place is 2", "m-00001-of-"]);
        let of_four = with(&|[a, b, c]| [a, b.set(COUNT, 4u16), c]);
        assert_says(of_four, &["m-00002-of-00003.gguf: `split.count` is the u16 4, but 3 in ", "not of one model"]);
        let of_five = with(&|[a, b, c]| [a, b, c.set(TENSORS, 5i32)]);
        assert_says(of_five, &["m-00003-of-00003.gguf: `split.tensors.count` is the i32 5, but 4 in "]);
        let whole = with(&|[a, b, mut c]| {
            c.keys.clear();
            [a, b, c]
        });
        assert_says(whole, &["m-00003-of-00003.gguf: `split.count` is absent, but 3 in "]);
        let text = with(&|[a, b, c]| [a, b, c.set(COUNT, "3")]);
        assert_says(text, &["m-00003-of-00003.gguf: the key `split.count` is a string"]);
        let other = with(&|[a, b, c]| [a.set("depth", 1u32), b.set("depth", 2u32), c]);
        assert_says(other, &["m-00002-of-00003.gguf: `depth` is the u32 2, but the u32 1 in ", "m-00001-of-"]);
        let more = with(&|[a, b, c]| [a, b.set("depth", 2u32), c]);
        assert_says(more, &["m-00002-of-00003.gguf: `depth` is the u32 2, but absent in "]);
    }

    #[test]
    fn tensors_too_many_too_few_and_twice_are_refused() {
        let with = |change: &dyn Fn([Sketch; 3]) -> [Sketch; 3]| open(&change(parts())).1;
        let twice = with(&|[a, b, mut c]| {
            c.tensors = vec!["b"];
            [a, b, c]
        });
        assert_says(twice, &["m-00003-of-00003.gguf: the tensor `b` is in ", "m-00001-of-00003.gguf too"]);
        let few = with(&|[mut a, b, c]| {
            a.tensors.pop();
            [a, b, c]
        });
        assert_says(few, &["`split.tensors.count` is 4, but the 3 parts have 3 tensors"]);
        let many = with(&|[a, mut b, c]| {
            b.tensors.push("e");
            [a, b, c]
        });
        assert_says(many, &["`split.tensors.count` is 4, but the 3 parts have 5 tensors"]);
    }

    #[test]
    fn absurd_counts_are_refused() {
        let one = |change: &dyn Fn(Sketch) -> Sketch| open(&[change(Sketch::new(0))]).1;
        assert_says(one(&|a| a.set(COUNT, 65535u16)), &["`split.count` is claimed to be 65535; at most 1024"]);
        assert_says(one(&|a| a.set(NUMBER, 3u16)), &["`split.no` is claimed to be 3; at most 2"]);
        assert_says(one(&|a| a.set(COUNT, -1i32)), &["`split.count` is the i32 -1"]);
        let missing = |key: &'static str| {
            one(&|mut a| {
                a.keys.retain(|(known, _)| *known != key);
                a
            })
        };
        assert_says(missing(NUMBER), &["the key `split.no` is missing"]);
        assert_says(missing(TENSORS), &["the key `split.tensors.count` is missing"]);
    }

    /// Part `number` of two with three tensors, these of zeros.
    fn half(number: u16, tensors: &[(&str, &[u64], Kind)]) -> Vec<u8> {
        let mut header = Header::new();
        header.set(NUMBER, number).set(COUNT, 2u16).set(TENSORS, 3i32);
        zeros(header, tensors)
    }

    fn open_halves(halves: [Vec<u8>; 2]) -> Vec<(Kind, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let path = |number| folder.path().join(format!("m{}", ending(number, 2)));
        (0..).zip(halves).for_each(|(number, bytes)| std::fs::write(path(number), bytes).unwrap());
        let file = File::open(path(0)).unwrap();
        file.tensors().iter().map(|tensor| (tensor.kind, tensor.bytes)).collect()
    }

    #[test]
    fn distances_in_one_part_settle_the_types_of_all() {
        for (kind, few) in [(Kind::Q2_0, 36), (Kind::Q2_0_G128, 34)] {
            // 128 elements are of either.
            let wide: &[u64] = &[256, 64];
            let halves = [half(0, &[("a", wide, kind), ("b", wide, kind)]), half(1, &[("c", &[128], kind)])];
            let many = kind.bytes(wide).unwrap().unwrap();
            assert_eq!(open_halves(halves), [(kind, many), (kind, many), (kind, few)]);
        }
    }

    #[test]
    fn the_scale_of_a_lookup_type_may_be_in_another_part() {
        let mut first = half(0, &[("a", &[4], Kind::F32), ("w", &[256], Kind::F32)]);
        // 4096 elements of TL1 in as many bytes: the shape follows the name and the number of dimensions.
        let name = b"\x01\0\0\0\0\0\0\0w";
        let at = first.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4;
        first[at..][..8].copy_from_slice(&4096u64.to_le_bytes());
        first[at + 8] = Kind::TL1.id() as u8;
        let halves = [first, half(1, &[("w_scale", &[1], Kind::F32)])];
        assert_eq!(open_halves(halves), [(Kind::F32, 16), (Kind::TL1, 1024), (Kind::F32, 4)]);
    }

    #[test]
    fn a_damaged_part_is_named() {
        let (folder, _) = open(&parts());
        let path = folder.path().join("m-00002-of-00003.gguf");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 32]).unwrap();
        let file = File::open(folder.path().join("m-00001-of-00003.gguf"));
        assert_says(file, &["m-00002-of-00003.gguf", "truncated"]);
        std::fs::write(&path, "<!doctype html>").unwrap();
        let file = File::open(folder.path().join("m-00001-of-00003.gguf"));
        assert_says(file, &["m-00002-of-00003.gguf is not a GGUF file: it is a web page"]);
    }
}
