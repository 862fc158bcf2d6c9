//! A secondary's half of the protocol: what becomes of a call, and what a reader may see.
//!
//! The follower is a value, like the leader: it takes an [`Event`] at a time and gives a [`Ready`]. It knows no disk,
//! no network, no thread and no clock.
//!
//! # A call
//!
//! 1. **Called.** The follower takes calls one after another, in the order in which they arrive. It sets a call that
//!    arrives before an earlier one aside until that has come, for [`FollowerSettings::gap_timeout`] at most.
//! 2. **Examined.** The `Replica` says whether the call continues what is held, and which epoch it belongs to. What
//!    it covers again is compared with what the store holds ([`Effect::LookUp`]).
//! 3. **Stored.** [`Effect::Store`] makes the changes durable, in the order given.
//! 4. **Shown.** The high watermark that the call brings is noted ([`Effect::Note`]) before a reader sees it.
//! 5. **Acknowledged.** Only then does the master get its acknowledgement, after the artificial delay if there is one.
//!
//! # A read
//!
//! A read that starts after a 201 sees the message. If nothing is pending and nothing can be missing, this node answers
//! without the master. Otherwise it asks the master what is decided ([`Ready::ask`]), takes that over, and answers once
//! it shows all of it. If that takes longer than [`FollowerSettings::read_timeout`], the reply says that it may be
//! stale.
//!
//! # A store that fails
//!
//! A store that failed may hold a part of a call. The follower begins anew with what the store holds
//! ([`Effect::Recover`]) and a new incarnation, as after a restart. Until that has succeeded it takes no call. Whether
//! later calls can be stored is up to the store: `Disk` refuses all writes until the process is restarted, unless it only
//! lacked room.

mod reads;
mod ready;
mod released;
mod replica;
mod succession;

pub use ready::{
    Called, Consistency, Effect, Event, ForeignMessage, ForeignRefusal, Freshness, News, Ready, Reply, Request,
};
pub use replica::{Change, Decisions, EnteredEpoch, Found, Lineage, ReplicaStatus, ReplicaView, StaleReply};

use super::{
    Acknowledgement, Base, Candidacy, Entry, Epoch, Id, Incarnation, Refusal, Slot, Ticket, Time, Watermark, WritePart,
};
use reads::Reads;
use released::Released;
use replica::{Accepted, Holds, Learned, Replica};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use succession::Granted;

/// How many ids a foreign master may pass over.
const PASSED_OVER_MAX: u64 = 10_000;

/// How long a follower waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FollowerSettings {
    /// How long a call waits for an earlier one.
    pub gap_timeout: Duration,
    /// How long a call waits for an earlier one while other calls are arriving or being stored. A large call takes
    /// longer than `gap_timeout`, and sending it again in parts takes even longer.
    pub busy_gap_timeout: Duration,
    /// How long a reader waits for the master, or for this node to catch up.
    pub read_timeout: Duration,
}

impl Default for FollowerSettings {
    fn default() -> FollowerSettings {
        FollowerSettings {
            gap_timeout: Duration::from_millis(500),
            busy_gap_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(1),
        }
    }
}

/// The state of one secondary.
///
/// Invariants:
/// - one job is in hand at most, and at most one effect is under way;
/// - readers and acknowledgements see `replica`, which changes only when everything that the change depends on is
///   stored and noted;
/// - while `is_unsure`, the follower does no other job than to read again what the store holds.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Follower {
    settings: FollowerSettings,
    replica: Replica,
    /// Calls that have begun to arrive.
    arriving: usize,
    /// Calls that arrived before an earlier one.
    early: Vec<Early>,
    /// Jobs that wait for the one in hand.
    queue: VecDeque<Job>,
    in_hand: Option<InHand>,
    /// Calls that wait for their artificial delay.
    delayed: BTreeMap<Ticket, Delayed>,
    released: Released,
    reads: Reads,
    /// The store failed, and the follower has not read again what it holds.
    is_unsure: bool,
}

/// A call that waits for an earlier one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Early {
    called: Called,
    since: Time,
}

/// Something that is done to the log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Job {
    /// A call, and since when it has waited for an earlier one, if it has.
    Call(Called, Option<Time>),
    Foreign(ForeignMessage),
    Learn(Ticket, Decisions),
    Request(Ticket, Request),
}

impl Job {
    fn ticket(&self) -> Ticket {
        match self {
            Job::Call(Called { ticket, .. }, _)
            | Job::Foreign(ForeignMessage { ticket, .. })
            | Job::Learn(ticket, _)
            | Job::Request(ticket, _) => *ticket,
        }
    }
}

/// The job in hand.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct InHand {
    ticket: Ticket,
    stage: Stage,
}

/// What the job in hand waits for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Stage {
    /// A call's look-up.
    CallLookUp(Called, Holds),
    /// A foreign message's look-up.
    ForeignLookUp(ForeignMessage, Id),
    /// The changes of a job.
    Storing(Step),
    /// The watermark of the replica that a job leads to.
    Noting(Replica, After),
    /// What the store holds. Either the job has failed, or it begins afterwards.
    Recovering { has_failed: bool },
}

/// What a job does to the replica.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Step {
    Apply(Accepted, Carried),
    Foreign(Id),
    Learn(Learned, Decisions),
    Grant(Granted),
}

/// What follows when that is done.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum After {
    Acknowledge(Acknowledgement, Carried),
    ForeignStored(Id),
    Learned(Decisions),
    Granted(Reply),
}

/// What is kept of a call once it is stored.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Carried {
    epoch: Epoch,
    after: Id,
    through: Id,
    has_messages: bool,
    is_delayed: bool,
    base: Option<Base>,
}

/// A call that waits for its artificial delay.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Delayed {
    epoch: Epoch,
    acknowledgement: Acknowledgement,
}

/// The start, and the state as others see it.
impl Follower {
    /// Begins with what the store holds.
    #[must_use]
    pub fn begin(settings: FollowerSettings, incarnation: Incarnation, found: Found) -> Follower {
        let replica = Replica::recovered(incarnation, found);
        Follower {
            settings,
            released: Released::at_start(replica.status().epoch, replica.last()),
            replica,
            arriving: 0,
            early: Vec::new(),
            queue: VecDeque::new(),
            in_hand: None,
            delayed: BTreeMap::new(),
            reads: Reads::default(),
            is_unsure: false,
        }
    }

    /// What this node answers when the master asks for its state.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        self.replica.status()
    }

    /// The follower as others see it.
    #[must_use]
    pub fn view(&self) -> ReplicaView {
        self.replica.view()
    }

    /// The id up to which everything is held durably.
    #[must_use]
    pub fn last(&self) -> Id {
        self.replica.last()
    }

    /// The log that it holds, and its epochs; `None` if it never met a master.
    #[must_use]
    pub fn lineage(&self) -> Option<&Lineage> {
        self.replica.lineage.as_deref()
    }

    /// The latest promise that this node gave.
    #[must_use]
    pub fn promised(&self) -> Option<Candidacy> {
        self.replica.promised()
    }

    /// The high watermark that this node knows: what is committed up to it is visible here.
    #[must_use]
    pub fn decided(&self) -> Id {
        self.replica.decided()
    }

    /// Whether a reader is answered without asking the master. A foreign master knows no decisions, so there is nothing
    /// to ask for.
    #[must_use]
    pub fn answers_alone(&self, consistency: Consistency) -> bool {
        match consistency {
            Consistency::Usual => self.replica.is_foreign() || self.replica.is_complete(),
            Consistency::Strong => self.replica.is_foreign(),
            Consistency::Prefix => true,
        }
    }

    /// When the follower has something to do without any other event.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let gaps = self.early.iter().map(|early| early.since.plus(self.gap_timeout()));
        gaps.chain(self.reads.next_deadline()).min()
    }
}

/// Events and effects.
impl Follower {
    /// Takes an event, at a time that is not earlier than that of any event before. [`Ready`] says what the owner has
    /// to do then.
    ///
    /// # Panics
    /// If an event reports an effect that is not under way.
    pub fn step(&mut self, now: Time, event: Event) -> Ready {
        let mut ready = Ready::default();
        match event {
            Event::Arriving => self.arriving += 1,
            Event::Abandoned => self.arriving -= 1,
            Event::Called(called) => {
                self.arriving -= 1;
                self.queue.push_back(Job::Call(called, None));
            }
            Event::ForeignCalled(message) => {
                self.arriving -= 1;
                self.queue.push_back(Job::Foreign(message));
            }
            Event::Requested(ticket, request) => self.queue.push_back(Job::Request(ticket, request)),
            Event::DelayOver(ticket) => self.delay_over(ticket, &mut ready),
            Event::Read { ticket, consistency } if self.answers_alone(consistency) => {
                ready.reads.push((ticket, Freshness::Complete));
            }
            Event::Read { ticket, .. } => self.reads.wait(ticket, now.plus(self.settings.read_timeout)),
            Event::Answered { ticket, decisions: Some(decisions) } => {
                self.queue.push_back(Job::Learn(ticket, decisions));
            }
            Event::Answered { decisions: None, .. } => self.answer_readers(None, &mut ready),
            Event::LookedUp(held) => self.looked_up(&held, &mut ready),
            Event::Stored => self.stored(&mut ready),
            Event::WatermarkNoted => match self.take_in_hand() {
                InHand { ticket, stage: Stage::Noting(next, after) } => self.finish(ticket, next, after, &mut ready),
                other => panic!("no watermark is being noted: {other:?}"),
            },
            Event::StoreFailed => self.store_failed(&mut ready),
            Event::Recovered(incarnation, found) => self.recovered(incarnation, found, &mut ready),
            Event::BaseTold(base) => ready.trim = self.replica.may_trim(base),
            Event::BaseDiffers(id) => self.replica.diverged = Some(id),
            Event::Tick => {}
        }
        self.proceed(now, &mut ready);
        ready
    }

    /// Begins the next job, expires calls and readers that are out of time, and asks the next question.
    fn proceed(&mut self, now: Time, ready: &mut Ready) {
        self.queue_early_calls();
        while self.in_hand.is_none()
            && let Some(job) = self.queue.front()
        {
            if self.is_unsure {
                self.wait_for(job.ticket(), Stage::Recovering { has_failed: false }, Effect::Recover, ready);
            } else if let Some(job) = self.queue.pop_front() {
                self.begin_job(now, job, ready);
            }
        }
        self.refuse_early_calls(now, ready);
        let expired = self.reads.expired(now);
        reply_to_readers(expired, Freshness::PossiblyStale, ready);
        if self.reads.ask() {
            ready.ask = Some(self.replica.decided());
        }
    }

    /// Puts the early calls that follow what is held now at the head of the queue.
    fn queue_early_calls(&mut self) {
        let last = self.replica.last();
        let mut next: Vec<Early> = self.early.extract_if(.., |early| early.called.call.after <= last).collect();
        next.sort_by_key(|early| early.called.call.after);
        for Early { called, since } in next.into_iter().rev() {
            self.queue.push_front(Job::Call(called, Some(since)));
        }
    }

    /// Refuses the early calls whose timeout is over.
    fn refuse_early_calls(&mut self, now: Time, ready: &mut Ready) {
        let timeout = self.gap_timeout();
        for Early { called, .. } in self.early.extract_if(.., |early| early.since.plus(timeout) <= now) {
            let refusal = self.replica.fits(&called.call).err();
            let refusal = refusal.unwrap_or(Refusal::Gap { holds: self.replica.last() });
            ready.replies.push((called.ticket, Reply::Refused(refusal)));
        }
    }

    /// How long a call waits for an earlier one now.
    fn gap_timeout(&self) -> Duration {
        let is_busy = self.arriving > 0 || self.in_hand.is_some();
        if is_busy { self.settings.busy_gap_timeout } else { self.settings.gap_timeout }
    }

    fn wait_for(&mut self, ticket: Ticket, stage: Stage, effect: Effect, ready: &mut Ready) {
        self.in_hand = Some(InHand { ticket, stage });
        ready.effect = Some((ticket, effect));
    }

    fn take_in_hand(&mut self) -> InHand {
        self.in_hand.take().expect("an effect is under way")
    }
}

/// Jobs, from their examination to their reply.
impl Follower {
    fn begin_job(&mut self, now: Time, job: Job, ready: &mut Ready) {
        match job {
            Job::Call(called, early_since) => self.begin_call(now, called, early_since, ready),
            Job::Foreign(message) => self.begin_foreign(message, ready),
            Job::Learn(ticket, decisions) => self.begin_learning(ticket, decisions, ready),
            Job::Request(ticket, request) => match self.replica.grant(request) {
                Ok((granted, changes)) => self.store(ticket, changes, Step::Grant(granted), ready),
                Err(why) => ready.replies.push((ticket, Reply::NotPromised(why))),
            },
        }
    }

    fn begin_call(&mut self, now: Time, called: Called, early_since: Option<Time>, ready: &mut Ready) {
        let ticket = called.ticket;
        if called.to != self.replica.incarnation() {
            return ready.replies.push((ticket, Reply::OtherIncarnation));
        }
        match self.replica.fits(&called.call) {
            Err(Refusal::Gap { holds }) => {
                let call = &called.call;
                if early_since.is_none() && !call.entries.is_empty() {
                    ready.news.push(News::Early { after: call.after, through: call.through, holds });
                }
                self.early.push(Early { called, since: early_since.unwrap_or(now) });
            }
            Err(refusal) => ready.replies.push((ticket, Reply::Refused(refusal))),
            Ok(holds) => {
                let ids = holds.look_ups(&called.call);
                if ids.is_empty() {
                    self.accept(&called, holds, &[], ready);
                } else {
                    self.wait_for(ticket, Stage::CallLookUp(called, holds), Effect::LookUp(ids), ready);
                }
            }
        }
    }

    fn looked_up(&mut self, held: &[Slot], ready: &mut Ready) {
        let InHand { ticket, stage } = self.take_in_hand();
        match stage {
            Stage::CallLookUp(called, holds) => self.accept(&called, holds, held, ready),
            Stage::ForeignLookUp(message, id) => {
                let is_same = matches!(held, [Slot::Entry(entry)] if entry.message == message.message);
                let refused = Reply::ForeignRefused(ForeignRefusal::Held(id));
                ready.replies.push((ticket, if is_same { Reply::ForeignStored(id) } else { refused }));
            }
            other => panic!("nothing is being looked up: {other:?}"),
        }
    }

    fn accept(&mut self, called: &Called, holds: Holds, held: &[Slot], ready: &mut Ready) {
        let (ticket, call) = (called.ticket, &called.call);
        let (accepted, changes) = match self.replica.examine(call, &holds, held) {
            Ok(accepted) => accepted,
            Err(refusal) => return ready.replies.push((ticket, Reply::Refused(refusal))),
        };
        let has_messages = !call.entries.is_empty();
        let carried = Carried {
            epoch: call.epoch,
            after: call.after,
            through: call.through,
            has_messages,
            is_delayed: has_messages && called.is_delayed,
            base: call.base,
        };
        self.store(ticket, changes, Step::Apply(accepted, carried), ready);
    }

    /// Takes a message of a master that does not speak this protocol. It is shown at once: such a master knows no
    /// decisions.
    fn begin_foreign(&mut self, foreign: ForeignMessage, ready: &mut Ready) {
        let (ticket, status) = (foreign.ticket, self.replica.status());
        let last = status.last;
        let id = foreign.id.unwrap_or(last.next());
        let refusal = match status.log_id {
            Some(log_id) => Some(ForeignRefusal::HasMaster(log_id)),
            None if id.since(last) > PASSED_OVER_MAX => Some(ForeignRefusal::TooFar { id, last }),
            None => None,
        };
        if let Some(refusal) = refusal {
            return ready.replies.push((ticket, Reply::ForeignRefused(refusal)));
        }
        if id <= last {
            return self.wait_for(ticket, Stage::ForeignLookUp(foreign, id), Effect::LookUp(vec![id]), ready);
        }
        let ForeignMessage { message, timestamp_ms, .. } = foreign;
        let entry = Entry { id, epoch: Epoch::NONE, timestamp_ms, message, key: None, part: WritePart::WHOLE };
        let mut slots: Vec<Slot> = last.until(id.previous()).map(Slot::Refused).collect();
        slots.push(Slot::Entry(Arc::new(entry)));
        self.store(ticket, vec![Change::Append(slots)], Step::Foreign(id), ready);
    }

    fn begin_learning(&mut self, ticket: Ticket, decisions: Decisions, ready: &mut Ready) {
        match self.replica.learn(&decisions) {
            Err(stale) => {
                self.answer_readers(None, ready);
                ready.replies.push((ticket, Reply::NotLearned(stale)));
            }
            // This node has not entered that epoch yet: the calls of its master bring what it decided.
            Ok(None) => {
                self.answer_readers(Some(&decisions), ready);
                ready.replies.push((ticket, Reply::Learned));
            }
            Ok(Some(learned)) => {
                let refuse = learned.refuse.clone();
                let changes = if refuse.is_empty() { Vec::new() } else { vec![Change::Refuse(refuse)] };
                self.store(ticket, changes, Step::Learn(learned, decisions), ready);
            }
        }
    }

    fn store(&mut self, ticket: Ticket, changes: Vec<Change>, step: Step, ready: &mut Ready) {
        self.in_hand = Some(InHand { ticket, stage: Stage::Storing(step) });
        if changes.is_empty() {
            self.stored(ready);
        } else {
            ready.effect = Some((ticket, Effect::Store(changes)));
        }
    }

    /// The changes of the job in hand are durable: the high watermark has to be noted before it is shown.
    fn stored(&mut self, ready: &mut Ready) {
        let InHand { ticket, stage: Stage::Storing(step) } = self.take_in_hand() else {
            panic!("nothing is being stored")
        };
        let mut next = self.replica.clone();
        let after = match step {
            Step::Apply(accepted, carried) => {
                if accepted.is_of_other_log {
                    self.released = Released::at_start(accepted.epoch, Id::ZERO);
                } else if let Some(id) = accepted.revision.drop_from {
                    self.released.dropped(accepted.epoch, id);
                }
                if let Some(base) = accepted.revision.base {
                    // What is trimmed waits for no delay.
                    self.released.extend(accepted.epoch, base.id);
                }
                After::Acknowledge(next.applied(&accepted), carried)
            }
            Step::Foreign(id) => {
                next.foreign_stored(id);
                After::ForeignStored(id)
            }
            Step::Learn(learned, decisions) => {
                next.learned(&learned);
                After::Learned(decisions)
            }
            Step::Grant(Granted { reply, epoch, revision }) => {
                if let Some(id) = revision.drop_from {
                    self.released.dropped(epoch, id);
                }
                if reply == Reply::Adopted {
                    // What a candidate copies waits for no delay.
                    self.released.extend(epoch, revision.last);
                }
                next.revise(&revision);
                After::Granted(reply)
            }
        };
        let watermark = next.watermark();
        self.wait_for(ticket, Stage::Noting(next, after), Effect::Note(watermark), ready);
    }

    /// Everything that a job depends on is durable: publishes it, and then replies. In this order no reader misses a
    /// message whose client has a 201.
    fn finish(&mut self, ticket: Ticket, next: Replica, after: After, ready: &mut Ready) {
        let before = mem::replace(&mut self.replica, next).decided();
        let Watermark { decided, visible } = self.replica.watermark();
        if decided > before {
            ready.news.push(News::Decided { after: before, through: decided, visible });
        }
        let reply = match after {
            After::Acknowledge(acknowledgement, carried) => {
                ready.trim = carried.base.and_then(|base| self.replica.may_trim(base));
                self.acknowledge(ticket, acknowledgement, carried)
            }
            After::ForeignStored(id) => Reply::ForeignStored(id),
            After::Learned(decisions) => {
                self.answer_readers(Some(&decisions), ready);
                Reply::Learned
            }
            After::Granted(reply) => reply,
        };
        ready.replies.push((ticket, reply));
        let served = self.reads.shown(decided);
        reply_to_readers(served, Freshness::Complete, ready);
    }

    /// Answers a call without messages at once. Acknowledgements are cumulative, so it must not acknowledge what
    /// another call still delays.
    fn acknowledge(&mut self, ticket: Ticket, acknowledgement: Acknowledgement, carried: Carried) -> Reply {
        let Carried { epoch, after, through, has_messages, is_delayed, .. } = carried;
        if is_delayed {
            self.delayed.insert(ticket, Delayed { epoch, acknowledgement });
            return Reply::Stored;
        }
        if has_messages {
            self.released.extend(epoch, acknowledgement.durable);
            return Reply::Acknowledged(acknowledgement);
        }
        self.released.pass(after, through);
        let durable = self.released.through().min(acknowledgement.durable);
        Reply::Acknowledged(Acknowledgement { durable, ..acknowledgement })
    }

    fn delay_over(&mut self, ticket: Ticket, ready: &mut Ready) {
        let Delayed { epoch, acknowledgement } = self.delayed.remove(&ticket).expect("the call waits for its delay");
        self.released.extend(epoch, acknowledgement.durable);
        ready.replies.push((ticket, Reply::Acknowledged(acknowledgement)));
    }

    /// The question to the master is over. If the master is sure that it knows every decision, the readers of the
    /// question wait until this node shows them all.
    fn answer_readers(&mut self, decisions: Option<&Decisions>, ready: &mut Ready) {
        let decided = decisions.filter(|decisions| decisions.sure).map(|decisions| decisions.decided);
        let unsure = self.reads.answered(decided);
        reply_to_readers(unsure, Freshness::PossiblyStale, ready);
        let served = self.reads.shown(self.replica.decided());
        reply_to_readers(served, Freshness::Complete, ready);
    }
}

/// A store that fails.
impl Follower {
    /// The store may hold a part of the changes, so the follower does nothing else before it has read them again. If even
    /// that fails, the next job tries it again.
    fn store_failed(&mut self, ready: &mut Ready) {
        let InHand { ticket, stage } = self.take_in_hand();
        if let Stage::Recovering { has_failed } = stage {
            return self.fail_jobs(has_failed.then_some(ticket), ready);
        }
        if matches!(stage, Stage::Storing(Step::Learn(..)) | Stage::Noting(_, After::Learned(_))) {
            self.answer_readers(None, ready);
        }
        self.is_unsure = true;
        self.wait_for(ticket, Stage::Recovering { has_failed: true }, Effect::Recover, ready);
    }

    fn recovered(&mut self, incarnation: Incarnation, found: Found, ready: &mut Ready) {
        let InHand { ticket, stage: Stage::Recovering { has_failed } } = self.take_in_hand() else {
            panic!("the store is not being read again")
        };
        self.replica = Replica::recovered(incarnation, found);
        self.released = Released::at_start(self.replica.status().epoch, self.replica.last());
        self.is_unsure = false;
        if has_failed {
            self.fail_jobs(Some(ticket), ready);
        }
    }

    /// The store failed during this job. It fails, and so do all that wait behind it: they were meant for the incarnation
    /// before.
    fn fail_jobs(&mut self, failed: Option<Ticket>, ready: &mut Ready) {
        let waiting = mem::take(&mut self.queue);
        if waiting.iter().any(|job| matches!(job, Job::Learn(..))) {
            self.answer_readers(None, ready);
        }
        let early = mem::take(&mut self.early).into_iter().map(|early| early.called.ticket);
        let unable = failed.into_iter().chain(waiting.iter().map(Job::ticket)).chain(early);
        ready.replies.extend(unable.map(|ticket| (ticket, Reply::Unable)));
    }
}

fn reply_to_readers(readers: Vec<Ticket>, freshness: Freshness, ready: &mut Ready) {
    ready.reads.extend(readers.into_iter().map(|ticket| (ticket, freshness)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Call, CopyId, EpochHistory, EpochStart, LogId, Promotion, Roster, RosterNumber, Voters};

    const LOG: LogId = LogId::new(1);
    const PROCESS: Incarnation = Incarnation::new(1);

    fn follower() -> Follower {
        let found = Found { copy: CopyId::new(1), ..Found::default() };
        Follower::begin(FollowerSettings::default(), PROCESS, found)
    }

    fn at(ms: u64) -> Time {
        Time::new(Duration::from_millis(ms))
    }

    fn called(ticket: u64, after: u64, through: u64) -> Event {
        let entry = |id| Entry {
            id,
            epoch: Epoch::new(1),
            timestamp_ms: 0,
            message: "text".into(),
            key: None,
            part: WritePart::WHOLE,
        };
        let (after, through) = (Id::new(after), Id::new(through));
        let call = Call {
            log_id: LOG,
            epoch: Epoch::new(1),
            master: Incarnation::new(9),
            epoch_start: Some(EpochStart { since: Epoch::NONE, overtaken_from: Id::new(1) }),
            history: None,
            roster: None,
            base: None,
            after,
            through,
            entries: after.until(through).map(|id| Arc::new(entry(id))).collect(),
            restored: Vec::new(),
            refused: Vec::new(),
            decided: Id::ZERO,
            session: 1,
            admitted: true,
        };
        Event::Called(Called { ticket: Ticket(ticket), to: PROCESS, call, is_delayed: false })
    }

    /// Gives the events, and the effect and the replies of the last one.
    fn play(follower: &mut Follower, events: Vec<(u64, Event)>) -> (Option<Effect>, Vec<(u64, Reply)>) {
        let mut last = Ready::default();
        for (now, event) in events {
            if let Event::Called(_) = event {
                let _ = follower.step(at(now), Event::Arriving);
            }
            last = follower.step(at(now), event);
        }
        let replies = last.replies.into_iter().map(|(Ticket(ticket), reply)| (ticket, reply));
        (last.effect.map(|(_, effect)| effect), replies.collect())
    }

    #[test]
    fn a_call_that_changes_nothing_still_asks_the_store_whether_it_works() {
        let mut follower = follower();
        let noted = Event::WatermarkNoted;
        let (_, replies) = play(&mut follower, vec![(0, called(1, 0, 1)), (0, Event::Stored), (0, noted)]);
        assert!(matches!(replies[..], [(1, Reply::Acknowledged(_))]), "{replies:?}");
        let (effect, replies) = play(&mut follower, vec![(1, called(2, 1, 1))]);
        assert!(matches!(effect, Some(Effect::Note(_))) && replies.is_empty(), "{effect:?} {replies:?}");
        let (effect, _) = play(&mut follower, vec![(1, Event::StoreFailed)]);
        assert_eq!(effect, Some(Effect::Recover));
    }

    #[test]
    fn calls_that_wait_behind_one_that_failed_fail_with_it() {
        let mut follower = follower();
        let events = vec![(0, called(1, 0, 1)), (0, called(2, 1, 2)), (0, Event::StoreFailed)];
        assert_eq!(play(&mut follower, events), (Some(Effect::Recover), Vec::new()));
        let (effect, replies) = play(&mut follower, vec![(0, Event::StoreFailed)]);
        assert_eq!((effect, replies), (None, vec![(1, Reply::Unable), (2, Reply::Unable)]));
        let (effect, replies) = play(&mut follower, vec![(0, called(3, 0, 1))]);
        assert_eq!((effect, replies), (Some(Effect::Recover), Vec::new()), "the next call tries again");
        let recovered = Event::Recovered(Incarnation::new(2), Found::default());
        assert_eq!(play(&mut follower, vec![(0, recovered)]), (None, vec![(3, Reply::OtherIncarnation)]));
    }

    #[test]
    fn an_early_call_is_taken_as_soon_as_it_continues_what_is_held() {
        let mut follower = follower();
        let (effect, replies) = play(&mut follower, vec![(0, called(2, 1, 2)), (0, called(1, 0, 1))]);
        assert!(matches!(effect, Some(Effect::Store(_))) && replies.is_empty(), "{effect:?} {replies:?}");
        let (effect, replies) = play(&mut follower, vec![(1, Event::Stored), (1, Event::WatermarkNoted)]);
        assert!(matches!(replies[..], [(1, Reply::Acknowledged(_))]), "{replies:?}");
        assert!(matches!(effect, Some(Effect::Store(_))), "the early one is stored next: {effect:?}");
    }

    #[test]
    fn what_has_arrived_does_not_count_as_arriving() {
        let mut follower = follower();
        let foreign = ForeignMessage { ticket: Ticket(1), id: None, message: "text".into(), timestamp_ms: 0 };
        let _ = follower.step(at(0), Event::Arriving);
        let _ = follower.step(at(0), Event::ForeignCalled(foreign));
        let _ = follower.step(at(0), Event::StoreFailed);
        play(&mut follower, vec![(0, Event::Recovered(PROCESS, Found::default())), (0, called(2, 5, 6))]);
        assert_eq!(follower.wake_at(), Some(at(500)), "nothing arrives, and nothing is stored");
    }

    #[test]
    fn a_call_without_messages_does_not_acknowledge_what_is_still_delayed() {
        let mut follower = follower();
        let Event::Called(first) = called(1, 0, 1) else { unreachable!() };
        let delayed = Event::Called(Called { is_delayed: true, ..first });
        let stored = vec![(0, delayed), (0, Event::Stored), (0, Event::WatermarkNoted)];
        assert_eq!(play(&mut follower, stored).1, [(1, Reply::Stored)]);
        let durable = |replies: &[(u64, Reply)]| match replies {
            [(_, Reply::Acknowledged(acknowledgement))] => acknowledgement.durable,
            other => panic!("{other:?}"),
        };
        let (_, replies) = play(&mut follower, vec![(1, called(2, 1, 1)), (1, Event::WatermarkNoted)]);
        assert_eq!(durable(&replies), Id::ZERO, "id 1 waits for its artificial delay");
        let (_, replies) = play(&mut follower, vec![(2, Event::DelayOver(Ticket(1)))]);
        assert_eq!(durable(&replies), Id::new(1));
    }

    #[test]
    fn a_watermark_that_has_risen_is_news() {
        let mut follower = follower();
        play(&mut follower, vec![(0, called(1, 0, 1)), (0, Event::Stored), (0, Event::WatermarkNoted)]);
        let Event::Called(next) = called(2, 1, 1) else { unreachable!() };
        let call = Call { decided: Id::new(1), ..next.call.clone() };
        for expected in [vec![News::Decided { after: Id::ZERO, through: Id::new(1), visible: 1 }], vec![]] {
            let _ = follower.step(at(1), Event::Arriving);
            let _ = follower.step(at(1), Event::Called(Called { call: call.clone(), ..next.clone() }));
            assert_eq!(follower.step(at(1), Event::WatermarkNoted).news, expected);
        }
    }

    #[test]
    fn an_earlier_call_of_the_session_does_not_take_an_admission_back() {
        let mut follower = follower();
        play(&mut follower, vec![(0, called(1, 0, 1)), (0, Event::Stored), (0, Event::WatermarkNoted)]);
        assert!(follower.view().admitted);
        for (session, is_admitted) in [(1, true), (2, false)] {
            let Event::Called(late) = called(2, 1, 1) else { unreachable!() };
            let call = Call { admitted: false, session, ..late.call };
            play(&mut follower, vec![(1, Event::Called(Called { call, ..late })), (1, Event::WatermarkNoted)]);
            assert_eq!(follower.view().admitted, is_admitted, "session {session}");
        }
    }

    #[test]
    fn a_node_that_holds_nothing_takes_another_log() {
        let mut follower = follower();
        play(&mut follower, vec![(0, called(1, 0, 0)), (0, Event::Stored), (0, Event::WatermarkNoted)]);
        let Event::Called(other) = called(2, 0, 1) else { unreachable!() };
        let call = Call { log_id: LogId::new(2), master: Incarnation::new(8), ..other.call };
        let (effect, replies) = play(&mut follower, vec![(1, Event::Called(Called { call, ..other }))]);
        let Some(Effect::Store(changes)) = effect else { panic!("{effect:?} {replies:?}") };
        assert!(matches!(&changes[..], [Change::Enter(entered), Change::Append(_)] if entered.log_id == LogId::new(2)));
    }

    #[test]
    fn a_node_that_takes_an_earlier_epoch_of_another_log_acknowledges_what_carries_no_messages() {
        let mut history = EpochHistory::default();
        history.begin(Epoch::new(7), Id::new(1), Incarnation::new(9));
        let lineage = Lineage { log_id: LOG, history, roster: Roster::default(), promised: None };
        let found = Found { lineage: Some(lineage), ..Found::default() };
        let mut follower = Follower::begin(FollowerSettings::default(), PROCESS, found);
        for (ticket, entries, refused) in [(1, 1, vec![]), (2, 0, vec![Id::new(2)])] {
            let Event::Called(other) = called(ticket, ticket - 1, ticket) else { unreachable!() };
            let (log_id, entries) = (LogId::new(2), other.call.entries[..entries].to_vec());
            let call = Event::Called(Called { call: Call { log_id, entries, refused, ..other.call }, ..other });
            let (_, replies) = play(&mut follower, vec![(1, call), (1, Event::Stored), (1, Event::WatermarkNoted)]);
            let [(_, Reply::Acknowledged(acknowledgement))] = &replies[..] else { panic!("{replies:?}") };
            assert_eq!(acknowledgement.durable, Id::new(ticket));
        }
    }

    #[test]
    fn a_refusal_is_taken_back_only_by_the_opening_of_an_epoch_with_promotion() {
        let copies = [CopyId::new(1), CopyId::new(2)];
        let roster = |promotion| {
            let number = RosterNumber { epoch: Epoch::new(1), sequence: 0 };
            Some(Roster::new(number, copies[1], Voters::new(promotion, copies)))
        };
        for (opens, roster, is_taken) in [
            (true, roster(Promotion::On), true),
            (true, roster(Promotion::Off), false),
            (true, None, false),
            (false, roster(Promotion::On), false),
        ] {
            let mut follower = follower();
            let Event::Called(called) = called(1, 0, 1) else { unreachable!() };
            let epoch_start = called.call.epoch_start.filter(|_| opens);
            let restored = called.call.entries.clone();
            let call = Call { epoch_start, roster, restored, ..called.call };
            let (effect, replies) = play(&mut follower, vec![(0, Event::Called(Called { call, ..called }))]);
            assert_eq!(effect.is_some(), is_taken, "{replies:?}");
        }
    }

    #[test]
    fn a_call_that_arrives_early_waits_longer_while_another_one_arrives() {
        let mut follower = follower();
        play(&mut follower, vec![(0, called(1, 0, 1)), (0, Event::Stored), (0, Event::WatermarkNoted)]);
        play(&mut follower, vec![(0, Event::Arriving), (0, called(2, 5, 6))]);
        assert_eq!(follower.wake_at(), Some(at(5_000)));
        let (_, replies) = play(&mut follower, vec![(100, Event::Abandoned)]);
        assert_eq!((follower.wake_at(), replies), (Some(at(500)), Vec::new()));
        let (_, replies) = play(&mut follower, vec![(500, Event::Tick)]);
        assert_eq!(replies, [(2, Reply::Refused(Refusal::Gap { holds: Id::new(1) }))]);
    }
}
