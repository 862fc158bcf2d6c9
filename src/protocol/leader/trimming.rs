//! How far the log may be trimmed; see [`Base`].

use super::Leader;
use crate::protocol::{Base, Id, MemberId, ReplicationState, WriteConcern};

impl Leader {
    /// How far the log may be trimmed of what is asked for: the last id that may go. A secondary that is not in sync holds
    /// it up only beyond `regardless`; up to there, it begins at the base when it is back.
    #[must_use]
    pub fn trimmable(&self, asked: Id, regardless: Id) -> Id {
        let all_decided = self.members.matched(self.members.wanted(WriteConcern::Majority), |one| one.known_decided);
        let of_others = self.members.iter().map(|(_, progress)| match progress.state {
            ReplicationState::InSync => progress.known_decided,
            _ => progress.known_decided.max(regardless),
        });
        let others = of_others.min().unwrap_or(Id::MAX).min(all_decided);
        let open = self.writes.iter().next().map_or(Id::MAX, |(_, write)| write.first.previous());
        let own = self.shown.decided.min(self.last_visible.previous()).min(open);
        asked.min(own).min(others).max(self.base.id)
    }

    /// The secondaries that are not known to have decided everything up to this id.
    pub fn trimming_waits_for(&self, id: Id) -> impl Iterator<Item = MemberId> + '_ {
        self.members.iter().filter(move |(_, progress)| progress.known_decided < id).map(|(member, _)| member)
    }

    /// The master's store is trimmed.
    ///
    /// # Panics
    /// If the base goes back, or beyond what is shown.
    pub(super) fn trimmed(&mut self, base: Base) {
        assert!(base.id >= self.base.id, "base {} after {}", base.id, self.base.id);
        self.base = base;
        self.keys.forget_through(base.id);
    }

    /// Those of these ids that the master's store can still hold.
    pub(super) fn held_of(&self, ids: &[Id]) -> Vec<Id> {
        ids.iter().copied().filter(|&id| id > self.base.id).collect()
    }
}
