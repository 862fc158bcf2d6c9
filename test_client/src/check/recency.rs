//! How far replies reach, and in which order writes came: what has to do with time.
//!
//! Every rule here has one form: something was known before something else began, so the latter has to respect it. For
//! that, what became known is sorted by when it did, with the greatest id so far beside it; the greatest id that was
//! known before a moment is then one search away. That is O(n log n) for all rules together.
//!
//! **Why pairs are enough.** Let the master's log become visible entry by entry, in the order of ids. An entry has a
//! moment when it does: not before its write was called, not after its acknowledgement returned, nor after the return
//! of any reply that shows it or a later entry; and not before the call of a strong read that was answered in full
//! without it. Give each entry the earliest moment that respects the calls of all entries up to it. If that is too late
//! for some entry, then something that had to come before was called after something that had to come later had
//! returned: a pair that one of these rules names. The replies of one node can likewise be given the earliest moments
//! in the order of what they show, and fail only by a pair. So if no rule finds anything, there is a run of a correct
//! cluster with this history, and if there is none, some rule finds why. An exhaustive search for such a run agrees
//! on thousands of small histories; see the tests.

use super::operations::{Conclusion, Operation, Operations};
use super::reference::ReferenceLog;
use super::violations::{Kind, Violations, node_name, quoted, seconds};
use crate::history::{History, Micros, Read, ReadMode};

/// An id that was known to be visible at a time, and the line that says so.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Micros,
    id: u64,
    line: usize,
}

/// The greatest id that was known at any time.
#[derive(Default)]
struct Known(Vec<Mark>);

impl Known {
    fn new(mut marks: Vec<Mark>) -> Known {
        marks.sort_unstable_by_key(|mark| mark.at);
        for index in 1..marks.len() {
            let before = marks[index - 1];
            if before.id > marks[index].id {
                marks[index] = Mark { at: marks[index].at, ..before };
            }
        }
        Known(marks)
    }

    /// The greatest id that was known before a time.
    fn before(&self, time: Micros) -> Option<Mark> {
        let after = self.0.partition_point(|mark| mark.at < time);
        after.checked_sub(1).map(|index| self.0[index])
    }
}

/// How many replies the rules applied to.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) grows: u64,
    pub(super) current: u64,
    pub(super) strong: u64,
}

/// A reply, and the newest id that it shows of the log.
pub(super) struct Reply<'a> {
    pub(super) line: usize,
    pub(super) read: &'a Read,
    pub(super) newest: Option<u64>,
}

/// Checks everything that has to do with time.
pub(super) fn check(
    history: &History,
    operations: &Operations<'_>,
    reference: &ReferenceLog<'_>,
    replies: &[Reply<'_>],
    violations: &mut Violations,
) -> Applied {
    let shown = |reply: &Reply<'_>| {
        let at = reply.read.returned;
        reply.newest.map(|id| Mark { at, id, line: reply.line })
    };
    let of_node = |node| replies.iter().filter(|reply| reply.read.node == node).filter_map(shown).collect();
    let nodes = (0..history.header.nodes.len()).map(|node| Known::new(of_node(node))).collect();
    let anything = acknowledged(operations, reference).chain(replies.iter().filter_map(shown)).collect();
    let rules = Rules {
        nodes,
        everywhere: Known::new(everywhere(operations, reference).collect()),
        anything: Known::new(anything),
        history,
    };
    rules.check_writes(operations, reference, violations);
    let mut applied = Applied::default();
    for reply in replies.iter().filter(|reply| reply.read.is_complete()) {
        rules.check_reply(reply, &mut applied, violations);
    }
    applied
}

/// The newest id of a write in the log.
fn newest(texts: &[&str], reference: &ReferenceLog<'_>) -> Option<u64> {
    texts.iter().filter_map(|text| reference.place(text)).max()
}

fn acknowledged<'a>(
    operations: &'a Operations<'_>,
    reference: &'a ReferenceLog<'_>,
) -> impl Iterator<Item = Mark> + 'a {
    operations.all.iter().filter_map(|operation| match operation.conclusion {
        Conclusion::Committed(acknowledged) => {
            Some(Mark { at: acknowledged.at, id: newest(&operation.texts, reference)?, line: acknowledged.line })
        }
        _ => None,
    })
}

fn everywhere<'a>(operations: &'a Operations<'_>, reference: &'a ReferenceLog<'_>) -> impl Iterator<Item = Mark> + 'a {
    let mark = |operation: &Operation<'_>| {
        Some(Mark { at: operation.everywhere?, id: newest(&operation.texts, reference)?, line: operation.line })
    };
    operations.all.iter().filter_map(mark)
}

struct Rules<'a> {
    /// What each node showed.
    nodes: Vec<Known>,
    /// What was acknowledged by every node.
    everywhere: Known,
    /// What was acknowledged at all, or shown by any node.
    anything: Known,
    history: &'a History,
}

impl Rules<'_> {
    /// A write has a higher id than everything that was acknowledged or shown before it was called. If it was shown
    /// itself before that, it is found here, too.
    fn check_writes(&self, operations: &Operations<'_>, reference: &ReferenceLog<'_>, violations: &mut Violations) {
        for operation in operations.all.iter().filter(|operation| !operation.is_refused()) {
            let oldest = operation.texts.iter().filter_map(|text| reference.place(text)).min();
            let (Some(id), Some(known)) = (oldest, self.anything.before(operation.call)) else { continue };
            if id > known.id {
                continue;
            }
            let (text, call) = (quoted(operation.texts[0]), seconds(operation.call));
            let sentence = format!(
                "{text} has id {id}, and was sent at {call}, after id {} had been acknowledged or shown",
                known.id
            );
            violations.add(Kind::OutOfOrder, None, operation.call, vec![known.line, operation.line], sentence);
        }
    }

    /// A reply that was asked for everything shows what it has to, or it says less than one that was there before.
    fn check_reply(&self, reply: &Reply<'_>, applied: &mut Applied, violations: &mut Violations) {
        let (read, node) = (reply.read, node_name(self.history, reply.read.node));
        let own = self.nodes[read.node].before(read.call);
        let strong = (read.how == ReadMode::Strong && !read.stale).then(|| self.anything.before(read.call)).flatten();
        let usual = (read.how == ReadMode::Usual && !read.stale).then(|| self.everywhere.before(read.call)).flatten();
        let rules = [
            (own, &mut applied.grows, Kind::Unshown, format!("which {node} had shown before")),
            (strong, &mut applied.strong, Kind::StaleStrong, "which had been acknowledged or shown before".to_owned()),
            (usual, &mut applied.current, Kind::Stale, "which every node had acknowledged before".to_owned()),
        ];
        let mut is_told = false;
        for (known, count, kind, why) in rules {
            let Some(known) = known else { continue };
            *count += 1;
            let is_missing = known.id >= read.from && reply.newest.is_none_or(|newest| newest < known.id);
            if !is_missing || is_told {
                continue;
            }
            is_told = true;
            let shows = reply.newest.map_or_else(|| "nothing".to_owned(), |id| format!("ids up to {id}"));
            let (from, how, at) = (read.from, read.how.word(), seconds(read.call));
            let sentence = format!(
                "{node} was asked at {at} ({how}, from id {from}), and shows {shows}, not id {}, {why}",
                known.id
            );
            violations.add(kind, Some(read.node), read.returned, vec![known.line, reply.line], sentence);
        }
    }
}

/// The replies of a history, with what each is known to show.
pub(super) fn replies<'a>(
    history: &'a History,
    mut newest: impl FnMut(usize, &'a Read) -> Option<u64>,
) -> Vec<Reply<'a>> {
    let answered = history.reads.iter().filter(|(_, read)| read.failed.is_none());
    answered.map(|(line, read)| Reply { line: *line, read, newest: newest(*line, read) }).collect()
}
