//! A secondary: its [`Follower`], a disk, and the effects that the follower asks for.

use super::checker::holds;
use super::disk::{Crash, CrashKind, EVERYTHING, IoResult, SimulatedDisk};
use super::planted_bugs::PlantedBug;
use super::wire::{Complaint, Content, Packet};
use super::{Node, World};
use replicated_log::protocol::follower::{Called, Effect, Event, ForeignMessage, Freshness, Ready, Reply};
use replicated_log::protocol::{
    Acknowledgement, Call, Change, Consistency, Decisions, Follower, Id, Incarnation, Slot, Ticket, Time,
};
use replicated_log::store::carry_out;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A secondary: its disk, and its process if it runs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Secondary<P> {
    pub(crate) disk: P,
    pub(crate) process: Option<Follower>,
    starts: u64,
    /// The master that called last.
    master: usize,
    /// Readers that wait, each with what had been acknowledged when it came.
    readers: BTreeMap<Ticket, BTreeSet<Arc<str>>>,
    /// Calls that have no answer yet, those that no caller waits for included.
    waiting: BTreeSet<Ticket>,
    /// Those of them that wait for their artificial delay.
    delayed: BTreeSet<Ticket>,
    /// The content of its disk when its process ended. It counts as a copy while the process is down. If the disk was
    /// lost, it counts until the master knows.
    remembered: BTreeMap<Id, Arc<str>>,
    has_lost_disk: bool,
    /// What the disk loses at a crash, because it was never written: only with a planted bug.
    unwritten: Option<Id>,
    reads_before_admission: bool,
    /// The disk has failed, and takes no more writes.
    disk_failed: bool,
}

impl<P> Secondary<P> {
    pub(crate) fn new(disk: P) -> Secondary<P> {
        Secondary {
            disk,
            process: None,
            starts: 0,
            master: 0,
            readers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            delayed: BTreeSet::new(),
            remembered: BTreeMap::new(),
            has_lost_disk: false,
            unwritten: None,
            reads_before_admission: false,
            disk_failed: false,
        }
    }

    /// Whether it answers readers without asking the master.
    pub(crate) fn answers_alone(&self) -> bool {
        self.process.as_ref().is_some_and(|follower| {
            let view = follower.view();
            let answers_early = self.reads_before_admission && view.status.decided == view.status.last;
            answers_early || follower.answers_alone(Consistency::Usual)
        })
    }

    /// Whether a reader may come, and would have to wait for the master.
    pub(crate) fn may_be_read(&self) -> bool {
        self.process.is_some() && !self.answers_alone() && self.readers.is_empty()
    }

    /// When it has work to do by itself.
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.process.as_ref().and_then(Follower::wake_at)
    }

    /// Calls that wait for their artificial delay.
    pub(super) fn delayed(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.delayed.iter().copied()
    }

    /// Records that the master has learned what this start of it holds.
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

impl<P: SimulatedDisk> Secondary<P> {
    /// Whether a message counts as a copy on its disk.
    pub(super) fn holds(&self, id: Id, text: &Arc<str>) -> bool {
        self.remembered.get(&id) == Some(text) || (self.process.is_some() && holds(self.disk.store(), id, text))
    }
}

impl<P: SimulatedDisk> World<P> {
    pub(super) fn start_secondary(&mut self, index: usize) {
        if let Err(why) = self.secondaries[index].disk.open() {
            self.checker.broken(format!("secondary {index} does not start: {why}"));
            return;
        }
        self.secondaries[index].reads_before_admission = self.planted == Some(PlantedBug::ReadsBeforeAdmission);
        self.secondaries[index].disk_failed = false;
        if !self.secondaries[index].has_lost_disk {
            self.secondaries[index].remembered.clear();
        }
        self.begin(index);
    }

    /// Begins a process with what the store holds.
    fn begin(&mut self, index: usize) {
        let (incarnation, settings) = (self.new_incarnation(index), self.follower_settings);
        let secondary = &mut self.secondaries[index];
        let found = secondary.disk.store().found().expect("readable");
        secondary.process = Some(Follower::begin(settings, incarnation, found));
    }

    fn new_incarnation(&mut self, index: usize) -> Incarnation {
        let keeps_its_name = self.planted == Some(PlantedBug::SameIncarnation);
        let secondary = &mut self.secondaries[index];
        secondary.starts += u64::from(!keeps_its_name);
        Incarnation::new(100 * (index as u64 + 1) + secondary.starts)
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
        self.checker.forgets_its_admission(index);
        secondary.has_lost_disk |= crash.kind == CrashKind::DiskLost;
        secondary.disk.crash(crash.kind);
        match crash.kind {
            CrashKind::Killed => self.checker.killed(node),
            CrashKind::PowerLost { .. } => self.checker.power_lost(node),
            CrashKind::DiskLost => self.checker.disk_lost(node),
        }
        self.secondaries[index].readers.clear();
        self.secondaries[index].waiting.clear();
        self.secondaries[index].delayed.clear();
        // The process takes its readers' question with it, and the calls that it has not answered fail.
        self.wire.retain(|packet| packet.member != index || !matches!(packet.content, Content::Answer(_)));
        for packet in self.wire.iter_mut().filter(|packet| packet.member == index) {
            packet.answer(|_| true, &Err(Complaint::Down));
        }
    }

    /// Gives a call to a secondary, whose process ends after so many changes. Returns the answer, or the ticket under
    /// which it comes later.
    pub(super) fn accept(
        &mut self,
        index: usize,
        to: Incarnation,
        call: &Call,
        io_result: IoResult,
        changes_max: usize,
    ) -> Result<Result<Acknowledgement, Complaint>, Ticket> {
        if self.secondaries[index].process.is_none() {
            return Ok(Err(Complaint::Down));
        }
        let ticket = self.new_ticket(index);
        let is_delayed = self.has_delays;
        self.begin_step(index, Event::Arriving);
        let called = Called { ticket, to, call: call.clone(), is_delayed };
        let replies = self.drive(index, Event::Called(called), io_result, changes_max);
        let Some(replies) = replies else { return Ok(Err(Complaint::Down)) };
        let own = replies.into_iter().find(|(replied, _)| *replied == ticket).map(|(_, reply)| reply);
        let is_accepted = matches!(own, Some(Reply::Acknowledged(_) | Reply::Stored));
        if is_accepted {
            self.checker.is_called(index, call.epoch, call.session);
            self.secondaries[index].master = self.caller(call);
        }
        let answer = own.and_then(answer_of);
        if answer.is_none() {
            self.secondaries[index].waiting.insert(ticket);
        }
        answer.ok_or(ticket)
    }

    /// A ticket that is not in use.
    fn new_ticket(&self, index: usize) -> Ticket {
        let Secondary { readers, waiting, .. } = &self.secondaries[index];
        let used = readers.keys().chain(waiting).map(|Ticket(number)| number).max();
        Ticket(used.map_or(0, |used| used + 1))
    }

    /// Gives an event to a follower, and does all that it asks for. Returns the replies, or `None` if the process
    /// ended.
    fn drive(
        &mut self,
        index: usize,
        event: Event,
        io_result: IoResult,
        changes_max: usize,
    ) -> Option<Vec<(Ticket, Reply)>> {
        let mut given = Vec::new();
        let mut event = Some(event);
        while let Some(next) = event.take() {
            let Ready { replies, reads, effect, ask, .. } = self.begin_step(index, next)?;
            self.look(Node::Secondary(index));
            for (ticket, freshness) in reads {
                let acknowledged = self.secondaries[index].readers.remove(&ticket);
                if let Some(acknowledged) = acknowledged.filter(|_| freshness == Freshness::Complete) {
                    self.reads_after(Node::Secondary(index), &acknowledged);
                }
            }
            for (ticket, reply) in replies {
                self.answer_from(index, ticket, &reply);
                given.push((ticket, reply));
            }
            if let Some((_, effect)) = effect {
                event = Some(self.carry_out_at(index, effect, io_result, changes_max)?);
            }
            if let Some(after) = ask {
                let master = self.secondaries[index].master;
                let content = Content::Answer(self.decisions(master, after));
                self.send(Packet { number: 0, master, member: index, content });
            }
        }
        Some(given)
    }

    fn begin_step(&mut self, index: usize, event: Event) -> Option<Ready> {
        let now = self.now;
        self.secondaries[index].process.as_mut().map(|follower| follower.step(now, event))
    }

    /// Sends a late reply to the caller that waits for it.
    fn answer_from(&mut self, index: usize, ticket: Ticket, reply: &Reply) {
        if let Reply::Stored = reply {
            self.secondaries[index].delayed.insert(ticket);
        }
        if let Some(answer) = answer_of(reply.clone()) {
            self.secondaries[index].waiting.remove(&ticket);
            for packet in self.wire.iter_mut().filter(|packet| packet.member == index) {
                packet.answer(|held| held == ticket, &answer);
            }
        }
    }

    /// Does what the follower asks for, as far as the disk does. Returns `None` if the process ends meanwhile.
    fn carry_out_at(
        &mut self,
        index: usize,
        mut effect: Effect,
        io_result: IoResult,
        changes_max: usize,
    ) -> Option<Event> {
        let incarnation = (effect == Effect::Recover).then(|| self.new_incarnation(index));
        let planted = self.planted;
        let Secondary { disk, disk_failed, unwritten, .. } = &mut self.secondaries[index];
        let (mut fails, mut ends) = (false, false);
        if let Effect::Store(changes) = &mut effect {
            let append = changes.iter().position(|change| matches!(change, Change::Append(_)));
            fails = *disk_failed || (append.is_some() && io_result != IoResult::Good);
            ends = !fails && changes_max < usize::MAX;
            if planted == Some(PlantedBug::EnteredBeforeDropped)
                && matches!(changes[..], [Change::DropFrom(_), Change::Enter(_), ..])
            {
                changes.swap(0, 1);
            }
            if fails {
                // The disk may hold a part of the changes.
                changes.truncate(append.filter(|_| !*disk_failed).unwrap_or(0));
                *disk_failed |= io_result == IoResult::Failed;
            } else {
                changes.truncate(changes_max);
                if planted == Some(PlantedBug::AcknowledgedBeforeDurable) {
                    *unwritten = changes.iter().find_map(|change| match change {
                        Change::Append(slots) => Some(slots[0].id()),
                        _ => None,
                    });
                }
            }
        }
        let store = disk.store();
        let done = carry_out(store, effect, || incarnation.expect("a recovery"), |change| store.change(change));
        let done = done.expect("the disk works");
        (!ends).then_some(if fails { Event::StoreFailed } else { done })
    }

    /// Gives a secondary a bare message of a master that is not ours. From then on it shows a log that is not ours.
    pub(crate) fn receive_foreign(&mut self, index: usize, message: Arc<str>) {
        self.checker.meets_another_log();
        let foreign = ForeignMessage { ticket: self.new_ticket(index), id: None, message, timestamp_ms: 0 };
        self.begin_step(index, Event::Arriving);
        self.drive(index, Event::ForeignCalled(foreign), IoResult::Good, usize::MAX);
    }

    /// A secondary learns that time has passed, or that the artificial delay of a call is over.
    pub(super) fn tick_secondary(&mut self, index: usize) {
        self.drive(index, Event::Tick, IoResult::Good, usize::MAX);
    }

    pub(super) fn end_delay(&mut self, index: usize, ticket: Ticket) {
        if self.secondaries[index].delayed.remove(&ticket) {
            self.drive(index, Event::DelayOver(ticket), IoResult::Good, usize::MAX);
        }
    }

    fn caller(&self, call: &Call) -> usize {
        let is_caller = |process: &super::master::Process| process.leader.incarnation() == call.master;
        self.masters.iter().position(|master| master.process.as_ref().is_some_and(is_caller)).unwrap_or(0)
    }

    /// A reader comes.
    pub(super) fn read(&mut self, index: usize) {
        let (ticket, acknowledged) = (self.new_ticket(index), self.checker.acknowledged_texts());
        self.secondaries[index].readers.insert(ticket, acknowledged);
        self.drive(index, Event::Read { ticket, consistency: Consistency::Usual }, IoResult::Good, usize::MAX);
    }

    /// The master has answered with what is decided, or does not answer.
    pub(super) fn learn(&mut self, index: usize, decisions: Option<Decisions>) {
        let ticket = self.new_ticket(index);
        self.drive(index, Event::Answered { ticket, decisions }, IoResult::Good, usize::MAX);
    }
}

/// The answer to a call, or `None` if the reply answers no call.
fn answer_of(reply: Reply) -> Option<Result<Acknowledgement, Complaint>> {
    match reply {
        Reply::Acknowledged(acknowledgement) => Some(Ok(acknowledgement)),
        Reply::Refused(refusal) => Some(Err(Complaint::Refused(refusal))),
        Reply::OtherIncarnation => Some(Err(Complaint::OtherIncarnation)),
        Reply::Unable => Some(Err(Complaint::Unable)),
        _ => None,
    }
}
