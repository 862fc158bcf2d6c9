//! Checks that the cluster keeps its promises.
//!
//! The checker compares the answers that clients got with what each node shows and with what is on each disk. It trusts
//! no counter or mark of the code under test, except the high watermark that decides what a reader sees.
//!
//! It checks:
//!
//! 1. *acknowledged*: an acknowledged write is on the master's disk and on as many others as it asked for, all of it,
//!    and every node shows it at its id from then on, or nothing at that id yet;
//! 2. *refused*: no node ever shows a refused message, before or after;
//! 3. *one order*: two nodes show the same as far as both go. A node keeps showing what it showed, also after a kill.
//!    After a power loss it may show less at first, and then shows the same again. Nothing appears twice, nothing that
//!    no client wrote, and on the master no part of a write without the rest;
//! 4. *marks*: known to a secondary as decided ≤ decided ≤ durable ≤ appended;
//! 5. *one content*: no two disks hold two messages under one epoch and id; a secondary knows only refusals that are on
//!    the master's disk. A secondary follows one master in an epoch, and never goes back to an earlier one (*fences*);
//! 6. *trimmed*: what a node drops at the beginning of its log is what others dropped; its base says what that was; no
//!    node begins at a base without leave that had to be waited for, and nothing goes that is not archived;
//! 7. *reads*: a secondary that answers alone shows every message that was acknowledged for all nodes, and one that has
//!    asked shows everything that had been acknowledged when it asked.
//!
//! A lost disk ends the promises for what was only on it. Two masters on copies of one directory are judged apart, see
//! [`Checker::two_masters`].

use super::disk::{EVERYTHING, SimulatedDisk};
use super::following::Following;
use super::leading::{Leading, Posted};
use super::node::Role;
use super::{MASTER, Node, World};
use replicated_log::protocol::{Base, Epoch, Id, Incarnation, Outcome, Slot, Watermark, WriteConcern};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// An answer to a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Answer {
    /// 201, or 202 with fewer copies than asked for.
    Committed { first: Id, short: bool },
    /// 502: it has no part in the log, for ever.
    Refused,
    /// The master did not append it. This says nothing of an earlier post of the same write.
    NotTaken,
    /// The connection broke, or the master does not know.
    Unknown,
}

/// A write, as its client knows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Write {
    /// The master that it was posted to.
    master: Node,
    pub(crate) texts: Vec<Arc<str>>,
    concern: WriteConcern,
    timeout: Option<Duration>,
    /// The registrations at the time of the post. A write for all needs those of them that still exist.
    asked_of: BTreeSet<(Node, u32)>,
    /// The master took it for a repeat of an earlier post.
    is_repeat: bool,
    pub(crate) answer: Option<Answer>,
}

impl Write {
    pub(super) fn concern(&self) -> WriteConcern {
        self.concern
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or_default()
    }

    /// Whether the master took it for a repeat of an earlier post.
    pub(crate) fn is_repeat(&self) -> bool {
        self.is_repeat
    }
}

/// What a node shows, and showed.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Shown {
    /// Everything that it ever showed.
    ever: Vec<(Id, Arc<str>)>,
    /// How many of them it shows now.
    now: usize,
    /// The checker has read the node up to this id.
    decided: Id,
    /// How many it has to show when it is back after a kill.
    owes: usize,
}

/// What was trimmed, and who may lack it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Trimmed {
    /// Every slot that any node has dropped at the beginning of its log.
    slots: BTreeMap<Id, Slot>,
    /// The id up to which a node may lack what was decided: it was away for too long, or came later.
    may_lack: BTreeMap<Node, Id>,
    /// How far a node has ever decided on its disk.
    reached: BTreeMap<Node, Id>,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Checker {
    /// What clients asked for, in the order of their posts.
    pub(crate) writes: Vec<Write>,
    /// The one order, as far as any node has shown it.
    order: BTreeMap<Id, Arc<str>>,
    shown_texts: BTreeSet<Arc<str>>,
    shown: BTreeMap<Node, Shown>,
    /// The secondaries that are registered, and which registration that is.
    registered: BTreeSet<(Node, u32)>,
    registrations: u32,
    /// Secondaries with a removal notice on its way: they answer readers alone until they restart, or get a call of
    /// this epoch and replication session or a later one.
    unsuspecting: BTreeMap<Node, (Epoch, u64)>,
    acknowledged: BTreeMap<Id, Arc<str>>,
    /// The last id that was acknowledged as held by every node.
    newest_everywhere: Id,
    refused: BTreeSet<Arc<str>>,
    /// The epoch that a secondary has entered, and its master.
    followed: BTreeMap<Node, (Epoch, Option<Incarnation>)>,
    /// The master's disk was lost, or there are two logs, or two masters: then fewer checks apply.
    other_log: bool,
    two_masters: bool,
    /// Each epoch that a candidate has begun, and in which incarnation.
    begun: BTreeMap<Epoch, Incarnation>,
    /// What a majority acknowledged, and in which epoch.
    kept: BTreeMap<Id, (Arc<str>, Epoch)>,
    /// What was refused, and in which epoch.
    refused_in: BTreeMap<Arc<str>, Epoch>,
    /// Whether writes were acknowledged that fewer nodes than a majority hold.
    has_lesser_writes: bool,
    trimmed: Trimmed,
    /// The first promise that was found broken.
    verdict: Option<String>,
}

impl Checker {
    pub(crate) fn new(master: Node, secondaries: &BTreeSet<Node>) -> Checker {
        let nodes = secondaries.iter().copied().chain([master]);
        let shown = nodes.map(|node| (node, Shown::default())).collect();
        let registered = secondaries.iter().map(|&member| (member, 0)).collect();
        Checker { shown, registered, ..Checker::default() }
    }

    pub(crate) fn verdict(&self) -> Option<&str> {
        self.verdict.as_deref()
    }

    pub(crate) fn broken(&mut self, sentence: String) {
        self.verdict.get_or_insert(sentence);
    }

    /// Records a post. Returns the number under which its answer is recorded.
    pub(super) fn asked(&mut self, master: Node, posted: &Posted) -> usize {
        self.writes.push(Write {
            master,
            texts: posted.texts.clone(),
            concern: posted.concern,
            timeout: posted.timeout,
            asked_of: self.registered.clone(),
            is_repeat: false,
            answer: None,
        });
        self.writes.len() - 1
    }

    pub(super) fn joins(&mut self, member: Node) {
        let so_far = self.trimmed.slots.last_key_value().map_or(Id::ZERO, |(&id, _)| id);
        self.may_lack(member, so_far);
        self.registrations += 1;
        self.registered.insert((member, self.registrations));
    }

    /// Records that the master removes a secondary in this epoch and session, which the secondary may not know yet.
    pub(super) fn is_notified_of_removal(&mut self, member: Node, epoch: Epoch, session: u64) {
        self.unsuspecting.insert(member, (epoch, session));
    }

    /// Records whether a node is a member under a master that begins.
    pub(super) fn is_member(&mut self, node: Node, is_member: bool) {
        match (is_member, self.registered.iter().any(|(registered, _)| *registered == node)) {
            (true, false) => self.joins(node),
            (false, true) => self.leaves(node),
            _ => {}
        }
    }

    pub(super) fn leaves(&mut self, member: Node) {
        self.registered.retain(|(registered, _)| *registered != member);
    }

    /// Records that a secondary has accepted a call.
    pub(super) fn is_called(&mut self, member: Node, epoch: Epoch, session: u64) {
        if self.unsuspecting.get(&member).is_some_and(|&told| (epoch, session) >= told) {
            self.unsuspecting.remove(&member);
        }
    }

    /// Records that the process of a secondary has ended, and with it its admission.
    pub(super) fn forgets_its_admission(&mut self, member: Node) {
        self.unsuspecting.remove(&member);
    }

    pub(super) fn is_repeat(&mut self, write: usize) {
        self.writes[write].is_repeat = true;
    }

    /// Records the answer to a write. [`World::answer`] examines what is committed.
    pub(super) fn answer(&mut self, write: usize, answer: Answer) {
        let write = &mut self.writes[write];
        let before = write.answer.replace(answer);
        if let Some(before) = before {
            let sentence = format!("{:?} was answered twice: {before:?}, then {answer:?}", write.texts);
            return self.broken(sentence);
        }
        if answer == Answer::Refused {
            let texts = write.texts.clone();
            for text in texts {
                if self.shown_texts.contains(&text) {
                    self.broken(format!("refused: \"{text}\" is refused after it was shown"));
                }
                self.refused.insert(text);
            }
        }
    }

    /// Records that a master has ended: its clients learn nothing more.
    pub(super) fn answer_all_unknown(&mut self, master: Node) {
        let waiting = self.writes.iter_mut().filter(|write| write.master == master && write.answer.is_none());
        waiting.for_each(|write| write.answer = Some(Answer::Unknown));
    }

    /// Whether the client of a message knows its outcome.
    pub(super) fn is_settled(&self, text: &Arc<str>) -> bool {
        let is_definite = |write: &&Write| matches!(write.answer, Some(Answer::Committed { .. } | Answer::Refused));
        self.writes.iter().filter(is_definite).any(|write| write.texts.contains(text))
    }

    pub(super) fn acknowledged_texts(&self) -> BTreeSet<Arc<str>> {
        self.acknowledged.values().cloned().collect()
    }

    /// The number of ids that were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    fn shown_mut(&mut self, node: Node) -> &mut Shown {
        self.shown.entry(node).or_default()
    }

    /// A process was killed: when it is back it shows what it showed.
    pub(super) fn killed(&mut self, node: Node) {
        let shown = self.shown_mut(node);
        *shown = Shown { owes: shown.owes.max(shown.now), now: 0, decided: Id::ZERO, ..std::mem::take(shown) };
    }

    /// A node lost its power: when it is back it may show less.
    pub(super) fn power_lost(&mut self, node: Node) {
        let shown = self.shown_mut(node);
        *shown = Shown { owes: 0, now: 0, decided: Id::ZERO, ..std::mem::take(shown) };
    }

    /// A node lost its disk: it begins anew.
    pub(crate) fn disk_lost(&mut self, node: Node) {
        *self.shown_mut(node) = Shown::default();
        self.followed.remove(&node);
        self.trimmed.reached.remove(&node);
        self.may_lack(node, Id::MAX);
    }

    fn may_lack(&mut self, node: Node, id: Id) {
        let known = self.trimmed.may_lack.entry(node).or_default();
        *known = id.max(*known);
    }

    /// Records that a leader trims its log, for whose sake only nodes in sync hold that up before `regardless`.
    pub(super) fn is_trimmed(&mut self, leader: Node, through: Id, regardless: Id) {
        let nodes: Vec<Node> = self.shown.keys().copied().filter(|&node| node != leader).collect();
        for node in nodes {
            let is_registered = self.registered.iter().any(|(registered, _)| *registered == node);
            self.may_lack(node, if is_registered { regardless.min(through) } else { through });
        }
    }

    /// Records what a node drops at the beginning of its log.
    pub(super) fn drops(&mut self, node: Node, slots: Vec<Slot>) {
        for slot in slots {
            let known = self.trimmed.slots.entry(slot.id()).or_insert_with(|| slot.clone());
            if *known != slot {
                let sentence = format!("trimmed: {node:?} drops {slot:?}, and others dropped {known:?}");
                return self.broken(sentence);
            }
        }
    }

    /// Checks that a node may begin at a base, although it has not decided as much.
    pub(super) fn begins_at(&mut self, node: Node, base: Id) {
        let of = |ids: &BTreeMap<Node, Id>| ids.get(&node).copied().unwrap_or_default();
        let (may_lack, reached) = (of(&self.trimmed.may_lack), of(&self.trimmed.reached));
        if base > may_lack.max(reached) {
            self.broken(format!(
                "trimmed: {node:?} begins after {base}, has decided up to {reached}, and may lack up to {may_lack}"
            ));
        }
    }

    /// What was trimmed after an id up to another one.
    pub(super) fn trimmed_between(&self, after: Id, through: Id) -> Vec<Slot> {
        if after >= through {
            return Vec::new();
        }
        self.trimmed.slots.range(after.next()..=through).map(|(_, slot)| slot.clone()).collect()
    }

    /// A secondary holds messages of a log that is not the master's, or the master lost its log.
    pub(crate) fn meets_another_log(&mut self) {
        self.other_log = true;
    }

    /// Adds a node, which shows nothing yet.
    pub(super) fn appears(&mut self, node: Node) {
        self.shown.insert(node, Shown::default());
    }

    /// Records that a candidate begins an epoch.
    pub(super) fn begins(&mut self, epoch: Epoch, master: Incarnation) {
        if let Some(other) = self.begun.insert(epoch, master) {
            self.broken(format!("one master: epoch {epoch} is begun by {other} and by {master}"));
        }
    }

    /// How many epochs candidates have begun.
    pub(crate) fn promotions(&self) -> usize {
        self.begun.len()
    }

    /// Records that a node takes no part, because it has shown what others do not have.
    pub(super) fn is_left_out(&mut self, sentence: String) {
        if !self.has_lesser_writes {
            self.broken(sentence);
        }
    }

    /// Records that a second master goes on from a copy of the first one's disk. Each assigns its own ids, and the
    /// second takes from secondaries what the first is about to acknowledge. So only this is checked from now on: what
    /// is acknowledged is on the disk of the master that acknowledged it, no node takes back what it showed, and a
    /// secondary follows one master at a time, and never an earlier one again.
    pub(crate) fn two_masters(&mut self, second: Node) {
        self.two_masters = true;
        self.shown.insert(second, Shown::default());
    }

    fn has_one_log(&self) -> bool {
        !self.two_masters && !self.other_log
    }

    /// Records that a node shows one more message.
    fn shows(&mut self, node: Node, id: Id, text: &Arc<str>) {
        let has_one_log = self.has_one_log();
        let shown = self.shown.entry(node).or_default();
        let place = shown.now;
        shown.now += 1;
        match shown.ever.get(place) {
            Some(before) if *before != (id, Arc::clone(text)) => {
                let sentence = format!("one order: {node:?} showed {before:?}, and now {id}=\"{text}\" in its place");
                return self.broken(sentence);
            }
            Some(_) => return,
            None => shown.ever.push((id, Arc::clone(text))),
        }
        if self.refused.contains(text) && !self.two_masters {
            self.broken(format!("refused: {node:?} shows {id}=\"{text}\", which was refused"));
        }
        if !has_one_log {
            return;
        }
        match self.order.get(&id) {
            Some(known) if known != text => {
                self.broken(format!("one order: {node:?} shows {id}=\"{text}\", others showed \"{known}\""));
            }
            Some(_) => {}
            None if self.order.last_key_value().is_some_and(|(&last, _)| last > id) => {
                self.broken(format!("one order: {node:?} shows {id}=\"{text}\", which others passed over"));
            }
            None => {
                if !self.writes.iter().any(|write| write.texts.contains(text)) {
                    self.broken(format!("one order: {node:?} shows {id}=\"{text}\", which no client wrote"));
                }
                if !self.shown_texts.insert(Arc::clone(text)) {
                    self.broken(format!("one order: {node:?} shows {id}=\"{text}\", which has another id, too"));
                }
                self.order.insert(id, Arc::clone(text));
            }
        }
    }
}

impl<P: SimulatedDisk> World<P> {
    /// Looks at every node that runs.
    pub(super) fn observe(&mut self) {
        for node in self.nodes() {
            self.look(node);
        }
        self.check_marks();
        self.check_fences();
        self.check_secondaries_that_answer_alone();
    }

    fn disk(&self, node: Node) -> &P {
        &self.nodes[node.0].disk
    }

    /// The id up to which a node shows its log, if it runs.
    fn shows_up_to(&self, node: Node) -> Option<Id> {
        match self.nodes[node.0].role.as_ref()? {
            Role::Leading(leading) => Some(leading.leader.shown().decided),
            Role::Following(following) => {
                let all = self.planted == Some(super::planted_bugs::PlantedBug::PendingShown);
                Some(if all { following.follower.last() } else { following.follower.decided() })
            }
        }
    }

    /// Reads what a node shows since the checker looked last.
    pub(super) fn look(&mut self, node: Node) {
        let Some(decided) = self.shows_up_to(node) else { return };
        let before = self.checker.shown[&node].decided;
        if decided < before {
            self.checker.broken(format!("one order: {node:?} showed its log up to {before}, and now up to {decided}"));
            return;
        }
        if decided > before {
            let new = self.slots_between(node, before, decided);
            let reached = self.checker.trimmed.reached.entry(node).or_default();
            *reached = decided.max(*reached);
            let slots: BTreeMap<Id, Slot> = new.into_iter().map(|slot| (slot.id(), slot)).collect();
            for id in before.until(decided) {
                match slots.get(&id) {
                    Some(Slot::Entry(entry)) => self.checker.shows(node, id, &entry.message),
                    Some(Slot::Refused(_)) => {}
                    None => self.checker.broken(format!("one order: {node:?} has decided {id}, but does not hold it")),
                }
            }
        }
        let shown = self.checker.shown_mut(node);
        shown.decided = decided;
        let (owes, now) = (std::mem::take(&mut shown.owes), shown.now);
        if now < owes {
            self.checker
                .broken(format!("one order: {node:?} showed {owes} messages before it was killed, and now {now}"));
        }
    }

    /// Records and checks the answer to a write, which is named by the id of its last message.
    pub(super) fn answer(&mut self, node: Node, write: usize, last: Id, outcome: Outcome) {
        let first = Id::new(last.get() + 1 - self.checker.writes[write].texts.len() as u64);
        let answer = match outcome {
            Outcome::Committed => Answer::Committed { first, short: false },
            Outcome::CommittedShort => Answer::Committed { first, short: true },
            Outcome::Refused => Answer::Refused,
        };
        if outcome == Outcome::Refused {
            self.examine_refusal(node, first, last);
            let (texts, epoch) = (self.checker.writes[write].texts.clone(), self.epoch_of(node));
            self.checker.refused_in.extend(texts.into_iter().map(|text| (text, epoch)));
        } else {
            self.examine_acknowledgement(node, write, first, outcome);
        }
        self.checker.answer(write, answer);
    }

    fn examine_refusal(&mut self, node: Node, first: Id, last: Id) {
        let held = self.nodes[node.0].disk.store().read(first.previous(), last, EVERYTHING).expect("readable");
        if held.len() as u64 != last.since(first.previous()) || held.iter().any(|slot| matches!(slot, Slot::Entry(_))) {
            self.checker.broken(format!("refused: {first} to {last} are refused, and the master's disk has {held:?}"));
        }
    }

    fn examine_acknowledgement(&mut self, node: Node, write: usize, first: Id, outcome: Outcome) {
        let write = self.checker.writes[write].clone();
        let ids = first.get()..first.get() + write.texts.len() as u64;
        for (id, text) in ids.map(Id::new).zip(&write.texts) {
            let what = format!("acknowledged: {id}=\"{text}\"");
            if !self.has(node, id, text) {
                self.checker.broken(format!("{what} is not on the master's disk"));
            }
            if !self.checker.shown[&node].ever.contains(&(id, Arc::clone(text))) {
                self.checker.broken(format!("{what} is not shown by the master"));
            }
            let registered = self.checker.registered.iter().copied().filter(|(member, _)| *member != node);
            let registered: BTreeSet<(Node, u32)> = registered.collect();
            let lacks = |member: Node| !self.holds(member, id, text);
            let missing = match write.concern {
                WriteConcern::All => write.asked_of.intersection(&registered).filter(|(at, _)| lacks(*at)).count(),
                WriteConcern::Majority | WriteConcern::Copies(_) => {
                    let held = 1 + registered.iter().filter(|(member, _)| !lacks(*member)).count();
                    let majority = registered.len().div_ceil(2) + 1;
                    let copies = if let WriteConcern::Copies(copies) = write.concern { copies } else { majority };
                    copies.saturating_sub(held)
                }
            };
            let is_kept = outcome == Outcome::Committed && self.is_for_a_majority(node, write.concern);
            if outcome == Outcome::Committed && !self.checker.two_masters && missing > 0 {
                self.checker.broken(format!("{what} lacks {missing} of the copies that it asked for"));
            }
            if is_kept {
                self.checker.kept.insert(id, (Arc::clone(text), self.epoch_of(node)));
            } else {
                self.checker.has_lesser_writes = true;
            }
            self.checker.acknowledged.insert(id, Arc::clone(text));
            if outcome == Outcome::Committed && write.concern == WriteConcern::All && !write.is_repeat {
                self.checker.newest_everywhere = self.checker.newest_everywhere.max(id);
            }
        }
    }

    /// Whether a write concern of a leader means a majority of the voters: then a write is kept through promotions.
    fn is_for_a_majority(&self, node: Node, concern: WriteConcern) -> bool {
        let WriteConcern::Copies(copies) = concern else { return true };
        let Some(leading) = self.nodes[node.0].leading() else { return false };
        let roster = leading.leader.roster();
        [Some(roster.voters()), roster.before()].into_iter().flatten().all(|voters| copies > voters.others_needed())
    }

    fn check_secondaries_that_answer_alone(&mut self) {
        if !self.checker.has_one_log() {
            return;
        }
        let newest = self.checker.newest_everywhere;
        let is_wrong = |(node, following): &(Node, &Following)| {
            let shown = self.checker.shown[node].decided;
            following.answers_alone() && shown < newest && !self.checker.unsuspecting.contains_key(node)
        };
        let wrong = self.followers().find(is_wrong).map(|(node, _)| node);
        if let Some(node) = wrong {
            let shown = self.checker.shown[&node].decided;
            let sentence = format!("reads: {node:?} answers alone up to {shown}, but {newest} was acknowledged");
            self.checker.broken(sentence);
        }
    }

    /// Checks the answer to a reader. These messages had been acknowledged when it came.
    pub(super) fn reads_after(&mut self, node: Node, acknowledged: &BTreeSet<Arc<str>>) {
        if !self.checker.has_one_log() {
            return;
        }
        let shown = &self.checker.shown[&node];
        let missing = acknowledged.iter().find(|text| !shown.ever[..shown.now].iter().any(|(_, shown)| shown == *text));
        if let Some(missing) = missing {
            let sentence =
                format!("reads: {node:?} has asked, and does not show \"{missing}\", which was acknowledged");
            self.checker.broken(sentence);
        }
    }

    fn check_marks(&mut self) {
        let mut wrong = None;
        for (node, leading) in self.leaders() {
            let leader = &leading.leader;
            let (decided, durable, last) = (leader.decided(), self.disk(node).store().last(), leader.last());
            let told = leader.members().map(|view| view.known_decided).max().unwrap_or_default();
            if !(told <= decided && decided <= durable && durable <= last) {
                wrong = Some(format!("marks: known {told} ≤ decided {decided} ≤ durable {durable} ≤ appended {last}"));
            }
        }
        for (node, following) in self.followers() {
            let (decided, last) = (following.follower.decided(), self.disk(node).store().last());
            if decided > last {
                wrong = Some(format!("marks: decided {decided} ≤ durable {last} on a secondary"));
            }
        }
        wrong.into_iter().for_each(|sentence| self.checker.broken(sentence));
    }

    fn check_fences(&mut self) {
        for node in self.nodes() {
            let Some(status) = self.status(node) else { continue };
            let promised = status.lineage.and_then(|lineage| lineage.promised);
            let now = match promised.filter(|promised| promised.epoch > status.epoch) {
                Some(promised) => (promised.epoch, None),
                None => (status.epoch, status.master),
            };
            let before = self.checker.followed.insert(node, now).unwrap_or_default();
            let has_changed = now.1 != before.1 && (before.1.is_some() || !self.promotes());
            if now.0 < before.0 || (now.0 == before.0 && has_changed) {
                let sentence = format!("fences: {node:?} followed {before:?}, and follows {now:?} now");
                return self.checker.broken(sentence);
            }
        }
    }

    /// Whether a node has a message at an id, or has trimmed it.
    pub(super) fn has(&self, node: Node, id: Id, text: &Arc<str>) -> bool {
        let slot = self.slots_between(node, id.previous(), id).pop();
        matches!(slot, Some(Slot::Entry(entry)) if entry.message == *text)
    }

    /// Every base says what was trimmed.
    fn bases_are_true(&self) -> Result<(), String> {
        for node in self.nodes().filter(|&node| self.runs(node)) {
            let base = self.disk(node).store().base();
            let mut expected = Base::default();
            self.checker.trimmed_between(Id::ZERO, base.id).iter().for_each(|slot| expected.extend(slot));
            if base != expected {
                return Err(format!("trimmed: {node:?} begins after {base:?}, and what was trimmed is {expected:?}"));
            }
        }
        Ok(())
    }

    /// Reads the disks of all running nodes from beginning to end.
    pub(crate) fn examine_disks(&mut self) {
        if self.checker.has_one_log()
            && let Err(sentence) = self.bases_are_true()
        {
            return self.checker.broken(sentence);
        }
        if self.promotes() {
            if let Err(sentence) = self.leaders_hold_everything() {
                self.checker.broken(sentence);
            }
            return;
        }
        if !self.checker.has_one_log() || !self.runs(MASTER) {
            return;
        }
        let examined =
            self.disks_agree().and_then(|()| self.writes_are_whole(MASTER)).and_then(|()| self.counters_are_true());
        if let Err(sentence) = examined {
            self.checker.broken(sentence);
        }
    }

    fn disks_agree(&self) -> Result<(), String> {
        let mut contents: BTreeMap<(Epoch, Id), Arc<str>> = BTreeMap::new();
        let master = self.slots(MASTER);
        for node in self.nodes().filter(|&node| self.runs(node)) {
            for slot in self.slots(node) {
                match slot {
                    Slot::Entry(entry) => {
                        let name = (entry.epoch, entry.id);
                        let known = contents.entry(name).or_insert_with(|| Arc::clone(&entry.message));
                        if *known != entry.message {
                            return Err(format!("one content: {name:?} is \"{known}\" and \"{}\"", entry.message));
                        }
                    }
                    Slot::Refused(id) => {
                        if !matches!(slot_at(&master, id), Some(Slot::Refused(_))) {
                            return Err(format!(
                                "one content: {node:?} knows that {id} is refused, the master's disk does not"
                            ));
                        }
                    }
                }
            }
            let decided = self.shows_up_to(node).unwrap_or_default();
            let on_disk = self.slots_between(node, Id::ZERO, decided);
            if let Some(slot) = on_disk.iter().find(|slot| slot_at(&master, slot.id()) != Some(slot)) {
                return Err(format!("one content: {node:?} has decided {slot:?}, which is another one on the master"));
            }
        }
        for (id, text) in &self.checker.acknowledged {
            if !self.has(MASTER, *id, text) {
                return Err(format!("acknowledged: {id}=\"{text}\" is not on the master's disk any more"));
            }
        }
        Ok(())
    }

    /// Every leader holds what a majority acknowledged in its epoch and before, and nothing that was refused before. No
    /// epoch has two entries with one id. Every follower holds what others showed, as far as it has decided.
    fn leaders_hold_everything(&self) -> Result<(), String> {
        let mut contents: BTreeMap<(Epoch, Id), Arc<str>> = BTreeMap::new();
        for node in self.nodes().filter(|&node| self.runs(node)) {
            for entry in self.slots(node).into_iter().filter_map(Slot::into_entry) {
                let name = (entry.epoch, entry.id);
                let known = contents.entry(name).or_insert_with(|| Arc::clone(&entry.message));
                if *known != entry.message {
                    return Err(format!("one content: {name:?} is \"{known}\" and \"{}\"", entry.message));
                }
            }
        }
        for (node, following) in self.followers().filter(|_| !self.checker.has_lesser_writes) {
            let held = self.slots(node);
            for (id, text) in self.checker.order.range(..=following.follower.decided()) {
                if !matches!(slot_at(&held, *id), Some(Slot::Entry(entry)) if entry.message == *text) {
                    return Err(format!(
                        "one order: {node:?} has decided {id}, and lacks \"{text}\", which others showed"
                    ));
                }
            }
        }
        for (node, Leading { leader, .. }) in self.leaders() {
            // A secondary that lagged may have shown a part of a write, and leads now.
            if !leader.has_doubt() {
                self.writes_are_whole(node)?;
            }
            for entry in self.slots(node).into_iter().filter_map(Slot::into_entry) {
                let refused = self.checker.refused_in.get(&entry.message);
                if let Some(epoch) = refused.filter(|epoch| **epoch < leader.epoch()) {
                    let (text, leads) = (&entry.message, leader.epoch());
                    return Err(format!(
                        "refused: \"{text}\", refused in epoch {epoch}, is on {node:?}, which leads in epoch {leads}"
                    ));
                }
            }
            let kept = self.checker.kept.iter().filter(|(_, (_, epoch))| *epoch <= leader.epoch());
            for (id, (text, epoch)) in kept {
                if !self.has(node, *id, text) {
                    let leads = leader.epoch();
                    return Err(format!(
                        "acknowledged: {id}=\"{text}\" of epoch {epoch} is not on {node:?}, which leads in epoch {leads}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks what a node reports of itself, and what the master records of its secondaries.
    fn counters_are_true(&self) -> Result<(), String> {
        let messages = |node: Node, decided| {
            let slots = self.slots_between(node, Id::ZERO, decided);
            slots.iter().filter(|slot| matches!(slot, Slot::Entry(_))).count() as u64
        };
        let Some(process) = self.nodes[MASTER.0].leading() else { return Ok(()) };
        let Watermark { decided, visible } = process.leader.shown();
        let here = messages(MASTER, decided);
        if visible != here {
            return Err(format!("marks: the master says that {visible} messages are visible, and {here} are"));
        }
        let waits = |write: &&Write| write.master == MASTER && write.answer.is_none();
        let (waiting, here) = (process.leader.waiting(), self.checker.writes.iter().filter(waits).count());
        if waiting != here {
            return Err(format!("marks: the master says that {waiting} clients wait, and {here} do"));
        }
        for (node, Following { follower, .. }) in self.followers() {
            let (visible, here) = (follower.view().visible, messages(node, follower.decided()));
            if visible != here {
                return Err(format!("marks: {node:?} says that {visible} messages are visible, and {here} are"));
            }
        }
        for (member, view) in process.members() {
            let Some(status) = self.status(member) else { continue };
            let last = self.disk(member).store().last();
            if view.incarnation == Some(status.incarnation)
                && (view.matched > last || view.known_decided > status.decided)
            {
                return Err(format!("marks: the master believes {view:?}, which holds {last} and {status:?}"));
            }
        }
        Ok(())
    }

    /// On the master, all messages of a write are shown, or none; all are refused, or none.
    fn writes_are_whole(&self, master: Node) -> Result<(), String> {
        let decided = self.shows_up_to(master).unwrap_or_default();
        let slots = self.slots(master);
        let entries = slots.into_iter().filter_map(Slot::into_entry);
        let ids: BTreeMap<Arc<str>, Id> = entries.map(|entry| (Arc::clone(&entry.message), entry.id)).collect();
        for write in self.checker.writes.iter().filter(|write| write.texts.len() > 1) {
            let held: Vec<Id> = write.texts.iter().filter_map(|text| ids.get(text).copied()).collect();
            let shown = held.iter().filter(|&&id| id <= decided).count();
            let is_whole = [0, write.texts.len()].contains(&held.len()) && [0, held.len()].contains(&shown);
            if !is_whole || !held.windows(2).all(|pair| pair[0].next() == pair[1]) {
                return Err(format!("one order: of {:?} the master holds {held:?}, and shows {shown}", write.texts));
            }
        }
        Ok(())
    }
}

/// The slot of an id, in the slots of a log from its beginning.
fn slot_at(slots: &[Slot], id: Id) -> Option<&Slot> {
    slots.get(usize::try_from(id.previous().get()).ok()?)
}
