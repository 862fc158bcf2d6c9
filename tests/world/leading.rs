//! A node that leads: its [`Leader`], and the effects that the leader asks for, carried out one at a time.

use super::checker::Answer;
use super::disk::{Crash, CrashKind, EVERYTHING, IoResult, SimulatedDisk};
use super::planted_bugs::PlantedBug;
use super::wire::{Complaint, Content, Packet};
use super::{Node, Place, Role, World};
use replicated_log::protocol::{
    Acknowledgement, Call, CallFailure, Contact, CopyId, Decisions, Dispatch, Epoch, EpochHistory, Event, Id, Leader,
    Lineage, LogId, MemberId, MemberView, News, Post, Purpose, Ready, ReplicaStatus, Reply, Roster, Slot, Ticket,
    Watermark, WriteConcern,
};
use replicated_log::store::{Identity, ReadLimit};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// How much one call reads from the store: little, so that catch-up takes several calls.
const CALL_LIMIT: ReadLimit = ReadLimit { slots_max: 1, bytes_max: usize::MAX };

/// A write that a client posts, maybe several times.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Posted {
    pub(crate) texts: Vec<Arc<str>>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) concern: WriteConcern,
    pub(crate) timeout: Option<Duration>,
    pub(crate) follows: Option<Id>,
}

/// The process of a master: its leader, and the effects that are under way.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Leading {
    pub(crate) leader: Leader,
    /// The secondaries that are registered, each with its number.
    members: BTreeMap<Node, MemberId>,
    members_numbered: u32,
    /// The secondaries that have a removal notice.
    leaving: BTreeSet<Node>,
    /// Slots that its disk is about to write: one batch at a time, except with a planted bug.
    append: VecDeque<Vec<Slot>>,
    refuse: VecDeque<Vec<Id>>,
    note: VecDeque<Watermark>,
    roster: Option<Roster>,
    /// Calls that were not made: only with a planted bug.
    not_made: Vec<Dispatch>,
    not_joined: Vec<MemberId>,
}

impl Leading {
    /// The number of a secondary, if it is registered.
    pub(super) fn member_id(&self, member: Node) -> Option<MemberId> {
        self.members.get(&member).copied()
    }

    /// The secondaries that are registered.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Node, MemberView)> + '_ {
        self.members.iter().filter_map(|(&member, &id)| self.leader.member(id).map(|view| (member, view)))
    }

    /// Whether a secondary votes.
    fn votes(&self, member: MemberId) -> bool {
        let copy = self.leader.member(member).and_then(|view| view.copy);
        self.leader.roster().allows_promotion() && copy.is_some_and(|copy| self.leader.roster().is_voter(copy))
    }

    pub(crate) fn has_copies_to_store(&self) -> bool {
        !self.append.is_empty()
    }

    pub(crate) fn has_refusals_to_store(&self) -> bool {
        !self.refuse.is_empty()
    }

    /// The ids whose refusal is being stored.
    pub(crate) fn refusing(&self) -> &[Id] {
        self.refuse.front().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has_watermark_to_note(&self) -> bool {
        !self.note.is_empty()
    }

    pub(crate) fn has_roster_to_store(&self) -> bool {
        self.roster.is_some()
    }
}

impl<P: SimulatedDisk> World<P> {
    pub(super) fn start_leading(&mut self, node: Node, hears: impl Fn(Node) -> bool) {
        let known = self.nodes[node.0].disk.store().identity().expect("readable");
        if let Some(known) = &known {
            self.nodes().filter(|&member| hears(member)).for_each(|member| self.take_over(node, member, known));
        }
        if self.planted == Some(PlantedBug::PresumedAbort) {
            let store = self.nodes[node.0].disk.store();
            store.drop_from(store.watermark().decided.next()).expect("writable");
        }
        let is_same = self.planted == Some(PlantedBug::NoNewEpoch) && known.is_some();
        let master = self.new_incarnation(node, is_same);
        let store = self.nodes[node.0].disk.store();
        let log_id = known.as_ref().map_or(LogId::new(u128::from(master.get())), |known| known.lineage.log_id);
        let mut history = known.map_or_else(EpochHistory::default, |known| known.lineage.history);
        if !is_same {
            history.begin(history.latest().next(), store.last().next(), master);
        }
        let roster = Roster::fixed(store.copy_id(), history.latest());
        let roster =
            Roster::new(roster.number(), roster.master(), self.voters.clone().unwrap_or(roster.voters().clone()));
        let lineage = Lineage { log_id, history, roster, promised: None };
        store.set_identity(&Identity { lineage: lineage.clone(), members: Vec::new() }).expect("writable");
        self.lead(node, lineage);
    }

    /// A node leads in the latest epoch of its lineage.
    pub(super) fn lead(&mut self, node: Node, lineage: Lineage) {
        let Lineage { log_id, history, roster, .. } = lineage;
        let master = history.master_of(history.latest()).expect("the epoch has begun");
        let store = self.nodes[node.0].disk.store();
        let is_unsafe = self.planted == Some(PlantedBug::RefusalNotSafe);
        let roster = if is_unsafe { Roster::fixed(store.copy_id(), history.latest()) } else { roster };
        let found = store.found_log().expect("readable");
        let keyed = store.keyed_writes(self.settings.keys_max).expect("readable");
        self.nodes[node.0].role = Some(Role::Leading(Leading {
            leader: Leader::begin(self.settings.clone(), log_id, master, history, roster, found, keyed),
            members: BTreeMap::new(),
            members_numbered: 0,
            leaving: BTreeSet::new(),
            append: VecDeque::new(),
            refuse: VecDeque::new(),
            note: VecDeque::new(),
            roster: None,
            not_made: Vec::new(),
            not_joined: Vec::new(),
        }));
        for member in self.nodes[node.0].recorded.clone() {
            let copy = self.copy_on_record(node, member);
            let Some(process) = self.nodes[node.0].leading_mut() else { return };
            let id = Self::enlist(process, member);
            self.step(node, Event::Joined(id, copy));
        }
        self.step(node, Event::Assembled);
    }

    /// The copy that a node held last, as the roster on the disk of another one says.
    fn copy_on_record(&self, node: Node, member: Node) -> Option<CopyId> {
        let known = self.nodes[node.0].disk.store().identity().expect("readable")?;
        let contacts = known.lineage.roster.contacts();
        contacts.iter().find(|(_, known)| **known == contact(member)).map(|(&copy, _)| copy)
    }

    /// Gives a number to a secondary.
    fn enlist(process: &mut Leading, member: Node) -> MemberId {
        process.members_numbered += 1;
        let id = MemberId::new(process.members_numbered);
        process.members.insert(member, id);
        id
    }

    /// Tells the leader that time has passed.
    pub(super) fn tick_leading(&mut self, node: Node) {
        let process = self.nodes[node.0].leading_mut();
        let late = process.map(|process| std::mem::take(&mut process.not_joined)).unwrap_or_default();
        late.into_iter().for_each(|id| self.step(node, Event::Joined(id, None)));
        self.step(node, Event::Tick);
    }

    /// Registers a secondary, if it is not registered yet.
    pub(super) fn join_at(&mut self, node: Node, member: Node) {
        let Place { role: Some(Role::Leading(process)), recorded, .. } = &mut self.nodes[node.0] else { return };
        if !recorded.insert(member) {
            return;
        }
        let id = Self::enlist(process, member);
        if self.planted == Some(PlantedBug::RegisteredBeforeJoined) {
            process.not_joined.push(id);
        } else {
            self.step(node, Event::Joined(id, None));
        }
        self.checker.joins(member);
    }

    /// Begins to remove a secondary: its removal notice is under way.
    pub(super) fn notify_removal_at(&mut self, node: Node, member: Node) {
        let Some(process) = self.nodes[node.0].leading_mut() else { return };
        let Some(id) = process.member_id(member) else { return };
        if process.votes(id) {
            return self.step(node, Event::Demoting(id));
        }
        process.leaving.insert(member);
        self.step(node, Event::Leaving(id));
        let Some(process) = self.nodes[node.0].leading() else { return };
        let session = process.leader.member(id).map_or(0, |view| view.session);
        self.checker.is_notified_of_removal(member, process.leader.epoch(), session);
    }

    /// Removes a secondary that has its removal notice, or whose notice has timed out.
    pub(super) fn leave_at(&mut self, node: Node, member: Node) {
        if self.promotes() {
            self.notify_removal_at(node, member);
        }
        let Place { role: Some(Role::Leading(process)), recorded, .. } = &mut self.nodes[node.0] else { return };
        if !process.leaving.remove(&member) {
            return self.keep_at(node, member);
        }
        let Some(id) = process.members.remove(&member) else { return };
        recorded.remove(&member);
        self.checker.leaves(member);
        self.wire.retain(|packet| {
            let is_question = matches!(packet.content, Content::Probe | Content::Status(_));
            packet.master != node || packet.member != member || !is_question
        });
        self.step(node, Event::Left(id));
    }

    /// Lets a secondary vote that was about to leave.
    pub(super) fn keep_at(&mut self, node: Node, member: Node) {
        let id = self.nodes[node.0].leading().and_then(|process| process.member_id(member));
        id.into_iter().for_each(|id| self.step(node, Event::Keeping(id)));
    }

    /// A secondary announces that its process has started.
    pub(super) fn announce(&mut self, node: Node, member: Node) {
        if let Some(event) = self.announcement(node, member) {
            self.step(node, event);
        }
    }

    /// Whether the announcement of a secondary changes anything for a master.
    pub(super) fn has_something_to_announce(&self, node: Node, member: Node) -> bool {
        let (Some(event), Some(process)) = (self.announcement(node, member), self.nodes[node.0].leading()) else {
            return false;
        };
        let mut told = process.leader.clone();
        let _ = told.step(self.now, event);
        told != process.leader
    }

    /// What a restarted secondary announces to a master that knows an earlier process of it.
    fn announcement(&self, node: Node, member: Node) -> Option<Event> {
        let incarnation = self.status(member)?.incarnation;
        let process = self.nodes[node.0].leading()?;
        let id = process.member_id(member)?;
        let known = process.leader.member(id)?.incarnation;
        (known != Some(incarnation)).then_some(Event::Started(id, incarnation))
    }

    /// Takes over what a secondary holds of the latest epoch beyond the end of the master's log: no other copy may
    /// exist.
    fn take_over(&mut self, node: Node, member: Node, known: &Identity) {
        let (Some(status), store) = (self.status(member), self.nodes[node.0].disk.store()) else { return };
        if status.continues(known.lineage.log_id, &known.lineage.history, store.last()) {
            let slots = self.nodes[member.0].disk.store().read(store.last(), status.last, EVERYTHING);
            store.append(&slots.expect("readable")).expect("writable");
        }
    }

    /// The process of a master has ended.
    pub(super) fn ends_leading(&mut self, node: Node, process: &Leading, crash: Crash) {
        let Place { disk, disk_failed, .. } = &self.nodes[node.0];
        if let Some(slots) = process.append.front().filter(|_| crash.round_is_written && !disk_failed) {
            disk.store().append(slots).expect("writable");
        }
        if let Some(ids) = process.refuse.front().filter(|_| crash.refusals_are_written && !disk_failed) {
            disk.store().refuse(ids).expect("writable");
        }
        if crash.kind == CrashKind::DiskLost && !self.promotes() {
            self.checker.meets_another_log();
        }
        self.stops_leading(node);
    }

    /// The leader of a node has ended: its clients learn nothing, and its calls have no caller.
    pub(super) fn stops_leading(&mut self, node: Node) {
        self.checker.answer_all_unknown(node);
        self.wire.retain(|packet| packet.master != node || packet.outlives_the_sender());
        for packet in self.wire.iter_mut().filter(|packet| packet.master == node) {
            *packet = packet.orphan();
        }
    }

    pub(super) fn post_to(&mut self, node: Node, posted: &Posted) {
        let write = self.checker.asked(node, posted);
        if self.nodes[node.0].leading().is_none() || self.nodes[node.0].disk_failed {
            return self.checker.answer(write, Answer::NotTaken);
        }
        let Posted { texts, key, concern, timeout, follows } = posted.clone();
        let ticket = Ticket(write as u64);
        let post = Post { ticket, messages: texts, key, concern, timeout, follows, timestamp_ms: 0 };
        self.step(node, Event::Posted(post));
    }

    /// The master's disk has written its own copies of a round, or could not.
    pub(super) fn store_copies(&mut self, node: Node, io_result: IoResult) {
        let Place { disk, role: Some(Role::Leading(process)), disk_failed, .. } = &mut self.nodes[node.0] else {
            return;
        };
        let Some(slots) = process.append.pop_front() else { return };
        let has_messages = slots.iter().any(|slot| matches!(slot, Slot::Entry(_)));
        let event = match io_result {
            IoResult::Failed => {
                *disk_failed = true;
                Event::Failed
            }
            IoResult::NoRoom if has_messages => Event::AppendHadNoRoom,
            IoResult::NoRoom | IoResult::Good => {
                disk.store().append(&slots).expect("slots in order");
                Event::Appended
            }
        };
        if event != Event::Appended || self.planted != Some(PlantedBug::MasterNotCounted) {
            self.step(node, event);
        }
    }

    pub(super) fn store_refusals(&mut self, node: Node, io_result: IoResult) {
        let Place { disk, role: Some(Role::Leading(process)), disk_failed, .. } = &mut self.nodes[node.0] else {
            return;
        };
        let Some(ids) = process.refuse.front() else { return };
        match io_result {
            IoResult::NoRoom => {}
            IoResult::Failed => {
                *disk_failed = true;
                self.step(node, Event::Failed);
            }
            IoResult::Good => {
                disk.store().refuse(ids).expect("ids that are held");
                process.refuse.pop_front();
                if self.planted != Some(PlantedBug::RefusalNotDurable) {
                    self.step(node, Event::RefusalsStored);
                }
            }
        }
    }

    /// The master's disk has noted the high watermark.
    pub(super) fn note_watermark(&mut self, node: Node) {
        let Place { disk, role: Some(Role::Leading(process)), .. } = &mut self.nodes[node.0] else { return };
        let Some(watermark) = process.note.pop_front() else { return };
        disk.store().note_watermark(watermark).expect("writable");
        if self.planted != Some(PlantedBug::ShownBeforeNoted) {
            self.step(node, Event::WatermarkNoted);
        }
    }

    /// The master's disk has written a roster.
    pub(super) fn store_roster(&mut self, node: Node) {
        let Place { disk, role: Some(Role::Leading(process)), .. } = &mut self.nodes[node.0] else { return };
        let Some(roster) = process.roster.take() else { return };
        let copies = process.members().filter_map(|(member, view)| Some((view.copy?, member)));
        let contacts = copies.chain([(disk.store().copy_id(), node)]).map(|(copy, at)| (copy, contact(at))).collect();
        let roster = roster.with_contacts(contacts);
        let roster = self.planted.map_or(roster.clone(), |planted| planted.stored(roster));
        if self.planted != Some(PlantedBug::RosterNotDurable) {
            disk.store().take_roster(&roster).expect("writable");
        }
        self.step(node, Event::RosterStored(roster));
    }

    /// The answer to a call arrives, which carried ids up to `sent`.
    pub(super) fn receive(
        &mut self,
        node: Node,
        dispatch: Dispatch,
        sent: Id,
        answer: Result<Acknowledgement, Complaint>,
    ) {
        let event = match answer {
            Ok(acknowledgement) => Event::Acknowledged { dispatch, sent, acknowledgement },
            Err(complaint) => Event::CallFailed { dispatch, failure: failure_of(complaint) },
        };
        self.credit_to_others(node, &event);
        self.step(node, event);
    }

    /// Takes what a secondary has reported for the acknowledgement of the call that lets it enter the epoch.
    fn credit_report(&mut self, node: Node, member: Node, call: Call, dispatch: Dispatch) {
        let to = dispatch.incarnation;
        self.send(Packet { number: 0, master: node, member, content: Content::Call { to, call, dispatch: None } });
        let sent = dispatch.after;
        let (decided, session) = (Id::ZERO, dispatch.session);
        let acknowledgement = Acknowledgement { incarnation: to, durable: sent, decided, session, admitted: false };
        self.step(node, Event::Acknowledged { dispatch, sent, acknowledgement });
    }

    /// Takes the result of a call for the result of those that were not made.
    fn credit_to_others(&mut self, node: Node, event: &Event) {
        let process = self.nodes[node.0].leading_mut();
        for other in process.map(|process| std::mem::take(&mut process.not_made)).unwrap_or_default() {
            let mut credited = event.clone();
            match &mut credited {
                Event::Acknowledged { dispatch, acknowledgement, .. } => {
                    acknowledgement.incarnation = other.incarnation;
                    *dispatch = other;
                }
                Event::CallFailed { dispatch, .. } => *dispatch = other,
                _ => {}
            }
            self.step(node, credited);
        }
    }

    /// A thread gives up its call, or its question for the state of a secondary.
    pub(super) fn give_up(&mut self, number: u64) {
        let Some(position) = self.wire.iter().position(|packet| packet.number == number) else { return };
        if let Content::Probe | Content::Status(_) = self.wire[position].content {
            let Packet { master, member, .. } = self.wire.remove(position);
            return self.hear_status(master, member, None);
        }
        let Some(dispatch) = self.wire[position].dispatch().cloned() else { return };
        let packet = self.wire.remove(position);
        let node = packet.master;
        if matches!(packet.content, Content::Call { .. }) {
            self.wire.insert(position, packet.orphan());
        }
        self.step(node, Event::CallFailed { dispatch, failure: CallFailure::Silent });
    }

    /// A secondary has reported its state, or has not answered.
    pub(super) fn hear_status(&mut self, node: Node, member: Node, status: Option<ReplicaStatus>) {
        let id = self.nodes[node.0].leading().and_then(|process| process.member_id(member));
        if let Some(member) = id {
            self.step(node, Event::Reported { member, report: status.ok_or(CallFailure::Silent) });
        }
    }

    /// The reply of a master to a secondary that asks for decisions, if the master runs.
    pub(super) fn decisions(&self, node: Node, after: Id) -> Option<Decisions> {
        let place = &self.nodes[node.0];
        let decisions = place.leading()?.leader.decisions(after);
        let refused = place.disk.store().refused(after, decisions.decided).ok()?;
        Some(Decisions { refused, ..decisions })
    }

    /// Gives an event to the leader of a master, and begins everything that it asks for.
    pub(super) fn step(&mut self, node: Node, event: Event) {
        let Some(process) = self.nodes[node.0].leading_mut() else { return };
        let ready = process.leader.step(self.now, event);
        self.carry_out(node, ready);
    }

    fn carry_out(&mut self, node: Node, ready: Ready) {
        let Ready { note, replies, news, round, calls, probes, append, refuse, roster, .. } = ready;
        let Some(process) = self.nodes[node.0].leading_mut() else { return };
        process.roster = roster.or(process.roster.take());
        let (has_note, has_append, has_refusals) = (note.is_some(), !append.is_empty(), !refuse.is_empty());
        process.note.extend(note);
        process.append.extend(has_append.then_some(append));
        process.refuse.extend(has_refusals.then_some(refuse));
        if self.planted != Some(PlantedBug::AnsweredBeforeShown) {
            self.look(node);
        }
        self.journal(node, &news);
        for news in &news {
            if let News::Merged(member, _) = news {
                self.is_merged(node, *member);
            }
        }
        for (Ticket(write), reply) in replies {
            self.tell(node, write as usize, &reply);
        }
        for news in news {
            if let News::CatchingUp { member, .. } = news {
                self.is_known(node, member);
            }
        }
        let mut round = round.map_or_else(Vec::new, |round| round.calls);
        if self.planted == Some(PlantedBug::CreditedToOthers)
            && let Some(process) = self.nodes[node.0].leading_mut()
        {
            process.not_made.extend(round.drain(1.min(round.len())..));
        }
        round.into_iter().chain(calls).for_each(|dispatch| self.send_call(node, dispatch));
        for member in probes {
            if let Some(member) = self.place_of(node, member) {
                self.send(Packet { number: 0, master: node, member, content: Content::Probe });
            }
        }
        match self.planted {
            Some(PlantedBug::MasterNotCounted) if has_append => self.step(node, Event::Appended),
            Some(PlantedBug::RefusalNotDurable) if has_refusals => self.step(node, Event::RefusalsStored),
            Some(PlantedBug::ShownBeforeNoted) if has_note => self.step(node, Event::WatermarkNoted),
            _ => {}
        }
    }

    fn place_of(&self, node: Node, id: MemberId) -> Option<Node> {
        let process = self.nodes[node.0].leading()?;
        process.members.iter().find(|(_, known)| **known == id).map(|(&member, _)| member)
    }

    /// Keeps the news, if the journal is on, under the place of the secondary that they concern.
    fn journal(&mut self, node: Node, news: &[News]) {
        if self.journal.is_kept {
            let placed = news.iter().map(|news| (member_of(news).and_then(|id| self.place_of(node, id)), news.clone()));
            let placed: Vec<_> = placed.collect();
            self.journal.news.extend(placed);
        }
    }

    /// A secondary turned out to be registered under two addresses: one registration goes.
    fn is_merged(&mut self, node: Node, id: MemberId) {
        let Some(member) = self.place_of(node, id) else { return };
        let Place { role: Some(Role::Leading(process)), recorded, .. } = &mut self.nodes[node.0] else { return };
        process.members.remove(&member);
        recorded.remove(&member);
        self.checker.leaves(member);
    }

    /// The master has learned what the process of a secondary holds.
    fn is_known(&mut self, node: Node, id: MemberId) {
        let Some(member) = self.place_of(node, id) else { return };
        let Some(process) = self.nodes[node.0].leading() else { return };
        let incarnation = process.leader.member(id).and_then(|view| view.incarnation);
        incarnation.into_iter().for_each(|incarnation| self.is_known_by(member, incarnation));
    }

    /// Passes a reply on to the client of a write.
    fn tell(&mut self, node: Node, write: usize, reply: &Reply) {
        match *reply {
            Reply::Accepted { .. } => {}
            Reply::Joined { .. } => self.checker.is_repeat(write),
            Reply::Rejected(_) => self.checker.answer(write, Answer::NotTaken),
            Reply::OtherWrite(_) => panic!("no key is used for two writes"),
            Reply::Unknown { .. } => self.checker.answer(write, Answer::Unknown),
            Reply::Settled { last, outcome, .. } => self.answer(node, write, last, outcome),
            Reply::Stored { last, .. } => {
                self.checker.is_repeat(write);
                let is_stored = matches!(self.nodes[node.0].disk.store().get(last), Ok(Some(Slot::Entry(_))));
                if !is_stored {
                    return self.checker.answer(write, Answer::Unknown);
                }
                let concern = self.checker.writes[write].concern();
                let timeout = self.checker.writes[write].timeout();
                self.step(node, Event::Repeated { ticket: Ticket(write as u64), last, concern, timeout });
            }
        }
    }

    /// Makes the call of a dispatch.
    fn send_call(&mut self, node: Node, dispatch: Dispatch) {
        let Some(member) = self.place_of(node, dispatch.member) else { return };
        let Place { disk, role: Some(Role::Leading(process)), .. } = &self.nodes[node.0] else { return };
        let store = disk.store();
        let (sent, entries) = if dispatch.is_from_store() {
            let slots = store.read(dispatch.after, dispatch.carries, CALL_LIMIT).expect("readable");
            (slots.last().map_or(dispatch.after, Slot::id), slots.into_iter().filter_map(Slot::into_entry).collect())
        } else {
            (dispatch.carries, dispatch.entries.to_vec())
        };
        let all_told = dispatch.purpose == Purpose::CatchUp && self.planted == Some(PlantedBug::HeldRefusalsNotTold);
        let told = if all_told { dispatch.after } else { dispatch.known_decided.min(dispatch.after) };
        let refused = store.refused(told, sent).expect("readable");
        let mut restored = store.entries(&dispatch.restores).expect("readable");
        if self.planted == Some(PlantedBug::StaleRefusalKept) {
            restored.clear();
        }
        let mut call = process.leader.call(&dispatch, sent, entries, refused, restored);
        if self.planted == Some(PlantedBug::BaseNotTold) {
            call.base = None;
        }
        let to = dispatch.incarnation;
        if self.planted == Some(PlantedBug::ReportCounts) && dispatch.epoch_start.is_some() {
            return self.credit_report(node, member, call, dispatch);
        }
        let dispatch = (dispatch.purpose != Purpose::Removal).then_some(dispatch);
        self.send(Packet { number: 0, master: node, member, content: Content::Call { to, call, dispatch } });
    }

    pub(crate) fn epoch_of(&self, node: Node) -> Epoch {
        self.nodes[node.0].leading().map_or(Epoch::NONE, |process| process.leader.epoch())
    }

    /// Whether a tick of a master does more than probe secondaries that do not run.
    pub(crate) fn tick_is_useful(&self, node: Node) -> bool {
        let Some(process) = self.nodes[node.0].leading() else { return false };
        let ready = process.leader.clone().step(self.now, Event::Tick);
        let runs = |id: MemberId| self.place_of(node, id).is_some_and(|member| self.runs(member));
        let Ready { note, replies, round, calls, probes, append, refuse, .. } = ready;
        round.is_some()
            || note.is_some()
            || !(replies.is_empty() && calls.is_empty() && append.is_empty() && refuse.is_empty())
            || probes.into_iter().any(runs)
    }
}

/// Where a node of this world is.
pub(super) fn contact(node: Node) -> Contact {
    let text: Arc<str> = node.0.to_string().into();
    Contact { name: Arc::clone(&text), url: text }
}

/// What leaders report to operators, with the places of secondaries. It is no part of the state of the world.
#[derive(Clone, Debug, Default, Eq)]
pub(crate) struct Journal {
    pub(crate) is_kept: bool,
    pub(crate) news: Vec<(Option<Node>, News)>,
}

impl PartialEq for Journal {
    fn eq(&self, _: &Journal) -> bool {
        true
    }
}

impl Hash for Journal {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

fn member_of(news: &News) -> Option<MemberId> {
    match *news {
        News::Settled(..) | News::Stored(..) | News::NoRoom(..) | News::Sealed(..) | News::Roster(_) => None,
        News::Matched { member, .. } | News::CatchingUp { member, .. } => Some(member),
        News::Admitted { member, .. } | News::Lost { member, .. } => Some(member),
        News::Unfit(member, _) | News::Health(member, _) | News::Merged(member, _) => Some(member),
        News::Resent(member, _) | News::Overtaken(member, _) => Some(member),
    }
}

fn failure_of(complaint: Complaint) -> CallFailure {
    match complaint {
        Complaint::Refused(refusal) => CallFailure::Refused(refusal),
        Complaint::OtherIncarnation => CallFailure::Restarted,
        Complaint::Unable => CallFailure::Failed,
        Complaint::Down => CallFailure::Silent,
    }
}
