//! Jinja as `transformers` sets it up for chat templates, within limits.
//!
//! `minijinja` counts the instructions of a template and the bytes and items that it makes, and stops it in time. What
//! that leaves is taken care of here: templates run on a thread with a stack for all that the longest can nest, a
//! namespace cannot be put into itself ([`super::namespaces`]), and who is at work for too long is left alone.

use std::fmt::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use time::OffsetDateTime;
use time::format_description::parse_strftime_owned;

use super::{dialect, json, methods, namespaces};

/// Bytes of a template's source: the longest known have some twenty thousand.
pub(super) const LONGEST: usize = 64 << 10;
/// Instructions, or 64 bytes each, that a template may need apart from the messages.
const FUEL: u64 = 200_000;
/// The same for each message, and for each byte of them: known templates need some 200, and copy a text some ten times.
const FUEL_A_MESSAGE: u64 = 2_000;
const FUEL_A_BYTE: u64 = 1;
/// What a template of [`LONGEST`] bytes can nest needs less, in an unoptimised build too. Pages are taken as they are
/// touched.
const STACK: usize = 256 << 20;
/// Rendering takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that a value which is not a text may be written in.
const WRITTEN: usize = 1 << 20;

/// Values that are sorted at most.
const SORTED: usize = 100_000;

/// Why nothing was rendered.
#[derive(Debug)]
pub(super) enum Failure {
    Syntax(String),
    Render(String),
    Endless,
}

/// Checks that `source` can be run.
pub(super) fn check(source: &str) -> Result<(), Failure> {
    let source = dialect::rewrite(source);
    apart(PATIENCE, move || {
        environment(SystemTime::UNIX_EPOCH, FUEL).template_from_str(&source).map_err(syntax)?;
        namespaces::check(&source).map_err(Failure::Syntax)
    })
}

/// What a template's `source` makes of `messages` and of the other variables.
pub(super) fn render(
    source: &str,
    messages: Vec<(String, String)>,
    variables: Vec<(String, Value)>,
    now: SystemTime,
) -> Result<String, Failure> {
    render_within(PATIENCE, source, messages, variables, now)
}

fn render_within(
    patience: Duration,
    source: &str,
    messages: Vec<(String, String)>,
    variables: Vec<(String, Value)>,
    now: SystemTime,
) -> Result<String, Failure> {
    let source = dialect::rewrite(source);
    apart(patience, move || {
        let bytes: usize = messages.iter().map(|(_, content)| content.len()).sum();
        let fuel = FUEL + FUEL_A_MESSAGE * messages.len() as u64 + FUEL_A_BYTE * bytes as u64;
        let environment = environment(now, fuel);
        let template = environment.template_from_str(&source).map_err(syntax)?;
        let messages = messages
            .into_iter()
            .map(|(role, content)| Value::from_pairs([("role", Value::from(role)), ("content", Value::from(content))]));
        let messages = ("messages".to_owned(), Value::from(messages.collect::<Vec<_>>()));
        let variables = Value::from_pairs(variables.into_iter().chain([messages]));
        template.render(variables).map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => Failure::Endless,
            _ => Failure::Render(told(&error)),
        })
    })
}

/// Runs `work` on a thread with a stack of its own; one that takes too long is left to itself.
fn apart<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel();
    let spawned = thread::Builder::new().name("chat template".to_owned()).stack_size(STACK).spawn(move || {
        // Who has lost patience does not listen any more.
        let _ = sender.send(work());
    });
    spawned.map_err(|error| Failure::Render(format!("no thread for it: {error}")))?;
    receiver.recv_timeout(patience).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => Failure::Endless,
            RecvTimeoutError::Disconnected => Failure::Render("the template engine failed".to_owned()),
        })
    })
}

fn syntax(error: Error) -> Failure {
    Failure::Syntax(told(&error))
}

/// An error in one line, with its line of the template.
fn told(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{detail} (line {line})"),
        None => detail,
    }
}

fn environment(now: SystemTime, fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_fuel(Some(fuel));
    environment.set_formatter(write);
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter("tojson", tojson);
    environment.add_test("iterable", iterable);
    environment.add_test("sequence", sequence);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    environment
}

/// What Python's `iter` takes: not `none`, over which the engine itself would go.
fn iterable(value: &Value) -> bool {
    sequence(value) || value.kind() == ValueKind::Iterable
}

/// What has Python's `len` and `[]`: texts and dictionaries too.
fn sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
}

/// Writes a value as Python's `str` does; one that is not a text, within limits.
fn write(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let written = match (value.kind(), value.as_str()) {
        (_, Some(text)) => out.write_str(text),
        (ValueKind::Undefined, _) => Ok(()),
        _ => out.write_str(&text(value)?),
    };
    written.map_err(Error::from)
}

fn text(value: &Value) -> Result<String, Error> {
    struct Limited(String);
    impl Write for Limited {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            if self.0.len() + text.len() > WRITTEN {
                return Err(fmt::Error);
            }
            self.0.push_str(text);
            Ok(())
        }
    }
    let mut out = Limited(String::new());
    let too_long = || Error::new(ErrorKind::InvalidOperation, format!("a value takes more than {WRITTEN} bytes"));
    write!(out, "{value}").map_err(|_| too_long())?;
    Ok(out.0)
}

/// `tojson` as `transformers` defines it: `json.dumps` without escapes for HTML.
fn tojson(state: &State, value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let refuse = |why: String| Error::new(ErrorKind::InvalidOperation, why);
    let given = |name| Ok::<_, Error>(arguments.get::<Option<Value>>(name)?.filter(|value| value.is_true()));
    let indent = arguments.get::<Option<usize>>("indent")?;
    let separators = given("separators")?.map(|separators| pair(&separators)).transpose()?;
    let sorts = given("sort_keys")?.is_some();
    if given("ensure_ascii")?.is_some() {
        return Err(refuse("tojson(ensure_ascii=…) is not served".to_owned()));
    }
    arguments.assert_all_used()?;
    let value = if sorts { sorted(value, &mut { SORTED })? } else { value.clone() };
    let json = json::dumps(&value, json::Style { indent, separators }).map_err(refuse)?;
    state.consume_fuel(json.len() as u64)?;
    Ok(json)
}

/// Two texts.
fn pair(value: &Value) -> Result<(String, String), Error> {
    let texts: Vec<String> = value.try_iter()?.filter_map(|text| text.as_str().map(str::to_owned)).collect();
    let [item, key] = <[String; 2]>::try_from(texts)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "separators are two texts"))?;
    Ok((item, key))
}

/// The same with the keys of all dictionaries in order; `left` counts values down.
fn sorted(value: &Value, left: &mut usize) -> Result<Value, Error> {
    let too_many = || Error::new(ErrorKind::InvalidOperation, format!("more than {SORTED} values to be sorted"));
    *left = left.checked_sub(1).ok_or_else(too_many)?;
    Ok(match value.kind() {
        ValueKind::Map => {
            let pair = |key: Value| Ok::<_, Error>((key.to_string(), sorted(&value.get_item(&key)?, left)?));
            let mut pairs = value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?;
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::from_pairs(pairs)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            Value::from(value.try_iter()?.map(|value| sorted(&value, left)).collect::<Result<Vec<_>, Error>>()?)
        }
        _ => value.clone(),
    })
}

fn strftime(now: SystemTime, format: &str) -> Result<String, Error> {
    let refuse = |why: String| Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {why}"));
    let items = parse_strftime_owned(format).map_err(|error| refuse(error.to_string()))?;
    OffsetDateTime::from(now).format(&items).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(source: &str) -> Result<String, Failure> {
        let messages = vec![("user".to_owned(), " a ".to_owned())];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        check(source)?;
        render_within(Duration::from_secs(2), source, messages, Vec::new(), now)
    }

    fn rendered(source: &str) -> String {
        ran(source).unwrap_or_else(|failure| panic!("{source}: {failure:?}"))
    }

    /// Expected: jinja2 3.1 in `transformers`' set-up.
    #[test]
    fn python_is_spoken() {
        for (source, expected) in [
            ("{{ messages[0].content.strip() }}|{{ messages[0]['content'] | trim }}", "a|a"),
            ("{{ 'a-b-c'.split('-')[-1] }}{{ 'abc'.startswith('ab') }}{{ 'x'.upper() }}", "cTrueX"),
            ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
            ("{{ messages[::-1][0]['role'] }}{{ messages[1:] | length }}", "user0"),
            ("{{ none }} {{ true }} {{ nothing }} {{ [1, 'a', none] }} {{ 1.0 }}", "None True  [1, 'a', None] 1.0"),
            ("{{ {'a': '<é>', 'b': [1, true]} | tojson }}", "{\"a\": \"<é>\", \"b\": [1, true]}"),
            (
                "{{ {'b': 1, 'a': [1, {'d': 1, 'c': 2}]} | tojson(sort_keys=true) }}",
                "{\"a\": [1, {\"c\": 2, \"d\": 1}], \"b\": 1}",
            ),
            ("{{ {'b': [1, 2], 'a': {}} | tojson(separators=(',', ':')) }}", "{\"b\":[1,2],\"a\":{}}"),
            ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
            ("{% if a is not defined and messages is iterable and '' is string %}yes{% endif %}", "yes"),
            (
                "{{ none is iterable }}{{ 1 is iterable }}{{ 'a' is iterable }}{{ {} is iterable }}",
                "FalseFalseTrueTrue",
            ),
            ("{{ nothing is iterable }}{{ [1] is iterable }}{{ {}.items() is iterable }}", "TrueTrueTrue"),
            ("{{ none is sequence }}{{ 1 is sequence }}{{ {}.items() is sequence }}", "FalseFalseFalse"),
            (
                "{{ 'a' is sequence }}{{ {} is sequence }}{{ [] is sequence }}{{ nothing is sequence }}",
                "TrueTrueTrueTrue",
            ),
            // As Qwen3-Coder asks.
            ("{% set tools = none %}{% if tools is iterable and tools | length > 0 %}t{% endif %}", ""),
            ("{% set ns = namespace(n=0) %}{% for m in [1, 2] %}{% set ns.n = ns.n + m %}{% endfor %}{{ ns.n }}", "3"),
            (
                "{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{{ loop.last }}{% endfor %}",
                "1False3True",
            ),
            ("{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "12"),
            ("{{ strftime_now('%d %b %Y %Y-%m-%d') }}", "14 Nov 2023 2023-11-14"),
            ("a{% generation %}b{% set x = 1 %}{%- endgeneration +%} c{{ x }}", "ab c"),
            ("{{ 'a \\\n  b' }}|\r\n{{ 'c\r\nd' }}", "a   b|\nc\nd"),
            // A line break behind a block tag, and spaces before one, are not written.
            ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"),
            ("{{- 'a' -}}  b {%- set x = 1 %} c", "ab c"),
        ] {
            assert_eq!(rendered(source), expected, "{source}");
        }
    }

    #[test]
    fn exceptions_are_told() {
        let Err(Failure::Render(why)) = ran("\n{{ raise_exception('roles must alternate') }}") else { panic!() };
        assert_eq!(why, "roles must alternate (line 2)");
        assert!(matches!(ran("{% for %}"), Err(Failure::Syntax(_))));
        assert!(matches!(ran("{{ 'a' | nofilter }}"), Err(Failure::Render(_) | Failure::Syntax(_))));
        assert!(matches!(ran("{{ 'a' + 1 }}"), Err(Failure::Render(_))));
        assert!(matches!(ran("{{ strftime_now('%Q') }}"), Err(Failure::Render(_))));
        assert!(matches!(ran("{% include 'x' %}"), Err(Failure::Syntax(_))));
    }

    #[test]
    fn hostile_templates_end() {
        let double = |start: &str, step: &str| {
            format!(
                "{{% set ns = namespace(a={start}) %}}{{% for i in range(90000) %}}{{% set ns.a = {step} %}}{{% endfor %}}"
            )
        };
        let nested = |times: usize, open: &str, close: &str| open.repeat(times) + "1" + &close.repeat(times);
        for source in [
            "{{ 'a' * 1000000000 }}".to_owned(),
            "{{ 'aa' * 9223372036854775807 }}".to_owned(),
            "{{ '{:>1000000000}'.format(1) }}".to_owned(),
            "{{ '%1000000000d' | format(1) }}".to_owned(),
            "{{ 'abc'.replace('', 'x' * 10000000) }}".to_owned(),
            "{% for i in range(99999) %}{% for i in range(99999) %}a{% endfor %}{% endfor %}".to_owned(),
            "{% for i in range(999999999) %}{% endfor %}".to_owned(),
            "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}".to_owned(),
            double("'abcdefgh'", "ns.a ~ ns.a"),
            double("'abcdefgh'", "ns.a + ns.a"),
            double("[1]", "[ns.a]") + "{{ ns.a }}",
            double("[1]", "ns.a + ns.a") + "{{ ns.a | length }}",
            double("[1]", "ns.a[0:]") + "{{ ns.a | list }}",
            double("[1]", "[ns.a, ns.a]").replace("90000", "60") + "{{ ns.a }}",
            double("[1]", "[ns.a, ns.a]").replace("90000", "60") + "{{ ns.a | tojson }}",
            double("[1]", "[ns.a, ns.a]").replace("90000", "60") + "{{ ns.a | tojson(sort_keys=true) }}",
            "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".to_owned(),
            "{{ '{:{}}'.format(1, 1000000000) }}".to_owned(),
            format!("{{{{ {:?}.format({:?}) }}}}", "{0}".repeat(20_000), "x".repeat(20_000)),
            nested(20_000, "(", ")"),
            format!("{{{{ {} }}}}", nested(20_000, "(", ")")),
            format!("{{{{ {} }}}}", nested(20_000, "[", "]")),
            format!("{{{{ x{} }}}}", ".x".repeat(30_000)),
            "{% if x %}".repeat(6_000),
        ] {
            let short: String = source.chars().take(80).collect();
            match ran(&source) {
                Err(_) => {}
                Ok(text) => assert!(text.len() < 64 << 20 && source.starts_with('('), "{short}: {} bytes", text.len()),
            }
        }
    }

    /// What neither fuel nor stack bounds: trees of 2⁶⁰ leaves that share their branches.
    #[test]
    fn patience_ends() {
        let grow = "{% set a = [a, a] %}{% set b = [b, b] %}".repeat(60);
        let source = format!("{{% set a = 1 %}}{{% set b = 1 %}}{grow}{{{{ a == b }}}}");
        let given = render_within(Duration::from_millis(200), &source, Vec::new(), Vec::new(), SystemTime::UNIX_EPOCH);
        assert!(matches!(given, Err(Failure::Endless)), "{given:?}");
    }

    /// Long chains nest in the engine, while it compiles; one that overflowed its stack would end this process. All
    /// operators of two operands nest alike, and take seconds.
    #[test]
    fn the_longest_chains_fit_the_stack() {
        for link in ["|trim", ".x", "[0]", " if x", " + x", "(x)"] {
            let source = format!("{{{{ x{} }}}}", link.repeat((LONGEST - 10) / link.len()));
            let _ = check(&source);
        }
    }
}
