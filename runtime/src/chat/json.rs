//! JSON as Python's `json.dumps` writes it, which is what the models have seen.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Bytes that are written at most: values that contain themselves over and over end here.
const LIMIT: usize = 4 << 20;

/// What is written between things.
#[derive(Default)]
pub(super) struct Style {
    /// Each thing has a line of its own, indented by so many spaces a level.
    pub(super) indent: Option<usize>,
    /// Between the things of a list and behind a key; `None`: a comma, a colon and spaces, as is usual.
    pub(super) separators: Option<(String, String)>,
}

/// `value` in a style.
pub(super) fn dumps(value: &impl Serialize, style: Style) -> Result<String, String> {
    let usual = || ((if style.indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned());
    let (item, key) = style.separators.unwrap_or_else(usual);
    let indent = style.indent.map(|indent| " ".repeat(indent.min(LIMIT)));
    let mut out = Limited(Vec::new());
    let formatter = Styled { item, key, indent, depth: 0, filled: false };
    let written = value.serialize(&mut Serializer::with_formatter(&mut out, formatter));
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

/// The writer of a [`Style`].
struct Styled {
    item: String,
    key: String,
    indent: Option<String>,
    depth: usize,
    /// Something was written in the list or object that ends.
    filled: bool,
}

impl Styled {
    fn begin<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &str) -> io::Result<()> {
        (self.depth, self.filled) = (self.depth + 1, false);
        out.write_all(bracket.as_bytes())
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &str) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(out)?;
        }
        out.write_all(bracket.as_bytes())
    }

    fn next<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.line(out)
    }

    /// A new line, where there are such.
    fn line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(indent.as_bytes()))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}

impl Formatter for Styled {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, "[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, "]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.fill()
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, "{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, "}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.fill()
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
        assert_eq!(dumps(&value, Style::default()).unwrap(), flat);
        let lines = Style { indent: Some(2), separators: None };
        assert_eq!(dumps(&json!({"a": [1, {}]}), lines).unwrap(), "{\n  \"a\": [\n    1,\n    {}\n  ]\n}");
        let tight = |indent| Style { indent, separators: Some((",".to_owned(), ":".to_owned())) };
        let value = json!({"a": [], "b": [1, 2]});
        assert_eq!(dumps(&value, tight(None)).unwrap(), r#"{"a":[],"b":[1,2]}"#);
        assert_eq!(dumps(&value, tight(Some(1))).unwrap(), "{\n \"a\":[],\n \"b\":[\n  1,\n  2\n ]\n}");
    }

    #[test]
    fn too_much_is_refused() {
        assert!(dumps(&"x".repeat(LIMIT), Style::default()).unwrap_err().contains("more than"));
        assert!(
            dumps(&json!([[1]]), Style { indent: Some(usize::MAX), separators: None })
                .unwrap_err()
                .contains("more than")
        );
    }
}
