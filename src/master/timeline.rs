//! How long each step of a write took: noted while it happens, and kept for the latest writes.
//!
//! A write's [`Timeline`] moves into the [`Traces`] when its client gets the reply. Acknowledgements that come after
//! that are still noted there.

use super::member::Member;
use crate::protocol::{Id, MemberId};
use crate::wire::client::{Ack, WriteIds};
use crate::wire::timestamp::Timestamp;
use crate::wire::timing::{CallTimes, Millis, Took};
use crate::wire::trace::{ReplicaState, ReplicaTrace, TraceOutcome};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many writes are kept. Each takes about 400 bytes.
pub(super) const TRACES_MAX: usize = 10_000;

/// What happened to a write, and when.
#[derive(Debug)]
pub(super) struct Timeline {
    /// When it was accepted.
    pub(super) since: Instant,
    /// The number of the round that took it, and when that began.
    pub(super) round: Option<(u64, Instant)>,
    /// When it was on the master's own disk.
    pub(super) stored: Option<Instant>,
    acks: Acknowledgements,
    /// Secondaries that left the rounds while it waited for them, and why.
    losses: Vec<Loss>,
    /// Calls that had not been answered when it was refused.
    pub(super) given_up: Vec<(MemberId, Instant)>,
}

/// The acknowledgements of a write, in the order of arrival. Most clusters have two secondaries: theirs need no memory of
/// their own, which would be given back long after it has left the processor's caches.
#[derive(Debug, Default)]
struct Acknowledgements {
    first: [Option<Acknowledged>; 2],
    more: Vec<Acknowledged>,
}

impl Acknowledgements {
    fn push(&mut self, ack: Acknowledged) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(ack),
            None => self.more.push(ack),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Acknowledged> {
        self.first.iter().flatten().chain(&self.more)
    }

    fn forget(&mut self, member: MemberId) {
        let acks = std::mem::take(self);
        acks.first
            .into_iter()
            .flatten()
            .chain(acks.more)
            .filter(|ack| ack.member != member)
            .for_each(|ack| self.push(ack));
    }
}

#[derive(Clone, Debug)]
struct Acknowledged {
    member: MemberId,
    at: Instant,
    /// The call with that acknowledgement; none if the secondary only reported what it holds.
    call: Option<CallMade>,
    attempts: u32,
}

/// A call that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallMade {
    pub(super) sent: Instant,
    /// How long the secondary took, if it said so.
    pub(super) took: Option<Took>,
    /// How often it was sent.
    pub(super) attempts: u32,
}

#[derive(Debug)]
struct Loss {
    member: MemberId,
    why: String,
    times: u32,
}

impl Timeline {
    pub(super) fn new(since: Instant) -> Timeline {
        Timeline {
            since,
            round: None,
            stored: None,
            acks: Acknowledgements::default(),
            losses: Vec::new(),
            given_up: Vec::new(),
        }
    }

    pub(super) fn acknowledged(&mut self, member: MemberId, at: Instant, call: Option<CallMade>) {
        if self.ack(member).is_none() {
            let lost = self.loss(member).map_or(0, |loss| loss.times);
            let attempts = call.map_or(1, |call| call.attempts) + lost;
            self.acks.push(Acknowledged { member, at, call, attempts });
        }
    }

    pub(super) fn lost(&mut self, member: MemberId, why: String) {
        match self.losses.iter_mut().find(|loss| loss.member == member) {
            Some(loss) => (loss.why, loss.times) = (why, loss.times + 1),
            None => self.losses.push(Loss { member, why, times: 1 }),
        }
    }

    fn ack(&self, member: MemberId) -> Option<&Acknowledged> {
        self.acks.iter().find(|ack| ack.member == member)
    }

    /// How long after the write was accepted a secondary acknowledged it.
    pub(super) fn acknowledged_after(&self, member: MemberId) -> Option<Duration> {
        self.ack(member).map(|ack| ack.at - self.since)
    }

    /// Why a secondary left the rounds.
    pub(super) fn why_lost(&self, member: MemberId) -> Option<&str> {
        self.loss(member).map(|loss| &*loss.why)
    }

    fn loss(&self, member: MemberId) -> Option<&Loss> {
        self.losses.iter().find(|loss| loss.member == member)
    }

    /// How many secondaries have acknowledged it.
    pub(super) fn copies(&self) -> usize {
        self.acks.iter().count()
    }

    pub(super) fn after(&self, moment: Instant) -> Millis {
        Millis(moment.saturating_duration_since(self.since))
    }

    pub(super) fn stored_after(&self) -> Option<Millis> {
        self.stored.map(|stored| self.after(stored))
    }

    /// The acknowledgements, in the order of arrival.
    pub(super) fn acks(&self, members: &BTreeMap<MemberId, Member>) -> Vec<Ack> {
        let ack = |ack: &Acknowledged| {
            let server_id = Arc::clone(&members.get(&ack.member)?.name);
            Some(Ack { server_id, call: self.times(ack), acknowledged_ms: self.after(ack.at) })
        };
        self.acks.iter().filter_map(ack).collect()
    }

    /// The node with the last of the copies that the write waited for.
    pub(super) fn slowest(
        &self,
        wanted: usize,
        master: &Arc<str>,
        members: &BTreeMap<MemberId, Member>,
    ) -> Option<Arc<str>> {
        let others = wanted.saturating_sub(1).min(self.copies());
        let last = others.checked_sub(1).and_then(|place| self.acks.iter().nth(place));
        match last.filter(|ack| self.stored.is_none_or(|stored| ack.at >= stored)) {
            Some(ack) => members.get(&ack.member).map(|member| Arc::clone(&member.name)),
            None => Some(Arc::clone(master)),
        }
    }

    /// The times of the call behind an acknowledgement. What the secondary did not need counts as time on the network,
    /// half of it each way.
    fn times(&self, ack: &Acknowledged) -> Option<CallTimes> {
        let CallMade { sent, took, .. } = ack.call?;
        let attempts = ack.attempts;
        let known = self.sent_only(sent, attempts);
        let Some(took) = took else { return Some(known) };
        let there = (ack.at - sent).saturating_sub(Duration::from_micros(took.total_us)) / 2;
        let received = sent + there;
        Some(CallTimes {
            received_ms: Some(self.after(received)),
            durable_ms: Some(self.after((received + Duration::from_micros(took.durable_us)).min(ack.at))),
            delay_ms: (took.delay_us > 0).then(|| Millis(Duration::from_micros(took.delay_us))),
            ..known
        })
    }

    /// A call of which no more is known.
    fn sent_only(&self, sent: Instant, attempts: u32) -> CallTimes {
        CallTimes { sent_ms: self.after(sent), received_ms: None, durable_ms: None, delay_ms: None, attempts }
    }

    /// When the call was sent that a secondary has not answered, if there is one.
    pub(super) fn sent(&self, id: MemberId, member: &Member, last: Id, outcome: TraceOutcome) -> Option<Instant> {
        if outcome == TraceOutcome::Refused {
            return self.given_up.iter().find(|(given_up, _)| *given_up == id).map(|&(_, sent)| sent);
        }
        member.flights.iter().rev().find(|flight| flight.carries(last)).map(|flight| flight.sent)
    }

    pub(super) fn replica(&self, id: MemberId, member: &Member, last: Id, outcome: TraceOutcome) -> ReplicaTrace {
        let ack = self.ack(id);
        let lost = self.why_lost(id).filter(|_| ack.is_none());
        let sent = self.sent(id, member, last, outcome);
        let call = match ack {
            Some(ack) => self.times(ack),
            None => sent.map(|sent| self.sent_only(sent, 1)),
        };
        let state = match (ack, sent, lost) {
            (Some(_), _, _) => ReplicaState::Durable,
            (None, Some(_), _) => ReplicaState::Sent,
            (None, None, Some(_)) => ReplicaState::Failed,
            (None, None, None) => ReplicaState::Waiting,
        };
        ReplicaTrace {
            server_id: Arc::clone(&member.name),
            state,
            call,
            stored_ms: None,
            acknowledged_ms: ack.map(|ack| self.after(ack.at)),
            detail: lost.map(str::to_owned),
        }
    }
}

/// The latest writes that were answered, in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Traces(pub(super) VecDeque<Settled>);

#[derive(Debug)]
pub(super) struct Settled {
    /// The id of its last message.
    pub(super) last: Id,
    pub(super) what: What,
    pub(super) outcome: TraceOutcome,
    pub(super) ended: Instant,
    pub(super) timeline: Timeline,
}

/// The facts of a write that do not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct What {
    pub(super) ids: WriteIds,
    pub(super) wanted: usize,
    pub(super) timestamp: Timestamp,
    pub(super) master_unable: bool,
}

impl Traces {
    /// Keeps one more. Most come in the order of their ids.
    pub(super) fn keep(&mut self, settled: Settled) {
        let later = self.0.iter().rev().take_while(|other| other.last > settled.last).count();
        self.0.insert(self.0.len() - later, settled);
        if self.0.len() > TRACES_MAX {
            self.0.pop_front();
        }
    }

    /// A secondary was removed.
    pub(super) fn forget(&mut self, member: MemberId) {
        for Settled { timeline, .. } in &mut self.0 {
            timeline.acks.forget(member);
            timeline.losses.retain(|loss| loss.member != member);
            timeline.given_up.retain(|(given_up, _)| *given_up != member);
        }
    }

    /// The first one that ends with an id or later.
    pub(super) fn from(&self, id: Id) -> Option<&Settled> {
        self.0.get(self.0.partition_point(|settled| settled.last < id))
    }

    /// Those that end after an id, up to another.
    pub(super) fn range_mut(&mut self, after: Id, through: Id) -> impl Iterator<Item = &mut Settled> {
        // Most ranges come after all that is kept, which has left the processor's caches.
        let is_later = self.0.back().is_none_or(|settled| settled.last <= after);
        let first = if is_later { self.0.len() } else { self.0.partition_point(|settled| settled.last <= after) };
        self.0.range_mut(first..).take_while(move |settled| settled.last <= through)
    }
}
