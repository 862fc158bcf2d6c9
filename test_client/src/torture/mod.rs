//! `test_client torture`: whether a cluster keeps its promises while everything goes wrong, judged by what its clients saw.
//!
//! Writers write in every way, readers read every node in every way, faults come and go. Everything that clients do and
//! are told goes into a history (see [`crate::history`]). In the end all faults are ended, the cluster has to come back,
//! and the log of every node is written down. Then the history is judged, from its file, by [`crate::check`], which
//! knows nothing else: `test_client check FILE` judges it again, and says the same.
//!
//! However a run ends, what it did to the cluster is undone: at its end, early, by a panic or by a signal. The first
//! Ctrl-C ends it early and still judges; the second ends it at once.
//!
//! The seed draws what is written, read and broken. It does not draw when the machine does what, so two runs with one
//! seed are alike and not the same.

mod faults;
mod options;
mod target;
mod workload;

use crate::api::Address;
use crate::api::Client;
use crate::check;
use crate::cluster::{Cleanup, Guard};
use crate::exit::Exit;
use crate::history::{Header, Outcome, Recorder, VERSION};
use crate::output::{DIM, Terminal, visible};
use crate::random::Random;
use crate::scenario::{self, Stop};
use faults::injector::Injector;
use indicatif::{ProgressBar, ProgressStyle};
pub(crate) use options::Options;
use serde_json::json;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use target::Target;
use workload::{readers, recovery, writers};

/// How long a writer waits for an answer. Longer than any fault of a master, so that few give up: of a request that nobody
/// waits for any more, nothing can be known.
const WRITER_PATIENCE: Duration = Duration::from_secs(20);
/// How long a reader does.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest time that a client sleeps before it looks whether the run is over.
const NAP_MAX: Duration = Duration::from_millis(100);

/// What all clients of a run share.
struct Run {
    options: Options,
    writing: Client,
    reading: Client,
    /// Name and address, the master first.
    nodes: Vec<(String, Address)>,
    tag: String,
    first: u64,
    recorder: Arc<Recorder>,
    /// Nothing new is written.
    over: Arc<AtomicBool>,
    /// Nothing is pursued any more.
    too_late: AtomicBool,
    /// Nothing is read any more.
    quiet: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    reads: AtomicU64,
}

impl Run {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn is_too_late(&self) -> bool {
        self.too_late.load(Ordering::SeqCst)
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    /// Sleeps, but not beyond the end of the run.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP_MAX));
        }
        // Readers go on after that, at an easy pace.
        thread::sleep(pause.min(NAP_MAX));
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Committed { .. } => &self.acknowledged,
            Outcome::Refused { .. } => &self.refused,
            Outcome::Unknown { .. } => &self.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn progress(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (acknowledged, refused, unknown) = (of(&self.acknowledged), of(&self.refused), of(&self.unknown));
        format!("{acknowledged} acknowledged, {refused} refused, {unknown} unknown, {} reads", of(&self.reads))
    }
}

/// Tortures a cluster, and judges it.
pub(crate) fn run(client: &Client, has_master: bool, terminal: &mut Terminal, options: &Options) -> io::Result<Exit> {
    if let Err(why) = options.check(has_master) {
        return terminal.refuse(why);
    }
    let (cleanup, over) = (Cleanup::default(), Arc::new(AtomicBool::new(false)));
    let _guard = Guard(cleanup.clone());
    cleanup.run_on_signal(Some(Arc::clone(&over)))?;
    match torture(client, terminal, options, &cleanup, over) {
        Ok(exit) => Ok(exit),
        Err(Stop::Output(error)) => Err(error),
        Err(Stop::Cluster(exit, why)) => terminal.give_up(exit, &why),
    }
}

fn torture(
    client: &Client,
    terminal: &mut Terminal,
    options: &Options,
    cleanup: &Cleanup,
    over: Arc<AtomicBool>,
) -> Result<Exit, Stop> {
    let seed = options.seed.unwrap_or_else(target::draw_seed);
    // No run begins that cannot be told of.
    for file in options.history.iter().chain(&options.plot) {
        let opened = File::options().write(true).create(true).truncate(false).open(file);
        opened.map_err(|error| cannot_be_written(file, &error))?;
    }
    let target = Target::set(client.clone(), options, cleanup)?;
    let (file, is_asked_for) = history_file(options).map_err(|why| Stop::Cluster(Exit::Usage, why))?;
    let classes: Vec<&str> = target.sources.iter().map(|sources| sources.class().word()).collect();
    introduce(terminal, &target, &classes, options, seed)?;
    let tag = scenario::tag("torture");
    let header = Header {
        version: VERSION,
        seed,
        tag: tag.clone(),
        nodes: target.nodes.iter().map(|(name, _)| name.clone()).collect(),
        first: target.first,
        alone: target.own.is_some(),
        options: options.document(&classes),
        began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    let no_file = |error| cannot_be_written(&file, &error);
    let recorder = Arc::new(Recorder::create(&file, header).map_err(no_file)?);
    let injector = Arc::new(Injector::new(target.sources, target.nodes.len(), Arc::clone(&recorder)));
    let faults = Arc::clone(&injector);
    cleanup.change_begins(move || faults.end());
    let run = Arc::new(Run {
        options: options.clone(),
        writing: target.client.with_timeout(WRITER_PATIENCE),
        reading: target.client.with_timeout(READER_PATIENCE),
        nodes: target.nodes,
        tag,
        first: target.first,
        recorder,
        over,
        too_late: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
        reads: AtomicU64::new(0),
    });
    let Ended { early, not_back } = play(&run, &injector, seed);
    run.recorder.end(not_back).map_err(no_file)?;
    let missed = injector.missed();
    for sentence in &missed {
        terminal.line(format_args!("  {DIM}faults:{DIM:#} {}", visible(sentence)))?;
    }
    if early {
        terminal.line(format_args!("  {DIM}ended early:{DIM:#} before the {} s were over", options.seconds))?;
    }
    let (exit, mut document) = check::judge_file(terminal, &file, options.plot.as_deref())?;
    let is_good = exit == Exit::Success;
    let logs = cleanup.run(!is_good);
    if is_asked_for || !is_good {
        terminal.line(format_args!("The history is in {}; `test_client check` judges it again.", file.display()))?;
        document["history"] = json!(file);
    } else {
        std::fs::remove_file(file)?;
    }
    if let Some(logs) = logs {
        terminal.line(format_args!("The logs and data of the nodes are in {}.", logs.display()))?;
        document["logs"] = json!(logs);
    }
    document["run"] =
        json!({ "classes": classes, "left_out": target.skipped, "not_made": missed, "ended_early": early });
    terminal.document(document.to_string().as_bytes())?;
    Ok(exit)
}

fn cannot_be_written(file: &Path, error: &io::Error) -> Stop {
    Stop::Cluster(Exit::Usage, format!("{} cannot be written: {error}", file.display()))
}

/// Where the history goes, and whether somebody wants it whatever the verdict.
fn history_file(options: &Options) -> Result<(PathBuf, bool), String> {
    if let Some(file) = &options.history {
        return Ok((file.clone(), true));
    }
    let file = tempfile::Builder::new().prefix("torture-").suffix(".ndjson").tempfile();
    let kept = file.map_err(|error| error.to_string()).and_then(|file| file.keep().map_err(|error| error.to_string()));
    kept.map(|(_, path)| (path, false)).map_err(|error| format!("no file could be made for the history: {error}"))
}

fn introduce(
    terminal: &mut Terminal,
    target: &Target,
    classes: &[&str],
    options: &Options,
    seed: u64,
) -> io::Result<()> {
    for (name, address) in &target.nodes {
        terminal.line(format_args!("  {} at {address}", visible(name)))?;
    }
    let classes = if classes.is_empty() { "none".to_owned() } else { classes.join(", ") };
    let Options { seconds, writers, readers, rate, .. } = options;
    terminal.line(format_args!(
        "  {seconds} s, {writers} writers with {rate} writes a second, {readers} readers and a follower at each node; seed {seed}"
    ))?;
    terminal.line(format_args!("  faults: {classes}"))?;
    for sentence in &target.skipped {
        terminal.line(format_args!("  {DIM}skipped:{DIM:#} {}", visible(sentence)))?;
    }
    terminal.gap()
}

/// How a run ended.
struct Ended {
    /// Before its time was over.
    early: bool,
    /// Why the cluster did not come back, if it did not.
    not_back: Option<String>,
}

/// The run.
fn play(run: &Arc<Run>, injector: &Injector, seed: u64) -> Ended {
    let lasts = Duration::from_secs(run.options.seconds);
    let back_within = Duration::from_secs(run.options.back_within);
    for node in 0..run.nodes.len() {
        let run = Arc::clone(run);
        // Without a follower there is less to judge, and nothing wrong.
        let _ = thread::Builder::new().name("follower".to_owned()).spawn(move || readers::follow(&run, node));
    }
    thread::scope(|scope| {
        let writers: Vec<_> = (0..run.options.writers)
            .map(|number| {
                scope.spawn(move || writers::write_until_the_end(run, number, Random::part(seed, 1000 + number)))
            })
            .collect();
        for node in 0..run.nodes.len() {
            for number in 0..run.options.readers {
                let random = Random::part(seed, 2000 + 1000 * node as u64 + number);
                scope.spawn(move || readers::read_until_the_end(run, node, number, random));
            }
        }
        scope.spawn(move || injector.run(Random::part(seed, 1)));
        let bar = progress(run.options.seconds);
        let early = !wait(
            run,
            lasts,
            || injector.damage().is_none(),
            |seconds| {
                bar.set_position(seconds);
                bar.set_message(format!("{} · {}", run.progress(), injector.now()));
            },
        );
        run.over.store(true, Ordering::SeqCst);
        bar.set_message(format!("{} · faults are ended, the cluster has to come back", run.progress()));
        injector.end();
        // Whoever pursues a write may need the cluster to come back for that.
        let late = Instant::now() + back_within;
        while Instant::now() < late && writers.iter().any(|writer| !writer.is_finished()) {
            thread::sleep(LOOK_EVERY);
        }
        run.too_late.store(true, Ordering::SeqCst);
        let not_back = injector.damage().or_else(|| recovery::come_back(run, back_within));
        run.quiet.store(true, Ordering::SeqCst);
        bar.finish_and_clear();
        Ended { early, not_back }
    })
}

/// Waits for a time to pass, or for the run to be over, or for something to go wrong. Gives whether the time has passed.
fn wait(run: &Run, lasts: Duration, goes_well: impl Fn() -> bool, show: impl Fn(u64)) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < lasts && !run.is_over() && goes_well() {
        show(begun.elapsed().as_secs());
        thread::sleep(LOOK_EVERY);
    }
    begun.elapsed() >= lasts
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20.cyan} {pos}/{len} s · {wide_msg}");
    ProgressBar::new(seconds).with_style(style.expect("the template is a constant"))
}
