//! Words for people, and numbers from them.

use crate::protocol::Id;

/// The version of these programs.
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Reads a number of digits only: Rust would take a sign, too.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Names ids, given in order, in as few words as possible: `id 3`, or `ids 3–7, 9`.
pub(crate) fn id_ranges(ids: &[Id]) -> String {
    let mut ranges: Vec<(Id, Id)> = Vec::new();
    for &id in ids {
        match ranges.last_mut() {
            Some((_, last)) if last.next() == id => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    let words: Vec<String> = ranges
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") })
        .collect();
    format!("{} {}", if ids.len() == 1 { "id" } else { "ids" }, words.join(", "))
}

/// Names the ids after one, up to another.
pub(crate) fn id_range(after: Id, through: Id) -> String {
    let (first, last) = (after.next(), through);
    if first == last { format!("id {first}") } else { format!("ids {first}–{last}") }
}

/// `1 message`, `2 messages`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// `1 message`, `2 messages`.
pub(crate) fn messages(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "message", "messages")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_named_briefly() {
        let ids = |numbers: &[u64]| numbers.iter().map(|&number| Id::new(number)).collect::<Vec<_>>();
        assert_eq!(id_ranges(&ids(&[3])), "id 3");
        assert_eq!(id_ranges(&ids(&[3, 4, 5, 9])), "ids 3–5, 9");
        assert_eq!(id_range(Id::new(2), Id::new(3)), "id 3");
        assert_eq!(id_range(Id::new(2), Id::new(7)), "ids 3–7");
    }
}
