//! What `transformers` and Python's Jinja read that the engine does not, told in its own words.

/// `source` as the engine reads it: line breaks are `\n`; a backslash at the end of a line joins two lines of a text in
/// quotes; the tag `generation`, by which trainers find what a model says itself, is a scope like any other.
pub(super) fn rewrite(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(open) = rest.find('{') {
        let (text, tag) = rest.split_at(open);
        out.push_str(text);
        let end = match tag.as_bytes().get(1) {
            Some(b'{') => end_of_tag(tag, "}}"),
            Some(b'%') => end_of_tag(tag, "%}"),
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            _ => 1,
        };
        let (tag, behind) = tag.split_at(end);
        match name(tag) {
            "generation" => out.push_str(&tag.replacen("generation", "with", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ if tag.starts_with("{#") => out.push_str(tag),
            _ => push_joined(tag, &mut out),
        }
        rest = behind;
        if name(tag) == "raw" {
            let (raw, behind) = rest.split_at(end_of_raw(rest));
            out.push_str(raw);
            rest = behind;
        }
    }
    out + rest
}

/// What a tag without arguments is called; empty for all else.
fn name(tag: &str) -> &str {
    let inner = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")).unwrap_or_default();
    inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim()
}

/// Where the tag ends that `source` begins with, at its end where nothing closes it.
fn end_of_tag(source: &str, close: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in source.char_indices().skip(2) {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if depth == 0 && source[at..].starts_with(close) => return at + close.len(),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    source.len()
}

/// Where the tag begins that ends raw text.
fn end_of_raw(source: &str) -> usize {
    let ends =
        |(at, _): &(usize, &str)| source[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    source.match_indices("{%").find(ends).map_or(source.len(), |(at, _)| at)
}

/// Appends a tag, without line breaks that a backslash takes back. Outside of quotes there is no backslash.
fn push_joined(tag: &str, out: &mut String) {
    let mut rest = tag;
    while let Some(at) = rest.find('\\') {
        let (text, escape) = rest.split_at(at);
        out.push_str(text);
        let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
        if escape[..length] != *"\\\n" {
            out.push_str(&escape[..length]);
        }
        rest = &escape[length..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_is_a_scope() {
        for (source, expected) in [
            ("a{% generation %}b{% endgeneration %}c", "a{% with %}b{% endwith %}c"),
            ("{%-generation-%}\n{%+ endgeneration +%}", "{%-with-%}\n{%+ endwith +%}"),
            ("{{ '{% generation %}' }}{# {% generation %} #}", "{{ '{% generation %}' }}{# {% generation %} #}"),
            (
                "{% raw %}{% generation %}{%- endraw %}{% generation %}",
                "{% raw %}{% generation %}{%- endraw %}{% with %}",
            ),
            ("{% if generation %}{{ generation }}", "{% if generation %}{{ generation }}"),
            ("{% set x = {'a': {'%}': '}}'}} %}{% generation %}", "{% set x = {'a': {'%}': '}}'}} %}{% with %}"),
        ] {
            assert_eq!(rewrite(source), expected);
        }
    }

    #[test]
    fn lines_of_texts_are_joined() {
        for (source, expected) in [
            ("{{ 'a \\\nb' }}", "{{ 'a b' }}"),
            ("{{ \"it's \\\r\nb\" }}", "{{ \"it's b\" }}"),
            ("{{ 'a\\\\\nb' }}", "{{ 'a\\\\\nb' }}"),
            ("a \\\nb{# \\\n #}", "a \\\nb{# \\\n #}"),
            ("{% raw %}{{ 'a\\\nb' }}{% endraw %}", "{% raw %}{{ 'a\\\nb' }}{% endraw %}"),
            ("a\r\nb\rc", "a\nb\nc"),
        ] {
            assert_eq!(rewrite(source), expected);
        }
    }

    #[test]
    fn what_is_broken_stays_so() {
        for source in ["{", "{{", "{% generation", "{{ '", "{{ '\\", "{#", "{% raw %}", "a{é", "{{ '\\é"] {
            assert_eq!(rewrite(source), source);
        }
    }
}
