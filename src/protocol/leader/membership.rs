//! The secondaries of a leader, and how they together meet a write concern.

use super::progress::Progress;
use super::writes::{Wanted, Write};
use crate::protocol::{CopyId, Epoch, Id, MemberId, ReplicationState, Roster, WriteConcern};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a write concern cannot be met now.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Shortfall {
    /// Copies wanted, the master's included.
    pub wanted: usize,
    /// Nodes that can take part, the master included.
    pub available: usize,
    /// The secondaries that cannot take part.
    pub missing: Vec<MemberId>,
}

/// The secondaries, in the order of registration, and which of them vote.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Membership {
    members: BTreeMap<MemberId, Progress>,
    roster: Arc<Roster>,
    /// Copies that no registered node holds any more: their nodes were removed, or have lost their disks.
    gone: BTreeSet<CopyId>,
    /// The epoch of the leader.
    epoch: Epoch,
    /// Replication sessions so far, over all secondaries. One node may be registered under two addresses, and its
    /// sessions must rise across both.
    sessions: u64,
}

/// What a leader knows of the changes of its roster.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Voting {
    /// A roster is being stored.
    pub(super) is_storing: bool,
    /// Nodes have other names or addresses than the roster says.
    pub(super) is_renamed: bool,
    /// The high watermark when the change that is under way began: later decisions needed the voters after it, too.
    pub(super) decided: Id,
    /// The end of the log that has to be held before the change may end.
    pub(super) through: Id,
}

impl Voting {
    /// At the start, a change may be under way that the master before began.
    pub(super) fn at_start(decided: Id, last: Id) -> Voting {
        Voting { is_storing: false, is_renamed: false, decided, through: last }
    }
}

impl Membership {
    pub(super) fn new(roster: Roster, epoch: Epoch) -> Membership {
        Membership { members: BTreeMap::new(), roster: Arc::new(roster), gone: BTreeSet::new(), epoch, sessions: 0 }
    }

    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// This roster is in force from now on.
    pub(super) fn set_roster(&mut self, roster: Arc<Roster>) {
        self.gone.retain(|copy| roster.is_voter(*copy));
        self.roster = roster;
    }

    /// No registered node holds this copy any more.
    pub(super) fn is_gone(&mut self, copy: CopyId) {
        self.gone.insert(copy);
    }

    /// A registered node holds this copy.
    pub(super) fn is_back(&mut self, copy: CopyId) {
        self.gone.remove(&copy);
    }

    /// The copies that no registered node holds any more.
    pub(super) fn gone(&self) -> &BTreeSet<CopyId> {
        &self.gone
    }

    /// Whether the master and enough voters hold something to be a majority, given which secondaries do.
    pub(super) fn is_majority(&self, holds: impl Fn(MemberId, &Progress) -> bool) -> bool {
        !self.roster.allows_promotion()
            || self
                .roster
                .is_majority(|copy| self.voter(copy).is_some_and(|(member, progress)| holds(member, progress)))
    }

    /// The secondary that holds a copy.
    pub(super) fn voter(&self, copy: CopyId) -> Option<(MemberId, &Progress)> {
        self.iter().find(|(_, progress)| progress.copy == Some(copy))
    }

    /// Whether the copies of a secondary may count. If promotion is on, they do once it has entered the epoch: before that,
    /// another candidate may have its promise, and what it holds as refused may be a message here.
    fn counts(&self, progress: &Progress) -> bool {
        !self.roster.allows_promotion() || progress.epoch == self.epoch
    }

    /// Whether a secondary may count among a number of copies: a voter does.
    fn votes(&self, progress: &Progress) -> bool {
        !self.roster.allows_promotion() || progress.copy.is_some_and(|copy| self.roster.counts(copy))
    }

    /// The secondaries that may count among a number of copies.
    fn voting(&self) -> impl Iterator<Item = &Progress> {
        self.members.values().filter(|progress| self.votes(progress))
    }

    /// The id up to which the copies of a secondary count.
    pub(super) fn counted(&self, progress: &Progress) -> Id {
        if self.counts(progress) { progress.matched } else { Id::ZERO }
    }

    /// Whether it is known which copies a secondary holds.
    pub(super) fn has_reported(&self, progress: &Progress) -> bool {
        progress.incarnation.is_some() && self.counts(progress)
    }

    /// How many nodes there are, the master included.
    pub(super) fn nodes(&self) -> usize {
        self.members.len() + 1
    }

    pub(super) fn insert(&mut self, member: MemberId, progress: Progress) {
        let before = self.members.insert(member, progress);
        assert!(before.is_none(), "member {member} joined twice");
    }

    pub(super) fn remove(&mut self, member: MemberId) -> Option<Progress> {
        self.members.remove(&member)
    }

    pub(super) fn get(&self, member: MemberId) -> Option<&Progress> {
        self.members.get(&member)
    }

    pub(super) fn get_mut(&mut self, member: MemberId) -> Option<&mut Progress> {
        self.members.get_mut(&member)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (MemberId, &Progress)> {
        self.members.iter().map(|(&member, progress)| (member, progress))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (MemberId, &mut Progress)> {
        self.members.iter_mut().map(|(&member, progress)| (member, progress))
    }

    /// The secondary that was registered last.
    fn newest(&self) -> MemberId {
        self.members.last_key_value().map_or(MemberId::new(0), |(&member, _)| member)
    }

    /// The copies that a client asks for now.
    pub(super) fn wanted(&self, concern: WriteConcern) -> Wanted {
        Wanted { concern, newest_member: self.newest() }
    }

    /// A number for a new replication session.
    pub(super) fn new_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Another secondary that is known to be the same copy of the log.
    pub(super) fn twin_of(&self, member: MemberId, copy: CopyId) -> Option<MemberId> {
        self.iter().find(|&(id, progress)| id != member && progress.copy == Some(copy)).map(|(id, _)| id)
    }

    /// How many copies a concern means, the master's included.
    pub(super) fn copies(&self, concern: WriteConcern) -> usize {
        match concern {
            WriteConcern::All => self.nodes(),
            WriteConcern::Majority => self.roster.voters().others_needed() + 1,
            WriteConcern::Copies(copies) => copies,
        }
    }

    /// The id up to which the secondaries hold what a concern asks of them, given how far each does.
    pub(super) fn matched(&self, wanted: Wanted, holds: impl Fn(&Progress) -> Id) -> Id {
        match wanted.concern {
            WriteConcern::All => {
                let each = self.members.range(..=wanted.newest_member).map(|(_, progress)| holds(progress));
                each.min().unwrap_or(Id::MAX).min(self.majority_mark(holds))
            }
            WriteConcern::Majority => self.majority_mark(holds),
            WriteConcern::Copies(copies) if copies <= 1 => Id::MAX,
            WriteConcern::Copies(copies) => {
                let mut matched: Vec<Id> = self.voting().map(holds).collect();
                matched.sort_unstable_by(|a, b| b.cmp(a));
                matched.get(copies - 2).copied().unwrap_or(Id::ZERO)
            }
        }
    }

    /// Whether another voter may lead, and would not know where a copy is.
    pub(super) fn lacks_contact(&self, copy: CopyId) -> bool {
        self.roster.allows_promotion() && !self.roster.contacts().contains_key(&copy)
    }

    /// Whether a later master would know of a secondary.
    pub(super) fn is_on_record(&self, progress: &Progress) -> bool {
        let number = self.roster.number();
        !progress.copy.is_some_and(|copy| self.lacks_contact(copy)) && self.is_majority(|_, one| one.roster >= number)
    }

    fn majority_mark(&self, holds: impl Fn(&Progress) -> Id) -> Id {
        if !self.roster.allows_promotion() {
            return Id::MAX;
        }
        self.roster.majority_mark(|copy| self.voter(copy).map_or(Id::ZERO, |(_, progress)| holds(progress)))
    }

    /// Whether the copies that a write lacks can still come from the secondaries that take part.
    pub(super) fn is_attainable(&self, last: Id, write: &Write) -> bool {
        let may_hold = |progress: &Progress| progress.matched >= last || progress.state == ReplicationState::InSync;
        match write.wanted.concern {
            WriteConcern::All => {
                let registered = self.members.range(..=write.wanted.newest_member);
                registered.map(|(_, progress)| progress).all(may_hold) && self.is_majority(|_, one| may_hold(one))
            }
            WriteConcern::Majority => self.is_majority(|_, progress| may_hold(progress)),
            WriteConcern::Copies(copies) => self.voting().filter(|progress| may_hold(progress)).count() + 1 >= copies,
        }
    }

    /// Why a concern cannot be met by the nodes that take part now, if that is so.
    pub(super) fn shortfall(&self, concern: WriteConcern) -> Option<Shortfall> {
        let takes_part = |progress: &Progress| progress.state == ReplicationState::InSync;
        let counts = |progress: &Progress| concern == WriteConcern::All || self.votes(progress);
        let (available, missing): (Vec<_>, Vec<_>) =
            self.iter().partition(|(_, progress)| takes_part(progress) && counts(progress));
        let (wanted, available) = (self.copies(concern), 1 + available.len());
        let is_short = available < wanted || !self.is_attainable_by(concern, takes_part);
        let missing = missing.into_iter().map(|(member, _)| member).collect();
        is_short.then_some(Shortfall { wanted, available, missing })
    }

    /// Whether a majority is among those secondaries, if a concern asks for it.
    fn is_attainable_by(&self, concern: WriteConcern, takes_part: impl Fn(&Progress) -> bool) -> bool {
        matches!(concern, WriteConcern::Copies(_)) || self.is_majority(|_, progress| takes_part(progress))
    }

    /// How many copies that count are known to hold everything up to an id, beside the master's.
    pub(super) fn copies_of(&self, last: Id) -> usize {
        self.voting().filter(|progress| self.counted(progress) >= last).count()
    }
}
