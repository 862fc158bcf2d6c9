//! The duties of a secondary: what its threads do around the replica (`src/secondary`), one step at a time.

use super::plants::Plant;
use super::platter::{Crash, EVERYTHING, Harm, Luck, Platter};
use super::wire::{Complaint, Content, Parcel};
use super::witness::holds;
use super::{Node, World};
use replicated_log::protocol::{
    Accepted, Acknowledgement, Call, Change, Entry, Epoch, Fate, Id, Incarnation, Replica, Slot, Watermark,
};
use replicated_log::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A secondary: its disk, and its process if it runs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Secondary<P> {
    pub(crate) disk: P,
    pub(crate) process: Option<Replica>,
    starts: u64,
    /// The master that called last.
    master: usize,
    /// What was on its disk when its process ended: it counts as a copy while the process is down, and if the disk was
    /// lost then until the master knows, which may still count on it.
    remembered: BTreeMap<Id, Arc<str>>,
    has_lost_disk: bool,
    /// What the disk forgets at a crash, because it was never written: only with a planted bug.
    unwritten: Option<Id>,
    reads_before_admission: bool,
    /// The disk took a write for the last time.
    disk_failed: bool,
}

impl<P> Secondary<P> {
    pub(crate) fn new(disk: P) -> Secondary<P> {
        Secondary {
            disk,
            process: None,
            starts: 0,
            master: 0,
            remembered: BTreeMap::new(),
            has_lost_disk: false,
            unwritten: None,
            reads_before_admission: false,
            disk_failed: false,
        }
    }

    /// Whether it answers readers without asking the master.
    pub(crate) fn answers_alone(&self) -> bool {
        self.process.as_ref().is_some_and(|replica| {
            let view = replica.view();
            view.clean() || (self.reads_before_admission && view.status.decided == view.status.last)
        })
    }

    /// Whether it has to ask the master before it answers a reader.
    pub(crate) fn has_to_ask(&self) -> bool {
        self.process.is_some() && !self.answers_alone()
    }

    /// The master has learned what a start of it holds.
    pub(super) fn is_known(&mut self, incarnation: Incarnation) {
        if self.process.as_ref().is_some_and(|replica| replica.status().incarnation == incarnation) {
            self.remembered.clear();
            self.has_lost_disk = false;
        }
    }

    pub(crate) fn disk_failed(&self) -> bool {
        self.disk_failed
    }
}

impl<P: Platter> Secondary<P> {
    /// Whether a message counts as a copy on its disk.
    pub(super) fn holds(&self, id: Id, text: &Arc<str>) -> bool {
        self.remembered.get(&id) == Some(text) || (self.process.is_some() && holds(self.disk.store(), id, text))
    }
}

impl<P: Platter> World<P> {
    pub(super) fn start_secondary(&mut self, index: usize) {
        if let Err(why) = self.secondaries[index].disk.open() {
            self.witness.broken(format!("secondary {index} does not start: {why}"));
            return;
        }
        self.secondaries[index].reads_before_admission = self.plant == Some(Plant::ReadsBeforeAdmission);
        self.secondaries[index].disk_failed = false;
        if !self.secondaries[index].has_lost_disk {
            self.secondaries[index].remembered.clear();
        }
        self.recover(index);
    }

    /// The replica begins with what the store holds.
    fn recover(&mut self, index: usize) {
        let keeps_its_name = self.plant == Some(Plant::SameIncarnation);
        let secondary = &mut self.secondaries[index];
        secondary.starts += u64::from(!keeps_its_name);
        let incarnation = Incarnation::new(100 * (index as u64 + 1) + secondary.starts);
        let found = secondary.disk.store().found().expect("readable");
        secondary.process = Some(Replica::recovered(incarnation, found));
    }

    pub(super) fn crash_secondary(&mut self, index: usize, crash: Crash) {
        let node = Node::Secondary(index);
        let secondary = &mut self.secondaries[index];
        if secondary.process.take().is_none() {
            return;
        }
        if let Some(from) = secondary.unwritten.take() {
            secondary.disk.store().drop_from(from).expect("writable");
        }
        let held = secondary.disk.store().read(Id::ZERO, Id::MAX, EVERYTHING).expect("readable");
        let held = held.into_iter().filter_map(Slot::into_entry);
        secondary.remembered.extend(held.map(|entry| (entry.id, Arc::clone(&entry.message))));
        self.witness.forgets_its_admission(index);
        secondary.has_lost_disk |= crash.harm == Harm::DiskLost;
        secondary.disk.crash(crash.harm);
        match crash.harm {
            Harm::Killed => self.witness.killed(node),
            Harm::PowerLost { .. } => self.witness.power_lost(node),
            Harm::DiskLost => self.witness.disk_lost(node),
        }
        // Whoever asked for its readers is gone with it.
        self.wire.retain(|parcel| parcel.member != index || !matches!(parcel.content, Content::Fate { .. }));
    }

    /// A call reaches a secondary, which stops after so many writes.
    pub(super) fn accept(
        &mut self,
        index: usize,
        to: Incarnation,
        call: &Call,
        luck: Luck,
        writes_max: usize,
    ) -> Result<Acknowledgement, Complaint> {
        let plant = self.plant;
        let Secondary { disk, process: Some(replica), disk_failed, .. } = &mut self.secondaries[index] else {
            return Err(Complaint::Down);
        };
        if to != replica.status().incarnation {
            return Err(Complaint::OtherIncarnation);
        }
        let store = disk.store();
        let accepted = replica.examine(call, |id| store.get(id)).expect("readable").map_err(Complaint::Refused)?;
        let append = accepted.changes().position(|change| matches!(change, Change::Append(_)));
        if *disk_failed || (append.is_some() && luck != Luck::Good) {
            // The store failed on the way, and may hold a part of the call: the replica begins anew with what it holds.
            write(store, &accepted, plant, append.filter(|_| !*disk_failed).unwrap_or(0));
            *disk_failed |= luck == Luck::Failed;
            self.recover(index);
            return Err(Complaint::Unable);
        }
        write(store, &accepted, plant, writes_max);
        if writes_max < usize::MAX {
            return Err(Complaint::Down);
        }
        let acknowledgement = replica.applied(&accepted);
        self.witness.is_called(index, call.epoch, call.turn);
        let first = accepted.changes().find_map(|change| match change {
            Change::Append(slots) => Some(slots[0].id()),
            _ => None,
        });
        if self.plant == Some(Plant::AcknowledgedBeforeDurable) {
            self.secondaries[index].unwritten = first;
        }
        self.publish(index);
        self.secondaries[index].master = self.caller(call);
        Ok(acknowledgement)
    }

    /// Notes what is shown before anybody sees it.
    fn publish(&mut self, index: usize) {
        let Secondary { disk, process: Some(replica), .. } = &mut self.secondaries[index] else { return };
        let view = replica.view();
        let watermark = Watermark { decided: view.status.decided, visible: view.visible };
        disk.store().note_watermark(watermark).expect("writable");
        self.look(Node::Secondary(index));
    }

    /// A bare message of a master that is not ours reaches a secondary. What it shows from now on is not of our log.
    pub(crate) fn receive_foreign(&mut self, index: usize, message: Arc<str>) {
        let Secondary { disk, process: Some(replica), .. } = &mut self.secondaries[index] else { return };
        let id = replica.last().next();
        let entry = Entry { id, epoch: Epoch::NONE, timestamp_ms: 0, message, key: None };
        disk.store().append(&[Slot::Entry(Arc::new(entry))]).expect("writable");
        replica.foreign_stored(id);
        self.witness.meets_another_log();
        self.look(Node::Secondary(index));
    }

    fn caller(&self, call: &Call) -> usize {
        let is_caller = |process: &super::master::Process| process.leader.incarnation() == call.master;
        self.masters.iter().position(|master| master.process.as_ref().is_some_and(is_caller)).unwrap_or(0)
    }

    pub(super) fn ask_fate(&mut self, index: usize) {
        let secondary = &self.secondaries[index];
        let Some(replica) = &secondary.process else { return };
        let (status, master) = (replica.status(), secondary.master);
        let fate = self.fate(master, status.decided);
        let acknowledged = self.witness.acknowledged_texts();
        let content = Content::Fate { fate, asker: status.incarnation, acknowledged };
        self.send(Parcel { number: 0, master, member: index, content });
    }

    /// The master has said what is decided. A reader who came before the question is answered now, if this node holds
    /// all of that.
    pub(super) fn learn(
        &mut self,
        index: usize,
        asker: Incarnation,
        fate: Option<Fate>,
        acknowledged: &BTreeSet<Arc<str>>,
    ) {
        let Secondary { disk, process: Some(replica), .. } = &mut self.secondaries[index] else { return };
        let Some(fate) = fate.filter(|_| replica.status().incarnation == asker) else { return };
        match replica.learn(&fate) {
            Ok(Some(learned)) => {
                disk.store().refuse(&learned.refuse).expect("ids that are held");
                replica.learned(&learned);
                self.publish(index);
            }
            Ok(None) => {}
            Err(_) => return,
        }
        let reached = self.secondaries[index].process.as_ref().is_some_and(|replica| replica.decided() >= fate.decided);
        if fate.sure && reached {
            self.reads_after(Node::Secondary(index), acknowledged);
        }
    }
}

/// Stores what an accepted call asks for, up to so many changes.
fn write(store: &dyn Store, accepted: &Accepted, plant: Option<Plant>, changes_max: usize) {
    let mut changes: Vec<Change<'_>> = accepted.changes().collect();
    if plant == Some(Plant::EnteredBeforeDropped) && matches!(changes[..], [Change::DropFrom(_), Change::Enter(_), ..])
    {
        changes.swap(0, 1);
    }
    changes.into_iter().take(changes_max).for_each(|change| store.change(change).expect("writable"));
}
