//! Plays the scripts in `tests/scenarios`: the protocol, step by step, without a thread or a clock.
//!
//! A whole small cluster is held as plain values. The scripts write, store, deliver, lose, duplicate and reorder; the
//! harness carries out what the ledger and the replicas ask for, as a running node would, and prints what changed.
//! After every step it checks the promises of the protocol by itself, from the stores and from what writers were told,
//! and not with the assertions of the code under test. `tests/scenarios/README.md` lists the commands.

use goldenscript::{Context, Runner};
use replicated_log::protocol::{
    Acknowledgement, Call, Change, Dispatch, Effects, Entry, Epoch, EpochHistory, Fate, FoundLog, Id, Incarnation,
    Ledger, LogId, MemberId, MemberView, Opening, Outcome, Patience, Refusal, Replica, Slot, Standing, WriteConcern,
};
use replicated_log::store::{Memory, ReadLimit, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// One test per script, so that a failure names the behaviour and one can be run alone.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            let script = directory().join(stringify!($name));
            goldenscript::run(&mut Cluster::new(0), script).unwrap();
        })*
    };
}

scenarios! {
    batch,
    batch_in_doubt,
    dirty_read,
    divergence,
    doubt_before_admission,
    duplicate_call,
    fail_fast_or_wait,
    farewell,
    fencing,
    foreign_message,
    gap,
    join_during_a_write,
    late_acknowledgement,
    late_call_after_refusal,
    learner,
    leave,
    malformed_call,
    many_secondaries,
    master_forgets_the_watermark,
    master_lost_its_log,
    master_restarts_in_doubt,
    no_commit_jumps_a_refusal,
    other_log,
    overtaken_tail,
    refusal_told_late,
    refused_though_on_every_disk,
    rounds_acknowledged_out_of_order,
    sealed_by_a_later_write,
    sealed_write_out_of_time,
    secondary_restarts_empty,
    slept_through_two_epochs,
    two_of_three,
    write_to_all,
}

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "scenarios"].iter().collect()
}

#[test]
fn every_script_is_played() {
    let files = std::fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let scripts: BTreeSet<String> = files.filter(|name| name != "README.md").collect();
    assert_eq!(scripts, SCENARIOS.iter().map(|&name| name.to_owned()).collect());
}

/// A loop of the harness that turns more often than this does not end.
const TURNS_MAX: usize = 100;

const EVERYTHING: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };

/// What a script can say.
#[derive(goldenscript::Command)]
enum Step {
    /// A new cluster with so many secondaries, all in sync.
    Start(u32),
    /// A writer posts a message, or several that are to have one fate (`a/b`). Tagged `[wait]` it waits for missing copies
    /// until its time is over.
    Write {
        message: String,
        #[arg(key, optional)]
        w: Concern,
    },
    /// Sends each secondary in sync what it lacks.
    Round,
    /// Makes the master's own copies durable, all or up to an id.
    Store(Option<u64>),
    /// Makes the refusals durable that the ledger asked for.
    StoreRefusals,
    /// Messages arrive, in this order.
    Deliver(Vec<String>),
    /// Messages get lost.
    Lose(Vec<String>),
    /// Messages are delayed: they arrive only when a script delivers them.
    Delay(Vec<String>),
    /// A message is delayed and arrives in time: it is on the wire twice.
    Duplicate(String),
    /// Everything arrives and is stored, and is told, until nothing is left to do. Prints only answers and news.
    Settle,
    /// The master gives up on a secondary.
    Unreachable(Node),
    /// The time of a write is over, which is named by the id of its last message.
    Expire(u64),
    /// The master asks a secondary what it holds.
    Report(Node),
    /// Sends a secondary that is catching up what it lacks, at most `max` entries.
    CatchUp {
        node: Node,
        #[arg(key)]
        max: Option<u64>,
    },
    /// The master tries to admit a secondary to the rounds.
    Admit(Node),
    /// Report, catch-up and admission in one.
    Rejoin(Node),
    /// A secondary asks the master for the fate of what is pending.
    Ask(Node),
    /// A secondary starts again, with nothing.
    Restart(Node),
    /// The master starts again with what is durable: with its log cut after `keep`, or with an older high watermark.
    RestartMaster {
        #[arg(key)]
        keep: Option<u64>,
        #[arg(key)]
        decided: Option<u64>,
    },
    /// The master starts on an empty disk.
    NewLog,
    /// A secondary is registered: a new, empty one, or one that was removed and still runs.
    Join(Node),
    /// A secondary is told that it is about to be removed.
    Dismiss(Node),
    /// A secondary is removed. It goes on running if it was dismissed.
    Leave(Node),
    /// A secondary gets a bare message from a master that is not ours.
    Foreign(Node, String),
    /// A secondary gets a call that our master did not send: ids with messages (or `refused`), and whatever else differs
    /// from what our master would write, by name.
    Forge {
        node: Node,
        #[arg(key, many, optional)]
        parts: Vec<(String, String)>,
    },
    /// Prints what each node holds and shows.
    Show,
}

/// A secondary as scripts name it: `s1`.
#[derive(Clone, Copy)]
struct Node(MemberId);

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Node, String> {
        let number = text.strip_prefix('s').and_then(|digits| digits.parse().ok());
        number.map(|number| Node(MemberId::new(number))).ok_or_else(|| format!("{text} is no secondary"))
    }
}

/// A write concern as scripts name it: `all` or a number.
struct Concern(WriteConcern);

impl Default for Concern {
    fn default() -> Concern {
        Concern(WriteConcern::All)
    }
}

impl FromStr for Concern {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Concern, Self::Err> {
        match text {
            "all" => Ok(Concern(WriteConcern::All)),
            copies => copies.parse().map(|copies| Concern(WriteConcern::Copies(copies))),
        }
    }
}

/// What a step prints: everything, or in brief only what a writer, a reader or an operator would notice.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    brief: bool,
}

impl Report {
    fn note(&mut self, line: impl Into<String>) {
        if !self.brief {
            self.lines.push(line.into());
        }
    }

    fn news(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn briefly(&mut self, work: impl FnOnce(&mut Report)) {
        let before = std::mem::replace(&mut self.brief, true);
        work(self);
        self.brief = before;
    }
}

/// What a writer asked for.
#[derive(Clone, Debug)]
struct Asked {
    /// The first id of his write.
    first: Id,
    concern: WriteConcern,
    /// The secondaries that there were then.
    members: BTreeSet<MemberId>,
}

/// The master: its ledger, its disk, and what its owner has to remember.
struct Master {
    ledger: Ledger,
    store: Memory,
    history: EpochHistory,
    /// Appended, not durable yet.
    tail: Vec<Arc<Entry>>,
    /// Refusals that the ledger asked for, not durable yet.
    refusing: Vec<Id>,
    /// What each writer of this reign asked for, by the last id of his write.
    asked: BTreeMap<Id, Asked>,
}

/// A secondary: its replica and its disk.
struct Secondary {
    replica: Replica,
    store: Memory,
    /// What was on the disk that it lost, while the master does not know of the loss and may still count on it.
    lost: BTreeSet<Id>,
    /// It was told of its removal, or will be, so it may go on running after that.
    dismissed: bool,
}

impl Secondary {
    fn empty(incarnation: Incarnation) -> Secondary {
        Secondary {
            replica: Replica::empty(incarnation),
            store: Memory::new(),
            lost: BTreeSet::new(),
            dismissed: false,
        }
    }

    fn holds(&self, id: Id) -> bool {
        self.lost.contains(&id) || entry_at(&self.store, id).is_some()
    }
}

/// A message on the wire. A reply to call `c1` is called `r1`.
#[derive(Clone)]
struct Parcel {
    name: String,
    dispatch: Dispatch,
    content: Content,
    /// It does not arrive by itself.
    delayed: bool,
}

#[derive(Clone)]
enum Content {
    Call(Call),
    Reply(Result<Acknowledgement, Complaint>),
}

/// Why a secondary did not take a call.
#[derive(Clone)]
enum Complaint {
    /// The replica refused it.
    Refused(Refusal),
    /// It was addressed to an earlier start of the process. Whoever receives calls checks that, before the replica.
    OtherIncarnation,
}

/// What the harness knows by itself: what was said and shown cannot be taken back.
#[derive(Default)]
struct Witness {
    /// Entries whose writers were told that they are committed.
    acknowledged: BTreeMap<Id, Arc<Entry>>,
    /// Those of them that were acknowledged as held by every node.
    on_every_node: BTreeSet<Id>,
    /// Ids whose writers were told that they are refused.
    refused: BTreeSet<Id>,
    /// What each node showed last.
    shown: BTreeMap<String, Vec<Arc<Entry>>>,
}

/// A cluster as a value.
struct Cluster {
    master: Master,
    secondaries: BTreeMap<MemberId, Secondary>,
    wire: Vec<Parcel>,
    witness: Witness,
    calls: usize,
    starts: u64,
    logs: u128,
}

impl Runner for Cluster {
    type Command = Step;

    fn run(&mut self, step: &Step, context: &Context) -> Result<String, Box<dyn Error>> {
        let mut report = Report::default();
        let patience = if context.tags.contains("wait") { Patience::UntilDeadline } else { Patience::FailFast };
        self.play(step, patience, &mut report)?;
        self.observe(&mut report);
        Ok(report.lines.join("\n"))
    }
}

impl Cluster {
    fn new(secondaries: u32) -> Cluster {
        let mut cluster = Cluster {
            master: Master::begin(LogId::new(1), Incarnation::new(1), Memory::new(), EpochHistory::default(), Id::ZERO),
            secondaries: BTreeMap::new(),
            wire: Vec::new(),
            witness: Witness::default(),
            calls: 0,
            starts: 1,
            logs: 1,
        };
        let mut silence = Report { brief: true, ..Report::default() };
        for member in (1..=secondaries).map(MemberId::new) {
            cluster.join(member);
            cluster.rejoin(member, &mut silence);
        }
        cluster.settle(&mut silence);
        cluster.calls = 0;
        cluster
    }

    fn play(&mut self, step: &Step, patience: Patience, report: &mut Report) -> Result<(), Box<dyn Error>> {
        match step {
            Step::Start(secondaries) => *self = Cluster::new(*secondaries),
            Step::Write { message, w } => self.write(message, w.0, patience, report),
            Step::Round => self.round(report),
            Step::Store(through) => self.store(through.map_or(Id::MAX, Id::new), report),
            Step::StoreRefusals => self.store_refusals(report),
            Step::Deliver(names) => names.iter().try_for_each(|name| self.deliver(name, report))?,
            Step::Lose(names) => names.iter().try_for_each(|name| self.take(name).map(|_| ()))?,
            Step::Delay(names) => names.iter().try_for_each(|name| self.delay(name))?,
            Step::Duplicate(name) => self.duplicate(name)?,
            Step::Settle => report.briefly(|report| self.settle(report)),
            Step::Unreachable(node) => self.unreachable(node.0, report),
            Step::Expire(id) => {
                let effects = self.master.ledger.expire(Id::new(*id));
                self.carry_out(effects, report);
            }
            Step::Report(node) => self.report(node.0, report),
            Step::CatchUp { node, max } => self.catch_up(node.0, max.unwrap_or(u64::MAX), report)?,
            Step::Admit(node) => self.admit(node.0, report),
            Step::Rejoin(node) => self.rejoin(node.0, report),
            Step::Ask(node) => self.ask(node.0, report),
            Step::Restart(node) => self.restart(node.0, report),
            Step::RestartMaster { keep, decided } => {
                self.restart_master(keep.map(Id::new), decided.map(Id::new), report);
            }
            Step::NewLog => self.new_log(report),
            Step::Join(node) => self.join(node.0),
            Step::Dismiss(node) => self.dismiss(node.0, report)?,
            Step::Leave(node) => self.leave(node.0, report),
            Step::Foreign(node, message) => self.foreign(node.0, message),
            Step::Forge { node, parts } => self.forge(node.0, parts, report)?,
            Step::Show => self.show(report),
        }
        Ok(())
    }
}

/// The master's side.
impl Cluster {
    fn write(&mut self, message: &str, concern: WriteConcern, patience: Patience, report: &mut Report) {
        let members = self.members();
        let master = &mut self.master;
        if let (Patience::FailFast, Some(short)) = (patience, master.ledger.shortfall(concern)) {
            let missing = list(&short.missing);
            let (available, wanted) = (short.available, short.wanted);
            return report.news(format!("{message} is not appended: {available} of {wanted} nodes, without {missing}"));
        }
        let messages: Vec<&str> = message.split('/').collect();
        let first = master.ledger.append(messages.len() as u64, concern, patience);
        let (last, epoch) = (master.ledger.last(), master.ledger.epoch());
        let entry = |(id, message): (Id, &str)| {
            Arc::new(Entry { id, epoch, timestamp_ms: 0, message: message.into(), key: None })
        };
        master.tail.extend(first.previous().until(last).zip(messages).map(entry));
        master.asked.insert(last, Asked { first, concern, members });
        report.note(format!("{}={message} is appended, w={concern}", range(first, last)));
    }

    fn round(&mut self, report: &mut Report) {
        let through = self.master.ledger.last();
        for member in self.members() {
            if let Some(dispatch) = self.master.ledger.dispatch(member, through) {
                self.send(dispatch, report);
            }
        }
    }

    fn send(&mut self, dispatch: Dispatch, report: &mut Report) {
        self.calls += 1;
        let name = format!("c{}", self.calls);
        let call = self.master.call(&dispatch);
        report.note(format!("{name} to {}: {}", dispatch.member, describe(&call)));
        self.wire.push(Parcel { name, dispatch, content: Content::Call(call), delayed: false });
    }

    fn store(&mut self, through: Id, report: &mut Report) {
        let master = &mut self.master;
        let later = master.tail.iter().position(|entry| entry.id > through).unwrap_or(master.tail.len());
        let slots: Vec<Slot> = master.tail.drain(..later).map(Slot::Entry).collect();
        master.store.append(&slots).unwrap();
        report.note(format!("master holds up to {}", master.store.last()));
        let effects = master.ledger.stored(master.store.last());
        self.carry_out(effects, report);
    }

    /// A refusal marks a slot, so the slot itself is stored first.
    fn store_refusals(&mut self, report: &mut Report) {
        let mut ids = std::mem::take(&mut self.master.refusing);
        ids.sort_unstable();
        if let Some(&last) = ids.last()
            && last > self.master.store.last()
        {
            self.store(last, report);
        }
        self.master.store.refuse(&ids).unwrap();
        let effects = self.master.ledger.refusal_stored(&ids);
        self.carry_out(effects, report);
    }

    fn unreachable(&mut self, member: MemberId, report: &mut Report) {
        let effects = self.master.ledger.lost(member);
        self.carry_out(effects, report);
    }

    fn report(&mut self, member: MemberId, report: &mut Report) {
        let holdings = self.secondaries[&member].replica.holdings();
        match self.master.ledger.reported(member, &holdings) {
            Ok(effects) => {
                report.note(format!("{member} is catching up: it holds up to {}", self.view(member).durable));
                self.secondaries.get_mut(&member).unwrap().lost.clear();
                self.carry_out(effects, report);
            }
            Err(refusal) => report.news(format!("{member} cannot take part: it {refusal}")),
        }
    }

    fn catch_up(&mut self, member: MemberId, entries_max: u64, report: &mut Report) -> Result<(), String> {
        let dispatch = self.master.ledger.dispatch_catch_up(member, entries_max);
        self.send(dispatch.ok_or_else(|| format!("{member} is not catching up"))?, report);
        Ok(())
    }

    fn admit(&mut self, member: MemberId, report: &mut Report) {
        let admitted = self.master.ledger.admit(member);
        report.note(if admitted { format!("{member} is in sync") } else { format!("{member} is not admitted") });
    }

    fn rejoin(&mut self, member: MemberId, report: &mut Report) {
        self.report(member, report);
        for _ in 0..TURNS_MAX {
            if self.view(member).standing != Standing::CatchingUp || self.master.ledger.admit(member) {
                break;
            }
            report.briefly(|report| {
                self.catch_up(member, u64::MAX, report).unwrap();
                let number = self.calls;
                self.deliver(&format!("c{number}"), report).unwrap();
                self.deliver(&format!("r{number}"), report).unwrap();
            });
        }
        report.note(format!("{member} is {}", standing(self.view(member).standing)));
    }

    /// A reply reaches the master.
    fn receive(&mut self, dispatch: &Dispatch, reply: &Result<Acknowledgement, Complaint>, report: &mut Report) {
        let member = dispatch.member;
        match reply {
            Ok(acknowledgement) => {
                let (counts, effects) = self.master.ledger.acknowledged(member, *acknowledgement);
                let ignored = if counts { "" } else { ", which does not count" };
                report.note(format!("{member} acknowledged up to {}{ignored}", acknowledgement.durable));
                self.carry_out(effects, report);
            }
            Err(Complaint::Refused(Refusal::Gap { holds })) => {
                if self.view(member).incarnation == Some(dispatch.incarnation) && *holds < dispatch.after {
                    let told = self.view(member).told.min(*holds);
                    self.send(Dispatch { after: *holds, told, ..*dispatch }, report);
                }
            }
            Err(Complaint::Refused(Refusal::Fenced { epoch })) => {
                report.news(format!("master is fenced by epoch {epoch}: it stops writing, and promises nothing more"));
            }
            // What became of a call to an earlier start says nothing about this one.
            Err(_) if self.view(member).incarnation != Some(dispatch.incarnation) => {}
            Err(_) => {
                report.note(format!("{member} leaves the rounds"));
                self.unreachable(member, report);
            }
        }
    }

    fn carry_out(&mut self, effects: Effects, report: &mut Report) {
        for id in &effects.refuse {
            report.note(format!("refusal of {id} goes to the disk"));
        }
        self.master.refusing.extend(effects.refuse);
        for (id, outcome) in effects.settled {
            let first = self.master.asked.get(&id).map_or(id, |asked| asked.first);
            for id in first.previous().until(id) {
                self.witness_answer(id, outcome);
            }
            report.news(self.answer(first, id, outcome));
        }
    }

    fn answer(&self, first: Id, id: Id, outcome: Outcome) -> String {
        // An answered entry is on the master's disk: its own copy is one.
        let copies = self.master.ledger.members().filter(|view| view.durable >= id).count() + 1;
        let nodes = self.master.ledger.nodes();
        let in_doubt = !self.master.asked.contains_key(&id);
        let ids = range(first, id);
        match outcome {
            Outcome::Committed if in_doubt => {
                format!("{ids} was in doubt and is committed, on {copies} of {nodes} nodes")
            }
            Outcome::Committed => format!("answer {ids}: 201 committed, on {copies} of {nodes} nodes"),
            Outcome::CommittedShort => format!("answer {ids}: 202 committed, only on {copies} of {nodes} nodes"),
            Outcome::Refused => format!("answer {ids}: 502 refused"),
        }
    }

    /// Replies to the old process are lost with its connections; its calls may still arrive.
    fn restart_master(&mut self, keep: Option<Id>, decided: Option<Id>, report: &mut Report) {
        let old = self.master.ledger.decided();
        let store = std::mem::take(&mut self.master.store);
        if let Some(keep) = keep {
            store.drop_from(keep.next()).unwrap();
        }
        let known = decided.unwrap_or(old).min(store.last());
        self.witness.master_lost(store.last(), known);
        self.start_master(self.master.ledger.log_id(), store, self.master.history.clone(), known);
        let ledger = &self.master.ledger;
        report.note(format!("epoch {} begins after {}, {} in doubt", ledger.epoch(), ledger.last(), ledger.open()));
    }

    fn new_log(&mut self, report: &mut Report) {
        self.logs += 1;
        self.witness.master_lost(Id::ZERO, Id::ZERO);
        self.start_master(LogId::new(self.logs), Memory::new(), EpochHistory::default(), Id::ZERO);
        report.note(format!("log {} begins", self.master.ledger.log_id()));
    }

    fn start_master(&mut self, log_id: LogId, store: Memory, history: EpochHistory, decided: Id) {
        let members = self.members();
        let incarnation = self.next_incarnation();
        self.wire.retain(|parcel| matches!(parcel.content, Content::Call(_)));
        self.master = Master::begin(log_id, incarnation, store, history, decided);
        for member in members {
            self.master.ledger.join(member);
        }
    }

    fn join(&mut self, member: MemberId) {
        let incarnation = self.next_incarnation();
        self.secondaries.entry(member).or_insert_with(|| Secondary::empty(incarnation)).dismissed = false;
        self.master.ledger.join(member);
    }

    fn dismiss(&mut self, member: MemberId, report: &mut Report) -> Result<(), String> {
        let farewell = self.master.ledger.dismiss(member);
        self.send(farewell.ok_or_else(|| format!("no process of {member} is known"))?, report);
        self.secondaries.get_mut(&member).unwrap().dismissed = true;
        Ok(())
    }

    fn leave(&mut self, member: MemberId, report: &mut Report) {
        let goes_on = self.secondaries[&member].dismissed;
        self.wire
            .retain(|parcel| parcel.dispatch.member != member || goes_on && matches!(parcel.content, Content::Call(_)));
        if !goes_on {
            self.secondaries.remove(&member);
            self.witness.shown.remove(&member.to_string());
        }
        let effects = self.master.ledger.leave(member);
        self.carry_out(effects, report);
    }

    fn members(&self) -> BTreeSet<MemberId> {
        self.master.ledger.members().map(|view| view.member).collect()
    }

    fn is_member(&self, member: MemberId) -> bool {
        self.master.ledger.member(member).is_some()
    }

    fn view(&self, member: MemberId) -> MemberView {
        self.master.ledger.member(member).expect("a member")
    }

    fn next_incarnation(&mut self) -> Incarnation {
        self.starts += 1;
        Incarnation::new(self.starts)
    }
}

/// The wire.
impl Cluster {
    fn take(&mut self, name: &str) -> Result<Parcel, String> {
        let position = self.wire.iter().position(|parcel| parcel.name == name);
        position.map(|position| self.wire.remove(position)).ok_or_else(|| format!("{name} is not on the wire"))
    }

    fn duplicate(&mut self, name: &str) -> Result<(), String> {
        let parcel = self.take(name)?;
        self.wire.extend([parcel.clone(), Parcel { delayed: true, ..parcel }]);
        Ok(())
    }

    fn delay(&mut self, name: &str) -> Result<(), String> {
        let parcel = self.take(name)?;
        self.wire.push(Parcel { delayed: true, ..parcel });
        Ok(())
    }

    fn deliver(&mut self, name: &str, report: &mut Report) -> Result<(), String> {
        let Parcel { name, dispatch, content, .. } = self.take(name)?;
        match content {
            Content::Reply(reply) => self.receive(&dispatch, &reply, report),
            Content::Call(call) => {
                let reply = self.accept(dispatch.member, Some(dispatch.incarnation), &call, report);
                if call.master == self.master.ledger.incarnation() && self.is_member(dispatch.member) {
                    let name = name.replacen('c', "r", 1);
                    self.wire.push(Parcel { name, dispatch, content: Content::Reply(reply), delayed: false });
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, report: &mut Report) {
        for _ in 0..TURNS_MAX {
            if let Some(name) = self.wire.iter().find(|parcel| !parcel.delayed).map(|parcel| parcel.name.clone()) {
                self.deliver(&name, report).unwrap();
            } else if !self.master.tail.is_empty() {
                self.store(Id::MAX, report);
            } else if !self.master.refusing.is_empty() {
                self.store_refusals(report);
            } else if self.master.ledger.members().any(|view| self.master.ledger.owes(view.member)) {
                self.round(report);
            } else {
                return;
            }
            self.observe(report);
        }
        panic!("the cluster does not settle: {}", list(self.wire.iter().map(|parcel| &parcel.name)));
    }
}

/// The secondaries' side.
impl Cluster {
    /// A call reaches a secondary. `to` is the start of its process for which the call is meant, if it says so.
    fn accept(
        &mut self,
        member: MemberId,
        to: Option<Incarnation>,
        call: &Call,
        report: &mut Report,
    ) -> Result<Acknowledgement, Complaint> {
        let secondary = self.secondaries.get_mut(&member).expect("a secondary that exists");
        if to.is_some_and(|to| to != secondary.replica.holdings().incarnation) {
            report.note(format!("{member} keeps nothing: the call is for an earlier start"));
            return Err(Complaint::OtherIncarnation);
        }
        let store = &secondary.store;
        let accepted = secondary.replica.examine(call, |id| store.get(id)).unwrap().map_err(|refusal| {
            report.note(format!("{member} keeps nothing: it {refusal}"));
            Complaint::Refused(refusal)
        })?;
        for change in accepted.changes() {
            if let Change::DropFrom(id) = change {
                report.news(format!("{member} drops what it holds from {id} on"));
            }
            store.change(change).unwrap();
        }
        let acknowledgement = secondary.replica.applied(&accepted);
        let (durable, decided) = (acknowledgement.durable, acknowledgement.decided);
        report.note(format!("{member} holds up to {durable}, decided {decided}"));
        Ok(acknowledgement)
    }

    fn ask(&mut self, member: MemberId, report: &mut Report) {
        let secondary = self.secondaries.get_mut(&member).unwrap();
        let ledger = &self.master.ledger;
        let refused = self.master.store.refused(secondary.replica.decided(), ledger.decided()).unwrap();
        let fate = Fate {
            log_id: ledger.log_id(),
            epoch: ledger.epoch(),
            master: ledger.incarnation(),
            decided: ledger.decided(),
            refused,
            sure: true,
        };
        if let Ok(Some(learned)) = secondary.replica.learn(&fate) {
            secondary.store.refuse(&learned.refuse).unwrap();
            secondary.replica.learned(&learned);
        }
        report.note(format!("{member} is told: decided {}", secondary.replica.decided()));
    }

    fn restart(&mut self, member: MemberId, report: &mut Report) {
        let incarnation = self.next_incarnation();
        let old = self.secondaries.insert(member, Secondary::empty(incarnation)).expect("a secondary");
        let lost = Id::ZERO.until(old.store.last()).filter(|&id| old.holds(id)).collect();
        self.secondaries.get_mut(&member).unwrap().lost = lost;
        self.witness.shown.remove(&member.to_string());
        report.note(format!("{member} is empty"));
    }

    fn foreign(&mut self, member: MemberId, message: &str) {
        let secondary = self.secondaries.get_mut(&member).unwrap();
        let id = secondary.store.last().next();
        let entry = Entry { id, epoch: Epoch::NONE, timestamp_ms: 0, message: message.into(), key: None };
        secondary.store.append(&[Slot::Entry(Arc::new(entry))]).unwrap();
        secondary.replica.foreign_stored(id);
    }

    fn forge(
        &mut self,
        member: MemberId,
        parts: &[(String, String)],
        report: &mut Report,
    ) -> Result<(), Box<dyn Error>> {
        let call = self.master.forged_call(parts)?;
        // The complaint is on the report already.
        let _ = self.accept(member, None, &call, report);
        Ok(())
    }
}

impl Master {
    /// A master that starts: it opens the next epoch, and finds in doubt what is not decided.
    fn begin(log_id: LogId, incarnation: Incarnation, store: Memory, mut history: EpochHistory, decided: Id) -> Master {
        let last = store.last();
        history.begin(history.latest().next(), last.next(), incarnation);
        let refused = store.refused(decided, last).unwrap().into_iter().collect();
        let shown = visible(&store, decided);
        let last_visible = shown.last().map_or(Id::ZERO, |entry| entry.id);
        let found = FoundLog { last, decided, visible: shown.len() as u64, last_visible, refused };
        let ledger = Ledger::begin(log_id, incarnation, history.clone(), found);
        Master { ledger, store, history, tail: Vec::new(), refusing: Vec::new(), asked: BTreeMap::new() }
    }

    /// Writes the call that a dispatch asks for.
    fn call(&self, dispatch: &Dispatch) -> Call {
        let Dispatch { after, through, told, decided, .. } = *dispatch;
        let stored = self.store.read(after, through, EVERYTHING).unwrap().into_iter().filter_map(Slot::into_entry);
        let tail = self.tail.iter().filter(|entry| (after.next()..=through).contains(&entry.id)).cloned();
        let mut refused: BTreeSet<Id> = self.store.refused(told, decided).unwrap().into_iter().collect();
        refused.extend(self.store.refused(after, through).unwrap());
        let entries = stored.chain(tail).collect();
        self.ledger.call(dispatch, (after, through), entries, refused.into_iter().collect())
    }

    fn forged_call(&self, parts: &[(String, String)]) -> Result<Call, Box<dyn Error>> {
        let nothing = Dispatch {
            member: MemberId::new(0),
            incarnation: Incarnation::new(0),
            turn: 0,
            after: Id::ZERO,
            through: Id::ZERO,
            told: self.ledger.decided(),
            decided: self.ledger.decided(),
            opening: None,
            admitted: false,
            knows_admission: false,
        };
        let mut call = Call { decided: nothing.decided, ..self.call(&nothing) };
        let opening = Opening { since: call.epoch, overtaken_from: self.ledger.last().next() };
        let mut through = None;
        for (key, value) in parts {
            let number = || value.parse::<u64>();
            match key.as_str() {
                "log" => call.log_id = LogId::new(value.parse()?),
                "epoch" => call.epoch = Epoch::new(number()?),
                "master" => call.master = Incarnation::new(number()?),
                "since" => call.opening.get_or_insert(opening).since = Epoch::new(number()?),
                "overtaken" => call.opening.get_or_insert(opening).overtaken_from = Id::new(number()?),
                "after" => call.after = Id::new(number()?),
                "through" => through = Some(Id::new(number()?)),
                "decided" => call.decided = Id::new(number()?),
                id => push_slot(&mut call, Id::new(id.parse()?), value),
            }
        }
        let ends = call.entries.iter().map(|entry| entry.id).chain(call.refused.iter().copied());
        call.through = through.unwrap_or_else(|| ends.fold(call.after, Id::max));
        Ok(call)
    }
}

fn push_slot(call: &mut Call, id: Id, message: &str) {
    if message == "refused" {
        call.refused.push(id);
    } else {
        call.entries.push(Arc::new(Entry {
            id,
            epoch: call.epoch,
            timestamp_ms: 0,
            message: message.into(),
            key: None,
        }));
    }
}

/// What the harness prints.
impl Cluster {
    fn show(&self, report: &mut Report) {
        let Master { ledger, store, tail, .. } = &self.master;
        let (last, durable, decided) = (ledger.last(), store.last(), ledger.decided());
        let tail =
            if tail.is_empty() { String::new() } else { format!(" | not durable {}", list(tail.iter().map(name))) };
        report.news(format!(
            "master: appended {last}, durable {durable}, decided {decided}{}{tail}",
            contents(store, decided)
        ));
        for (member, secondary) in &self.secondaries {
            let (durable, decided) = (secondary.store.last(), secondary.replica.decided());
            report.news(format!(
                "{member} {}: durable {durable}, decided {decided}{}",
                self.master.ledger.member(*member).map_or("removed", |view| standing(view.standing)),
                contents(&secondary.store, decided)
            ));
        }
    }
}

fn describe(call: &Call) -> String {
    let mut parts = Vec::new();
    if let Some(opening) = call.opening {
        parts.push(format!("opens epoch {}, overtakes from {}", call.epoch, opening.overtaken_from));
    }
    if !call.entries.is_empty() {
        parts.push(list(call.entries.iter().map(name)));
    }
    if !call.refused.is_empty() {
        parts.push(format!("refused {}", list(&call.refused)));
    }
    parts.push(format!("decided {}", call.decided));
    parts.join(", ")
}

/// The slots of a node, by their fate as far as the node knows it.
fn contents(store: &Memory, decided: Id) -> String {
    let slots = store.read(Id::ZERO, Id::MAX, EVERYTHING).unwrap();
    let pending = slots.into_iter().filter_map(Slot::into_entry).filter(|entry| entry.id > decided);
    let parts = [
        ("visible", list(visible(store, decided).iter().map(name))),
        ("pending", list(pending.map(|entry| name(&entry)))),
        ("refused", list(store.refused(Id::ZERO, Id::MAX).unwrap())),
    ];
    parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(fate, ids)| format!(" | {fate} {ids}")).collect()
}

fn name(entry: &Arc<Entry>) -> String {
    format!("{}={}", entry.id, entry.message)
}

/// `3`, or `3-5` for a write of several messages.
fn range(first: Id, last: Id) -> String {
    if first == last { last.to_string() } else { format!("{first}-{last}") }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::InSync => "in sync",
        Standing::CatchingUp => "catching up",
        Standing::Unreachable => "unreachable",
    }
}

fn entry_at(store: &Memory, id: Id) -> Option<Arc<Entry>> {
    store.get(id).unwrap().and_then(Slot::into_entry)
}

/// What a node shows whose high watermark is `decided`.
fn visible(store: &Memory, decided: Id) -> Vec<Arc<Entry>> {
    store.read(Id::ZERO, decided, EVERYTHING).unwrap().into_iter().filter_map(Slot::into_entry).collect()
}

/// What the harness checks, from the disks and from what was said.
impl Cluster {
    /// Tells what became visible, and checks the promises that hold at any time.
    fn observe(&mut self, report: &mut Report) {
        let nodes = self.visible_on_each_node();
        for (node, now) in &nodes {
            let before = self.witness.shown.insert(node.clone(), now.clone()).unwrap_or_default();
            assert!(now.starts_with(&before), "{node} showed {before:?}, and now {now:?}");
            if now.len() > before.len() {
                report.news(format!("{node} shows {}", list(now[before.len()..].iter().map(name))));
            }
            let refused = now.iter().find(|entry| self.witness.refused.contains(&entry.id));
            assert!(refused.is_none() || self.is_foreign(node), "{node} shows {refused:?}, which was refused");
        }
        self.check_counts();
        self.check_order(&nodes);
        self.check_acknowledged();
        self.check_refused();
        self.check_whole();
    }

    /// The messages of a write have one fate on the master: all of them are shown, or none; all refused, or none.
    fn check_whole(&self) {
        let Master { ledger, store, asked, .. } = &self.master;
        for (&last, write) in asked {
            let ids = || write.first.previous().until(last);
            let count = |fate: fn(&Slot) -> bool| {
                ids().filter(|&id| store.get(id).unwrap().is_some_and(|slot| fate(&slot))).count()
            };
            let (all, refused) = (ids().count(), count(|slot| matches!(slot, Slot::Refused(_))));
            assert!(refused == 0 || refused == all, "{refused} of {all} messages up to {last} are refused");
            let decided = ids().filter(|&id| id <= ledger.decided()).count();
            assert!(decided == 0 || decided == all, "{decided} of {all} messages up to {last} are decided");
        }
    }

    fn visible_on_each_node(&self) -> BTreeMap<String, Vec<Arc<Entry>>> {
        let secondaries = self
            .secondaries
            .iter()
            .map(|(member, secondary)| (member.to_string(), visible(&secondary.store, secondary.replica.decided())));
        let master = visible(&self.master.store, self.master.ledger.decided());
        secondaries.chain([("master".to_owned(), master)]).collect()
    }

    /// Secondaries of another log share nothing with this cluster.
    fn is_foreign(&self, node: &str) -> bool {
        let ours = Some(self.master.ledger.log_id());
        let secondary = self.secondaries.iter().find(|(member, _)| member.to_string() == node);
        secondary.is_some_and(|(_, secondary)| secondary.replica.holdings().log_id != ours)
    }

    /// The counters of the visible messages agree with the disks.
    fn check_counts(&self) {
        let count = |store, decided| visible(store, decided).len() as u64;
        let ledger = &self.master.ledger;
        assert_eq!(ledger.visible(), count(&self.master.store, ledger.decided()), "visible on the master");
        for (member, Secondary { replica, store, .. }) in &self.secondaries {
            assert_eq!(replica.view().visible, count(store, replica.decided()), "visible on {member}");
        }
    }

    /// What one node shows is a prefix of what another shows.
    fn check_order(&self, nodes: &BTreeMap<String, Vec<Arc<Entry>>>) {
        let ours: Vec<_> = nodes.iter().filter(|(node, _)| !self.is_foreign(node)).collect();
        for (one, shorter) in &ours {
            for (other, longer) in &ours {
                assert!(
                    shorter.len() > longer.len() || longer.starts_with(shorter),
                    "{one} shows {shorter:?}, {other} shows {longer:?}"
                );
            }
        }
    }

    /// What was acknowledged stays where it is on the master, and on every secondary in sync if it was to be on all.
    fn check_acknowledged(&self) {
        for (&id, entry) in &self.witness.acknowledged {
            let held = entry_at(&self.master.store, id);
            assert_eq!(held.as_ref(), Some(entry), "{id} was acknowledged, but is not on the master");
        }
        let in_sync = self.master.ledger.members().filter(|view| view.standing == Standing::InSync);
        for member in in_sync.map(|view| view.member) {
            let missing = self.witness.on_every_node.iter().find(|&&id| !self.secondaries[&member].holds(id));
            assert_eq!(missing, None, "acknowledged for all nodes, but not on {member}, which is in sync");
        }
        for (member, secondary) in self.secondaries.iter().filter(|(member, _)| !self.is_foreign(&member.to_string())) {
            let view = secondary.replica.view();
            let shows = |id: &Id| *id <= view.holdings.decided && secondary.holds(*id);
            let missing = self.witness.on_every_node.iter().find(|id| !shows(id));
            assert!(!view.clean() || missing.is_none(), "{member} answers readers alone, and lacks {missing:?}");
        }
    }

    /// Nobody was told of a refusal that is not on the master's disk, and none is lost there.
    fn check_refused(&self) {
        let all = |store: &Memory| BTreeSet::from_iter(store.refused(Id::ZERO, Id::MAX).unwrap());
        let durable = all(&self.master.store);
        assert!(durable.is_superset(&self.witness.refused), "{:?} refused, durable {durable:?}", self.witness.refused);
        for (member, secondary) in self.secondaries.iter().filter(|(member, _)| !self.is_foreign(&member.to_string())) {
            let told = all(&secondary.store);
            assert!(durable.is_superset(&told), "{member} was told that {told:?} are refused, durable {durable:?}");
        }
    }

    /// Checks an answer at the moment when it is given: it must be true by then.
    fn witness_answer(&mut self, id: Id, outcome: Outcome) {
        let master = &self.master;
        if outcome == Outcome::Refused {
            assert_eq!(
                master.store.get(id).unwrap(),
                Some(Slot::Refused(id)),
                "{id} was answered before it was refused"
            );
            self.witness.refused.insert(id);
            return;
        }
        let entry = entry_at(&master.store, id).expect("an answered entry is on the master's disk");
        assert!(id <= master.ledger.decided(), "{id} was answered before it was visible");
        if outcome == Outcome::Committed {
            let everyone = || Asked { first: id, concern: WriteConcern::All, members: self.members() };
            let of_write = master.asked.range(id..).next().filter(|(_, asked)| asked.first <= id);
            let Asked { concern, members, .. } = of_write.map_or_else(everyone, |(_, asked)| asked.clone());
            let holders = self.secondaries.values().filter(|secondary| secondary.holds(id)).count() + 1;
            let counts = |member: &MemberId| members.contains(member) && self.is_member(*member);
            let lacking = self.secondaries.iter().find(|(member, node)| counts(member) && !node.holds(id));
            match concern {
                WriteConcern::All => assert!(lacking.is_none(), "{id} was acknowledged with {holders} copies"),
                WriteConcern::Copies(copies) => {
                    assert!(holders >= copies, "{id} was acknowledged with {holders} of {copies} copies");
                }
            }
            if concern == WriteConcern::All {
                self.witness.on_every_node.insert(id);
            }
        }
        self.witness.acknowledged.insert(id, entry);
    }
}

impl Witness {
    /// The script took from the master's disk what lies after `last`, or the knowledge of what is decided after
    /// `known`: no promise outlives the disk, and the master shows less until it has heard from the others.
    fn master_lost(&mut self, last: Id, known: Id) {
        self.acknowledged.retain(|&id, _| id <= last);
        self.on_every_node.retain(|&id| id <= last);
        self.refused.retain(|&id| id <= last);
        self.shown.entry("master".to_owned()).or_default().retain(|entry| entry.id <= known);
    }
}
