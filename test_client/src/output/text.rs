//! Numbers and foreign text as parts of a sentence.

use std::fmt::Display;

/// Foreign text on one line, with an escape for every character that would move the cursor, change colours or reverse
/// the reading direction. A backslash is doubled, so that no text looks like an escape.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => shown.push_str("\\\\"),
            '\n' | '\r' | '\t' => shown.extend(character.escape_default()),
            _ if character.is_control() || is_invisible(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    shown
}

/// Format characters, except the two joiners (U+200C, U+200D) that scripts and emoji are written with.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A number with its noun: `1 message`, `2 messages`.
pub(crate) fn count(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A whole number with its thousands set apart: `21,034`.
pub(crate) fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("a\nb\t\x1b[31m\0\u{7f}\u{9b}"), r"a\nb\t\u{1b}[31m\u{0}\u{7f}\u{9b}");
        assert_eq!(visible("\u{202e}abc\u{2066}\u{feff}"), r"\u{202e}abc\u{2066}\u{feff}");
        assert_eq!(visible(r"a\nb"), r"a\\nb", "not a line break, and not shown as one");
        assert_eq!(visible("Grüße 👩‍🚀 \"quoted\""), "Grüße 👩‍🚀 \"quoted\"");
    }
}
