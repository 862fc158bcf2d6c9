//! The protocol in a model checker: every order of everything that can happen in a configuration.
//!
//! The checker is `stateright`. It checks the real leader and the real replica in the cluster of `tests/world`, and
//! takes each of its steps in every order, with every loss, delay and reordering of packets. A configuration bounds how
//! many crashes, duplicates and losses there may be.
//!
//! No bound applies to delays: a packet arrives at any time, before or after any other one, even after its sender has
//! given up or ended, or never. A caller that gives up because a call or its answer was lost counts as a loss.
//!
//! Besides what the world leaves out (see there), the model leaves out:
//!
//! - more than two secondaries or three messages, writes of several messages, and idempotency keys;
//! - the removal of secondaries, and disks that are full or fail: the simulator has them;
//! - disks that keep a part of what was not synced: `power_loss` has them;
//! - heartbeats that bring the master no news or find a secondary fenced, and the replicators of a master that has
//!   given up;
//! - a start of the master at which only one of two secondaries answers, and a second start of a second master;
//! - with promotion: changes of the roster, lost disks, readers who ask, and clusters that run on for long after one;
//! - time: any caller may give up at any point, so nothing follows about how long anything takes.
//!
//! Where no step is left and every node runs, every client must have its answer, and all nodes the same log. That the
//! cluster gets there is for the simulator to show.
//!
//! `cargo test --test model` checks small configurations. `MODEL=all cargo test --profile checked --test model --
//! --nocapture` checks the large ones as well, which takes hours and some gigabytes of memory. `MODEL=NAME` checks
//! those whose names contain `NAME`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test on many threads")]

mod world;

use replicated_log::protocol::{Id, LeaderSettings, MemberView, ReplicationState, WriteConcern};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};
use world::disk::{Crash, CrashKind, IoResult, SimulatedDisk, Slate};
use world::following::Following;
use world::leading::Posted;
use world::planted_bugs::PlantedBug;
use world::wire::Content;
use world::{MASTER, Node, Step, World, due_at_once};

/// What may still happen in this state.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Budget {
    /// The posts that are still to come, the next one last.
    posts: Vec<Posted>,
    master_crashes: u8,
    secondary_crashes: u8,
    /// How many of these crashes may be power losses.
    power_losses: u8,
    /// How often a secondary may lose its disk.
    disk_losses: u8,
    /// How often a caller may give up waiting for an answer.
    losses: u8,
    duplicates: u8,
    /// How many deadlines may end.
    deadlines: u8,
    /// How often a secondary that has readers may ask the master.
    questions: u8,
    /// How often a second master may start on a copy of the first one's directory.
    second_masters: u8,
    /// How many secondaries may be registered.
    joins: u8,
    /// How often a master may trim its log.
    trims: u8,
    /// How often a node may stand as a candidate.
    candidacies: u8,
    /// The latest epoch for which one may stand.
    epochs: u64,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    world: World<Slate>,
    left: Budget,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Take(Step),
    /// A client posts the next write to this master.
    Post(Node),
    /// The next deadline ends.
    Expire,
    Crash(Node, Crash),
    /// A secondary is killed in the middle of a call, after so many writes to its disk.
    CrashInTheMiddle(u64, usize),
    /// A node starts; a master asks every secondary first, or hears none.
    Start(Node, bool),
    Duplicate(u64),
    SecondMaster,
    /// This secondary is registered.
    Join(Node),
    /// This master archives and trims what it may; if so, it waits for no secondary that is away.
    Trim(Node, bool),
    /// This node stands as a candidate.
    Stand(Node),
}

struct Protocol {
    start: World<Slate>,
    budget: Budget,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { world: self.start.clone(), left: self.budget.clone() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.world.checker.verdict().is_some() {
            return;
        }
        actions.extend(state.steps().map(Action::Take));
        state.clients(actions);
        state.faults(actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let applied = catch_unwind(AssertUnwindSafe(|| next.apply(action)));
        if let Err(panic) = applied {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            next.world.checker.broken(format!("assertions: {text}"));
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("acknowledged", |_, state: &State| state.keeps("acknowledged")),
            Property::always("refused", |_, state: &State| state.keeps("refused")),
            Property::always("one order", |_, state: &State| state.keeps("one order")),
            Property::always("marks", |_, state: &State| state.keeps("marks")),
            Property::always("one content", |_, state: &State| state.keeps("one content")),
            Property::always("reads", |_, state: &State| state.keeps("reads")),
            Property::always("one master", |_, state: &State| state.keeps("one master")),
            Property::always("forked", |_, state: &State| state.keeps("forked")),
            Property::always("fences", |_, state: &State| state.keeps("fences")),
            Property::always("assertions", |_, state: &State| state.keeps("assertions")),
            Property::always("nothing else", |_, state: &State| {
                state
                    .world
                    .checker
                    .verdict()
                    .is_none_or(|verdict| PROMISES.iter().any(|name| verdict.starts_with(name)))
            }),
            Property::always("every end is good", |_, state: &State| !state.is_at_an_end() || state.has_ended_well()),
            Property::sometimes("a write is acknowledged", |_, state: &State| state.world.checker.acknowledged() > 1),
            Property::sometimes("everything is answered", |_, state: &State| {
                state.left.posts.is_empty() && state.world.checker.writes.iter().all(|write| write.answer.is_some())
            }),
        ]
    }
}

/// The first words of every verdict of the checker.
const PROMISES: [&str; 10] = [
    "acknowledged",
    "refused",
    "one order",
    "marks",
    "one content",
    "reads",
    "fences",
    "one master",
    "forked",
    "assertions",
];

impl State {
    /// Whether no step is left: every node runs, and nothing is under way. Two masters may fence each other.
    fn is_at_an_end(&self) -> bool {
        let world = &self.world;
        !world.promotes()
            && world.leaders().count() <= 1
            && world.nodes().all(|node| world.runs(node))
            && self.steps().next().is_none()
    }

    /// Whether every client has its answer, and all nodes show the same.
    fn has_ended_well(&self) -> bool {
        let Some(process) = self.world.nodes[MASTER.0].leading() else { return false };
        let decided = process.leader.decided();
        let is_there = |(member, view): (Node, MemberView)| {
            let following = self.world.nodes[member.0].following();
            let knows_all =
                |following: &Following| following.follower.decided() == decided && following.answers_alone();
            view.state == ReplicationState::InSync && following.is_some_and(knows_all)
        };
        !process.leader.is_halted()
            && process.leader.open() == 0
            && decided == process.leader.last()
            && process.members().all(is_there)
            && self.world.checker.writes.iter().all(|write| write.answer.is_some())
    }

    fn keeps(&self, promise: &str) -> bool {
        self.world.checker.verdict().is_none_or(|verdict| !verdict.starts_with(promise))
    }

    /// The steps that the cluster may take. Those that change nothing are left out, and questions once their number is
    /// used up.
    fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.world.steps().into_iter().filter(|step| match *step {
            Step::GiveUp(_) => self.left.losses > 0,
            Step::Read(_) => self.left.questions > 0,
            Step::Tick(node) => self.is_due(node) && self.world.tick_is_useful(node),
            _ => true,
        })
    }

    fn is_due(&self, master: Node) -> bool {
        let process = self.world.nodes[master.0].leading();
        process.and_then(|process| process.leader.wake_at()).is_some_and(|at| at <= self.world.now)
    }

    fn clients(&self, actions: &mut Vec<Action>) {
        if !self.left.posts.is_empty() {
            let takes_posts = self.world.leaders().filter(|(_, process)| !process.leader.is_halted());
            actions.extend(takes_posts.map(|(node, _)| Action::Post(node)));
        }
        if self.left.deadlines > 0 {
            actions.push(Action::Expire);
        }
    }

    fn faults(&self, actions: &mut Vec<Action>) {
        let left = &self.left;
        for node in self.world.nodes() {
            if !self.world.runs(node) {
                actions.push(Action::Start(node, true));
                if self.world.nodes[node.0].leads {
                    actions.push(Action::Start(node, false));
                }
                continue;
            }
            let leads = self.world.nodes[node.0].leading().is_some();
            let (crashes, disk_losses) =
                if leads { (left.master_crashes, 0) } else { (left.secondary_crashes, left.disk_losses) };
            let may_be = |budget: u8, kind| (crashes > 0 && budget > 0).then_some(kind);
            let kinds = [
                may_be(1, CrashKind::Killed),
                may_be(left.power_losses, CrashKind::PowerLost { notes: usize::MAX }),
                may_be(disk_losses, CrashKind::DiskLost),
            ];
            // The disk may hold a part or all of what the master was writing.
            let written: &[(bool, bool)] =
                if leads { &[(false, false), (true, false), (false, true), (true, true)] } else { &[(false, false)] };
            for kind in kinds.into_iter().flatten() {
                actions.extend(written.iter().map(|&(round_is_written, refusals_are_written)| {
                    Action::Crash(node, Crash { kind, round_is_written, refusals_are_written })
                }));
            }
        }
        for packet in self.world.wire.iter().filter(|packet| matches!(packet.content, Content::Call { .. })) {
            if left.secondary_crashes > 0 {
                actions.extend((1..=3).map(|writes| Action::CrashInTheMiddle(packet.number, writes)));
            }
            if left.duplicates > 0 {
                actions.push(Action::Duplicate(packet.number));
            }
        }
        if left.joins > 0 && self.world.runs(MASTER) {
            actions.extend(self.world.nodes().filter(|&node| node != MASTER).map(Action::Join));
        }
        if left.trims > 0 {
            let leads = self.world.leaders().map(|(node, _)| node);
            actions.extend(leads.flat_map(|node| [Action::Trim(node, false), Action::Trim(node, true)]));
        }
        if left.candidacies > 0 {
            let may_stand = |node: &Node| self.world.next_epoch(*node).is_some_and(|epoch| epoch.get() <= left.epochs);
            actions.extend(self.world.nodes().filter(may_stand).map(Action::Stand));
        }
        if left.second_masters > 0 && self.world.runs(MASTER) {
            actions.push(Action::SecondMaster);
        }
    }

    /// Takes every step that the cluster can take by itself.
    fn settle(&mut self) {
        while let Some(step) = self.steps().last() {
            self.apply(Action::Take(step));
        }
    }

    fn apply(&mut self, action: Action) {
        let left = &mut self.left;
        match action {
            Action::Take(step) => {
                match step {
                    Step::GiveUp(_) => left.losses -= 1,
                    Step::Read(_) => left.questions -= 1,
                    _ => {}
                }
                self.world.take(step, IoResult::Good);
            }
            Action::Post(master) => {
                let post = left.posts.pop().expect("a post is left");
                self.world.post(master, &post);
            }
            Action::Expire => {
                left.deadlines -= 1;
                self.world.pass_time(self.world.now.plus(DEADLINE));
            }
            Action::Crash(node, crash) => {
                match self.world.nodes[node.0].leading() {
                    Some(_) => left.master_crashes -= 1,
                    None => left.secondary_crashes -= 1,
                }
                match crash.kind {
                    CrashKind::Killed => {}
                    CrashKind::PowerLost { .. } => left.power_losses -= 1,
                    CrashKind::DiskLost => left.disk_losses -= 1,
                }
                self.world.crash(node, crash);
            }
            Action::CrashInTheMiddle(number, writes) => {
                left.secondary_crashes -= 1;
                self.world.crash_in_the_middle(number, writes, Crash::KILLED);
            }
            Action::Start(node, hears) => self.world.start(node, |_| hears),
            Action::Duplicate(number) => {
                left.duplicates -= 1;
                self.world.duplicate(number);
            }
            Action::SecondMaster => {
                left.second_masters -= 1;
                self.world.start_second_master();
            }
            Action::Trim(node, lapses) => {
                left.trims -= 1;
                self.world.archive(node);
                self.world.trim(node, Id::MAX, if lapses { Id::MAX } else { Id::ZERO });
            }
            Action::Stand(node) => {
                left.candidacies -= 1;
                self.world.stand(node);
            }
            Action::Join(member) => {
                left.joins -= 1;
                self.world.join(MASTER, member);
            }
        }
        self.world.forget_what_has_no_effect();
        self.world.forget_the_order();
        self.world.examine_disks();
    }
}

/// A cluster that has just started: no node knows another one.
fn just_started(secondaries: usize, planted: Option<PlantedBug>) -> World<Slate> {
    let mut world = World::new(secondaries, planted, settings(), Slate::of);
    world.nodes().for_each(|node| world.start(node, |_| true));
    world
}

/// A cluster of which every node holds one message, and knows that all others hold it.
fn in_operation(secondaries: usize, planted: Option<PlantedBug>) -> World<Slate> {
    let mut state = State { world: just_started(secondaries, planted), left: Budget::default() };
    state.settle();
    state.world.post(MASTER, &post("first", WriteConcern::All, None));
    state.settle();
    assert_eq!(state.world.checker.acknowledged(), 1, "the cluster does not come up");
    state.world
}

/// Adds a secondary that runs and is not registered.
fn with_a_newcomer(mut world: World<Slate>) -> World<Slate> {
    let newcomer = Node(world.nodes.len());
    world.add_secondary(Slate::of(newcomer));
    world.start(newcomer, |_| true);
    world
}

fn post(text: &str, concern: WriteConcern, timeout: Option<Duration>) -> Posted {
    Posted { texts: vec![text.into()], key: None, concern, timeout, follows: None }
}

/// Writes for these numbers of copies; 3 means all.
fn posts(copies: &[usize]) -> Vec<Posted> {
    let concern = |copies| if copies == 3 { WriteConcern::All } else { WriteConcern::Copies(copies) };
    let names = ["a", "b", "c"];
    let posts = copies.iter().zip(names).map(|(&copies, name)| post(name, concern(copies), None));
    posts.rev().collect()
}

/// The configurations of every run.
fn small() -> Vec<(&'static str, Budget)> {
    let one = || Budget { posts: posts(&[3]), ..Budget::default() };
    vec![
        ("one write for all; a loss and a question", Budget { losses: 1, questions: 1, ..one() }),
        ("one write for all; the master crashes", Budget { master_crashes: 1, power_losses: 1, ..one() }),
        ("one write for all; a secondary crashes", Budget { secondary_crashes: 1, ..one() }),
    ]
}

/// The configurations that `MODEL=all` adds.
fn large() -> Vec<(&'static str, Budget)> {
    let write = |copies: &[usize]| Budget { posts: posts(copies), ..Budget::default() };
    vec![
        ("two writes for all", write(&[3, 3])),
        ("writes for 3 and for 1", write(&[3, 1])),
        ("writes for 2 and for 3", write(&[2, 3])),
        ("one write for all; the master crashes twice", Budget { master_crashes: 2, power_losses: 1, ..write(&[3]) }),
        ("writes for 3 and for 1; a loss", Budget { losses: 1, ..write(&[3, 1]) }),
        (
            "one write for all; every node crashes, a loss, a question",
            Budget { master_crashes: 1, secondary_crashes: 1, losses: 1, questions: 1, ..write(&[3]) },
        ),
        (
            "one write for all; the master crashes, a secondary loses its disk",
            Budget {
                master_crashes: 1,
                power_losses: 1,
                secondary_crashes: 1,
                disk_losses: 1,
                questions: 1,
                ..write(&[3])
            },
        ),
        ("writes for 3 and for 1; the master crashes", Budget { master_crashes: 1, questions: 1, ..write(&[3, 1]) }),
        ("writes for 2 and for 3; the master crashes", Budget { master_crashes: 1, ..write(&[2, 3]) }),
        ("writes for 3 and for 2; a secondary crashes", Budget { secondary_crashes: 1, ..write(&[3, 2]) }),
        ("one write; a duplicate, two losses", Budget { duplicates: 1, losses: 2, questions: 1, ..write(&[3]) }),
        (
            "a write that waits and one for 2; the first deadline, a loss",
            Budget { posts: waiting(&[3, 2], &[1, 2]), deadlines: 1, losses: 1, ..Budget::default() },
        ),
        (
            "a write that waits and one for 2; the second deadline, a loss",
            Budget { posts: waiting(&[3, 2], &[2, 1]), deadlines: 1, losses: 1, ..Budget::default() },
        ),
        (
            "two masters on copies of one directory; one write",
            Budget { second_masters: 1, master_crashes: 1, ..write(&[3]) },
        ),
        ("one write for all; a secondary joins, a loss", Budget { joins: 1, losses: 1, ..write(&[3]) }),
        ("two masters on copies of one directory; two writes", Budget { second_masters: 1, ..write(&[3, 2]) }),
    ]
}

/// As [`posts`], but each waits this many deadlines for nodes that are missing.
fn waiting(copies: &[usize], deadlines: &[u32]) -> Vec<Posted> {
    let timeouts = deadlines.iter().rev().map(|&deadlines| Some(DEADLINE * deadlines));
    posts(copies).into_iter().zip(timeouts).map(|(post, timeout)| Posted { timeout, ..post }).collect()
}

/// The only time that passes is the time to the next deadline.
const DEADLINE: Duration = Duration::from_secs(1);

/// All waiting work is due at once, in any order. Heartbeats never are: other steps find what they could find.
fn settings() -> LeaderSettings {
    due_at_once(Duration::from_secs(1_000_000), 1)
}

/// A cluster of so many voters, each of which may be promoted. Every node holds one message, and knows that all do.
fn promotable(nodes: usize, planted: Option<PlantedBug>) -> World<Slate> {
    let mut world = World::new(nodes - 1, planted, settings(), Slate::of);
    world.allow_promotion(|node| Slate::of(node).copy_id());
    world.nodes().for_each(|node| world.start(node, |_| true));
    let mut state = State { world, left: Budget::default() };
    state.settle();
    state.world.post(MASTER, &post("first", WriteConcern::All, None));
    state.settle();
    assert_eq!(state.world.checker.acknowledged(), 1, "the cluster does not come up");
    state.world
}

/// Checks a whole configuration, and prints how large it was.
fn check(name: &str, start: World<Slate>, budget: Budget) {
    let began = Instant::now();
    let model = Protocol { start, budget };
    let checker = model.checker().threads(threads()).spawn_dfs().join();
    println!(
        "{name}: {} states, {} transitions, {:.0} s",
        checker.unique_state_count(),
        checker.state_count(),
        began.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn every_promise_holds_in_every_order() {
    for (name, budget) in small().into_iter().chain(requested(large(), |(name, _)| name)) {
        let start = if budget.joins > 0 { with_a_newcomer(in_operation(1, None)) } else { in_operation(2, None) };
        check(name, start, budget);
    }
}

/// Configurations in which the log is trimmed: how many secondaries there are, and what may happen.
fn trimmed() -> Vec<(&'static str, usize, Budget)> {
    let one = |copies| Budget { posts: posts(&[copies]), trims: 1, ..Budget::default() };
    vec![
        ("a trim, one write for all; a loss", 2, Budget { losses: 1, ..one(3) }),
        ("a trim, one write for 1; a secondary crashes", 1, Budget { secondary_crashes: 1, ..one(1) }),
        ("a trim, one write for 1; a disk is lost", 1, Budget { secondary_crashes: 1, disk_losses: 1, ..one(1) }),
        ("a trim, one write for 1; the master crashes", 1, Budget { master_crashes: 1, power_losses: 1, ..one(1) }),
    ]
}

/// The configurations that `MODEL=all` adds to those.
fn large_trimmed() -> Vec<(&'static str, usize, Budget)> {
    let one = |copies| Budget { posts: posts(&[copies]), trims: 1, ..Budget::default() };
    vec![
        (
            "two trims, writes for all and for 1; a loss",
            2,
            Budget { posts: posts(&[3, 1]), trims: 2, losses: 1, ..one(1) },
        ),
        (
            "a trim, one write for all; every node crashes, a loss",
            2,
            Budget { master_crashes: 1, secondary_crashes: 1, power_losses: 1, losses: 1, ..one(3) },
        ),
    ]
}

#[test]
fn every_promise_holds_while_the_log_is_trimmed() {
    for (name, secondaries, budget) in trimmed().into_iter().chain(requested(large_trimmed(), |(name, ..)| name)) {
        check(name, in_operation(secondaries, None), budget);
    }
    let one = Budget { posts: posts(&[2]), trims: 1, candidacies: 1, epochs: 2, ..Budget::default() };
    check("two nodes, a trim, a candidate, a write for two", written(2), one.clone());
    for (name, nodes, budget) in requested(large_trimmed_promotions(), |(name, ..)| name) {
        check(name, written(nodes), budget);
    }
}

/// The configurations that `MODEL=all` adds to that one.
fn large_trimmed_promotions() -> Vec<(&'static str, usize, Budget)> {
    let one = Budget { posts: posts(&[2]), trims: 1, candidacies: 1, epochs: 2, ..Budget::default() };
    vec![
        ("three nodes, a trim, a candidate, a write for two", 3, one.clone()),
        (
            "three nodes, a trim, a candidate, a write for all; a loss",
            3,
            Budget { posts: posts(&[3]), losses: 1, ..one },
        ),
    ]
}

/// Nodes that may be promoted, with a log of which something can be trimmed.
fn written(nodes: usize) -> World<Slate> {
    let mut state = State { world: promotable(nodes, None), left: Budget::default() };
    state.world.post(MASTER, &post("second", WriteConcern::All, None));
    state.settle();
    state.world
}

#[test]
fn planted_bugs_of_trimming_are_caught() {
    for planted in [PlantedBug::TrimsWhatOthersLack, PlantedBug::BaseForgotten] {
        let mut start = in_operation(1, None);
        start.planted = Some(planted);
        // What the secondary lacks must not be the newest message, which stays.
        let copies: &[usize] = if planted == PlantedBug::TrimsWhatOthersLack { &[1, 1] } else { &[1] };
        let budget = Budget { posts: posts(copies), trims: 1, secondary_crashes: 1, ..Budget::default() };
        catch(planted, Protocol { start, budget });
    }
}

/// The large configurations that `MODEL` asks for.
fn requested<C>(configurations: Vec<C>, name_of: impl Fn(&C) -> &'static str) -> Vec<C> {
    let asked = std::env::var("MODEL").unwrap_or_default();
    let is_asked = |name: &str| asked == "all" || (!asked.is_empty() && name.contains(&asked));
    configurations.into_iter().filter(|configuration| is_asked(name_of(configuration))).collect()
}

#[test]
fn what_is_asked_for_exists() {
    let large = large().into_iter().map(|(name, _)| name);
    let of_promotions = large_promotions().into_iter().map(|(name, ..)| name);
    let of_changes = large_changes().into_iter().map(|(name, _)| name);
    let of_doubts = large_doubts().into_iter().map(|(name, _)| name);
    let of_trimming = large_trimmed().into_iter().chain(large_trimmed_promotions()).map(|(name, ..)| name);
    let names: Vec<&str> = large.chain(of_promotions).chain(of_changes).chain(of_doubts).chain(of_trimming).collect();
    if let Ok(asked) = std::env::var("MODEL") {
        let is_known = asked == "all" || names.iter().any(|name| name.contains(&asked));
        assert!(is_known, "MODEL={asked} is neither all nor a part of one of {names:#?}");
    }
}

/// A configuration small enough to reach the planted bug soon.
fn shows(planted: PlantedBug) -> Protocol {
    let one = || Budget { posts: posts(&[3]), ..Budget::default() };
    let disk_loss = || Budget { secondary_crashes: 1, disk_losses: 1, ..one() };
    let budget = match planted {
        PlantedBug::AcknowledgedBeforeDurable => Budget { secondary_crashes: 1, ..one() },
        PlantedBug::MasterNotCounted => one(),
        PlantedBug::NoNewEpoch => Budget { posts: posts(&[3, 3]), master_crashes: 1, ..one() },
        PlantedBug::RefusalNotDurable => Budget { losses: 1, master_crashes: 1, ..one() },
        PlantedBug::ShownBeforeNoted => Budget { master_crashes: 1, ..one() },
        PlantedBug::PendingShown => Budget { losses: 1, ..one() },
        PlantedBug::SameIncarnation => Budget { posts: posts(&[3, 3]), duplicates: 1, ..disk_loss() },
        PlantedBug::ReadsBeforeAdmission => disk_loss(),
        PlantedBug::EnteredBeforeDropped => {
            Budget { posts: waiting(&[3, 3], &[1, 1]), master_crashes: 1, secondary_crashes: 1, ..one() }
        }
        PlantedBug::PresumedAbort => Budget { master_crashes: 1, power_losses: 1, ..one() },
        PlantedBug::CreditedToOthers | PlantedBug::AnsweredBeforeShown => one(),
        // A secondary holds what is refused, and lacks what follows it.
        PlantedBug::HeldRefusalsNotTold => Budget { posts: posts(&[3, 1]), losses: 1, ..one() },
        PlantedBug::RegisteredBeforeJoined => Budget { joins: 1, ..one() },
        other => panic!("{other:?} is of succession"),
    };
    let start = match planted {
        // These bugs show while a cluster starts.
        PlantedBug::MasterNotCounted | PlantedBug::SameIncarnation | PlantedBug::PendingShown => {
            just_started(1, Some(planted))
        }
        PlantedBug::EnteredBeforeDropped | PlantedBug::HeldRefusalsNotTold => in_operation(1, Some(planted)),
        PlantedBug::RegisteredBeforeJoined => with_a_newcomer(in_operation(1, Some(planted))),
        // These bugs would show before the cluster is in operation.
        PlantedBug::CreditedToOthers | PlantedBug::AnsweredBeforeShown => {
            let mut world = in_operation(2, None);
            world.planted = Some(planted);
            world
        }
        _ => in_operation(2, Some(planted)),
    };
    Protocol { start, budget }
}

#[test]
fn every_planted_bug_is_caught() {
    PlantedBug::ALL.into_iter().for_each(|planted| catch(planted, shows(planted)));
}

/// Requires that some order of steps breaks a promise.
fn catch(planted: PlantedBug, model: Protocol) {
    let began = Instant::now();
    let checker = model.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let is_failure = |name: &'static str| checker.model().property(name).expectation.discovery_is_failure();
    let found = checker.discoveries().into_iter().find(|(name, _)| is_failure(name));
    let (name, path) = found.unwrap_or_else(|| panic!("{planted:?} is not caught"));
    let why = path.last_state().world.checker.verdict().unwrap_or_default().to_owned();
    println!(
        "{planted:?} breaks \"{name}\" after {} steps, among {} states, {:.1} s: {why}",
        path.into_actions().len(),
        checker.unique_state_count(),
        began.elapsed().as_secs_f64()
    );
}

/// Configurations in which nodes may be promoted: the number of nodes, and what may happen.
fn promotions() -> Vec<(&'static str, usize, Budget)> {
    let one = |copies| Budget { posts: posts(&[copies]), epochs: 2, candidacies: 1, ..Budget::default() };
    vec![
        ("two nodes, a write for both, a candidate", 2, one(3)),
        ("two nodes, a write for both, a candidate; the master crashes", 2, Budget { master_crashes: 1, ..one(3) }),
        ("two nodes, a write for both, a candidate; a loss", 2, Budget { losses: 1, ..one(3) }),
        ("two nodes, a write for both, two candidates", 2, Budget { candidacies: 2, epochs: 3, ..one(3) }),
        ("three nodes, a write for two, a candidate", 3, one(2)),
    ]
}

/// The configurations that `MODEL=all` adds to those.
fn large_promotions() -> Vec<(&'static str, usize, Budget)> {
    let one = |copies| Budget { posts: posts(&[copies]), epochs: 2, candidacies: 1, ..Budget::default() };
    vec![
        (
            "two nodes, a write for both, two candidates; the master crashes",
            2,
            Budget { candidacies: 2, epochs: 3, master_crashes: 1, ..one(3) },
        ),
        ("three nodes, a write for all, a candidate", 3, one(3)),
        ("three nodes, a write for two, a candidate; the master crashes", 3, Budget { master_crashes: 1, ..one(2) }),
        ("three nodes, a write for all, a candidate; a loss", 3, Budget { losses: 1, ..one(3) }),
        ("three nodes, a write for two, two candidates for one epoch", 3, Budget { candidacies: 2, ..one(2) }),
        ("three nodes, a write for two, two candidates", 3, Budget { candidacies: 2, epochs: 3, ..one(2) }),
    ]
}

#[test]
fn every_promise_holds_through_promotions() {
    for (name, nodes, budget) in promotions().into_iter().chain(requested(large_promotions(), |(name, ..)| name)) {
        check(name, promotable(nodes, None), budget);
    }
    for (name, budget) in requested(large_doubts(), |(name, _)| name) {
        check(name, in_doubt(), budget);
    }
}

/// The last master has died, and left a message that the second node holds and the third one does not: it may be committed
/// or overtaken, and what was overtaken must not come back (figure 8 of the Raft paper).
fn in_doubt() -> World<Slate> {
    let mut state = State { world: promotable(3, None), left: Budget::default() };
    state.world.post(MASTER, &post("in doubt", WriteConcern::Copies(2), None));
    let arrives = |state: &State, number: u64| {
        let packet = state.world.wire.iter().find(|packet| packet.number == number);
        packet.is_some_and(|packet| packet.member == Node(1) && matches!(packet.content, Content::Call { .. }))
    };
    let next = |state: &State| {
        let mut steps = state.steps();
        steps.find(|step| if let Step::Deliver(number) = *step { arrives(state, number) } else { true })
    };
    while let Some(step) = next(&state) {
        state.apply(Action::Take(step));
    }
    state.world.crash(MASTER, Crash::KILLED);
    state.world.wire.clear();
    let holds = |node: usize| state.world.nodes[node].disk.store().last().get();
    assert_eq!([holds(0), holds(1), holds(2)], [2, 2, 1]);
    state.world
}

/// The configurations that `MODEL=all` adds to those, with a message in doubt.
fn large_doubts() -> Vec<(&'static str, Budget)> {
    let two = || Budget { posts: posts(&[2]), candidacies: 2, epochs: 3, ..Budget::default() };
    vec![
        ("three nodes, a message in doubt, a write for two, a candidate", Budget { candidacies: 1, ..two() }),
        ("three nodes, a message in doubt, a write for two, two candidates", two()),
    ]
}

/// Voters of whom the last one is about to be removed.
fn removing(nodes: usize, planted: Option<PlantedBug>) -> World<Slate> {
    let mut world = promotable(nodes, None);
    world.planted = planted;
    world.notify_removal(MASTER, Node(nodes - 1));
    world
}

/// Voters to whom one more is about to be added, which holds the log already.
fn adding(nodes: usize, planted: Option<PlantedBug>) -> World<Slate> {
    let mut state = State { world: removing(nodes, None), left: Budget::default() };
    state.settle();
    state.world.planted = planted;
    state.world.keep(MASTER, Node(nodes - 1));
    state.world
}

#[test]
fn every_promise_holds_while_voters_change() {
    let one = Budget { posts: posts(&[2]), candidacies: 1, epochs: 2, ..Budget::default() };
    check("one of two voters is removed, a candidate, a write for two", removing(2, None), one.clone());
    check("a second voter is added, a candidate, a write for two", adding(2, None), one.clone());
    for (name, start) in requested(large_changes(), |(name, _)| name) {
        check(name, start, one.clone());
    }
}

/// The configurations that `MODEL=all` adds to those.
fn large_changes() -> Vec<(&'static str, World<Slate>)> {
    vec![
        ("one of three voters is removed, a candidate, a write for two", removing(3, None)),
        ("a third voter is added, a candidate, a write for two", adding(3, None)),
    ]
}

#[test]
fn planted_bugs_of_changes_are_caught() {
    let one = Budget { posts: posts(&[1, 3]), candidacies: 1, epochs: 2, ..Budget::default() };
    let planted = PlantedBug::RemovedAtOnce;
    catch(planted, Protocol { start: removing(2, Some(planted)), budget: one });
}

/// A configuration small enough to reach a planted bug of succession soon; `None` for bugs that need two promotions of
/// three nodes with messages between them: the simulator has those.
fn shows_in_succession(planted: PlantedBug) -> Option<(usize, Budget)> {
    let none = Budget { candidacies: 1, epochs: 2, ..Budget::default() };
    let one = Budget { posts: posts(&[3]), ..none.clone() };
    Some(match planted {
        PlantedBug::PromiseNotDurable => {
            (3, Budget { candidacies: 2, master_crashes: 1, secondary_crashes: 1, ..none })
        }
        PlantedBug::LeadsOnAfterPromise => (3, Budget { posts: posts(&[2]), ..none }),
        PlantedBug::RefusalsOfOthersIgnored | PlantedBug::RefusalNotSafe => (3, Budget { losses: 1, ..one }),
        PlantedBug::HalfIsEnough => (2, Budget { candidacies: 2, master_crashes: 1, ..none }),
        PlantedBug::RestartWithoutPromises => (2, Budget { posts: posts(&[3, 3]), master_crashes: 1, ..none }),
        _ => return None,
    })
}

#[test]
fn planted_bugs_of_succession_are_caught() {
    for planted in PlantedBug::OF_SUCCESSION {
        if let Some((nodes, budget)) = shows_in_succession(planted) {
            catch(planted, Protocol { start: promotable(nodes, Some(planted)), budget });
        }
    }
}
