//! A sequence of overlapping events for a follower: calls of one master in any order, some with an artificial delay,
//! readers, answers of the master, a store that fails halfway or cannot be read, time.
//!
//! In every sequence one effect is under way at a time, what is shown is noted, what is acknowledged is held, and a
//! reader whose answer claims to be complete sees what its master had decided. At the end every ticket has had its
//! reply.

use super::choices::Choices;
use replicated_log::protocol::follower::{Called, Effect, Event, ForeignMessage, Freshness, Ready, Reply};
use replicated_log::protocol::{
    Call, Consistency, CopyId, Decisions, Entry, Epoch, EpochStart, Follower, FollowerSettings, Id, Incarnation, LogId,
    Ticket, Time, WritePart,
};
use replicated_log::store::{Memory, Store, carry_out};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Longer sequences find nothing that shorter ones do not.
const STEPS_MAX: usize = 160;
/// After so many rounds in which everything under way ends, every ticket must have had its reply.
const ENDINGS_MAX: usize = 200;
const LOG: LogId = LogId::new(1);
const MASTER: Incarnation = Incarnation::new(7);
const EPOCH: Epoch = Epoch::new(1);

/// Runs the sequence that the bytes choose.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut node = Node::new();
    for _ in 0..STEPS_MAX {
        if choices.are_over() {
            break;
        }
        node.next(&mut choices);
    }
    node.end();
}

struct Node {
    follower: Follower,
    store: Memory,
    now: Time,
    starts: u64,
    tickets: u64,
    /// Tickets that have had no reply yet.
    waiting: BTreeSet<Ticket>,
    delayed: BTreeSet<Ticket>,
    /// Readers that wait, each with what the master had decided when it came.
    readers: BTreeMap<Ticket, Id>,
    effect: Option<Effect>,
    is_asking: bool,
    arriving: usize,
    /// The high watermark of the master, which never refuses a message.
    decided: Id,
}

impl Node {
    fn new() -> Node {
        let store = Memory::new(CopyId::new(1));
        let found = store.found().expect("memory can be read");
        Node {
            follower: Follower::begin(FollowerSettings::default(), Incarnation::new(1), found),
            store,
            now: Time::ZERO,
            starts: 1,
            tickets: 0,
            waiting: BTreeSet::new(),
            delayed: BTreeSet::new(),
            readers: BTreeMap::new(),
            effect: None,
            is_asking: false,
            arriving: 0,
            decided: Id::ZERO,
        }
    }

    fn next(&mut self, choices: &mut Choices<'_>) {
        match choices.below(12) {
            0 | 1 => {
                self.arriving += 1;
                self.step(Event::Arriving);
            }
            2..=4 if self.arriving > 0 => self.arrive(choices),
            5 | 6 => self.carry_out(choices.one_in(8), choices.one_in(4)),
            7 => {
                let ticket = self.ticket();
                self.readers.insert(ticket, self.decided);
                let consistency = if choices.one_in(2) { Consistency::Strong } else { Consistency::Usual };
                self.step(Event::Read { ticket, consistency });
            }
            8 if self.is_asking => self.answer(choices.one_in(8)),
            9 => {
                if let Some(ticket) = self.delayed.pop_first() {
                    self.step(Event::DelayOver(ticket));
                }
            }
            10 => self.pass(Duration::from_millis(u64::from(choices.byte()) * 10)),
            _ => self.decided = self.decided.max(self.follower.last()),
        }
    }

    fn arrive(&mut self, choices: &mut Choices<'_>) {
        self.arriving -= 1;
        match choices.below(16) {
            0 => self.step(Event::Abandoned),
            1 => {
                let message =
                    ForeignMessage { ticket: self.ticket(), id: None, message: "foreign".into(), timestamp_ms: 0 };
                self.step(Event::ForeignCalled(message));
            }
            _ => {
                let before = self.follower.last().get().saturating_sub(choices.below(3));
                let after = Id::new(before).plus(choices.below(6));
                let through = after.plus(choices.below(4));
                let earlier = u64::from(choices.one_in(16));
                let to = Incarnation::new(self.follower.status().incarnation.get() - earlier);
                let call = self.call(after, through, choices.one_in(2));
                let called = Called { ticket: self.ticket(), to, call, is_delayed: choices.one_in(4) };
                self.step(Event::Called(called));
            }
        }
    }

    fn call(&self, after: Id, through: Id, admitted: bool) -> Call {
        let message = |id: Id| Arc::from(format!("message {id}"));
        let entry = |id| {
            Arc::new(Entry {
                id,
                epoch: EPOCH,
                timestamp_ms: 0,
                message: message(id),
                key: None,
                part: WritePart::WHOLE,
            })
        };
        Call {
            log_id: LOG,
            epoch: EPOCH,
            master: MASTER,
            epoch_start: Some(EpochStart { since: Epoch::NONE, overtaken_from: Id::new(1) }),
            history: None,
            roster: None,
            base: None,
            after,
            through,
            entries: after.until(through).map(entry).collect(),
            restored: Vec::new(),
            refused: Vec::new(),
            decided: self.decided.min(through),
            session: 1,
            admitted,
        }
    }

    fn answer(&mut self, is_lost: bool) {
        self.is_asking = false;
        let ticket = self.ticket();
        let (log_id, epoch, master, decided) = (LOG, EPOCH, MASTER, self.decided);
        let decisions = Decisions { log_id, epoch, master, decided, refused: Vec::new(), sure: true };
        let decisions = (!is_lost).then_some(decisions);
        if is_lost {
            self.waiting.remove(&ticket);
        }
        self.step(Event::Answered { ticket, decisions });
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.step(Event::Tick);
        let next = self.follower.wake_at();
        assert!(next.is_none_or(|at| at > self.now), "{next:?} is over at {:?}: a tick does what is due", self.now);
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.waiting.insert(Ticket(self.tickets));
        Ticket(self.tickets)
    }

    fn carry_out(&mut self, fails: bool, is_unreadable: bool) {
        let Some(effect) = self.effect.take() else { return };
        let fails = if effect == Effect::Recover { is_unreadable } else { fails };
        if fails {
            if let Effect::Store(changes) = effect {
                let half = changes.len() / 2;
                changes[..half].iter().for_each(|change| self.store.change(change).expect("it can be made"));
            }
            return self.step(Event::StoreFailed);
        }
        self.starts += u64::from(effect == Effect::Recover);
        let (store, incarnation) = (&self.store, Incarnation::new(self.starts));
        let done = carry_out(store, effect, || incarnation, |change| store.change(change));
        self.step(done.expect("memory works"));
    }

    fn step(&mut self, event: Event) {
        let Ready { replies, reads, effect, ask, .. } = self.follower.step(self.now, event);
        let view = self.follower.view();
        assert!(view.status.decided <= view.status.last && view.status.last <= self.store.last(), "{view:?}");
        if view.status.log_id.is_some() {
            assert!(view.status.decided <= self.store.watermark().decided, "{view:?} is shown, and not noted");
        }
        for (ticket, reply) in replies {
            if reply == Reply::Stored {
                assert!(self.waiting.contains(&ticket) && self.delayed.insert(ticket));
                continue;
            }
            assert!(self.waiting.remove(&ticket), "{ticket:?} has a second reply: {reply:?}");
            if let Reply::Acknowledged(acknowledgement) = reply {
                assert!(acknowledgement.durable <= self.store.last());
            }
        }
        for (ticket, freshness) in reads {
            assert!(self.waiting.remove(&ticket), "{ticket:?} has a second reply: {freshness:?}");
            let before = self.readers[&ticket];
            let is_judged = freshness == Freshness::Complete && view.status.foreign == 0 && view.admitted;
            let shows_all = view.status.decided >= before || view.status.decided == view.status.last;
            assert!(!is_judged || shows_all, "{before} is missing");
        }
        if let Some((ticket, effect)) = effect {
            assert!(self.waiting.contains(&ticket), "an effect of a job that has its reply");
            assert_eq!(self.effect.replace(effect), None, "one effect is under way at a time");
        }
        assert!(!(self.is_asking && ask.is_some()), "one question is in flight at a time");
        self.is_asking |= ask.is_some();
    }

    /// Ends everything that is under way.
    fn end(&mut self) {
        for _ in 0..ENDINGS_MAX {
            while self.arriving > 0 {
                self.arriving -= 1;
                self.step(Event::Abandoned);
            }
            self.carry_out(false, false);
            while let Some(ticket) = self.delayed.pop_first() {
                self.step(Event::DelayOver(ticket));
            }
            if self.is_asking {
                self.answer(true);
            }
            self.pass(Duration::from_secs(1));
        }
        assert_eq!(self.waiting, BTreeSet::new(), "these never had a reply");
        assert_eq!(self.effect, None);
    }
}
