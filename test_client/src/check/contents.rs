//! What replies show, against the log in the end.
//!
//! A node shows what is not refused up to some id. So every reply must be a slice of the one log: the entries from the id
//! that was asked for through the newest that it shows, without a gap, each with its text. If all replies and all final
//! logs are such slices of one log, then all nodes agree on ids, texts and order, nobody saw what is not there in the
//! end, nothing was shown that was refused, and nothing came from nowhere. What is left to check of a reply is how far
//! it reaches; see `reach`.

use super::labels::Labels;
use super::operations::{Conclusion, Operations};
use super::reference::ReferenceLog;
use super::violations::{Kind, Violation, Violations};
use crate::history::{History, Micros, Text};
use std::collections::HashSet;

/// Whether a text is of this run.
pub(super) fn is_ours(history: &History, text: Text) -> bool {
    history.header.alone || history.texts.text(text).starts_with(&history.header.tag)
}

/// Something that a node showed.
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

/// Compares replies, one after another.
pub(super) struct Contents<'a> {
    pub(super) history: &'a History,
    pub(super) operations: &'a Operations,
    pub(super) reference: &'a ReferenceLog,
    pub(super) labels: &'a Labels<'a>,
    pub(super) violations: &'a mut Violations,
    /// Texts of which enough has been said already, by node if it was of a node.
    conclusion: HashSet<(Option<usize>, Text)>,
    /// Entries that were compared.
    pub(super) compared: u64,
}

impl<'a> Contents<'a> {
    /// Texts that are explained are not reported again.
    pub(super) fn new(
        history: &'a History,
        operations: &'a Operations,
        reference: &'a ReferenceLog,
        labels: &'a Labels<'a>,
        violations: &'a mut Violations,
        explained: HashSet<Text>,
    ) -> Contents<'a> {
        let conclusion = explained.into_iter().map(|text| (None, text)).collect();
        Contents { history, operations, reference, labels, violations, conclusion, compared: 0 }
    }

    /// Compares one. Gives the newest id that it shows of the log, if it shows any.
    pub(super) fn check(&mut self, observation: &Observation<'_>) -> Option<u64> {
        let is_ordered = self.ids_ascend(observation);
        let mut newest = None;
        for &(id, text) in observation.entries {
            self.compared += 1;
            let is_of_the_log = self.reference.at(id) == Some(text);
            self.entry(observation, id, text, is_of_the_log);
            if is_of_the_log {
                newest = newest.max(Some(id));
            }
        }
        if is_ordered {
            self.nothing_is_left_out(observation, newest);
        }
        newest
    }

    fn ids_ascend(&mut self, observation: &Observation<'_>) -> bool {
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
        let who = self.who(observation);
        self.add(Kind::Disorder, observation, None, format!("{who}: {sentence}"));
        false
    }

    fn entry(&mut self, observation: &Observation<'_>, id: u64, text: Text, is_of_the_log: bool) {
        let Some(operation) = self.operations.of(text) else {
            if is_ours(self.history, text) {
                self.once(None, Kind::FromNowhere, observation, text, |who, what| {
                    format!("{who} shows id {id} {what}, which nobody wrote")
                });
                return;
            }
            if !is_of_the_log {
                self.differs(observation, id, text);
            }
            return;
        };
        match operation.conclusion {
            Conclusion::Refused { line, at } => self.refused(observation, id, text, line, at),
            _ if is_of_the_log => {}
            _ if self.reference.at(id).is_some() || self.reference.place(text).is_some() => {
                self.differs(observation, id, text);
            }
            // That it is lost is reported already.
            Conclusion::Committed(_) => {}
            Conclusion::Unknown => self.once(Some(observation.node), Kind::Unshown, observation, text, |who, what| {
                format!("{who} shows id {id} {what}, which no node shows in the end")
            }),
        }
    }

    fn refused(&mut self, observation: &Observation<'_>, id: u64, text: Text, refusal: usize, conclusion: Micros) {
        if !self.conclusion.insert((Some(observation.node), text)) {
            return;
        }
        let (who, what, conclusion) = (self.who(observation), self.labels.text(text), self.labels.time(conclusion));
        let sentence = format!("{who} shows id {id} {what}, which was refused at {conclusion}");
        self.add(Kind::RefusedShown, observation, Some(refusal), sentence);
    }

    fn differs(&mut self, observation: &Observation<'_>, id: u64, text: Text) {
        let log = match (self.reference.at(id), self.reference.place(text)) {
            (Some(other), _) => format!("in the log, that is {}", self.labels.text(other)),
            (None, Some(place)) => format!("in the log, that is id {place}"),
            (None, None) => "which is not in the log".to_owned(),
        };
        self.once(Some(observation.node), Kind::Differs, observation, text, |who, what| {
            format!("{who} shows id {id} {what}; {log}")
        });
    }

    /// The log has no entry between those that are shown that is not shown.
    fn nothing_is_left_out(&mut self, observation: &Observation<'_>, newest: Option<u64>) {
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
        let (who, what) = (self.who(observation), self.labels.text(text));
        let (kind, before, why) =
            match (observation.is_final, self.operations.of(text).map(|operation| operation.conclusion)) {
                (true, Some(Conclusion::Committed(conclusion))) => (
                    Kind::Lost,
                    Some(conclusion.line),
                    format!("which was acknowledged at {}", self.labels.time(conclusion.at)),
                ),
                (true, _) => (Kind::Differs, None, "which another node shows".to_owned()),
                (false, _) => (Kind::Gap, None, "and shows later ids".to_owned()),
            };
        self.add(kind, observation, before, format!("{who} does not show id {id} {what}{more}, {why}"));
    }

    fn once(
        &mut self,
        node: Option<usize>,
        kind: Kind,
        observation: &Observation<'_>,
        text: Text,
        sentence: impl FnOnce(&str, &str) -> String,
    ) {
        if self.conclusion.contains(&(None, text)) || !self.conclusion.insert((node, text)) {
            return;
        }
        let (who, what) = (self.who(observation), self.labels.text(text));
        self.add(kind, observation, None, sentence(&who, &what));
    }

    fn who(&self, observation: &Observation<'_>) -> String {
        let when = if observation.is_final { "in the end".to_owned() } else { self.labels.time(observation.at) };
        format!("{} ({when})", self.labels.node(observation.node))
    }

    /// Proved by the line of what was shown, and by one before it if that matters.
    fn add(&mut self, kind: Kind, observation: &Observation<'_>, before: Option<usize>, sentence: String) {
        let lines = before.into_iter().chain([observation.line]).collect();
        self.violations.add(Violation { kind, node: Some(observation.node), at: observation.at, lines, sentence });
    }
}
