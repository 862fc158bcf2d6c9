//! The output of a scenario: what has changed since the last step, as the nodes themselves report it.

use super::Cluster;
use crate::world::checker::Answer;
use crate::world::disk::{EVERYTHING, SimulatedDisk, Slate};
use crate::world::wire::{Complaint, Content, Packet};
use crate::world::{MASTER, Node, Step};
use replicated_log::protocol::{
    Acknowledgement, Call, CallFailure, Id, MemberId, News, Rejection, ReplicaStatus, ReplicationState, Slot,
};
use std::collections::BTreeMap;

/// The state of the cluster that was printed last. What differs from it is news.
#[derive(Default)]
pub(super) struct Seen {
    refusing: Vec<Id>,
    answers: Vec<Option<Answer>>,
    shown: BTreeMap<Node, Vec<Slot>>,
}

impl Cluster {
    /// Prints what has changed, and checks that no promise is broken.
    pub(super) fn observe(&mut self) {
        assert_eq!(self.world.checker.verdict(), None);
        self.observe_shown();
        self.observe_news();
        self.observe_calls();
        let refusing = self.process().refusing().to_vec();
        if !refusing.is_empty() && refusing != self.seen.refusing {
            self.note(format!("refusal of {} goes to the disk", list(&refusing)));
        }
        self.seen.refusing = refusing;
        self.observe_answers();
        if self.is_noted && self.process().has_watermark_to_note() {
            self.take(Step::Note(MASTER));
        }
    }

    fn observe_shown(&mut self) {
        for node in self.world.nodes() {
            let now = visible(self.disk(node), self.decided(node));
            let before = self.seen.shown.insert(node, now.clone()).map_or(0, |slots| slots.len());
            if now.len() > before {
                self.news(format!("{} shows {}", name_of(node), list(now[before..].iter().map(name))));
            }
        }
    }

    /// The id up to which a node shows what is committed.
    fn decided(&self, node: Node) -> Id {
        if node == MASTER { self.leader().shown().decided } else { self.replica(node).decided() }
    }

    fn observe_calls(&mut self) {
        let is_new = |packet: &&Packet| !self.names.contains_key(&packet.number);
        let new: Vec<Packet> = self.world.wire.iter().filter(is_new).cloned().collect();
        for Packet { number, member, content, .. } in new {
            match content {
                Content::Call { call, .. } => {
                    self.calls += 1;
                    let name = format!("c{}", self.calls);
                    self.note(format!("{name} to {}: {}", name_of(member), describe(&call)));
                    self.names.insert(number, name);
                }
                Content::Probe => {
                    self.note(format!("master asks {} what it holds", name_of(member)));
                    self.names.insert(number, "question".to_owned());
                }
                _ => {}
            }
        }
    }

    /// Prints the reports of the leader.
    fn observe_news(&mut self) {
        for (place, news) in std::mem::take(&mut self.world.journal.news) {
            let name = place.map_or_else(String::new, name_of);
            let line = match news {
                News::Settled(outcome, writes) => {
                    self.note(format!("settled as {outcome:?}: {}", list(writes.into_iter().map(range))));
                    continue;
                }
                News::Matched { before, matched, .. } => {
                    self.note(format!("{name} acknowledged what follows {before} up to {matched}"));
                    continue;
                }
                News::Stored(..) => continue,
                News::NoRoom(after, through) => format!("no room for what follows {after} up to {through}"),
                News::Sealed(first, last) => {
                    format!("{} is sealed, and its client goes on waiting", range((first, last)))
                }
                News::CatchingUp { matched, lost, .. } => {
                    let lost = lost.map_or_else(String::new, |lost| format!(", and had acknowledged up to {lost}"));
                    format!("{name} is catching up: it holds up to {matched}{lost}")
                }
                News::Admitted { sent, .. } => format!("{name} is in sync: it was sent {sent} ids"),
                News::Lost { matched, .. } => format!("{name} leaves the rounds: it holds up to {matched}"),
                News::Unfit(_, CallFailure::Refused(refusal)) => format!("{name} cannot take part: it {refusal}"),
                News::Unfit(_, failure) => format!("{name} cannot take part: {failure:?}"),
                News::Health(_, health) => format!("{name} is {health:?}").to_lowercase(),
                News::Merged(..) => format!("{name} is a copy that is registered already, and no member any more"),
                News::Resent(_, from) => format!("{name} lacks what follows {from}"),
                News::Roster(roster) => roster.to_string(),
                News::Overtaken(_, refusal) => format!("master takes no more writes: {name} {refusal}"),
            };
            self.news(line);
        }
    }

    fn observe_answers(&mut self) {
        let answers: Vec<Option<Answer>> = self.world.checker.writes.iter().map(|write| write.answer).collect();
        for (write, answer) in answers.iter().enumerate() {
            let is_new = self.seen.answers.get(write).copied().flatten().is_none();
            let Some((answer, &ids)) = answer.filter(|_| is_new).zip(self.writes.get(write)) else { continue };
            let (copies, nodes) = (self.leader().copies_of(ids.1) + 1, self.leader().nodes());
            let again = if self.world.checker.writes[write].is_repeat() { "repeat of " } else { "" };
            let told = match answer {
                Answer::Committed { short: false, .. } => format!("201 committed, on {copies} of {nodes} nodes"),
                Answer::Committed { short: true, .. } => format!("202 committed, only on {copies} of {nodes} nodes"),
                Answer::Refused => "502 refused".to_owned(),
                Answer::Unknown => "unknown".to_owned(),
                Answer::NotTaken => continue,
            };
            self.news(format!("answer {again}{}: {told}", range(ids)));
        }
        self.seen.answers = answers;
    }

    pub(super) fn show(&mut self) {
        let leader = self.leader();
        let (last, durable, decided, shown) =
            (leader.last(), leader.durable(), leader.decided(), leader.shown().decided);
        let only = if shown < decided { format!(", shown {shown}") } else { String::new() };
        let tail = durable.until(last).filter_map(|id| Some(format!("{id}={}", self.texts.get(&id)?)));
        let tail = list(tail);
        let tail = if tail.is_empty() { tail } else { format!(" | not durable {tail}") };
        let contents_of = contents(self.disk(MASTER), shown);
        self.news(format!("master: last {last}, durable {durable}, decided {decided}{only}{contents_of}{tail}"));
        for node in self.world.nodes().filter(|&node| node != MASTER) {
            let (store, decided) = (self.disk(node), self.replica(node).decided());
            let state = self.state(node).map_or("removed", state);
            let (durable, contents_of) = (store.store().last(), contents(store, decided));
            self.news(format!("{} {state}: durable {durable}, decided {decided}{contents_of}", name_of(node)));
        }
    }

    pub(super) fn explain(&self, rejection: &Rejection) -> String {
        match rejection {
            Rejection::Shortfall(shortfall) => {
                let place = |missing: &MemberId| self.process().members().find(|(_, view)| view.member == *missing);
                let missing = shortfall.missing.iter().filter_map(place).map(|(place, _)| name_of(place));
                let (available, wanted) = (shortfall.available, shortfall.wanted);
                format!("{available} of {wanted} nodes take part, without {}", list(missing))
            }
            Rejection::Halted => "the master takes no more writes, for good".to_owned(),
            Rejection::Stopping => "the master is stopping".to_owned(),
            Rejection::ReadOnly { healthy, needed } => format!("{healthy} nodes are healthy, {needed} must be"),
            Rejection::Overloaded { open } => format!("{open} messages are open"),
            Rejection::Overtaken(newest) => format!("the newest message is {newest}"),
        }
    }

    pub(super) fn tell_answer(
        &mut self,
        member: Node,
        before: &ReplicaStatus,
        call: &Call,
        answer: &Result<Acknowledgement, Complaint>,
    ) {
        let name = name_of(member);
        match answer {
            Ok(Acknowledgement { durable, decided, .. }) => {
                let overtaken = call.epoch_start.map(|epoch_start| epoch_start.overtaken_from);
                if let Some(from) = overtaken.filter(|&from| call.epoch > before.epoch && from <= before.last) {
                    self.news(format!("{name} drops what it holds from {from} on"));
                }
                self.note(format!("{name} holds up to {durable}, decided {decided}"));
            }
            Err(Complaint::Refused(refusal)) => self.note(format!("{name} keeps nothing: it {refusal}")),
            Err(Complaint::OtherIncarnation) => {
                self.note(format!("{name} keeps nothing: the call is for an earlier start"));
            }
            Err(complaint) => self.note(format!("{name} keeps nothing: {complaint:?}")),
        }
    }

    /// Prints an acknowledgement that brings the master no news.
    pub(super) fn tell_acknowledgement(&mut self, node: Node, acknowledgement: &Acknowledgement) {
        if !self.world.journal.news.iter().any(|(_, news)| matches!(news, News::Matched { .. })) {
            self.note(format!("{} acknowledged up to {}, which is no news", name_of(node), acknowledgement.durable));
        }
    }
}

fn describe(call: &Call) -> String {
    let mut parts = Vec::new();
    if let Some(epoch_start) = call.epoch_start {
        parts.push(format!("opens epoch {}, overtakes from {}", call.epoch, epoch_start.overtaken_from));
    }
    if !call.entries.is_empty() {
        parts.push(list(call.entries.iter().map(|entry| format!("{}={}", entry.id, entry.message))));
    }
    if !call.refused.is_empty() {
        parts.push(format!("refused {}", list(&call.refused)));
    }
    parts.push(format!("decided {}", call.decided));
    parts.join(", ")
}

/// The slots of a node: visible, pending, or refused, as far as it knows.
fn contents(disk: &Slate, decided: Id) -> String {
    let slots = disk.store().read(decided, Id::MAX, EVERYTHING).unwrap();
    let pending = slots.iter().filter(|slot| matches!(slot, Slot::Entry(_)));
    let parts = [
        ("visible", list(visible(disk, decided).iter().map(name))),
        ("pending", list(pending.map(name))),
        ("refused", list(disk.store().refused(Id::ZERO, Id::MAX).unwrap())),
    ];
    parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(what, ids)| format!(" | {what} {ids}")).collect()
}

/// The messages that a node shows whose high watermark is `decided`.
pub(super) fn visible(disk: &Slate, decided: Id) -> Vec<Slot> {
    let slots = disk.store().read(Id::ZERO, decided, EVERYTHING).unwrap();
    slots.into_iter().filter(|slot| matches!(slot, Slot::Entry(_))).collect()
}

fn name(slot: &Slot) -> String {
    match slot {
        Slot::Entry(entry) => format!("{}={}", entry.id, entry.message),
        Slot::Refused(id) => id.to_string(),
    }
}

/// A node as scripts name it.
pub(super) fn name_of(node: Node) -> String {
    if node == MASTER { "master".to_owned() } else { format!("s{}", node.0) }
}

/// `3`, or `3-5` for a write of several messages.
pub(super) fn range((first, last): (Id, Id)) -> String {
    if first == last { last.to_string() } else { format!("{first}-{last}") }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    list_with(" ", items)
}

pub(super) fn list_with<T: ToString>(separator: &str, items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}

fn state(state: ReplicationState) -> &'static str {
    match state {
        ReplicationState::InSync => "in sync",
        ReplicationState::CatchingUp => "catching up",
        ReplicationState::Unreachable => "unreachable",
    }
}
