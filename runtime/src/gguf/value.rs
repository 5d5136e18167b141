//! Metadata values: every type that GGUF has.

use std::fmt;

/// The value of a metadata key.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the types say it
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array of values of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the types say it
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Strings),
    Array(Vec<Array>),
}

/// A list of strings in one piece: a vocabulary has some hundred thousand, most of them shorter than a `String`'s
/// own header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where in `text` each string ends.
    ends: Vec<usize>,
}

impl Strings {
    /// An empty list with room for `len` strings of `bytes` bytes together.
    pub(super) fn with_capacity(len: usize, bytes: usize) -> Strings {
        Strings { text: String::with_capacity(bytes), ends: Vec::with_capacity(len) }
    }

    /// Appends a string.
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len());
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.text[std::mem::replace(&mut start, end)..end])
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Strings {
        let mut list = Strings::default();
        for string in strings {
            list.push(string.as_ref());
        }
        list
    }
}

/// The types of values: the ids that files hold, and names for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Type {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Type {
    #[rustfmt::skip]
    const ALL: [Type; 13] = [
        Type::U8, Type::I8, Type::U16, Type::I16, Type::U32, Type::I32, Type::F32,
        Type::Bool, Type::String, Type::Array, Type::U64, Type::I64, Type::F64,
    ];

    pub(super) fn from_id(id: u32) -> Option<Type> {
        Type::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The fewest bytes that a value takes in a file: the length of a string, the type and length of an array.
    pub(super) fn least_bytes(self) -> u64 {
        match self {
            Type::U8 | Type::I8 | Type::Bool => 1,
            Type::U16 | Type::I16 => 2,
            Type::U32 | Type::I32 | Type::F32 => 4,
            Type::U64 | Type::I64 | Type::F64 | Type::String => 8,
            Type::Array => 12,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Runs `$body` with the payload of whichever variant of `$enum` the value has.
macro_rules! each {
    ($enum:ident, $value:expr, $payload:ident, $type:ident => $body:expr) => {
        each!(@ $enum, $value, $payload, $type => $body,
            U8 I8 U16 I16 U32 I32 U64 I64 F32 F64 Bool String Array)
    };
    (@ $enum:ident, $value:expr, $payload:ident, $type:ident => $body:expr, $($variant:ident)*) => {
        match $value { $($enum::$variant($payload) => { let $type = Type::$variant; $body })* }
    };
}

impl Value {
    pub(super) fn type_(&self) -> Type {
        each!(Value, self, _payload, type_ => type_)
    }

    /// Appends the value as a file holds it, without its type.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        each!(Value, self, value, _type => value.write(out));
    }
}

impl Array {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        each!(Array, self, items, _type => items.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn type_(&self) -> Type {
        each!(Array, self, _items, type_ => type_)
    }
}

/// As messages name a value: numbers in full, the rest by its type.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_ = self.type_();
        match self {
            Value::U8(value) => write!(f, "the {type_} {value}"),
            Value::I8(value) => write!(f, "the {type_} {value}"),
            Value::U16(value) => write!(f, "the {type_} {value}"),
            Value::I16(value) => write!(f, "the {type_} {value}"),
            Value::U32(value) => write!(f, "the {type_} {value}"),
            Value::I32(value) => write!(f, "the {type_} {value}"),
            Value::U64(value) => write!(f, "the {type_} {value}"),
            Value::I64(value) => write!(f, "the {type_} {value}"),
            Value::F32(value) => write!(f, "the {type_} {value}"),
            Value::F64(value) => write!(f, "the {type_} {value}"),
            Value::Bool(value) => write!(f, "the {type_} {value}"),
            Value::String(_) => write!(f, "a {type_}"),
            Value::Array(items) => write!(f, "an {type_} of {} {}", items.len(), items.type_()),
        }
    }
}

/// Values in the byte order of a file.
trait Write {
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($number:ty: $variant:ident),*) => {$(
        impl Write for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl From<$number> for Value {
            fn from(value: $number) -> Value {
                Value::$variant(value)
            }
        }
        impl From<Vec<$number>> for Value {
            fn from(items: Vec<$number>) -> Value {
                Value::Array(Array::$variant(items))
            }
        }
    )*};
}

numbers!(u8: U8, i8: I8, u16: U16, i16: I16, u32: U32, i32: I32, u64: U64, i64: I64, f32: F32, f64: F64);

impl Write for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Write for str {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Write for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl<T: Write> Write for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.write(out));
    }
}

impl Write for Strings {
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.write(out));
    }
}

impl Write for Array {
    fn write(&self, out: &mut Vec<u8>) {
        (self.type_() as u32).write(out);
        (self.len() as u64).write(out);
        each!(Array, self, items, _type => items.write(out));
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::String(value)
    }
}

impl From<Strings> for Value {
    fn from(items: Strings) -> Value {
        Value::Array(Array::String(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_ids_of_the_specification() {
        for (id, type_) in Type::ALL.into_iter().enumerate() {
            assert_eq!(type_ as usize, id);
            assert_eq!(Type::from_id(id as u32), Some(type_));
        }
        assert_eq!(Type::from_id(13), None);
    }

    #[test]
    fn strings_are_kept_in_order_empty_ones_too() {
        let list: Strings = ["", "a", "", "bär", ""].into_iter().collect();
        assert_eq!(list.iter().collect::<Vec<_>>(), ["", "a", "", "bär", ""]);
        assert_eq!((list.len(), list.iter().len()), (5, 5));
        assert_eq!((list.get(0), list.get(3), list.get(4), list.get(5)), (Some(""), Some("bär"), Some(""), None));
        assert!(Strings::default().is_empty());
    }

    #[test]
    fn messages_name_values_by_type() {
        assert_eq!(Value::from(-1i8).to_string(), "the i8 -1");
        assert_eq!(Value::from("x").to_string(), "a string");
        assert_eq!(Value::from(vec![1.0f32, 2.0]).to_string(), "an array of 2 f32");
    }
}
