//! What the leader knows of one secondary, and what it does about it next.
//!
//! ```text
//!                 reports, may take part          holds what it needs
//!   Unreachable ───────────────────────▶ CatchingUp ─────────────▶ InSync
//!        ▲                                   │                        │
//!        └───────────────────────────────────┴────────────────────────┘
//!            a call fails, a report is missing, or comes from another process
//! ```
//!
//! The leader probes an unreachable secondary for its state, sends one that catches up what it lacks from the master's
//! store, call by call, and sends one that is in sync every round and one probe a heartbeat, to verify the process.
//! Each report begins a *replication session*: the outcome of a call of an earlier session does not count in it, except
//! that an acknowledgement of the same process still counts as a copy.
//!
//! After a failure the leader leaves a secondary alone for [`Timing::backoff_min`], and twice as long after each
//! failure in a row. Only success ends that: a secondary that acknowledges a round, or answers in sync a heartbeat
//! later. A report alone does not, because a secondary may report well and yet fail every call.

use crate::protocol::{CopyId, Epoch, Id, Incarnation, MemberId, ReplicaStatus, RosterNumber, Time, Timing};
use std::time::Duration;

/// Calls to one secondary in one session that have not returned, at most.
const CALLS_MAX: usize = 12;
/// For how many heartbeats a secondary must not answer to be unhealthy.
const UNHEALTHY_AFTER: u32 = 3;
/// For how many heartbeats writes wait for a secondary that was just registered or started.
const AWAITED_FOR: u32 = 2;

/// A secondary's part in replication.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReplicationState {
    /// It gets every round, and writes may count on it.
    InSync,
    /// It answers, and the master sends it what it lacks.
    CatchingUp,
    /// It did not answer, or refused to take part.
    Unreachable,
}

/// Whether a secondary answers. The master takes writes while enough nodes are healthy. A write that needs a secondary
/// does not depend on its health: it is refused as soon as the secondary leaves the rounds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Health {
    /// It answered last time.
    Healthy,
    /// It missed an answer, or was not probed yet.
    Suspected,
    /// It missed all answers for three heartbeats.
    Unhealthy,
}

/// One secondary, as the leader sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MemberView {
    /// Its number.
    pub member: MemberId,
    /// Its part in replication.
    pub state: ReplicationState,
    /// The process of it that the master has verified.
    pub incarnation: Option<Incarnation>,
    /// The copy of the log that it holds, or held last.
    pub copy: Option<CopyId>,
    /// Its replication session.
    pub session: u64,
    /// The epoch that it has entered.
    pub epoch: Epoch,
    /// The id up to which it is known to hold everything durably.
    pub matched: Id,
    /// The high watermark that it has acknowledged.
    pub known_decided: Id,
    /// Its health.
    pub health: Health,
}

/// One secondary.
///
/// Invariants, asserted after every event: `known_decided ≤ decided` and `matched ≤ last` of the leader;
/// `matched < next`, both within one process of the secondary, except that a report may set both back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Progress {
    pub(super) state: ReplicationState,
    /// The process that the master has verified; its acknowledgements count.
    pub(super) incarnation: Option<Incarnation>,
    /// The copy of the log that it holds, if it has reported.
    pub(super) copy: Option<CopyId>,
    /// Its replication session: a new one begins with every report, and with the removal notice.
    pub(super) session: u64,
    /// The epoch that it reported; it has entered the leader's once the two are equal.
    pub(super) epoch: Epoch,
    /// The id up to which it is known to hold everything durably.
    pub(super) matched: Id,
    /// The refused ids that it reported and that were not decided there, until it has entered the leader's epoch: the
    /// leader may hold messages under them.
    pub(super) refused: Vec<Id>,
    /// The latest roster that it is known to have durably.
    pub(super) roster: RosterNumber,
    /// The id up to which it knows that the master's log is trimmed.
    pub(super) base: Id,
    /// What it held when this session began.
    pub(super) began_at: Id,
    /// The first id that no call to it carries yet.
    pub(super) next: Id,
    /// The high watermark that it has acknowledged.
    pub(super) known_decided: Id,
    /// It has acknowledged that it takes part in the rounds.
    pub(super) knows_admission: bool,
    /// It is to be no voter.
    pub(super) demoted: bool,
    /// Its removal notice is under way or has arrived.
    pub(super) leaving: bool,
    /// Calls of this session that have not returned.
    pub(super) calls: usize,
    /// One of them carries only the high watermark.
    pub(super) news_in_flight: bool,
    /// A probe or a catch-up call has not returned.
    pub(super) is_contacted: bool,
    /// When the leader contacts it next; `None` if it waits for an event or an answer.
    pub(super) contact_at: Option<Time>,
    backoff: Duration,
    pub(super) health: Health,
    /// When it first missed an answer since its last one.
    missed_since: Option<Time>,
    /// Until when a write that needs it waits for its first report.
    awaited_until: Time,
}

impl Progress {
    pub(super) fn view(&self, member: MemberId) -> MemberView {
        MemberView {
            member,
            state: self.state,
            incarnation: self.incarnation,
            copy: self.copy,
            session: self.session,
            epoch: self.epoch,
            matched: self.matched,
            known_decided: self.known_decided,
            health: self.health,
        }
    }

    /// A secondary that was just registered: no write counts on it until it has reported and is admitted.
    /// `copy` is the copy of the log that it held last, if that is known.
    pub(super) fn joined(now: Time, timing: &Timing, copy: Option<CopyId>) -> Progress {
        Progress {
            state: ReplicationState::Unreachable,
            incarnation: None,
            copy,
            session: 0,
            epoch: Epoch::NONE,
            matched: Id::ZERO,
            refused: Vec::new(),
            roster: RosterNumber::default(),
            base: Id::ZERO,
            began_at: Id::ZERO,
            next: Id::ZERO.next(),
            known_decided: Id::ZERO,
            knows_admission: false,
            demoted: false,
            leaving: false,
            calls: 0,
            news_in_flight: false,
            is_contacted: false,
            contact_at: Some(now),
            backoff: timing.backoff_min,
            health: Health::Suspected,
            missed_since: Some(now),
            awaited_until: now.plus(timing.heartbeat * AWAITED_FOR),
        }
    }

    /// The secondary says that its process has started: the leader probes it now.
    pub(super) fn started(&mut self, now: Time, timing: &Timing) {
        if self.state == ReplicationState::CatchingUp {
            self.state = ReplicationState::Unreachable;
            self.is_contacted = false;
        }
        self.contact_at = Some(now);
        self.awaited_until = now.plus(timing.heartbeat * AWAITED_FOR);
    }

    /// It has reported what it holds and may take part: a session begins, in which it catches up.
    pub(super) fn reported(&mut self, session: u64, status: &ReplicaStatus, holds: Id, decided: Id, epoch: Epoch) {
        *self = Progress {
            state: ReplicationState::CatchingUp,
            incarnation: Some(status.incarnation),
            copy: Some(status.copy),
            session,
            epoch,
            matched: holds,
            refused: status.refused.iter().copied().filter(|&id| id <= holds).collect(),
            // With an epoch comes its first roster.
            roster: match &status.lineage {
                Some(lineage) => lineage.roster.number(),
                None => RosterNumber { epoch: status.epoch, sequence: 0 },
            },
            base: status.base,
            began_at: holds,
            next: holds.next(),
            contact_at: None,
            known_decided: status.decided.min(decided),
            knows_admission: false,
            calls: 0,
            news_in_flight: false,
            ..self.clone()
        };
    }

    /// It has what it needs, and takes part in the rounds from now on.
    pub(super) fn admitted(&mut self, now: Time, timing: &Timing) {
        self.state = ReplicationState::InSync;
        self.next = self.matched.next();
        self.contact_at = Some(now.plus(timing.heartbeat));
        self.awaited_until = Time::ZERO;
    }

    /// It did not acknowledge, or refused, or does not answer.
    pub(super) fn lost(&mut self, now: Time, timing: &Timing) {
        self.state = ReplicationState::Unreachable;
        self.is_contacted = false;
        self.contact_at = Some(now.plus(self.backoff));
        self.backoff = (self.backoff * 2).min(timing.backoff_max);
    }

    /// It acknowledged a round, or answered in sync a heartbeat later.
    pub(super) fn succeeded(&mut self, timing: &Timing) {
        self.backoff = timing.backoff_min;
    }

    /// It answered a probe.
    pub(super) fn answered(&mut self) {
        (self.health, self.missed_since) = (Health::Healthy, None);
    }

    /// It did not answer.
    pub(super) fn missed(&mut self, now: Time, timing: &Timing) {
        let since = *self.missed_since.get_or_insert(now);
        let is_unhealthy = now.since(since) >= timing.heartbeat * UNHEALTHY_AFTER;
        self.health = if is_unhealthy { Health::Unhealthy } else { Health::Suspected };
    }

    /// Until when writes wait for its first report, if they still do.
    pub(super) fn awaited_until(&self, now: Time) -> Option<Time> {
        let is_awaited = self.state != ReplicationState::InSync && now < self.awaited_until;
        is_awaited.then_some(self.awaited_until)
    }

    /// Whether it is catching up and may be contacted now.
    pub(super) fn waits_to_catch_up(&self, now: Time) -> bool {
        let may_be_contacted = !self.is_contacted && self.contact_at.is_none_or(|at| at <= now);
        self.state == ReplicationState::CatchingUp && may_be_contacted
    }

    /// Whether another call may be made to it in a round.
    pub(super) fn takes_calls(&self) -> bool {
        self.state == ReplicationState::InSync && self.calls < CALLS_MAX
    }

    /// Whether an empty call may be made to it, because it lacks an entry or has not acknowledged the high watermark, the
    /// roster, the base or its admission.
    pub(super) fn lacks_watermark(&self, last: Id, decided: Id, roster: RosterNumber, base: Id) -> bool {
        let knows = self.knows_admission || self.leaving;
        let lacks_news = self.known_decided < decided || self.roster < roster || self.base < base;
        let lacks = lacks_news || self.next <= last || !knows;
        self.takes_calls() && !self.news_in_flight && lacks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Follower, FollowerSettings, Found};

    const TIMING: Timing = Timing::new(Duration::from_secs(1));

    fn at(ms: u64) -> Time {
        Time::new(Duration::from_millis(ms))
    }

    #[test]
    fn only_success_ends_a_back_off() {
        let mut progress = Progress::joined(at(0), &TIMING, None);
        for (now, pause) in [(0, 50), (100, 100), (300, 200), (600, 400), (1_100, 800), (2_000, 1_000), (4_000, 1_000)]
        {
            progress.lost(at(now), &TIMING);
            assert_eq!(progress.contact_at, Some(at(now + pause)));
            progress.answered();
            progress.admitted(at(now + pause), &TIMING);
        }
        progress.succeeded(&TIMING);
        progress.lost(at(9_000), &TIMING);
        assert_eq!(progress.contact_at, Some(at(9_050)));
    }

    #[test]
    fn a_secondary_that_misses_answers_for_three_heartbeats_is_unhealthy() {
        let mut progress = Progress::joined(at(0), &TIMING, None);
        progress.answered();
        for (now, health) in [(10, Health::Suspected), (2_000, Health::Suspected), (3_010, Health::Unhealthy)] {
            progress.missed(at(now), &TIMING);
            assert_eq!(progress.health, health);
        }
        progress.answered();
        progress.missed(at(9_000), &TIMING);
        assert_eq!(progress.health, Health::Suspected, "one answer counts");
    }

    #[test]
    fn a_secondary_that_answers_no_call_gets_only_so_many() {
        let mut progress = Progress::joined(at(0), &TIMING, None);
        progress.admitted(at(0), &TIMING);
        progress.calls = CALLS_MAX - 1;
        assert!(
            progress.takes_calls() && progress.lacks_watermark(Id::ZERO, Id::ZERO, RosterNumber::default(), Id::ZERO)
        );
        progress.calls = CALLS_MAX;
        assert!(
            !progress.takes_calls() && !progress.lacks_watermark(Id::ZERO, Id::ZERO, RosterNumber::default(), Id::ZERO)
        );
    }

    #[test]
    fn a_report_begins_a_session_in_which_nothing_is_under_way() {
        let mut progress = Progress::joined(at(0), &TIMING, None);
        progress.admitted(at(0), &TIMING);
        (progress.calls, progress.news_in_flight, progress.next) = (3, true, Id::new(9));
        let status = Follower::begin(FollowerSettings::default(), Incarnation::new(1), Found::default()).status();
        progress.reported(2, &status, Id::ZERO, Id::ZERO, Epoch::NONE);
        assert_eq!((progress.session, progress.calls, progress.news_in_flight), (2, 0, false));
        assert_eq!((progress.next, progress.contact_at), (Id::new(1), None));
    }
}
