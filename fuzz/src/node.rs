//! A secondary without a network: a follower, and a store in memory that does what the follower asks for. Every step
//! ends with checks of everything that a reader or the master relies on.

use replicated_log::protocol::follower::{Called, Event, ForeignMessage, Reply};
use replicated_log::protocol::{
    Acknowledgement, Call, Consistency, CopyId, Decisions, Entry, Follower, FollowerSettings, Id, Incarnation, Refusal,
    Slot, Ticket, Time,
};
use replicated_log::store::{Memory, ReadLimit, Store, carry_out};
use replicated_log::wire::client::{View, write_entry};
use replicated_log::wire::node::{EntriesText, Envelope, Replicate, write_call};
use std::sync::Arc;
use std::time::Duration;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };
/// No call waits for another one.
const AT_ONCE: FollowerSettings = FollowerSettings {
    gap_timeout: Duration::ZERO,
    busy_gap_timeout: Duration::ZERO,
    read_timeout: Duration::from_secs(1),
};
/// Each event has its reply before the next one comes.
const TICKET: Ticket = Ticket(1);
const READER: Ticket = Ticket(2);

pub(super) struct Node {
    follower: Follower,
    store: Memory,
    /// What was decided, as it was then.
    decided: Vec<Slot>,
    starts: u64,
}

impl Node {
    pub(super) fn new() -> Node {
        let store = Memory::new(CopyId::new(1));
        let follower = Follower::begin(AT_ONCE, Incarnation::new(1), store.found().expect("memory can be read"));
        Node { follower, store, decided: Vec::new(), starts: 1 }
    }

    pub(super) fn follower(&self) -> &Follower {
        &self.follower
    }

    pub(super) fn held(&self, id: Id) -> Option<Slot> {
        if id <= self.store.base().id {
            return None;
        }
        self.store.get(id).expect("memory can be read")
    }

    /// Gives an event to the follower, does what it asks for, and checks after each step what it shows. Returns the
    /// reply under [`TICKET`], if there is one.
    fn drive(&mut self, event: Event) -> Option<Reply> {
        let (mut event, mut replies) = (Some(event), Vec::new());
        while let Some(next) = event.take() {
            let ready = self.follower.step(Time::ZERO, next);
            assert!(ready.reads.iter().all(|(ticket, _)| *ticket == READER), "{:?}", ready.reads);
            replies.extend(ready.replies);
            self.check_shown();
            event = ready.effect.map(|(ticket, effect)| {
                assert_eq!(ticket, TICKET, "the effect is that of the job in hand");
                let store = &self.store;
                carry_out(store, effect, || panic!("memory does not fail"), |change| store.change(change))
                    .expect("memory works")
            });
        }
        assert!(replies.len() <= 1, "one event, one reply: {replies:?}");
        replies.pop().map(|(ticket, reply)| {
            assert_eq!(ticket, TICKET);
            reply
        })
    }

    /// Gets a call, over the wire.
    pub(super) fn receive(&mut self, envelope: Envelope, call: &Call) -> Result<Acknowledgement, Refusal> {
        travels(envelope, call);
        let (before, slots) = (self.follower.status(), self.slots());
        let to = before.incarnation;
        assert_eq!(self.drive(Event::Arriving), None);
        let reply = self.drive(Event::Called(Called { ticket: TICKET, to, call: call.clone(), is_delayed: false }));
        let acknowledgement = match reply {
            Some(Reply::Acknowledged(acknowledgement)) => acknowledgement,
            Some(Reply::Refused(refusal)) => {
                let mut after = self.follower.status();
                if let Refusal::Diverged { id } = refusal {
                    assert_eq!(after.diverged, Some(id), "the alarm is latched");
                    after.diverged = before.diverged;
                }
                assert_eq!(after, before, "a refused call changes nothing: {refusal}");
                assert!(!refusal.to_string().is_empty());
                return Err(refusal);
            }
            other => panic!("a call was answered {other:?}"),
        };
        assert_eq!((before.foreign, before.diverged), (0, None), "such a node takes no part: {call:?}");
        self.check();
        self.check_covered(call, &slots);
        let status = self.follower.status();
        let said = (acknowledgement.incarnation, acknowledgement.durable, acknowledgement.decided);
        assert_eq!(said, (status.incarnation, status.last, status.decided), "what is acknowledged is held");
        Ok(acknowledgement)
    }

    /// Checks that everything that the call covers is held as it says, except what was refused here before.
    fn check_covered(&self, call: &Call, before: &[Slot]) {
        // What is going to be trimmed is not compared any more.
        let base = self.follower.status().base;
        for entry in call.entries.iter().filter(|entry| entry.id > base) {
            match self.held(entry.id).expect("an accepted entry is held") {
                Slot::Entry(held) => assert_eq!(held, *entry, "an accepted entry is held as it was sent"),
                Slot::Refused(id) => {
                    let was_refused = before.contains(&Slot::Refused(id));
                    assert!(was_refused || call.refused.contains(&id), "id {id} was refused by no call");
                }
            }
        }
        for id in call.refused.iter().filter(|&&id| id > base && id <= self.follower.last()) {
            assert_eq!(self.held(*id), Some(Slot::Refused(*id)), "the master refused id {id}");
        }
    }

    /// A reader makes the follower ask, and the master answers.
    pub(super) fn learn(&mut self, decisions: Decisions) {
        let consistency = Consistency::Strong;
        let alone = self.follower.answers_alone(consistency);
        let ready = self.follower.step(Time::ZERO, Event::Read { ticket: READER, consistency });
        assert_eq!(ready.ask.is_some(), !alone, "it asks the master unless it can answer alone");
        self.drive(Event::Answered { ticket: TICKET, decisions: Some(decisions) });
        self.check();
    }

    /// Gets a single message of a master that does not speak this protocol.
    pub(super) fn receive_foreign(&mut self, id: Option<Id>, message: Arc<str>) {
        let before = self.follower.status();
        assert_eq!(self.drive(Event::Arriving), None);
        let foreign = ForeignMessage { ticket: TICKET, id, message, timestamp_ms: 0 };
        match self.drive(Event::ForeignCalled(foreign)) {
            Some(Reply::ForeignStored(id)) => assert!(id <= self.follower.decided(), "it is shown at once"),
            Some(Reply::ForeignRefused(_)) => assert_eq!(self.follower.status(), before),
            other => panic!("a message was answered {other:?}"),
        }
        self.check();
    }

    /// Begins anew with what the store holds.
    pub(super) fn restart(&mut self) {
        self.starts += 1;
        let found = self.store.found().unwrap();
        self.follower = Follower::begin(AT_ONCE, Incarnation::new(self.starts), found);
        assert!(!self.follower.view().admitted, "a process that starts does not know what it lacks");
        self.check();
    }

    /// Checks that what is shown is noted.
    fn check_shown(&self) {
        let view = self.follower.view();
        let noted = self.store.watermark();
        assert!(view.status.foreign > 0 || view.status.decided <= noted.decided, "{view:?} shown, {noted:?} noted");
    }

    fn slots(&self) -> Vec<Slot> {
        self.store.read(self.store.base().id, Id::MAX, ALL).expect("memory can be read")
    }

    fn check(&mut self) {
        let (view, slots) = (self.follower.view(), self.slots());
        let status = view.status;
        let ids = slots.iter().map(Slot::id);
        let base = self.store.base();
        assert!(ids.eq(base.id.until(status.last)), "ids follow each other, up to {}", status.last);
        assert!(status.decided <= status.last, "{status:?}");
        self.decided.retain(|slot| slot.id() > base.id);
        assert!(slots.starts_with(&self.decided), "what was decided has changed: {:?} became {slots:?}", self.decided);
        assert!(status.decided.since(base.id) >= self.decided.len() as u64, "the high watermark went back: {status:?}");
        self.decided = slots[..status.decided.since(base.id) as usize].to_vec();
        let entries = self.decided.iter().filter_map(|slot| slot.clone().into_entry());
        assert_eq!(view.visible, base.messages + entries.clone().count() as u64, "what is visible is counted");
        entries.for_each(|entry| check_shown(&entry));
        let refused = slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id);
        assert!(refused.eq(self.store.refused(base.id, Id::MAX).unwrap()), "every refusal is known");
    }
}

/// Checks that a reader gets the text exactly.
fn check_shown(entry: &Entry) {
    let shown = |view| {
        let mut json = Vec::new();
        write_entry(&mut json, entry.into(), view);
        serde_json::from_slice::<serde_json::Value>(&json).expect("what is shown is JSON")
    };
    assert_eq!(shown(View::Text), *entry.message);
    assert_eq!(shown(View::Objects)["message"], *entry.message);
    assert_eq!(shown(View::Objects)["id"], entry.id.get());
}

/// Checks that a call is read as it was written.
fn travels(envelope: Envelope, call: &Call) {
    let written = write_call(envelope, call, &EntriesText::new(&call.entries)).to_vec();
    match Replicate::from_json(&written) {
        Ok(Replicate::Call(arrived)) => assert_eq!(*arrived, (envelope, call.clone())),
        other => panic!("{} was read as {other:?}", String::from_utf8_lossy(&written)),
    }
}
