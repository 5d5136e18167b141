//! An open file: its metadata, its tensors, their bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::cursor::{Cursor, Text};
use super::settle::{another, settle};
use super::value::Value;
use super::{
    ALIGNMENT, ALIGNMENT_KEY, Data, Error, Folder, Foreign, I2sLayout, Kind, MAGIC, align, download, sane_alignment,
    split,
};

/// Most metadata keys read: known files have some dozens. Each costs about 60 bytes more in memory than in the file.
const MAX_KEYS: u64 = 4096;
/// Most tensors read: known files have some hundreds, and few more than a thousand. Each costs about 60 bytes more in
/// memory than in the file.
const MAX_TENSORS: u64 = 16384;
/// The fewest bytes that a key takes: the length of its name, its type, a byte of value.
const LEAST_KEY: u64 = 8 + 4 + 1;
/// The fewest bytes that a tensor takes: the length of its name, the number of dimensions, one dimension, type, offset.
const LEAST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// Where keys are whose strings make tokens.
const TOKENIZER: &str = "tokenizer.";

/// What a file does not say of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// How tensors of I2_S lie in it; `None`: as current converters write them.
    pub i2s_layout: Option<I2sLayout>,
    /// Keys of its architecture that change nothing, though it is not known here what they mean.
    pub ignored_keys: Vec<String>,
}

/// An open GGUF file whose structure has been checked, or the parts of a split one as if they were one. Clones share
/// everything.
#[derive(Clone, Debug)]
pub struct File(Arc<Contents>);

#[derive(Clone, Debug)]
pub(super) struct Contents {
    /// One, or all parts of a split model, the first first.
    pub(super) parts: Vec<Part>,
    options: ReadOptions,
    version: u32,
    alignment: u64,
    pub(super) metadata: Vec<(String, Value)>,
    /// Indices into `metadata`, by key.
    by_key: Vec<u32>,
    pub(super) tensors: Vec<Tensor>,
    /// Indices into `tensors`, by name.
    by_name: Vec<u32>,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) path: Box<Path>,
    data: Data,
    /// Where its header ends.
    header: u64,
    /// Its tensors start at multiples of this many bytes.
    pub(super) alignment: u64,
}

impl Part {
    fn bytes(&self) -> u64 {
        self.data.len() as u64
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, unique in the file.
    pub name: String,
    /// 1 to 4 dimensions, innermost first: `[k, n, ..]` is n rows of k elements.
    pub shape: Vec<u64>,
    /// The type of its elements.
    pub kind: Kind,
    /// Which part of a split model it is in, from 0; 0 in a model of one file.
    pub part: usize,
    /// Where its bytes start, from the start of its file.
    pub offset: u64,
    /// How many bytes it has; for an unknown type, all up to the next tensor or the end of the file.
    pub bytes: u64,
}

impl Tensor {
    /// Elements in a row.
    pub fn k(&self) -> u64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Rows: the product of all dimensions but the innermost.
    pub fn n(&self) -> u64 {
        self.shape.iter().skip(1).product()
    }

    /// Elements in all.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl File {
    /// Opens and checks the file at `path`, and with the first part of a split model, `NAME-00001-of-00003.gguf`, all
    /// others. Its weights stay on disk until they are touched.
    pub fn open(path: impl AsRef<Path>) -> Result<File, Error> {
        File::open_with(path, ReadOptions::default())
    }

    /// The same, of which `options` say what it does not.
    pub fn open_with(path: impl AsRef<Path>, options: ReadOptions) -> Result<File, Error> {
        let open = |path: &Path| Contents::open(path, options.clone());
        let whole = split::complete(open(path.as_ref())?, open)?;
        Ok(File(Arc::new(whole.placed()?)))
    }

    /// The same file, of which `options` say what it does not.
    ///
    /// # Errors
    /// Where a tensor cannot have its shape if that is so.
    pub fn with_options(&self, options: ReadOptions) -> Result<File, Error> {
        let kind = options.i2s_layout.unwrap_or_default().kind();
        let mut contents = Contents { options, ..(*self.0).clone() };
        for tensor in contents.tensors.iter_mut().filter(|tensor| tensor.kind.id() == kind.id()) {
            let Tensor { name, shape, .. } = &tensor;
            let path = self.path_of(tensor).into();
            let refuse = |source| Error::Shape { path, tensor: name.clone(), shape: shape.clone(), source };
            kind.bytes(shape).map_err(refuse)?;
            tensor.kind = kind;
        }
        Ok(File(Arc::new(contents)))
    }

    /// Checks a file that is in memory already; `name` stands for its path in messages.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<File, Error> {
        let contents = Contents::parse(name.as_ref(), Data::owned(bytes), ReadOptions::default())?;
        Ok(File(Arc::new(contents.placed()?)))
    }

    /// Checks a file that is part of the program; `name` stands for its path in messages.
    pub fn from_static(name: impl AsRef<Path>, bytes: &'static [u8]) -> Result<File, Error> {
        let contents = Contents::parse(name.as_ref(), Data::fixed(bytes), ReadOptions::default())?;
        Ok(File(Arc::new(contents.placed()?)))
    }

    /// Where the file is, or the name that it was given; of a split model, where the first part is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What was said of the file when it was opened.
    pub fn options(&self) -> &ReadOptions {
        &self.0.options
    }

    /// Where each part is; of a model that is not split, the one file.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.0.parts.iter().map(|part| &*part.path)
    }

    /// Where the file is that has a tensor of this model.
    ///
    /// # Panics
    /// May panic if the tensor is of another model.
    pub fn path_of(&self, tensor: &Tensor) -> &Path {
        &self.0.parts[tensor.part].path
    }

    /// Bytes of the whole file, of all parts together.
    pub fn bytes(&self) -> u64 {
        self.0.parts.iter().map(Part::bytes).sum()
    }

    /// The format's version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// Tensors start at multiples of this many bytes.
    pub fn alignment(&self) -> u64 {
        self.0.alignment
    }

    /// All metadata, in the order of the file.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.0.metadata
    }

    /// The value of `key`, where there is one.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.value(key)
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0.tensors
    }

    /// The tensor called `name`; an error where there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        self.opt_tensor(name).ok_or_else(|| Error::MissingTensor { path: self.path().into(), tensor: name.into() })
    }

    /// The tensor called `name`, where there is one.
    pub fn opt_tensor(&self, name: &str) -> Option<&Tensor> {
        let Contents { tensors, by_name, .. } = &*self.0;
        find(by_name, name, |index| &tensors[index].name).map(|index| &tensors[index])
    }

    /// The tensor that holds the scale of `tensor`, a matrix of bitnet.cpp's lookup types, where it has one of its own.
    pub fn lookup_scale(&self, tensor: &Tensor) -> Option<&Tensor> {
        if tensor.kind.is_lookup() { self.opt_tensor(&scale_name(&tensor.name)) } else { None }
    }

    /// Whether `tensor` is such a scale.
    pub fn is_lookup_scale(&self, tensor: &Tensor) -> bool {
        let of = tensor.name.strip_suffix(SCALE).and_then(|name| self.opt_tensor(name));
        tensor.elements() == 1 && of.is_some_and(|of| of.kind.is_lookup())
    }

    /// Of each part, what comes before its tensors, how long it is, and when it was last written, where it is a file.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (Data, u64, Option<SystemTime>)> {
        let header = |part: &Part| part.data.slice(0..part.header as usize);
        self.0.parts.iter().map(move |part| (header(part), part.bytes(), part.data.modified()))
    }

    /// Lets go of the memory that the file's pages take, until they are read again.
    pub fn release(&self) {
        self.0.parts.iter().for_each(|part| part.data.release(0..part.data.len()));
    }

    /// The bytes of a tensor of this file. They outlive the file's own handle.
    ///
    /// # Panics
    /// May panic if the tensor is of another file.
    pub fn data(&self, tensor: &Tensor) -> Data {
        self.0.parts[tensor.part].data.slice(tensor.offset as usize..(tensor.offset + tensor.bytes) as usize)
    }
}

impl Contents {
    /// Opens one file and checks its header: where its tensors lie is for [`Contents::placed`] to say, once all parts are
    /// there.
    pub(super) fn open(path: &Path, options: ReadOptions) -> Result<Contents, Error> {
        if path.is_dir() {
            return Err(Error::Folder { path: path.into(), found: Folder::recognise(path) });
        }
        if let Some(control) = download::control_file(path) {
            return Err(Error::Unfinished { path: path.into(), control });
        }
        let data = Data::map(path).map_err(|source| Error::Io { path: path.into(), source })?;
        Contents::parse(path, data, options)
    }

    pub(super) fn path(&self) -> &Path {
        &self.parts[0].path
    }

    /// The value of `key`, where there is one.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        let Contents { metadata, by_key, .. } = self;
        find(by_key, key, |index| &metadata[index].0).map(|index| &metadata[index].1)
    }

    fn parse(path: &Path, data: Data, options: ReadOptions) -> Result<Contents, Error> {
        if !data.starts_with(&MAGIC) {
            return Err(Error::Foreign { path: path.into(), found: Foreign::recognise(&data) });
        }
        let mut cursor = Cursor::new(path, &data, MAGIC.len());
        let version = cursor.u32(format_args!("the version"))?;
        match version {
            2 | 3 => {}
            // The low half is 0 in every number below 65536 that was written the other way round.
            _ if version & 0xffff == 0 => return Err(Error::BigEndian { path: path.into() }),
            _ => return Err(Error::Version { path: path.into(), version }),
        }
        let tensors = cursor.count(LEAST_TENSOR, MAX_TENSORS, format_args!("the number of tensors"))?;
        let keys = cursor.count(LEAST_KEY, MAX_KEYS, format_args!("the number of metadata keys"))?;

        let metadata = read_metadata(&mut cursor, keys)?;
        let alignment = match metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) {
            None => ALIGNMENT,
            Some((key, value)) => super::metadata::read(path, key, value)?,
        };
        if !sane_alignment(alignment) {
            return Err(Error::Alignment { path: path.into(), alignment });
        }

        let tensors = read_tensors(path, &mut cursor, tensors, &options)?;
        let header = cursor.at();
        let parts = vec![Part { path: path.into(), data, header, alignment }];
        let (by_key, by_name) = (Vec::new(), Vec::new());
        Contents { parts, options, version, alignment, metadata, by_key, tensors, by_name }.indexed()
    }

    /// The same, with the tensors of all parts in their places. What one part says of a tensor's type holds for those in
    /// others, too: its scale may be there, or the distances that settle which format an id means.
    fn placed(mut self) -> Result<Contents, Error> {
        part_scales(&mut self.tensors, &self.by_name);
        place(&self.parts, &mut self.tensors)?;
        Ok(self)
    }

    /// The same, with its keys and tensors in order of their names.
    pub(super) fn indexed(mut self) -> Result<Contents, Error> {
        let Contents { metadata, tensors, .. } = &self;
        let twice = |what, name| Error::Duplicate { path: self.path().into(), what, name };
        let by_key = index(metadata.len(), |index| &metadata[index].0).map_err(|name| twice("metadata key", name))?;
        let by_name = index(tensors.len(), |index| &tensors[index].name).map_err(|name| twice("tensor", name))?;
        (self.by_key, self.by_name) = (by_key, by_name);
        Ok(self)
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<(String, Value)>, Error> {
    let mut metadata = Vec::with_capacity(count);
    for index in 0..count {
        let key = cursor.name(format_args!("the name of metadata key {index}"))?;
        // Ids hang on a tokenizer's strings; of the rest, a name in another encoding must not cost the model.
        let text = if key.starts_with(TOKENIZER) { Text::Exact } else { Text::Lossy };
        let value = cursor.value(format_args!("the value of `{key}`"), text)?;
        metadata.push((key.into(), value));
    }
    Ok(metadata)
}

/// The tensors as the header lists them: offsets still from the start of the data, sizes 0 where the type is unknown.
fn read_tensors(
    path: &Path,
    cursor: &mut Cursor<'_>,
    count: usize,
    options: &ReadOptions,
) -> Result<Vec<Tensor>, Error> {
    let mut tensors = Vec::with_capacity(count);
    for index in 0..count {
        let name = cursor.name(format_args!("the name of tensor {index}"))?;
        let refuse = |shape, source| Error::Shape { path: path.into(), tensor: name.to_string(), shape, source };
        let dimensions = cursor.u32(format_args!("the dimensions of tensor `{name}`"))?;
        if dimensions > 4 {
            return Err(refuse(Vec::new(), super::ShapeError::Dimensions(dimensions.into())));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(cursor.u64(format_args!("the shape of tensor `{name}`"))?);
        }
        // Scalars of NumPy are written without dimensions.
        if shape.is_empty() {
            shape.push(1);
        }
        let kind = match Kind::from_id(cursor.u32(format_args!("the type of tensor `{name}`"))?) {
            Kind::I2_S => options.i2s_layout.unwrap_or_default().kind(),
            kind => kind,
        };
        let offset = cursor.u64(format_args!("the offset of tensor `{name}`"))?;
        let bytes = match kind.bytes(&shape) {
            Ok(bytes) => bytes.unwrap_or(0),
            Err(source) => return Err(refuse(shape, source)),
        };
        tensors.push(Tensor { name: name.into(), shape, kind, part: 0, offset, bytes });
    }
    Ok(tensors)
}

/// What follows a lookup tensor's name in that of its scale.
const SCALE: &str = "_scale";

/// The tensor that holds the scale of the lookup tensor `name`, where it has one of its own.
fn scale_name(name: &str) -> String {
    format!("{name}{SCALE}")
}

/// Takes room for a scale off tensors of lookup types whose scale is a tensor of its own.
fn part_scales(tensors: &mut [Tensor], by_name: &[u32]) {
    for index in 0..tensors.len() {
        let Tensor { name, kind, .. } = &tensors[index];
        let scale = scale_name(name);
        if kind.is_lookup() && find(by_name, &scale, |index| &tensors[index].name).is_some() {
            let trailer = kind.format().map_or(0, |format| format.trailer);
            tensors[index].bytes -= trailer;
        }
    }
}

/// Tensors in the order in which they lie: part by part, by their offsets.
pub(super) struct Order(Vec<u32>);

/// A tensor, how far it is to the next one in its part or to the end of that, and the next one.
pub(super) struct Stretch<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) room: u64,
    pub(super) next: Option<&'a Tensor>,
}

impl Order {
    fn new(tensors: &[Tensor]) -> Order {
        let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
        order.sort_unstable_by_key(|&index| (tensors[index as usize].part, tensors[index as usize].offset));
        Order(order)
    }

    pub(super) fn stretches<'a>(
        &'a self,
        parts: &'a [Part],
        tensors: &'a [Tensor],
    ) -> impl Iterator<Item = Stretch<'a>> {
        self.0.iter().enumerate().map(|(position, &index)| {
            let tensor = &tensors[index as usize];
            let next = self.0.get(position + 1).map(|&next| &tensors[next as usize]);
            let next = next.filter(|next| next.part == tensor.part);
            let end = next.map_or(parts[tensor.part].bytes(), |next| next.offset);
            Stretch { tensor, room: end.saturating_sub(tensor.offset), next }
        })
    }
}

/// Turns offsets into positions in the files, and checks that every tensor is aligned, inside its file, and exactly as
/// far from the next one as its type and shape say.
fn place(parts: &[Part], tensors: &mut [Tensor]) -> Result<(), Error> {
    for tensor in &mut *tensors {
        let &Part { ref path, header, alignment, .. } = &parts[tensor.part];
        if !tensor.offset.is_multiple_of(alignment) {
            let (path, tensor, offset) = (path.to_path_buf(), tensor.name.clone(), tensor.offset);
            return Err(Error::Misaligned { path, tensor, offset, alignment });
        }
        // Saturation leaves an offset that is beyond the end of any file.
        tensor.offset = align(header, alignment).unwrap_or(u64::MAX).saturating_add(tensor.offset);
    }
    let order = Order::new(tensors);
    settle(parts, tensors, &order)?;

    let mut needs = Vec::with_capacity(tensors.len());
    for Stretch { tensor, room, next } in order.stretches(parts, tensors) {
        let &Tensor { ref name, kind, part, offset, bytes, .. } = tensor;
        let Part { path, alignment, .. } = &parts[part];
        let len = parts[part].bytes();
        let known = kind.format().is_some();
        let need = if known { bytes } else { room.max(1) };
        if let Some(other) = another(tensor, room, *alignment) {
            return Err(Error::Another { path: path.to_path_buf(), tensor: name.clone(), kind, other });
        }
        if offset.saturating_add(need) > len {
            // The last one tells how long the file should be; of an unknown type, at least.
            let last = tensors.iter().filter(|other| other.part == part).max_by_key(|other| other.offset);
            let whole = last.map_or(0, |last| last.offset.saturating_add(last.bytes.max(1)));
            let (path, tensor) = (path.to_path_buf(), name.clone());
            return Err(Error::Truncated { path, tensor, whole: whole.max(len + 1), len });
        }
        if let Some(next) = next
            && (room < need || known && align(need, *alignment) != Some(room))
        {
            let (path, tensor, next) = (path.to_path_buf(), name.clone(), next.name.clone());
            return Err(Error::Conflict { path, tensor, kind, need, room, next });
        }
        needs.push(need);
    }
    for (&index, need) in order.0.iter().zip(needs) {
        tensors[index as usize].bytes = need;
    }
    Ok(())
}

/// The numbers below `count` in the order of their names; a name that occurs twice is the error.
fn index<'a>(count: usize, name: impl Fn(usize) -> &'a str) -> Result<Vec<u32>, String> {
    let mut index: Vec<u32> = (0..count as u32).collect();
    index.sort_unstable_by_key(|&index| name(index as usize));
    match index.windows(2).find(|pair| name(pair[0] as usize) == name(pair[1] as usize)) {
        Some(pair) => Err(name(pair[0] as usize).into()),
        None => Ok(index),
    }
}

/// The number in `index` whose name is `name`.
fn find<'a>(index: &[u32], name: &str, name_of: impl Fn(usize) -> &'a str) -> Option<usize> {
    let found = index.binary_search_by(|&index| name_of(index as usize).cmp(name)).ok()?;
    Some(index[found] as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Array, Header, Strings, Writer};
    use super::*;

    fn write(header: Header, tensors: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), header).unwrap();
        for (name, bytes) in tensors {
            writer.write_tensor(name, bytes).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> Result<File, Error> {
        File::from_bytes("m.gguf", bytes)
    }

    fn value() -> impl Strategy<Value = Value> {
        fn vec<T: std::fmt::Debug + 'static>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
            prop::collection::vec(of, 0..5)
        }
        let text = ".{0,9}";
        let array = prop_oneof![
            vec(any::<u8>()).prop_map(Array::U8),
            vec(any::<i8>()).prop_map(Array::I8),
            vec(any::<u16>()).prop_map(Array::U16),
            vec(any::<i16>()).prop_map(Array::I16),
            vec(any::<u32>()).prop_map(Array::U32),
            vec(any::<i32>()).prop_map(Array::I32),
            vec(any::<u64>()).prop_map(Array::U64),
            vec(any::<i64>()).prop_map(Array::I64),
            vec(any::<f32>()).prop_map(Array::F32),
            vec(any::<f64>()).prop_map(Array::F64),
            vec(any::<bool>()).prop_map(Array::Bool),
            vec(text).prop_map(|strings| Array::String(strings.into_iter().collect::<Strings>())),
        ];
        let array = array.prop_recursive(3, 20, 4, |inner| vec(inner).prop_map(Array::Array));
        prop_oneof![
            any::<u8>().prop_map(Value::U8),
            any::<i8>().prop_map(Value::I8),
            any::<u16>().prop_map(Value::U16),
            any::<i16>().prop_map(Value::I16),
            any::<u32>().prop_map(Value::U32),
            any::<i32>().prop_map(Value::I32),
            any::<u64>().prop_map(Value::U64),
            any::<i64>().prop_map(Value::I64),
            any::<f32>().prop_map(Value::F32),
            any::<f64>().prop_map(Value::F64),
            any::<bool>().prop_map(Value::Bool),
            text.prop_map(Value::String),
            array.prop_map(Value::Array),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            values in prop::collection::vec(value(), 0..8),
            widths in prop::collection::vec((1u64..40, 1u64..4), 0..6),
            alignment in prop::sample::select(&[None, Some(8u32), Some(32), Some(256)][..]),
        ) {
            let mut header = Header::new();
            for (index, value) in values.iter().enumerate() {
                header.set(format!("key.{index}"), value.clone());
            }
            if let Some(alignment) = alignment {
                header.set(ALIGNMENT_KEY, alignment);
            }
            let mut tensors = Vec::new();
            for (index, &(k, n)) in widths.iter().enumerate() {
                let name = format!("tensor.{}", widths.len() - index);
                header.tensor(&name, &[k, n], Kind::F16).unwrap();
                tensors.push((name, vec![index as u8; (k * n * 2) as usize]));
            }
            let views: Vec<(&str, &[u8])> = tensors.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
            let file = read(write(header, &views)).unwrap();

            prop_assert_eq!(file.version(), 3);
            prop_assert_eq!(file.alignment(), alignment.map_or(32, u64::from));
            prop_assert_eq!(file.metadata().len(), values.len() + usize::from(alignment.is_some()));
            for (index, value) in values.iter().enumerate() {
                let key = format!("key.{index}");
                prop_assert_eq!(&file.metadata()[index].0, &key);
                prop_assert_eq!(file.value(&key), Some(value));
            }
            prop_assert_eq!(file.tensors().len(), tensors.len());
            for ((name, bytes), &(k, n)) in tensors.iter().zip(&widths) {
                let tensor = file.tensor(name).unwrap();
                prop_assert_eq!((tensor.k(), tensor.n(), tensor.kind), (k, n, Kind::F16));
                prop_assert!(tensor.offset.is_multiple_of(file.alignment()));
                prop_assert_eq!(&*file.data(tensor), &bytes[..]);
            }
        }
    }

    #[test]
    fn a_file_from_disk_and_its_data_outlive_their_handles() {
        let mut header = Header::new();
        header.tensor("a", &[3], Kind::F32).unwrap().tensor("b", &[2], Kind::F16).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, write(header, &[("a", &[1; 12]), ("b", &[2; 4])])).unwrap();
        let file = File::open(&path).unwrap();
        let data = file.clone().data(file.tensor("b").unwrap());
        assert_eq!(file.path(), path);
        drop(file);
        assert_eq!(*data, [2; 4]);
    }

    #[test]
    fn a_file_without_tensors_may_end_with_its_header() {
        static VOCABULARY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let bytes = VOCABULARY.get_or_init(|| {
            let mut header = Header::new();
            header.set("a", 7u8);
            let mut bytes = write(header, &[]);
            bytes.truncate(24 + 8 + 1 + 4 + 1);
            bytes
        });
        assert_eq!(File::from_static("vocabulary", bytes).unwrap().u32("a").unwrap(), 7);
    }

    #[test]
    fn an_unknown_type_is_listed_with_the_bytes_up_to_the_next_tensor() {
        let mut header = Header::new();
        header.tensor("a", &[36], Kind::F32).unwrap().tensor("b", &[2], Kind::F16).unwrap();
        let mut bytes = write(header, &[("a", &[1; 144]), ("b", &[2; 4])]);
        // The type of `a` follows the 24 bytes of numbers, its name, and its one dimension.
        bytes[24 + 8 + 1 + 4 + 8] = 143;
        let file = read(bytes.clone()).unwrap();
        let tensor = file.tensor("a").unwrap();
        assert_eq!((tensor.kind, tensor.bytes), (Kind::Unknown(143), 160));
        // An id that means something else here than to the writer: sizes tell.
        bytes[24 + 8 + 1 + 4 + 8] = Kind::F16.id() as u8;
        let error = read(bytes).unwrap_err().to_string();
        assert!(
            error.contains("`a` needs 72 bytes as F16 (type id 1), but the next tensor, `b`, starts 160"),
            "{error}"
        );
    }

    #[test]
    fn what_is_said_of_a_file_decides_how_i2_s_lies_in_it() {
        let mut header = Header::new();
        header.tensor("a", &[192], Kind::I2_S_ARM64).unwrap();
        let bytes = write(header, &[("a", &[0x55; 80])]);
        let refusal = read(bytes.clone()).unwrap_err().to_string();
        assert!(refusal.contains("192 elements are not a multiple of the 128 in a block of I2_S"), "{refusal}");
        assert!(refusal.contains("--i2s-layout arm64 reads it, else the file is damaged"), "{refusal}");

        let mut header = Header::new();
        header.tensor("a", &[256], Kind::I2_S).unwrap();
        let file = read(write(header, &[("a", &[0x55; 96])])).unwrap();
        assert_eq!((file.tensor("a").unwrap().kind, file.options().i2s_layout), (Kind::I2_S, None));
        let options = ReadOptions { i2s_layout: Some(I2sLayout::Arm64), ..ReadOptions::default() };
        let again = file.with_options(options.clone()).unwrap();
        assert_eq!((again.tensor("a").unwrap().kind, again.options()), (Kind::I2_S_ARM64, &options));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        let file = File::open_with(&path, options).unwrap();
        assert_eq!(file.tensor("a").unwrap().bytes, 80);
        let refusal = file.with_options(ReadOptions::default()).unwrap_err().to_string();
        assert!(refusal.contains("m.gguf: the tensor `a` of shape [192] cannot be"), "{refusal}");
    }

    #[test]
    fn scales_of_lookup_types_lie_behind_or_apart() {
        let mut header = Header::new();
        header.tensor("w", &[64, 32], Kind::TL1).unwrap();
        let file = read(write(header.clone(), &[("w", &[0; 544])])).unwrap();
        assert_eq!((file.tensor("w").unwrap().bytes, file.lookup_scale(file.tensor("w").unwrap())), (544, None));

        let mut header = Header::new();
        header.tensor("w", &[512], Kind::Q8_0).unwrap().tensor("w_scale", &[1], Kind::F32).unwrap();
        let mut bytes = write(header, &[("w", &[0; 544]), ("w_scale", &[0; 4])]);
        // 544 bytes are 512 of TL1 and room for a scale: too many where the scale is a tensor of its own.
        bytes[24 + 8 + 1 + 4 + 8] = Kind::TL1.id() as u8;
        assert!(read(bytes).unwrap_err().to_string().contains("`w` needs 128 bytes as TL1"));
        let mut header = Header::new();
        header.tensor("w", &[512], Kind::F16).unwrap().tensor("w_scale", &[1], Kind::F32).unwrap();
        let mut bytes = write(header, &[("w", &[0; 1024]), ("w_scale", &[0; 4])]);
        bytes[24 + 8 + 1 + 4] = 0;
        bytes[24 + 8 + 1 + 4 + 1] = 16;
        bytes[24 + 8 + 1 + 4 + 8] = Kind::TL1.id() as u8;
        let file = read(bytes).unwrap();
        let tensor = file.tensor("w").unwrap();
        assert_eq!((tensor.elements(), tensor.bytes), (4096, 1024));
        assert_eq!(file.lookup_scale(tensor), Some(file.tensor("w_scale").unwrap()));
    }

    #[test]
    fn what_is_no_utf_8_is_replaced_but_in_names_and_tokens() {
        let mut header = Header::new();
        let (author, tags) = ("jos_ and _____ x", ["a_b", "c"].into_iter().collect::<Strings>());
        header.set("author", author).set("tags", tags.clone()).set("tokenizer.words", tags);
        let sound = write(header, &[]);
        let broken = |key: &str, value: &str| {
            let find = |bytes: &[u8], what: &str| {
                bytes.windows(what.len()).position(|window| window == what.as_bytes()).unwrap()
            };
            let mut bytes = sound.clone();
            let at = find(&bytes, key);
            let at = at + find(&bytes[at..], value);
            bytes[at..at + value.len()].iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = 0xe9);
            read(bytes)
        };
        let file = broken("author", author).unwrap();
        assert_eq!(file.str("author").unwrap(), "jos\u{fffd} and \u{fffd} x");
        let file = broken("tags", "a_b").unwrap();
        assert_eq!(file.strings("tags").unwrap().iter().collect::<Vec<_>>(), ["a\u{fffd}b", "c"]);
        let refusal = broken("tokenizer.words", "a_b").unwrap_err().to_string();
        assert!(refusal.contains("string 0 of the value of `tokenizer.words`"), "{refusal}");
        assert!(refusal.contains("is not UTF-8"), "{refusal}");
    }

    #[test]
    fn a_type_of_another_program_is_named_where_its_size_tells() {
        // 64 rows of 512 elements: 17408 bytes as MXFP4.
        let kinds = |last: bool| {
            let mut header = Header::new();
            let (other, after) = (("w", vec![0; 17408]), ("x", vec![0; 4]));
            let tensors = if last { [after, other] } else { [other, after] };
            for (name, bytes) in &tensors {
                header.tensor(*name, &[bytes.len() as u64 / 4], Kind::F32).unwrap();
            }
            let views: Vec<(&str, &[u8])> = tensors.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
            let mut bytes = write(header, &views);
            // Of one dimension, the elements follow the name.
            let at = bytes.windows(9).position(|window| window == b"\x01\0\0\0\0\0\0\0w").unwrap() + 9 + 4;
            bytes[at..][..8].copy_from_slice(&(64u64 * 512).to_le_bytes());
            bytes[at + 8] = 39;
            read(bytes).unwrap_err().to_string()
        };
        for last in [false, true] {
            let refusal = kinds(last);
            assert!(
                refusal.contains("`w` has type id 39, which means TL2 here, but by its size it is of MXFP4"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn getters_tell_absence_from_a_wrong_type() {
        let mut header = Header::new();
        header.set("u8", 200u8).set("i64", -5i64).set("f64", 0.5f64).set("bool", true).set("str", "grün");
        header.set("strings", ["x", ""].into_iter().collect::<Strings>());
        header.set("i32s", vec![1i32, -1]).set("f32s", vec![1.5f32]).set("u16s", vec![1u16, 65535]);
        let file = read(write(header, &[])).unwrap();

        assert_eq!((file.u32("u8").unwrap(), file.u64("u8").unwrap(), file.usize("u8").unwrap()), (200, 200, 200));
        assert_eq!(file.i32("i64").unwrap(), -5);
        assert_eq!(
            (file.f32("f64").unwrap(), file.bool("bool").unwrap(), file.str("str").unwrap()),
            (0.5, true, "grün")
        );
        assert_eq!(file.strings("strings").unwrap().iter().collect::<Vec<_>>(), ["x", ""]);
        assert_eq!((file.i32s("i32s").unwrap(), file.f32s("f32s").unwrap()), (vec![1, -1], vec![1.5]));
        assert_eq!((file.u32s("u16s").unwrap(), file.usizes("u16s").unwrap()), (vec![1, 65535], vec![1, 65535]));
        assert_eq!((file.opt_u64("none").unwrap(), file.opt_strings("none").unwrap()), (None, None));

        let error = |result: Result<u64, Error>| result.unwrap_err().to_string();
        assert_eq!(
            error(file.u64("llama.block_count")),
            "m.gguf: the key `llama.block_count` is missing; convert the model again with a current converter"
        );
        assert_eq!(
            error(file.u64("i64")),
            "m.gguf: the key `i64` is the i64 -5, but must be an integer not below 0; convert the model again with a \
             current converter"
        );
        assert!(error(file.opt_u64("f32s").map(|_| 0)).contains("`f32s` is an array of 1 f32, but must be an integer"));
        assert!(
            error(file.opt_u32s("i32s").map(|_| 0)).contains("`i32s` is an array of 2 i32, but must be an array of")
        );
        assert!(error(file.f32("u8").map(|_| 0)).contains("`u8` is the u8 200, but must be a float"));
        assert!(error(file.str("bool").map(|_| 0)).contains("`bool` is the bool true, but must be a string"));
        let error = file.tensor("output.weight").unwrap_err().to_string();
        assert!(error.contains("m.gguf: the tensor `output.weight` is missing"), "{error}");
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let error = File::open("no/such/model.gguf").unwrap_err().to_string();
        assert!(error.starts_with("cannot read no/such/model.gguf: "), "{error}");
    }
}
