//! What was promised and not kept, in sentences.

use crate::history::Micros;
use serde::Serialize;

/// Sentences that are kept of each kind. One fault of a node can show in thousands of replies; all are counted.
const SENTENCES_MAX: usize = 20;

/// The promises, in the order in which they are told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Promise {
    Kept,
    Refused,
    OneOrder,
    Grows,
    Current,
    Strong,
    Keys,
    Back,
}

impl Promise {
    pub(crate) const ALL: [Promise; 8] = [
        Promise::Kept,
        Promise::Refused,
        Promise::OneOrder,
        Promise::Grows,
        Promise::Current,
        Promise::Strong,
        Promise::Keys,
        Promise::Back,
    ];

    /// The promise in a few words, and what was counted.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Promise::Kept => ("A 201 is kept, at its id", "acknowledged messages"),
            Promise::Refused => ("A refusal is kept", "refused messages"),
            Promise::OneOrder => ("One order, in real time", "entries shown"),
            Promise::Grows => ("What a node showed, it keeps showing", "replies"),
            Promise::Current => ("A read shows what every node has", "usual reads"),
            Promise::Strong => ("A strong read shows everything", "strong reads"),
            Promise::Keys => ("A key writes once", "writes that were posted again"),
            Promise::Back => ("After every fault it comes back", "runs"),
        }
    }

    /// What scripts call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Promise::Kept => "kept",
            Promise::Refused => "refused",
            Promise::OneOrder => "one_order",
            Promise::Grows => "grows",
            Promise::Current => "current",
            Promise::Strong => "strong",
            Promise::Keys => "keys",
            Promise::Back => "back",
        }
    }
}

/// The ways to break them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Acknowledged, and not there.
    Lost,
    /// Acknowledged under another id, or with another text.
    Changed,
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
    /// A text that nobody wrote.
    FromNowhere,
    /// A part of a batch, or something in between.
    Torn,
    /// A write has a lower id than what was there before it was sent.
    OutOfOrder,
    /// A node does not show what it showed before.
    Unshown,
    /// A usual read lacks what was acknowledged by every node before.
    Stale,
    /// A strong read lacks what was acknowledged, or shown to anybody, before.
    StaleStrong,
    /// Two answers to one key contradict each other.
    KeyTwice,
    /// The cluster did not come back.
    NotBack,
}

impl Kind {
    /// The promise that it breaks.
    pub(crate) fn promise(self) -> Promise {
        match self {
            Kind::Lost | Kind::Changed => Promise::Kept,
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
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// The node that showed it, by its place in the header.
    pub(crate) node: Option<usize>,
    pub(crate) at: Micros,
    /// The lines of the history that prove it.
    pub(crate) lines: Vec<usize>,
    pub(crate) sentence: String,
}

/// All violations.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    kept: Vec<Violation>,
    counts: std::collections::BTreeMap<Kind, u64>,
}

impl Violations {
    pub(super) fn add(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.kind).or_default();
        *count += 1;
        if *count <= SENTENCES_MAX as u64 {
            self.kept.push(violation);
        }
    }

    /// The first ones of each kind.
    pub(crate) fn kept(&self) -> &[Violation] {
        &self.kept
    }

    pub(crate) fn count(&self, promise: Promise) -> u64 {
        self.counts.iter().filter(|(kind, _)| kind.promise() == promise).map(|(_, count)| count).sum()
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The kinds that were found.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.counts.keys().copied().collect()
    }
}
