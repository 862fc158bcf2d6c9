//! The master's half of the protocol: what becomes of a write, from its post to its publication.
//!
//! The leader is a value. It takes an [`Event`] at a time and gives a [`Ready`]: what its owner has to do. It knows no
//! disk, no network, no thread and no clock, and equal events at equal times give equal effects.
//!
//! # A write
//!
//! 1. **Posted.** [`Event::Posted`] gives the messages of a write the next ids and puts it into the queue of the
//!    [`Scheduler`], or rejects it before it has ids. An id is never given twice.
//! 2. **Sent.** On a [`Event::Tick`] a [`Round`] takes what waits and goes to every secondary that is in sync.
//!    Meanwhile the master appends the same entries to its own log ([`Ready::append`]).
//! 3. **Durable.** Each node reports the id up to which it holds *everything* durably: [`Event::Appended`] for the
//!    master, [`Event::Acknowledged`] for a secondary. Acknowledgements are cumulative.
//! 4. **Met.** Its [`WriteConcern`] is satisfied: enough nodes hold it, the master always among them.
//! 5. **Committed.** A met write is committed, and *seals* every earlier one that is not being refused: those are
//!    committed as well and can no longer be refused, though their own writers may still wait for more copies.
//! 6. **Or refused.** A write that fails fast and can no longer be met, or a write whose time is over, is refused unless it
//!    is sealed. The refusal is stored first ([`Ready::refuse`]). Secondaries learn of it only after
//!    [`Event::RefusalsStored`], and clients once it is *safe*: held by a majority of the voters, which is the master alone
//!    unless promotion is on. If that takes longer than [`REFUSAL_WAIT`], clients learn that the outcome is unknown.
//! 7. **Decided.** Every id up to the high watermark `decided` is committed or refused, durably and safely.
//! 8. **Shown.** The high watermark is noted ([`Ready::note`]), so that what a reader saw is still there after a kill.
//!    From [`Event::WatermarkNoted`] on readers see it, and clients get their 201. A read that starts after a 201 sees
//!    the message.
//! 9. **Published.** Each call carries the high watermark, and the refusals that the secondary does not know yet.
//!

mod idempotency;
mod liveness;
mod membership;
mod progress;
mod ready;
mod refusals;
mod roster;
mod scheduler;
mod trimming;
mod view;
mod writes;

pub use idempotency::{IdempotencyKeys, KeyedWrite};
pub use membership::Shortfall;
pub use progress::{Health, MemberView, ReplicationState};
pub use ready::{CallFailure, Dispatch, Event, News, Outcome, Post, Purpose, Ready, Rejection, Reply, Round};
pub use scheduler::Timing;
pub use writes::Ticket;

use super::{
    Acknowledgement, Base, Entry, EpochHistory, EpochStart, Id, Incarnation, LogId, MemberId, Promotion, Refusal,
    Roster, Slot, Time, Watermark, WriteConcern, WritePart,
};
use membership::{Membership, Voting};
use progress::Progress;
use refusals::Refusals;
use scheduler::{Queued, Scheduler};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use writes::{Expiry, Waiter, Wanted, Write, Writes};

/// How often the leader sends a call again, from where the secondary's log ends, if the secondary lacks an earlier one.
const RESENDS_MAX: u32 = 3;
/// How long a client that posts a write again waits for all secondaries to report. Before that, a leader that has just
/// started may know of fewer copies than there are.
const REPORTS_WAIT: Duration = Duration::from_secs(1);

/// How long clients wait until the refusal of their write is safe. Then they learn that its outcome is unknown.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);

/// What a leader is configured with.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LeaderSettings {
    /// How long it waits.
    pub timing: Timing,
    /// How many nodes must be healthy for it to take writes; more than half if not set.
    pub quorum: Option<usize>,
    /// How many messages may be open.
    pub pending_max: u64,
    /// How many idempotency keys are remembered.
    pub keys_max: usize,
    /// How many ids one call that brings a secondary up to date covers at most.
    pub catch_up_max: u64,
    /// How long a client that posts a write in doubt again waits at least.
    pub in_doubt_wait: Duration,
    /// Whether another voter may take this master's place; as the roster says if not set.
    pub promotion: Option<Promotion>,
}

/// What a master finds in its store when it starts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FoundLog {
    /// What was trimmed of it.
    pub base: Base,
    /// The id up to which everything is held durably.
    pub last: Id,
    /// The high watermark that was noted last.
    pub decided: Id,
    /// How many messages are visible up to it.
    pub visible: u64,
    /// The last visible id; 0 if there is none.
    pub last_visible: Id,
    /// The refused ids above it.
    pub refused: BTreeSet<Id>,
}

/// An append that is under way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Append {
    through: Id,
    /// Whether refusals are stored in place of the messages, because the disk had no room.
    is_refusal: bool,
}

/// A client that posted a write again, and waits for secondaries to report.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct ReportsAwaited {
    ticket: Ticket,
    last: Id,
    wanted: Wanted,
    until: Time,
}

/// The state of one master, from its start to its end.
///
/// Invariants. The first two are asserted after every event, the second one in debug builds only:
/// - `base ≤ shown ≤ decided ≤ durable ≤ taken ≤ last`, and none of them ever goes back;
/// - every id in `decided+1..=last` is open or in `refused`;
/// - no open write at or below `sealed` is refusing, unless its refusing began before it could be sealed: such a write
///   is stepped over by the seal and never committed;
/// - `decided` and `sealed` never stand between two messages of one write: a write has one outcome. The leader does not
///   read which messages found undecided at the start were one write, so `decided` passes all of them at once;
/// - entries that the master's own log does not hold durably are in the memory of `writes`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Leader {
    settings: LeaderSettings,
    log_id: LogId,
    incarnation: Incarnation,
    history: EpochHistory,
    /// What was trimmed, durably.
    base: Base,
    /// The last id given.
    last: Id,
    /// The end of the log at the start.
    found: Id,
    /// The last id that a round has taken.
    taken: Id,
    /// The id up to which the master's own disk holds everything.
    durable: Id,
    /// The highest write that was met: it and every write before it that is not refused is committed.
    sealed: Id,
    /// The high watermark.
    decided: Id,
    /// How many messages up to `decided` are committed.
    visible: u64,
    /// The last committed id up to `decided`; 0 if there is none.
    last_visible: Id,
    /// The high watermark that is noted, and may be shown.
    shown: Watermark,
    /// When `shown` rose last.
    shown_at: Time,
    writes: Writes,
    /// Durable refusals above `decided`.
    refused: Refusals,
    members: Membership,
    scheduler: Scheduler,
    keys: IdempotencyKeys,
    /// The append that is under way.
    appending: Option<Append>,
    /// Refusals that have to be stored, once the ids themselves are.
    to_refuse: BTreeSet<Id>,
    /// Refusals that are being stored.
    refusing: BTreeSet<Id>,
    /// The high watermark that is being noted.
    noting: Option<Watermark>,
    voting: Voting,
    reports_awaited: Vec<ReportsAwaited>,
    is_halted: bool,
    /// When a stopping master refuses what is still undecided.
    stops_at: Option<Time>,
}

/// The start, and what must always hold.
impl Leader {
    /// Begins on what the store holds. `history` ends with the epoch of this start, which is durable already, as is the
    /// roster; `keyed_writes` are the latest ones, the latest first.
    ///
    /// What lies beyond `decided` and is not refused may have been acknowledged: it stays pending until it is met, and
    /// is replicated again. If promotion is on, nothing of what was found is decided before a majority has entered this
    /// epoch and holds all of it, refusals included: until then a voter that lacks it could lead in the next epoch
    /// (figure 8 of the Raft paper, Ongaro and Ousterhout, 2014).
    #[must_use]
    pub fn begin(
        settings: LeaderSettings,
        log_id: LogId,
        incarnation: Incarnation,
        history: EpochHistory,
        roster: Roster,
        found: FoundLog,
        keyed_writes: Vec<KeyedWrite>,
    ) -> Leader {
        let FoundLog { base, last, decided, visible, last_visible, refused } = found;
        let mut writes = Writes::default();
        let in_doubt = decided.until(last).filter(|id| !refused.contains(id));
        let concern = if roster.allows_promotion() { WriteConcern::Majority } else { WriteConcern::All };
        in_doubt.for_each(|id| writes.insert(id, Write::found(id, concern)));
        let mut keys = IdempotencyKeys::new(settings.keys_max);
        keyed_writes.into_iter().rev().for_each(|write| keys.remember(write));
        let leader = Leader {
            scheduler: Scheduler::new(settings.timing),
            members: Membership::new(roster, history.latest()),
            settings,
            log_id,
            incarnation,
            history,
            base,
            last,
            found: last,
            taken: last,
            durable: last,
            sealed: decided,
            decided,
            visible,
            last_visible,
            shown: Watermark { decided, visible },
            shown_at: Time::ZERO,
            writes,
            refused: Refusals::found(refused),
            keys,
            appending: None,
            to_refuse: BTreeSet::new(),
            refusing: BTreeSet::new(),
            noting: None,
            voting: Voting::at_start(decided, last),
            reports_awaited: Vec::new(),
            is_halted: false,
            stops_at: None,
        };
        leader.assert_invariants();
        leader
    }

    fn assert_invariants(&self) {
        assert!(
            self.base.id <= self.shown.decided
                && self.shown.decided <= self.decided
                && self.decided <= self.durable
                && self.durable <= self.taken
                && self.taken <= self.last,
            "base {} ≤ shown {} ≤ decided {} ≤ durable {} ≤ taken {} ≤ last {}",
            self.base.id,
            self.shown.decided,
            self.decided,
            self.durable,
            self.taken,
            self.last
        );
        for (member, progress) in self.members.iter() {
            let Progress { known_decided, matched, .. } = progress;
            assert!(*known_decided <= self.decided, "{member} knows {known_decided} of decided {}", self.decided);
            assert!(*matched <= self.last, "{member} holds {matched} of {}", self.last);
        }
        debug_assert!(
            self.decided.until(self.last).all(|id| self.writes.of(id).is_some() || self.refused.contains(id)),
            "an id above {} is neither open nor refused",
            self.decided
        );
    }
}

/// Events and effects.
impl Leader {
    /// Takes an event, at a time that is not earlier than that of any event before. [`Ready`] says what the owner has
    /// to do then.
    ///
    /// A halted leader only answers clients, and ignores reports of effects and calls.
    ///
    /// # Panics
    /// If an event reports an effect that is not under way.
    pub fn step(&mut self, now: Time, event: Event) -> Ready {
        let mut ready = Ready::default();
        match event {
            Event::Posted(post) => self.post(now, post, &mut ready),
            Event::Repeated { ticket, last, concern, timeout } => {
                self.repeat(now, ticket, last, concern, timeout, &mut ready);
            }
            Event::Joined(member, copy) => self.joined(now, member, copy),
            Event::Left(member) => self.left(now, member, &mut ready),
            _ if self.is_halted => return ready,
            Event::Appended => self.appended(now, &mut ready),
            Event::AppendHadNoRoom => self.append_had_no_room(&mut ready),
            Event::RefusalsStored => self.refusals_stored(now, &mut ready),
            Event::WatermarkNoted => self.watermark_noted(now, &mut ready),
            Event::RosterStored(roster) => self.roster_stored(now, roster, &mut ready),
            Event::Trimmed(base) => self.trimmed(base),
            Event::Renamed => self.voting.is_renamed = self.members.roster().allows_promotion(),
            Event::Failed => self.halt(now, &mut ready),
            Event::Acknowledged { dispatch, sent, acknowledgement } => {
                self.acknowledged(now, &dispatch, sent, &acknowledgement, &mut ready);
            }
            Event::CallFailed { dispatch, failure } => self.call_failed(now, &dispatch, failure, &mut ready),
            Event::Reported { member, report } => self.reported(now, member, report, &mut ready),
            Event::Started(member, incarnation) => self.started(now, member, incarnation),
            Event::Demoting(member) => self.demote(now, member, true, &mut ready),
            Event::Keeping(member) => self.demote(now, member, false, &mut ready),
            Event::Leaving(member) => self.leaving(member, &mut ready),
            Event::Assembled => self.assembled(now, &mut ready),
            Event::Stopping(timeout) => self.stops_at = Some(now.plus(timeout)),
            Event::Tick => self.tick(now, &mut ready),
        }
        self.proceed(&mut ready);
        self.assert_invariants();
        ready.wake_at = self.wake_at();
        ready
    }

    /// Asks for the next note, append and refusals, each unless one of its kind is under way.
    fn proceed(&mut self, ready: &mut Ready) {
        if self.is_halted {
            return;
        }
        if self.noting.is_none() && self.decided > self.shown.decided {
            self.noting = Some(Watermark { decided: self.decided, visible: self.visible });
            ready.note = self.noting;
        }
        if self.appending.is_none() && self.durable < self.taken {
            self.appending = Some(Append { through: self.taken, is_refusal: false });
            let entries = self.writes.entries(self.durable, self.taken);
            ready.append = entries.iter().cloned().map(Slot::Entry).collect();
        }
        self.advance_roster(ready);
        if self.refusing.is_empty() {
            let later = self.to_refuse.split_off(&self.durable.next());
            self.refusing = std::mem::replace(&mut self.to_refuse, later);
            ready.refuse = self.refusing.iter().copied().collect();
        }
    }

    /// When the leader has something to do without any other event.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        if self.is_halted {
            return None;
        }
        let contacts = self.members.iter().filter(|(_, progress)| !progress.is_contacted);
        let contacts = contacts.filter_map(|(_, progress)| progress.contact_at);
        let reports = self.reports_awaited.iter().map(|awaited| awaited.until);
        let refusals = self.refused.waiting().filter_map(|(_, until)| until).min();
        let others = [self.round_due(), self.writes.next_deadline(), self.stops_at, refusals];
        contacts.chain(reports).chain(others.into_iter().flatten()).min()
    }

    /// When the next round is due: one that carries writes, or if none waits, one that tells the high watermark.
    fn round_due(&self) -> Option<Time> {
        if !self.scheduler.is_idle() {
            return self.scheduler.due(self.durable == self.taken);
        }
        let lacks_watermark = |(_, progress): (_, &Progress)| self.lacks_watermark(progress);
        self.members.iter().any(lacks_watermark).then(|| self.shown_at.plus(self.settings.timing.watermark_wait))
    }

    /// Whether an empty call has something to tell a secondary.
    fn lacks_watermark(&self, progress: &Progress) -> bool {
        progress.lacks_watermark(self.taken, self.shown.decided, self.members.roster().number(), self.base.id)
    }

    fn tick(&mut self, now: Time, ready: &mut Ready) {
        let due = self.writes.due(now);
        if !due.is_empty() {
            self.expire(now, due, ready);
        }
        self.answer_refused(now, ready);
        if self.stops_at.is_some_and(|at| at <= now) {
            self.stop(now, ready);
        }
        self.answer_awaiting_reports(now, ready);
        let mut catching_up = Vec::new();
        for (member, progress) in self.members.iter_mut() {
            if progress.is_contacted || progress.contact_at.is_none_or(|at| at > now) {
                continue;
            }
            progress.contact_at = None;
            if progress.state == ReplicationState::CatchingUp {
                catching_up.push(member);
            } else {
                progress.is_contacted = true;
                ready.probes.push(member);
            }
        }
        catching_up.into_iter().for_each(|member| self.catch_up(now, member, ready));
        if self.round_due().is_some_and(|due| due <= now) {
            self.begin_round(now, ready);
        }
    }
}

/// Posted: new writes, and writes that are posted again.
impl Leader {
    fn post(&mut self, now: Time, post: Post, ready: &mut Ready) {
        let ticket = post.ticket;
        if let Some((first, last)) = post.key.as_deref().and_then(|key| self.keys.find(key)) {
            let reply = self.join_write(&post, first, last);
            return ready.replies.push((ticket, reply));
        }
        let examined = self.examine(now, post.concern, post.timeout, post.messages.len() as u64);
        let newest = self.newest();
        let overtaken = post.follows.is_some_and(|id| id != newest);
        let reply = match examined {
            Err(rejection) => Reply::Rejected(rejection),
            Ok(_) if overtaken => Reply::Rejected(Rejection::Overtaken(newest)),
            Ok(expiry) => {
                let (first, last) = self.enqueue(now, post, expiry);
                Reply::Accepted { first, last }
            }
        };
        ready.replies.push((ticket, reply));
    }

    /// When a write is to expire, if it is taken now.
    fn examine(
        &self,
        now: Time,
        concern: WriteConcern,
        timeout: Option<Duration>,
        messages: u64,
    ) -> Result<Expiry, Rejection> {
        self.takes_writes()?;
        let open = self.writes.messages();
        if open + messages > self.settings.pending_max {
            return Err(Rejection::Overloaded { open });
        }
        if let Some(timeout) = timeout {
            return Ok(Expiry::At(now.plus(timeout)));
        }
        match self.members.shortfall(concern) {
            None => Ok(Expiry::FailFast),
            Some(shortfall) => self.wait_for_newcomers(now, &shortfall).ok_or(Rejection::Shortfall(shortfall)),
        }
    }

    /// A secondary that was just registered or started may not have reported yet. A write that needs it waits for that,
    /// and is not refused at once.
    fn wait_for_newcomers(&self, now: Time, shortfall: &Shortfall) -> Option<Expiry> {
        let awaited = |member: &MemberId| self.members.get(*member)?.awaited_until(now);
        let awaited: Vec<Time> = shortfall.missing.iter().filter_map(awaited).collect();
        let is_enough = shortfall.available + awaited.len() >= shortfall.wanted;
        awaited.into_iter().max().filter(|_| is_enough).map(Expiry::At)
    }

    /// Gives a write its ids, and queues it for a round.
    fn enqueue(&mut self, now: Time, post: Post, expiry: Expiry) -> (Id, Id) {
        let Post { ticket, messages, key, concern, timestamp_ms, .. } = post;
        assert!(!messages.is_empty(), "a write has at least one message");
        let (epoch, first) = (self.epoch(), self.last.next());
        self.last = self.last.plus(messages.len() as u64);
        let last = self.last;
        let bytes = messages.iter().map(|message| message.len()).sum();
        let count = |messages: u64| u32::try_from(messages).unwrap_or(u32::MAX);
        let of = count(last.since(first.previous()));
        let entry = |(id, message): (Id, _)| {
            let part = WritePart { index: count(id.since(first)), of };
            Arc::new(Entry { id, epoch, timestamp_ms, message, key: key.clone(), part })
        };
        let entries = first.previous().until(last).zip(messages).map(entry).collect();
        if let Some(key) = &key {
            self.keys.remember(KeyedWrite { first, last, key: Arc::clone(key) });
        }
        let wanted = self.members.wanted(concern);
        let waiters = vec![Waiter { ticket, wanted, is_repeat: false, until: None }];
        let (refusing, overdue) = (false, false);
        self.writes.insert(last, Write { first, wanted, expiry, refusing, overdue, entries, waiters });
        self.scheduler.queue(Queued { first, last, bytes, since: now, below_all: concern != WriteConcern::All });
        (first, last)
    }

    /// A client posts a write again: it gets the same reply as the client that posted it first.
    fn join_write(&mut self, post: &Post, first: Id, last: Id) -> Reply {
        let entries = self.writes.get_mut(last).map(|write| &write.entries).filter(|entries| !entries.is_empty());
        let Some(entries) = entries else { return Reply::Stored { first, last } };
        if !entries.iter().map(|entry| &entry.message).eq(&post.messages) {
            return Reply::OtherWrite(last);
        }
        if self.is_halted || self.refused.is_given_up(last) {
            return Reply::Unknown { last };
        }
        let wanted = self.members.wanted(post.concern);
        self.writes.wait(last, Waiter { ticket: post.ticket, wanted, is_repeat: true, until: None });
        Reply::Joined { last }
    }

    /// A client has posted again what the store holds: it is shown, or in doubt since the start.
    fn repeat(
        &mut self,
        now: Time,
        ticket: Ticket,
        last: Id,
        concern: WriteConcern,
        timeout: Duration,
        ready: &mut Ready,
    ) {
        let wanted = self.members.wanted(concern);
        if last <= self.shown.decided {
            self.reports_awaited.push(ReportsAwaited { ticket, last, wanted, until: now.plus(REPORTS_WAIT) });
            return self.answer_awaiting_reports(now, ready);
        }
        let is_open = self.writes.get_mut(last).is_some();
        if self.is_halted || !is_open {
            return ready.replies.push((ticket, Reply::Unknown { last }));
        }
        let until = Some(now.plus(timeout.max(self.settings.in_doubt_wait)));
        self.writes.wait(last, Waiter { ticket, wanted, is_repeat: true, until });
    }

    fn answer_awaiting_reports(&mut self, now: Time, ready: &mut Ready) {
        let all_reported = self.members.iter().all(|(_, progress)| self.members.has_reported(progress));
        let goes_on = !all_reported && !self.is_halted && self.stops_at.is_none();
        for awaited in std::mem::take(&mut self.reports_awaited) {
            let ReportsAwaited { ticket, last, wanted, until } = awaited;
            let outcome = self.known_outcome(last, wanted);
            if outcome == Outcome::CommittedShort && goes_on && now < until {
                self.reports_awaited.push(awaited);
            } else {
                ready.replies.push((ticket, Reply::Settled { last, outcome, is_repeat: true }));
            }
        }
    }

    /// The outcome of a write that is shown, by the copies that there are now.
    fn known_outcome(&self, last: Id, wanted: Wanted) -> Outcome {
        let held = self.members.matched(wanted, |progress| self.members.counted(progress));
        if last <= held { Outcome::Committed } else { Outcome::CommittedShort }
    }
}

/// Sent: rounds and other calls to secondaries.
impl Leader {
    /// Begins the round that is due.
    fn begin_round(&mut self, now: Time, ready: &mut Ready) {
        let Some((after, through)) = self.scheduler.take(now) else { return self.begin_watermark_round(ready) };
        self.taken = through;
        let entries = self.writes.entries(after, through);
        let members = self.members.iter().filter(|(_, progress)| progress.takes_calls());
        let members: Vec<MemberId> = members.map(|(member, _)| member).collect();
        let mut calls = Vec::with_capacity(members.len());
        for member in members {
            let Some(progress) = self.members.get_mut(member) else { continue };
            let begins_after = progress.next.previous();
            progress.next = through.next();
            progress.calls += 1;
            self.scheduler.call_made(through);
            let shared = (begins_after == after).then(|| Arc::clone(&entries));
            calls.extend(self.dispatch(member, Purpose::Round(through), begins_after, through, shared));
        }
        ready.round = Some(Round { after, entries, calls });
    }

    /// Tells the high watermark to those secondaries that do not know it.
    fn begin_watermark_round(&mut self, ready: &mut Ready) {
        let taken = self.taken;
        let members = self.members.iter().filter(|(_, progress)| self.lacks_watermark(progress));
        let members: Vec<MemberId> = members.map(|(member, _)| member).collect();
        let calls = members.into_iter().filter_map(|member| self.empty_call(member, Purpose::Watermark)).collect();
        ready.round = Some(Round { after: taken, entries: Arc::new([]), calls });
    }

    /// Tells refusals that are not safe at once, by calls that carry nothing else.
    fn tell_refusals(&mut self, ready: &mut Ready) {
        if self.refused.waiting().next().is_none() {
            return;
        }
        let last = self.last;
        let lacks = |(member, progress): &(MemberId, &Progress)| {
            progress.takes_calls() && !progress.news_in_flight && !self.refused.are_held_by(*member, last)
        };
        let lacking: Vec<MemberId> = self.members.iter().filter(lacks).map(|(member, _)| member).collect();
        for member in lacking {
            ready.calls.extend(self.empty_call(member, Purpose::Refusals));
        }
    }

    /// A call without entries of its own.
    fn empty_call(&mut self, member: MemberId, purpose: Purpose) -> Option<Dispatch> {
        let taken = self.taken;
        let progress = self.members.get_mut(member)?;
        let after = progress.next.previous();
        progress.next = progress.next.max(taken.next());
        progress.calls += 1;
        progress.news_in_flight = true;
        self.dispatch(member, purpose, after, taken.max(after), None)
    }

    /// A call with the ids after `after` up to `through`: from the store as far as that goes, and then from memory. What
    /// was trimmed can be sent no more: a call that would begin there begins after the base, and brings that. `None` if the leader has verified no process of the secondary.
    fn dispatch(
        &self,
        member: MemberId,
        purpose: Purpose,
        after: Id,
        through: Id,
        shared: Option<Arc<[Arc<Entry>]>>,
    ) -> Option<Dispatch> {
        let progress = self.members.get(member)?;
        let overtaken_from = self.history.overtaken_from(progress.epoch);
        let roster = self.members.roster();
        let may_restore = overtaken_from.is_some() && roster.allows_promotion();
        let lacks_roster = overtaken_from.is_some() || progress.roster < roster.number();
        let base = (progress.base < self.base.id).then(|| Arc::new(self.base));
        let (after, through) = (after.max(self.base.id), through.max(self.base.id));
        let is_stored = after < self.durable.min(through);
        let (carries, entries) = match shared {
            Some(entries) => (through, entries),
            None if is_stored => (self.durable.min(through), Arc::from([])),
            None => (through, self.writes.entries(after, through)),
        };
        Some(Dispatch {
            member,
            incarnation: progress.incarnation?,
            session: progress.session,
            purpose,
            after,
            through,
            entries,
            carries,
            resends: 0,
            known_decided: progress.known_decided.max(self.base.id),
            decided: self.shown.decided,
            refusals: self.refused.stored(),
            epoch_start: overtaken_from.map(|overtaken_from| EpochStart { since: progress.epoch, overtaken_from }),
            roster: lacks_roster.then(|| Arc::clone(roster)),
            base,
            restores: if may_restore { self.held_of(&progress.refused) } else { Vec::new() },
            admitted: progress.state == ReplicationState::InSync && !progress.leaving,
        })
    }

    /// The call that continues another one after an id, unless a new session has begun.
    fn follow_up(&self, dispatch: &Dispatch, after: Id, resends: u32) -> Option<Dispatch> {
        let next = self.dispatch(dispatch.member, dispatch.purpose, after, dispatch.through, None)?;
        (next.session == dispatch.session).then_some(Dispatch { resends, ..next })
    }

    /// A call and its follow-ups have returned.
    fn call_ended(&mut self, dispatch: &Dispatch) {
        if let Purpose::Round(through) = dispatch.purpose {
            self.scheduler.call_ended(through, self.durable);
        }
        let progress = self.members.get_mut(dispatch.member);
        let Some(progress) = progress.filter(|progress| progress.session == dispatch.session) else { return };
        match dispatch.purpose {
            Purpose::Round(_) => progress.calls -= 1,
            Purpose::Watermark | Purpose::Refusals => {
                progress.calls -= 1;
                progress.news_in_flight = false;
            }
            Purpose::CatchUp => progress.is_contacted = false,
            Purpose::Removal => {}
        }
    }
}

/// Durable: what the nodes report.
impl Leader {
    fn appended(&mut self, now: Time, ready: &mut Ready) {
        let Append { through, is_refusal } = self.appending.take().expect("an append is under way");
        let from = self.durable.next();
        self.durable = through;
        if !is_refusal {
            ready.news.push(News::Stored(from.previous(), through));
        } else {
            // A write that is being refused already is settled once that refusal is stored.
            let unstored = self.writes.range(from..=through).filter(|(_, write)| !write.refusing);
            let unstored: Vec<Id> = unstored.map(|(last, _)| last).collect();
            for &last in &unstored {
                let Some(write) = self.writes.get_mut(last) else { continue };
                write.refusing = true;
                self.refused.store(write.ids(last));
                self.refused.wait(last, Some(now.plus(REFUSAL_WAIT)));
            }
        }
        self.settle(now, ready);
    }

    /// The disk has room only for refusals. Nothing that the master does not hold is ever met, so none of these writes
    /// was committed.
    fn append_had_no_room(&mut self, ready: &mut Ready) {
        let Append { through, .. } = self.appending.expect("an append is under way");
        self.appending = Some(Append { through, is_refusal: true });
        ready.append = self.durable.until(through).map(Slot::Refused).collect();
        ready.news.push(News::NoRoom(self.durable, through));
    }

    fn refusals_stored(&mut self, now: Time, ready: &mut Ready) {
        let stored = std::mem::take(&mut self.refusing);
        for &id in &stored {
            let (last, _) = self.writes.of(id).filter(|(_, write)| write.refusing).expect("it is being refused");
            if id == last {
                self.refused.wait(last, Some(now.plus(REFUSAL_WAIT)));
            }
        }
        self.refused.store(stored);
        self.settle(now, ready);
    }

    /// Whether a majority of the voters holds the refusal of an id.
    fn is_safe(&self, id: Id) -> bool {
        self.refused.holders(id).is_some_and(|holders| self.members.is_majority(|member, _| holders.contains(&member)))
    }

    /// Settles the writes whose refusal is safe. Clients that have waited long enough for that leave.
    fn answer_refused(&mut self, now: Time, ready: &mut Ready) {
        let waiting: Vec<(Id, Option<Time>)> = self.refused.waiting().collect();
        let mut settled = Vec::new();
        for (last, until) in waiting {
            let Some(write) = self.writes.get_mut(last) else { continue };
            if write.ids(last).all(|id| self.is_safe(id)) {
                self.refused.settled(last);
                settled.extend(self.writes.remove(last).map(|write| (last, write, Outcome::Refused)));
            } else if until.is_some_and(|until| until <= now) {
                let left = self.writes.take_waiters(last, |_| true);
                ready.replies.extend(left.into_iter().map(|waiter| (waiter.ticket, Reply::Unknown { last })));
                self.refused.wait(last, None);
            }
        }
        self.reply(now, settled, ready);
    }

    fn acknowledged(
        &mut self,
        now: Time,
        dispatch: &Dispatch,
        sent: Id,
        acknowledgement: &Acknowledgement,
        ready: &mut Ready,
    ) {
        let (last, decided, epoch) = (self.last, self.decided, self.epoch());
        let Some(progress) = self.members.get_mut(dispatch.member) else { return self.call_ended(dispatch) };
        let is_current = progress.session == dispatch.session;
        if progress.incarnation != Some(acknowledgement.incarnation) {
            return self.call_failed(now, dispatch, CallFailure::Restarted, ready);
        }
        let before = progress.clone();
        progress.epoch = epoch;
        progress.refused.clear();
        progress.roster = dispatch.roster.as_ref().map_or(before.roster, |roster| before.roster.max(roster.number()));
        progress.base = before.base.max(dispatch.base.as_ref().map_or(Id::ZERO, |base| base.id));
        progress.matched = before.matched.max(acknowledgement.durable.min(last));
        progress.known_decided = before.known_decided.max(acknowledgement.decided.min(decided));
        self.refused.acknowledged(dispatch.member, dispatch.refusals, sent);
        progress.knows_admission |= acknowledgement.admitted && acknowledgement.session == progress.session;
        let has_progressed = *progress != before;
        let matched = progress.matched;
        if matched > before.matched {
            ready.news.push(News::Matched { member: dispatch.member, before: before.matched, matched });
        }
        let follow_up = if is_current && sent < dispatch.through { self.follow_up(dispatch, sent, 0) } else { None };
        match follow_up {
            Some(next) => ready.calls.push(next),
            None => {
                self.call_ended(dispatch);
                self.call_succeeded(now, dispatch, is_current && has_progressed);
            }
        }
        self.settle(now, ready);
    }

    fn call_succeeded(&mut self, now: Time, dispatch: &Dispatch, has_progressed: bool) {
        let timing = self.settings.timing;
        let Some(progress) = self.members.get_mut(dispatch.member) else { return };
        match dispatch.purpose {
            Purpose::Round(_) if has_progressed => progress.succeeded(&timing),
            // An immediate retry would send the same again.
            Purpose::CatchUp if !has_progressed => progress.contact_at = Some(now.plus(timing.backoff_min)),
            _ => {}
        }
    }

    fn call_failed(&mut self, now: Time, dispatch: &Dispatch, failure: CallFailure, ready: &mut Ready) {
        if let CallFailure::Refused(Refusal::Gap { holds }) = failure
            && holds < dispatch.after
            && dispatch.resends < RESENDS_MAX
            && let Some(next) = self.follow_up(dispatch, holds, dispatch.resends + 1)
        {
            ready.news.push(News::Resent(dispatch.member, holds));
            return ready.calls.push(next);
        }
        self.call_ended(dispatch);
        // The failure of a call of an earlier session does not count: it may come long after the node is back.
        if self.members.get(dispatch.member).is_some_and(|progress| progress.session == dispatch.session) {
            self.lose(now, dispatch.member, failure, ready);
        }
        self.settle(now, ready);
    }
}

/// Met, committed, decided, shown; or refused.
impl Leader {
    /// Draws the consequences of an event: seals, decides, and answers clients.
    fn settle(&mut self, now: Time, ready: &mut Ready) {
        if self.is_halted {
            return;
        }
        self.answer_refused(now, ready);
        self.seal();
        self.decide();
        self.answer(now, ready);
        self.tell_refusals(ready);
        self.scheduler.end_rounds(self.durable, |after, through| self.writes.has_open(after, through));
        self.catch_up_those_who_wait(now, ready);
    }

    fn seal(&mut self) {
        let mut marks = Marks::default();
        let met = |(last, write): (Id, &Write)| (!write.refusing && last <= marks.of(self, write)).then_some(last);
        let sealed = self.writes.range(self.sealed.next()..).filter_map(met).next_back();
        self.sealed = sealed.unwrap_or(self.sealed);
    }

    fn decide(&mut self) {
        if self.decided < self.found && !self.found_may_be_decided() {
            return;
        }
        while self.decided < self.durable {
            let id = self.decided.next();
            if self.refused.contains(id) {
                // A write that is refused stays open until all of its refusals are safe.
                if !self.is_safe(id) || self.writes.of(id).is_some() {
                    break;
                }
                self.refused.remove(id);
                self.decided = id;
                continue;
            }
            let committed = self.writes.of(id).filter(|(last, write)| *last <= self.sealed && !write.refusing);
            let Some((last, _)) = committed else { break };
            self.visible += last.since(self.decided);
            self.decided = last;
            self.last_visible = last;
        }
    }

    /// Whether what was found at the start may be decided: all of it at once, because a write has one outcome, and the
    /// leader has not read which of it was one write.
    fn found_may_be_decided(&self) -> bool {
        let found = self.found;
        let in_doubt = self.writes.range(..=found).next_back().map_or(Id::ZERO, |(last, _)| last);
        let is_held = |member: MemberId, progress: &Progress| {
            self.members.counted(progress) >= found && self.refused.are_held_by(member, found)
        };
        in_doubt <= self.sealed && self.members.is_majority(is_held)
    }

    fn watermark_noted(&mut self, now: Time, ready: &mut Ready) {
        let before = self.shown.decided;
        self.shown = self.noting.take().expect("a watermark is being noted");
        self.shown_at = now;
        self.settle(now, ready);
        let sealed =
            self.writes.range(before.next()..=self.shown.decided).filter(|(_, write)| !write.waiters.is_empty());
        ready.news.extend(sealed.map(|(last, write)| News::Sealed(write.first, last)));
    }

    /// Settles the writes that are shown and have their copies or are out of time.
    fn answer(&mut self, now: Time, ready: &mut Ready) {
        let mut marks = Marks::default();
        let outcome = |(last, write): (Id, &Write)| {
            if last <= marks.of(self, write) {
                Some((last, Outcome::Committed))
            } else {
                write.overdue.then_some((last, Outcome::CommittedShort))
            }
        };
        let settled: Vec<(Id, Outcome)> = self.writes.range(..=self.shown.decided).filter_map(outcome).collect();
        let settled =
            settled.into_iter().filter_map(|(last, outcome)| Some((last, self.writes.remove(last)?, outcome)));
        let settled = settled.collect();
        self.reply(now, settled, ready);
    }

    /// Tells the clients of these writes what became of them.
    fn reply(&mut self, now: Time, settled: Vec<(Id, Write, Outcome)>, ready: &mut Ready) {
        if settled.is_empty() {
            return;
        }
        let answered = settled.iter().map(|(_, write, _)| write.waiters.len()).sum();
        self.scheduler.expect_writers(now, answered);
        for kind in [Outcome::Committed, Outcome::CommittedShort, Outcome::Refused] {
            let of_kind = settled.iter().filter(|(_, _, outcome)| *outcome == kind);
            let ids: Vec<(Id, Id)> = of_kind.map(|(last, write, _)| (write.first, *last)).collect();
            if !ids.is_empty() {
                ready.news.push(News::Settled(kind, ids));
            }
        }
        for (last, write, outcome) in settled {
            if outcome == Outcome::Refused {
                self.keys.forget(last);
            }
            for Waiter { ticket, wanted, is_repeat, .. } in write.waiters {
                let is_judged_anew = is_repeat && outcome != Outcome::Refused;
                let outcome = if is_judged_anew { self.known_outcome(last, wanted) } else { outcome };
                ready.replies.push((ticket, Reply::Settled { last, outcome, is_repeat }));
            }
        }
    }

    /// The deadlines of these writes, or of clients that wait for them, have come.
    fn expire(&mut self, now: Time, due: Vec<Id>, ready: &mut Ready) {
        let mut expired = Vec::new();
        for last in due {
            let Some(write) = self.writes.get_mut(last) else { continue };
            if matches!(write.expiry, Expiry::At(at) if at <= now) {
                expired.push(last);
            }
            self.leave_in_doubt(last, |waiter| waiter.until.is_some_and(|until| until <= now), ready);
        }
        self.give_up(expired);
        self.settle(now, ready);
    }

    /// Answers clients that give up waiting for a write that never expires.
    fn leave_in_doubt(&mut self, last: Id, gives_up: impl Fn(&Waiter) -> bool, ready: &mut Ready) {
        for Waiter { ticket, wanted, .. } in self.writes.take_waiters(last, gives_up) {
            let reply = if last <= self.shown.decided {
                Reply::Settled { last, outcome: self.known_outcome(last, wanted), is_repeat: true }
            } else {
                Reply::Unknown { last }
            };
            ready.replies.push((ticket, reply));
        }
    }

    /// Refuses what is undecided, because the master stops. Writes in doubt stay in doubt.
    fn stop(&mut self, now: Time, ready: &mut Ready) {
        let all: Vec<(Id, Expiry)> = self.writes.iter().map(|(last, write)| (last, write.expiry)).collect();
        let (doubtful, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, expiry)| *expiry == Expiry::Never);
        doubtful.into_iter().for_each(|(last, _)| self.leave_in_doubt(last, |_| true, ready));
        self.give_up(others.into_iter().map(|(last, _)| last));
        self.stops_at = Some(Time::new(Duration::MAX));
        self.settle(now, ready);
    }

    /// Refuses what cannot be met without a secondary that has left the rounds or was removed.
    fn give_up_unattainable(&mut self) {
        let is_unattainable = |(last, write): &(Id, &Write)| {
            write.expiry == Expiry::FailFast && !self.members.is_attainable(*last, write)
        };
        let unattainable: Vec<Id> = self.writes.iter().filter(is_unattainable).map(|(last, _)| last).collect();
        self.give_up(unattainable);
    }

    fn give_up(&mut self, writes: impl IntoIterator<Item = Id>) {
        let mut refuse = Vec::new();
        for last in writes {
            let sealed = last <= self.sealed;
            let Some(write) = self.writes.get_mut(last) else { continue };
            if sealed {
                write.overdue = true;
            } else if !write.refusing {
                write.refusing = true;
                refuse.extend(write.ids(last));
            }
        }
        self.scheduler.flush(&refuse);
        self.to_refuse.extend(refuse);
    }

    /// Takes no more writes until a restart. The outcome of those in flight is unknown.
    fn halt(&mut self, now: Time, ready: &mut Ready) {
        self.is_halted = true;
        self.scheduler.clear();
        let open: Vec<Id> = self.writes.iter().map(|(last, _)| last).collect();
        for last in open {
            let waiters = self.writes.take_waiters(last, |_| true);
            ready.replies.extend(waiters.iter().map(|waiter| (waiter.ticket, Reply::Unknown { last })));
        }
        self.answer_awaiting_reports(now, ready);
    }
}

/// How far each write concern is met, computed once per event: thousands of writes share a few concerns.
#[derive(Default)]
struct Marks {
    known: Vec<(Wanted, Id)>,
}

impl Marks {
    fn of(&mut self, leader: &Leader, write: &Write) -> Id {
        if let Some(&(_, mark)) = self.known.iter().find(|(wanted, _)| *wanted == write.wanted) {
            return mark;
        }
        let members = &leader.members;
        let mark = members.matched(write.wanted, |progress| members.counted(progress)).min(leader.durable);
        self.known.push((write.wanted, mark));
        mark
    }
}
