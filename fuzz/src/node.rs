//! A secondary without a network: a replica, and a store in memory that does what the replica says, in the order in which
//! the running one does it. After every step everything is checked that a reader or the master relies on.

use replicated_log::protocol::{
    Acknowledgement, Call, CopyId, Entry, Epoch, Fate, Id, Incarnation, Refusal, Replica, Slot, Watermark,
};
use replicated_log::store::{Memory, ReadLimit, Store};
use replicated_log::wire::client::{View, write_entry};
use replicated_log::wire::node::{EntriesText, Envelope, Replicate, write_call};
use std::sync::Arc;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };

pub(super) struct Node {
    replica: Replica,
    store: Memory,
    /// What was decided, as it was then.
    decided: Vec<Slot>,
    starts: u64,
}

impl Node {
    pub(super) fn new() -> Node {
        let copy = CopyId::new(1);
        let (replica, store) = (Replica::empty(Incarnation::new(1), copy), Memory::new(copy));
        Node { replica, store, decided: Vec::new(), starts: 1 }
    }

    pub(super) fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(super) fn held(&self, id: Id) -> Option<Slot> {
        self.store.get(id).expect("memory can be read")
    }

    /// Gets a call, over the wire.
    pub(super) fn receive(&mut self, envelope: Envelope, call: &Call) -> Result<Acknowledgement, Refusal> {
        travels(envelope, call);
        let (before, slots) = (self.replica.status(), self.slots());
        let examined = self.replica.examine(call, |id| self.store.get(id)).expect("memory can be read");
        let accepted = match examined {
            Ok(accepted) => accepted,
            Err(refusal) => {
                let mut after = self.replica.status();
                if let Refusal::Diverged { id } = refusal {
                    assert_eq!(after.diverged, Some(id), "the alarm is latched");
                    after.diverged = before.diverged;
                }
                assert_eq!(after, before, "a refused call changes nothing: {refusal}");
                assert!(!refusal.to_string().is_empty());
                return Err(refusal);
            }
        };
        assert_eq!((before.foreign, before.diverged), (0, None), "such a node takes no part: {call:?}");
        accepted.changes().for_each(|change| self.store.change(change).expect("an accepted change can be made"));
        let acknowledgement = self.replica.applied(&accepted);
        self.check();
        self.check_covered(call, &slots);
        let status = self.replica.status();
        let told = (acknowledgement.incarnation, acknowledgement.durable, acknowledgement.decided);
        assert_eq!(told, (status.incarnation, status.last, status.decided), "what is acknowledged is held");
        Ok(acknowledgement)
    }

    /// Everything that the call covers is held as it says, except what was refused here before.
    fn check_covered(&self, call: &Call, before: &[Slot]) {
        for entry in &call.entries {
            match self.held(entry.id).expect("an accepted entry is held") {
                Slot::Entry(held) => assert_eq!(held, *entry, "an accepted entry is held as it was sent"),
                Slot::Refused(id) => {
                    let was_refused = before.contains(&Slot::Refused(id));
                    assert!(was_refused || call.refused.contains(&id), "id {id} was refused by nobody");
                }
            }
        }
        for id in call.refused.iter().filter(|&&id| id > Id::ZERO && id <= self.replica.last()) {
            assert_eq!(self.held(*id), Some(Slot::Refused(*id)), "the master refused id {id}");
        }
    }

    /// Gets the master's answer about fates.
    pub(super) fn learn(&mut self, fate: &Fate) {
        if let Ok(Some(learned)) = self.replica.learn(fate) {
            self.store.refuse(&learned.refuse).expect("what is refused is held");
            self.replica.learned(&learned);
            self.check();
        }
    }

    /// Gets a single message of a master that is not ours.
    pub(super) fn receive_bare(&mut self, id: Option<Id>, message: Arc<str>) {
        const PASSED_OVER_MAX: u64 = 100;
        let status = self.replica.status();
        let id = id.unwrap_or_else(|| status.last.next());
        if status.log_id.is_some() || id <= status.last || id.since(status.last) > PASSED_OVER_MAX {
            return;
        }
        let mut slots: Vec<Slot> = status.last.until(id.previous()).map(Slot::Refused).collect();
        slots.push(Slot::Entry(Arc::new(Entry { id, epoch: Epoch::NONE, timestamp_ms: 0, message, key: None })));
        self.store.append(&slots).expect("it follows what is held");
        self.replica.foreign_stored(id);
        self.check();
    }

    /// Begins anew with what the store holds.
    pub(super) fn restart(&mut self) {
        self.starts += 1;
        let found = self.store.found().unwrap();
        self.replica = Replica::recovered(Incarnation::new(self.starts), found);
        assert!(!self.replica.view().admitted, "a replica that starts does not know what it lacks");
        self.check();
    }

    fn slots(&self) -> Vec<Slot> {
        self.store.read(Id::ZERO, Id::MAX, ALL).expect("memory can be read")
    }

    fn check(&mut self) {
        let (view, slots) = (self.replica.view(), self.slots());
        let status = view.status;
        let ids = slots.iter().map(Slot::id);
        assert!(ids.eq(Id::ZERO.until(status.last)), "ids follow each other, up to {}", status.last);
        assert!(status.decided <= status.last, "{status:?}");
        assert!(slots.starts_with(&self.decided), "what was decided has changed: {:?} became {slots:?}", self.decided);
        assert!(status.decided.get() >= self.decided.len() as u64, "the high watermark went back: {status:?}");
        self.decided = slots[..status.decided.get() as usize].to_vec();
        let entries = self.decided.iter().filter_map(|slot| slot.clone().into_entry());
        assert_eq!(view.visible, entries.clone().count() as u64, "what is visible is counted");
        entries.for_each(|entry| check_shown(&entry));
        let refused = slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id);
        assert!(refused.eq(self.store.refused(Id::ZERO, Id::MAX).unwrap()), "every refusal is known");
        self.store.note_watermark(Watermark { decided: status.decided, visible: view.visible }).unwrap();
    }
}

/// A reader gets the text exactly.
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

/// A call is read as it was written.
fn travels(envelope: Envelope, call: &Call) {
    let written = write_call(envelope, call, &EntriesText::new(&call.entries)).to_vec();
    match Replicate::from_json(&written) {
        Ok(Replicate::Call(arrived)) => assert_eq!(*arrived, (envelope, call.clone())),
        other => panic!("{} was read as {other:?}", String::from_utf8_lossy(&written)),
    }
}
