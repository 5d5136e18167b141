//! JSON as Python's `json.dumps` writes it, which is what the models have seen.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Bytes that are written at most: values that contain themselves over and over end here.
const LIMIT: usize = 4 << 20;

/// `value` with a space after each comma and colon, or on lines of its own, indented by `indent` spaces.
pub(super) fn dumps(value: &impl Serialize, indent: Option<usize>) -> Result<String, String> {
    let mut out = Limited(Vec::new());
    let written = match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Spaced)),
        Some(indent) => {
            let indent = vec![b' '; indent.min(LIMIT)];
            value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(&indent)))
        }
    };
    written.map_err(|error| error.to_string())?;
    String::from_utf8(out.0).map_err(|error| error.to_string())
}

struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LIMIT {
            return Err(io::Error::other(format!("JSON of more than {LIMIT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `{"a": 1, "b": [2, 3]}`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Expected: `json.dumps(…, ensure_ascii=False)` of Python 3.
    #[test]
    fn is_what_python_writes() {
        let value = json!({"a": [1, 2.5, null, true], "b": {"c": "é <b> 'q' \"\n"}, "d": [], "e": {}});
        let flat = r#"{"a": [1, 2.5, null, true], "b": {"c": "é <b> 'q' \"\n"}, "d": [], "e": {}}"#;
        assert_eq!(dumps(&value, None).unwrap(), flat);
        assert_eq!(dumps(&json!({"a": [1, {}]}), Some(2)).unwrap(), "{\n  \"a\": [\n    1,\n    {}\n  ]\n}");
    }

    #[test]
    fn too_much_is_refused() {
        assert!(dumps(&"x".repeat(LIMIT), None).unwrap_err().contains("more than"));
        assert!(dumps(&json!([[1]]), Some(usize::MAX)).unwrap_err().contains("more than"));
    }
}
