//! Plays the scripts in `tests/scenarios`: the protocol, step by step, without a thread or a clock.
//!
//! The cluster is that of `tests/world`: the real leader, the real replicas, and a checker that checks every promise
//! after each step. This file has the commands of the scripts, and prints what changed, as the nodes themselves report
//! it. `tests/scenarios/README.md` lists the commands.

#![allow(clippy::disallowed_types, reason = "a test of the running system")]

#[path = "scenarios/driving.rs"]
mod driving;
#[path = "scenarios/forged.rs"]
mod forged;
#[path = "scenarios/printing.rs"]
mod printing;
mod world;

use goldenscript::{Context, Runner};
use printing::Seen;
use replicated_log::protocol::{Follower, Id, Leader, LeaderSettings, ReplicationState, WriteConcern};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use world::disk::{IoResult, Slate};
use world::leading::{Leading, Posted};
use world::{MASTER, Node, Step, World, due_at_once};

/// One test per script, so that a failure names the behaviour and one can be run alone.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            let script = directory().join(stringify!($name));
            goldenscript::run(&mut Cluster::new(0, settings()), script).unwrap();
        })*
    };
}

scenarios! {
    back_off,
    batch,
    batch_in_doubt,
    conditional_write,
    dirty_read,
    divergence,
    doubt_before_admission,
    duplicate_call,
    fail_fast_or_wait,
    fencing,
    foreign_message,
    full_disk,
    gap,
    idempotency_keys,
    join_during_a_write,
    late_acknowledgement,
    late_call_after_refusal,
    lagging_newcomer,
    learner,
    leave,
    malformed_call,
    many_secondaries,
    master_forgets_the_watermark,
    master_lost_its_log,
    master_restarts_in_doubt,
    newcomer_is_awaited,
    no_commit_jumps_a_refusal,
    one_copy_under_two_addresses,
    other_log,
    overtaken_tail,
    read_only,
    refusal_told_late,
    refused_though_on_every_disk,
    removal_during_catch_up,
    removal_notice,
    rounds_acknowledged_out_of_order,
    rounds_take_what_waits,
    sealed_by_a_later_write,
    sealed_write_out_of_time,
    secondary_restarts,
    secondary_restarts_empty,
    shown_once_noted,
    slept_through_two_epochs,
    stopping,
    store_fails,
    two_of_three,
    write_to_all,
    writes_expire_together,
}

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "scenarios"].iter().collect()
}

#[test]
fn every_script_is_played() {
    let files = std::fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let scripts: BTreeSet<String> = files.filter(|name| !name.contains('.')).collect();
    assert_eq!(scripts, SCENARIOS.iter().map(|&name| name.to_owned()).collect());
}

const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a write tagged `[wait]` waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// All waiting work is due at once, except heartbeats: time passes only where a script says so.
fn settings() -> LeaderSettings {
    due_at_once(HEARTBEAT, 2)
}

/// What a script can say; see `tests/scenarios/README.md`.
#[derive(goldenscript::Command)]
enum Command {
    Start {
        secondaries: usize,
        /// The back-off in seconds.
        #[arg(key)]
        backoff: Option<u64>,
        #[arg(key)]
        quorum: Option<usize>,
        #[arg(key)]
        pending: Option<u64>,
    },
    Write {
        message: String,
        /// The number of copies. Without it, one on each node.
        #[arg(key)]
        w: Option<usize>,
        #[arg(key)]
        key: Option<String>,
        #[arg(key)]
        follows: Option<u64>,
    },
    Round,
    Store,
    StoreRefusals,
    Deliver(Vec<String>),
    Lose(Vec<String>),
    Delay(Vec<String>),
    Duplicate(String),
    GiveUp(String),
    Settle,
    Pass(u64),
    Expire,
    Unreachable(Secondary),
    Report(Secondary),
    Rejoin(Secondary),
    Ask(Secondary),
    /// Keeps its disk if tagged `[with_disk]`.
    Restart(Secondary),
    RestartMaster {
        #[arg(key)]
        keep: Option<u64>,
        #[arg(key)]
        decided: Option<u64>,
    },
    NewLog,
    Join {
        secondary: Secondary,
        #[arg(key)]
        copy_of: Option<Secondary>,
    },
    Remove(Secondary),
    Leave(Secondary),
    Stop,
    Foreign(Secondary, String),
    Forge {
        secondary: Secondary,
        #[arg(key, many, optional)]
        parts: Vec<(String, String)>,
    },
    Show,
}

/// A secondary as scripts name it, `s1`, by its place in the world.
#[derive(Clone, Copy)]
struct Secondary(Node);

impl FromStr for Secondary {
    type Err = String;

    fn from_str(text: &str) -> Result<Secondary, String> {
        let number = text.strip_prefix('s').and_then(|digits| digits.parse::<usize>().ok());
        let number = number.filter(|&number| number > 0).ok_or_else(|| format!("{text} is no secondary"))?;
        Ok(Secondary(Node(number)))
    }
}

/// The world, and the names that a script uses for its parts.
struct Cluster {
    world: World<Slate>,
    seen: Seen,
    /// The names of calls and replies on the wire, by number. The reply to call `c1` is called `r1`.
    names: BTreeMap<u64, String>,
    calls: usize,
    /// What arrives only when a script delivers it.
    delayed: BTreeSet<u64>,
    /// Secondaries that are cut off: nothing to or from them arrives by itself.
    cut_off: BTreeSet<Node>,
    /// The ids of each write, first and last, in the order of the checker.
    writes: Vec<(Id, Id)>,
    texts: BTreeMap<Id, Arc<str>>,
    lines: Vec<String>,
    /// Whether only what a client, a reader or an operator would notice is printed.
    is_brief: bool,
    /// Whether the high watermark is noted after each step.
    is_noted: bool,
}

impl Runner for Cluster {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        self.is_noted = !context.tags.contains("unnoted");
        self.play(command, context)?;
        self.world.examine_disks();
        self.observe();
        Ok(std::mem::take(&mut self.lines).join("\n"))
    }
}

impl Cluster {
    /// A cluster in which every node takes part.
    fn new(secondaries: usize, settings: LeaderSettings) -> Cluster {
        let mut world = World::new(secondaries, None, settings, Slate::of);
        world.nodes().rev().for_each(|node| world.start(node, |_| false));
        let mut cluster = Cluster {
            world,
            seen: Seen::default(),
            names: BTreeMap::new(),
            calls: 0,
            delayed: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            writes: Vec::new(),
            texts: BTreeMap::new(),
            lines: Vec::new(),
            is_brief: false,
            is_noted: true,
        };
        cluster.settle();
        cluster.world.journal.is_kept = true;
        (cluster.calls, cluster.lines) = (0, Vec::new());
        cluster
    }

    fn play(&mut self, command: &Command, context: &Context) -> Result<(), Box<dyn Error>> {
        let has = |tag| context.tags.contains(tag);
        let io_result = if has("full") { IoResult::NoRoom } else { IoResult::Good };
        let io_result = if has("failed") { IoResult::Failed } else { io_result };
        match command {
            Command::Start { secondaries, backoff, quorum, pending } => {
                let mut settings = settings();
                settings.timing.backoff_min = Duration::from_secs(backoff.unwrap_or(0));
                settings.timing.backoff_max = settings.timing.backoff_min * 4;
                settings.quorum = quorum.or(settings.quorum);
                settings.pending_max = pending.unwrap_or(settings.pending_max);
                *self = Cluster::new(*secondaries, settings);
            }
            Command::Write { message, w, key, follows } => self.write(Posted {
                texts: message.split('/').map(Arc::from).collect(),
                key: key.as_deref().map(Arc::from),
                concern: w.map_or(WriteConcern::All, WriteConcern::Copies),
                timeout: has("wait").then_some(TIMEOUT),
                follows: follows.map(Id::new),
            }),
            Command::Round => self.take(Step::Tick(MASTER)),
            Command::Store => self.store(io_result)?,
            Command::StoreRefusals => self.store_refusals(io_result)?,
            Command::Deliver(names) => self.each(names, Cluster::deliver)?,
            Command::Lose(names) => self.each(names, Cluster::lose)?,
            Command::Delay(names) => self.each(names, Cluster::delay)?,
            Command::Duplicate(name) => self.each(std::slice::from_ref(name), Cluster::duplicate)?,
            Command::GiveUp(name) => {
                self.each(std::slice::from_ref(name), |cluster, number| cluster.take(Step::GiveUp(number)))?;
            }
            Command::Settle => self.settle(),
            Command::Pass(seconds) => self.pass(Duration::from_secs(*seconds)),
            Command::Expire => self.pass(TIMEOUT),
            Command::Unreachable(Secondary(place)) => self.unreachable(*place),
            Command::Report(Secondary(place)) => self.report(*place)?,
            Command::Rejoin(Secondary(place)) => self.rejoin(*place),
            Command::Ask(Secondary(place)) => self.ask(*place),
            Command::Restart(Secondary(place)) => self.restart(*place, has("with_disk")),
            Command::RestartMaster { keep, decided } => self.restart_master(keep.map(Id::new), decided.map(Id::new)),
            Command::NewLog => self.new_log(),
            Command::Join { secondary, copy_of } => self.join(secondary.0, *copy_of),
            Command::Remove(Secondary(place)) => self.world.notify_removal(MASTER, *place),
            Command::Leave(Secondary(place)) => self.world.leave(MASTER, *place),
            Command::Stop => self.world.stop(MASTER, HEARTBEAT),
            Command::Foreign(Secondary(place), message) => {
                self.world.receive_foreign(*place, message.as_str().into());
            }
            Command::Forge { secondary: Secondary(place), parts } => self.forge(*place, parts)?,
            Command::Show => self.show(),
        }
        Ok(())
    }

    fn process(&self) -> &Leading {
        self.world.nodes[MASTER.0].leading().expect("the master runs")
    }

    fn leader(&self) -> &Leader {
        &self.process().leader
    }

    fn replica(&self, node: Node) -> &Follower {
        &self.world.nodes[node.0].following().expect("every secondary runs").follower
    }

    fn disk(&self, node: Node) -> &Slate {
        &self.world.nodes[node.0].disk
    }

    fn state(&self, node: Node) -> Option<ReplicationState> {
        self.process().members().find(|(member, _)| *member == node).map(|(_, view)| view.state)
    }

    /// Prints a detail, which only matters to a script.
    fn note(&mut self, line: impl Into<String>) {
        if !self.is_brief {
            self.lines.push(line.into());
        }
    }

    /// Prints what a client, a reader or an operator would notice.
    fn news(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn briefly(&mut self, work: impl FnOnce(&mut Cluster)) {
        let before = std::mem::replace(&mut self.is_brief, true);
        work(self);
        self.is_brief = before;
    }
}
