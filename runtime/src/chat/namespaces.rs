//! Namespaces that stay what they are.
//!
//! A namespace is the one value of Jinja that can be changed, so that it could be put into itself; whatever walks such a
//! value never ends. Templates only ever set one, and set and get what is in it; anything else is refused.

/// Checks that every `namespace(…)` of a template is set to a name, and each such name followed by `.`, `[` or `=`.
pub(super) fn check(source: &str) -> Result<(), String> {
    let words = words(source);
    let mut names = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if word.text == "namespace" && word.next == Some('(') {
            match at.checked_sub(2).map(|start| (&words[start], &words[start + 1])) {
                Some((set, name)) if set.text == "set" && name.next == Some('=') && !name.member => {
                    names.push(name.text)
                }
                _ => return Err("a namespace that is not set to a name".to_owned()),
            }
        }
    }
    for word in &words {
        if names.contains(&word.text) && !word.member && !matches!(word.next, Some('.' | '[' | '=')) {
            return Err(format!("the namespace `{}` where its values are meant", word.text));
        }
    }
    Ok(())
}

/// A name in a tag.
struct Word<'a> {
    text: &'a str,
    /// The first character behind it that is no white space.
    next: Option<char>,
    /// Behind a dot.
    member: bool,
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
    let mut chars = source.char_indices().peekable();
    let (mut quote, mut depth, mut before) = (None, 0_usize, ' ');
    while let Some((start, c)) = chars.next() {
        match quote {
            Some(_) if c == '\\' => _ = chars.next(),
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if depth == 0 && source[start..].starts_with(close) => return &source[start + close.len()..],
            None if c.is_alphabetic() || c == '_' => {
                let mut end = start + c.len_utf8();
                while let Some((at, c)) = chars.next_if(|(_, c)| c.is_alphanumeric() || *c == '_') {
                    end = at + c.len_utf8();
                }
                let next = source[end..].chars().find(|c| !c.is_whitespace());
                words.push(Word { text: &source[start..end], next, member: before == '.' });
                before = c;
            }
            None => {
                match c {
                    '"' | '\'' => quote = Some(c),
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if !c.is_whitespace() {
                    before = c;
                }
            }
        }
    }
    ""
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
            "{% set a = [namespace()] %}",
            "{{ namespace() }}",
            "{% with ns = namespace() %}{% endwith %}",
        ] {
            assert!(check(source).is_err(), "{source}");
        }
    }
}
