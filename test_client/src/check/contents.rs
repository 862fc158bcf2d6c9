//! What replies show, against the log in the end.
//!
//! A node shows what is not refused up to some id. So every reply must be a slice of the one log: the entries from the
//! id that was asked for through the newest that it shows, without a gap, each with its text. If all replies and all
//! final logs are such slices of one log, then all nodes agree on ids, texts and order, no reader saw what is not there
//! in the end, nothing was shown that was refused, and nothing came from nowhere. What is left to check of a reply is
//! how far it reaches; see `recency`.

use super::operations::{Conclusion, Operations};
use super::reference::{ReferenceLog, is_ours};
use super::violations::{Kind, Violations, node_name, quoted, seconds};
use crate::history::{History, Micros, Text};
use std::collections::HashSet;

/// What a node showed.
pub(super) struct Observation<'a> {
    pub(super) node: usize,
    pub(super) line: usize,
    pub(super) at: Micros,
    pub(super) from: u64,
    pub(super) limit: Option<u64>,
    pub(super) entries: &'a [(u64, Text)],
    /// It is the whole log in the end.
    pub(super) is_final: bool,
}

/// Compares observations, one after another.
pub(super) struct Contents<'a> {
    pub(super) history: &'a History,
    pub(super) operations: &'a Operations<'a>,
    pub(super) reference: &'a ReferenceLog<'a>,
    pub(super) violations: &'a mut Violations,
    /// Texts that are reported already; with a node, only of that node.
    pub(super) reported: HashSet<(Option<usize>, &'a str)>,
    /// Entries that were compared.
    pub(super) compared: u64,
}

impl<'a> Contents<'a> {
    /// Compares one observation. Gives the newest id that it shows of the log, if it shows any.
    pub(super) fn check(&mut self, observation: &Observation<'a>) -> Option<u64> {
        let is_ordered = self.check_order(observation);
        let mut newest = None;
        for (id, text) in observation.entries {
            let (id, text) = (*id, &**text);
            self.compared += 1;
            let is_of_the_log = self.reference.at(id) == Some(text);
            self.check_entry(observation, id, text, is_of_the_log);
            if is_of_the_log {
                newest = newest.max(Some(id));
            }
        }
        if is_ordered {
            self.check_gaps(observation, newest);
        }
        newest
    }

    /// Ids ascend, and are those that were asked for.
    fn check_order(&mut self, observation: &Observation<'a>) -> bool {
        let descent = observation.entries.windows(2).find(|pair| pair[0].0 >= pair[1].0);
        let early = observation.entries.first().filter(|(id, _)| *id < observation.from);
        let number = observation.entries.len() as u64;
        let sentence = match (descent, early, observation.limit) {
            (Some(pair), ..) => format!("id {} comes after id {}", pair[1].0, pair[0].0),
            (None, Some((id, _)), _) => format!("it was asked for ids from {} on, and shows id {id}", observation.from),
            (None, None, Some(limit)) if number > limit => {
                format!("it was asked for {limit} messages at most, and shows {number}")
            }
            (None, None, _) => return true,
        };
        let node = self.node(observation);
        self.add(Kind::Disorder, observation, None, format!("{node}: {sentence}"));
        false
    }

    fn check_entry(&mut self, observation: &Observation<'a>, id: u64, text: &'a str, is_of_the_log: bool) {
        let node = Some(observation.node);
        let is_elsewhere = || self.reference.at(id).is_some() || self.reference.place(text).is_some();
        match self.operations.of(text).map(|operation| operation.conclusion) {
            None if is_ours(self.history, text) => {
                self.add_once(None, Kind::FromNowhere, observation, id, text, ", which no client wrote");
            }
            Some(Conclusion::Refused { line, at }) => {
                if self.reported.insert((node, text)) {
                    let shows = self.shows(observation, id, text);
                    let sentence = format!("{shows}, which was refused at {}", seconds(at));
                    self.add(Kind::RefusedShown, observation, Some(line), sentence);
                }
            }
            _ if is_of_the_log => {}
            Some(Conclusion::Unknown) if !is_elsewhere() => {
                self.add_once(node, Kind::Unshown, observation, id, text, ", which no node shows in the end");
            }
            // That it is lost is reported already.
            Some(Conclusion::Committed(_)) if !is_elsewhere() => {}
            _ => {
                let why = match (self.reference.at(id), self.reference.place(text)) {
                    (Some(other), _) => format!("; in the log, that is {}", quoted(other)),
                    (None, Some(place)) => format!("; in the log, that is id {place}"),
                    (None, None) => "; which is not in the log".to_owned(),
                };
                self.add_once(node, Kind::Differs, observation, id, text, &why);
            }
        }
    }

    /// The log has no entry between those that are shown that is not shown.
    fn check_gaps(&mut self, observation: &Observation<'a>, newest: Option<u64>) {
        let through = if observation.is_final { Some(u64::MAX) } else { newest };
        let Some(through) = through else { return };
        let expected = self.reference.range(observation.from.max(self.history.header.first), through);
        let mut shown = observation.entries.iter().map(|(id, _)| *id).peekable();
        let mut left_out = expected.iter().filter(|(id, _)| {
            while shown.next_if(|shown| shown < id).is_some() {}
            shown.peek() != Some(id)
        });
        let Some(&(id, text)) = left_out.next() else { return };
        let more = match left_out.count() {
            0 => String::new(),
            number => format!(" and {number} more"),
        };
        let conclusion = self.operations.of(text).map(|operation| operation.conclusion);
        let (kind, before, why) = match (observation.is_final, conclusion) {
            (true, Some(Conclusion::Committed(acknowledged))) => {
                let why = format!("which was acknowledged at {}", seconds(acknowledged.at));
                (Kind::Lost, Some(acknowledged.line), why)
            }
            (true, _) => (Kind::Differs, None, "which another node shows".to_owned()),
            (false, _) => (Kind::Gap, None, "and shows later ids".to_owned()),
        };
        let (node, text) = (self.node(observation), quoted(text));
        self.add(kind, observation, before, format!("{node} does not show id {id} {text}{more}, {why}"));
    }

    fn add_once(
        &mut self,
        node: Option<usize>,
        kind: Kind,
        observation: &Observation<'a>,
        id: u64,
        text: &'a str,
        why: &str,
    ) {
        if !self.reported.contains(&(None, text)) && self.reported.insert((node, text)) {
            let sentence = self.shows(observation, id, text) + why;
            self.add(kind, observation, None, sentence);
        }
    }

    fn shows(&self, observation: &Observation<'a>, id: u64, text: &str) -> String {
        format!("{} shows id {id} {}", self.node(observation), quoted(text))
    }

    fn node(&self, observation: &Observation<'a>) -> String {
        let when = if observation.is_final { "in the end".to_owned() } else { seconds(observation.at) };
        format!("{} ({when})", node_name(self.history, observation.node))
    }

    /// Proved by the line of the observation, and by one before it if that matters.
    fn add(&mut self, kind: Kind, observation: &Observation<'a>, before: Option<usize>, sentence: String) {
        let lines = before.into_iter().chain([observation.line]).collect();
        self.violations.add(kind, Some(observation.node), observation.at, lines, sentence);
    }
}
