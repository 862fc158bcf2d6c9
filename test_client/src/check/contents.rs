//! What replies show, against the log in the end.
//!
//! A node shows what is not refused up to some id. So every reply must be a slice of the one log: the entries from the id
//! that was asked for through the newest that it shows, without a gap, each with its text. If all replies and all final
//! logs are such slices of one log, then all nodes agree on ids, texts and order, nobody saw what is not there in the
//! end, nothing was shown that was refused, and nothing came from nowhere. What is left to check of a reply is how far
//! it reaches; see `reach`.

use super::fates::{Fates, Told};
use super::findings::{Finding, Findings, Kind};
use super::record::Record;
use super::wording::Wording;
use crate::history::{History, Micros, Text};
use std::collections::HashSet;

/// Whether a text is of this run.
pub(super) fn is_ours(history: &History, text: Text) -> bool {
    history.header.alone || history.texts.text(text).starts_with(&history.header.tag)
}

/// Something that a node showed.
pub(super) struct Showing<'a> {
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
    pub(super) fates: &'a Fates,
    pub(super) record: &'a Record,
    pub(super) wording: &'a Wording<'a>,
    pub(super) findings: &'a mut Findings,
    /// Texts of which enough has been said already, by node if it was of a node.
    told: HashSet<(Option<usize>, Text)>,
    /// Entries that were compared.
    pub(super) compared: u64,
}

impl<'a> Contents<'a> {
    /// Texts that are explained are not told of again.
    pub(super) fn new(
        history: &'a History,
        fates: &'a Fates,
        record: &'a Record,
        wording: &'a Wording<'a>,
        findings: &'a mut Findings,
        explained: HashSet<Text>,
    ) -> Contents<'a> {
        let told = explained.into_iter().map(|text| (None, text)).collect();
        Contents { history, fates, record, wording, findings, told, compared: 0 }
    }

    /// Compares one. Gives the newest id that it shows of the log, if it shows any.
    pub(super) fn check(&mut self, showing: &Showing<'_>) -> Option<u64> {
        let is_ordered = self.ids_ascend(showing);
        let mut newest = None;
        for &(id, text) in showing.entries {
            self.compared += 1;
            let is_of_the_log = self.record.at(id) == Some(text);
            self.entry(showing, id, text, is_of_the_log);
            if is_of_the_log {
                newest = newest.max(Some(id));
            }
        }
        if is_ordered {
            self.nothing_is_left_out(showing, newest);
        }
        newest
    }

    fn ids_ascend(&mut self, showing: &Showing<'_>) -> bool {
        let descent = showing.entries.windows(2).find(|pair| pair[0].0 >= pair[1].0);
        let early = showing.entries.first().filter(|(id, _)| *id < showing.from);
        let number = showing.entries.len() as u64;
        let sentence = match (descent, early, showing.limit) {
            (Some(pair), ..) => format!("id {} comes after id {}", pair[1].0, pair[0].0),
            (None, Some((id, _)), _) => format!("it was asked for ids from {} on, and shows id {id}", showing.from),
            (None, None, Some(limit)) if number > limit => {
                format!("it was asked for {limit} messages at most, and shows {number}")
            }
            (None, None, _) => return true,
        };
        let who = self.who(showing);
        self.add(Kind::Disorder, showing, None, format!("{who}: {sentence}"));
        false
    }

    fn entry(&mut self, showing: &Showing<'_>, id: u64, text: Text, is_of_the_log: bool) {
        let Some(fate) = self.fates.of(text) else {
            if is_ours(self.history, text) {
                self.once(None, Kind::FromNowhere, showing, text, |who, what| {
                    format!("{who} shows id {id} {what}, which nobody wrote")
                });
                return;
            }
            if !is_of_the_log {
                self.differs(showing, id, text);
            }
            return;
        };
        match fate.told {
            Told::Refused { line, at } => self.refused(showing, id, text, line, at),
            _ if is_of_the_log => {}
            _ if self.record.at(id).is_some() || self.record.place(text).is_some() => self.differs(showing, id, text),
            // That it is lost is told already.
            Told::Committed(_) => {}
            Told::Unknown => self.once(Some(showing.node), Kind::Unshown, showing, text, |who, what| {
                format!("{who} shows id {id} {what}, which no node shows in the end")
            }),
        }
    }

    fn refused(&mut self, showing: &Showing<'_>, id: u64, text: Text, refusal: usize, told: Micros) {
        if !self.told.insert((Some(showing.node), text)) {
            return;
        }
        let (who, what, told) = (self.who(showing), self.wording.text(text), self.wording.time(told));
        let sentence = format!("{who} shows id {id} {what}, which was refused at {told}");
        self.add(Kind::RefusedShown, showing, Some(refusal), sentence);
    }

    fn differs(&mut self, showing: &Showing<'_>, id: u64, text: Text) {
        let log = match (self.record.at(id), self.record.place(text)) {
            (Some(other), _) => format!("in the log, that is {}", self.wording.text(other)),
            (None, Some(place)) => format!("in the log, that is id {place}"),
            (None, None) => "which is not in the log".to_owned(),
        };
        self.once(Some(showing.node), Kind::Differs, showing, text, |who, what| {
            format!("{who} shows id {id} {what}; {log}")
        });
    }

    /// The log has no entry between those that are shown that is not shown.
    fn nothing_is_left_out(&mut self, showing: &Showing<'_>, newest: Option<u64>) {
        let through = if showing.is_final { Some(u64::MAX) } else { newest };
        let Some(through) = through else { return };
        let expected = self.record.range(showing.from.max(self.history.header.first), through);
        let mut shown = showing.entries.iter().map(|(id, _)| *id).peekable();
        let mut left_out = expected.iter().filter(|(id, _)| {
            while shown.next_if(|shown| shown < id).is_some() {}
            shown.peek() != Some(id)
        });
        let Some(&(id, text)) = left_out.next() else { return };
        let more = match left_out.count() {
            0 => String::new(),
            number => format!(" and {number} more"),
        };
        let (who, what) = (self.who(showing), self.wording.text(text));
        let (kind, before, why) = match (showing.is_final, self.fates.of(text).map(|fate| fate.told)) {
            (true, Some(Told::Committed(told))) => {
                (Kind::Lost, Some(told.line), format!("which was acknowledged at {}", self.wording.time(told.at)))
            }
            (true, _) => (Kind::Differs, None, "which another node shows".to_owned()),
            (false, _) => (Kind::Gap, None, "and shows later ids".to_owned()),
        };
        self.add(kind, showing, before, format!("{who} does not show id {id} {what}{more}, {why}"));
    }

    fn once(
        &mut self,
        node: Option<usize>,
        kind: Kind,
        showing: &Showing<'_>,
        text: Text,
        sentence: impl FnOnce(&str, &str) -> String,
    ) {
        if self.told.contains(&(None, text)) || !self.told.insert((node, text)) {
            return;
        }
        let (who, what) = (self.who(showing), self.wording.text(text));
        self.add(kind, showing, None, sentence(&who, &what));
    }

    fn who(&self, showing: &Showing<'_>) -> String {
        let when = if showing.is_final { "in the end".to_owned() } else { self.wording.time(showing.at) };
        format!("{} ({when})", self.wording.node(showing.node))
    }

    /// Proved by the line of what was shown, and by one before it if that matters.
    fn add(&mut self, kind: Kind, showing: &Showing<'_>, before: Option<usize>, sentence: String) {
        let lines = before.into_iter().chain([showing.line]).collect();
        self.findings.add(Finding { kind, node: Some(showing.node), at: showing.at, lines, sentence });
    }
}
