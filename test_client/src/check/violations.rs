//! What was promised and not kept, in sentences; and how these name things.

use crate::history::{History, Micros};
use crate::output::visible;
use serde::Serialize;
use std::collections::BTreeMap;

/// Sentences that are kept of each kind. One fault of a node can show in thousands of replies; all are counted.
const SENTENCES_MAX: usize = 20;

/// The promises, in the order in which they are reported.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Promise {
    Kept,
    Refused,
    OneOrder,
    Grows,
    Current,
    Strong,
    Keys,
    Back,
}

/// What scripts call each promise, what it says in a few words, and what is counted of it.
pub(super) const PROMISES: [(Promise, &str, &str, &str); 8] = [
    (Promise::Kept, "kept", "A 201 is kept, at its id", "acknowledged messages"),
    (Promise::Refused, "refused", "A refusal is kept", "refused messages"),
    (Promise::OneOrder, "one_order", "One order, in real time", "entries shown"),
    (Promise::Grows, "grows", "What a node showed, it keeps showing", "replies"),
    (Promise::Current, "current", "A read shows what every node has", "usual reads"),
    (Promise::Strong, "strong", "A strong read shows everything", "strong reads"),
    (Promise::Keys, "keys", "A key writes once", "writes that were posted again"),
    (Promise::Back, "back", "After every fault it comes back", "runs"),
];

/// The ways to break them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Acknowledged, and not there.
    Lost,
    /// Acknowledged under another id, or with another text.
    Changed,
    /// Acknowledged with fewer copies than were asked for.
    Short,
    /// Refused, and shown.
    RefusedShown,
    /// One id with two texts, or a node that lacks what others have.
    Differs,
    /// The ids of a reply do not ascend, or are not those that were asked for.
    Disorder,
    /// A reply leaves out an id in the middle.
    Gap,
    /// One text under two ids.
    Duplicate,
    /// A text that no client wrote.
    FromNowhere,
    /// A part of a batch, or something in between.
    Torn,
    /// A write has a lower id than what was there before it was sent.
    OutOfOrder,
    /// A node does not show what it showed before.
    Unshown,
    /// A usual read lacks what was acknowledged by every node before.
    Stale,
    /// A strong read lacks what was acknowledged, or shown to any reader, before.
    StaleStrong,
    /// Two answers to one key contradict each other.
    KeyTwice,
    /// The cluster did not come back.
    NotBack,
}

impl Kind {
    /// The promise that it breaks.
    pub(super) fn promise(self) -> Promise {
        match self {
            Kind::Lost | Kind::Changed | Kind::Short => Promise::Kept,
            Kind::RefusedShown => Promise::Refused,
            Kind::Differs
            | Kind::Disorder
            | Kind::Gap
            | Kind::Duplicate
            | Kind::FromNowhere
            | Kind::Torn
            | Kind::OutOfOrder => Promise::OneOrder,
            Kind::Unshown => Promise::Grows,
            Kind::Stale => Promise::Current,
            Kind::StaleStrong => Promise::Strong,
            Kind::KeyTwice => Promise::Keys,
            Kind::NotBack => Promise::Back,
        }
    }
}

/// One violation.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Violation {
    pub(super) kind: Kind,
    /// The node that showed it, by its place in the header.
    pub(super) node: Option<usize>,
    pub(super) at: Micros,
    /// The lines of the history that prove it.
    pub(super) lines: Vec<usize>,
    pub(super) sentence: String,
}

/// All violations.
#[derive(Debug, Default)]
pub(super) struct Violations {
    kept: Vec<Violation>,
    counts: BTreeMap<Kind, u64>,
}

impl Violations {
    pub(super) fn add(&mut self, kind: Kind, node: Option<usize>, at: Micros, lines: Vec<usize>, sentence: String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= SENTENCES_MAX as u64 {
            self.kept.push(Violation { kind, node, at, lines, sentence });
        }
    }

    /// The first ones of each kind.
    pub(super) fn kept(&self) -> &[Violation] {
        &self.kept
    }

    pub(super) fn count(&self, promise: Promise) -> u64 {
        self.counts.iter().filter(|(kind, _)| kind.promise() == promise).map(|(_, count)| count).sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The kinds that were found.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.counts.keys().copied().collect()
    }
}

/// Longest piece of a text that is shown.
const CHARACTERS_MAX: usize = 60;

/// A text in quotation marks, on one line, shortened.
pub(super) fn quoted(text: &str) -> String {
    let piece: String = text.chars().take(CHARACTERS_MAX).collect();
    let rest = if piece.len() < text.len() { "…" } else { "" };
    format!("\"{}{rest}\"", visible(&piece).replace('"', "\\\""))
}

pub(super) fn node_name(history: &History, node: usize) -> String {
    visible(&history.header.nodes[node])
}

pub(super) fn seconds(at: Micros) -> String {
    format!("{:.3} s", at as f64 / 1e6)
}
