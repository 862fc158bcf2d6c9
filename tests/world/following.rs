//! A node that follows: its [`Follower`], and the effects that the follower asks for.

use super::disk::{IoResult, SimulatedDisk};
use super::planted_bugs::PlantedBug;
use super::succession::Candidate;
use super::wire::{Complaint, Content, Packet};
use super::{MASTER, Node, Place, Role, World};
use replicated_log::protocol::follower::{Called, Effect, Event, ForeignMessage, Freshness, Ready, Reply};
use replicated_log::protocol::{
    Acknowledgement, Base, Call, Change, Consistency, Decisions, Follower, Id, Incarnation, Refusal, ReplicaStatus,
    Ticket,
};
use replicated_log::store::carry_out;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The process of a secondary: its follower, and who waits for it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Following {
    pub(crate) follower: Follower,
    /// The master that called last.
    master: Node,
    /// Readers that wait, each with what had been acknowledged when it came.
    readers: BTreeMap<Ticket, BTreeSet<Arc<str>>>,
    /// Calls that have no answer yet, those that no caller waits for included.
    waiting: BTreeSet<Ticket>,
    /// Those of them that wait for their artificial delay.
    delayed: BTreeSet<Ticket>,
    /// It answers readers too early: only with a planted bug.
    reads_before_admission: bool,
    /// The base up to which it is to trim its log.
    pub(super) told_base: Option<Base>,
    /// Whether it wants to lead.
    pub(super) candidate: Option<Candidate>,
}

impl Following {
    /// Whether it answers readers without asking the master.
    pub(crate) fn answers_alone(&self) -> bool {
        let ReplicaStatus { decided, last, .. } = self.follower.status();
        self.reads_before_admission && decided == last || self.follower.answers_alone(Consistency::Usual)
    }

    /// Whether a reader may come, and would have to wait for the master.
    pub(super) fn may_be_read(&self) -> bool {
        !self.answers_alone() && self.readers.is_empty()
    }

    /// Calls that wait for their artificial delay.
    pub(super) fn delayed(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.delayed.iter().copied()
    }

    /// A ticket that is not in use.
    pub(super) fn new_ticket(&self) -> Ticket {
        let used = self.readers.keys().chain(&self.waiting).map(|Ticket(number)| number).max();
        Ticket(used.map_or(0, |used| used + 1))
    }
}

impl<P: SimulatedDisk> World<P> {
    /// What a node reports to a master, if it follows.
    pub(crate) fn status(&self, node: Node) -> Option<ReplicaStatus> {
        self.nodes[node.0].following().map(|following| following.follower.status())
    }

    /// Whether a message counts as a copy on the disk of a secondary.
    pub(super) fn holds(&self, node: Node, id: Id, text: &Arc<str>) -> bool {
        let place = &self.nodes[node.0];
        place.remembered.get(&id) == Some(text) || (place.runs() && self.has(node, id, text))
    }

    /// Records that the master has learned what this process of a secondary holds.
    pub(super) fn is_known_by(&mut self, node: Node, incarnation: Incarnation) {
        if self.status(node).is_some_and(|status| status.incarnation == incarnation) {
            self.nodes[node.0].remembered.clear();
            self.nodes[node.0].has_lost_disk = false;
        }
    }

    pub(super) fn start_following(&mut self, node: Node) {
        let incarnation = self.new_incarnation(node, self.planted == Some(PlantedBug::SameIncarnation));
        let place = &mut self.nodes[node.0];
        let found = place.disk.store().found().expect("readable");
        place.role = Some(Role::Following(Following {
            follower: Follower::begin(self.follower_settings, incarnation, found),
            master: MASTER,
            readers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            delayed: BTreeSet::new(),
            told_base: None,
            candidate: None,
            reads_before_admission: self.planted == Some(PlantedBug::ReadsBeforeAdmission),
        }));
    }

    /// The process of a secondary has ended.
    pub(super) fn ends_following(&mut self, node: Node) {
        let place = &mut self.nodes[node.0];
        if let Some(from) = place.unwritten.take() {
            place.disk.store().drop_from(from).expect("writable");
        }
        self.stops_following(node);
    }

    /// The follower of a node has ended.
    pub(super) fn stops_following(&mut self, node: Node) {
        self.checker.forgets_its_admission(node);
        // The process takes its readers' question with it, and the calls that it has not answered fail.
        self.wire.retain(|packet| packet.member != node || !matches!(packet.content, Content::Answer(_)));
        for packet in self.wire.iter_mut().filter(|packet| packet.member == node) {
            packet.answer(|_| true, &Err(Complaint::Down));
        }
    }

    /// Gives a call to a secondary, whose process ends after so many changes. Returns the answer, or the ticket under
    /// which it comes later.
    pub(super) fn accept(
        &mut self,
        node: Node,
        to: Incarnation,
        call: &Call,
        io_result: IoResult,
        changes_max: usize,
    ) -> Result<Result<Acknowledgement, Complaint>, Ticket> {
        if self.promotes() {
            self.step_down_for(node, call.epoch);
        }
        if let Some(leading) = self.nodes[node.0].leading().filter(|_| self.promotes()) {
            return Ok(Err(Complaint::Refused(Refusal::Fenced { epoch: leading.leader.epoch() })));
        }
        let Some(ticket) = self.nodes[node.0].following().map(Following::new_ticket) else {
            return Ok(Err(Complaint::Down));
        };
        let call = &self.as_the_planted_bug_sees_it(node, call);
        let called = Called { ticket, to, call: call.clone(), is_delayed: self.has_delays };
        self.begin_step(node, Event::Arriving);
        let replies = self.drive(node, Event::Called(called), io_result, changes_max);
        let caller = self.caller(call);
        let (Some(replies), Some(following)) = (replies, self.nodes[node.0].following_mut()) else {
            return Ok(Err(Complaint::Down));
        };
        let own = replies.into_iter().find(|(replied, _)| *replied == ticket).map(|(_, reply)| reply);
        if let Some(Reply::Refused(refusal @ Refusal::Forked { .. })) = &own {
            self.checker.is_left_out(format!("forked: {node:?} {refusal}"));
        }
        if matches!(own, Some(Reply::Acknowledged(_) | Reply::Stored)) {
            self.checker.is_called(node, call.epoch, call.session);
            following.master = caller;
        }
        let answer = own.and_then(answer_of);
        if answer.is_none() {
            following.waiting.insert(ticket);
        }
        answer.ok_or(ticket)
    }

    /// A call that opens an epoch, as a follower with the planted bug sees it.
    fn as_the_planted_bug_sees_it(&mut self, node: Node, call: &Call) -> Call {
        let status = self.status(node);
        let (Some(planted), Some(status), Some(_)) = (self.planted, status, call.epoch_start) else {
            return call.clone();
        };
        let cut = match planted {
            PlantedBug::CutToDecided => Some(status.decided.next()),
            PlantedBug::CutAtStaleRefusal => call.restored.first().map(|entry| entry.id),
            // Without a roster a follower looks for the first epoch after its own.
            PlantedBug::ForkByNumber => return Call { roster: None, ..call.clone() },
            _ => None,
        };
        if let Some(from) = cut.filter(|&from| from <= status.last) {
            let store = self.nodes[node.0].disk.store();
            store.drop_from(from).expect("writable");
            let found = store.found().expect("readable");
            let (settings, incarnation) = (self.follower_settings, status.incarnation);
            if let Some(following) = self.nodes[node.0].following_mut() {
                following.follower = Follower::begin(settings, incarnation, found);
            }
        }
        call.clone()
    }

    /// Gives an event to a follower, and does all that it asks for. Returns the replies, or `None` if the process
    /// ended.
    pub(super) fn drive(
        &mut self,
        node: Node,
        event: Event,
        io_result: IoResult,
        changes_max: usize,
    ) -> Option<Vec<(Ticket, Reply)>> {
        let mut given = Vec::new();
        let mut event = Some(event);
        while let Some(next) = event.take() {
            let Ready { replies, reads, effect, ask, trim, .. } = self.begin_step(node, next)?;
            if let (Some(base), Some(following)) = (trim, self.nodes[node.0].following_mut()) {
                following.told_base = Some(base);
            }
            self.look(node);
            for (ticket, freshness) in reads {
                let acknowledged = self.nodes[node.0].following_mut()?.readers.remove(&ticket);
                if let Some(acknowledged) = acknowledged.filter(|_| freshness == Freshness::Complete) {
                    self.reads_after(node, &acknowledged);
                }
            }
            for (ticket, reply) in replies {
                self.answer_from(node, ticket, &reply);
                given.push((ticket, reply));
            }
            if let Some((_, effect)) = effect {
                event = Some(self.carry_out_at(node, effect, io_result, changes_max)?);
            }
            if let Some(after) = ask {
                let master = self.nodes[node.0].following()?.master;
                let content = Content::Answer(self.decisions(master, after));
                self.send(Packet { number: 0, master, member: node, content });
            }
        }
        Some(given)
    }

    fn begin_step(&mut self, node: Node, event: Event) -> Option<Ready> {
        let now = self.now;
        self.nodes[node.0].following_mut().map(|following| following.follower.step(now, event))
    }

    /// Sends a late reply to the caller that waits for it.
    fn answer_from(&mut self, node: Node, ticket: Ticket, reply: &Reply) {
        let Some(following) = self.nodes[node.0].following_mut() else { return };
        if let Reply::Stored = reply {
            following.delayed.insert(ticket);
        }
        if let Some(answer) = answer_of(reply.clone()) {
            following.waiting.remove(&ticket);
            for packet in self.wire.iter_mut().filter(|packet| packet.member == node) {
                packet.answer(|held| held == ticket, &answer);
            }
        }
    }

    /// Does what the follower asks for, as far as the disk does. Returns `None` if the process ends meanwhile.
    fn carry_out_at(
        &mut self,
        node: Node,
        mut effect: Effect,
        io_result: IoResult,
        changes_max: usize,
    ) -> Option<Event> {
        if let Effect::Store(changes) = &effect
            && let Some(Change::BeginAt(base)) = changes.iter().find(|change| matches!(change, Change::BeginAt(_)))
        {
            self.begins_at(node, *base);
        }
        let planted = self.planted;
        let is_same = planted == Some(PlantedBug::SameIncarnation);
        let incarnation = (effect == Effect::Recover).then(|| self.new_incarnation(node, is_same));
        let Place { disk, disk_failed, unwritten, .. } = &mut self.nodes[node.0];
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
            if planted == Some(PlantedBug::EnteredBeforeRefused)
                && let Some(enter) = changes.iter().position(|change| matches!(change, Change::Enter(_)))
            {
                changes[..=enter].rotate_right(1);
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
    pub(crate) fn receive_foreign(&mut self, node: Node, message: Arc<str>) {
        self.checker.meets_another_log();
        let Some(ticket) = self.nodes[node.0].following().map(Following::new_ticket) else { return };
        let foreign = ForeignMessage { ticket, id: None, message, timestamp_ms: 0 };
        self.begin_step(node, Event::Arriving);
        self.drive(node, Event::ForeignCalled(foreign), IoResult::Good, usize::MAX);
    }

    /// The follower learns that time has passed.
    pub(super) fn tick_following(&mut self, node: Node) {
        self.drive(node, Event::Tick, IoResult::Good, usize::MAX);
    }

    /// The artificial delay of a call is over.
    pub(super) fn end_delay(&mut self, node: Node, ticket: Ticket) {
        if self.nodes[node.0].following_mut().is_some_and(|following| following.delayed.remove(&ticket)) {
            self.drive(node, Event::DelayOver(ticket), IoResult::Good, usize::MAX);
        }
    }

    fn caller(&self, call: &Call) -> Node {
        let mut leaders = self.leaders();
        leaders.find(|(_, leading)| leading.leader.incarnation() == call.master).map_or(MASTER, |(node, _)| node)
    }

    /// A reader comes.
    pub(super) fn read(&mut self, node: Node) {
        let acknowledged = self.checker.acknowledged_texts();
        let Some(following) = self.nodes[node.0].following_mut() else { return };
        let ticket = following.new_ticket();
        following.readers.insert(ticket, acknowledged);
        self.drive(node, Event::Read { ticket, consistency: Consistency::Usual }, IoResult::Good, usize::MAX);
    }

    /// The master has answered with what is decided, or does not answer.
    pub(super) fn learn(&mut self, node: Node, decisions: Option<Decisions>) {
        let Some(ticket) = self.nodes[node.0].following().map(Following::new_ticket) else { return };
        self.drive(node, Event::Answered { ticket, decisions }, IoResult::Good, usize::MAX);
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
