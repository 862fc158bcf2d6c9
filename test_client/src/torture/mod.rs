//! `test_client torture`: whether a cluster keeps its promises while everything fails, judged by what its clients saw.
//!
//! Writers write in every way, readers read every node in every consistency, faults begin and end. All that clients do
//! and are told goes into a history (see [`crate::history`]). In the end all faults are ended, the cluster has to come
//! back, and the log of every node is recorded. Then [`crate::check`] judges the history from its file, and knows
//! nothing else: `test_client check FILE` judges it again, and says the same.
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

use crate::api::Client;
use crate::check;
use crate::cluster::{Cleanup, Guard};
use crate::exit::Exit;
use crate::history::{Header, Recorder, VERSION};
use crate::output::{DIM, Terminal, visible};
use crate::random::Random;
use crate::scenario::{self, Stop};
use faults::Injector;
use indicatif::{ProgressBar, ProgressStyle};
pub(crate) use options::Options;
use serde_json::json;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use target::Target;
use workload::{Run, readers, recovery, writers};

/// How long a writer waits for an answer. Longer than any fault of a master, so that few give up: what became of a
/// request that its client gave up cannot be known.
const WRITER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a reader does.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
    let seed = options.seed.unwrap_or_else(draw_seed);
    // No run begins whose history or plot cannot be written.
    for file in options.history.iter().chain(&options.plot) {
        let opened = File::options().write(true).create(true).truncate(false).open(file);
        opened.map_err(|error| cannot_be_written(file, &error))?;
    }
    let target = Target::set(client.clone(), options, cleanup)?;
    let file = history_file(options)?;
    let classes = target.sources.iter().map(|(class, _)| class.word()).collect::<Vec<_>>();
    introduce(terminal, &target, &classes, options, seed)?;
    let tag = scenario::tag("torture");
    let header = Header {
        version: VERSION,
        seed,
        tag: tag.clone(),
        nodes: target.nodes.iter().map(|(name, _)| name.clone()).collect(),
        first: target.first,
        alone: target.is_own,
        options: options.document(&classes),
        began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    let no_file = |error| cannot_be_written(&file, &error);
    let recorder = Arc::new(Recorder::create(&file, header).map_err(no_file)?);
    let injector = Arc::new(Injector::new(target.sources, target.nodes.len(), Arc::clone(&recorder)));
    let faults = Arc::clone(&injector);
    cleanup.change_begins(move || faults.end());
    let run = Arc::new(Run {
        writing: Run::writers(&target.client.with_timeout(WRITER_TIMEOUT), &target.nodes, target.promotes),
        attempts: AtomicUsize::new(0),
        // A message with one copy may be lost with the node that led.
        copies_min: if target.promotes { 2 } else { 1 },
        reading: target.client.with_timeout(READER_TIMEOUT),
        nodes: target.nodes,
        tag,
        first: target.first,
        write_every: Duration::from_secs_f64(options.writers as f64 / options.rate),
        recorder,
        over,
        too_late: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
    });
    let Ended { early, not_back } = play(&run, options, &injector, seed);
    run.recorder.end(not_back).map_err(no_file)?;
    let missed = injector.missed();
    for sentence in &missed {
        terminal.line(format_args!("  {DIM}faults:{DIM:#} {}", visible(sentence)))?;
    }
    if early {
        terminal.line(format_args!("  {DIM}ended early:{DIM:#} before the {} s were over", options.seconds))?;
    }
    let about_run = json!({ "classes": classes, "left_out": target.skipped, "not_made": missed, "ended_early": early });
    conclude(terminal, options, cleanup, &file, about_run)
}

/// Judges the history, says what is kept as a proof, and gives everything to scripts.
fn conclude(
    terminal: &mut Terminal,
    options: &Options,
    cleanup: &Cleanup,
    file: &Path,
    about_run: serde_json::Value,
) -> Result<Exit, Stop> {
    let (exit, mut document) = check::judge_file(terminal, file, options.plot.as_deref())?;
    let is_good = exit == Exit::Success;
    let logs = cleanup.run(!is_good);
    if options.history.is_some() || !is_good {
        terminal.line(format_args!("The history is in {}; `test_client check` judges it again.", file.display()))?;
        document["history"] = json!(file);
    } else {
        std::fs::remove_file(file)?;
    }
    if let Some(logs) = logs {
        terminal.line(format_args!("The logs and data of the nodes are in {}.", logs.display()))?;
        document["logs"] = json!(logs);
    }
    document["run"] = about_run;
    terminal.document(document.to_string().as_bytes())?;
    Ok(exit)
}

fn cannot_be_written(file: &Path, error: &io::Error) -> Stop {
    Stop::usage(format!("{} cannot be written: {error}", file.display()))
}

/// Where the history goes.
fn history_file(options: &Options) -> Result<PathBuf, Stop> {
    if let Some(file) = &options.history {
        return Ok(file.clone());
    }
    let file = tempfile::Builder::new().prefix("torture-").suffix(".ndjson").tempfile();
    let kept = file.and_then(|file| file.keep().map_err(|error| error.error));
    kept.map(|(_, path)| path).map_err(|error| Stop::usage(format!("no file could be made for the history: {error}")))
}

/// A seed, if none was given.
fn draw_seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let noise = clock.as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    Random::new(noise).below(1_000_000_000)
}

fn introduce(
    terminal: &mut Terminal,
    target: &Target,
    classes: &[String],
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
fn play(run: &Arc<Run>, options: &Options, injector: &Injector, seed: u64) -> Ended {
    for node in 0..run.nodes.len() {
        let run = Arc::clone(run);
        // Without a follower there is less to judge, and nothing wrong.
        let _ = thread::Builder::new().name("follower".to_owned()).spawn(move || readers::follow(&run, node));
    }
    thread::scope(|scope| {
        let write =
            |number| scope.spawn(move || writers::write_until_the_end(run, number, Random::part(seed, 1000 + number)));
        let writers: Vec<_> = (0..options.writers).map(write).collect();
        for node in 0..run.nodes.len() {
            for number in 0..options.readers {
                let random = Random::part(seed, 2000 + 1000 * node as u64 + number);
                scope.spawn(move || readers::read_until_the_end(run, node, number, random));
            }
        }
        scope.spawn(move || injector.run(Random::part(seed, 1)));
        let bar = progress(options.seconds);
        let (begun, lasts) = (Instant::now(), Duration::from_secs(options.seconds));
        while begun.elapsed() < lasts && !run.is_over() && injector.damage().is_none() {
            bar.set_position(begun.elapsed().as_secs());
            bar.set_message(injector.now());
            thread::sleep(LOOK_EVERY);
        }
        let early = begun.elapsed() < lasts;
        run.over.store(true, Ordering::SeqCst);
        bar.set_message("faults are ended, the cluster has to come back");
        injector.end();
        // A writer whose outcome is open may need the cluster to come back.
        let back_within = Duration::from_secs(options.back_within);
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

/// A bar on a terminal, and nothing elsewhere.
fn progress(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:20.cyan} {pos}/{len} s · {wide_msg}");
    ProgressBar::new(seconds).with_style(style.expect("the template is a constant"))
}
