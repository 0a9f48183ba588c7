//! Text of others in Markdown: names, messages and values are shown, never
//! interpreted, and stay within their table cell.

/// Text for people, on one line and without any markup of its own.
pub fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for character in raw.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            control if control.is_control() => escaped.push(' '),
            plain => escaped.push(plain),
        }
    }
    escaped
}

/// Text as it is, such as a path or a value: a code span.
pub fn code(raw: &str) -> String {
    // In a table the pipe is escaped even in code, and there is no notation for
    // a backslash before it.
    if raw.is_empty() || raw.contains("\\|") || raw.contains(char::is_control) {
        return text(raw);
    }
    let longest = raw.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if raw.starts_with('`') || raw.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", raw.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_cell_or_bring_markup() {
        assert_eq!(
            text("a|b\nc `d` <img src=x> [l](http://x)"),
            "a\\|b c \\`d\\` \\<img src=x\\> \\[l\\](http://x)"
        );
        assert_eq!(text("a\\|b"), "a\\\\\\|b");
    }

    #[test]
    fn code_is_fenced_by_more_backticks_than_it_has() {
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("``a"), "``` ``a ```");
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a\\|b"), "a\\\\\\|b");
    }
}
