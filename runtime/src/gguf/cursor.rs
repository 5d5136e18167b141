//! A reading position in a file's header that never reads, or allocates for, more than there is.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::path::Path;

use super::Error;
use super::value::{Array, Strings, Type, Value};

/// Arrays in arrays in arrays: no known file has any of it.
const MAX_DEPTH: u32 = 4;
/// Bytes of a key or of a tensor's name: ggml has 64 for the latter. Longer ones would fill messages.
const MAX_NAME: u64 = 256;
/// Arrays inside arrays in one file: each costs some bytes more in memory than in the file.
const MAX_INNER_ARRAYS: u64 = 1024;

/// What becomes of strings that are not UTF-8.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// They are refused.
    Exact,
    /// U+FFFD stands for each run of bytes that are none.
    Lossy,
}

/// Such text: at most twice as long as `bytes`, with no room to spare.
fn lossy(bytes: &[u8]) -> String {
    let write = |out: &mut dyn FnMut(&str)| {
        let mut before = false;
        for chunk in bytes.utf8_chunks() {
            out(chunk.valid());
            let starts = !before || !chunk.valid().is_empty();
            before = !chunk.invalid().is_empty();
            if before && starts {
                out("\u{fffd}");
            }
        }
    };
    let mut len = 0;
    write(&mut |piece| len += piece.len());
    let mut text = String::with_capacity(len);
    write(&mut |piece| text.push_str(piece));
    text
}

pub(super) struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    inner_arrays: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8], at: usize) -> Self {
        Cursor { path, bytes, at, inner_arrays: 0 }
    }

    pub(super) fn at(&self) -> u64 {
        self.at as u64
    }

    /// The next `count` bytes of `what`.
    fn take(&mut self, count: u64, what: Arguments<'_>) -> Result<&'a [u8], Error> {
        let left = &self.bytes[self.at..];
        match usize::try_from(count).ok().and_then(|count| left.get(..count)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.ends(count, what)),
        }
    }

    fn ends(&self, need: u64, what: Arguments<'_>) -> Error {
        Error::Ends {
            path: self.path.into(),
            what: what.to_string(),
            at: self.at(),
            need,
            len: self.bytes.len() as u64,
        }
    }

    fn array<const N: usize>(&mut self, what: Arguments<'_>) -> Result<[u8; N], Error> {
        let taken = self.take(N as u64, what)?;
        taken.try_into().map_err(|_| self.ends(N as u64, what))
    }

    pub(super) fn u32(&mut self, what: Arguments<'_>) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: Arguments<'_>) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things of at least `least` bytes each, all of which the rest of the file could hold.
    pub(super) fn count(&mut self, least: u64, limit: u64, what: Arguments<'_>) -> Result<usize, Error> {
        let count = self.u64(what)?;
        if count > limit {
            return Err(Error::Limit { path: self.path.into(), what: what.to_string(), count, limit });
        }
        let need = count.saturating_mul(least);
        if need > (self.bytes.len() - self.at) as u64 {
            return Err(self.ends(need, what));
        }
        usize::try_from(count).map_err(|_| self.ends(need, what))
    }

    fn str(&mut self, what: Arguments<'_>, text: Text) -> Result<Cow<'a, str>, Error> {
        let len = self.u64(what)?;
        let at = self.at();
        let bytes = self.take(len, what)?;
        match (std::str::from_utf8(bytes), text) {
            (Ok(text), _) => Ok(text.into()),
            (Err(_), Text::Lossy) => Ok(lossy(bytes).into()),
            (Err(_), Text::Exact) => Err(Error::Text { path: self.path.into(), what: what.to_string(), at }),
        }
    }

    /// The name of a key or a tensor.
    pub(super) fn name(&mut self, what: Arguments<'_>) -> Result<Cow<'a, str>, Error> {
        let name = self.str(what, Text::Exact)?;
        let (count, limit) = (name.len() as u64, MAX_NAME);
        if count > limit {
            return Err(Error::Limit { path: self.path.into(), what: format!("the length of {what}"), count, limit });
        }
        Ok(name)
    }

    fn bool(&mut self, what: Arguments<'_>) -> Result<bool, Error> {
        match self.array(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(Error::Bool { path: self.path.into(), what: what.to_string(), byte }),
        }
    }

    fn type_(&mut self, what: Arguments<'_>) -> Result<Type, Error> {
        let id = self.u32(what)?;
        Type::from_id(id).ok_or_else(|| Error::ValueType { path: self.path.into(), what: what.to_string(), id })
    }

    /// A value with its type.
    pub(super) fn value(&mut self, what: Arguments<'_>, text: Text) -> Result<Value, Error> {
        Ok(match self.type_(what)? {
            Type::U8 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            Type::I8 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            Type::U16 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            Type::I16 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            Type::U32 => Value::U32(u32::from_le_bytes(self.array(what)?)),
            Type::I32 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            Type::U64 => Value::U64(u64::from_le_bytes(self.array(what)?)),
            Type::I64 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            Type::F32 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            Type::F64 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            Type::Bool => Value::Bool(self.bool(what)?),
            Type::String => Value::String(self.str(what, text)?.into()),
            Type::Array => Value::Array(self.items(what, text, 1)?),
        })
    }

    /// The type, length and items of an array that lies in `depth - 1` others.
    fn items(&mut self, what: Arguments<'_>, text: Text, depth: u32) -> Result<Array, Error> {
        let type_ = self.type_(what)?;
        let limit = if type_ == Type::Array { MAX_INNER_ARRAYS - self.inner_arrays } else { u64::MAX };
        let len = self.count(type_.least_bytes(), limit, format_args!("the length of {what}"))?;
        Ok(match type_ {
            Type::U8 => Array::U8(self.numbers(len, what, u8::from_le_bytes)?),
            Type::I8 => Array::I8(self.numbers(len, what, i8::from_le_bytes)?),
            Type::U16 => Array::U16(self.numbers(len, what, u16::from_le_bytes)?),
            Type::I16 => Array::I16(self.numbers(len, what, i16::from_le_bytes)?),
            Type::U32 => Array::U32(self.numbers(len, what, u32::from_le_bytes)?),
            Type::I32 => Array::I32(self.numbers(len, what, i32::from_le_bytes)?),
            Type::U64 => Array::U64(self.numbers(len, what, u64::from_le_bytes)?),
            Type::I64 => Array::I64(self.numbers(len, what, i64::from_le_bytes)?),
            Type::F32 => Array::F32(self.numbers(len, what, f32::from_le_bytes)?),
            Type::F64 => Array::F64(self.numbers(len, what, f64::from_le_bytes)?),
            Type::Bool => {
                let mut items = Vec::with_capacity(len);
                for _ in 0..len {
                    items.push(self.bool(what)?);
                }
                Array::Bool(items)
            }
            Type::String => Array::String(self.strings(len, what, text)?),
            Type::Array => {
                self.inner_arrays += len as u64;
                if depth == MAX_DEPTH {
                    let what = format!("the depth of the arrays in {what}");
                    let (count, limit) = (u64::from(depth) + 1, u64::from(MAX_DEPTH));
                    return Err(Error::Limit { path: self.path.into(), what, count, limit });
                }
                let mut items = Vec::with_capacity(len);
                for _ in 0..len {
                    items.push(self.items(what, text, depth + 1)?);
                }
                Array::Array(items)
            }
        })
    }

    /// `len` numbers; the caller has checked that they are there.
    fn numbers<const N: usize, T>(
        &mut self,
        len: usize,
        what: Arguments<'_>,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        let bytes = self.take((len * N) as u64, what)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect())
    }

    fn strings(&mut self, len: usize, what: Arguments<'_>, text: Text) -> Result<Strings, Error> {
        let start = self.at;
        let mut bytes = 0;
        for index in 0..len {
            bytes += self.str(format_args!("string {index} of {what}"), text)?.len();
        }
        self.at = start;
        let mut strings = Strings::with_capacity(len, bytes);
        for index in 0..len {
            strings.push(&self.str(format_args!("string {index} of {what}"), text)?);
        }
        Ok(strings)
    }
}
