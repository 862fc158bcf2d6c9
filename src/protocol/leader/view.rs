//! The state of a leader, as its owner reads it.

use super::Leader;
use crate::protocol::{
    Base, Call, CopyId, Decisions, Dispatch, Entry, Epoch, Health, Id, Incarnation, LogId, MemberId, MemberView,
    Rejection, Roster, Time, Watermark, WriteConcern,
};
use std::sync::Arc;

impl Leader {
    /// The log that this master serves.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The master's process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.history.latest()
    }

    /// The last id given.
    #[must_use]
    pub fn last(&self) -> Id {
        self.last
    }

    /// The id up to which the master's own store holds everything durably, and can be read.
    #[must_use]
    pub fn durable(&self) -> Id {
        self.durable
    }

    /// The high watermark: every id up to it is decided.
    #[must_use]
    pub fn decided(&self) -> Id {
        self.decided
    }

    /// What readers may see.
    #[must_use]
    pub fn shown(&self) -> Watermark {
        self.shown
    }

    /// The id of the newest message that is committed or may be: 0 if there is none.
    #[must_use]
    pub fn newest(&self) -> Id {
        let pending = self.writes.iter().rev().find(|(_, write)| !write.refusing).map(|(last, _)| last);
        pending.map_or(self.last_visible, |id| id.max(self.last_visible))
    }

    /// How many messages are undecided, or wait for the copies that their writers asked for.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.writes.messages()
    }

    /// How many clients wait for an outcome.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.writes.waiters() + self.reports_awaited.len()
    }

    /// How many rounds hold up others.
    #[must_use]
    pub fn rounds_in_flight(&self) -> usize {
        self.scheduler.in_flight()
    }

    /// How many nodes there are, the master included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.members.nodes()
    }

    /// How many nodes must be healthy to take writes.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.settings.quorum.unwrap_or(self.nodes() / 2 + 1)
    }

    /// Who votes.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        self.members.roster()
    }

    /// Every secondary, in the order of registration.
    pub fn members(&self) -> impl Iterator<Item = MemberView> + '_ {
        self.members.iter().map(|(member, progress)| progress.view(member))
    }

    /// One secondary; `None` if it is not registered any more.
    #[must_use]
    pub fn member(&self, member: MemberId) -> Option<MemberView> {
        self.members.get(member).map(|progress| progress.view(member))
    }

    /// The member that is this copy of the log, under whichever address it was registered.
    #[must_use]
    pub fn member_with(&self, copy: CopyId) -> Option<MemberId> {
        self.members.twin_of(MemberId::new(u32::MAX), copy)
    }

    /// How many copies a concern means, the master's included.
    #[must_use]
    pub fn copies(&self, concern: WriteConcern) -> usize {
        self.members.copies(concern)
    }

    /// How many secondaries hold everything up to an id, as far as is known.
    #[must_use]
    pub fn copies_of(&self, last: Id) -> usize {
        self.members.copies_of(last)
    }

    /// The first and the last id of the write with an idempotency key.
    #[must_use]
    pub fn keyed(&self, key: &str) -> Option<(Id, Id)> {
        self.keys.find(key)
    }

    /// Whether messages are in doubt: found undecided at the start, and not shown since. Readers may have seen them
    /// before the start.
    #[must_use]
    pub fn has_doubt(&self) -> bool {
        let shown = self.shown.decided;
        shown < self.found && self.writes.has_open(shown, self.found)
    }

    /// What was trimmed.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// What the master answers a secondary that asks what is decided after an id, without the refusals: those are in its
    /// store. If some of them are trimmed, it tells the secondary nothing: a call is going to bring the base.
    #[must_use]
    pub fn decisions(&self, after: Id) -> Decisions {
        let is_trimmed = after < self.base.id;
        Decisions {
            log_id: self.log_id,
            epoch: self.epoch(),
            master: self.incarnation,
            decided: if is_trimmed { after } else { self.shown.decided },
            refused: Vec::new(),
            sure: !is_trimmed && !self.is_halted && !self.has_doubt(),
        }
    }

    /// Whether the master takes no more writes until a restart: its store failed, or a secondary's refusal showed that
    /// it may not write.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.is_halted
    }

    /// Whether the master would take a write with this concern and number of messages now.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn would_take(&self, now: Time, concern: WriteConcern, messages: u64) -> Result<(), Rejection> {
        self.examine(now, concern, None, messages).map(|_| ())
    }

    /// Whether anything keeps the master from taking writes of any kind.
    ///
    /// # Errors
    /// With the reason.
    pub fn takes_writes(&self) -> Result<(), Rejection> {
        if self.is_halted {
            return Err(Rejection::Halted);
        }
        if self.stops_at.is_some() {
            return Err(Rejection::Stopping);
        }
        let unhealthy = self.members.iter().filter(|(_, progress)| progress.health == Health::Unhealthy).count();
        let (healthy, needed) = (self.nodes() - unhealthy, self.quorum());
        if healthy < needed { Err(Rejection::ReadOnly { healthy, needed }) } else { Ok(()) }
    }

    /// The call that a dispatch asks for, with what the store holds after an id and up to another one, and the messages
    /// that it holds under the ids of [`Dispatch::restores`].
    ///
    /// Its high watermark goes no further than its end: beyond that, the secondary needs refusals that a later call
    /// carries.
    #[must_use]
    pub fn call(
        &self,
        dispatch: &Dispatch,
        through: Id,
        entries: Vec<Arc<Entry>>,
        refused: Vec<Id>,
        restored: Vec<Arc<Entry>>,
    ) -> Call {
        Call {
            log_id: self.log_id,
            epoch: self.epoch(),
            master: self.incarnation,
            epoch_start: dispatch.epoch_start,
            history: dispatch.epoch_start.map(|_| self.history.clone()),
            roster: dispatch.roster.as_deref().cloned(),
            base: dispatch.base.as_deref().copied(),
            restored,
            after: dispatch.after,
            through,
            entries,
            refused,
            decided: dispatch.decided.min(through),
            session: dispatch.session,
            admitted: dispatch.admitted,
        }
    }
}
