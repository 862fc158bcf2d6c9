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
//! | [`node`] | a node: its disk, and its process, which leads or follows |
//! | [`leading`] | carries out what a leader asks for, one effect at a time |
//! | [`following`] | carries out what a follower asks for, one event at a time |
//! | [`succession`] | how a node comes to lead after another one |
//! | [`trimming`] | how a log loses its beginning |
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
pub(crate) mod following;
pub(crate) mod leading;
pub(crate) mod node;
pub(crate) mod planted_bugs;
pub(crate) mod succession;
pub(crate) mod trimming;
pub(crate) mod wire;

use checker::Checker;
use disk::{Crash, IoResult, SimulatedDisk};
use leading::{Journal, Posted};
pub(crate) use node::{MASTER, Node};
use node::{Place, Role};
use planted_bugs::PlantedBug;
use replicated_log::protocol::{
    Acknowledgement, Call, Event, FollowerSettings, Id, Incarnation, LeaderSettings, Ticket, Time, Timing, Voters,
};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::{Complaint, Content, Packet};

/// What a running cluster does by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    /// A node learns that time has passed. A master begins rounds, and calls its secondaries.
    Tick(Node),
    /// A master's disk has written its own copies.
    Store(Node),
    /// A master's disk has written refusals.
    StoreRefusals(Node),
    /// A master's disk has noted the high watermark.
    Note(Node),
    /// A master's disk has written a roster.
    StoreRoster(Node),
    /// A secondary that has started registers with its master, which is named first.
    Announce(Node, Node),
    /// A packet arrives.
    Deliver(u64),
    /// A caller gives up waiting for the answer to a call. The call itself may still arrive.
    GiveUp(u64),
    /// A reader makes a secondary ask its master what is decided. The answer is on its way.
    Read(Node),
    /// The artificial delay of a call to a secondary is over.
    EndDelay(Node, Ticket),
    /// A candidate that has enough promises copies the best log.
    Adopt(Node),
    /// A candidate begins its epoch.
    Begin(Node),
    /// A master that has given up, because of a later epoch, follows.
    Resign(Node),
    /// A secondary trims its log up to the base that it was told.
    Trim(Node),
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
        promotion: None,
    }
}

/// The cluster. Equal steps on equal worlds give equal worlds.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World<P> {
    pub(crate) nodes: Vec<Place<P>>,
    pub(crate) wire: Vec<Packet>,
    pub(crate) checker: Checker,
    pub(crate) planted: Option<PlantedBug>,
    /// What every master is configured with.
    pub(crate) settings: LeaderSettings,
    /// The clock of the masters.
    pub(crate) now: Time,
    /// The timeouts of every secondary.
    pub(crate) follower_settings: FollowerSettings,
    /// The voters, if any of them may be promoted. Otherwise the first node leads for ever.
    pub(crate) voters: Option<Voters>,
    /// The id up to which the log is archived: no leader may trim more.
    pub(crate) archived: Id,
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
        let others: BTreeSet<Node> = (1..=secondaries).map(Node).collect();
        let master = Place::of_master(disk(MASTER), others.clone());
        World {
            checker: Checker::new(MASTER, &others),
            nodes: [master].into_iter().chain(others.into_iter().map(|node| Place::of_secondary(disk(node)))).collect(),
            wire: Vec::new(),
            planted,
            settings,
            now: Time::ZERO,
            follower_settings: FollowerSettings {
                gap_timeout: Duration::ZERO,
                busy_gap_timeout: Duration::ZERO,
                read_timeout: Duration::from_secs(1),
            },
            voters: None,
            archived: Id::ZERO,
            has_delays: false,
            journal: Journal::default(),
            packets: 0,
        }
    }

    /// Every step that the cluster may take now, in a fixed order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for node in self.nodes() {
            let place = &self.nodes[node.0];
            if place.wake_at().is_some() {
                steps.push(Step::Tick(node));
            }
            match &place.role {
                None => {}
                Some(Role::Leading(leading)) => {
                    let works = [
                        (leading.has_copies_to_store(), Step::Store(node)),
                        (leading.has_refusals_to_store(), Step::StoreRefusals(node)),
                        (leading.has_watermark_to_note(), Step::Note(node)),
                        (leading.has_roster_to_store(), Step::StoreRoster(node)),
                    ];
                    steps.extend(
                        works.into_iter().filter(|(is_due, _)| *is_due && !place.disk_failed).map(|(_, step)| step),
                    );
                    let started = leading.members().filter(|(member, _)| self.has_something_to_announce(node, *member));
                    steps.extend(started.map(|(member, _)| Step::Announce(node, member)));
                    let has_given_up = leading.leader.is_halted() && !place.disk_failed && self.promotes();
                    steps.extend(has_given_up.then_some(Step::Resign(node)));
                }
                Some(Role::Following(following)) => {
                    steps.extend(following.told_base.map(|_| Step::Trim(node)));
                    steps.extend(following.may_be_read().then_some(Step::Read(node)));
                    steps.extend(following.delayed().map(|ticket| Step::EndDelay(node, ticket)));
                    let candidate = following.candidate.as_ref();
                    steps.extend(candidate.filter(|candidate| candidate.may_adopt()).map(|_| Step::Adopt(node)));
                    steps.extend(candidate.filter(|candidate| candidate.may_begin()).map(|_| Step::Begin(node)));
                }
            }
        }
        for packet in &self.wire {
            if packet.held_under().is_none() {
                steps.push(Step::Deliver(packet.number));
            }
            if packet.is_awaited() {
                steps.push(Step::GiveUp(packet.number));
            }
        }
        steps
    }

    /// Takes a step. `io_result` is the result of the write in it, if there is one.
    pub(crate) fn take(&mut self, step: Step, io_result: IoResult) {
        match step {
            Step::Tick(node) => self.tick(node),
            Step::Store(master) => self.store_copies(master, io_result),
            Step::StoreRefusals(master) => self.store_refusals(master, io_result),
            Step::Note(master) => self.note_watermark(master),
            Step::StoreRoster(master) => self.store_roster(master),
            Step::Announce(master, member) => self.announce(master, member),
            Step::Deliver(number) => self.deliver(number, io_result),
            Step::GiveUp(number) => self.give_up(number),
            Step::Read(secondary) => self.read(secondary),
            Step::EndDelay(secondary, ticket) => self.end_delay(secondary, ticket),
            Step::Adopt(node) => self.adopt(node),
            Step::Begin(node) => self.begin_epoch(node),
            Step::Resign(node) => self.step_down(node),
            Step::Trim(node) => self.trim_as_told(node),
        }
        self.observe();
    }

    /// A client posts a write.
    pub(crate) fn post(&mut self, master: Node, posted: &Posted) {
        self.post_to(master, posted);
        self.observe();
    }

    /// Lets time pass up to `now`.
    pub(crate) fn pass_time(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.nodes().for_each(|node| self.tick(node));
        self.observe();
    }

    /// A master sends a removal notice to a secondary. A secondary that does not run misses it.
    pub(crate) fn notify_removal(&mut self, master: Node, member: Node) {
        self.notify_removal_at(master, member);
        self.observe();
    }

    /// A master lets a secondary vote again that it was about to remove.
    pub(crate) fn keep(&mut self, master: Node, member: Node) {
        self.keep_at(master, member);
        self.observe();
    }

    /// A master removes a secondary.
    pub(crate) fn leave(&mut self, master: Node, member: Node) {
        self.leave_at(master, member);
        self.observe();
    }

    /// A secondary is registered.
    pub(crate) fn join(&mut self, master: Node, member: Node) {
        self.join_at(master, member);
        self.observe();
    }

    /// Adds a secondary, which is not registered and does not run yet.
    pub(crate) fn add_secondary(&mut self, disk: P) {
        self.checker.appears(Node(self.nodes.len()));
        self.nodes.push(Place::of_secondary(disk));
    }

    /// Stops a master: after `timeout` it refuses what is undecided.
    pub(crate) fn stop(&mut self, master: Node, timeout: Duration) {
        self.step(master, Event::Stopping(timeout));
        self.observe();
    }

    /// A secondary receives a call that no master of this world waits for, meant for a start of its process.
    pub(crate) fn call(&mut self, member: Node, to: Incarnation, call: &Call) -> Result<Acknowledgement, Complaint> {
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

    /// A second master starts on a copy of the first one's directory, while the first goes on.
    pub(crate) fn start_second_master(&mut self)
    where
        P: Clone,
    {
        let (node, disk) = (Node(self.nodes.len()), self.nodes[MASTER.0].disk.clone());
        self.checker.two_masters(node);
        self.nodes.push(Place::of_master(disk, self.nodes().filter(|&other| other != MASTER).collect()));
        self.start(node, |_| true);
    }

    /// Whether a node may be promoted.
    pub(crate) fn promotes(&self) -> bool {
        self.voters.is_some()
    }

    /// When a node next has work to do by itself, in microseconds: without such work, a time that never comes.
    pub(crate) fn wakes_at(&self, node: Node) -> u64 {
        let at = self.nodes[node.0].wake_at();
        at.map_or(u64::MAX / 2, |at| u64::try_from(at.since(Time::ZERO).as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// A node learns that time has passed.
    fn tick(&mut self, node: Node) {
        match self.nodes[node.0].role {
            None => {}
            Some(Role::Leading(_)) => self.tick_leading(node),
            Some(Role::Following(_)) => self.tick_following(node),
        }
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
                let asks = self.epoch_of(packet.master);
                let status = self.report(packet.member, asks);
                self.send(Packet { content: Content::Status(status), ..packet });
            }
            Content::Status(status) => self.hear_status(packet.master, packet.member, status),
            Content::Answer(decisions) => self.learn(packet.member, decisions),
            Content::Held { .. } => self.wire.insert(position, packet),
            Content::Ask(request) => self.hear_candidate(&packet.clone(), &request),
            Content::Promised(candidacy, copy, promise) => self.hear_promise(packet.master, candidacy, copy, *promise),
        }
    }

    /// The process of a secondary is killed after so many writes of what a call brings.
    pub(crate) fn crash_in_the_middle(&mut self, number: u64, writes: usize, how: Crash) {
        let Some(position) = self.wire.iter().position(|packet| packet.number == number) else { return };
        let Content::Call { to, call, .. } = &self.wire[position].content else { return };
        let (to, call, member) = (*to, call.clone(), self.wire[position].member);
        let _ = self.accept(member, to, &call, IoResult::Good, writes);
        self.crash(member, how);
    }

    /// Takes off the wire what changes nothing whenever it arrives: packets for an earlier start of a secondary, and
    /// calls of an earlier epoch for whose answer no thread waits.
    pub(crate) fn forget_what_has_no_effect(&mut self) {
        if self.planted == Some(PlantedBug::SameIncarnation) {
            return;
        }
        let known: Vec<_> = self.nodes().map(|node| self.status(node)).collect();
        self.wire.retain(|packet| match &packet.content {
            Content::Call { to, call, dispatch: None } => {
                let status = known[packet.member.0].as_ref();
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
