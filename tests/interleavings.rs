//! Interleavings of a promotion with writes, refusals, restarts and removals, step by step: each is one in which a simpler
//! rule loses an acknowledged message, shows a refused one, or lets two nodes lead.
//!
//! The cluster is that of `tests/world`: the real leader, the real followers, and a checker that checks every promise after
//! every step. The master is node 0. What goes to a node that is cut off, or comes from it, waits until it is not.

#![allow(clippy::disallowed_types, reason = "a test of the running system")]

mod world;

use replicated_log::protocol::{Epoch, Id, Promotion, Voters, WriteConcern};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use world::checker::Answer;
use world::disk::{Crash, CrashKind, EVERYTHING, IoResult, SimulatedDisk, Slate};
use world::leading::Posted;
use world::planted_bugs::PlantedBug;
use world::wire::{Content, Packet};
use world::{MASTER, Node, Step, World, due_at_once};

const S1: Node = Node(1);
const S2: Node = Node(2);
const S3: Node = Node(3);
/// A play that takes more steps than this does not end.
const STEPS_MAX: usize = 5_000;
/// Longer than a refusal may wait until it is safe.
const UNSAFE_FOR_GOOD: Duration = Duration::from_secs(5);

/// A cluster in which any node may lead, and the nodes that are cut off.
struct Play {
    world: World<Slate>,
    cut_off: BTreeSet<Node>,
    /// Steps that are not taken.
    held_up: Vec<Step>,
}

impl Play {
    /// Nodes in sync, all of which vote.
    fn of(secondaries: usize) -> Play {
        let mut settings = due_at_once(Duration::from_secs(1), 1);
        settings.promotion = Some(Promotion::On);
        let mut world = World::new(secondaries, None, settings, Slate::of);
        world.begin_with(Voters::new(Promotion::On, world.nodes().map(|node| Slate::of(node).copy_id())));
        world.nodes().rev().for_each(|node| world.start(node, |_| false));
        let mut play = Play { world, cut_off: BTreeSet::new(), held_up: Vec::new() };
        play.settle();
        play
    }

    fn take(&mut self, step: Step) {
        self.world.take(step, IoResult::Good);
        self.check();
    }

    /// Every promise is kept, unless a bug is planted.
    fn check(&self) {
        if self.world.planted.is_none() {
            assert_eq!(self.world.checker.verdict(), None);
        }
    }

    /// Takes every step that may be taken, until none is left.
    fn settle(&mut self) {
        self.settle_without(|_| false);
    }

    /// The same, but some packets do not arrive.
    fn settle_without(&mut self, is_held_up: impl Fn(&Packet) -> bool) {
        for _ in 0..STEPS_MAX {
            let Some(step) = self.next_step(&is_held_up) else { return };
            self.take(step);
        }
        panic!("the cluster does not settle: {:?}", self.world.wire);
    }

    fn next_step(&self, is_held_up: impl Fn(&Packet) -> bool) -> Option<Step> {
        let arrives = |number: u64| {
            let packet = self.world.wire.iter().find(|packet| packet.number == number);
            packet.is_some_and(|packet| {
                let is_cut = [packet.master, packet.member].iter().any(|node| self.cut_off.contains(node));
                !is_cut && !is_held_up(packet)
            })
        };
        let may_be_taken = |step: &Step| match *step {
            Step::Deliver(number) => arrives(number),
            Step::Tick(node) => !self.cut_off.contains(&node) && self.world.tick_is_useful(node),
            Step::GiveUp(_) | Step::Read(_) | Step::EndDelay(..) => false,
            Step::Store(node) | Step::StoreRefusals(node) | Step::Note(node) | Step::StoreRoster(node) => {
                !self.cut_off.contains(&node)
            }
            Step::Announce(node, other) => !self.cut_off.contains(&node) && !self.cut_off.contains(&other),
            Step::Adopt(_) | Step::Begin(_) | Step::Resign(_) | Step::Trim(_) => true,
        };
        self.world.steps().into_iter().filter(|step| !self.held_up.contains(step)).find(may_be_taken)
    }

    /// A client posts a message to a node, or several with slashes between them. Gives the number of the write.
    fn post(&mut self, node: Node, text: &str, concern: WriteConcern) -> usize {
        let posted = Posted {
            texts: text.split('/').map(Arc::from).collect(),
            key: None,
            concern,
            timeout: None,
            follows: None,
        };
        self.world.post(node, &posted);
        self.check();
        self.world.checker.writes.len() - 1
    }

    fn answer(&self, write: usize) -> Option<Answer> {
        self.world.checker.writes[write].answer
    }

    #[track_caller]
    fn assert_committed(&self, write: usize) {
        let answer = self.answer(write);
        assert!(matches!(answer, Some(Answer::Committed { .. })), "{answer:?}");
    }

    /// Lets a node be silent: callers give up waiting for it.
    fn falls_silent(&mut self, node: Node) {
        let is_of = |packet: &&Packet| packet.member == node && packet.is_awaited();
        let waited_for: Vec<u64> = self.world.wire.iter().filter(is_of).map(|packet| packet.number).collect();
        waited_for.into_iter().for_each(|number| self.take(Step::GiveUp(number)));
    }

    fn pass(&mut self, time: Duration) {
        self.world.pass_time(self.world.now.plus(time));
        self.check();
    }

    fn crash(&mut self, node: Node, kind: CrashKind) {
        self.world.crash(node, Crash::of(kind));
        self.check();
    }

    fn start(&mut self, node: Node) {
        self.world.start(node, |_| false);
        self.check();
    }

    fn stand(&mut self, node: Node) {
        self.world.stand(node);
        self.check();
    }

    /// A node stands, and everything arrives.
    fn stand_and_settle(&mut self, node: Node) {
        self.stand(node);
        self.settle();
    }

    fn leads(&self, node: Node) -> bool {
        self.world.nodes[node.0].leading().is_some_and(|leading| !leading.leader.is_halted())
    }

    /// The texts that a node shows.
    fn shows(&self, node: Node) -> Vec<String> {
        let place = &self.world.nodes[node.0];
        let decided = match (place.leading(), place.following()) {
            (Some(leading), _) => leading.leader.shown().decided,
            (_, Some(following)) => following.follower.decided(),
            _ => place.disk.store().watermark().decided,
        };
        let slots = place.disk.store().read(self.base(node), decided, EVERYTHING).unwrap();
        slots.into_iter().filter_map(|slot| Some(slot.into_entry()?.message.to_string())).collect()
    }

    /// The id up to which the log of a node is trimmed.
    fn base(&self, node: Node) -> Id {
        self.world.nodes[node.0].disk.store().base().id
    }

    fn last(&self, node: Node) -> Id {
        self.world.nodes[node.0].disk.store().last()
    }
}

fn is_call(packet: &Packet) -> bool {
    matches!(packet.content, Content::Call { .. })
}

fn is_reply(packet: &Packet) -> bool {
    matches!(packet.content, Content::Reply { .. })
}

/// The master refuses what all three disks hold, because one acknowledgement is lost. One voter knows of the refusal, and the
/// master dies. The next master takes the refusal over.
#[test]
fn a_refusal_that_one_voter_knows_wins() {
    for candidate in [S1, S2] {
        let mut play = Play::of(2);
        let write = play.post(MASTER, "refused", WriteConcern::All);
        play.settle_without(|packet| packet.member == S2 && is_reply(packet));
        play.cut_off.insert(S2);
        play.falls_silent(S2);
        play.settle();
        assert_eq!(play.answer(write), Some(Answer::Refused));
        assert_eq!(play.last(S2), Id::new(1), "its disk holds the message");
        play.crash(MASTER, CrashKind::Killed);
        play.cut_off.clear();
        play.stand_and_settle(candidate);
        assert!(play.leads(candidate));
        let later = play.post(candidate, "later", WriteConcern::Majority);
        play.settle();
        play.assert_committed(later);
        assert_eq!(play.shows(candidate), ["later"]);
    }
}

/// The same, but no voter learns of the refusal: the client is not told of one, and the message may be committed.
#[test]
fn a_refusal_that_no_voter_knows_is_not_told() {
    let mut play = Play::of(2);
    let write = play.post(MASTER, "in doubt", WriteConcern::All);
    play.settle_without(|packet| packet.member == S2 && is_reply(packet));
    play.cut_off.extend([S1, S2]);
    play.falls_silent(S2);
    play.settle();
    assert_eq!(play.answer(write), None);
    play.pass(UNSAFE_FOR_GOOD);
    play.settle();
    assert_eq!(play.answer(write), Some(Answer::Unknown));
    play.crash(MASTER, CrashKind::Killed);
    play.cut_off.clear();
    play.stand_and_settle(S1);
    assert_eq!(play.shows(S1), ["in doubt"]);
}

/// Both acknowledgements wait for a master that is stopped. Another node leads. The master wakes up and answers 201: the
/// acknowledgements are older than the promises, so the message is in the log.
#[test]
fn a_master_that_sleeps_through_a_promotion_answers_what_is_kept() {
    let mut play = Play::of(2);
    let write = play.post(MASTER, "before", WriteConcern::All);
    play.settle_without(is_reply);
    play.cut_off.insert(MASTER);
    play.stand_and_settle(S1);
    assert!(play.leads(S1));
    play.cut_off.clear();
    let replies: Vec<u64> = play
        .world
        .wire
        .iter()
        .filter(|packet| is_reply(packet) && packet.master == MASTER)
        .map(|packet| packet.number)
        .collect();
    assert_eq!(replies.len(), 2);
    replies.into_iter().for_each(|number| play.take(Step::Deliver(number)));
    play.settle();
    play.assert_committed(write);
    assert!(!play.leads(MASTER) && play.shows(MASTER) == ["before"]);
}

/// 1 and 2 are on the master and S2. S1 has entered the next epoch of the restarted master, and lacks 2. It must not think
/// that it holds the best log.
#[test]
fn who_entered_a_later_epoch_copies_what_it_lacks() {
    let mut play = Play::of(2);
    play.cut_off.insert(S1);
    for text in ["one", "two"] {
        let write = play.post(MASTER, text, WriteConcern::Copies(2));
        play.settle();
        play.assert_committed(write);
    }
    play.crash(MASTER, CrashKind::Killed);
    play.world.wire.retain(|packet| packet.member != S1);
    play.start(MASTER);
    play.cut_off.clear();
    play.stand(MASTER);
    // S1 promises, and hears that the epoch begins; the last of what it lacks does not arrive.
    play.settle_without(|packet| match &packet.content {
        Content::Call { call, .. } => packet.member == S2 || call.through == Id::new(2),
        _ => packet.member == S2,
    });
    assert!(play.leads(MASTER));
    assert_eq!((play.world.status(S1).unwrap().epoch, play.last(S1)), (Epoch::new(2), Id::new(1)));
    play.crash(MASTER, CrashKind::Killed);
    play.stand_and_settle(S1);
    assert!(play.leads(S1) && play.shows(S1) == ["one", "two"]);
}

/// Two operators promote two nodes at once. Each promises itself and refuses the other one.
#[test]
fn two_candidates_for_one_epoch_do_not_both_lead() {
    let mut play = Play::of(2);
    play.crash(MASTER, CrashKind::Killed);
    play.stand(S1);
    play.stand_and_settle(S2);
    assert!(!play.leads(S1) && !play.leads(S2));
    play.stand_and_settle(S2);
    assert!(play.leads(S2) && !play.leads(S1));
}

/// Of four nodes, the master and S1 know of a refusal, which is not safe. The master dies, S1 is cut off, and the others come
/// to commit the message. The marks of both are lifted when they are back.
#[test]
fn a_refusal_that_was_not_safe_is_lifted() {
    let mut play = Play::of(3);
    let write = play.post(MASTER, "a", WriteConcern::All);
    play.settle_without(|packet| packet.member == S3 && is_reply(packet));
    play.cut_off.extend([S2, S3]);
    play.falls_silent(S3);
    play.settle();
    assert_eq!(play.answer(write), None, "one of three other voters is too few");
    play.crash(MASTER, CrashKind::Killed);
    play.cut_off = [S1].into();
    play.stand_and_settle(S2);
    assert!(play.leads(S2) && play.shows(S2).is_empty());
    play.start(MASTER);
    play.settle();
    play.pass(Duration::from_secs(2));
    play.settle();
    assert_eq!((play.shows(S2), play.shows(MASTER)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    play.cut_off.clear();
    play.settle();
    play.pass(Duration::from_secs(2));
    play.settle();
    assert_eq!(play.shows(S1), ["a"]);
}

/// S1 acknowledged a refusal, and loses its disk. It comes back as another copy, which has no vote: with it there is no
/// promise quorum that lacks the refusal.
#[test]
fn a_node_without_its_disk_has_no_vote() {
    let mut play = Play::of(2);
    play.cut_off.insert(S2);
    let write = play.post(MASTER, "refused", WriteConcern::All);
    play.settle();
    play.falls_silent(S2);
    play.settle();
    assert_eq!(play.answer(write), Some(Answer::Refused));
    play.crash(MASTER, CrashKind::Killed);
    play.crash(S1, CrashKind::DiskLost);
    play.start(S1);
    play.cut_off.clear();
    play.stand_and_settle(S2);
    assert!(!play.leads(S2));
    play.start(MASTER);
    // S2 has promised itself the first epoch that the master asks for.
    play.stand_and_settle(MASTER);
    play.stand_and_settle(MASTER);
    assert!(play.leads(MASTER));
}

/// A master hands over, and the node that leads then dies at once. The old master leads again, one epoch later. The node
/// that its own disk names as the master comes back and follows.
#[test]
fn a_successor_that_dies_is_succeeded() {
    let mut play = Play::of(2);
    play.stand(S2);
    // It begins its epoch, and no other node hears of that.
    play.settle_without(is_call);
    assert!(play.leads(S2) && !play.leads(MASTER));
    play.crash(S2, CrashKind::Killed);
    play.stand_and_settle(MASTER);
    assert!(play.leads(MASTER) && play.world.epoch_of(MASTER) > Epoch::new(2));
    play.start(S2);
    play.settle();
    play.pass(Duration::from_secs(2));
    play.settle();
    assert!(!play.leads(S2));
    let write = play.post(MASTER, "on all", WriteConcern::All);
    play.settle();
    play.assert_committed(write);
}

/// S1 leads from id 1 on, with S2. The master, cut off, refuses an id 1 of its own. S2 must not take that refusal over.
#[test]
fn a_refusal_of_an_overtaken_epoch_is_not_taken_over() {
    let mut play = Play::of(2);
    play.cut_off.insert(MASTER);
    play.stand_and_settle(S1);
    assert!(play.leads(S1));
    let write = play.post(S1, "kept", WriteConcern::Majority);
    play.settle();
    play.assert_committed(write);
    // The cut-off master takes a message of its own, and gives it up.
    let lost = play.post(MASTER, "lost", WriteConcern::Majority);
    for step in [Step::Tick(MASTER), Step::Store(MASTER)] {
        if play.world.steps().contains(&step) {
            play.take(step);
        }
    }
    play.crash(S1, CrashKind::Killed);
    play.cut_off.clear();
    play.stand_and_settle(S2);
    play.stand_and_settle(S2);
    assert!(play.leads(S2) && play.shows(S2) == ["kept"]);
    assert!(!matches!(play.answer(lost), Some(Answer::Committed { .. })));
}

/// A write has its copies on the master and S2, and waits for what comes before it. Meanwhile S2 is removed. The roster
/// without S2 is in effect only when S1 holds the write: of two voters, S1 may lead alone.
#[test]
fn what_a_removed_voter_acknowledged_is_held_by_those_who_stay() {
    let mut play = Play::of(2);
    // The first message is refused, and the refusal is not durable yet: nothing after it is decided.
    play.cut_off.insert(S1);
    let first = play.post(MASTER, "refused", WriteConcern::All);
    play.settle();
    play.held_up.push(Step::StoreRefusals(MASTER));
    play.falls_silent(S1);
    let second = play.post(MASTER, "on/two", WriteConcern::Copies(2));
    play.settle();
    assert_eq!((play.answer(first), play.answer(second)), (None, None));
    assert_eq!(play.last(S2), Id::new(3));
    // S2 is to go, and S1 is back: it hears of the refusal, and does not get the end of the write.
    play.world.notify_removal(MASTER, S2);
    play.cut_off.clear();
    play.held_up.clear();
    let lacks = |packet: &Packet| matches!(&packet.content, Content::Call { call, .. } if packet.member == S1 && call.through == Id::new(3));
    play.settle_without(lacks);
    play.pass(Duration::from_secs(1));
    play.settle_without(lacks);
    assert_eq!(play.answer(first), Some(Answer::Refused));
    let votes =
        |play: &Play| play.world.nodes[MASTER.0].leading().unwrap().leader.roster().is_voter(Slate::of(S2).copy_id());
    assert!(votes(&play), "without it, S1 could lead alone");
    play.settle();
    play.assert_committed(second);
    assert!(!votes(&play));
    play.world.leave(MASTER, S2);
    play.settle();
    play.crash(MASTER, CrashKind::Killed);
    play.crash(S2, CrashKind::Killed);
    play.stand_and_settle(S1);
    assert!(play.leads(S1) && play.shows(S1) == ["on", "two"]);
}

/// S2 holds a message that was refused while it was cut off, and as much of the log as S1. What was before the newest message
/// is trimmed, so S1 does not know of the refusal any more. S2 must not take its own message for one of the log.
#[test]
fn a_candidate_begins_where_a_voter_was_trimmed() {
    for planted in [None, Some(PlantedBug::BaseOfVoterIgnored)] {
        let mut play = Play::of(2);
        let refused = play.post(MASTER, "refused", WriteConcern::All);
        let kept = ["kept", "newest"].map(|text| play.post(MASTER, text, WriteConcern::Copies(2)));
        play.settle_without(is_reply);
        play.cut_off.insert(S2);
        play.falls_silent(S2);
        play.settle();
        assert_eq!((play.answer(refused), play.last(S2)), (Some(Answer::Refused), Id::new(3)));
        kept.into_iter().for_each(|write| play.assert_committed(write));
        play.world.archive(MASTER);
        play.world.trim(MASTER, Id::new(3), Id::new(3));
        play.settle();
        assert_eq!([play.base(MASTER), play.base(S1), play.base(S2)], [Id::new(2), Id::new(2), Id::ZERO]);
        play.crash(MASTER, CrashKind::Killed);
        play.world.wire.retain(|packet| packet.member != S2);
        play.cut_off.clear();
        play.world.planted = planted;
        play.stand_and_settle(S2);
        assert!(play.leads(S2));
        assert_eq!(play.shows(S2) == ["newest"], planted.is_none());
        assert_eq!(play.world.checker.verdict().is_some(), planted.is_some());
    }
}

/// A secondary that was away for too long begins at the base, and keeps what it holds beyond: that counts.
#[test]
fn who_begins_at_a_base_keeps_what_counts() {
    let mut play = Play::of(2);
    for text in ["one", "two"] {
        let write = play.post(MASTER, text, WriteConcern::All);
        play.settle_without(|packet| packet.member == S2 && matches!(packet.content, Content::Call { .. }));
        assert_eq!(play.answer(write), None, "{text}");
    }
    play.settle_without(|packet| packet.member == S2 && is_reply(packet));
    assert_eq!((play.last(S2), play.shows(S2).len()), (Id::new(2), 0), "S2 holds what it does not know to be decided");
    play.cut_off.insert(S2);
    play.falls_silent(S2);
    play.settle();
    let newest = play.post(MASTER, "newest", WriteConcern::Copies(2));
    play.settle();
    play.assert_committed(newest);
    let decided = play.shows(MASTER);
    play.world.trim(MASTER, Id::new(1), Id::ZERO);
    assert_eq!(play.base(MASTER), Id::ZERO, "S2 holds it up");
    play.world.archive(MASTER);
    play.world.trim(MASTER, Id::new(1), Id::new(1));
    assert_eq!(play.base(MASTER), Id::new(1));
    play.cut_off.clear();
    play.pass(Duration::from_secs(2));
    play.settle();
    assert_eq!((play.base(S2), play.last(S2)), (Id::new(1), Id::new(3)));
    assert_eq!(play.shows(S2), decided[decided.len() - 1..]);
}
