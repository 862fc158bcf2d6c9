//! The writes that are open on the master: without a decision, or with writers that still wait for copies.

use crate::protocol::{Entry, Id, MemberId, Time, WriteConcern};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::Arc;

/// A client that waits for the outcome of a write, as the owner of the [`super::Leader`] numbers them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// When a write that does not get its copies is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Expiry {
    /// As soon as a secondary that it needs leaves the rounds.
    FailFast,
    /// At this time, and not before.
    At(Time),
    /// Never: it was found undecided at the start and may have been acknowledged.
    Never,
}

/// The copies that a client asks for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Wanted {
    pub(super) concern: WriteConcern,
    /// "All" means the secondaries registered when the client asked, up to this one: a node that joins while the write
    /// is under way neither delays nor endangers it.
    pub(super) newest_member: MemberId,
}

/// A client that waits for a write.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) wanted: Wanted,
    /// Whether it posted again what an earlier post had appended.
    pub(super) is_repeat: bool,
    /// When it stops waiting, decided or not. Set only for writes that never expire.
    pub(super) until: Option<Time>,
}

/// A write of one message, or of several that have one outcome. Their ids follow each other.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Write {
    /// The id of its first message. The write is known by that of its last.
    pub(super) first: Id,
    pub(super) wanted: Wanted,
    pub(super) expiry: Expiry,
    /// It is being refused, so it cannot be committed any more.
    pub(super) refusing: bool,
    /// Its time is over, but it was sealed: its writer gets [`super::Outcome::CommittedShort`] once it is shown.
    pub(super) overdue: bool,
    /// Its messages; none if it was found at the start, because the store has them.
    pub(super) entries: Box<[Arc<Entry>]>,
    pub(super) waiters: Vec<Waiter>,
}

impl Write {
    /// A write that was found undecided at the start. With [`WriteConcern::All`] it needs every secondary, whichever were
    /// registered when it was written.
    pub(super) fn found(id: Id, concern: WriteConcern) -> Write {
        Write {
            first: id,
            wanted: Wanted { concern, newest_member: MemberId::new(u32::MAX) },
            expiry: Expiry::Never,
            refusing: false,
            overdue: false,
            entries: Box::new([]),
            waiters: Vec::new(),
        }
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
    /// How many clients wait for them.
    waiters: usize,
    /// When each write expires, and when each waiter with a deadline gives up.
    deadlines: BTreeSet<(Time, Id)>,
}

impl Writes {
    pub(super) fn insert(&mut self, last: Id, write: Write) {
        self.messages += last.since(write.first.previous());
        self.waiters += write.waiters.len();
        self.deadlines.extend(deadlines_of(last, &write));
        self.by_last.insert(last, write);
    }

    pub(super) fn remove(&mut self, last: Id) -> Option<Write> {
        let write = self.by_last.remove(&last)?;
        self.messages -= last.since(write.first.previous());
        self.waiters -= write.waiters.len();
        for deadline in deadlines_of(last, &write) {
            self.deadlines.remove(&deadline);
        }
        Some(write)
    }

    /// One more client waits for a write that is open.
    pub(super) fn wait(&mut self, last: Id, waiter: Waiter) {
        if let Some(write) = self.by_last.get_mut(&last) {
            write.waiters.push(waiter);
            self.waiters += 1;
            self.deadlines.extend(waiter.until.map(|until| (until, last)));
        }
    }

    /// Takes the clients that give up waiting for a write, and leaves the write open.
    pub(super) fn take_waiters(&mut self, last: Id, gives_up: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let Some(write) = self.by_last.get_mut(&last) else { return Vec::new() };
        let (gone, left): (Vec<Waiter>, Vec<Waiter>) = write.waiters.iter().partition(|waiter| gives_up(waiter));
        write.waiters = left;
        self.waiters -= gone.len();
        gone
    }

    /// Takes the writes with a deadline that has come.
    pub(super) fn due(&mut self, now: Time) -> Vec<Id> {
        let later = self.deadlines.split_off(&(now, Id::MAX));
        std::mem::replace(&mut self.deadlines, later).into_iter().map(|(_, last)| last).collect()
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn waiters(&self) -> usize {
        self.waiters
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

    /// The writes whose last message is in a range, in order.
    pub(super) fn range(&self, lasts: impl RangeBounds<Id>) -> impl DoubleEndedIterator<Item = (Id, &Write)> {
        self.by_last.range(lasts).map(|(&last, write)| (last, write))
    }

    /// Whether a message after an id, up to another, is open.
    pub(super) fn has_open(&self, after: Id, through: Id) -> bool {
        self.range(after.next()..).next().is_some_and(|(_, write)| write.first <= through)
    }

    /// The messages after an id, up to another, as far as they are in memory.
    pub(super) fn entries(&self, after: Id, through: Id) -> Arc<[Arc<Entry>]> {
        let writes = self.range(after.next()..).take_while(|(_, write)| write.first <= through);
        let entries = writes.flat_map(|(_, write)| write.entries.iter());
        entries.filter(|entry| after < entry.id && entry.id <= through).cloned().collect()
    }
}

fn deadlines_of(last: Id, write: &Write) -> impl Iterator<Item = (Time, Id)> {
    let expiry = if let Expiry::At(at) = write.expiry { Some(at) } else { None };
    expiry.into_iter().chain(write.waiters.iter().filter_map(|waiter| waiter.until)).map(move |at| (at, last))
}
