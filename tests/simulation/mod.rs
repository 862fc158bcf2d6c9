//! The simulator: it draws when each step of a cluster happens, what goes wrong, and what clients do.
//!
//! Time is a number of microseconds. Every step that becomes possible gets a time. The simulator takes the earliest
//! step, and gives a time to each step that this one makes possible. So everything happens in an order that a real
//! cluster could take, and a seed repeats it.
//!
//! **The safety phase.** Clients post writes of every kind, and repeat those with a key whose outcome they do not know.
//! Nodes are killed, lose their power or their disks, are cut off in one direction or both, and have slow, full and
//! failing disks. Calls arrive late, twice or out of order, and answers get lost. The checker runs after every step.
//!
//! **The liveness phase.** All faults end, every node runs. Within [`RECOVERY`] the cluster must commit a write for all
//! nodes, decide every message, show the same on every node, and answer every client.

mod clients;
mod faults;
pub(crate) mod real_disk;
mod tally;

use crate::random::Random;
use crate::world::checker::Answer;
use crate::world::disk::Slate;
use crate::world::disk::{Crash, IoResult, SimulatedDisk};
use crate::world::following::Following;
use crate::world::leading::Leading;
use crate::world::planted_bugs::PlantedBug;
use crate::world::wire::Content;
use crate::world::{MASTER, Node, Step, World};
use clients::Clients;
use faults::Faults;
use replicated_log::protocol::{
    FollowerSettings, Id, LeaderSettings, MemberView, Promotion, ReplicationState, Time, Timing, Voters,
};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
pub(crate) use tally::Outcome;

/// A point in time, or a duration, in microseconds.
pub(crate) type Micros = u64;
pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MILLISECOND;

/// How long the cluster may take, once every fault has ended.
const RECOVERY: Micros = 60 * SECOND;
/// Steps of one seed at most: a cluster that takes more is in a loop.
const STEPS_MAX: usize = 200_000;
/// After so many steps each, the checker reads the disks from their beginning.
const EXAMINED_EVERY: usize = 64;

/// What a seed draws before anything happens.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    random: Random,
    secondaries: usize,
    /// How long the safety phase lasts.
    lasts: Micros,
    writes: usize,
    faults: usize,
    /// Whether nodes may be promoted. Then no write asks for fewer copies than a majority, and no disk is lost unless the
    /// voters change.
    promotes: bool,
    /// How many nodes vote at first, if the voters change: with none, promotion is off at first.
    first_voters: Option<usize>,
    /// Whether a voter loses its disk. Otherwise nodes are removed, and come back.
    loses_disk: bool,
    only_crashes: bool,
    /// How often a master trims its log.
    trims: usize,
    /// How long a master waits for an answer.
    timeout: Micros,
    /// How often a master asks a secondary that takes part.
    heartbeat: Micros,
    /// The longest usual time on the network.
    way: Micros,
    /// One in so many packets takes much longer.
    late: u64,
    /// The longest usual time of a write to a disk.
    disk: Micros,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Plan {
        let mut random = Random::new(seed);
        Plan {
            secondaries: random.one_of(&[0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3]),
            lasts: SECOND * (1 + random.below(8)),
            writes: 3 + random.below(25) as usize,
            faults: random.below(16) as usize,
            promotes: false,
            first_voters: None,
            loses_disk: false,
            only_crashes: random.one_in(4),
            trims: 0,
            timeout: MILLISECOND * random.one_of(&[100, 500, 2_000]),
            heartbeat: MILLISECOND * random.one_of(&[100, 500, 1_000]),
            way: random.one_of(&[200, 2 * MILLISECOND, 50 * MILLISECOND]),
            late: random.one_of(&[10, 50, 1_000]),
            disk: random.one_of(&[100, 5 * MILLISECOND, 100 * MILLISECOND]),
            random,
        }
    }
}

impl Plan {
    /// A cluster of two to four nodes, each of which may be promoted.
    pub(crate) fn draw_with_promotion(seed: u64) -> Plan {
        let plan = Plan::draw(seed);
        let mut random = Random::new(seed.wrapping_mul(3));
        Plan { secondaries: random.one_of(&[1, 2, 2, 2, 3]), promotes: true, ..plan }
    }

    /// The same, with voters that come and go.
    pub(crate) fn draw_with_changes(seed: u64) -> Plan {
        let plan = Plan::draw_with_promotion(seed);
        let mut random = Random::new(seed.wrapping_mul(7));
        let loses_disk = random.one_in(3);
        let secondaries = if loses_disk { plan.secondaries.max(2) } else { plan.secondaries };
        let first_voters = Some(random.below(secondaries as u64 + 2) as usize);
        Plan { secondaries, first_voters, loses_disk, ..plan }
    }

    /// One of all these clusters, whose log is trimmed.
    pub(crate) fn draw_with_trimming(seed: u64) -> Plan {
        let plan = match seed % 3 {
            0 => Plan::draw(seed),
            1 => Plan::draw_with_promotion(seed),
            _ => Plan::draw_with_changes(seed),
        };
        Plan { trims: 2 + Random::new(seed.wrapping_mul(11)).below(20) as usize, ..plan }
    }

    fn follower_settings(&self) -> FollowerSettings {
        FollowerSettings {
            gap_timeout: Duration::from_micros(self.timeout / 4),
            busy_gap_timeout: Duration::from_micros(self.timeout * 2),
            read_timeout: Duration::from_secs(1),
        }
    }

    fn settings(&self) -> LeaderSettings {
        LeaderSettings {
            timing: Timing::new(Duration::from_micros(self.heartbeat)),
            quorum: Some(1),
            pending_max: 10_000,
            keys_max: 1_000,
            catch_up_max: 3,
            in_doubt_wait: Duration::from_micros(self.timeout),
            promotion: self.first_voters.map(|_| Promotion::On),
        }
    }
}

/// A cluster in simulated time.
pub(crate) struct Simulation<P> {
    plan: Plan,
    random: Random,
    world: World<P>,
    now: Micros,
    /// When each step that is possible happens.
    due: BTreeMap<Step, Micros>,
    clients: Clients,
    faults: Faults,
    steps: usize,
    outcome: Outcome,
    loud: bool,
    said: BTreeSet<String>,
}

impl<P: SimulatedDisk> Simulation<P> {
    pub(crate) fn new(plan: Plan, planted: Option<PlantedBug>, disk: impl Fn(Node) -> P, loud: bool) -> Simulation<P> {
        let mut random = plan.random.clone();
        let mut world = World::new(plan.secondaries, planted, plan.settings(), disk);
        world.follower_settings = plan.follower_settings();
        world.has_delays = random.clone().one_in(4);
        let copy = |node| Slate::of(node).copy_id();
        match plan.first_voters {
            _ if !plan.promotes => {}
            None => world.allow_promotion(copy),
            Some(0) => world.begin_with(Voters::new(Promotion::Off, [copy(MASTER)])),
            Some(voters) => world.begin_with(Voters::new(Promotion::On, (0..voters).map(|place| copy(Node(place))))),
        }
        let clients = Clients::draw(&plan, &mut random);
        let faults = Faults::draw(&plan, &mut random);
        Simulation {
            random,
            world,
            now: 0,
            due: BTreeMap::new(),
            clients,
            faults,
            steps: 0,
            outcome: Outcome::of_one(),
            loud,
            said: BTreeSet::new(),
            plan,
        }
    }

    /// Plays both phases. A failed assertion of the code under test counts as a broken promise.
    pub(crate) fn run(mut self) -> Outcome {
        let played = catch_unwind(AssertUnwindSafe(|| self.play()));
        if let Err(panic) = played {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            self.world.checker.broken(format!("panic: {text}"));
        }
        self.outcome.count(&self.world.checker);
        self.outcome.steps = self.steps as u64;
        self.outcome.broken = self.world.checker.verdict().map(str::to_owned);
        self.outcome
    }

    fn play(&mut self) {
        self.world.nodes().rev().for_each(|node| self.start(node));
        self.advance(self.plan.lasts, |_| false);
        self.heal();
        let until = self.now + RECOVERY;
        self.clients.post_the_last(self.now);
        self.advance(until, Simulation::has_converged);
        if self.world.checker.verdict().is_none() && !self.has_converged() {
            let why = self.why_not_converged();
            self.world.checker.broken(format!("liveness: a minute after the last fault, {why}"));
        }
        self.world.examine_disks();
    }

    /// Lets time pass until `until`, until `holds` is true, or until a promise is broken.
    fn advance(&mut self, until: Micros, holds: impl Fn(&Simulation<P>) -> bool) {
        while self.world.checker.verdict().is_none() && !holds(self) {
            self.schedule();
            let step = self.due.iter().min_by_key(|&(step, due)| (*due, *step)).map(|(step, due)| (*due, *step));
            let client = self.clients.next();
            let fault = self.faults.next();
            let next = [step.map(|(due, _)| due), client, fault].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next < until) else {
                self.pass_time(self.now.max(until));
                return;
            };
            self.pass_time(self.now.max(next));
            if fault == Some(next) {
                self.next_fault();
            } else if client == Some(next) {
                self.next_client();
            } else if let Some((_, step)) = step {
                self.due.remove(&step);
                self.take(step);
            }
            self.steps += 1;
            if self.steps.is_multiple_of(EXAMINED_EVERY) {
                self.world.examine_disks();
            }
            if self.steps > STEPS_MAX {
                self.world.checker.broken(format!("liveness: after {STEPS_MAX} steps there is still something to do"));
            }
        }
    }

    fn pass_time(&mut self, now: Micros) {
        self.now = now;
        self.world.now = Time::new(Duration::from_micros(now));
    }

    /// Gives a time to each step that has become possible, and forgets those that are no longer possible.
    fn schedule(&mut self) {
        let steps: BTreeSet<Step> = self.world.steps().into_iter().collect();
        self.due.retain(|step, _| steps.contains(step));
        for step in steps {
            let is_new = !self.due.contains_key(&step);
            if let Step::Tick(node) = step {
                // The system wakes a thread of the node a little late.
                let wakes_at = self.world.wakes_at(node) + if is_new { self.random.below(MILLISECOND) } else { 0 };
                let due = self.due.entry(step).or_insert(Micros::MAX);
                *due = if is_new || *due > wakes_at + MILLISECOND { wakes_at.max(self.now) } else { *due };
            } else if is_new {
                let takes = self.time_of(step);
                self.due.insert(step, self.now + takes);
            }
        }
    }

    /// How long it takes until a step happens.
    fn time_of(&mut self, step: Step) -> Micros {
        let plan = &self.plan;
        match step {
            Step::Tick(_) => 0,
            Step::EndDelay(..) => self.random.below(plan.timeout / 4),
            Step::Note(_) | Step::StoreRoster(_) => 1 + self.random.below(plan.disk / 10),
            Step::Store(master) | Step::StoreRefusals(master) => {
                let slow = self.faults.is_slow(master, self.now);
                1 + self.random.below(if slow { SECOND } else { plan.disk })
            }
            Step::Announce(..) => self.random.below(2 * SECOND),
            Step::Deliver(_) if self.random.one_in(plan.late) => self.random.below(5 * SECOND),
            Step::Deliver(number) => {
                let slow = self.receiver(number).is_some_and(|node| self.faults.is_slow(node, self.now));
                1 + self.random.below(plan.way + if slow { SECOND } else { plan.disk })
            }
            Step::GiveUp(_) => plan.timeout,
            Step::Trim(_) => 1 + self.random.below(10 * plan.disk),
            Step::Adopt(_) | Step::Begin(_) | Step::Resign(_) => 1 + self.random.below(plan.disk),
            Step::Read(_) => 1 + self.random.below(200 * MILLISECOND),
        }
    }

    /// The secondary that has to store what a packet brings.
    fn receiver(&self, number: u64) -> Option<Node> {
        let packet = self.world.wire.iter().find(|packet| packet.number == number)?;
        matches!(packet.content, Content::Call { .. }).then_some(packet.member)
    }

    fn take(&mut self, step: Step) {
        if let Step::Deliver(number) = step
            && (self.gets_lost(number) || self.falls_into_a_trap(number))
        {
            return;
        }
        let io_result = match step {
            Step::Store(master) | Step::StoreRefusals(master) => self.faults.io_result(master, self.now),
            Step::Deliver(number) => {
                self.receiver(number).map_or(IoResult::Good, |node| self.faults.io_result(node, self.now))
            }
            _ => IoResult::Good,
        };
        if self.loud {
            let what = self.describe(step);
            self.say(&if io_result == IoResult::Good { what } else { format!("{what} [{io_result:?}]") });
        }
        self.world.take(step, io_result);
        // A candidate that has copied the best log may not come to begin.
        if let Step::Adopt(node) = step
            && self.random.one_in(4)
        {
            self.crash_for_a_while(node, Crash::KILLED);
        }
        if let (Step::StoreRefusals(_), IoResult::NoRoom) = (step, io_result) {
            self.due.insert(step, self.now + 100 * MILLISECOND);
        }
        self.hear_answers();
    }

    /// Loses what is sent over a cut link. A caller that waits for it waits until its timeout ends.
    fn gets_lost(&mut self, number: u64) -> bool {
        let Some(packet) = self.world.wire.iter_mut().find(|packet| packet.number == number) else { return true };
        let is_inward = |content: &Content| {
            matches!(content, Content::Call { .. } | Content::Probe | Content::Answer(_) | Content::Ask(_))
        };
        let to_secondary = is_inward(&packet.content);
        if !self.faults.is_cut(packet.member, to_secondary, self.now) {
            return false;
        }
        self.outcome.lost += 1;
        match &mut packet.content {
            // The master gets no answer, and gives up after its timeout.
            content @ Content::Probe => {
                *content = Content::Status(None);
                self.due.insert(Step::Deliver(number), self.now + self.plan.timeout);
                return true;
            }
            Content::Status(status) => *status = None,
            Content::Answer(decisions) => *decisions = None,
            Content::Held { .. } => return true,
            Content::Ask(_) | Content::Promised(..) => {
                self.world.lose(number);
                return true;
            }
            // [`Step::GiveUp`] is due later, and takes it off the wire.
            Content::Call { dispatch: Some(_), .. } | Content::Reply { .. } => {
                self.due.insert(Step::Deliver(number), Micros::MAX);
                return true;
            }
            Content::Call { dispatch: None, .. } => {
                self.world.lose(number);
                return true;
            }
        }
        false
    }

    fn start(&mut self, node: Node) {
        self.say(&format!("{node:?} starts"));
        let faults = &self.faults;
        let now = self.now;
        self.world.start(node, |member| !faults.is_cut(member, true, now) && !faults.is_cut(member, false, now));
        self.world.examine_disks();
        self.hear_answers();
    }

    fn crash(&mut self, node: Node, crash: Crash) {
        self.say(&format!("{node:?} crashes: {crash:?}"));
        self.outcome.crashes += 1;
        self.world.crash(node, crash);
        self.hear_answers();
    }

    /// Ends every fault, and starts every node that can take part again.
    fn heal(&mut self) {
        self.say("every fault ends");
        let leads = self.leads();
        self.faults.end().into_iter().for_each(|member| self.world.leave(leads, member));
        self.plan.late = u64::MAX;
        self.world.has_delays = false;
        self.plan.way = self.plan.way.min(self.plan.timeout / 8);
        self.plan.disk = self.plan.disk.min(self.plan.timeout / 8);
        for (_, due) in self.due.iter_mut().filter(|(_, due)| **due == Micros::MAX) {
            *due = self.now;
        }
        for node in self.world.nodes() {
            self.start_or_restart(node);
        }
        if self.plan.promotes {
            self.call_the_operator();
        }
        if self.plan.promotes && self.plan.first_voters.is_none() {
            return;
        }
        let leads = self.leads();
        self.world.nodes().filter(|&member| member != leads).for_each(|member| self.world.join(leads, member));
    }

    /// The node that leads, or would if the operators let it.
    fn leads(&self) -> Node {
        let latest = self.world.leaders().max_by_key(|(_, leading)| leading.leader.epoch());
        latest.map_or(MASTER, |(node, _)| node)
    }

    /// Starts a node that does not run, and restarts one that has given up.
    fn start_or_restart(&mut self, node: Node) {
        if self.world.nodes[node.0].has_given_up() {
            self.crash(node, Crash::KILLED);
        }
        if !self.world.runs(node) {
            self.start(node);
        }
    }

    fn has_converged(&self) -> bool {
        self.clients.are_content() && self.why_not_converged_nodes().is_none()
    }

    fn why_not_converged(&self) -> String {
        self.why_not_converged_nodes().unwrap_or_else(|| format!("clients wait: {}", self.clients.who_waits()))
    }

    fn why_not_converged_nodes(&self) -> Option<String> {
        let Some(process) = self.leading() else { return Some("no node leads".to_owned()) };
        let leader = &process.leader;
        if leader.open() > 0 || leader.decided() < leader.last() {
            let (decided, last, open) = (leader.decided(), leader.last(), leader.open());
            let voters = leader.roster();
            return Some(format!("the master has decided {decided} of {last}, {open} messages are open, and {voters}"));
        }
        let is_behind = |(node, view): (Node, MemberView)| {
            let following = self.world.nodes[node.0].following();
            let decided = following.map_or(Id::ZERO, |following| following.follower.decided());
            let is_there = view.state == ReplicationState::InSync && decided == leader.decided();
            let is_there = is_there && following.is_some_and(Following::answers_alone);
            (!is_there)
                .then(|| format!("{node:?} is {:?}, and has decided {decided} of {}", view.state, leader.decided()))
        };
        process.members().find_map(is_behind)
    }

    /// The process that leads in the latest epoch.
    fn leading(&self) -> Option<&Leading> {
        let leaders = self.world.leaders().map(|(_, leading)| leading);
        leaders.max_by_key(|leading| leading.leader.epoch()).filter(|leading| !leading.leader.is_halted())
    }

    /// Passes new answers on to the clients.
    fn hear_answers(&mut self) {
        for (write, answer) in self.clients.news(&self.world.checker) {
            if self.loud {
                let texts = self.world.checker.writes[write].texts.join(" ");
                self.say(&format!("    \"{texts}\": {answer:?}"));
            }
            self.clients.answered(write, answer, self.now, &mut self.random);
            self.outcome.answered(answer);
        }
    }

    /// Adds a line to the trace, once: heartbeats bring the same again and again.
    fn say(&mut self, line: &str) {
        if self.loud && !line.is_empty() && self.said.insert(line.to_owned()) {
            self.outcome.trace.push(format!("{:>12.3} ms  {line}", self.now as f64 / 1_000.0));
        }
    }

    fn describe(&self, step: Step) -> String {
        if let Step::Tick(_) | Step::Read(_) = step {
            return String::new();
        }
        let Step::Deliver(number) = step else { return format!("{step:?}") };
        let Some(packet) = self.world.wire.iter().find(|packet| packet.number == number) else { return String::new() };
        let (Node(member), what) = (packet.member, &packet.content);
        match what {
            Content::Call { call, dispatch, .. } => format!(
                "s{member} is called ({number}{}): after {} through {}, refused {:?}, decided {}, epoch {}{}",
                if dispatch.is_none() { ", no thread waits" } else { "" },
                call.after,
                call.through,
                call.refused,
                call.decided,
                call.epoch,
                if call.epoch_start.is_some() { ", which it opens" } else { "" }
            ),
            Content::Reply { answer, .. } => format!("s{member} answers ({number}): {answer:?}"),
            Content::Probe => String::new(),
            Content::Status(status) => format!("s{member} holds: {status:?}"),
            Content::Answer(decisions) => format!("s{member} learns: {decisions:?}"),
            Content::Held { .. } => String::new(),
            Content::Ask(request) => format!("s{member} is asked for a promise: {request:?}"),
            Content::Promised(candidacy, _, promise) => format!("s{member} promises {candidacy:?}: {promise:?}"),
        }
    }
}

/// Whether an answer tells the client what became of its write.
pub(crate) fn is_definite(answer: Answer) -> bool {
    matches!(answer, Answer::Committed { .. } | Answer::Refused)
}
