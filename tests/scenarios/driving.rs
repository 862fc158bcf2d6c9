//! The commands that let something happen.

use super::forged::forged_call;
use super::printing::{list_with, name_of, range, visible};
use super::{Cluster, HEARTBEAT, Secondary};
use crate::world::disk::{Crash, CrashKind, IoResult, SimulatedDisk, Slate};
use crate::world::leading::Posted;
use crate::world::wire::{Content, Packet};
use crate::world::{MASTER, Node, Step};
use replicated_log::protocol::{Call, Id, Incarnation, Rejection, ReplicationState, Watermark};
use std::error::Error;
use std::time::Duration;

/// A loop that takes more turns than this does not end.
const TURNS_MAX: usize = 1_000;

impl Cluster {
    pub(super) fn take(&mut self, step: Step) {
        self.world.take(step, IoResult::Good);
        self.observe();
    }

    pub(super) fn write(&mut self, posted: Posted) {
        let (leader, before) = (self.leader(), self.leader().last());
        let rejection = match posted.timeout {
            None => leader.would_take(self.world.now, posted.concern, posted.texts.len() as u64).err(),
            Some(_) => leader.takes_writes().err(),
        };
        let (newest, known) = (leader.newest(), posted.key.as_ref().and_then(|key| leader.keyed(key)));
        let overtaken = posted.follows.filter(|&id| id != newest).map(|_| Rejection::Overtaken(newest));
        self.world.post(MASTER, &posted);
        let last = self.leader().last();
        let ids = known.unwrap_or((before.next(), last));
        self.writes.push(ids);
        let message = list_with("/", &posted.texts);
        if known.is_some() {
            self.note(format!("{message} is known: it is {}", range(ids)));
        } else if last > before {
            self.texts.extend(before.until(last).zip(posted.texts));
            self.note(format!("{}={message} is accepted, w={}", range(ids), posted.concern));
        } else {
            let why = rejection.or(overtaken).map_or_else(String::new, |rejection| self.explain(&rejection));
            self.news(format!("{message} is rejected: {why}"));
        }
    }

    pub(super) fn store(&mut self, io_result: IoResult) -> Result<(), String> {
        if !self.process().has_copies_to_store() {
            return Err("nothing is being stored".to_owned());
        }
        self.world.take(Step::Store(MASTER), io_result);
        match io_result {
            IoResult::Good => self.note(format!("master holds up to {}", self.leader().durable())),
            IoResult::NoRoom => self.note("master has no room for messages: refusals go to the disk in their place"),
            IoResult::Failed => self.note("master cannot write any more"),
        }
        self.observe();
        Ok(())
    }

    pub(super) fn store_refusals(&mut self, io_result: IoResult) -> Result<(), String> {
        if !self.process().has_refusals_to_store() {
            return Err("no refusal is being stored".to_owned());
        }
        self.world.take(Step::StoreRefusals(MASTER), io_result);
        self.observe();
        Ok(())
    }

    /// Lets time pass, and begins what is due then.
    pub(super) fn pass(&mut self, time: Duration) {
        self.world.pass_time(self.world.now.plus(time));
        self.observe();
    }

    /// Makes a secondary unreachable: a heartbeat, or a call that brings it up to date, gets no answer. From now on
    /// nothing to it or from it arrives by itself.
    pub(super) fn unreachable(&mut self, node: Node) {
        self.cut_off.insert(node);
        if self.question(node).is_none() && self.state(node) == Some(ReplicationState::InSync) {
            self.pass(HEARTBEAT);
        }
        let waited_for = |packet: &&Packet| packet.member == node && packet.is_awaited();
        let call = self.world.wire.iter().find(waited_for).map(|packet| packet.number);
        if let Some(number) = self.question(node).or(call) {
            self.take(Step::GiveUp(number));
        }
    }

    /// The question for the state of a secondary, or its answer, which is on the wire.
    fn question(&self, node: Node) -> Option<u64> {
        let is_question =
            |packet: &&Packet| packet.member == node && matches!(packet.content, Content::Probe | Content::Status(_));
        self.world.wire.iter().find(is_question).map(|packet| packet.number)
    }

    /// The master asks a secondary for its state, and gets the answer.
    pub(super) fn report(&mut self, node: Node) -> Result<(), String> {
        self.cut_off.remove(&node);
        if self.question(node).is_none() {
            self.take(Step::Announce(MASTER, node));
            self.take(Step::Tick(MASTER));
        }
        if self.question(node).is_none() {
            self.pass(HEARTBEAT);
        }
        for _ in 0..2 {
            let number = self.question(node).ok_or("the master does not ask this secondary")?;
            self.deliver(number);
        }
        Ok(())
    }

    /// Makes a secondary reachable again: it announces itself, reports, and gets what it lacks, until it is in sync.
    pub(super) fn rejoin(&mut self, node: Node) {
        self.cut_off.remove(&node);
        self.briefly(|cluster| {
            cluster.take(Step::Announce(MASTER, node));
            for _ in 0..TURNS_MAX {
                if cluster.state(node) == Some(ReplicationState::InSync) {
                    return;
                }
                match cluster.next_arrival(|packet| packet.member == node) {
                    Some(number) => cluster.deliver(number),
                    None => cluster.take(Step::Tick(MASTER)),
                }
            }
            panic!("{} does not come back", name_of(node));
        });
    }

    /// Delivers and stores everything under way, except what is delayed or cut off, until nothing is left.
    pub(super) fn settle(&mut self) {
        self.briefly(|cluster| {
            for _ in 0..TURNS_MAX {
                let process = cluster.process();
                let is_due = process.leader.wake_at().is_some_and(|at| at <= cluster.world.now);
                if let Some(number) = cluster.next_arrival(|_| true) {
                    cluster.deliver(number);
                } else if process.has_copies_to_store() {
                    cluster.take(Step::Store(MASTER));
                } else if process.has_refusals_to_store() {
                    cluster.take(Step::StoreRefusals(MASTER));
                } else if is_due && cluster.world.tick_is_useful(MASTER) {
                    cluster.take(Step::Tick(MASTER));
                } else {
                    return;
                }
            }
            panic!("the cluster does not settle: {:?}", cluster.world.wire);
        });
    }

    pub(super) fn ask(&mut self, node: Node) {
        self.world.take(Step::Read(node), IoResult::Good);
        let is_answer = |packet: &&Packet| packet.member == node && matches!(packet.content, Content::Answer(_));
        if let Some(number) = self.world.wire.iter().find(is_answer).map(|packet| packet.number) {
            self.world.take(Step::Deliver(number), IoResult::Good);
        }
        self.note(format!("{} learns: decided {}", name_of(node), self.replica(node).decided()));
    }

    pub(super) fn restart(&mut self, node: Node, with_disk: bool) {
        self.world.crash(node, Crash::of(if with_disk { CrashKind::Killed } else { CrashKind::DiskLost }));
        self.world.start(node, |_| false);
        self.note(format!("{} holds up to {}", name_of(node), self.replica(node).last()));
    }

    pub(super) fn restart_master(&mut self, keep: Option<Id>, decided: Option<Id>) {
        let kind = if decided.is_some() { CrashKind::PowerLost { notes: usize::MAX } } else { CrashKind::Killed };
        self.world.crash(MASTER, Crash::of(kind));
        if let Some(keep) = keep {
            self.disk(MASTER).store().drop_from(keep.next()).unwrap();
            self.world.checker.disk_lost(MASTER);
            self.world.checker.meets_another_log();
        }
        if let Some(decided) = decided {
            let visible = visible(self.disk(MASTER), decided).len() as u64;
            self.disk(MASTER).store().note_watermark(Watermark { decided, visible }).unwrap();
        }
        self.world.start(MASTER, |_| false);
        let (epoch, last, open) = (self.leader().epoch(), self.leader().last(), self.leader().open());
        self.note(format!("epoch {epoch} begins after {last}, {open} in doubt"));
    }

    pub(super) fn new_log(&mut self) {
        self.world.crash(MASTER, Crash::of(CrashKind::DiskLost));
        self.world.start(MASTER, |_| false);
        self.note(format!("log {} begins", self.leader().log_id()));
    }

    pub(super) fn join(&mut self, node: Node, copy_of: Option<Secondary>) {
        if node.0 == self.world.nodes.len() {
            let other = copy_of.map(|Secondary(other)| self.disk(other).clone());
            self.world.add_secondary(other.unwrap_or_else(|| Slate::of(node)));
            self.world.start(node, |_| false);
        }
        self.world.join(MASTER, node);
    }

    /// Gives a secondary a call that its master has not sent: an empty call, with the named parts changed.
    pub(super) fn forge(&mut self, node: Node, parts: &[(String, String)]) -> Result<(), Box<dyn Error>> {
        let call = forged_call(self.leader(), parts)?;
        let to = self.replica(node).status().incarnation;
        self.call(node, to, &call);
        Ok(())
    }
}

/// The wire.
impl Cluster {
    /// Applies `what` to each of what is named, in this order.
    pub(super) fn each(&mut self, names: &[String], what: impl Fn(&mut Cluster, u64)) -> Result<(), String> {
        names.iter().try_for_each(|name| {
            let number = self.find(name)?;
            what(self, number);
            Ok(())
        })
    }

    fn find(&self, name: &str) -> Result<u64, String> {
        let is_named = |packet: &&Packet| self.names.get(&packet.number).is_some_and(|known| known == name);
        let packet = self.world.wire.iter().find(is_named);
        packet.map(|packet| packet.number).ok_or_else(|| format!("{name} is not on the wire"))
    }

    /// The next packet of a kind that arrives by itself.
    fn next_arrival(&self, is_meant: impl Fn(&Packet) -> bool) -> Option<u64> {
        let comes = |packet: &&Packet| {
            is_meant(packet) && !self.delayed.contains(&packet.number) && !self.cut_off.contains(&packet.member)
        };
        self.world.wire.iter().find(comes).map(|packet| packet.number)
    }

    /// Loses a packet. What waits for it goes on waiting.
    pub(super) fn lose(&mut self, number: u64) {
        self.delayed.insert(number);
        self.names.insert(number, "lost".to_owned());
    }

    /// Delays a packet until a script delivers it.
    pub(super) fn delay(&mut self, number: u64) {
        self.delayed.insert(number);
    }

    /// Delays a second copy of a call. The master does not wait for its answer.
    pub(super) fn duplicate(&mut self, number: u64) {
        self.world.duplicate(number);
        let twin = self.world.wire.last().map_or(number, |packet| packet.number);
        self.names.insert(twin, self.names[&number].clone());
        self.delayed.insert(twin);
    }

    pub(super) fn deliver(&mut self, number: u64) {
        let Some(packet) = self.world.wire.iter().find(|packet| packet.number == number).cloned() else { return };
        let Packet { member, content, .. } = packet;
        if let Content::Call { to, call, dispatch: None } = &content {
            self.world.lose(number);
            return self.call(member, *to, call);
        }
        let before = self.replica(member).status();
        self.world.take(Step::Deliver(number), IoResult::Good);
        match content {
            Content::Call { call, .. } => {
                let reply = self.world.wire.last().cloned();
                let name = self.names.get(&number).map(|name| name.replacen('c', "r", 1));
                if let Some(Packet { number, content: Content::Reply { answer, .. }, .. }) = reply {
                    self.names.extend(name.map(|name| (number, name)));
                    self.tell_answer(member, &before, &call, &answer);
                }
            }
            Content::Reply { answer: Ok(acknowledgement), .. } => self.tell_acknowledgement(member, &acknowledgement),
            // Without a back-off the master would ask it again and again.
            Content::Status(Some(status)) if self.leader().may_take_part(&status).is_err() => {
                self.cut_off.insert(member);
            }
            _ => {}
        }
        self.observe();
    }

    /// Delivers a call for whose answer no thread waits.
    fn call(&mut self, member: Node, to: Incarnation, call: &Call) {
        let before = self.replica(member).status();
        let answer = self.world.call(member, to, call);
        self.tell_answer(member, &before, call, &answer);
        self.observe();
    }
}
