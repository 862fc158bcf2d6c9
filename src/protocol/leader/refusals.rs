//! Refusals that are durable on the master and not decided yet, and who else holds them.
//!
//! A refusal is *safe* when a majority of the voters holds it durably: then no later master can commit what was refused.
//! Only a safe refusal is answered to its client, and the high watermark passes no other. If promotion is off, the master
//! alone is a majority, and every refusal is safe at once.

use crate::protocol::{Id, MemberId, Time};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Refusals {
    by_id: BTreeMap<Id, Refused>,
    /// Batches that were stored since the start.
    stored: u64,
    /// Writes whose refusal is stored and not safe, each with the time at which its clients stop waiting for that; `None`
    /// once they have.
    waiting: BTreeMap<Id, Option<Time>>,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Refused {
    /// The batch that stored it.
    batch: u64,
    held_by: BTreeSet<MemberId>,
}

impl Refusals {
    /// What was found at the start.
    pub(super) fn found(ids: BTreeSet<Id>) -> Refusals {
        let by_id = ids.into_iter().map(|id| (id, Refused::default())).collect();
        Refusals { by_id, ..Refusals::default() }
    }

    /// These are stored now, too, as one batch.
    pub(super) fn store(&mut self, ids: impl IntoIterator<Item = Id>) {
        self.stored += 1;
        let batch = self.stored;
        self.by_id.extend(ids.into_iter().map(|id| (id, Refused { batch, held_by: BTreeSet::new() })));
    }

    /// How many batches were stored: a call that is made now carries them all.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    pub(super) fn contains(&self, id: Id) -> bool {
        self.by_id.contains_key(&id)
    }

    /// A refusal is decided.
    pub(super) fn remove(&mut self, id: Id) {
        self.by_id.remove(&id);
    }

    /// A secondary has acknowledged a call that carried ids up to `sent`, and the refusals of so many batches.
    pub(super) fn acknowledged(&mut self, member: MemberId, batches: u64, sent: Id) {
        for (_, refused) in self.by_id.range_mut(..=sent).filter(|(_, refused)| refused.batch <= batches) {
            refused.held_by.insert(member);
        }
    }

    /// It is not known any more what a secondary holds.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.by_id.values_mut().for_each(|refused| {
            refused.held_by.remove(&member);
        });
    }

    /// Whether a secondary holds all refusals up to an id.
    pub(super) fn are_held_by(&self, member: MemberId, through: Id) -> bool {
        self.by_id.range(..=through).all(|(_, refused)| refused.held_by.contains(&member))
    }

    /// The secondaries that hold a refusal.
    pub(super) fn holders(&self, id: Id) -> Option<&BTreeSet<MemberId>> {
        self.by_id.get(&id).map(|refused| &refused.held_by)
    }

    /// The clients of a write wait until this time for its refusal to be safe; `None` if they do not wait any more.
    pub(super) fn wait(&mut self, last: Id, until: Option<Time>) {
        self.waiting.insert(last, until);
    }

    /// The writes whose refusal is not safe, by their last ids, and until when their clients wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Id, Option<Time>)> + '_ {
        self.waiting.iter().map(|(&last, &until)| (last, until))
    }

    /// Whether the clients of a write have stopped waiting for its refusal to be safe.
    pub(super) fn is_given_up(&self, last: Id) -> bool {
        self.waiting.get(&last) == Some(&None)
    }

    /// A write waits no more.
    pub(super) fn settled(&mut self, last: Id) {
        self.waiting.remove(&last);
    }
}
