//! What became of writes, against the log in the end.
//!
//! Complete, because a write has one of three fates. A committed one is at its ids with its texts, and so not lost,
//! changed or torn. An unknown one is there as a whole, in one piece, or not at all. A refused one is nowhere: that is
//! looked for in every reply, see `contents`.

use super::fates::{Acknowledgement, Fate, Fates, Told};
use super::findings::{Finding, Findings, Kind};
use super::record::Record;
use super::wording::Wording;
use crate::history::Text;
use std::collections::HashSet;

/// Checks all writes. Gives the texts that stand where acknowledged ones should, and are thereby explained.
pub(super) fn check(fates: &Fates, record: &Record, wording: &Wording<'_>, findings: &mut Findings) -> HashSet<Text> {
    let mut check = Check { record, wording, findings, explained: HashSet::new() };
    if record.is_final {
        for fate in &fates.all {
            match fate.told {
                Told::Committed(acknowledgement) => check.committed(fate, acknowledgement),
                Told::Unknown => check.in_one_piece(fate),
                Told::Refused { .. } => {}
            }
        }
    }
    check.explained
}

struct Check<'a> {
    record: &'a Record,
    wording: &'a Wording<'a>,
    findings: &'a mut Findings,
    explained: HashSet<Text>,
}

impl Check<'_> {
    fn committed(&mut self, fate: &Fate, acknowledgement: Acknowledgement) {
        let Acknowledgement { first, at, line } = acknowledgement;
        let is_there = |(id, text): (u64, &Text)| self.record.at(id) == Some(*text);
        if (first..).zip(&fate.texts).all(is_there) {
            return;
        }
        let places: Vec<Option<u64>> = fate.texts.iter().map(|text| self.record.place(*text)).collect();
        let what = self.name(fate);
        let acknowledged = format!("{what} was acknowledged as id {first} at {}", self.wording.time(at));
        let (kind, sentence) = match places[..] {
            [None] => match self.record.stranger(first) {
                Some(other) => {
                    self.explained.insert(other);
                    (Kind::Changed, format!("{acknowledged}, and there is {} instead", self.wording.text(other)))
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
        self.findings.add(Finding { kind, node: None, at, lines: vec![line], sentence });
    }

    fn in_one_piece(&mut self, fate: &Fate) {
        let places: Vec<Option<u64>> = fate.texts.iter().map(|text| self.record.place(*text)).collect();
        if places.iter().all(Option::is_none) || is_one_piece(&places) {
            return;
        }
        let sentence = format!("{}, whose outcome is unknown, is in the log {}", self.name(fate), pieces(&places));
        self.findings.add(Finding { kind: Kind::Torn, node: None, at: fate.call, lines: vec![fate.line], sentence });
    }

    fn name(&self, fate: &Fate) -> String {
        let first = self.wording.text(fate.texts[0]);
        match fate.texts.len() {
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
