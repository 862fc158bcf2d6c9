//! The faults of a seed: which, when, and for how long.

use super::{MILLISECOND, Micros, Plan, SECOND, Simulation};
use crate::random::Random;
use crate::world::disk::{Crash, CrashKind, IoResult, SimulatedDisk};
use crate::world::wire::Content;
use crate::world::{MASTER, Node};
use replicated_log::protocol::{Id, Roster};
use std::collections::BTreeMap;

/// A fault, or its end.
#[derive(Clone, Copy, Debug)]
enum Event {
    Crash(Node, Crash),
    /// Every process ends at once.
    CrashAll(Crash),
    /// A secondary ends in the middle of the next call that it gets.
    CrashInTheMiddle(Trap),
    Start(Node),
    /// Packets in one direction of a link are lost from now on.
    Cut {
        member: Node,
        inward: bool,
        lasts: Micros,
    },
    /// A disk is slow, full, or fails once.
    Slow(Node, Micros),
    Full(Node, Micros),
    Failing(Node),
    /// A packet is on the wire twice.
    Duplicate(u64),
    /// The master removes a secondary that goes on running, and registers it again later.
    Remove {
        member: Node,
        lasts: Micros,
    },
    Leave(Node),
    Register(Node),
    /// A node loses its disk, if there are enough voters without it.
    LoseDisk(Node),
    /// Every master trims so many hundredths of what it shows. Before that it may archive it, and nodes that are away may
    /// have to do without it.
    Trim {
        share: u64,
        archives: bool,
        lapses: bool,
    },
    /// A node stands as a candidate. Some operators look first whether another one leads.
    Stand {
        node: Node,
        looks: bool,
    },
}

/// A secondary ends in the middle of a call, after so many writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    member: Node,
    /// Whether the call must start an epoch: such a call brings the most writes.
    opens: bool,
    writes: usize,
    crash: Crash,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    events: BTreeMap<(Micros, u64), Event>,
    events_numbered: u64,
    /// Until when a link is cut, by member and direction.
    cut: BTreeMap<(Node, bool), Micros>,
    slow: BTreeMap<Node, Micros>,
    full: BTreeMap<Node, Micros>,
    failing: BTreeMap<Node, bool>,
    traps: Vec<Trap>,
}

impl Faults {
    pub(crate) fn draw(plan: &Plan, random: &mut Random) -> Faults {
        let mut faults = Faults::default();
        for _ in 0..plan.faults {
            let at = random.below(plan.lasts);
            let event = draw_event(plan, random);
            faults.add(at, event);
        }
        for _ in 0..plan.trims {
            let at = random.below(plan.lasts + SECOND);
            let (share, archives, lapses) = (random.below(101), !random.one_in(4), random.one_in(3));
            faults.add(at, Event::Trim { share, archives, lapses });
        }
        faults
    }

    fn add(&mut self, at: Micros, event: Event) {
        self.events_numbered += 1;
        self.events.insert((at, self.events_numbered), event);
    }

    pub(crate) fn next(&self) -> Option<Micros> {
        self.events.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(crate) fn is_cut(&self, member: Node, inward: bool, now: Micros) -> bool {
        self.cut.get(&(member, inward)).is_some_and(|&until| now < until)
    }

    pub(crate) fn is_slow(&self, node: Node, now: Micros) -> bool {
        self.slow.get(&node).is_some_and(|&until| now < until)
    }

    /// The result of a write to the disk of a node.
    pub(crate) fn io_result(&mut self, node: Node, now: Micros) -> IoResult {
        if self.failing.remove(&node).is_some() {
            return IoResult::Failed;
        }
        let is_full = self.full.get(&node).is_some_and(|&until| now < until);
        if is_full { IoResult::NoRoom } else { IoResult::Good }
    }

    /// Ends all faults. Returns the secondaries that were about to leave.
    pub(crate) fn end(&mut self) -> Vec<Node> {
        let ended = std::mem::take(self);
        self.events_numbered = ended.events_numbered;
        let leaves = |event| if let Event::Leave(member) = event { Some(member) } else { None };
        ended.events.into_values().filter_map(leaves).collect()
    }
}

fn draw_node(plan: &Plan, random: &mut Random) -> Node {
    Node(random.below(plan.secondaries as u64 + 1) as usize)
}

fn draw_crash(plan: &Plan, node: Option<Node>, random: &mut Random) -> Crash {
    // With promotions, a fault of its own loses one disk.
    let may_lose_disk = !plan.promotes && node.is_some_and(|node| node != MASTER);
    let kind = match random.below(10) {
        0..=4 => CrashKind::Killed,
        5 | 6 if may_lose_disk => CrashKind::DiskLost,
        _ => CrashKind::PowerLost { notes: random.below(4) as usize },
    };
    Crash { kind, round_is_written: random.one_in(2), refusals_are_written: random.one_in(2) }
}

fn draw_event(plan: &Plan, random: &mut Random) -> Event {
    if plan.promotes && random.one_in(2) {
        return Event::Stand { node: draw_node(plan, random), looks: random.one_in(2) };
    }
    let member = match plan.promotes {
        true => draw_node(plan, random),
        false => Node(1 + random.below(plan.secondaries.max(1) as u64) as usize),
    };
    let lasts = MILLISECOND * (1 + random.below(3_000));
    let node = draw_node(plan, random);
    // Some clusters have only crashes and duplicated packets.
    match if plan.only_crashes { random.below(7) } else { random.below(14) } {
        0 | 1 => Event::Crash(node, draw_crash(plan, Some(node), random)),
        2 => Event::CrashAll(draw_crash(plan, None, random)),
        3..=5 => {
            let crash = draw_crash(plan, None, random);
            let (opens, writes) = (random.one_in(2), 1 + random.below(3) as usize);
            Event::CrashInTheMiddle(Trap { member, opens, writes, crash })
        }
        6 | 7 => Event::Duplicate(random.next()),
        8 | 9 => Event::Cut { member, inward: random.one_in(2), lasts },
        10 => Event::Slow(node, lasts),
        11 => Event::Full(node, lasts),
        12 if plan.loses_disk => Event::LoseDisk(node),
        12 if plan.secondaries > 0 && (!plan.promotes || plan.first_voters.is_some()) => {
            Event::Remove { member, lasts }
        }
        _ => Event::Failing(node),
    }
}

impl<P: SimulatedDisk> Simulation<P> {
    /// Lets the fault that is due happen.
    pub(super) fn next_fault(&mut self) {
        let Some((_, event)) = self.faults.events.pop_first() else { return };
        self.outcome.faults += 1;
        let now = self.now;
        self.say(&format!("fault: {event:?}"));
        match event {
            Event::Crash(node, crash) => self.crash_for_a_while(node, crash),
            Event::CrashAll(crash) => {
                self.world.nodes().for_each(|node| self.crash_for_a_while(node, crash));
            }
            Event::CrashInTheMiddle(trap) => self.faults.traps.push(trap),
            Event::Start(node) => self.start_or_restart(node),
            Event::Cut { member, inward, lasts } => {
                self.faults.cut.insert((member, inward), now + lasts);
            }
            Event::Slow(node, lasts) => {
                self.faults.slow.insert(node, now + lasts);
            }
            Event::Full(node, lasts) => {
                self.faults.full.insert(node, now + lasts);
            }
            Event::Failing(node) => {
                self.faults.failing.insert(node, true);
                let after = SECOND + self.random.below(SECOND);
                self.faults.add(now + after, Event::Start(node));
            }
            Event::Remove { member, lasts } => {
                let leads = self.leads();
                self.world.notify_removal(leads, member);
                let leaves = now + self.random.below(SECOND);
                self.faults.add(leaves, Event::Leave(member));
                self.faults.add(leaves + lasts, Event::Register(member));
            }
            Event::Leave(member) => {
                let leads = self.leads();
                self.world.leave(leads, member);
                self.hear_answers();
            }
            Event::Register(member) => {
                let leads = self.leads();
                if leads != member {
                    self.world.join(leads, member);
                }
            }
            Event::LoseDisk(node) if self.may_lose_disk() => {
                self.plan.loses_disk = false;
                self.crash_for_a_while(node, Crash { kind: CrashKind::DiskLost, ..Crash::KILLED });
            }
            Event::LoseDisk(_) => {}
            Event::Trim { share, archives, lapses } => self.trim(share, archives, lapses),
            Event::Stand { looks: true, .. } if self.leading().is_some() => {}
            Event::Stand { node, .. } => {
                self.world.stand(node);
                self.hear_answers();
            }
            Event::Duplicate(draw) => {
                let calls = self.world.wire.iter().filter(|packet| matches!(packet.content, Content::Call { .. }));
                let calls: Vec<u64> = calls.map(|packet| packet.number).collect();
                if !calls.is_empty() {
                    self.world.duplicate(calls[(draw % calls.len() as u64) as usize]);
                }
            }
        }
    }

    fn trim(&mut self, share: u64, archives: bool, lapses: bool) {
        for node in self.world.nodes() {
            let Some(leading) = self.world.nodes[node.0].leading() else { continue };
            let asked = Id::new(leading.leader.shown().decided.get() * share / 100);
            // Keys are forgotten with their messages: a log has to be kept for longer than clients repeat their posts.
            let asked = self.world.first_repeatable(node).map_or(asked, |id| asked.min(id.previous()));
            if archives {
                self.world.archive(node);
            }
            self.world.trim(node, asked, if lapses { asked } else { Id::ZERO });
        }
        self.hear_answers();
    }

    /// Whether the voters can do without one of them, whichever it is, and every node knows who they are.
    fn may_lose_disk(&self) -> bool {
        let is_enough = |roster: &Roster| !roster.is_changing() && roster.voters().number() >= 3;
        let knows = |node: Node| match (self.world.nodes[node.0].leading(), self.world.status(node)) {
            (Some(leading), _) => is_enough(leading.leader.roster()),
            (None, status) => status.and_then(|status| status.lineage).is_some_and(|known| is_enough(&known.roster)),
        };
        self.plan.loses_disk && self.world.nodes().all(knows)
    }

    /// From now on an operator promotes a node whenever none leads, and nodes register with the one that does.
    pub(super) fn call_the_operator(&mut self) {
        for (attempt, node) in (1..30).zip(self.world.nodes().collect::<Vec<_>>().into_iter().cycle()) {
            self.faults.add(self.now + attempt * 2 * SECOND, Event::Stand { node, looks: true });
            if self.plan.first_voters.is_some() {
                self.faults.add(self.now + attempt * 2 * SECOND + SECOND, Event::Register(node));
            }
        }
    }

    pub(super) fn crash_for_a_while(&mut self, node: Node, crash: Crash) {
        if self.world.runs(node) {
            self.crash(node, crash);
            let after = self.random.below(2 * SECOND);
            self.faults.add(self.now + after, Event::Start(node));
        }
    }

    /// Whether the secondary that receives a packet is to end in the middle of it.
    pub(super) fn falls_into_a_trap(&mut self, number: u64) -> bool {
        let Some(packet) = self.world.wire.iter().find(|packet| packet.number == number) else { return false };
        let Content::Call { call, .. } = &packet.content else { return false };
        let is_meant = |trap: &Trap| trap.member == packet.member && (call.epoch_start.is_some() || !trap.opens);
        let Some(position) = self.faults.traps.iter().position(is_meant) else { return false };
        let Trap { member, writes, crash, .. } = self.faults.traps.swap_remove(position);
        self.say(&format!("{member:?} ends in the middle of call {number}, after {writes} writes: {crash:?}"));
        self.outcome.crashes += 1;
        self.world.crash_in_the_middle(number, writes, crash);
        let after = self.random.below(SECOND);
        self.faults.add(self.now + after, Event::Start(member));
        self.hear_answers();
        true
    }
}
