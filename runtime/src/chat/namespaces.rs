//! Namespaces that stay what they are.
//!
//! A namespace is the one value of Jinja that can be changed, so that it could be put into itself; whatever walks such a
//! value never ends. Templates only ever set one, set and get what is in it, and ask whether it is there; anything else is
//! refused.

use std::iter;

/// Checks that every `namespace(…)` of a template is all that a name is set to, and each such name followed by `.`, `[`,
/// `=` or `is defined`.
pub(super) fn check(source: &str) -> Result<(), String> {
    let words = words(source);
    let mut names = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if word.text == "namespace" && word.next() == Some('(') {
            match at.checked_sub(2).map(|start| (&words[start], &words[start + 1])) {
                Some((set, name))
                    if set.text == "set" && name.before != '.' && word.before == '=' && word.is_last() =>
                {
                    names.push(name.text)
                }
                _ => return Err("a namespace that is not set to a name".to_owned()),
            }
        }
    }
    for word in &words {
        let served = matches!(word.next(), Some('.' | '[' | '=')) || word.is_asked_for();
        if names.contains(&word.text) && word.before != '.' && !served {
            return Err(format!("the namespace `{}` where its values are meant", word.text));
        }
    }
    Ok(())
}

/// A name in a tag.
struct Word<'a> {
    text: &'a str,
    /// The last character in front of it that is no white space.
    before: char,
    /// What is behind it, to the template's end.
    rest: &'a str,
}

impl Word<'_> {
    /// The first character behind it that is no white space.
    fn next(&self) -> Option<char> {
        self.rest.chars().find(|c| !c.is_whitespace())
    }

    /// Whether the template asks whether there is such a name.
    fn is_asked_for(&self) -> bool {
        let mut behind = self.rest.split_whitespace();
        let mut next = || behind.next().unwrap_or_default();
        let test = match (next(), next()) {
            ("is", "not") => next(),
            ("is", test) => test,
            _ => return false,
        };
        let test = test.split(|c: char| !c.is_alphanumeric()).next();
        self.rest.starts_with(char::is_whitespace) && matches!(test, Some("defined" | "undefined"))
    }

    /// Whether nothing but its arguments is behind it in its tag.
    fn is_last(&self) -> bool {
        let mut depth = 0;
        for (at, c) in code(self.rest) {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && !c.is_whitespace() {
                return self.rest[at + c.len_utf8()..].trim_start().trim_start_matches(['-', '+']).starts_with("%}");
            }
        }
        false
    }
}

/// The names in all tags, those in quotes left out.
fn words(source: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        let close = match rest.chars().next() {
            Some('{') => "}}",
            Some('%') => "%}",
            Some('#') => {
                rest = rest.find("#}").map_or("", |end| &rest[end..]);
                continue;
            }
            _ => continue,
        };
        rest = tag(&rest[1..], close, &mut words);
    }
    words
}

/// Adds the names of the tag that `source` begins in; gives what follows it.
fn tag<'a>(source: &'a str, close: &str, words: &mut Vec<Word<'a>>) -> &'a str {
    let mut chars = code(source).peekable();
    let (mut depth, mut before) = (0_usize, ' ');
    while let Some((start, c)) = chars.next() {
        if depth == 0 && source[start..].starts_with(close) {
            return &source[start + close.len()..];
        }
        if c.is_alphabetic() || c == '_' {
            let mut end = start + c.len_utf8();
            while let Some((at, c)) = chars.next_if(|(_, c)| c.is_alphanumeric() || *c == '_') {
                end = at + c.len_utf8();
            }
            words.push(Word { text: &source[start..end], before, rest: &source[end..] });
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    ""
}

/// Characters and where they are; of what is in quotes, the opening quote alone.
fn code(source: &str) -> impl Iterator<Item = (usize, char)> {
    let mut chars = source.char_indices();
    iter::from_fn(move || {
        let (at, c) = chars.next()?;
        if matches!(c, '"' | '\'') {
            while let Some((_, inner)) = chars.next()
                && inner != c
            {
                if inner == '\\' {
                    chars.next();
                }
            }
        }
        Some((at, c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_templates_do_is_served() {
        for source in [
            "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) -%}",
            "{% set ns = namespace(a='ns') %}{% set ns.a = ns.a + 'ns' %}{% if ns.a and ns['a'] %}{{ x.ns }}{% endif %}",
            "{% set ns = namespace() %}ns and {# ns #} don't {{ 'ns' ~ \"it's ns\" ~ {'a': {'b': 1}} }}",
            "{% if ns is not defined %}{% set ns = namespace(a=1) %}{% endif %}{{ ns is defined }}{{ (ns is undefined) }}",
            "no tags, namespace(x) {",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn a_namespace_goes_nowhere() {
        for source in [
            "{% set ns = namespace() %}{% set ns.a = ns %}",
            "{% set ns = namespace() %}don't {{ [{'a': {'b': 1}}, ns ] }}",
            "{% set ns = namespace() %}{{ ns }}",
            "{% set ns = namespace() %}{{ ns|string }}",
            "{% set ns = namespace() %}{{ 'it\\'s' ~ ns }}",
            "{% set ns = namespace() %}{% set ns.a = ns is not none and ns %}",
            "{% set ns = namespace() %}{% set ns.a = ns if ns is defined %}",
            "{% set a = [namespace()] %}",
            "{% set a = namespace(x=')'), 1 %}{% for ns in a[0:1] %}{% set ns.a = ns %}{% endfor %}",
            "{% set a = namespace() | list %}",
            "{{ namespace() }}",
            "{% with ns = namespace() %}{% endwith %}",
        ] {
            assert!(check(source).is_err(), "{source}");
        }
    }
}
