//! Events for a leader: posts, ticks, results of its disk, answers of secondaries, members that come and go, a stop.
//!
//! They are only events whose preconditions hold, see `Event` and `Ready`, but secondaries may answer anything.
//! After every step it must be possible to do what the leader asks for, and its replies to clients must match its disk.

use super::choices::Choices;
use replicated_log::protocol::{
    Acknowledgement, Base, CallFailure, CopyId, Dispatch, Entry, Epoch, EpochHistory, Event, FoundLog, Id, Incarnation,
    KeyedWrite, Leader, LeaderSettings, LogId, MemberId, Outcome, Post, Ready, Refusal, ReplicaStatus, Reply, Roster,
    Slot, Ticket, Time, Timing, Watermark, WriteConcern, WritePart,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Longer sequences find nothing that shorter ones do not.
const STEPS_MAX: usize = 160;
/// After so many rounds in which everything under way ends, every client must have its reply.
const ENDINGS_MAX: usize = 64;
const MEMBERS_MAX: u32 = 5;
const LOG: LogId = LogId::new(1);
const MASTER: Incarnation = Incarnation::new(7);

/// Runs the sequence that the bytes choose.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut master = Master::begin(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.are_over() {
            break;
        }
        if let Some(event) = master.next(&mut choices) {
            master.step(event);
        }
    }
    master.end(choices.one_in(2));
}

/// The replies that a client has got.
#[derive(Debug, Default)]
struct Told {
    accepted: bool,
    done: bool,
}

/// A leader, its disk, and what is under way.
struct Master {
    leader: Leader,
    now: Time,
    disk: Vec<Slot>,
    append: Vec<Slot>,
    refuse: Vec<Id>,
    note: Option<Watermark>,
    calls: Vec<Dispatch>,
    probes: Vec<MemberId>,
    members: BTreeSet<MemberId>,
    members_numbered: u32,
    clients: BTreeMap<Ticket, Told>,
}

impl Master {
    /// Begins on a log that may have ended in doubt, with up to three secondaries.
    fn begin(choices: &mut Choices<'_>) -> Master {
        let mut history = EpochHistory::default();
        history.begin(Epoch::new(1), Id::new(1), Incarnation::new(6));
        let found: Vec<Slot> = (1..=choices.below(4)).map(|id| slot(choices, Id::new(id))).collect();
        let decided = Id::new(choices.below(1 + found.len() as u8));
        let last = Id::new(found.len() as u64);
        history.begin(Epoch::new(2), last.next(), MASTER);
        let is_visible = |slot: &&Slot| slot.id() <= decided && matches!(slot, Slot::Entry(_));
        let visible: Vec<Id> = found.iter().filter(is_visible).map(Slot::id).collect();
        let refused = found.iter().filter(|slot| matches!(slot, Slot::Refused(id) if *id > decided)).map(Slot::id);
        let found_log = FoundLog {
            base: Base::default(),
            last,
            decided,
            visible: visible.len() as u64,
            last_visible: visible.last().copied().unwrap_or_default(),
            refused: refused.collect(),
        };
        let keyed = found.iter().rev().filter_map(|slot| match slot {
            Slot::Entry(entry) => Some(KeyedWrite { first: entry.id, last: entry.id, key: entry.key.clone()? }),
            Slot::Refused(_) => None,
        });
        let leader =
            Leader::begin(settings(choices), LOG, MASTER, history, Roster::default(), found_log, keyed.collect());
        let mut master = Master {
            leader,
            now: Time::ZERO,
            disk: found,
            append: Vec::new(),
            refuse: Vec::new(),
            note: None,
            calls: Vec::new(),
            probes: Vec::new(),
            members: BTreeSet::new(),
            members_numbered: 0,
            clients: BTreeMap::new(),
        };
        for _ in 0..choices.below(4) {
            master.join();
        }
        master.step(Event::Assembled);
        master
    }

    fn join(&mut self) {
        if self.members_numbered < MEMBERS_MAX {
            self.members_numbered += 1;
            let member = MemberId::new(self.members_numbered);
            self.members.insert(member);
            self.step(Event::Joined(member, None));
        }
    }

    /// The next event, or `None` if the bytes choose one that cannot happen now.
    fn next(&mut self, choices: &mut Choices<'_>) -> Option<Event> {
        match choices.below(16) {
            0..=2 => Some(Event::Posted(self.post(choices))),
            3..=5 => {
                self.now = self.now.plus(Duration::from_millis([0, 1, 10, 100, 1_000][choices.below(5) as usize]));
                Some(Event::Tick)
            }
            6 if choices.one_in(8) => (!self.append.is_empty()).then_some(Event::AppendHadNoRoom),
            6 | 7 => self.appended(),
            8 => self.refusals_stored().or_else(|| self.noted()),
            9 => self.noted().or_else(|| self.refusals_stored()),
            10..=12 => self.answer(choices),
            13 => self.report(choices),
            14 => {
                let member = self.member(choices)?;
                Some(Event::Started(member, Incarnation::new(choices.below(3))))
            }
            _ => match choices.below(16) {
                0..=7 => {
                    self.join();
                    None
                }
                8..=10 => Some(Event::Leaving(self.member(choices)?)),
                11..=13 => {
                    let member = self.member(choices)?;
                    self.members.remove(&member);
                    Some(Event::Left(member))
                }
                _ => match choices.below(16) {
                    0 => Some(Event::Stopping(Duration::from_millis(choices.below(200)))),
                    1 => Some(Event::Failed),
                    _ => None,
                },
            },
        }
    }

    fn post(&mut self, choices: &mut Choices<'_>) -> Post {
        let ticket = Ticket(self.clients.len() as u64);
        self.clients.insert(ticket, Told::default());
        let timeout = choices.one_in(2).then(|| Duration::from_millis(choices.below(200)));
        Post {
            ticket,
            messages: (0..=choices.below(3)).map(|_| text(choices)).collect(),
            key: choices.one_in(3).then(|| text(choices)),
            concern: concern(choices),
            timeout,
            follows: choices.one_in(8).then(|| Id::new(choices.below(8))),
            timestamp_ms: 0,
        }
    }

    fn member(&self, choices: &mut Choices<'_>) -> Option<MemberId> {
        let place = choices.below(MEMBERS_MAX as u8) as usize;
        self.members.iter().nth(place).copied()
    }

    fn appended(&mut self) -> Option<Event> {
        let slots = std::mem::take(&mut self.append);
        (!slots.is_empty()).then(|| {
            self.disk.extend(slots);
            Event::Appended
        })
    }

    fn refusals_stored(&mut self) -> Option<Event> {
        let ids = std::mem::take(&mut self.refuse);
        ids.iter().for_each(|&id| self.disk[place(id)] = Slot::Refused(id));
        (!ids.is_empty()).then_some(Event::RefusalsStored)
    }

    fn noted(&mut self) -> Option<Event> {
        self.note.take().map(|_| Event::WatermarkNoted)
    }

    /// Ends a call. The secondary may answer anything, even that it holds what no master sent.
    fn answer(&mut self, choices: &mut Choices<'_>) -> Option<Event> {
        if self.calls.is_empty() {
            return None;
        }
        let chosen = choices.byte() as usize % self.calls.len();
        let dispatch = self.calls.remove(chosen);
        if choices.one_in(4) {
            return Some(Event::CallFailed { failure: failure(choices), dispatch });
        }
        let is_short = dispatch.is_from_store() && choices.one_in(2);
        let sent = if is_short { dispatch.after.next() } else { dispatch.carries };
        let mut acknowledgement = self.honest(&dispatch, sent);
        match choices.below(8) {
            0 => acknowledgement.incarnation = Incarnation::new(choices.below(3)),
            1 => acknowledgement.durable = Id::new(choices.below(16)),
            2 => acknowledgement.decided = Id::new(choices.below(16)),
            3 => acknowledgement.session = choices.below(8),
            _ => {}
        }
        Some(Event::Acknowledged { dispatch, sent, acknowledgement })
    }

    fn honest(&self, dispatch: &Dispatch, sent: Id) -> Acknowledgement {
        Acknowledgement {
            incarnation: dispatch.incarnation,
            durable: sent,
            decided: dispatch.decided.min(sent),
            session: dispatch.session,
            admitted: dispatch.admitted,
        }
    }

    fn report(&mut self, choices: &mut Choices<'_>) -> Option<Event> {
        if self.probes.is_empty() {
            return None;
        }
        let chosen = choices.byte() as usize % self.probes.len();
        let member = self.probes.remove(chosen);
        let report = if choices.one_in(4) { Err(failure(choices)) } else { Ok(self.status(choices, member)) };
        Some(Event::Reported { member, report })
    }

    fn status(&self, choices: &mut Choices<'_>, member: MemberId) -> ReplicaStatus {
        let number = 1 + self.members.iter().position(|&known| known == member).unwrap_or(0) as u64;
        let last = Id::new(choices.below(2 + self.leader.last().get().min(200) as u8));
        let epoch = Epoch::new(if choices.one_in(128) { 3 } else { choices.below(3) });
        let master = [None, Some(Incarnation::new(6)), Some(MASTER)];
        ReplicaStatus {
            incarnation: Incarnation::new(10 * number + choices.below(2)),
            copy: CopyId::new(if choices.one_in(16) { 1 } else { number }),
            log_id: (epoch > Epoch::NONE).then_some(if choices.one_in(32) { LogId::new(2) } else { LOG }),
            epoch,
            master: master.get(epoch.get() as usize).copied().flatten(),
            base: Id::ZERO,
            last,
            decided: if choices.one_in(128) { last } else { last.min(self.leader.shown().decided) },
            foreign: u64::from(choices.one_in(64)),
            diverged: choices.one_in(64).then_some(last),
            lineage: None,
            refused: Vec::new(),
        }
    }

    /// Ends everything that is under way, and lets time pass, until every reply is given. Calls are acknowledged, or fail.
    fn end(&mut self, are_acknowledged: bool) {
        for _ in 0..ENDINGS_MAX {
            while let Some(event) = self.next_ending(are_acknowledged) {
                self.step(event);
            }
            if self.clients.values().all(|told| told.done) {
                break;
            }
            self.now = self.now.plus(Duration::from_secs(1));
            self.step(Event::Tick);
        }
        let waiting: Vec<_> = self.clients.iter().filter(|(_, told)| !told.done).collect();
        assert!(waiting.is_empty(), "these clients have no answer: {waiting:?}; {:?}", self.leader);
        assert_eq!(self.leader.waiting(), 0, "the leader has answered every client");
    }

    fn next_ending(&mut self, are_acknowledged: bool) -> Option<Event> {
        let stored = self.appended().or_else(|| self.refusals_stored()).or_else(|| self.noted());
        if stored.is_some() {
            return stored;
        }
        if let Some(member) = self.probes.pop() {
            return Some(Event::Reported { member, report: Err(CallFailure::Silent) });
        }
        let dispatch = self.calls.pop()?;
        if !are_acknowledged {
            return Some(Event::CallFailed { dispatch, failure: CallFailure::Silent });
        }
        let acknowledgement = self.honest(&dispatch, dispatch.carries);
        Some(Event::Acknowledged { sent: dispatch.carries, dispatch, acknowledgement })
    }
}

fn failed_call(event: &Event) -> Option<Dispatch> {
    match event {
        Event::CallFailed { dispatch, .. } => Some(dispatch.clone()),
        _ => None,
    }
}

impl Master {
    fn step(&mut self, event: Event) {
        let (mut twin, before) = (self.leader.clone(), self.marks());
        let (was_full, failed) = (event == Event::AppendHadNoRoom, failed_call(&event));
        let ready = self.leader.step(self.now, event.clone());
        assert_eq!(twin.step(self.now, event), ready, "equal events give equal effects");
        assert_eq!(twin, self.leader, "and equal states");
        let after = self.marks();
        assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?} became {after:?}");
        assert!(after.is_sorted(), "shown ≤ decided ≤ durable ≤ last: {after:?}");
        assert_eq!(ready.wake_at, self.leader.wake_at());
        if let Some(dispatch) = failed {
            let is_again = |call: &&Dispatch| (call.member, call.session) == (dispatch.member, dispatch.session);
            let mut again = ready.calls.iter().filter(is_again);
            assert!(again.all(|call| call.resends == dispatch.resends + 1), "sent again without an end: {dispatch:?}");
        }
        if self.leader.is_halted() {
            (self.append, self.refuse, self.note) = (Vec::new(), Vec::new(), None);
        }
        self.take_over(ready, was_full);
    }

    fn marks(&self) -> [Id; 4] {
        let leader = &self.leader;
        [leader.shown().decided, leader.decided(), leader.durable(), leader.last()]
    }

    /// Begins everything that the leader asks for.
    fn take_over(&mut self, ready: Ready, is_replaced: bool) {
        let Ready { note, replies, round, calls, probes, append, refuse, .. } = ready;
        if let Some(note) = note {
            assert!(self.note.is_none(), "one watermark at a time");
            self.note = Some(note);
        }
        if !append.is_empty() {
            assert!(self.append.is_empty() || is_replaced, "one append at a time");
            let ids = append.iter().map(Slot::id);
            assert!(ids.eq(Id::new(self.disk.len() as u64).until(append[append.len() - 1].id())), "{append:?}");
            self.append = append;
        }
        if !refuse.is_empty() {
            assert!(self.refuse.is_empty(), "one batch of refusals at a time");
            assert!(refuse.iter().all(|&id| place(id) < self.disk.len()), "{refuse:?} are not stored");
            assert!(refuse.iter().all(|&id| id > self.leader.decided()), "{refuse:?} are decided");
            self.refuse = refuse;
        }
        self.probes.extend(probes);
        for dispatch in round.into_iter().flat_map(|round| round.calls).chain(calls) {
            self.check_call(&dispatch);
            self.calls.push(dispatch);
        }
        replies.into_iter().for_each(|(ticket, reply)| self.tell(ticket, &reply));
    }

    fn check_call(&self, dispatch: &Dispatch) {
        let Dispatch { after, carries, through, decided, .. } = *dispatch;
        assert!(after <= carries && carries <= through && through <= self.leader.last(), "{dispatch:?}");
        assert!(decided <= self.leader.shown().decided, "decided, and not shown yet: {dispatch:?}");
        if dispatch.is_from_store() {
            assert!(carries <= Id::new(self.disk.len() as u64), "the store does not hold it: {dispatch:?}");
        } else {
            let ids: BTreeSet<Id> = dispatch.entries.iter().map(|entry| entry.id).collect();
            let is_there = |id| ids.contains(&id) || matches!(self.disk.get(place(id)), Some(Slot::Refused(_)));
            assert!(after.until(carries).all(is_there), "an id is missing: {dispatch:?}");
        }
    }

    fn tell(&mut self, ticket: Ticket, reply: &Reply) {
        match reply {
            Reply::Settled { last, outcome: Outcome::Refused, .. } => {
                assert_eq!(self.disk.get(place(*last)), Some(&Slot::Refused(*last)), "refused before that is stored");
            }
            Reply::Settled { last, .. } => {
                assert!(*last <= self.leader.shown().decided, "committed before it is shown: {reply:?}");
                assert!(matches!(self.disk.get(place(*last)), Some(Slot::Entry(_))), "not on the disk: {reply:?}");
            }
            _ => {}
        }
        let told = self.clients.get_mut(&ticket).expect("a client that has posted");
        assert!(!told.done, "{ticket:?} has its answer, and gets {reply:?}");
        match *reply {
            Reply::Accepted { .. } | Reply::Joined { .. } => {
                assert!(!std::mem::replace(&mut told.accepted, true), "{ticket:?} is accepted twice");
            }
            Reply::Stored { last, .. } if matches!(self.disk.get(place(last)), Some(Slot::Entry(_))) => {
                let (concern, timeout) = (WriteConcern::All, Duration::from_millis(100));
                self.step(Event::Repeated { ticket, last, concern, timeout });
            }
            _ => told.done = true,
        }
    }
}

fn settings(choices: &mut Choices<'_>) -> LeaderSettings {
    LeaderSettings {
        timing: Timing::new(Duration::from_millis(100)),
        quorum: choices.one_in(2).then_some(1),
        pending_max: 4 + choices.below(16),
        keys_max: 2,
        catch_up_max: 1 + choices.below(3),
        in_doubt_wait: Duration::from_millis(choices.below(100)),
        promotion: None,
    }
}

fn slot(choices: &mut Choices<'_>, id: Id) -> Slot {
    if choices.one_in(4) {
        return Slot::Refused(id);
    }
    let key = choices.one_in(2).then(|| text(choices));
    let message = text(choices);
    Slot::Entry(Arc::new(Entry { id, epoch: Epoch::new(1), timestamp_ms: 0, message, key, part: WritePart::WHOLE }))
}

fn concern(choices: &mut Choices<'_>) -> WriteConcern {
    match choices.below(6) {
        0..=2 => WriteConcern::All,
        copies => WriteConcern::Copies(copies as usize - 2),
    }
}

fn failure(choices: &mut Choices<'_>) -> CallFailure {
    match choices.below(16) {
        0..=3 => CallFailure::Silent,
        4..=6 => CallFailure::Restarted,
        7..=9 => CallFailure::Failed,
        10..=13 => CallFailure::Refused(Refusal::Gap { holds: Id::new(choices.below(8)) }),
        14 => CallFailure::Refused(Refusal::EpochStartMismatch { epoch: Epoch::new(1) }),
        _ if choices.one_in(16) => CallFailure::Refused(Refusal::Fenced { epoch: Epoch::new(3) }),
        _ => CallFailure::Refused(Refusal::Diverged { id: Id::new(1) }),
    }
}

/// Short, so that keys and messages repeat.
fn text(choices: &mut Choices<'_>) -> Arc<str> {
    ["", "a", "b", "c"][choices.below(4) as usize].into()
}

fn place(id: Id) -> usize {
    usize::try_from(id.previous().get()).unwrap_or(usize::MAX)
}
