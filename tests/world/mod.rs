//! A whole cluster as one value, moved step by step. The model checker, the simulator and the scenarios share it.
//!
//! The protocol in it is the real one: the [`Leader`](replicated_log::protocol::Leader) and the [`Follower`] of
//! `src/protocol`, and a real [`Store`](replicated_log::store::Store). [`Step`]s replace the threads and sockets around
//! them: the model checker tries all steps in every order, the simulator draws one after another by a seed, and a
//! scenario names them. Each step is what one thread of a node does between two points where another thread can
//! interfere: it takes a round, stores a copy, or receives a call.
//!
//! | File | What it is |
//! |---|---|
//! | [`master`] | carries out what a leader asks for, one effect at a time |
//! | [`secondary`] | carries out what a follower asks for, one event at a time |
//! | [`wire`] | what is under way between nodes |
//! | [`disk`] | a disk that survives crashes, or loses what it may lose |
//! | [`checker`] | what was promised, and whether the cluster keeps it, without asking the code under test |
//! | [`planted_bugs`] | known bugs of such protocols, planted to prove that the checker catches them |
//!
//! A step leaves out the bytes of HTTP and JSON, threads of one node that interleave within a step (locks guard the
//! store, the leader and the replica, in the order that a step takes), and quotas.

#![allow(dead_code, reason = "each test uses its part of this")]

pub(crate) mod checker;
pub(crate) mod disk;
pub(crate) mod master;
pub(crate) mod planted_bugs;
pub(crate) mod secondary;
pub(crate) mod wire;

use checker::Checker;
use disk::{Crash, IoResult, SimulatedDisk};
use master::{Journal, Master, Posted};
use planted_bugs::PlantedBug;
use replicated_log::protocol::{
    Acknowledgement, Call, Event, Follower, FollowerSettings, Incarnation, LeaderSettings, Ticket, Time, Timing,
};
use secondary::Secondary;
use std::time::Duration;
use wire::{Complaint, Content, Packet};

/// A master or a secondary, by its place in the world.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Node {
    Master(usize),
    Secondary(usize),
}

/// What a running cluster does by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    /// A master learns that time has passed: it begins rounds, and calls its secondaries.
    Tick(usize),
    /// A master's disk has written its own copies.
    Store(usize),
    /// A master's disk has written refusals.
    StoreRefusals(usize),
    /// A master's disk has noted the high watermark.
    Note(usize),
    /// A secondary that has started registers with its master.
    Announce(usize, usize),
    /// A packet arrives.
    Deliver(u64),
    /// A caller gives up waiting for the answer to a call. The call itself may still arrive.
    GiveUp(u64),
    /// A reader makes a secondary ask its master what is decided. The answer is on its way.
    Read(usize),
    /// A secondary learns that time has passed.
    TickSecondary(usize),
    /// The artificial delay of a call to a secondary is over.
    EndDelay(usize, Ticket),
}

/// Settings with which all waiting work except heartbeats is due at once, so that a state does not depend on the time.
pub(crate) fn due_at_once(heartbeat: Duration, catch_up_max: u64) -> LeaderSettings {
    let at_once = Duration::ZERO;
    LeaderSettings {
        timing: Timing {
            heartbeat,
            batch_pause: at_once,
            batch_wait: at_once,
            round_wait: at_once,
            watermark_wait: at_once,
            backoff_min: at_once,
            backoff_max: at_once,
        },
        quorum: Some(1),
        pending_max: 100,
        keys_max: 100,
        catch_up_max,
        in_doubt_wait: at_once,
    }
}

/// The cluster. Equal steps on equal worlds give equal worlds.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World<P> {
    pub(crate) masters: Vec<Master<P>>,
    pub(crate) secondaries: Vec<Secondary<P>>,
    pub(crate) wire: Vec<Packet>,
    pub(crate) checker: Checker,
    pub(crate) planted: Option<PlantedBug>,
    /// What every master is configured with.
    pub(crate) settings: LeaderSettings,
    /// The clock of the masters.
    pub(crate) now: Time,
    /// The timeouts of every secondary.
    pub(crate) follower_settings: FollowerSettings,
    /// Whether secondaries have an artificial delay.
    pub(crate) has_delays: bool,
    /// What masters report. Kept only on request.
    pub(crate) journal: Journal,
    packets: u64,
}

impl<P: SimulatedDisk> World<P> {
    /// A master and so many secondaries on empty disks, none of which runs.
    pub(crate) fn new(
        secondaries: usize,
        planted: Option<PlantedBug>,
        settings: LeaderSettings,
        disk: impl Fn(Node) -> P,
    ) -> World<P> {
        World {
            masters: vec![Master::new(disk(Node::Master(0)), secondaries)],
            secondaries: (0..secondaries).map(|index| Secondary::new(disk(Node::Secondary(index)))).collect(),
            wire: Vec::new(),
            checker: Checker::new(1, secondaries),
            planted,
            settings,
            now: Time::ZERO,
            follower_settings: FollowerSettings {
                gap_timeout: Duration::ZERO,
                busy_gap_timeout: Duration::ZERO,
                read_timeout: Duration::from_secs(1),
            },
            has_delays: false,
            journal: Journal::default(),
            packets: 0,
        }
    }

    /// Every step that the cluster may take now, in a fixed order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, master) in self.masters.iter().enumerate() {
            let Some(process) = &master.process else { continue };
            if process.leader.wake_at().is_some() {
                steps.push(Step::Tick(index));
            }
            if process.has_copies_to_store() {
                steps.push(Step::Store(index));
            }
            if process.has_refusals_to_store() {
                steps.push(Step::StoreRefusals(index));
            }
            if process.has_watermark_to_note() {
                steps.push(Step::Note(index));
            }
            let started = process.members().filter(|(member, _)| self.has_something_to_announce(index, *member));
            steps.extend(started.map(|(member, _)| Step::Announce(index, member)));
        }
        for packet in &self.wire {
            if packet.held_under().is_none() {
                steps.push(Step::Deliver(packet.number));
            }
            if packet.is_awaited() {
                steps.push(Step::GiveUp(packet.number));
            }
        }
        for (index, secondary) in self.secondaries.iter().enumerate() {
            if secondary.may_be_read() {
                steps.push(Step::Read(index));
            }
            if secondary.wake_at().is_some() {
                steps.push(Step::TickSecondary(index));
            }
            steps.extend(secondary.delayed().map(|ticket| Step::EndDelay(index, ticket)));
        }
        steps
    }

    /// Takes a step. `io_result` is the result of the write in it, if there is one.
    pub(crate) fn take(&mut self, step: Step, io_result: IoResult) {
        match step {
            Step::Tick(master) => self.tick(master),
            Step::Store(master) => self.store_copies(master, io_result),
            Step::StoreRefusals(master) => self.store_refusals(master, io_result),
            Step::Note(master) => self.note_watermark(master),
            Step::Announce(master, member) => self.announce(master, member),
            Step::Deliver(number) => self.deliver(number, io_result),
            Step::GiveUp(number) => self.give_up(number),
            Step::Read(secondary) => self.read(secondary),
            Step::TickSecondary(secondary) => self.tick_secondary(secondary),
            Step::EndDelay(secondary, ticket) => self.end_delay(secondary, ticket),
        }
        self.observe();
    }

    /// A client posts a write.
    pub(crate) fn post(&mut self, master: usize, posted: &Posted) {
        self.post_to(master, posted);
        self.observe();
    }

    /// Lets time pass up to `now`.
    pub(crate) fn pass_time(&mut self, now: Time) {
        self.now = self.now.max(now);
        (0..self.masters.len()).for_each(|master| self.tick(master));
        (0..self.secondaries.len()).for_each(|secondary| self.tick_secondary(secondary));
        self.observe();
    }

    /// A master sends a removal notice to a secondary. A secondary that does not run misses it.
    pub(crate) fn notify_removal(&mut self, master: usize, member: usize) {
        self.notify_removal_at(master, member);
        self.observe();
    }

    /// A master removes a secondary.
    pub(crate) fn leave(&mut self, master: usize, member: usize) {
        self.leave_at(master, member);
        self.observe();
    }

    /// A secondary is registered.
    pub(crate) fn join(&mut self, master: usize, member: usize) {
        self.join_at(master, member);
        self.observe();
    }

    /// Adds a secondary, which is not registered and does not run yet.
    pub(crate) fn add_secondary(&mut self, disk: P) {
        self.checker.appears(Node::Secondary(self.secondaries.len()));
        self.secondaries.push(Secondary::new(disk));
    }

    /// Stops a master: after `timeout` it refuses what is undecided.
    pub(crate) fn stop(&mut self, master: usize, timeout: Duration) {
        self.step(master, Event::Stopping(timeout));
        self.observe();
    }

    /// A secondary receives a call that no master of this world waits for, meant for a start of its process.
    pub(crate) fn call(&mut self, member: usize, to: Incarnation, call: &Call) -> Result<Acknowledgement, Complaint> {
        let answer = self.accept(member, to, call, IoResult::Good, usize::MAX);
        self.observe();
        answer.expect("a secondary of this world waits for nothing")
    }

    /// A call is on the wire twice.
    pub(crate) fn duplicate(&mut self, number: u64) {
        if let Some(packet) = self.wire.iter().find(|packet| packet.number == number) {
            let twin = packet.orphan();
            self.send(twin);
        }
    }

    /// Loses a packet for whose answer no thread waits.
    pub(crate) fn lose(&mut self, number: u64) {
        self.wire.retain(|packet| packet.number != number);
    }

    /// Ends the process of a node without a warning, and treats its disk as `how` says.
    pub(crate) fn crash(&mut self, node: Node, how: Crash) {
        match node {
            Node::Master(index) => self.crash_master(index, how),
            Node::Secondary(index) => self.crash_secondary(index, how),
        }
        self.observe();
    }

    /// Starts a node on what its disk holds. A master first asks those secondaries for which `hears` is true.
    pub(crate) fn start(&mut self, node: Node, hears: impl Fn(usize) -> bool) {
        match node {
            Node::Master(index) => self.start_master(index, hears),
            Node::Secondary(index) => self.start_secondary(index),
        }
        self.observe();
    }

    /// A second master starts on a copy of the first one's directory, while the first goes on.
    pub(crate) fn start_second_master(&mut self)
    where
        P: Clone,
    {
        let (node, disk) = (Node::Master(self.masters.len()), self.masters[0].disk.clone());
        self.checker.two_masters(node);
        self.masters.push(Master::new(disk, self.secondaries.len()));
        self.start(node, |_| true);
    }

    /// When a node next has work to do by itself, in microseconds: without such work, a time that never comes.
    pub(crate) fn wakes_at(&self, node: Node) -> u64 {
        let at = match node {
            Node::Master(index) => self.masters[index].process.as_ref().and_then(|process| process.leader.wake_at()),
            Node::Secondary(index) => self.secondaries[index].wake_at(),
        };
        at.map_or(u64::MAX / 2, |at| u64::try_from(at.since(Time::ZERO).as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// Whether the process of a node runs.
    pub(crate) fn runs(&self, node: Node) -> bool {
        match node {
            Node::Master(index) => self.masters[index].process.is_some(),
            Node::Secondary(index) => self.secondaries[index].process.is_some(),
        }
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        let masters = (0..self.masters.len()).map(Node::Master);
        masters.chain((0..self.secondaries.len()).map(Node::Secondary)).collect()
    }

    fn send(&mut self, packet: Packet) {
        self.packets += 1;
        self.wire.push(Packet { number: self.packets, ..packet });
    }

    /// A packet arrives. [`World::crash_in_the_middle`] delivers one whose receiver is killed meanwhile.
    fn deliver(&mut self, number: u64, io_result: IoResult) {
        let Some(position) = self.wire.iter().position(|packet| packet.number == number) else { return };
        let packet = self.wire.remove(position);
        match packet.content {
            Content::Call { to, call, dispatch } => {
                let answer = self.accept(packet.member, to, &call, io_result, usize::MAX);
                if let Some(dispatch) = dispatch {
                    let sent = call.through;
                    let content = match answer {
                        Ok(answer) => Content::Reply { sent, dispatch, answer },
                        Err(ticket) => Content::Held { sent, dispatch, ticket },
                    };
                    self.send(Packet { content, ..packet });
                }
            }
            Content::Reply { sent, dispatch, answer } => self.receive(packet.master, dispatch, sent, answer),
            Content::Probe => {
                let status = self.secondaries[packet.member].process.as_ref().map(Follower::status);
                self.send(Packet { content: Content::Status(status), ..packet });
            }
            Content::Status(status) => self.hear_status(packet.master, packet.member, status),
            Content::Answer(decisions) => self.learn(packet.member, decisions),
            Content::Held { .. } => self.wire.insert(position, packet),
        }
    }

    /// The process of a secondary is killed after so many writes of what a call brings.
    pub(crate) fn crash_in_the_middle(&mut self, number: u64, writes: usize, how: Crash) {
        let Some(position) = self.wire.iter().position(|packet| packet.number == number) else { return };
        let Content::Call { to, call, .. } = &self.wire[position].content else { return };
        let (to, call, member) = (*to, call.clone(), self.wire[position].member);
        let _ = self.accept(member, to, &call, IoResult::Good, writes);
        self.crash(Node::Secondary(member), how);
    }

    /// Takes off the wire what changes nothing whenever it arrives: packets for an earlier start of a secondary, and
    /// calls of an earlier epoch for whose answer no thread waits.
    pub(crate) fn forget_what_has_no_effect(&mut self) {
        if self.planted == Some(PlantedBug::SameIncarnation) {
            return;
        }
        let replicas = self.secondaries.iter().map(|secondary| secondary.process.as_ref());
        let known: Vec<_> = replicas.map(|replica| replica.map(Follower::status)).collect();
        self.wire.retain(|packet| match &packet.content {
            Content::Call { to, call, dispatch: None } => {
                let status = known[packet.member].as_ref();
                status.is_some_and(|status| status.incarnation == *to && status.epoch <= call.epoch)
            }
            _ => true,
        });
    }

    /// Sorts the packets, so that equal sets of packets are equal states.
    pub(crate) fn forget_the_order(&mut self) {
        self.wire.sort_by_cached_key(Packet::fingerprint);
        for (number, packet) in (1..).zip(&mut self.wire) {
            packet.number = number;
        }
        self.packets = self.wire.len() as u64;
    }
}
