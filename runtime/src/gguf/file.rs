//! An open file: its metadata, its tensors, their bytes.

use std::path::Path;
use std::sync::Arc;

use super::cursor::Cursor;
use super::value::Value;
use super::{ALIGNMENT, ALIGNMENT_KEY, Data, Error, Foreign, Kind, MAGIC, align, sane_alignment};

/// Most metadata keys read: known files have some dozens. Each costs about 60 bytes more in memory than in the file.
const MAX_KEYS: u64 = 4096;
/// Most tensors read: known files have some hundreds, and few more than a thousand. Each costs about 60 bytes more in
/// memory than in the file.
const MAX_TENSORS: u64 = 32768;
/// The fewest bytes that a key takes: the length of its name, its type, a byte of value.
const LEAST_KEY: u64 = 8 + 4 + 1;
/// The fewest bytes that a tensor takes: the length of its name, the number of dimensions, one dimension, type, offset.
const LEAST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// An open GGUF file whose structure has been checked. Clones share everything.
#[derive(Clone, Debug)]
pub struct File(Arc<Contents>);

#[derive(Debug)]
struct Contents {
    path: Box<Path>,
    data: Data,
    version: u32,
    alignment: u64,
    metadata: Vec<(String, Value)>,
    /// Indices into `metadata`, by key.
    by_key: Vec<u32>,
    tensors: Vec<Tensor>,
    /// Indices into `tensors`, by name.
    by_name: Vec<u32>,
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
    /// Where its bytes start, from the start of the file.
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
    /// Opens and checks the file at `path`. Its weights stay on disk until they are touched.
    pub fn open(path: impl AsRef<Path>) -> Result<File, Error> {
        let path = path.as_ref();
        let data = Data::map(path).map_err(|source| Error::Io { path: path.into(), source })?;
        File::parse(path, data)
    }

    /// Checks a file that is in memory already; `name` stands for its path in messages.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<File, Error> {
        File::parse(name.as_ref(), Data::owned(bytes))
    }

    /// Checks a file that is part of the program; `name` stands for its path in messages.
    pub fn from_static(name: impl AsRef<Path>, bytes: &'static [u8]) -> Result<File, Error> {
        File::parse(name.as_ref(), Data::fixed(bytes))
    }

    /// Where the file is, or the name that it was given.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.0.data.len() as u64
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
        let Contents { metadata, by_key, .. } = &*self.0;
        find(by_key, key, |index| &metadata[index].0).map(|index| &metadata[index].1)
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

    /// The bytes of a tensor of this file. They outlive the file's own handle.
    ///
    /// # Panics
    /// May panic if the tensor is of another file.
    pub fn data(&self, tensor: &Tensor) -> Data {
        self.0.data.slice(tensor.offset as usize..(tensor.offset + tensor.bytes) as usize)
    }

    fn parse(path: &Path, data: Data) -> Result<File, Error> {
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
        let by_key = index(metadata.len(), |index| &metadata[index].0).map_err(|name| Error::Duplicate {
            path: path.into(),
            what: "metadata key",
            name,
        })?;
        let alignment = match metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) {
            None => ALIGNMENT,
            Some((key, value)) => super::metadata::read(path, key, value)?,
        };
        if !sane_alignment(alignment) {
            return Err(Error::Alignment { path: path.into(), alignment });
        }

        let mut tensors = read_tensors(path, &mut cursor, tensors)?;
        let by_name = index(tensors.len(), |index| &tensors[index].name).map_err(|name| Error::Duplicate {
            path: path.into(),
            what: "tensor",
            name,
        })?;
        place(path, &mut tensors, cursor.at(), alignment, data.len() as u64)?;

        let path = path.into();
        Ok(File(Arc::new(Contents { path, data, version, alignment, metadata, by_key, tensors, by_name })))
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<(String, Value)>, Error> {
    let mut metadata = Vec::with_capacity(count);
    for index in 0..count {
        let key = cursor.str(format_args!("the name of metadata key {index}"))?;
        let value = cursor.value(format_args!("the value of `{key}`"))?;
        metadata.push((key.into(), value));
    }
    Ok(metadata)
}

/// The tensors as the header lists them: offsets still from the start of the data, sizes 0 where the type is unknown.
fn read_tensors(path: &Path, cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Tensor>, Error> {
    let mut tensors = Vec::with_capacity(count);
    for index in 0..count {
        let name = cursor.str(format_args!("the name of tensor {index}"))?;
        let refuse = |shape, source| Error::Shape { path: path.into(), tensor: name.into(), shape, source };
        let dimensions = cursor.u32(format_args!("the dimensions of tensor `{name}`"))?;
        if dimensions > 4 {
            return Err(refuse(Vec::new(), super::ShapeError::Dimensions(dimensions.into())));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            shape.push(cursor.u64(format_args!("the shape of tensor `{name}`"))?);
        }
        let kind = Kind::from_id(cursor.u32(format_args!("the type of tensor `{name}`"))?);
        let offset = cursor.u64(format_args!("the offset of tensor `{name}`"))?;
        let bytes = match kind.bytes(&shape) {
            Ok(bytes) => bytes.unwrap_or(0),
            Err(source) => return Err(refuse(shape, source)),
        };
        tensors.push(Tensor { name: name.into(), shape, kind, offset, bytes });
    }
    Ok(tensors)
}

/// Turns offsets into positions in a file of `len` bytes whose header ends at `header`, and checks that every tensor
/// is aligned, inside the file, and exactly as far from the next one as its type and shape say.
fn place(path: &Path, tensors: &mut [Tensor], header: u64, alignment: u64, len: u64) -> Result<(), Error> {
    // Saturation leaves an offset that is beyond the end of any file.
    let start = align(header, alignment).unwrap_or(u64::MAX);
    for tensor in &mut *tensors {
        if !tensor.offset.is_multiple_of(alignment) {
            let (tensor, offset) = (tensor.name.clone(), tensor.offset);
            return Err(Error::Misaligned { path: path.into(), tensor, offset, alignment });
        }
        tensor.offset = start.saturating_add(tensor.offset);
    }
    let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
    order.sort_unstable_by_key(|&index| tensors[index as usize].offset);

    for (position, &index) in order.iter().enumerate() {
        let next = order.get(position + 1).map(|&next| &tensors[next as usize]);
        let Tensor { name, kind, offset, bytes, .. } = &tensors[index as usize];
        let room = next.map_or(len, |next| next.offset).saturating_sub(*offset);
        let known = kind.format().is_some();
        let need = if known { *bytes } else { room.max(1) };
        let end = offset.saturating_add(need);
        if end > len {
            let (tensor, start) = (name.clone(), *offset);
            return Err(Error::Truncated { path: path.into(), tensor, start, end, len });
        }
        if let Some(next) = next
            && (room < need || known && align(need, alignment) != Some(room))
        {
            let (path, tensor, next) = (path.into(), name.clone(), next.name.clone());
            return Err(Error::Conflict { path, tensor, kind: *kind, need, room, next });
        }
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
