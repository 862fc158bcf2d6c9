//! The log that everything is compared with: what the nodes show in the end.
//!
//! If they differ, the text that most of them show at an id counts, or the master's, so that one wrong node is named
//! and not all others. If no node could be asked in the end, the log is what readers saw.
//!
//! What was refused, and what no client wrote, is not part of it, whichever node shows it: otherwise every node that is
//! right would lack something.

use super::operations::{Operation, Operations};
use super::violations::{Kind, Violations, quoted};
use crate::history::History;
use std::collections::HashMap;

/// The log, and where each text is in it.
pub(super) struct ReferenceLog<'a> {
    /// Ids ascend.
    entries: Vec<(u64, &'a str)>,
    /// The first place of each text.
    places: HashMap<&'a str, u64>,
    /// What no client wrote, by its id.
    strangers: HashMap<u64, &'a str>,
    /// Whether any node was asked in the end: only then is it known that something is missing.
    pub(super) is_final: bool,
}

impl<'a> ReferenceLog<'a> {
    pub(super) fn build(history: &'a History, operations: &Operations<'_>) -> ReferenceLog<'a> {
        let is_final = !history.finals.is_empty();
        let mut shown: Vec<(u64, usize, &str)> = if is_final {
            let finals = history.finals.iter().map(|(_, shown)| shown);
            finals.flat_map(|shown| shown.entries.iter().map(|(id, text)| (*id, shown.node, &**text))).collect()
        } else {
            let reads = history.reads.iter().map(|(_, read)| read);
            reads.flat_map(|read| read.entries.iter().map(|(id, text)| (*id, read.node, &**text))).collect()
        };
        shown.retain(|(id, ..)| *id >= history.header.first);
        let is_stranger = |text| operations.of(text).is_none() && is_ours(history, text);
        let strangers =
            shown.iter().filter(|(_, _, text)| is_stranger(*text)).map(|(id, _, text)| (*id, *text)).collect();
        shown.retain(|(_, _, text)| !is_stranger(*text) && !operations.of(text).is_some_and(Operation::is_refused));
        shown.sort_unstable();
        let entries: Vec<(u64, &str)> =
            shown.chunk_by(|one, other| one.0 == other.0).map(|votes| (votes[0].0, elect(votes))).collect();
        let mut places = HashMap::with_capacity(entries.len());
        for (id, text) in &entries {
            places.entry(*text).or_insert(*id);
        }
        ReferenceLog { entries, places, strangers, is_final }
    }

    /// What is at an id.
    pub(super) fn at(&self, id: u64) -> Option<&'a str> {
        let index = self.entries.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.entries[index].1)
    }

    /// Where a text is.
    pub(super) fn place(&self, text: &str) -> Option<u64> {
        self.places.get(text).copied()
    }

    /// What stands at an id and was written by no client.
    pub(super) fn stranger(&self, id: u64) -> Option<&'a str> {
        self.strangers.get(&id).copied()
    }

    pub(super) fn entries(&self) -> &[(u64, &'a str)] {
        &self.entries
    }

    /// What is at the ids of a range, both ends included.
    pub(super) fn range(&self, from: u64, through: u64) -> &[(u64, &'a str)] {
        let begin = self.entries.partition_point(|(id, _)| *id < from);
        let end = self.entries.partition_point(|(id, _)| *id <= through);
        &self.entries[begin..end.max(begin)]
    }

    /// A text is in the log once, if it is one of ours.
    pub(super) fn check_duplicates(&self, history: &History, violations: &mut Violations) {
        for (id, text) in &self.entries {
            let place = self.places[text];
            if place != *id && is_ours(history, text) {
                let sentence = format!("{} is in the log twice, as id {place} and as id {id}", quoted(text));
                violations.add(Kind::Duplicate, None, history.end.at, Vec::new(), sentence);
            }
        }
    }
}

/// The text with most votes; of several, the one for which the first node votes.
fn elect<'a>(votes: &[(u64, usize, &'a str)]) -> &'a str {
    let mut candidates: Vec<(usize, &str)> = Vec::new();
    for (_, _, text) in votes {
        match candidates.iter_mut().find(|(_, candidate)| candidate == text) {
            Some((count, _)) => *count += 1,
            None => candidates.push((1, *text)),
        }
    }
    let most = candidates.iter().map(|(count, _)| *count).max().unwrap_or(0);
    candidates.into_iter().find(|(count, _)| *count == most).expect("there is at least one vote").1
}

/// Whether a text is of this run.
pub(super) fn is_ours(history: &History, text: &str) -> bool {
    history.header.alone || text.starts_with(&history.header.tag)
}
