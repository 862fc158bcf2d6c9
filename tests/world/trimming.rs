//! A log that loses its beginning: a leader trims, secondaries follow, and nodes that were away begin at a base.
//!
//! The checker keeps what was trimmed, so that every other check goes on as if it were still there; see
//! [`Trimmed`](super::checker::Trimmed).

use super::World;
use super::disk::{EVERYTHING, SimulatedDisk};
use super::node::{Node, Role};
use super::planted_bugs::PlantedBug;
use replicated_log::protocol::follower::Event as FollowerEvent;
use replicated_log::protocol::{Base, Event, Id, Slot};
use replicated_log::store::{base_at, end_of_writes};

impl<P: SimulatedDisk> World<P> {
    /// A leader trims its log as far as it may of what is asked for, in which nodes that are away hold it up beyond
    /// `regardless` only.
    pub(crate) fn trim(&mut self, node: Node, asked: Id, regardless: Id) {
        let Some(leading) = self.nodes[node.0].leading().filter(|_| !self.nodes[node.0].disk_failed) else { return };
        let asked = if self.planted == Some(PlantedBug::TrimsUnarchived) { asked } else { asked.min(self.archived) };
        let through = match self.planted {
            Some(PlantedBug::TrimsWhatOthersLack) => asked.min(leading.leader.shown().decided.previous()),
            _ => leading.leader.trimmable(asked, regardless),
        };
        let store = self.nodes[node.0].disk.store();
        let through = end_of_writes(store, through).expect("readable");
        if through <= store.base().id {
            return;
        }
        let base = base_at(store, through).expect("readable");
        self.checker.is_trimmed(node, through, regardless);
        self.drop_up_to(node, base);
        self.step(node, Event::Trimmed(base));
        self.observe();
    }

    /// A follower trims its log up to the base that its leader has told.
    pub(super) fn trim_as_told(&mut self, node: Node) {
        let told = self.nodes[node.0].following_mut().and_then(|following| following.told_base.take());
        let Some(base) = told.filter(|base| base.id > self.nodes[node.0].disk.store().base().id) else { return };
        if base_at(self.nodes[node.0].disk.store(), base.id).expect("readable") == base {
            self.drop_up_to(node, base);
        } else {
            self.checker.broken(format!("trimmed: {node:?} holds something else up to {} than its leader", base.id));
            let now = self.now;
            if let Some(following) = self.nodes[node.0].following_mut() {
                let _ = following.follower.step(now, FollowerEvent::BaseDiffers(base.id));
            }
        }
    }

    /// A node that is about to begin at a base must be one that may. What it has decided up to there is recorded.
    pub(super) fn begins_at(&mut self, node: Node, base: Base) {
        let store = self.nodes[node.0].disk.store();
        let held = store.base().id.min(base.id);
        let decided = store.watermark().decided.min(base.id);
        let slots = store.read(held, decided.max(held), EVERYTHING).expect("readable");
        self.checker.drops(node, slots);
        self.checker.begins_at(node, base.id);
    }

    fn drop_up_to(&mut self, node: Node, base: Base) {
        let store = self.nodes[node.0].disk.store();
        let slots = store.read(store.base().id, base.id, EVERYTHING).expect("readable");
        self.checker.drops(node, slots);
        let kept = if self.planted == Some(PlantedBug::BaseForgotten) {
            Base { id: base.id, ..Base::default() }
        } else {
            base
        };
        self.nodes[node.0].disk.store().trim(kept).expect("writable");
    }

    /// The first message of a log whose client may post it again under its key.
    pub(crate) fn first_repeatable(&self, node: Node) -> Option<Id> {
        let store = self.nodes[node.0].disk.store();
        let slots = store.read(store.base().id, Id::MAX, EVERYTHING).expect("readable");
        let keyed = slots.into_iter().filter_map(Slot::into_entry).filter(|entry| entry.key.is_some());
        keyed.filter(|entry| !self.checker.is_settled(&entry.message)).map(|entry| entry.id).next()
    }

    /// A leader archives what it shows, from where the archive ends.
    pub(crate) fn archive(&mut self, node: Node) {
        let Some(Role::Leading(leading)) = &self.nodes[node.0].role else { return };
        let shown = leading.leader.shown().decided;
        if shown > self.archived {
            let store = self.nodes[node.0].disk.store();
            if store.base().id > self.archived {
                let (base, archived) = (store.base().id, self.archived);
                self.checker
                    .broken(format!("trimmed: the archive ends at {archived}, and the log begins after {base}"));
            }
            self.archived = shown;
        }
    }

    /// Every slot of a node's log, those included that are trimmed.
    pub(super) fn slots(&self, node: Node) -> Vec<Slot> {
        self.slots_between(node, Id::ZERO, Id::MAX)
    }

    /// The slots of a node's log after an id up to another one, those included that are trimmed.
    pub(super) fn slots_between(&self, node: Node, after: Id, through: Id) -> Vec<Slot> {
        let store = self.nodes[node.0].disk.store();
        let base = store.base().id;
        let trimmed = self.checker.trimmed_between(after, through.min(base));
        let held = store.read(after.max(base), through, EVERYTHING).expect("readable");
        trimmed.into_iter().chain(held).collect()
    }
}
