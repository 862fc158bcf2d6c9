//! Ids in words, for logs and sentences.

use crate::protocol::Id;

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
