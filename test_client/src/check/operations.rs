//! What became of each write, as far as the answers say.
//!
//! A write may have been posted several times under one key. What can be concluded from all answers together:
//!
//! - *Committed*, if any answer says so. The first such answer counts; others must name the same id.
//! - *Refused*, if every attempt was refused. A refusal speaks of its own request. One with status 502 speaks of
//!   earlier attempts, too: the master looked for the key, and there was nothing under it, or it refused what there was.
//!   It cannot speak of a request that may still be on its way, so an attempt whose client gave up waiting stays open.
//! - *Unknown* otherwise: it may be in the log, once, or not.

use super::violations::{Kind, Violations, quoted, seconds};
use crate::history::{Fault, History, Micros, Outcome, Write};
use std::collections::HashMap;

/// The status that says that a write was tried and refused.
const REFUSED: u16 = 502;

/// A write, and what is known of it.
pub(super) struct Operation<'a> {
    pub(super) texts: Vec<&'a str>,
    /// The line of its first attempt.
    pub(super) line: usize,
    /// When it was first sent.
    pub(super) call: Micros,
    pub(super) conclusion: Conclusion,
    /// When it was first known to be on every node, by an answer that says so.
    pub(super) everywhere: Option<Micros>,
    /// Attempts that were answered definitely.
    pub(super) answers: usize,
}

/// What the answers come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Conclusion {
    Committed(Acknowledgement),
    Refused { line: usize, at: Micros },
    Unknown,
}

/// The first answer that says that it is in the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Acknowledgement {
    /// The id of its first message.
    pub(super) first: u64,
    pub(super) at: Micros,
    pub(super) line: usize,
}

/// All writes.
pub(super) struct Operations<'a> {
    pub(super) all: Vec<Operation<'a>>,
    of_text: HashMap<&'a str, usize>,
}

impl<'a> Operations<'a> {
    /// Puts attempts at one write together. Finds answers that contradict each other.
    pub(super) fn gather(history: &'a History, violations: &mut Violations) -> Operations<'a> {
        let mut attempts: Vec<Vec<(usize, &Write)>> = Vec::new();
        let mut of_key: HashMap<&str, usize> = HashMap::new();
        for (line, write) in &history.writes {
            let index = match &write.key {
                Some(key) => *of_key.entry(key).or_insert(attempts.len()),
                None => attempts.len(),
            };
            if index == attempts.len() {
                attempts.push(Vec::new());
            }
            attempts[index].push((*line, write));
        }
        let nodes = history.header.nodes.len() as u64;
        let is_removed = |(_, fault): &(usize, Fault)| matches!(&*fault.class, "members" | "failover");
        // How many copies `all` and `majority` mean is known only if the run started the nodes and removed none.
        let members = (history.header.alone && !history.faults.iter().any(is_removed)).then_some(nodes);
        let mut operations = Operations { all: Vec::with_capacity(attempts.len()), of_text: HashMap::new() };
        for mut attempts in attempts {
            attempts.sort_by_key(|(_, write)| write.returned);
            check_answers(&attempts, violations);
            check_copies(&attempts, members, violations);
            let operation = Operation::of(&attempts, nodes);
            for text in &operation.texts {
                operations.of_text.insert(*text, operations.all.len());
            }
            operations.all.push(operation);
        }
        operations
    }

    /// The write that a text belongs to, if a client wrote it.
    pub(super) fn of(&self, text: &str) -> Option<&Operation<'a>> {
        self.of_text.get(text).map(|index| &self.all[*index])
    }
}

impl<'a> Operation<'a> {
    /// Of attempts in the order in which they returned.
    fn of(attempts: &[(usize, &'a Write)], nodes: u64) -> Operation<'a> {
        let (line, first) = attempts.iter().min_by_key(|(_, write)| write.call).expect("at least one attempt");
        Operation {
            texts: first.texts.iter().map(|text| &**text).collect(),
            line: *line,
            call: first.call,
            conclusion: conclusion(attempts),
            everywhere: everywhere(attempts, nodes),
            answers: attempts.iter().filter(|(_, write)| !is_unknown(write)).count(),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.conclusion, Conclusion::Refused { .. })
    }
}

fn is_unknown(write: &Write) -> bool {
    matches!(write.outcome, Outcome::Unknown { .. })
}

fn conclusion(attempts: &[(usize, &Write)]) -> Conclusion {
    let committed = attempts.iter().find_map(|(line, write)| match write.outcome {
        Outcome::Committed { first, .. } => Some(Acknowledgement { first, at: write.returned, line: *line }),
        _ => None,
    });
    if let Some(acknowledgement) = committed {
        return Conclusion::Committed(acknowledgement);
    }
    let latest = attempts.iter().rev().find(|(_, write)| matches!(write.outcome, Outcome::Refused { .. }));
    match latest {
        Some((line, write)) if attempts.iter().all(|(_, attempt)| is_settled(attempt, attempts)) => {
            Conclusion::Refused { line: *line, at: write.returned }
        }
        _ => Conclusion::Unknown,
    }
}

/// Whether an attempt of a write that was never acknowledged is certain to have come to nothing.
fn is_settled(attempt: &Write, attempts: &[(usize, &Write)]) -> bool {
    match attempt.outcome {
        Outcome::Committed { .. } => false,
        Outcome::Refused { .. } => true,
        Outcome::Unknown { gave_up: true, .. } => false,
        Outcome::Unknown { gave_up: false, .. } => attempts.iter().any(|(_, later)| {
            matches!(later.outcome, Outcome::Refused { status: Some(REFUSED), .. }) && later.call > attempt.returned
        }),
    }
}

/// When the first attempt said that every node has it, if it was asked for that. Other answers speak of copies that may
/// have been made, and counted, in another order.
fn everywhere(attempts: &[(usize, &Write)], nodes: u64) -> Option<Micros> {
    let (_, only) = attempts.iter().min_by_key(|(_, write)| write.call)?;
    let asked = only.w.as_deref().is_none_or(|w| w == "all" || w.parse().is_ok_and(|w: u64| w >= nodes));
    match only.outcome {
        Outcome::Committed { copies, in_time: true, replayed: false, .. } if asked && copies >= nodes => {
            Some(only.returned)
        }
        _ => None,
    }
}

/// Two answers that say committed name one id; and what was committed is never refused as a whole afterwards.
fn check_answers(attempts: &[(usize, &Write)], violations: &mut Violations) {
    let Conclusion::Committed(acknowledgement) = conclusion(attempts) else { return };
    let (text, id) = (quoted(&attempts[0].1.texts[0]), acknowledgement.first);
    for (line, write) in attempts {
        let said = match write.outcome {
            Outcome::Committed { first, .. } if first != id => format!("as id {first}"),
            Outcome::Refused { status: Some(REFUSED), .. } if write.call > acknowledgement.at => {
                "as refused".to_owned()
            }
            _ => continue,
        };
        let (first, second) = (seconds(acknowledgement.at), seconds(write.returned));
        let sentence =
            format!("{text} was acknowledged as id {id} at {first}, and under the same key {said} at {second}");
        violations.add(Kind::KeyTwice, None, write.returned, vec![acknowledgement.line, *line], sentence);
    }
}

/// A 201 counts at least the copies that the write asked for. The answer to a repeated post is left out: it gives the
/// count of another time.
fn check_copies(attempts: &[(usize, &Write)], members: Option<u64>, violations: &mut Violations) {
    for (line, write) in attempts {
        let Outcome::Committed { copies, in_time: true, replayed: false, .. } = write.outcome else { continue };
        let wanted = match write.w.as_deref() {
            Some("majority") => members.map(|members| members / 2 + 1),
            Some("all") | None => members,
            Some(number) => number.parse().ok(),
        };
        if let Some(wanted) = wanted.filter(|wanted| copies < *wanted) {
            let (text, at) = (quoted(&write.texts[0]), write.returned);
            let sentence = format!(
                "{text} was acknowledged at {} with {copies} of {wanted} copies that it asked for",
                seconds(at)
            );
            violations.add(Kind::Short, None, at, vec![*line], sentence);
        }
    }
}
