//! What became of writes, against the log in the end.
//!
//! Complete, because a write has one of three outcomes. A committed one is at its ids with its texts, and so not lost,
//! changed or torn. An unknown one is there as a whole, in one piece, or not at all. A refused one is nowhere: that is
//! looked for in every reply, see `contents`.

use super::operations::{Acknowledgement, Conclusion, Operation, Operations};
use super::reference::ReferenceLog;
use super::violations::{Kind, Violations, quoted, seconds};
use std::collections::HashSet;

/// Checks all writes. Gives the texts that stand where acknowledged ones should, and are thereby explained.
pub(super) fn check<'a>(
    operations: &Operations<'a>,
    reference: &ReferenceLog<'a>,
    violations: &mut Violations,
) -> HashSet<&'a str> {
    let mut check = Check { reference, violations, explained: HashSet::new() };
    if reference.is_final {
        for operation in &operations.all {
            match operation.conclusion {
                Conclusion::Committed(acknowledgement) => check.committed(operation, acknowledgement),
                Conclusion::Unknown => check.in_one_piece(operation),
                Conclusion::Refused { .. } => {}
            }
        }
    }
    check.explained
}

struct Check<'a, 'b> {
    reference: &'b ReferenceLog<'a>,
    violations: &'b mut Violations,
    explained: HashSet<&'a str>,
}

impl<'a> Check<'a, '_> {
    fn committed(&mut self, operation: &Operation<'_>, acknowledgement: Acknowledgement) {
        let Acknowledgement { first, at, line } = acknowledgement;
        let is_there = |(id, text): (u64, &&str)| self.reference.at(id) == Some(*text);
        if (first..).zip(&operation.texts).all(is_there) {
            return;
        }
        let places: Vec<Option<u64>> = operation.texts.iter().map(|text| self.reference.place(text)).collect();
        let what = self.name(operation);
        let acknowledged = format!("{what} was acknowledged as id {first} at {}", seconds(at));
        let (kind, sentence) = match places[..] {
            [None] => match self.reference.stranger(first) {
                Some(other) => {
                    self.explained.insert(other);
                    (Kind::Changed, format!("{acknowledged}, and there is {} instead", quoted(other)))
                }
                None => (Kind::Lost, format!("{acknowledged}, and no node shows it in the end")),
            },
            _ if places.iter().all(Option::is_none) => {
                (Kind::Lost, format!("{acknowledged}, and no node shows any of it in the end"))
            }
            _ if !is_one_piece(&places) => {
                (Kind::Torn, format!("{acknowledged}, and in the log it is {}", pieces(&places)))
            }
            _ => (Kind::Changed, format!("{acknowledged}, and in the log it begins at id {}", places[0].unwrap_or(0))),
        };
        self.violations.add(kind, None, at, vec![line], sentence);
    }

    fn in_one_piece(&mut self, operation: &Operation<'_>) {
        let places: Vec<Option<u64>> = operation.texts.iter().map(|text| self.reference.place(text)).collect();
        if places.iter().all(Option::is_none) || is_one_piece(&places) {
            return;
        }
        let sentence = format!("{}, whose outcome is unknown, is in the log {}", self.name(operation), pieces(&places));
        self.violations.add(Kind::Torn, None, operation.call, vec![operation.line], sentence);
    }

    fn name(&self, operation: &Operation<'_>) -> String {
        let first = quoted(operation.texts[0]);
        match operation.texts.len() {
            1 => first,
            number => format!("the batch of {number} messages that begins with {first}"),
        }
    }
}

fn is_one_piece(places: &[Option<u64>]) -> bool {
    places.windows(2).all(|pair| pair[0].is_some() && pair[1] == pair[0].map(|id| id + 1)) && places[0].is_some()
}

fn pieces(places: &[Option<u64>]) -> String {
    let ids: Vec<String> =
        places.iter().map(|place| place.map_or_else(|| "missing".to_owned(), |id| id.to_string())).collect();
    format!("in pieces: ids {}", ids.join(", "))
}
