//! The methods of Python's texts, lists and dictionaries.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Digits of a number in a format's field, such as a width, at most.
const DIGITS: usize = 3;

/// Calls the method `name` of a value.
pub(super) fn call(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (name, value.as_str()) {
        ("format", Some(text)) => formatted(state, text, arguments),
        ("rsplit", Some(text)) => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
            if separator == Some("") {
                return Err(refuse("rsplit: the separator is empty"));
            }
            let parts = rsplit(text, separator, most.and_then(|most| most.try_into().ok()).unwrap_or(usize::MAX));
            state.consume_fuel(parts.len() as u64)?;
            Ok(Value::from_iter(parts))
        }
        ("index", Some(text)) => {
            let (what,): (&str,) = from_args(arguments)?;
            let at = text.find(what).ok_or_else(|| refuse("index: there is no such text"))?;
            Ok(Value::from(text[..at].chars().count()))
        }
        ("index", None) if value.kind() == ValueKind::Seq => {
            let (what,): (&Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == *what);
            at.map(Value::from).ok_or_else(|| refuse("index: there is no such item"))
        }
        _ => pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// `str.format`, of what is written in few bytes: the engine pays for a result when it is there.
fn formatted(state: &State, text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let mut longest = 0;
    for argument in arguments {
        longest = longest.max(match argument.kind() {
            ValueKind::String => argument.as_str().map_or(0, str::len),
            ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number => 32,
            kind => return Err(refuse(format!("format: a {kind} is not served"))),
        });
    }
    let fields = fields(text).ok_or_else(|| refuse("format: fields in fields, and large numbers, are not served"))?;
    let widest = 10_usize.pow(DIGITS as u32);
    state.consume_fuel((fields.saturating_mul(longest + widest) / 64) as u64)?;
    format(FormatStyle::StrFormat, text, arguments).map(Value::from)
}

/// How many fields a format has; `None` where one could ask for much.
fn fields(text: &str) -> Option<usize> {
    let (mut fields, mut rest) = (0, text);
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        if let Some(literal) = rest.strip_prefix('{') {
            rest = literal;
            continue;
        }
        let field = &rest[..rest.find('}').unwrap_or(rest.len())];
        let numbers = field.split(|c: char| !c.is_ascii_digit());
        if field.contains('{') || numbers.into_iter().any(|number| number.len() > DIGITS) {
            return None;
        }
        (fields, rest) = (fields + 1, &rest[field.len()..]);
    }
    Some(fields)
}

/// Cuts at a separator, or at white space, from the end, `most` times at most.
fn rsplit<'t>(text: &'t str, separator: Option<&str>, most: usize) -> Vec<&'t str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    let left = loop {
        rest = if separator.is_none() { rest.trim_end() } else { rest };
        let cut = match separator {
            Some(separator) => rest.rsplit_once(separator),
            None => rest.rsplit_once(char::is_whitespace),
        };
        match cut {
            Some((before, part)) if parts.len() < most => {
                parts.push(part);
                rest = before;
            }
            _ => break rest,
        }
    };
    // White space in front of the first word is none of the parts.
    parts.extend((separator.is_some() || !left.is_empty()).then_some(left));
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    use super::*;

    fn told(source: &str) -> Result<String, Error> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(10_000));
        environment.set_unknown_method_callback(call);
        environment.render_str(source, ())
    }

    /// Expected: Python 3.
    #[test]
    fn methods_do_what_pythons_do() {
        for (source, expected) in [
            ("{{ '{} and {}'.format('a', 1) }}", "a and 1"),
            ("{{ '{:02d}|{:>5}|{0}'.replace('|{0}', '').format(3, 'a') }}", "03|    a"),
            ("{{ '{0}{0}'.format('x') }}{{ '{{}}{}'.format(none) }}", "xx{}None"),
            ("{{ '{} {}'.format(true, 1.0) }}", "True 1.0"),
            ("{{ 'a-b-c'.rsplit('-', 1) }}{{ 'a-b-c'.rsplit('-') }}", "['a-b', 'c']['a', 'b', 'c']"),
            ("{{ ' a  b '.rsplit() }}{{ ' a  b c '.rsplit(none, 1) }}", "['a', 'b'][' a  b', 'c']"),
            ("{{ 'a-b'.rsplit('-', -1) }}{{ 'a-b'.rsplit('-', 0) }}{{ ''.rsplit() }}", "['a', 'b']['a-b'][]"),
            ("{{ 'éac'.index('c') }}{{ ['a', 'b'].index('b') }}", "21"),
            ("{{ 'a b'.title() }}", "A B"),
        ] {
            assert_eq!(told(source).unwrap_or_else(|error| panic!("{source}: {error}")), expected, "{source}");
        }
    }

    #[test]
    fn what_python_or_the_limits_refuse_is_an_error() {
        for source in [
            "{{ 'a'.index('b') }}",
            "{{ [1].index(2) }}",
            "{{ 'a'.rsplit('') }}",
            "{{ '{:1000}'.format(1) }}",
            "{{ '{:.{}}'.format(1.5, 10) }}",
            "{{ '{}'.format([1]) }}",
            "{{ '{}'.format() }}",
            "{{ '{'.format() }}",
            "{{ 'a'.nothing() }}",
        ] {
            assert!(told(source).is_err(), "{source}");
        }
        let long = format!("{{{{ '{}'.format('a') }}}}", "{0:>999}".repeat(700));
        assert!(told(&long).is_err());
    }
}
