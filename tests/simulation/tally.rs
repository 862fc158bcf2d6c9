//! The outcome of one seed, or of many.

use crate::world::checker::{Answer, Checker};
use std::fmt;

/// The outcome, and what happened on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The promise that was broken, in a sentence.
    pub(crate) broken: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    /// Packets that a cut link lost.
    pub(crate) lost: u64,
    /// Epochs that a candidate began.
    pub(crate) promotions: u64,
    messages: u64,
    committed: u64,
    short: u64,
    refused: u64,
    not_taken: u64,
    unknown: u64,
}

impl Outcome {
    /// The outcome of one seed that has just begun.
    pub(crate) fn of_one() -> Outcome {
        Outcome { seeds: 1, ..Outcome::default() }
    }

    pub(crate) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Committed { short: false, .. } => self.committed += 1,
            Answer::Committed { short: true, .. } => self.short += 1,
            Answer::Refused => self.refused += 1,
            Answer::NotTaken => self.not_taken += 1,
            Answer::Unknown => self.unknown += 1,
        }
    }

    pub(crate) fn count(&mut self, checker: &Checker) {
        self.messages += checker.acknowledged() as u64;
        self.promotions += checker.promotions() as u64;
    }

    pub(crate) fn add(&mut self, other: &Outcome) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.lost += other.lost;
        self.promotions += other.promotions;
        self.messages += other.messages;
        self.committed += other.committed;
        self.short += other.short;
        self.refused += other.refused;
        self.not_taken += other.not_taken;
        self.unknown += other.unknown;
    }

    /// Fails unless faults, successes and refusals occurred: without them a simulation proves nothing.
    pub(crate) fn assert_something_happened(&self) {
        let happened =
            [self.crashes, self.lost, self.committed, self.short, self.refused, self.not_taken, self.unknown];
        assert!(happened.iter().all(|&times| times > 0), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} seeds, {} steps; {} crashes, {} other faults, {} packets lost, {} promotions; {} messages acknowledged; \
             answers: {} committed, {} short of copies, {} refused, {} not taken, {} unknown",
            self.seeds,
            self.steps,
            self.crashes,
            self.faults,
            self.lost,
            self.promotions,
            self.messages,
            self.committed,
            self.short,
            self.refused,
            self.not_taken,
            self.unknown
        )
    }
}
