//! The writes whose fate is open, on the master.

use super::{Id, MemberId, WriteConcern};
use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// How a write takes the news that a secondary it needs is gone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Patience {
    /// It is refused at once.
    FailFast,
    /// It waits until its deadline, which its owner reports with [`super::Ledger::expire`].
    UntilDeadline,
    /// It waits for ever: found undecided at a start, it may have been acknowledged, and is never refused.
    Forever,
}

/// A write of one message, or of several that have one fate. Their ids follow each other.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Write {
    /// The id of its first message. It is known by that of its last.
    pub(super) first: Id,
    pub(super) concern: WriteConcern,
    /// "All" means the secondaries registered when the write came in, up to this one: a node that joins while it is
    /// under way neither delays nor endangers it.
    pub(super) newest_member: MemberId,
    pub(super) patience: Patience,
    /// Its refusal is on the way to the disk. It cannot be committed any more.
    pub(super) refusing: bool,
    /// Its time is over, but it was sealed: answered as [`super::Outcome::CommittedShort`] as soon as it is decided.
    pub(super) overdue: bool,
}

impl Write {
    pub(super) fn new(first: Id, concern: WriteConcern, newest_member: MemberId, patience: Patience) -> Write {
        Write { first, concern, newest_member, patience, refusing: false, overdue: false }
    }

    /// The ids of its messages, given the last.
    pub(super) fn ids(&self, last: Id) -> impl Iterator<Item = Id> + use<> {
        self.first.previous().until(last)
    }
}

/// The open writes, each under the id of its last message.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Writes {
    by_last: BTreeMap<Id, Write>,
    /// How many messages they have.
    messages: u64,
}

impl Writes {
    pub(super) fn insert(&mut self, last: Id, write: Write) {
        self.messages += last.since(write.first.previous());
        self.by_last.insert(last, write);
    }

    pub(super) fn remove(&mut self, last: Id) -> Option<Write> {
        let write = self.by_last.remove(&last)?;
        self.messages -= last.since(write.first.previous());
        Some(write)
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn get_mut(&mut self, last: Id) -> Option<&mut Write> {
        self.by_last.get_mut(&last)
    }

    /// The write that a message belongs to, and the id of its last message.
    pub(super) fn of(&self, id: Id) -> Option<(Id, &Write)> {
        self.range(id..).next().filter(|(_, write)| write.first <= id)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Id, &Write)> {
        self.range(..)
    }

    /// Those whose last message is in a range, in order.
    pub(super) fn range(&self, lasts: impl RangeBounds<Id>) -> impl DoubleEndedIterator<Item = (Id, &Write)> {
        self.by_last.range(lasts).map(|(&last, write)| (last, write))
    }
}
