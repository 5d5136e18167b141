use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::gguf::{I2sLayout, ReadOptions};
use crate::kernels::{self, Layout, Weights};
use crate::linear::Coarse;
use crate::linear::float::tests::of_f32;
use crate::pack;

const DEMO: &[u8] = include_bytes!("../../demo/austen-5m-i2_s.gguf");

/// A folder with a model, and room for a file of its packed weights.
struct Place {
    folder: TempDir,
    model: PathBuf,
    pack: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.gguf");
        fs::write(&model, DEMO).unwrap();
        let pack = Pack::beside(&model);
        assert_eq!(pack.file_name().unwrap(), "model.gguf.tritune");
        Place { folder, model, pack }
    }

    fn open(&self) -> Pack {
        Pack::open(&self.pack, &gguf::File::open(&self.model).unwrap(), &Pool::new(2))
    }

    /// What is left of the file in another form, and why not all of it.
    fn open_as(&self, bytes: &[u8]) -> Pack {
        fs::write(&self.pack, bytes).unwrap();
        self.open()
    }
}

fn section(name: &str, bytes: usize) -> Section {
    let data = (0..bytes).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ bytes as u8).collect();
    Section { name: name.into(), form: format!("bytes {bytes}"), data: Data::owned(data) }
}

/// Of all sizes: none, less than a line, pages, pieces.
fn sections() -> Vec<Section> {
    let sizes = [0, 1, 64, 4095, 4096, 4097, PIECE, 2 * PIECE + 5, 63];
    sizes.iter().enumerate().map(|(i, &bytes)| section(&format!("section \"{i}\" ä"), bytes)).collect()
}

/// Asserts that nothing is there that was not written so.
#[track_caller]
fn assert_true_to(pack: &Pack, written: &[Section]) {
    for section in pack.sections.values() {
        let same = |one: &&Section| (&one.name, &one.form) == (&section.name, &section.form);
        let written = written.iter().find(same).unwrap_or_else(|| panic!("{section:?} was not written"));
        assert!(*written.data == *section.data, "{section:?}");
    }
}

#[test]
fn what_is_written_is_there_and_aligned() {
    let place = Place::new();
    let empty = place.open();
    assert!(empty.refusal().is_none() && empty.is_empty());
    let written = sections();
    empty.write(&written).unwrap();
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 2);
    let pack = place.open();
    assert!(pack.refusal().is_none(), "{:?}", pack.refusal());
    assert_true_to(&pack, &written);
    for one in &written {
        assert!(pack.holds(one));
        let found = pack.section(&one.name).unwrap();
        let unit = if one.data.len() < 4096 { 64 } else { 4096 };
        assert_eq!(found.data.as_ptr().align_offset(unit), 0, "{one:?}");
        assert!(!pack.holds(&Section { form: "another".into(), ..one.clone() }));
    }
    // What is mapped stays when something else is written in its place, even from itself.
    let fewer: Vec<Section> = pack.sections.values().filter(|one| one.data.len() > 4000).cloned().collect();
    pack.write(&fewer).unwrap();
    assert_true_to(&pack, &written);
    let second = place.open();
    assert_eq!(second.sections.len(), fewer.len());
    assert_true_to(&second, &written);
}

#[test]
fn no_flipped_bit_is_believed() {
    let place = Place::new();
    let written = sections();
    place.open().write(&written).unwrap();
    let sound = fs::read(&place.pack).unwrap();
    let first = place.open().sections.values().map(|one| one.data.as_ptr() as usize).min().unwrap();
    assert!(first > 0);
    let table = 64 + u64::from_le_bytes(sound[24..32].try_into().unwrap()) as usize;
    let places = (0..table).step_by(3).chain((table..sound.len()).step_by(40_009)).chain([sound.len() - 1]);
    for at in places {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        let pack = place.open_as(&bytes);
        assert_true_to(&pack, &written);
        match pack.refusal() {
            Some(Refusal::Foreign) => assert!(at < 8 && pack.is_empty()),
            Some(Refusal::Version) => assert!((8..16).contains(&at) && pack.is_empty()),
            Some(Refusal::Size { .. }) => assert!((16..24).contains(&at) && pack.is_empty()),
            Some(Refusal::Table) => assert!((24..table).contains(&at) && pack.is_empty()),
            Some(Refusal::Damaged { sections: 1, of: 9 }) => assert!(at >= table && pack.sections.len() == 8),
            // Between two sections there is nothing.
            None => assert!(at >= table && pack.sections.len() == 9),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn no_other_length_is_believed() {
    let place = Place::new();
    place.open().write(&sections()).unwrap();
    let sound = fs::read(&place.pack).unwrap();
    for len in (1..200).chain((200..sound.len()).step_by(30_011)).chain([sound.len() - 1]) {
        let pack = place.open_as(&sound[..len]);
        assert!(pack.is_empty());
        match pack.refusal() {
            Some(Refusal::Foreign) => assert!(len < 8),
            Some(Refusal::Size { found, .. }) => assert_eq!(*found, len as u64),
            other => panic!("{len} bytes: {other:?}"),
        }
    }
    let longer = [&sound[..], &[0]].concat();
    assert!(matches!(place.open_as(&longer).refusal(), Some(Refusal::Size { .. })));
    let twice = [&sound[..], &sound].concat();
    assert!(matches!(place.open_as(&twice).refusal(), Some(Refusal::Size { .. })));
    // Of an empty file nothing is lost.
    let empty = place.open_as(&[]);
    assert!(empty.refusal().is_none() && empty.is_empty());
    empty.write(&sections()).unwrap();
    assert!(place.open().refusal().is_none());
}

/// Tables that are whole, but say what cannot be.
#[test]
fn no_table_leads_out_of_the_file() {
    let place = Place::new();
    let key = place.open().key;
    let rows = |rows: &str| {
        let mut file = b"TRITPACK".to_vec();
        file.extend(u64::from(table::VERSION).to_le_bytes());
        file.extend((64 + rows.len() as u64 + 5000).to_le_bytes());
        file.extend((rows.len() as u64).to_le_bytes());
        file.extend(key.to_le_bytes());
        let checksum = checksum(&[&file, rows.as_bytes()].concat());
        file.extend(checksum.to_le_bytes());
        file.extend(rows.as_bytes());
        file.extend([0; 5000]);
        file
    };
    let row = |offset: u64, bytes: u64, checksums: &str| {
        format!(r#"{{"name":"a","form":"b","offset":{offset},"bytes":{bytes},"checksums":[{checksums}]}}"#)
    };
    let zeros = checksum(&[0; 64]).to_string();
    let sound = place.open_as(&rows(&format!("[{}]", row(4096, 64, &zeros))));
    assert!(sound.refusal().is_none() && sound.section("a").is_some_and(|one| *one.data == [0; 64]));
    let small = u128::MAX.to_string();
    for table in [
        String::new(),
        "[".into(),
        "{}".into(),
        "[[[[[[".repeat(800),
        format!("[{}]", row(64, u64::MAX, &zeros)),
        format!("[{}]", row(u64::MAX - 63, 64, &zeros)),
        format!("[{}]", row(1 << 63, 1 << 63, &zeros)),
        format!("[{}]", row(8192, 64, &zeros)),
        format!("[{}]", row(4097, 64, &zeros)),
        format!("[{}]", row(64, 4096, &zeros)),
        format!("[{}]", row(64, 64, "")),
        format!("[{}]", row(64, 64, &format!("{zeros},{zeros}"))),
        format!("[{}]", row(64, 64, &format!("-{zeros}"))),
        format!("[{}]", row(64, 64, &format!("{small}0"))),
        format!("[{}", row(64, 64, &zeros)),
    ] {
        let pack = place.open_as(&rows(&table));
        assert!(matches!(pack.refusal(), Some(Refusal::Table)) && pack.is_empty(), "{table}: {:?}", pack.refusal());
    }
}

#[test]
fn only_the_model_that_it_was_made_of_finds_it() {
    let place = Place::new();
    let written = sections();
    place.open().write(&written).unwrap();
    let time = fs::metadata(&place.model).unwrap().modified().unwrap();
    let is_refused = |options: ReadOptions| {
        let file = gguf::File::open_with(&place.model, options).unwrap();
        let pack = Pack::open(&place.pack, &file, &Pool::new(1));
        match pack.refusal() {
            None => false,
            Some(Refusal::Key) => pack.is_empty(),
            other => panic!("{other:?}"),
        }
    };
    let change = |change: &dyn Fn(&mut Vec<u8>), time: SystemTime| {
        let mut bytes = DEMO.to_vec();
        change(&mut bytes);
        fs::write(&place.model, bytes).unwrap();
        File::options().write(true).open(&place.model).unwrap().set_modified(time).unwrap();
        is_refused(ReadOptions::default())
    };
    let file = gguf::File::from_static("demo", DEMO).unwrap();
    let last = file.tensors().iter().max_by_key(|tensor| tensor.offset).unwrap();
    let (start, end) = (last.offset as usize, (last.offset + last.bytes) as usize);
    assert!(!change(&|_| (), time));
    assert!(change(&|_| (), time + Duration::from_secs(1)));
    assert!(change(&|bytes| bytes[end - 1] ^= 1, time));
    assert!(change(&|bytes| bytes[start] ^= 1, time));
    assert!(change(&|bytes| bytes.push(0), time));
    let name = b"general.name";
    let at = DEMO.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 12;
    assert!(change(&|bytes| bytes[at] ^= 1, time));
    assert!(!change(&|_| (), time));
    assert!(is_refused(ReadOptions { i2s_layout: Some(I2sLayout::Arm64), ..ReadOptions::default() }));
    assert!(!is_refused(ReadOptions { i2s_layout: Some(I2sLayout::X86), ..ReadOptions::default() }));
    // What is refused is replaced.
    change(&|_| (), time + Duration::from_secs(9));
    place.open().write(&written).unwrap();
    assert!(place.open().refusal().is_none());
}

#[test]
fn what_is_no_pack_stays() {
    let place = Place::new();
    for (what, bytes) in [("a model", DEMO), ("a text", b"shopping list"), ("a beginning", b"TRITPAC")] {
        let pack = place.open_as(bytes);
        assert!(matches!(pack.refusal(), Some(Refusal::Foreign)) && pack.is_empty(), "{what}");
        assert_eq!(pack.write(&sections()).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(fs::read(&place.pack).unwrap() == bytes, "{what}");
    }
    let folder = Pack::open(place.folder.path(), &gguf::File::open(&place.model).unwrap(), &Pool::new(1));
    assert!(matches!(folder.refusal(), Some(Refusal::Foreign)) && folder.write(&[]).is_err());
    let nowhere = place.folder.path().join("missing/pack");
    let nowhere = Pack::open(nowhere, &gguf::File::open(&place.model).unwrap(), &Pool::new(1));
    assert!(nowhere.refusal().is_none() && nowhere.write(&sections()).is_err());
}

#[cfg(unix)]
#[test]
fn links_stay_links() {
    let place = Place::new();
    let target = place.folder.path().join("elsewhere");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &place.pack).unwrap();
    place.open().write(&sections()).unwrap();
    assert!(fs::symlink_metadata(&place.pack).unwrap().is_symlink());
    assert!(fs::read(&target).unwrap().starts_with(b"TRITPACK"));
    assert!(place.open().refusal().is_none());
}

/// What was packed by another version is not asked how: where this fails, [`table::VERSION`] must be another.
#[test]
fn the_version_says_how_weights_are_packed_and_copied() {
    let layouts = [(Weights::T200, 16, 64), (Weights::T167, 8, 48), (Weights::T160, 8, 40)];
    let packed = layouts.map(|(weights, nr, kb)| {
        let (layout, n, k) = (Layout { weights, nr, kb }, 37, 150);
        let codes: Vec<u8> = (0..n * k).map(|i| (i * i % 7 % 3) as u8).collect();
        let mut out = vec![0; layout.bytes(n, k)];
        kernels::pack(layout, k, &codes, &mut out);
        checksum(&out) as u32
    });
    let (n, k) = (7, 333);
    let weights: Vec<f32> = (0..n * k).map(|i| ((i * i % 1009) as f32 - 504.0) / (1 + i % 13) as f32).collect();
    let copy = Coarse::new(&of_f32(n, k, &weights), &Pool::new(1)).unwrap().unwrap();
    let copied = pack::coarse::sections("w", &copy).map(|section| checksum(&section.data) as u32);
    let known = ([2_614_866_253, 935_889_204, 2_041_897_334], [1_601_607_832, 762_013_932]);
    assert_eq!((table::VERSION, (packed, copied)), (2, known));
}
