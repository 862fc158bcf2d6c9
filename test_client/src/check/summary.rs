//! What a history contains, and so how much the verdict is worth.

use super::operations::{Conclusion, Operations};
use super::recency::Reply;
use super::reference::ReferenceLog;
use crate::history::{History, Micros, Outcome, ReadMode};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// A client that waited longer than this was kept waiting.
const SLOW: Micros = 250_000;

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Attempts to write, and reads.
    pub(super) operations: u64,
    pub(super) seconds: f64,
    /// Messages by the conclusion from all answers.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    /// Messages of unknown outcome that are in the log.
    pub(super) unknown_in_log: u64,
    /// Attempts without a definite answer.
    pub(super) unknown_attempts: u64,
    pub(super) batches: u64,
    /// Writes with two definite answers or more.
    pub(super) repeated: u64,
    /// Messages in the log that others wrote.
    pub(super) foreign: u64,
    pub(super) in_log: u64,
    /// For each node and way of reading.
    pub(super) reads: Vec<BTreeMap<&'static str, ReadCounts>>,
    pub(super) faults: BTreeMap<String, FaultCounts>,
    /// Why nothing can be said of some promise.
    pub(super) not_judged: Vec<String>,
}

/// The reads of one kind at one node.
#[derive(Debug, Default, Serialize)]
pub(super) struct ReadCounts {
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// The node said that they may be stale.
    pub(super) stale: u64,
    /// They showed something that this node had not shown to any reader.
    pub(super) with_news: u64,
}

/// The faults of one class.
#[derive(Debug, Default, Serialize)]
pub(super) struct FaultCounts {
    pub(super) count: u64,
    /// How many met something: they counted so themselves, or a client was refused, kept waiting, left without an
    /// answer or told that it may be stale while they lasted.
    pub(super) met: u64,
}

impl Summary {
    pub(super) fn of(
        history: &History,
        operations: &Operations<'_>,
        reference: &ReferenceLog<'_>,
        replies: &[Reply<'_>],
    ) -> Summary {
        let mut summary = Summary {
            operations: (history.writes.len() + history.reads.len()) as u64,
            seconds: history.end.at as f64 / 1e6,
            in_log: reference.entries().len() as u64,
            foreign: reference.entries().iter().filter(|(_, text)| operations.of(text).is_none()).count() as u64,
            ..Summary::default()
        };
        summary.count_writes(history, operations, reference);
        summary.count_reads(history, replies);
        summary.count_faults(history);
        summary.doubt(history, reference);
        summary
    }

    fn count_writes(&mut self, history: &History, operations: &Operations<'_>, reference: &ReferenceLog<'_>) {
        let is_unknown = |outcome: &Outcome| matches!(outcome, Outcome::Unknown { .. });
        self.unknown_attempts = history.writes.iter().filter(|(_, write)| is_unknown(&write.outcome)).count() as u64;
        for operation in &operations.all {
            let messages = operation.texts.len() as u64;
            self.batches += u64::from(messages > 1);
            self.repeated += u64::from(operation.answers > 1);
            match operation.conclusion {
                Conclusion::Committed(_) => self.acknowledged += messages,
                Conclusion::Refused { .. } => self.refused += messages,
                Conclusion::Unknown => {
                    self.unknown += messages;
                    let in_log = |text: &&&str| reference.place(text).is_some();
                    self.unknown_in_log += operation.texts.iter().filter(in_log).count() as u64;
                }
            }
        }
    }

    fn count_reads(&mut self, history: &History, replies: &[Reply<'_>]) {
        self.reads = history.header.nodes.iter().map(|_| BTreeMap::new()).collect();
        for (_, read) in &history.reads {
            let of_kind: &mut ReadCounts = self.reads[read.node].entry(read.how.word()).or_default();
            of_kind.failed += u64::from(read.failed.is_some());
            of_kind.answered += u64::from(read.failed.is_none());
            of_kind.stale += u64::from(read.stale);
        }
        let mut in_time: Vec<&Reply<'_>> = replies.iter().collect();
        in_time.sort_by_key(|reply| reply.read.returned);
        let mut shown = vec![0; history.header.nodes.len()];
        for reply in in_time {
            let newest = reply.newest.unwrap_or(0);
            if newest > shown[reply.read.node] {
                shown[reply.read.node] = newest;
                self.reads[reply.read.node].entry(reply.read.how.word()).or_default().with_news += 1;
            }
        }
    }

    fn count_faults(&mut self, history: &History) {
        let was_harmed = |outcome: &Outcome| !matches!(outcome, Outcome::Committed { in_time: true, .. });
        let writes = history.writes.iter().map(|(_, write)| (write.call, write.returned, was_harmed(&write.outcome)));
        let reads = history.reads.iter().filter(|(_, read)| read.how != ReadMode::Follow);
        let reads = reads.map(|(_, read)| (read.call, read.returned, read.failed.is_some() || read.stale));
        let harmed = writes.chain(reads).filter(|(call, returned, harmed)| *harmed || returned - call > SLOW);
        let mut harmed: Vec<Micros> = harmed.map(|(_, returned, _)| returned).collect();
        harmed.sort_unstable();
        for (_, fault) in &history.faults {
            let first = harmed.partition_point(|at| *at < fault.begin);
            let met = fault.hits.map_or_else(|| harmed.get(first).is_some_and(|at| *at <= fault.end), |hits| hits > 0);
            let of_class = self.faults.entry(fault.class.clone()).or_default();
            of_class.count += 1;
            of_class.met += u64::from(met);
        }
    }

    /// What could not be judged, and why.
    fn doubt(&mut self, history: &History, reference: &ReferenceLog<'_>) {
        let mut doubts = Vec::new();
        if reference.is_final {
            let asked: HashSet<usize> = history.finals.iter().map(|(_, shown)| shown.node).collect();
            let names = history.header.nodes.iter().enumerate();
            let missing: Vec<&str> = names.filter(|(node, _)| !asked.contains(node)).map(|(_, name)| &**name).collect();
            if !missing.is_empty() {
                doubts.push(format!("the log in the end of {}: it could not be read", missing.join(", ")));
            }
        } else {
            doubts.push("whether anything was lost: no node could be read in the end".to_owned());
        }
        for (number, what) in [
            (self.acknowledged, "whether a 201 is kept: nothing was acknowledged"),
            (self.refused, "whether a refusal is kept: nothing was refused"),
            (self.unknown_attempts, "what unknown outcomes come to: every write was answered"),
            (self.repeated, "whether a key writes once: no write had two answers"),
            (history.faults.len() as u64, "what faults do: there were none"),
        ] {
            if number == 0 {
                doubts.push(what.to_owned());
            }
        }
        self.doubt_reads(history, &mut doubts);
        if self.foreign > 0 {
            doubts.push(format!("{} messages of others, but for their order", self.foreign));
        }
        self.not_judged = doubts;
    }

    fn doubt_reads(&self, history: &History, doubts: &mut Vec<String>) {
        for (node, of_node) in history.header.nodes.iter().zip(&self.reads) {
            for how in [ReadMode::Usual, ReadMode::Strong] {
                let answered = of_node.get(how.word()).map_or(0, |reads| reads.answered - reads.stale);
                if answered == 0 {
                    doubts.push(format!("{} reads of {node}: none was answered for sure", how.word()));
                }
            }
        }
    }
}
