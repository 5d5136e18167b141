//! Metadata by key and type. An absent key and a wrong type are different things.

use std::path::Path;

use super::value::{Array, Strings, Value};
use super::{Error, File};

/// A type that values can be read as.
pub(super) trait Read<'a>: Sized {
    /// For the message, where the value is not one.
    const EXPECTED: &'static str;

    fn read(value: &'a Value) -> Option<Self>;
}

/// The value of `key` in the file at `path` as `T`.
pub(super) fn read<'a, T: Read<'a>>(path: &Path, key: &str, value: &'a Value) -> Result<T, Error> {
    T::read(value).ok_or_else(|| Error::WrongType {
        path: path.into(),
        key: key.into(),
        found: value.to_string(),
        expected: T::EXPECTED,
    })
}

/// Integers of every width, where the value fits.
macro_rules! integers {
    ($($integer:ty: $expected:literal, $all:literal;)*) => {$(
        impl Read<'_> for $integer {
            const EXPECTED: &'static str = $expected;

            fn read(value: &Value) -> Option<Self> {
                match *value {
                    Value::U8(value) => value.try_into().ok(),
                    Value::I8(value) => value.try_into().ok(),
                    Value::U16(value) => value.try_into().ok(),
                    Value::I16(value) => value.try_into().ok(),
                    Value::U32(value) => value.try_into().ok(),
                    Value::I32(value) => value.try_into().ok(),
                    Value::U64(value) => value.try_into().ok(),
                    Value::I64(value) => value.try_into().ok(),
                    _ => None,
                }
            }
        }

        impl Read<'_> for Vec<$integer> {
            const EXPECTED: &'static str = $all;

            fn read(value: &Value) -> Option<Self> {
                fn all<T: Copy + TryInto<$integer>>(items: &[T]) -> Option<Vec<$integer>> {
                    items.iter().map(|&item| item.try_into().ok()).collect()
                }
                let Value::Array(items) = value else { return None };
                match items {
                    Array::U8(items) => all(items),
                    Array::I8(items) => all(items),
                    Array::U16(items) => all(items),
                    Array::I16(items) => all(items),
                    Array::U32(items) => all(items),
                    Array::I32(items) => all(items),
                    Array::U64(items) => all(items),
                    Array::I64(items) => all(items),
                    _ => None,
                }
            }
        }
    )*};
}

integers! {
    u32: "an integer from 0 to 4294967295", "an array of integers from 0 to 4294967295";
    i32: "an integer from -2147483648 to 2147483647", "an array of integers from -2147483648 to 2147483647";
    u64: "an integer not below 0", "an array of integers not below 0";
    usize: "an integer not below 0", "an array of integers not below 0";
}

impl Read<'_> for f32 {
    const EXPECTED: &'static str = "a float";

    fn read(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(value) => Some(value),
            Value::F64(value) => Some(value as f32),
            _ => None,
        }
    }
}

impl Read<'_> for Vec<f32> {
    const EXPECTED: &'static str = "an array of floats";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Array(Array::F32(items)) => Some(items.clone()),
            Value::Array(Array::F64(items)) => Some(items.iter().map(|&item| item as f32).collect()),
            _ => None,
        }
    }
}

impl Read<'_> for bool {
    const EXPECTED: &'static str = "a bool";

    fn read(value: &Value) -> Option<Self> {
        if let Value::Bool(value) = value { Some(*value) } else { None }
    }
}

impl<'a> Read<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    fn read(value: &'a Value) -> Option<Self> {
        if let Value::String(value) = value { Some(value) } else { None }
    }
}

impl<'a> Read<'a> for &'a Strings {
    const EXPECTED: &'static str = "an array of strings";

    fn read(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::String(items)) = value { Some(items) } else { None }
    }
}

macro_rules! getters {
    ($($name:ident, $optional:ident: $type:ty, $what:literal;)*) => {
        /// Metadata by key and type. Integers are read from every width that they fit.
        impl File {
            $(
                #[doc = concat!("The value of `key`, ", $what, "; an error where it is absent or of another type.")]
                pub fn $name(&self, key: &str) -> Result<$type, Error> {
                    let missing = || Error::MissingKey { path: self.path().into(), key: key.into() };
                    self.$optional(key)?.ok_or_else(missing)
                }

                #[doc = concat!("The value of `key`, ", $what, "; `None` where it is absent, an error where it is of \
                                 another type.")]
                pub fn $optional(&self, key: &str) -> Result<Option<$type>, Error> {
                    self.value(key).map(|value| read(self.path(), key, value)).transpose()
                }
            )*
        }
    };
}

getters! {
    u32, opt_u32: u32, "an integer";
    i32, opt_i32: i32, "an integer";
    u64, opt_u64: u64, "an integer";
    usize, opt_usize: usize, "an integer";
    f32, opt_f32: f32, "a float";
    bool, opt_bool: bool, "a bool";
    str, opt_str: &str, "a string";
    strings, opt_strings: &Strings, "an array of strings";
    f32s, opt_f32s: Vec<f32>, "an array of floats";
    u32s, opt_u32s: Vec<u32>, "an array of integers";
    i32s, opt_i32s: Vec<i32>, "an array of integers";
    usizes, opt_usizes: Vec<usize>, "an array of integers";
}
