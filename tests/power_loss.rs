//! Simulated power losses. Only what was synced is sure to be on the disk. What was written since may be there, or not,
//! or in parts. Whatever is left, the store opens it, has everything that it acknowledged, and nothing that it never
//! had.
//!
//! SQLite does its own input and output, so a process plays a script on a [`Disk`] under `strace`, and prints a line
//! after each call that returned. The system calls feed a model of a disk ([`disk`]), which stops after every one of
//! them. At each such cut it yields the images that it may hold: only what was synced, everything written, the last
//! write torn, only some files, directory entries, or lengths, and random selections of the sectors written since.
//! The test opens each image, and compares it with the calls that had returned by then ([`script`]). The call in flight
//! may have happened, or not.
//!
//! The same again after a kill -9: the next process finds all that a killed one had written without a sync, and must
//! make it durable before it builds on it.
//!
//! `POWER_LOSS=all cargo test --release --test power_loss` is the long version. `POWER_LOSS_SEED` repeats the choices
//! of a run, but not those that SQLite makes. Where `strace` is missing or may not trace, the tests print `skipped` and
//! why, and pass. With `REQUIRE_STRACE=1` they fail.
//!
//! Limits: a sector of 512 bytes is written whole or not at all, and writing one does not harm its neighbours, as
//! SQLite assumes, too. What was synced is never damaged: see `tests/damage.rs`. SQLite's index in shared memory, the
//! lock file and the ballast are left out, because each start makes them anew. The log is small, so the checkpointer
//! moves nothing while the store appends.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

#[path = "power_loss/disk.rs"]
mod disk;
#[path = "common/random.rs"]
mod random;
#[path = "power_loss/script.rs"]
mod script;
#[path = "power_loss/trace.rs"]
mod trace;

use disk::{Changes, Entries, Image, Operation, SimulatedDisk};
use random::Random;
use replicated_log::protocol::Slot;
use replicated_log::store::{Disk, Store, StoreError};
use script::{Content, State, Step};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// The life that the child plays, and its directory.
const LIFE: &str = "POWER_LOSS_LIFE";
const PLACE: &str = "POWER_LOSS_PLACE";
/// The store makes both the data directory and its parent, as it does with `./data/master`.
const LOG: &str = "root/data/log";
/// The ballast of the store. It is no part of an image: making it anew takes longer than all the rest.
const BALLAST: (&str, u64) = ("ballast", 4 << 20);
/// Syncs in memory cost nothing. Without such a directory, any temporary one will do.
const MEMORY: &str = "/dev/shm";
/// A process is killed after one of so many operations, and before one of so many syncs, unless it is after each.
const KILLED_ONE_IN: u64 = 200;
const KILLED_BEFORE_SYNC_ONE_IN: u64 = 12;
/// Random variants at each cut: in the short version, and in the long one without and with a kill before.
const BY_CHANCE: u64 = 3;
const BY_CHANCE_OF_ALL: u64 = 100;
const BY_CHANCE_AFTER_EACH_KILL: u64 = 8;
/// One of so many images is also written to, unless all are.
const USED_ONE_IN: usize = 4;
/// The test ends after so many faults: the first is the one to look at.
const FAULTS_MAX: usize = 10;

#[test]
fn what_was_acknowledged_survives_a_power_loss() {
    let Some(effort) = Effort::of_this_run() else { return };
    let mut judge = Judge::new(effort);
    let history = History::recorded();
    judge.try_every_cut(history);
    judge.conclude("power losses");
}

#[test]
fn what_was_found_after_a_kill_survives_a_power_loss() {
    let Some(effort) = Effort::of_this_run() else { return };
    let mut judge = Judge::new(effort);
    let history = History::recorded();
    judge.effort.by_chance = judge.effort.by_chance.min(BY_CHANCE_AFTER_EACH_KILL);
    for cut in kills(history, &mut judge.effort) {
        judge.try_every_cut(&history.with_a_kill(cut));
    }
    judge.conclude("power losses after kills");
}

#[test]
fn a_disk_that_lies_is_noticed_by_this_test() {
    let Some(effort) = Effort::of_this_run() else { return };
    let history = History::recorded();
    for liar in ["log.sqlite-wal", "log.sqlite", "watermark", "log"] {
        let mut judge = Judge { faults_max: 1, ..Judge::new(effort.clone()) };
        judge.try_every_cut(&history.without_syncs_of(liar));
        assert!(!judge.faults.is_empty(), "nothing was lost when no sync of {liar} did anything");
    }
}

/// The process under `strace`. It ends without closing its store unless the script closes it.
#[test]
#[ignore = "a part of the other tests, which run it under strace"]
fn a_scripted_life() {
    let (Some(place), Ok(life)) = (std::env::var_os(PLACE), std::env::var(LIFE)) else { return };
    play(&life, Path::new(&place));
    std::process::exit(0);
}

fn steps(life: &str) -> Vec<Step> {
    match life {
        "first" => script::first_life(),
        "second" => script::second_life(),
        dropped => script::life_after_a_kill(dropped.parse().expect("the id to drop from")),
    }
}

fn play(life: &str, place: &Path) {
    let mut marker = OpenOptions::new().append(true).open(place.join("marker")).unwrap();
    let mut store: Option<Arc<Disk>> = None;
    let mut state = State::default();
    for step in steps(life) {
        match &step {
            Step::Open => {
                let opened = open(&place.join(LOG)).expect("the directory can be used");
                let found = Content::of(&*opened).expect("the log can be read");
                (state.base, state.slots, state.identity) = (found.base, found.slots, found.identity);
                store = Some(opened);
            }
            Step::Close => store.take().expect("it is open").close(),
            Step::Pause(pause) => thread::sleep(*pause),
            _ => state.play(&step, store.as_deref().expect("it is open")).expect("the disk is sound"),
        }
        state = state.after(&step);
        marker.write_all(fingerprint(&state).as_bytes()).unwrap();
    }
}

/// Opens a directory, with retries: the checkpointer of a store that was dropped may still hold it.
fn open(directory: &Path) -> Result<Arc<Disk>, StoreError> {
    for _ in 0..1_000 {
        match Disk::open(directory) {
            Err(why) if why.to_string().contains("in use by process") => thread::sleep(Duration::from_millis(1)),
            opened => return opened,
        }
    }
    Disk::open(directory)
}

fn fingerprint(state: &State) -> String {
    let mut hasher = DefaultHasher::new();
    format!("{:?} {:?} {:?}", state.base, state.slots, state.identity).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The operations on a disk, and the calls of the script that returned meanwhile.
#[derive(Clone)]
struct History {
    operations: Vec<Operation>,
    /// After each return so far: the state that must be found, and the one after the call in flight.
    expected: Vec<[State; 2]>,
    /// The first cut to examine.
    from: usize,
    /// The lines of trace recorded so far.
    lines: usize,
}

impl History {
    /// One recording for all tests.
    fn recorded() -> &'static History {
        static RECORDED: OnceLock<History> = OnceLock::new();
        RECORDED.get_or_init(History::record)
    }

    /// Records two processes, one after another. The first ends without closing its store.
    fn record() -> History {
        let place = Place::new();
        let mut history = History { operations: Vec::new(), expected: vec![Default::default()], from: 0, lines: 0 };
        history.live("first", &place, &mut SimulatedDisk::new());
        let mut disk = history.disk(history.operations.len());
        history.live("second", &place, &mut disk);
        history
    }

    /// The disk after so many operations.
    fn disk(&self, cut: usize) -> SimulatedDisk {
        let mut disk = SimulatedDisk::new();
        self.operations[..cut].iter().for_each(|operation| disk.apply(operation));
        disk
    }

    /// Kills a process at the cut. Another one goes on with what it wrote.
    fn with_a_kill(&self, cut: usize) -> History {
        let disk = self.disk(cut);
        let returns = returns(&self.operations[..cut]);
        let mut history = History {
            operations: self.operations[..cut].to_vec(),
            expected: self.expected[..=returns].to_vec(),
            from: cut,
            lines: self.lines,
        };
        let place = Place::new();
        disk.image(Entries::All, Changes::All).write_to(&place.root());
        make_ballast(&place.0.path().join(LOG));
        for path in disk.paths().into_iter().filter(|(_, inode)| disk.is_directory(*inode)) {
            fs::create_dir_all(place.root().join(path.0)).unwrap();
        }
        let [certain, possible] = &history.expected[returns];
        let noted = possible.noted.iter().map(|watermark| watermark.decided.get()).max().unwrap_or(0);
        let shrinks = possible.last() < certain.last();
        let dropped = if shrinks { possible.last() } else { noted } + 1;
        history.live(&dropped.to_string(), &place, &mut disk.clone());
        history
    }

    fn without_syncs_of(&self, liar: &str) -> History {
        let disk = self.disk(self.operations.len());
        let is_lie = |operation: &Operation| match operation {
            Operation::Sync { inode, .. } => disk.is_named(*inode, liar),
            _ => false,
        };
        History { operations: self.operations.iter().filter(|it| !is_lie(it)).cloned().collect(), ..self.clone() }
    }

    /// Adds the life of one more process.
    fn live(&mut self, life: &str, place: &Place, disk: &mut SimulatedDisk) {
        let trace = place.trace(life);
        let operations = trace::operations(&trace, &place.root(), &place.marker(), disk, self.lines);
        self.lines += trace.lines().count();
        let mut told = operations.iter().filter_map(|operation| match operation {
            Operation::Told(what) => Some(what),
            _ => None,
        });
        for step in steps(life) {
            let said = told.next().unwrap_or_else(|| panic!("the {life} life ended before {step:?}"));
            self.returned(&step, said);
        }
        self.operations.extend(operations);
    }

    /// Records that a step has returned, in one of the expected states.
    fn returned(&mut self, step: &Step, said: &str) {
        let latest = self.expected.last_mut().expect("there is always one");
        if !matches!(step, Step::Open) {
            latest[1] = latest[0].after(step);
        }
        let now = latest.iter().rev().find(|state| fingerprint(state) == said);
        let now = now.unwrap_or_else(|| panic!("after {step:?} without any power loss: not as expected")).clone();
        self.expected.push([now.clone(), now]);
    }
}

fn returns(operations: &[Operation]) -> usize {
    operations.iter().filter(|operation| matches!(operation, Operation::Told(_))).count()
}

/// The operations after which a process is killed: those between writes that make the watermark file and the names of
/// files durable, some before other syncs, and random ones.
fn kills(history: &History, effort: &mut Effort) -> Vec<usize> {
    let disk = history.disk(history.operations.len());
    let is_promise = |operation: &Operation| match operation {
        Operation::Write { inode, .. } => disk.is_named(*inode, "watermark"),
        Operation::Sync { inode, .. } => disk.is_named(*inode, "watermark") || disk.is_directory(*inode),
        _ => false,
    };
    let mut is_killed = |cut: usize| {
        let is_before_sync = matches!(history.operations[cut], Operation::Sync { .. });
        let one_in = if is_before_sync { KILLED_BEFORE_SYNC_ONE_IN } else { KILLED_ONE_IN };
        let is_amid = history.operations[cut - 1..=cut].iter().all(is_promise);
        effort.all || is_amid || effort.random.below(one_in) == 0
    };
    (1..history.operations.len()).filter(|&cut| is_killed(cut)).collect()
}

/// The directory of a process.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(temporary_directory());
        fs::create_dir(place.root()).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn marker(&self) -> PathBuf {
        self.0.path().join("marker")
    }

    /// The system calls of a process that plays a life here.
    fn trace(&self, life: &str) -> String {
        File::create(self.marker()).unwrap();
        let trace = self.0.path().join("trace");
        let output = trace::tracing(&std::env::current_exe().unwrap(), &trace)
            .args(["--exact", "a_scripted_life", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PLACE, self.0.path())
            .env(LIFE, life)
            .output()
            .unwrap();
        assert!(output.status.success(), "the {life} life: {}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(&trace).unwrap()
    }
}

fn make_ballast(directory: &Path) {
    let (name, length) = BALLAST;
    if directory.exists() {
        File::create(directory.join(name)).and_then(|file| file.set_len(length)).unwrap();
    }
}

fn temporary_directory() -> TempDir {
    tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap()
}

/// Removes a directory, with retries: the checkpointer of a store that was dropped may still make files there.
fn remove(directory: &Path) {
    for _ in 0..1_000 {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => thread::sleep(Duration::from_millis(1)),
            removed => return removed.unwrap(),
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

/// How thorough a run is.
#[derive(Clone)]
struct Effort {
    all: bool,
    /// Random variants at each cut.
    by_chance: u64,
    seed: u64,
    random: Random,
}

impl Effort {
    /// The effort that the environment asks for, or `None` where the tests cannot run.
    fn of_this_run() -> Option<Effort> {
        if let Some(why) = trace::unavailable() {
            assert!(std::env::var_os("REQUIRE_STRACE").is_none_or(|value| value != "1"), "strace is required: {why}");
            // The test harness hides what println! prints in a test that passes.
            let line = format!("skipped: {}\n", why.trim().replace('\n', " "));
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        let seed = random::seed("POWER_LOSS_SEED");
        let all = std::env::var("POWER_LOSS").is_ok_and(|value| value == "all");
        let by_chance = if all { BY_CHANCE_OF_ALL } else { BY_CHANCE };
        Some(Effort { all, by_chance, seed, random: Random::new(seed) })
    }

    /// What the disk may have kept, at a cut after this operation.
    fn variants(&mut self, disk: &SimulatedDisk, latest: Option<&Operation>) -> Vec<(Entries, Changes)> {
        let changed = disk.changed_files();
        let entries: &[Entries] = match disk.has_entry_changes() {
            true => &[Entries::None, Entries::OfSyncedFiles, Entries::All],
            false => &[Entries::None],
        };
        let mut changes = vec![Changes::None];
        if !changed.is_empty() {
            changes.extend([Changes::All, Changes::Lengths]);
            changes.extend(changed.iter().map(|(inode, _)| Changes::AllButLast(*inode)));
        }
        if changed.len() > 1 {
            let files = changed.iter().map(|(inode, _)| 1 << (inode % 64));
            changes.extend(files.flat_map(|file: u64| [Changes::OfFiles(file), Changes::OfFiles(!file)]));
        }
        if let Some(Operation::Write { inode, .. }) = latest {
            let sectors = changed.iter().find(|(changed, _)| changed == inode).map_or(0, |(_, sectors)| *sectors);
            let tears =
                [1, 2, sectors / 2, sectors.saturating_sub(1)].into_iter().filter(|at| (1..sectors).contains(at));
            changes.extend(tears.flat_map(|at| [Changes::TornBefore(*inode, at), Changes::TornAfter(*inode, at)]));
        }
        let mut variants: Vec<(Entries, Changes)> =
            entries.iter().flat_map(|entries| changes.iter().map(|changes| (*entries, *changes))).collect();
        if !changed.is_empty() || disk.has_entry_changes() {
            variants.extend((0..self.by_chance).map(|_| self.random_variant()));
        }
        variants
    }

    fn random_variant(&mut self) -> (Entries, Changes) {
        let likely = [5, 50, 95][self.random.below(3) as usize];
        (Entries::Random(self.random.next()), Changes::Sectors(self.random.next(), likely))
    }
}

/// Opens images, and collects what is wrong with them.
struct Judge {
    effort: Effort,
    directory: TempDir,
    histories: usize,
    operations: usize,
    cuts: usize,
    images: usize,
    /// Images that were opened already, each with the history and the number of returns that it was judged by.
    seen: HashSet<u64>,
    faults: Vec<String>,
    faults_max: usize,
}

impl Judge {
    fn new(effort: Effort) -> Judge {
        Judge {
            effort,
            directory: temporary_directory(),
            histories: 0,
            operations: 0,
            cuts: 0,
            images: 0,
            seen: HashSet::new(),
            faults: Vec::new(),
            faults_max: FAULTS_MAX,
        }
    }

    fn try_every_cut(&mut self, history: &History) {
        self.histories += 1;
        self.operations += history.operations.len() - history.from;
        let mut disk = history.disk(history.from);
        for cut in history.from..=history.operations.len() {
            if self.faults.len() >= self.faults_max {
                return;
            }
            self.try_cut(history, cut, &disk);
            if let Some(next) = history.operations.get(cut) {
                disk.apply(next);
            }
        }
    }

    fn try_cut(&mut self, history: &History, cut: usize, disk: &SimulatedDisk) {
        self.cuts += 1;
        let latest = cut.checked_sub(1).map(|latest| &history.operations[latest]);
        let returns = returns(&history.operations[..cut]);
        for (entries, changes) in self.effort.variants(disk, latest) {
            let image = disk.image(entries, changes);
            if !self.is_new(&image, returns) {
                continue;
            }
            if let Err(why) = self.examine(&image, &history.expected[returns]) {
                let latest = latest.map_or("nothing".to_owned(), |latest| disk.describe(latest));
                self.faults.push(format!(
                    "cut {cut}, after {returns} returns, the latest operation: {latest}; kept {entries:?} of the \
                     entries, {changes:?} of the changes: {}\n    {why}",
                    image.describe()
                ));
            }
        }
    }

    fn is_new(&mut self, image: &Image, returns: usize) -> bool {
        let mut hasher = DefaultHasher::new();
        (image.fingerprint(), self.histories, returns).hash(&mut hasher);
        self.seen.insert(hasher.finish())
    }

    fn examine(&mut self, image: &Image, expected: &[State; 2]) -> Result<(), String> {
        self.images += 1;
        let root = self.directory.path().join(self.images.to_string());
        let directory = root.join(LOG);
        image.write_to(&root.join("root"));
        make_ballast(&directory);
        let verdict = open(&directory).map_err(|why| format!("it does not open: {why}")).and_then(|store| {
            judge_content(&*store, expected)?;
            judge_dropped(&*store, &directory, expected)?;
            if self.effort.all || self.images.is_multiple_of(USED_ONE_IN) {
                judge_use(store, &directory)
            } else {
                Ok(())
            }
        });
        remove(&root);
        verdict
    }

    fn conclude(self, what: &str) {
        let Judge { effort, operations, cuts, images, faults, .. } = self;
        let summary = format!("{operations} operations, {cuts} cuts, {images} images of {what}");
        println!("POWER_LOSS_SEED={}: {summary}", effort.seed);
        let mut told = String::new();
        faults.iter().for_each(|fault| writeln!(told, "  {fault}").unwrap());
        let seed = effort.seed;
        assert!(faults.is_empty(), "{} faults in {summary}, POWER_LOSS_SEED={seed}:\n{told}", faults.len());
    }
}

fn judge_content(store: &dyn Store, expected: &[State; 2]) -> Result<(), String> {
    let found = Content::of(store).map_err(|why| format!("it cannot be read: {why}"))?;
    if let [Some(why), Some(_)] = expected.each_ref().map(|state| state.differs_from(&found)) {
        return Err(why);
    }
    if let Some(why) = expected[1].forbids(found.watermark) {
        return Err(why);
    }
    let last = found.base.id.plus(found.slots.len() as u64);
    let above = found.watermark.decided > last || found.watermark.decided < found.base.id;
    if above { Err(format!("{:?} is not in the log", found.watermark)) } else { Ok(()) }
}

/// Checks that what the call in flight has dropped is kept in a file.
fn judge_dropped(store: &dyn Store, directory: &Path, [before, after]: &[State; 2]) -> Result<(), String> {
    let (from, to) = (store.last().get() + 1, before.last());
    if after.last() >= to || from > to {
        return Ok(());
    }
    let name = format!("rollback-{}e{}-{from}-{to}.ndjson", before.log(), before.epoch());
    let kept = fs::read_to_string(directory.join(&name)).map_err(|error| format!("{name}: {error}"))?;
    let wanted = to + 1 - from;
    let lines = kept.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count() as u64;
    if lines == wanted { Ok(()) } else { Err(format!("{name} has {lines} of the {wanted} slots that were dropped")) }
}

/// Checks that the store goes on, and that it keeps what is added.
fn judge_use(store: Arc<Disk>, directory: &Path) -> Result<(), String> {
    let next = Slot::Refused(store.last().next());
    store.append(slice::from_ref(&next)).map_err(|why| format!("it cannot be used: {why}"))?;
    let before = Content::of(&*store).map_err(|why| format!("it cannot be read: {why}"))?;
    store.close();
    drop(store);
    let store = open(directory).map_err(|why| format!("it does not open once more: {why}"))?;
    let after = Content::of(&*store).map_err(|why| format!("it cannot be read once more: {why}"))?;
    let is_same = before == after
        && after.slots.last() == Some(&next)
        && store.last() == after.base.id.plus(after.slots.len() as u64);
    if is_same { Ok(()) } else { Err("what was added is not there the next time".to_owned()) }
}
