//! Files that are damaged, or made to do damage: each is refused in words, or read; nothing panics, and no parse
//! allocates more than twice the file and a megabyte. What converting weights allocates is counted here, too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tritune::gguf::{Array, File, Header, Kind, Strings, Value, Writer};
use tritune::quant::convert::Conversion;
use tritune::quant::{Scales, Trits, float, trits};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");

/// Counts what the current thread holds, and has held at most.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are thread-local numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        MOST.set(MOST.get().max(HELD.get()));
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promises are ours.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `work`, and the most bytes that it held beyond those held before.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, MOST.get() - before)
}

/// Parses `bytes` and decodes every tensor. What comes of it does not matter here: only that it comes, and its cost.
fn survive(bytes: Vec<u8>) -> bool {
    let size = bytes.len();
    let (file, most) = counted(|| File::from_bytes("hostile.gguf", bytes));
    assert!(most <= 2 * size + (1 << 20), "{most} bytes to parse {size}");
    let Ok(file) = file else { return false };
    let mut sound = true;
    for tensor in file.tensors() {
        let data = file.data(tensor);
        let (k, n) = (tensor.k() as usize, tensor.n() as usize);
        sound &= match tensor.kind {
            kind if kind.is_ternary() || kind.format().is_none() => trits::decode(kind, &data, n, k).is_ok(),
            _ => {
                let mut row = vec![0.0; k];
                data.chunks(data.len() / n).all(|bytes| float::decode(tensor.kind, bytes, &mut row).is_ok())
            }
        };
    }
    sound
}

const FLOATS: [Kind; 14] = [
    Kind::F32,
    Kind::F16,
    Kind::BF16,
    Kind::Q4_0,
    Kind::Q4_1,
    Kind::Q5_0,
    Kind::Q5_1,
    Kind::Q8_0,
    Kind::IQ4_NL,
    Kind::Q2_K,
    Kind::Q3_K,
    Kind::Q4_K,
    Kind::Q5_K,
    Kind::Q6_K,
];

fn array(value: impl Into<Value>) -> Array {
    match value.into() {
        Value::Array(array) => array,
        scalar => panic!("{scalar} is not an array"),
    }
}

/// A small file with every value type and every tensor type.
fn sample(rng: &mut SmallRng) -> Vec<u8> {
    let mut header = Header::new();
    header.set("general.architecture", "bitnet-b1.58").set("general.alignment", 32u32);
    header.set("u8", 1u8).set("i8", -1i8).set("u16", 2u16).set("i16", -2i16).set("u32", 3u32).set("i32", -3i32);
    header.set("u64", 4u64).set("i64", -4i64).set("f32", 0.5f32).set("f64", -0.5f64).set("bool", true);
    header.set("tokens", ["<s>", "", "ä", "token"].into_iter().collect::<Strings>());
    header.set("scores", vec![0.0f32, -1.0]).set("types", vec![1i32, 3]);
    header.set("bools", Value::Array(Array::Bool(vec![true, false])));
    let nested = Array::Array(vec![array(vec![1u16]), Array::String(["x"].into_iter().collect())]);
    header.set("nested", Value::Array(Array::Array(vec![nested, array(vec![1u64])])));

    let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
    for kind in FLOATS {
        header.tensor(format!("{kind}"), &[256, 2], kind).unwrap();
        let bytes = kind.bytes(&[256, 2]).unwrap().unwrap();
        tensors.push((kind.to_string(), (0..bytes).map(|_| rng.random()).collect()));
    }
    // But those that no writer makes, and the older Q2_0, which cannot stand beside the newer one.
    let left_out = |kind: &Kind| kind.is_lookup() || [Kind::I2_S_ARM64, Kind::Q2_0_G128].contains(kind);
    for kind in Kind::all().filter(|kind| kind.is_ternary() && !left_out(kind)) {
        header.tensor(format!("{kind}"), &[512, 4], kind).unwrap();
        let codes = (0..4 * 512).map(|_| rng.random_range(0..3)).collect();
        let weights = Trits { n: 4, k: 512, codes, scales: Scales::Tensor(0.5) };
        tensors.push((kind.to_string(), trits::encode(kind, &weights).unwrap()));
    }
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for (name, bytes) in &tensors {
        writer.write_tensor(name, bytes).unwrap();
    }
    writer.finish().unwrap()
}

/// GGUF files in the folder `name` of the shared data; none, and a line that says so, where it is absent.
fn shared(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(SHARED).join(name);
    let Ok(entries) = fs::read_dir(&folder) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is absent", folder.display());
        println!("skipped: {} is absent", folder.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    assert!(!files.is_empty(), "no GGUF files in {}", folder.display());
    files
}

/// Numbers that arithmetic goes wrong with.
const NUMBERS: [u64; 12] =
    [0, 1, 3, 31, 255, 4096, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 1 << 62, i64::MAX as u64, u64::MAX];

/// Changes `bytes` in one of the ways that files get damaged, mostly within the first `header` bytes.
fn mutate(bytes: &mut Vec<u8>, header: usize, rng: &mut SmallRng) {
    let range = if rng.random_ratio(4, 5) { header.min(bytes.len()) } else { bytes.len() };
    if range == 0 {
        return;
    }
    let at = rng.random_range(0..range);
    match rng.random_range(0..7) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes.truncate(at),
        3 => {
            let number = NUMBERS[rng.random_range(0..NUMBERS.len())].to_le_bytes();
            let len = [4, 8][rng.random_range(0..2)].min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&number[..len]);
        }
        4 => {
            let until = rng.random_range(at..=(at + 64).min(bytes.len()));
            bytes.drain(at..until);
        }
        5 => {
            let from = rng.random_range(0..range);
            let piece = bytes[from..(from + rng.random_range(0..64)).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let from = rng.random_range(0..range);
            let len = rng.random_range(0..64).min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
        }
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let mut rng = SmallRng::seed_from_u64(158);
    let whole = sample(&mut rng);
    let header = File::from_bytes("sample", whole.clone()).unwrap().tensors()[0].offset as usize;
    assert!(survive(whole.clone()));
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            mutate(&mut bytes, header, &mut rng);
        }
        read += u32::from(survive(bytes));
    }
    // Some changes do no harm; were it all or none, the changes would not test anything.
    assert!((200..19_000).contains(&read), "{read} of 20000 were read");
}

#[test]
fn every_truncation_of_a_file_is_refused() {
    let mut whole = sample(&mut SmallRng::seed_from_u64(159));
    // Zeros after the last tensor may go.
    let file = File::from_bytes("sample", whole.clone()).unwrap();
    let end = file.tensors().iter().map(|tensor| tensor.offset + tensor.bytes).max().unwrap();
    whole.truncate(end as usize);
    assert!(survive(whole.clone()));
    for len in 0..whole.len() {
        assert!(!survive(whole[..len].to_vec()), "{len} of {} bytes were read", whole.len());
    }
}

#[test]
fn damaged_fixtures_are_read_or_refused() {
    let mut rng = SmallRng::seed_from_u64(160);
    for path in shared("fixtures") {
        let whole = fs::read(&path).unwrap();
        let header = File::open(&path).unwrap().tensors()[0].offset as usize;
        for _ in 0..60 {
            let mut bytes = whole.clone();
            mutate(&mut bytes, header, &mut rng);
            survive(bytes);
        }
    }
}

#[test]
fn shared_files_open_and_their_tensors_decode() {
    for path in ["fixtures", "models", "vocab"].into_iter().flat_map(shared) {
        let (file, most) = counted(|| File::open(&path).unwrap_or_else(|error| panic!("{error}")));
        assert!(most as u64 <= 2 * file.bytes() + (1 << 20), "{most} bytes to parse {}", path.display());
        let mut row = Vec::new();
        for tensor in file.tensors() {
            let (k, n) = (tensor.k() as usize, tensor.n() as usize);
            let data = file.data(tensor);
            match tensor.kind {
                kind if kind.is_ternary() => {
                    let trits = trits::decode(tensor.kind, &data, n, k).unwrap();
                    assert_eq!(*trits::encode(tensor.kind, &trits).unwrap(), *data, "{}", tensor.name);
                }
                _ => {
                    row.resize(k, 0.0);
                    for bytes in data.chunks(data.len() / n) {
                        float::decode(tensor.kind, bytes, &mut row).unwrap();
                        assert!(row.iter().all(|value| value.is_finite()), "{}", tensor.name);
                    }
                }
            }
        }
    }
}

/// A header by hand, for what the writer refuses to write.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(version).u64(tensors).u64(keys)
    }

    fn u8(self, byte: u8) -> Raw {
        self.bytes(&[byte])
    }

    fn u32(self, number: u32) -> Raw {
        self.bytes(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Raw {
        self.bytes(&number.to_le_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend(bytes);
        self
    }

    fn str(self, text: &str) -> Raw {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    fn tensor(self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Raw {
        let named = self.str(name).u32(shape.len() as u32);
        shape.iter().fold(named, |raw, &size| raw.u64(size)).u32(kind).u64(offset)
    }

    /// Pads the header to 32 bytes and adds `len` bytes of data.
    fn data(mut self, len: usize) -> Raw {
        self.0.resize(self.0.len().next_multiple_of(32) + len, 0);
        self
    }

    /// What is said of this file.
    fn refusal(self) -> String {
        let size = self.0.len();
        let (result, most) = counted(|| File::from_bytes("bad.gguf", self.0));
        assert!(most <= 2 * size + (1 << 20), "{most} bytes to refuse {size}");
        result.err().map_or_else(|| "no error".into(), |error| error.to_string())
    }
}

/// Asserts that a refusal names the file and has all of these words.
#[track_caller]
fn assert_says(refusal: &str, words: &[&str]) {
    assert!(refusal.contains("bad.gguf"), "{refusal}");
    for words in words {
        assert!(refusal.contains(words), "`{words}` not in: {refusal}");
    }
}

#[test]
fn other_formats_are_recognised() {
    let of = |bytes: &[u8]| Raw(bytes.to_vec()).refusal();
    assert_says(&of(b""), &["not a GGUF file", "empty", "download it again"]);
    assert_says(&of(b"version https://git-lfs.github.com/spec/v1\noid"), &["git-lfs pointer", "git lfs pull"]);
    assert_says(&of(b"PK\x03\x04rest"), &["zip archive", "unpack"]);
    let mut torch = b"PK\x03\x04".to_vec();
    torch.extend([0; 22]);
    torch.extend(*b"\x10\0\0\0archive/data.pkl");
    assert_says(&of(&torch), &["PyTorch checkpoint", "`tritune convert"]);
    assert_says(&of(b"\x80\x02}q\x00"), &["pickle", "`tritune convert"]);
    assert_says(&of(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), &["pickle"]);
    assert_says(&of(b"\x1f\x8b\x08\x00"), &["gzip", "unpack"]);
    assert_says(&of(b"\x28\xb5\x2f\xfd\x04"), &["zstd", "unpack"]);
    let mut tar = vec![b'a'; 257];
    tar.extend(*b"ustar\x0000");
    assert_says(&of(&tar), &["packed with tar", "unpack"]);
    assert_says(&of(b"lmgg\x01\0\0\0"), &["before GGUF", "newer version"]);
    assert_says(&of(b"tjgg\x03\0\0\0"), &["before GGUF"]);
    assert_says(&of(b"nsgg\x09\0\0\0"), &["session", "not a model"]);
    assert_says(&of(b"\xe0\0\0\0\x13\0\0\0blk.0.attn_q.weight\0"), &["importance matrix", "not a model"]);
    assert_says(&of(b"\x93NUMPY\x01\0"), &["NumPy"]);
    assert_says(&of(b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}"), &["safetensors", "`tritune convert"]);
    assert_says(&of(b"{\n  \"architectures\": [\"LlamaForCausalLM\"]"), &["JSON", "`tritune convert"]);
    assert_says(&of(b"Entry not found"), &["text that begins \"Entry not found\"", "login"]);
    assert_says(&of(&[0; 100]), &["begins with zeros", "wait for the download"]);
    assert_says(&of(b"\n <!DOCTYPE html><html>"), &["web page", "download the file itself"]);
    assert_says(&of(b"GG"), &["starts with 47 47 00 00", "`GGUF`"]);
    assert_says(&of(b"\xff\xd8\xff\xe0JFIF"), &["starts with ff d8 ff e0", "name a .gguf file"]);
}

#[test]
fn versions_and_byte_orders_are_refused_by_name() {
    assert_says(&Raw::new(1, 0, 0).refusal(), &["GGUF version 1", "versions 2 and 3"]);
    assert_says(&Raw::new(4, 0, 0).refusal(), &["GGUF version 4"]);
    assert_says(&Raw::new(3u32.swap_bytes(), 0, 0).refusal(), &["big-endian", "little-endian"]);
    assert!(survive(Raw::new(2, 0, 0).0));
}

#[test]
fn headers_that_end_early() {
    assert_says(&Raw(b"GGUF\x03".to_vec()).refusal(), &["ends within the version", "bytes 4..8", "has 5", "download"]);
    assert_says(&Raw::new(3, 0, 1).refusal(), &["number of metadata keys", "truncated"]);
    let key = Raw::new(3, 0, 1).str("general.name").u32(8).u64(1000).bytes(b"short");
    assert_says(&key.refusal(), &["ends within the value of `general.name`"]);
    let tensor = Raw::new(3, 1, 0).str("output.weight").u32(2).u64(4).data(0);
    assert_says(&tensor.refusal(), &["ends within the", "of tensor `output.weight`"]);
}

#[test]
fn counts_and_lengths_beyond_the_file() {
    assert_says(&Raw::new(3, 10_000, 0).refusal(), &["the number of tensors", "bytes 16..320016 are needed"]);
    assert_says(&Raw::new(3, u64::MAX, 0).refusal(), &["the number of tensors", "at most 16384"]);
    assert_says(&Raw::new(3, 0, 1 << 40).refusal(), &["the number of metadata keys", "at most 4096"]);
    let name = Raw::new(3, 0, 1).u64(u64::MAX).data(100);
    assert_says(&name.refusal(), &["ends within the name of metadata key 0"]);
    let name = Raw::new(3, 0, 1).str(&"k".repeat(257)).u32(0).u8(0);
    assert_says(&name.refusal(), &["the length of the name of metadata key 0 is claimed to be 257; at most 256"]);
    let name = Raw::new(3, 1, 0).tensor(&"t".repeat(257), &[8], 0, 0).data(32);
    assert_says(&name.refusal(), &["the length of the name of tensor 0 is claimed to be 257"]);
    for (kind, len) in [(0, 1u64 << 40), (6, 1 << 61), (8, 1 << 20), (12, u64::MAX)] {
        let array = Raw::new(3, 0, 1).str("tokens").u32(9).u32(kind).u64(len).data(1000);
        assert_says(&array.refusal(), &["ends within the length of the value of `tokens`"]);
    }
    let string = Raw::new(3, 0, 1).str("tokens").u32(9).u32(8).u64(2).str("a").u64(1 << 50).data(1000);
    assert_says(&string.refusal(), &["ends within string 1 of the value of `tokens`"]);
}

#[test]
fn deep_and_many_arrays() {
    let mut deep = Raw::new(3, 0, 1).str("deep").u32(9);
    for _ in 0..100_000 {
        deep = deep.u32(9).u64(1);
    }
    assert_says(&deep.refusal(), &["depth of the arrays in the value of `deep`", "at most 4"]);
    let mut many = Raw::new(3, 0, 1).str("many").u32(9).u32(9).u64(100_000);
    for _ in 0..100_000 {
        many = many.u32(8).u64(0);
    }
    assert_says(&many.refusal(), &["the length of the value of `many`", "100000", "at most 1024"]);
}

/// As many of the smallest things as are read at all: what costs most memory for its size.
#[test]
fn the_largest_counts_stay_within_bounds() {
    let mut raw = Raw::new(3, 16384, 4096);
    for key in 0..4096u32 {
        raw = raw.str(&format!("{key:x}"));
        raw = if key < 1023 { raw.u32(9).u32(9).u64(1).u32(8).u64(1).str("") } else { raw.u32(0).u8(0) };
    }
    // All at one place: refused, but after everything has been read.
    for tensor in 0..16384u32 {
        raw = raw.tensor(&format!("{tensor:x}"), &[1], 0, 0);
    }
    assert_says(&raw.data(32).refusal(), &["needs 4 bytes", "starts 0 bytes after it", "overlap"]);

    let mut strings = Raw::new(3, 0, 1).str("tokens").u32(9).u32(8).u64(1 << 20);
    strings = strings.bytes(&vec![0; 8 << 20]);
    assert!(survive(strings.0));
}

#[test]
fn text_that_is_not_utf8() {
    let key = Raw::new(3, 0, 1).u64(2).bytes(b"\xff\xfe").u32(0).u8(0);
    assert_says(&key.refusal(), &["the name of metadata key 0 at byte 32 is not UTF-8"]);
    let value = Raw::new(3, 0, 1).str("tokenizer.chat_template").u32(8).u64(1).bytes(b"\x80");
    assert_says(&value.refusal(), &["the value of `tokenizer.chat_template`", "not UTF-8"]);
    // Elsewhere it is replaced, within the bounds.
    let name = Raw::new(3, 0, 1).str("general.name").u32(8).u64(4 << 20).bytes(&b"a\x80".repeat(2 << 20));
    assert!(survive(name.0));
}

#[test]
fn values_that_are_not_defined() {
    assert_says(&Raw::new(3, 0, 1).str("k").u32(13).refusal(), &["the value of `k` has the value type 13"]);
    assert_says(&Raw::new(3, 0, 1).str("k").u32(9).u32(77).refusal(), &["the value of `k`", "type 77"]);
    assert_says(&Raw::new(3, 0, 1).str("k").u32(7).u8(2).refusal(), &["the value of `k` is a bool with the byte 2"]);
}

#[test]
fn names_that_occur_twice() {
    let keys = Raw::new(3, 0, 2).str("k").u32(0).u8(1).str("k").u32(0).u8(1);
    assert_says(&keys.refusal(), &["the metadata key `k` occurs twice"]);
    let tensors = Raw::new(3, 2, 0).tensor("t", &[8], 0, 0).tensor("t", &[8], 0, 32).data(64);
    assert_says(&tensors.refusal(), &["the tensor `t` occurs twice"]);
}

#[test]
fn alignments_that_are_none() {
    for alignment in [0, 1, 4, 24, 1 << 21, 1 << 31] {
        let raw = Raw::new(3, 0, 1).str("general.alignment").u32(4).u32(alignment);
        assert_says(&raw.refusal(), &["`general.alignment` is", "power of two"]);
    }
    let text = Raw::new(3, 0, 1).str("general.alignment").u32(8).str("32");
    assert_says(&text.refusal(), &["`general.alignment` is a string, but must be an integer"]);
}

/// What NumPy makes of a scalar, as converters have written it.
#[test]
fn a_tensor_without_dimensions_has_one_element() {
    let file = File::from_bytes("scalar.gguf", Raw::new(3, 1, 0).tensor("t", &[], 0, 0).data(4).0).unwrap();
    assert_eq!((&file.tensors()[0].shape[..], file.tensors()[0].bytes), (&[1][..], 4));
}

#[test]
fn shapes_that_cannot_be() {
    let of = |shape: &[u64], kind: u32| Raw::new(3, 1, 0).tensor("t", shape, kind, 0).data(64).refusal();
    assert_says(&of(&[1; 5], 0), &["it has 5 dimensions"]);
    assert_says(&Raw::new(3, 1, 0).str("t").u32(u32::MAX).data(64).refusal(), &["it has 4294967295 dimensions"]);
    assert_says(&of(&[4, 0], 0), &["shape [4, 0]", "dimension 1 is 0"]);
    assert_says(&of(&[1 << 32, 1 << 32], 0), &["overflows 64 bits"]);
    assert_says(&of(&[1 << 62], 0), &["overflows 64 bits"]);
    assert_says(&of(&[100], 8), &["rows of 100 elements are not a multiple of the 32 in a block of Q8_0"]);
    assert_says(&of(&[100], 36), &["its 100 elements are not a multiple of the 128 in a block of I2_S"]);
    assert_says(&of(&[64, 3], 335), &["its 3 rows are not a multiple of the 4 that IQ2_BN_R4 stores together"]);
    assert_says(&of(&[64, 3], 39), &["its rows of 64 elements are shorter than the 256 that TL2 needs"]);
}

#[test]
fn tensors_that_lie_wrong() {
    let of = |offsets: [u64; 2], len| {
        let raw = Raw::new(3, 2, 0).tensor("a", &[8], 0, offsets[0]).tensor("b", &[8], 0, offsets[1]);
        raw.data(len).refusal()
    };
    assert_eq!(of([0, 32], 64), "no error");
    assert_says(&of([0, 33], 128), &["`b` is at offset 33", "alignment 32"]);
    assert_says(&of([0, 0], 128), &["needs 32 bytes as F32 (type id 0)", "starts 0 bytes after it", "overlap"]);
    assert_says(&of([0, 128], 256), &["`a` needs 32 bytes", "`b`, starts 128 bytes after it", "gap"]);
    assert_says(
        &of([0, 32], 63),
        &["truncated: 1 of its 160 bytes are missing, from the tensor `b` on", "download it again"],
    );
    assert_says(&of([0, u64::MAX - 31], 64), &["`a` needs 32 bytes", "`b`, starts"]);
    let last = Raw::new(3, 1, 0).tensor("t", &[8], 0, u64::MAX - 31).data(64);
    assert_says(&last.refusal(), &["truncated: ", "from the tensor `t` on"]);
    let unknown = Raw::new(3, 1, 0).tensor("t", &[8], 143, 64).data(64);
    assert_says(&unknown.refusal(), &["truncated: ", "from the tensor `t` on"]);
}

/// A table of words takes as much memory as what is made of it, and no copy beside it.
#[test]
fn floats_are_converted_row_by_row() {
    let (n, k) = (256, 1024);
    for (from, to) in [(Kind::F16, Kind::F32), (Kind::Q8_0, Kind::F16), (Kind::F32, Kind::BF16)] {
        let bytes = vec![0; from.bytes(&[k, n]).unwrap().unwrap() as usize];
        let conversion = Conversion { to, ternarize: false };
        let (made, most) = counted(|| conversion.run(from, &bytes, [k as usize, n as usize, 1], None).unwrap());
        let need = to.bytes(&[k, n]).unwrap().unwrap() as usize;
        assert_eq!(made.bytes.len(), need);
        assert!(most <= need + 8 * k as usize, "{most} bytes to make {need}");
    }
}
