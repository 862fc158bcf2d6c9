//! The duties of a master: what its threads do around the ledger (`src/master`), one step at a time.

use super::plants::Plant;
use super::platter::{Crash, EVERYTHING, Harm, Luck, Platter};
use super::wire::{Complaint, Content, Delivery, Parcel, Round};
use super::witness::Answer;
use super::{Node, World};
use replicated_log::protocol::{
    Acknowledgement, Dispatch, Effects, Entry, Epoch, EpochHistory, Fate, Holdings, Id, Incarnation, KeyedWrite, Keys,
    Ledger, LogId, MemberId, MemberView, Outcome, Patience, Refusal, Replica, Slot, Standing, WriteConcern,
};
use replicated_log::store::{Identity, ReadLimit, Watermark};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How much one call carries when it is read from the store: little, so that catching up takes several.
const CALL_LIMIT: ReadLimit = ReadLimit { slots_max: 1, bytes_max: usize::MAX };
const RESENDS_MAX: u32 = 3;
const KEYS_MAX: usize = 1_000;

/// What a client posts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Post {
    pub(crate) texts: Vec<Arc<str>>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) concern: WriteConcern,
    pub(crate) patience: Patience,
}

/// A master: its disk, and its process if it runs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Master<P> {
    pub(crate) disk: P,
    pub(crate) process: Option<Process>,
    /// The secondaries that are on its record.
    recorded: BTreeSet<usize>,
    starts: u64,
}

impl<P> Master<P> {
    pub(crate) fn new(disk: P, secondaries: usize) -> Master<P> {
        Master { disk, process: None, recorded: (0..secondaries).collect(), starts: 0 }
    }
}

/// What the process of a master keeps in memory.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Process {
    pub(crate) ledger: Ledger,
    /// The secondaries that are registered, each with its number.
    members: BTreeMap<usize, MemberId>,
    members_numbered: u32,
    /// Those that are being removed.
    leaving: BTreeSet<usize>,
    /// Appended, and in no round yet.
    queue: Vec<Arc<Entry>>,
    /// Rounds whose copies the master's own disk has still to take, in order.
    rounds: Vec<Round>,
    /// Refusals that the ledger asked for.
    refusing: Vec<Vec<Id>>,
    /// Deliveries that need the store to get further first, and to whom they go.
    pub(crate) waiting: Vec<(usize, Delivery)>,
    /// Who waits for the fate of a write, which is named by the id of its last message.
    writers: BTreeMap<Id, Vec<usize>>,
    keys: Keys,
    /// The high watermark that is noted.
    pub(crate) noted: Id,
    pub(crate) halted: bool,
    /// The disk took a write for the last time.
    disk_failed: bool,
}

impl Process {
    /// The number of a secondary, if it is registered.
    pub(super) fn member_id(&self, member: usize) -> Option<MemberId> {
        self.members.get(&member).copied()
    }

    /// The secondaries that are registered.
    pub(crate) fn members(&self) -> impl Iterator<Item = (usize, MemberView)> + '_ {
        self.members.iter().filter_map(|(&member, &id)| self.ledger.member(id).map(|view| (member, view)))
    }

    /// What somebody is told who posts a write again that is committed.
    fn known_commit(&self, last: Id, concern: WriteConcern) -> Outcome {
        let copies = 1 + self.ledger.members().filter(|view| view.durable >= last).count();
        if copies < self.ledger.copies(concern) { Outcome::CommittedShort } else { Outcome::Committed }
    }

    fn enlist(&mut self, member: usize) {
        self.members_numbered += 1;
        let id = MemberId::new(self.members_numbered);
        self.members.insert(member, id);
        self.ledger.join(id);
    }

    pub(crate) fn has_waiting_writes(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(crate) fn has_copies_to_store(&self) -> bool {
        !self.disk_failed && !self.rounds.is_empty()
    }

    pub(crate) fn has_refusals_to_store(&self) -> bool {
        !self.disk_failed && self.storable_refusals().is_some()
    }

    /// A refusal marks a slot, so the slot is stored first.
    fn storable_refusals(&self) -> Option<usize> {
        self.refusing.iter().position(|ids| ids.iter().all(|&id| id <= self.ledger.durable()))
    }

    /// The writes for whose fate somebody waits, by the ids of their last messages.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = Id> + '_ {
        self.writers.keys().copied()
    }
}

impl<P: Platter> World<P> {
    pub(super) fn start_master(&mut self, index: usize, hears: impl Fn(usize) -> bool) {
        if let Err(why) = self.masters[index].disk.open() {
            self.witness.broken(format!("master {index} does not start: {why}"));
            return;
        }
        let known = self.masters[index].disk.store().identity().expect("readable");
        if let Some(known) = &known {
            (0..self.secondaries.len()).filter(|&member| hears(member)).for_each(|member| {
                self.take_over(index, member, known);
            });
        }
        if self.plant == Some(Plant::PresumedAbort) {
            let store = self.masters[index].disk.store();
            store.drop_from(store.watermark().decided.next()).expect("writable");
        }
        let is_same = self.plant == Some(Plant::NoNewEpoch) && known.is_some();
        self.masters[index].starts += u64::from(!is_same);
        let master = Incarnation::new(10_000 * (index as u64 + 1) + self.masters[index].starts);
        let store = self.masters[index].disk.store();
        let last = store.last();
        let log_id = known.as_ref().map_or(LogId::new(u128::from(master.get())), |known| known.log_id);
        let mut history = known.map_or_else(EpochHistory::default, |known| known.history);
        if !is_same {
            history.begin(history.latest().next(), last.next(), master);
        }
        let identity = Identity { log_id, master, history: history.clone(), members: Vec::new() };
        store.set_identity(&identity).expect("writable");
        let ledger = Ledger::begin(log_id, master, history, store.found_log().expect("readable"));
        let mut keys = Keys::new(KEYS_MAX);
        store.keyed_writes(KEYS_MAX).expect("readable").into_iter().rev().for_each(|write| keys.remember(write));
        let mut process = Process {
            noted: ledger.decided(),
            ledger,
            members: BTreeMap::new(),
            members_numbered: 0,
            leaving: BTreeSet::new(),
            queue: Vec::new(),
            rounds: Vec::new(),
            refusing: Vec::new(),
            waiting: Vec::new(),
            writers: BTreeMap::new(),
            keys,
            halted: false,
            disk_failed: false,
        };
        self.masters[index].recorded.iter().for_each(|&member| process.enlist(member));
        let effects = process.ledger.assembled();
        self.masters[index].process = Some(process);
        self.carry_out(index, effects);
    }

    /// A secondary is registered, if it is not yet.
    pub(super) fn join_at(&mut self, index: usize, member: usize) {
        let Master { process: Some(process), recorded, .. } = &mut self.masters[index] else { return };
        if recorded.insert(member) {
            process.enlist(member);
            self.witness.joins(member);
        }
    }

    /// A secondary is told that it is about to be removed.
    pub(super) fn dismiss_at(&mut self, index: usize, member: usize) {
        let Some(process) = &mut self.masters[index].process else { return };
        let Some(id) = process.member_id(member) else { return };
        process.leaving.insert(member);
        let farewell = process.ledger.dismiss(id);
        let turn = process.ledger.member(id).map_or(0, |view| view.turn);
        self.witness.is_dismissed(member, process.ledger.epoch(), turn);
        if let Some(farewell) = farewell {
            self.send_call(index, member, &farewell, (farewell.after, farewell.through), Vec::new(), None);
        }
    }

    /// A secondary is removed that was dismissed: it knows that, or nobody waits any longer until it does.
    pub(super) fn leave_at(&mut self, index: usize, member: usize) {
        let Master { process: Some(process), recorded, .. } = &mut self.masters[index] else { return };
        if !process.leaving.remove(&member) {
            return;
        }
        let Some(id) = process.members.remove(&member) else { return };
        recorded.remove(&member);
        let effects = process.ledger.leave(id);
        self.witness.leaves(member);
        self.wire.retain(|parcel| {
            parcel.master != index || parcel.member != member || !matches!(parcel.content, Content::Holdings(_))
        });
        self.carry_out(index, effects);
    }

    /// What a secondary holds of the latest epoch beyond the end of the master's log may be all that is left of it.
    fn take_over(&mut self, index: usize, member: usize, known: &Identity) {
        let Some(replica) = &self.secondaries[member].process else { return };
        let (holdings, store) = (replica.holdings(), self.masters[index].disk.store());
        if holdings.continues(known.log_id, &known.history, store.last()) {
            let slots = self.secondaries[member].disk.store().read(store.last(), holdings.last, EVERYTHING);
            store.append(&slots.expect("readable")).expect("writable");
        }
    }

    pub(super) fn crash_master(&mut self, index: usize, crash: Crash) {
        let Some(process) = self.masters[index].process.take() else { return };
        let store = self.masters[index].disk.store();
        let round = process.rounds.first().filter(|_| crash.round_is_written && !process.disk_failed);
        if let Some(round) = round {
            let slots: Vec<Slot> = round.entries.iter().cloned().map(Slot::Entry).collect();
            store.append(&slots).expect("writable");
        }
        let refusals = process.storable_refusals().filter(|_| crash.refusals_are_written && !process.disk_failed);
        if let Some(refusals) = refusals {
            store.refuse(&process.refusing[refusals]).expect("writable");
        }
        self.masters[index].disk.crash(crash.harm);
        process.writers.into_values().flatten().for_each(|write| self.witness.answer(write, Answer::Unknown));
        self.wire.retain(|parcel| parcel.master != index || parcel.outlives_the_sender());
        for parcel in self.wire.iter_mut().filter(|parcel| parcel.master == index) {
            *parcel = parcel.orphan();
        }
        let node = Node::Master(index);
        match crash.harm {
            Harm::Killed => self.witness.killed(node),
            Harm::PowerLost { .. } => self.witness.power_lost(node),
            Harm::DiskLost => self.witness.disk_lost(node),
        }
    }

    pub(super) fn post_to(&mut self, index: usize, post: Post) {
        let write = self.witness.asked(&post);
        let Some(process) = &mut self.masters[index].process else {
            return self.witness.answer(write, Answer::NotTaken);
        };
        if let Some((_, last)) = post.key.as_deref().and_then(|key| process.keys.find(key)) {
            return self.repeat(index, write, last);
        }
        if process.halted {
            return self.witness.answer(write, Answer::NotTaken);
        }
        let is_short = process.ledger.shortfall(post.concern).is_some();
        if process.disk_failed || (post.patience == Patience::FailFast && is_short) {
            return self.witness.answer(write, Answer::NotTaken);
        }
        let first = process.ledger.append(post.texts.len() as u64, post.concern, post.patience);
        let (last, epoch) = (process.ledger.last(), process.ledger.epoch());
        for (id, message) in first.previous().until(last).zip(&post.texts) {
            let (message, key) = (Arc::clone(message), post.key.clone());
            process.queue.push(Arc::new(Entry { id, epoch, timestamp_ms: 0, message, key }));
        }
        if let Some(key) = post.key {
            process.keys.remember(KeyedWrite { first, last, key });
        }
        process.writers.insert(last, vec![write]);
    }

    /// A write whose key is known gets the answer of the first one.
    fn repeat(&mut self, index: usize, write: usize, last: Id) {
        self.witness.is_repeat(write);
        let Master { disk, process: Some(process), .. } = &mut self.masters[index] else { return };
        if let Some(writers) = process.writers.get_mut(&last) {
            writers.push(write);
        } else if !matches!(disk.store().get(last), Ok(Some(Slot::Entry(_)))) {
            self.witness.answer(write, Answer::Unknown);
        } else if last <= process.noted {
            let outcome = process.known_commit(last, self.witness.writes[write].concern());
            self.answer(index, write, last, outcome);
        } else if process.halted {
            self.witness.answer(write, Answer::Unknown);
        } else {
            process.writers.insert(last, vec![write]);
        }
    }

    pub(super) fn expire_at(&mut self, index: usize, last: Id) {
        let Some(process) = self.masters[index].process.as_mut().filter(|process| !process.halted) else { return };
        let effects = process.ledger.expire(last);
        self.carry_out(index, effects);
        let Some(process) = &mut self.masters[index].process else { return };
        if process.ledger.is_in_doubt(last) {
            for write in process.writers.remove(&last).unwrap_or_default() {
                let Some(process) = &self.masters[index].process else { return };
                if last <= process.noted {
                    let outcome = process.known_commit(last, self.witness.writes[write].concern());
                    self.answer(index, write, last, outcome);
                } else {
                    self.witness.answer(write, Answer::Unknown);
                }
            }
        }
    }

    /// A round takes what waits. One without entries tells the high watermark.
    pub(super) fn round(&mut self, index: usize) {
        let to_tell: Vec<usize> =
            (0..self.secondaries.len()).filter(|&member| self.is_to_be_told(index, member)).collect();
        let Some(process) = &mut self.masters[index].process else { return };
        let entries = std::mem::take(&mut process.queue);
        let after = entries.first().map_or_else(|| process.ledger.last(), |entry| entry.id.previous());
        let round = Round { after, entries };
        let members = if round.entries.is_empty() { to_tell } else { (0..self.secondaries.len()).collect() };
        let mut deliveries = Vec::new();
        for member in members {
            let dispatch = process.member_id(member).and_then(|id| process.ledger.dispatch(id, round.through()));
            if let Some(dispatch) = dispatch.filter(Dispatch::has_news) {
                deliveries.push((member, Delivery::new(dispatch, Some(round.clone()))));
            }
        }
        let through = round.through();
        if !round.entries.is_empty() {
            process.rounds.push(round);
        }
        if self.plant == Some(Plant::MasterNotCounted) {
            let effects = process.ledger.stored(through);
            self.carry_out(index, effects);
        }
        deliveries.into_iter().for_each(|(member, delivery)| self.send_next(index, member, delivery));
    }

    /// The master's disk has written its own copies of a round, or could not.
    pub(super) fn store_copies(&mut self, index: usize, luck: Luck) {
        let Master { disk, process: Some(process), .. } = &mut self.masters[index] else { return };
        let round = process.rounds.remove(0);
        let slots = round.entries.iter().map(|entry| match luck {
            Luck::NoRoom => Slot::Refused(entry.id),
            Luck::Good | Luck::Failed => Slot::Entry(Arc::clone(entry)),
        });
        if luck == Luck::Failed {
            process.disk_failed = true;
            return self.halt(index);
        }
        disk.store().append(&slots.collect::<Vec<_>>()).expect("slots in order");
        let effects = match luck {
            _ if self.plant == Some(Plant::MasterNotCounted) => Effects::default(),
            Luck::NoRoom => process.ledger.refused_for_want_of_room(round.through()),
            _ => process.ledger.stored(round.through()),
        };
        self.carry_out(index, effects);
        let Some(process) = &mut self.masters[index].process else { return };
        let waiting = std::mem::take(&mut process.waiting);
        waiting.into_iter().for_each(|(member, delivery)| self.send_next(index, member, delivery));
    }

    pub(super) fn store_refusals(&mut self, index: usize, luck: Luck) {
        let Master { disk, process: Some(process), .. } = &mut self.masters[index] else { return };
        let Some(position) = process.storable_refusals() else { return };
        match luck {
            Luck::NoRoom => {}
            Luck::Failed => {
                process.disk_failed = true;
                self.halt(index);
            }
            Luck::Good => {
                let ids = process.refusing.remove(position);
                disk.store().refuse(&ids).expect("ids that are held");
                if self.plant != Some(Plant::RefusalNotDurable) {
                    let effects = process.ledger.refusal_stored(&ids);
                    self.carry_out(index, effects);
                }
            }
        }
    }

    /// Sends the next call of a delivery, or lets it wait for the store.
    fn send_next(&mut self, index: usize, member: usize, delivery: Delivery) {
        let Master { disk, process: Some(process), .. } = &mut self.masters[index] else { return };
        let (dispatch, after, store) = (delivery.dispatch, delivery.after, disk.store());
        let (through, entries) = match &delivery.round {
            Some(round) if round.after == after => (dispatch.through, round.entries.clone()),
            round => {
                let end = round.as_ref().map_or(dispatch.through, |round| round.after.min(dispatch.through));
                if end > process.ledger.durable() {
                    return process.waiting.push((member, delivery));
                }
                let slots = store.read(after, end, CALL_LIMIT).expect("readable");
                (slots.last().map_or(after, Slot::id), slots.into_iter().filter_map(Slot::into_entry).collect())
            }
        };
        self.send_call(index, member, &dispatch, (after, through), entries, Some(delivery));
    }

    /// Sends what a dispatch asks for: what lies after an id and up to another one.
    fn send_call(
        &mut self,
        index: usize,
        member: usize,
        dispatch: &Dispatch,
        (after, through): (Id, Id),
        entries: Vec<Arc<Entry>>,
        delivery: Option<Delivery>,
    ) {
        let Master { disk, process: Some(process), .. } = &self.masters[index] else { return };
        let refused = disk.store().refused(dispatch.told.min(after), through).expect("readable");
        let call = process.ledger.call(dispatch, (after, through), entries, refused);
        let content = Content::Call { to: dispatch.incarnation, call, delivery };
        self.send(Parcel { number: 0, master: index, member, content });
    }

    /// The answer to a call arrives.
    pub(super) fn receive(
        &mut self,
        index: usize,
        member: usize,
        delivery: Delivery,
        through: Id,
        answer: Result<Acknowledgement, Complaint>,
    ) {
        let Some(process) = &mut self.masters[index].process else { return };
        let dispatch = delivery.dispatch;
        match answer {
            Ok(acknowledgement) => {
                let (counted, effects) = process.ledger.acknowledged(dispatch.member, acknowledgement);
                if !counted {
                    return self.lose_member(index, &delivery, None);
                }
                self.carry_out(index, effects);
                if through < dispatch.through {
                    self.send_next(index, member, Delivery { after: through, ..delivery });
                }
            }
            Err(Complaint::Refused(Refusal::Gap { holds }))
                if holds < delivery.after && delivery.resends < RESENDS_MAX =>
            {
                let resends = delivery.resends + 1;
                self.send_next(index, member, Delivery { after: holds, resends, ..delivery });
            }
            Err(Complaint::Refused(refusal)) => self.lose_member(index, &delivery, Some(&refusal)),
            Err(_) => self.lose_member(index, &delivery, None),
        }
    }

    /// A thread waits no longer for the answer to its call.
    pub(super) fn give_up(&mut self, number: u64) {
        let Some(position) = self.wire.iter().position(|parcel| parcel.number == number) else { return };
        let Some(delivery) = self.wire[position].delivery().cloned() else { return };
        let parcel = self.wire.remove(position);
        let index = parcel.master;
        if matches!(parcel.content, Content::Call { .. }) {
            self.wire.insert(position, parcel.orphan());
        }
        self.lose_member(index, &delivery, None);
    }

    /// A secondary did not acknowledge, or cannot.
    fn lose_member(&mut self, index: usize, delivery: &Delivery, refusal: Option<&Refusal>) {
        self.lose_in_turn(index, delivery.dispatch.member, delivery.dispatch.turn, refusal);
    }

    fn lose_in_turn(&mut self, index: usize, member: MemberId, turn: u64, refusal: Option<&Refusal>) {
        let Some(process) = &mut self.masters[index].process else { return };
        let view = process.ledger.member(member);
        if view.is_none_or(|view| view.turn != turn || view.standing == Standing::Unreachable) {
            return;
        }
        if refusal.is_some_and(is_overtaken) {
            return self.halt(index);
        }
        let effects = process.ledger.lost(member);
        self.carry_out(index, effects);
    }

    /// The keeper asks a secondary what it holds.
    pub(super) fn ask(&mut self, master: usize, member: usize) {
        let holdings = self.secondaries[member].process.as_ref().map(Replica::holdings);
        self.send(Parcel { number: 0, master, member, content: Content::Holdings(holdings) });
    }

    /// A secondary has said what it holds, or nothing.
    pub(super) fn welcome(&mut self, index: usize, member: usize, holdings: Option<Holdings>) {
        let Some(process) = &mut self.masters[index].process else { return };
        let view = process.member_id(member).and_then(|id| process.ledger.member(id));
        let Some(view) = view else { return };
        match (view.standing, holdings) {
            (Standing::CatchingUp, _) | (Standing::Unreachable, None) => {}
            (Standing::Unreachable, Some(holdings)) => match process.ledger.reported(view.member, &holdings) {
                Ok(effects) => {
                    self.secondaries[member].is_known(holdings.incarnation);
                    self.carry_out(index, effects);
                }
                Err(refusal) if is_overtaken(&refusal) => self.halt(index),
                Err(_) => {}
            },
            (Standing::InSync, None) => self.lose_in_turn(index, view.member, view.turn, None),
            (Standing::InSync, Some(holdings)) if Some(holdings.incarnation) != view.incarnation => {
                self.lose_in_turn(index, view.member, view.turn, None);
            }
            (Standing::InSync, Some(holdings)) => {
                if let Err(refusal) = process.ledger.may_take_part(&holdings) {
                    self.lose_in_turn(index, view.member, view.turn, Some(&refusal));
                }
            }
        }
    }

    /// The keeper admits a secondary, or sends it more.
    pub(super) fn catch_up(&mut self, index: usize, member: usize) {
        let Some(process) = &mut self.masters[index].process else { return };
        let Some(id) = process.member_id(member) else { return };
        if process.ledger.admit(id) {
            return;
        }
        if let Some(dispatch) = process.ledger.dispatch_catch_up(id, CALL_LIMIT.slots_max as u64) {
            self.send_next(index, member, Delivery::new(dispatch, None));
        }
    }

    /// What a master tells a secondary that asks, if it runs.
    pub(super) fn fate(&self, index: usize, after: Id) -> Option<Fate> {
        let Master { disk, process, .. } = self.masters.get(index)?;
        let Process { ledger, halted, noted, .. } = process.as_ref()?;
        let (decided, master) = (*noted, ledger.incarnation());
        let refused = disk.store().refused(after, decided).ok()?;
        let sure = !halted && !ledger.has_doubt();
        Some(Fate { log_id: ledger.log_id(), epoch: ledger.epoch(), master, decided, refused, sure })
    }

    fn carry_out(&mut self, index: usize, effects: Effects) {
        let Master { disk, process: Some(process), .. } = &mut self.masters[index] else { return };
        let (decided, visible) = (process.ledger.decided(), process.ledger.visible());
        if decided > process.noted {
            disk.store().note_watermark(Watermark { decided, visible }).expect("writable");
            process.noted = decided;
        }
        let mut answers = Vec::new();
        for (last, outcome) in effects.settled {
            if outcome == Outcome::Refused {
                process.keys.forget(last);
            }
            for write in process.writers.remove(&last).unwrap_or_default() {
                let known = &self.witness.writes[write];
                let follows = known.is_repeat() && outcome != Outcome::Refused;
                let outcome = if follows { process.known_commit(last, known.concern()) } else { outcome };
                answers.push((write, last, outcome));
            }
        }
        let refuse = effects.refuse;
        if !refuse.is_empty() {
            process.refusing.push(refuse.clone());
        }
        self.look(Node::Master(index));
        answers.into_iter().for_each(|(write, last, outcome)| self.answer(index, write, last, outcome));
        if self.plant == Some(Plant::RefusalNotDurable)
            && !refuse.is_empty()
            && let Some(process) = &mut self.masters[index].process
        {
            let effects = process.ledger.refusal_stored(&refuse);
            self.carry_out(index, effects);
        }
    }

    /// Takes no more writes, for good.
    fn halt(&mut self, index: usize) {
        let Some(process) = &mut self.masters[index].process else { return };
        process.halted = true;
        process.rounds.truncate(1);
        process.queue.clear();
        let waiting = std::mem::take(&mut process.waiting);
        let writers = std::mem::take(&mut process.writers);
        writers.into_values().flatten().for_each(|write| self.witness.answer(write, Answer::Unknown));
        waiting.into_iter().for_each(|(_, delivery)| self.lose_member(index, &delivery, None));
    }

    pub(crate) fn epoch_of(&self, index: usize) -> Epoch {
        self.masters[index].process.as_ref().map_or(Epoch::NONE, |process| process.ledger.epoch())
    }
}

/// Whether a secondary knows better who may write.
fn is_overtaken(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Fenced { .. } | Refusal::MasterBehind { .. } | Refusal::OtherReign { .. })
}
