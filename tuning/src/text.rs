//! Text of results files, which may come from anywhere, made fit for a page.

/// `text` on one line, without characters that cannot be shown or that XML forbids, cut to about `most` characters.
pub fn printable(text: &str, most: usize) -> String {
    let shown = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
    let words: String = text.chars().take(4 * most).map(shown).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= most {
        return words;
    }
    let cut: String = words.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The same as words of Markdown, also within a table: nothing in it is markup.
pub fn markdown(text: &str, most: usize) -> String {
    let mut escaped = String::new();
    for c in printable(text, most).chars() {
        if c.is_ascii_punctuation() && !matches!(c, '.' | ',' | '-' | ':' | ';' | '/' | '(' | ')' | '%' | '+' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The same as code in Markdown, also within a table.
pub fn code(text: &str, most: usize) -> String {
    format!("`{}`", printable(text, most).replace('`', "'").replace('|', "\\|"))
}

/// A number and what it counts: `1 core`, `2 cores`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_through_as_markup() {
        assert_eq!(printable("AMD\u{0}\r\n EPYC \u{ffff}", 60), "AMD EPYC");
        assert_eq!(printable("cargo xtask tune", 8), "cargo x…");
        assert_eq!(printable(&"ä".repeat(1_000_000), 3), "ää…");
        assert_eq!(markdown("<b>a|b</b> [x](y) *z* #1_2", 60), "\\<b\\>a\\|b\\</b\\> \\[x\\](y) \\*z\\* \\#1\\_2");
        assert_eq!(markdown("AMD EPYC 9555 64-Core (2.5 GHz)", 60), "AMD EPYC 9555 64-Core (2.5 GHz)");
        assert_eq!(code("a `b` | c", 60), "`a 'b' \\| c`");
    }
}
