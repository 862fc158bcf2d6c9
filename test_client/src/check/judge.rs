//! The verdict on a history.

use super::contents::{Contents, Observation};
use super::operations::Operations;
use super::recency;
use super::reference::ReferenceLog;
use super::summary::Summary;
use super::violations::{Kind, PROMISES, Promise, Violations};
use super::writes;
use crate::exit::Exit;
use crate::history::History;

/// What came of it.
pub(super) struct Verdict {
    pub(super) violations: Violations,
    /// How many things were checked for each promise, in the order of [`PROMISES`].
    pub(super) checked: [u64; PROMISES.len()],
    pub(super) summary: Summary,
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        self.violations.total() == 0
    }

    /// The exit code of a command that ends with it.
    pub(super) fn exit(&self) -> Exit {
        if self.is_good() { Exit::Success } else { Exit::Broken }
    }
}

/// Judges a history.
pub(super) fn judge(history: &History) -> Verdict {
    let mut violations = Violations::default();
    let operations = Operations::gather(history, &mut violations);
    let reference = ReferenceLog::build(history, &operations);
    let explained = writes::check(&operations, &reference, &mut violations);
    reference.check_duplicates(history, &mut violations);
    let mut contents = Contents {
        history,
        operations: &operations,
        reference: &reference,
        violations: &mut violations,
        reported: explained.into_iter().map(|text| (None, text)).collect(),
        compared: 0,
    };
    for (line, shown) in &history.finals {
        let (node, at, entries) = (shown.node, history.end.at, &shown.entries[..]);
        contents.check(&Observation {
            node,
            line: *line,
            at,
            from: history.header.first,
            limit: None,
            entries,
            is_final: true,
        });
    }
    let replies = recency::replies(history, |line, read| {
        let (node, at, entries) = (read.node, read.returned, &read.entries[..]);
        contents.check(&Observation { node, line, at, from: read.from, limit: read.limit, entries, is_final: false })
    });
    let compared = contents.compared;
    let applied = recency::check(history, &operations, &reference, &replies, &mut violations);
    check_end(history, &mut violations);
    let summary = Summary::of(history, &operations, &reference, &replies);
    let checked = PROMISES.map(|(promise, ..)| match promise {
        // Only the logs in the end show whether anything is missing.
        Promise::Kept if !reference.is_final => 0,
        Promise::Kept => summary.acknowledged,
        Promise::Refused => summary.refused,
        Promise::OneOrder => compared,
        Promise::Grows => applied.grows,
        Promise::Current => applied.current,
        Promise::Strong => applied.strong,
        Promise::Keys => summary.repeated,
        Promise::Back => 1,
    });
    Verdict { violations, checked, summary }
}

fn check_end(history: &History, violations: &mut Violations) {
    if let Some(why) = &history.end.not_back {
        let sentence = format!("the cluster did not come back: {why}");
        violations.add(Kind::NotBack, None, history.end.at, vec![history.end.lines], sentence);
    }
}
