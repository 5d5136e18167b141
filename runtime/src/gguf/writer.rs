//! Writing files of any size: first everything about the tensors, then their bytes, one after the other.

use std::io::{self, Write};

use super::{ALIGNMENT, ALIGNMENT_KEY, Kind, MAGIC, ShapeError, Value, align, sane_alignment};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum WriteError {
    #[error("cannot write the model: {0}; free some space or choose another place")]
    Io(#[from] io::Error),

    #[error("the {what} `{name}` is there twice; leave one of them out")]
    Duplicate { what: &'static str, name: String },

    #[error("`general.alignment` is {0}; it must be an integer, a power of two from 8 to 1048576")]
    Alignment(Value),

    #[error("the tensor `{tensor}` cannot have shape {shape:?}: {source}; give it another shape or type")]
    Shape { tensor: String, shape: Vec<u64>, source: ShapeError },

    #[error("the tensor `{tensor}` is of {kind}, whose size is not known; give it a known type")]
    Kind { tensor: String, kind: Kind },

    #[error("the tensor `{found}` was written where `{expected}` is due; write tensors in the order of the header")]
    Order { expected: String, found: String },

    #[error("the tensor `{0}` was written after the last one of the header; add it to the header")]
    Extra(String),

    #[error(
        "the tensor `{tensor}` has {found} bytes but its type and shape need {need}; pass all of its bytes at once"
    )]
    Size { tensor: String, need: u64, found: u64 },

    #[error("the tensor `{0}` has not been written; write every tensor of the header")]
    Unfinished(String),
}

/// What stands before the tensors' bytes: metadata, and the name, shape and type of each tensor.
#[derive(Clone, Debug, Default)]
pub struct Header {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Info>,
}

#[derive(Clone, Debug)]
struct Info {
    name: String,
    shape: Vec<u64>,
    kind: Kind,
    bytes: u64,
}

impl Header {
    /// Nothing yet.
    pub fn new() -> Header {
        Header::default()
    }

    /// Adds a metadata key. `general.alignment` is obeyed.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Header {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Adds a tensor of `shape`, innermost dimension first: `[k, n]` is n rows of k elements.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[u64], kind: Kind) -> Result<&mut Header, WriteError> {
        let (name, shape) = (name.into(), shape.to_vec());
        match kind.bytes(&shape) {
            Ok(Some(bytes)) => self.tensors.push(Info { name, shape, kind, bytes }),
            Ok(None) => return Err(WriteError::Kind { tensor: name, kind }),
            Err(source) => return Err(WriteError::Shape { tensor: name, shape, source }),
        }
        Ok(self)
    }

    fn alignment(&self) -> Result<u64, WriteError> {
        let Some((_, value)) = self.metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) else { return Ok(ALIGNMENT) };
        match *value {
            Value::U32(alignment) if sane_alignment(alignment.into()) => Ok(alignment.into()),
            Value::U64(alignment) if sane_alignment(alignment) => Ok(alignment),
            _ => Err(WriteError::Alignment(value.clone())),
        }
    }
}

/// A version 3 file that is being written: the header is out, the bytes of the tensors follow in its order.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    alignment: u64,
    due: std::vec::IntoIter<Info>,
}

impl<W: Write> Writer<W> {
    /// Writes the header to `out`, a file's start. Hand over a `BufWriter` where tensors are small.
    pub fn new(mut out: W, header: Header) -> Result<Writer<W>, WriteError> {
        let alignment = header.alignment()?;
        let Header { metadata, tensors } = header;
        unique("metadata key", metadata.iter().map(|(key, _)| key.as_str()))?;
        unique("tensor", tensors.iter().map(|tensor| tensor.name.as_str()))?;

        let mut text = MAGIC.to_vec();
        text.extend(3u32.to_le_bytes());
        text.extend((tensors.len() as u64).to_le_bytes());
        text.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            string(&mut text, &key);
            text.extend((value.type_() as u32).to_le_bytes());
            value.write(&mut text);
        }
        let mut offset = 0u64;
        for Info { name, shape, kind, bytes } in &tensors {
            string(&mut text, name);
            text.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|size| text.extend(size.to_le_bytes()));
            text.extend(kind.id().to_le_bytes());
            text.extend(offset.to_le_bytes());
            let overflow =
                || WriteError::Shape { tensor: name.clone(), shape: shape.clone(), source: ShapeError::Overflow };
            offset = offset.checked_add(*bytes).and_then(|end| align(end, alignment)).ok_or_else(overflow)?;
        }
        out.write_all(&text)?;
        pad(&mut out, text.len() as u64, alignment)?;
        Ok(Writer { out, alignment, due: tensors.into_iter() })
    }

    /// Writes the bytes of the next tensor, which must be the one called `name`.
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        match self.due.as_slice().first() {
            None => return Err(WriteError::Extra(name.into())),
            Some(due) if due.name != name => {
                return Err(WriteError::Order { expected: due.name.clone(), found: name.into() });
            }
            Some(due) if due.bytes != bytes.len() as u64 => {
                return Err(WriteError::Size { tensor: name.into(), need: due.bytes, found: bytes.len() as u64 });
            }
            Some(_) => {}
        }
        self.due.next();
        self.out.write_all(bytes)?;
        pad(&mut self.out, bytes.len() as u64, self.alignment)?;
        Ok(())
    }

    /// Flushes the file and gives `out` back; an error where tensors are still due.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(due) = self.due.next() {
            return Err(WriteError::Unfinished(due.name));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Writes zeros up to the next multiple of `alignment` after `written` bytes.
fn pad(out: &mut impl Write, written: u64, alignment: u64) -> io::Result<()> {
    let zeros = align(written, alignment).map_or(0, |end| end - written);
    io::copy(&mut io::Read::take(io::repeat(0), zeros), out)?;
    Ok(())
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), WriteError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(WriteError::Duplicate { what, name: name.into() });
        }
    }
    Ok(())
}

/// A file of this header and these tensors, of zero bytes all.
#[cfg(test)]
pub(super) fn zeros(mut header: Header, tensors: &[(&str, &[u64], Kind)]) -> Vec<u8> {
    for (name, shape, kind) in tensors {
        header.tensor(*name, shape, *kind).unwrap();
    }
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for (name, shape, kind) in tensors {
        writer.write_tensor(name, &vec![0; kind.bytes(shape).unwrap().unwrap() as usize]).unwrap();
    }
    writer.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let mut header = Header::new();
        header.tensor("a", &[4], Kind::F32).unwrap().tensor("b", &[32], Kind::Q8_0).unwrap();
        header
    }

    fn message(result: Result<impl Sized, WriteError>) -> String {
        result.err().map_or_else(|| "no error".into(), |error| error.to_string())
    }

    #[test]
    fn tensors_come_in_order_and_whole() {
        let mut writer = Writer::new(Vec::new(), header()).unwrap();
        assert!(message(writer.write_tensor("b", &[0; 34])).contains("`b` was written where `a` is due"));
        assert!(message(writer.write_tensor("a", &[0; 15])).contains("`a` has 15 bytes but"));
        writer.write_tensor("a", &[0; 16]).unwrap();
        assert!(message(writer.write_tensor("a", &[0; 16])).contains("`a` was written where `b` is due"));
        writer.write_tensor("b", &[0; 34]).unwrap();
        assert!(message(writer.write_tensor("c", &[])).contains("`c` was written after the last one"));
        assert!(writer.finish().unwrap().len().is_multiple_of(32));

        let writer = Writer::new(Vec::new(), header()).unwrap();
        assert!(message(writer.finish()).contains("the tensor `a` has not been written"));
    }

    #[test]
    fn impossible_headers_are_refused() {
        let mut twice = header();
        twice.tensor("a", &[1], Kind::F32).unwrap();
        assert!(message(Writer::new(Vec::new(), twice)).contains("the tensor `a` is there twice"));
        let mut twice = header();
        twice.set("k", 1u32).set("k", 2u32);
        assert!(message(Writer::new(Vec::new(), twice)).contains("the metadata key `k` is there twice"));
        for alignment in [Value::from(24u32), Value::from(0u32), Value::from(4u32), Value::from("32")] {
            let mut odd = header();
            odd.set(ALIGNMENT_KEY, alignment);
            assert!(message(Writer::new(Vec::new(), odd)).contains("must be an integer, a power of two"));
        }
        assert!(message(header().tensor("c", &[33], Kind::Q8_0)).contains("not a multiple of the 32"));
        assert!(message(header().tensor("c", &[33], Kind::Unknown(42))).contains("is of type 42, whose size"));
        let mut huge = Header::new();
        for name in ["a", "b", "c", "d", "e"] {
            huge.tensor(name, &[1 << 62], Kind::Q8_0).unwrap();
        }
        assert!(message(Writer::new(Vec::new(), huge)).contains("overflows"));
    }

    /// A full disk.
    #[test]
    fn errors_of_the_disk_pass_through() {
        let mut room = [0; 100];
        assert!(message(Writer::new(&mut room[..50], header())).contains("cannot write the model"));
        let mut writer = Writer::new(&mut room[..], header()).unwrap();
        assert!(message(writer.write_tensor("a", &[0; 16])).contains("cannot write the model"));
    }
}
