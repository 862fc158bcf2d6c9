//! A whole cluster as one value, moved step by step: the ground that the model checker and the simulator share.
//!
//! The protocol in it is the real one: the [`Ledger`] and the [`Replica`] of `src/protocol`, and a real [`Store`]. What
//! surrounds them in a running node, threads and sockets, is replaced by [`Step`]s that somebody else chooses: the model
//! checker tries all of them in every order, the simulator draws one after another by a seed. Each step is what one thread
//! of a node does without being interrupted by what matters: a round is taken, a copy is stored, a call arrives.
//!
//! | File | What it is |
//! |---|---|
//! | [`master`] | the duties of a master: what its threads do around the ledger |
//! | [`secondary`] | the duties of a secondary |
//! | [`wire`] | what is under way between nodes |
//! | [`platter`] | a disk that survives crashes, or forgets what it may forget |
//! | [`witness`] | what was promised, and whether it is kept; it never asks the code under test for its opinion |
//! | [`plants`] | known bugs of this family of protocols, to be planted so that the witness can be seen to catch them |
//!
//! What a step leaves out: the bytes of HTTP and JSON, threads of one node that run between each other's lines (the
//! store, the ledger and the replica are entered under locks, in the order that a step takes), and what is configured away from the protocol, as quotas and artificial delays.

#![allow(dead_code, reason = "each test uses its part of this")]

pub(crate) mod master;
pub(crate) mod plants;
pub(crate) mod platter;
pub(crate) mod secondary;
pub(crate) mod wire;
pub(crate) mod witness;

use master::{Master, Post, Process};
use plants::Plant;
use platter::{Crash, Luck, Platter};
use replicated_log::protocol::{Id, Replica, Standing};
use secondary::Secondary;
use wire::{Content, Parcel};
use witness::Witness;

/// A master or a secondary, by its place in the world.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Node {
    Master(usize),
    Secondary(usize),
}

/// What a running cluster does by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    /// A master takes what waits into a round, and sends it.
    Round(usize),
    /// A master's disk has written the copies of its oldest round.
    Store(usize),
    /// A master's disk has written refusals.
    StoreRefusals(usize),
    /// The keeper of a secondary asks it what it holds. The answer is on the way.
    Ask(usize, usize),
    /// The keeper admits a secondary that has caught up, or sends it what it lacks.
    CatchUp(usize, usize),
    /// A parcel arrives.
    Deliver(u64),
    /// Whoever waits for the answer to a call waits no longer. The call itself may still arrive.
    GiveUp(u64),
    /// A secondary that has a reader asks its master what is decided. The answer is on the way.
    AskFate(usize),
}

/// The cluster. Equal steps on equal worlds give equal worlds.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World<P> {
    pub(crate) masters: Vec<Master<P>>,
    pub(crate) secondaries: Vec<Secondary<P>>,
    pub(crate) wire: Vec<Parcel>,
    pub(crate) witness: Witness,
    pub(crate) plant: Option<Plant>,
    parcels: u64,
}

impl<P: Platter> World<P> {
    /// A master and so many secondaries on empty disks, none of which runs.
    pub(crate) fn new(secondaries: usize, plant: Option<Plant>, disk: impl Fn(Node) -> P) -> World<P> {
        World {
            masters: vec![Master::new(disk(Node::Master(0)), secondaries)],
            secondaries: (0..secondaries).map(|index| Secondary::new(disk(Node::Secondary(index)))).collect(),
            wire: Vec::new(),
            witness: Witness::new(1, secondaries),
            plant,
            parcels: 0,
        }
    }

    /// Every step that the cluster may take now, in a fixed order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, master) in self.masters.iter().enumerate() {
            let Some(process) = &master.process else { continue };
            if self.round_is_due(index, process) {
                steps.push(Step::Round(index));
            }
            if process.has_copies_to_store() {
                steps.push(Step::Store(index));
            }
            if process.has_refusals_to_store() {
                steps.push(Step::StoreRefusals(index));
            }
            for (member, view) in process.members() {
                match view.standing {
                    Standing::CatchingUp if !self.is_being_caught_up(index, member) => {
                        steps.push(Step::CatchUp(index, member));
                    }
                    Standing::CatchingUp => {}
                    Standing::Unreachable | Standing::InSync if !self.is_being_asked(index, member) => {
                        steps.push(Step::Ask(index, member));
                    }
                    Standing::Unreachable | Standing::InSync => {}
                }
            }
        }
        for parcel in &self.wire {
            steps.push(Step::Deliver(parcel.number));
            if parcel.somebody_waits() {
                steps.push(Step::GiveUp(parcel.number));
            }
        }
        for (index, secondary) in self.secondaries.iter().enumerate() {
            if secondary.has_to_ask() && !self.asks_for_fate(index) {
                steps.push(Step::AskFate(index));
            }
        }
        steps
    }

    /// Takes a step; what the disk says to a write is given along.
    pub(crate) fn take(&mut self, step: Step, luck: Luck) {
        match step {
            Step::Round(master) => self.round(master),
            Step::Store(master) => self.store_copies(master, luck),
            Step::StoreRefusals(master) => self.store_refusals(master, luck),
            Step::Ask(master, member) => self.ask(master, member),
            Step::CatchUp(master, member) => self.catch_up(master, member),
            Step::Deliver(number) => self.deliver(number, luck),
            Step::GiveUp(number) => self.give_up(number),
            Step::AskFate(secondary) => self.ask_fate(secondary),
        }
        self.observe();
    }

    /// A client posts a write.
    pub(crate) fn post(&mut self, master: usize, post: Post) {
        self.post_to(master, post);
        self.observe();
    }

    /// The time of a write is over, which is named by the id of its last message.
    pub(crate) fn expire(&mut self, master: usize, last: Id) {
        self.expire_at(master, last);
        self.observe();
    }

    /// A secondary is told that it is about to be removed, if it hears that.
    pub(crate) fn dismiss(&mut self, master: usize, member: usize) {
        self.dismiss_at(master, member);
        self.observe();
    }

    /// A secondary is removed from those of a master.
    pub(crate) fn leave(&mut self, master: usize, member: usize) {
        self.leave_at(master, member);
        self.observe();
    }

    /// A secondary is registered.
    pub(crate) fn join(&mut self, master: usize, member: usize) {
        self.join_at(master, member);
        self.observe();
    }

    /// A call is on the wire twice.
    pub(crate) fn duplicate(&mut self, number: u64) {
        if let Some(parcel) = self.wire.iter().find(|parcel| parcel.number == number) {
            let twin = parcel.orphan();
            self.send(twin);
        }
    }

    /// A parcel, of which nobody waits for an answer, gets lost.
    pub(crate) fn lose(&mut self, number: u64) {
        self.wire.retain(|parcel| parcel.number != number);
    }

    /// The process of a node ends without a warning, and its disk suffers what `how` says.
    pub(crate) fn crash(&mut self, node: Node, how: Crash) {
        match node {
            Node::Master(index) => self.crash_master(index, how),
            Node::Secondary(index) => self.crash_secondary(index, how),
        }
        self.observe();
    }

    /// A node starts on what its disk holds. A master asks those secondaries first that `hears` admits.
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
        self.witness.two_masters(node);
        self.masters.push(Master::new(disk, self.secondaries.len()));
        self.start(node, |_| true);
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

    fn send(&mut self, parcel: Parcel) {
        self.parcels += 1;
        self.wire.push(Parcel { number: self.parcels, ..parcel });
    }

    /// A parcel arrives. What it does at a crash in the middle is told by [`World::crash_in_the_middle`].
    fn deliver(&mut self, number: u64, luck: Luck) {
        let Some(position) = self.wire.iter().position(|parcel| parcel.number == number) else { return };
        let parcel = self.wire.remove(position);
        match parcel.content {
            Content::Call { to, call, delivery } => {
                let answer = self.accept(parcel.member, to, &call, luck, usize::MAX);
                if let Some(delivery) = delivery {
                    let content = Content::Reply { through: call.through, delivery, answer };
                    self.send(Parcel { content, ..parcel });
                }
            }
            Content::Reply { through, delivery, answer } => {
                self.receive(parcel.master, parcel.member, delivery, through, answer);
            }
            Content::Holdings(holdings) => self.welcome(parcel.master, parcel.member, holdings),
            Content::Fate { fate, asker, acknowledged } => {
                self.learn(parcel.member, asker, fate, &acknowledged);
            }
        }
    }

    /// The process of a secondary is killed after so many writes of what a call brings.
    pub(crate) fn crash_in_the_middle(&mut self, number: u64, writes: usize, how: Crash) {
        let Some(position) = self.wire.iter().position(|parcel| parcel.number == number) else { return };
        let Content::Call { to, call, .. } = &self.wire[position].content else { return };
        let (to, call, member) = (*to, call.clone(), self.wire[position].member);
        let _ = self.accept(member, to, &call, Luck::Good, writes);
        self.crash(Node::Secondary(member), how);
    }

    /// Takes off the wire what changes nothing whenever it arrives: what is for an earlier start of a secondary, and calls
    /// of an earlier epoch for whose answer nobody waits.
    pub(crate) fn forget_what_has_no_effect(&mut self) {
        if self.plant == Some(Plant::SameIncarnation) {
            return;
        }
        let replicas = self.secondaries.iter().map(|secondary| secondary.process.as_ref());
        let holdings: Vec<_> = replicas.map(|replica| replica.map(Replica::holdings)).collect();
        self.wire.retain(|parcel| match &parcel.content {
            Content::Call { to, call, delivery: None } => {
                let holdings = holdings[parcel.member].as_ref();
                holdings.is_some_and(|holdings| holdings.incarnation == *to && holdings.epoch <= call.epoch)
            }
            Content::Fate { asker, .. } => {
                holdings[parcel.member].as_ref().is_some_and(|holdings| holdings.incarnation == *asker)
            }
            _ => true,
        });
    }

    /// Brings the parcels into an order that does not tell in which order they were sent.
    pub(crate) fn forget_the_order(&mut self) {
        self.wire.sort_by_cached_key(Parcel::fingerprint);
        for (number, parcel) in (1..).zip(&mut self.wire) {
            parcel.number = number;
        }
        self.parcels = self.wire.len() as u64;
    }
}

impl<P: Platter> World<P> {
    fn is_under_way(&self, master: usize, member: usize, which: impl Fn(&Parcel) -> bool) -> bool {
        self.wire.iter().any(|parcel| parcel.master == master && parcel.member == member && which(parcel))
    }

    fn is_being_asked(&self, master: usize, member: usize) -> bool {
        self.is_under_way(master, member, |parcel| matches!(parcel.content, Content::Holdings(_)))
    }

    fn asks_for_fate(&self, member: usize) -> bool {
        self.wire.iter().any(|parcel| parcel.member == member && matches!(parcel.content, Content::Fate { .. }))
    }

    /// Whether a delivery of a kind is under way, or waits for the store, in the present turn of a secondary.
    fn is_being_sent(&self, master: usize, member: usize, is_round: bool, is_empty: bool) -> bool {
        let Some(process) = &self.masters[master].process else { return false };
        let view = process.member_id(member).and_then(|id| process.ledger.member(id));
        let turn = view.map(|view| view.turn);
        let is_meant = |delivery: &wire::Delivery| {
            Some(delivery.dispatch.turn) == turn
                && delivery.is_round() == is_round
                && (!is_empty || delivery.is_empty_round())
        };
        process.waiting.iter().any(|(to, delivery)| *to == member && is_meant(delivery))
            || self.is_under_way(master, member, |parcel| parcel.delivery().is_some_and(is_meant))
    }

    fn is_being_caught_up(&self, master: usize, member: usize) -> bool {
        self.is_being_sent(master, member, false, false)
    }

    fn is_to_be_told(&self, master: usize, member: usize) -> bool {
        let Some(process) = &self.masters[master].process else { return false };
        let owes = process.member_id(member).is_some_and(|id| process.ledger.owes(id));
        owes && !self.is_being_sent(master, member, true, true)
    }

    fn round_is_due(&self, master: usize, process: &Process) -> bool {
        !process.halted
            && (process.has_waiting_writes()
                || (0..self.secondaries.len()).any(|member| self.is_to_be_told(master, member)))
    }
}
