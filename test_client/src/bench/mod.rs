//! `test_client bench`: loads a cluster, and measures its throughput and latency.
//!
//! It speaks HTTP/1.1 itself, over kept connections that never block, so that one thread drives hundreds of them and
//! leaves the cores to the nodes: with a thread and a `ureq` agent for each of 64 writers, a post costs 2.5 times as
//! much processor time (82 against 32 µs).
//!
//! - In a **closed loop**, a writer sends its next message when the last one was answered. This measures what a cluster
//!   can do for so many writers. When the cluster stalls, so do the writers: few messages meet the stall, and the
//!   percentiles understate it (coordinated omission).
//! - In an **open loop** (`--rate`), messages are due on schedule, as those of many independent users are. Latency
//!   counts from the scheduled time, so it contains whatever makes a message late: a stall, a queue, this program.
//!
//! Latencies are those of successes. A request counts in the second in which its answer is complete. Requests that are
//! still open at the end are in no percentile, and reported. The bench compares no texts: `acceptance` and `check` do.

mod answer;
mod connection;
mod ids;
mod load;
mod meter;
mod options;
mod plot;
mod report;
mod request;
mod schedule;
mod stats;
mod summary;

use crate::api::Address;
use crate::api::{Client, Failure, Kind};
use crate::exit::Exit;
use crate::output::Terminal;
use crate::scenario;
use indicatif::{ProgressBar, ProgressStyle};
use load::{Load, Node, Plan};
pub(crate) use options::Options;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use summary::{RequestsVerdict, Summary};

/// A host that runs accepts a connection at once.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// How much longer than the master a client waits: time for the answer to arrive.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// Loads the cluster, and reports what it measured.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, json: bool, options: &Options) -> io::Result<Exit> {
    let (plan, plot) = match prepare(client, options) {
        Ok(prepared) => prepared,
        Err((exit, why)) => return terminal.give_up(exit, &why),
    };
    let summary = match measure(&plan, json) {
        Ok(summary) => summary,
        Err(error) => return terminal.give_up(Exit::Unreachable, &format!("cannot load the cluster: {error}")),
    };
    report::show(terminal, &plan, &summary)?;
    let (exit, verdict) = judge(&summary);
    if let Some(verdict) = verdict {
        terminal.complain(verdict);
    }
    if let Some(mut file) = plot {
        file.write_all(plot::svg(options, &summary).as_bytes())?;
    }
    let mut document = report::document(&plan, &summary);
    document["exit_code"] = exit.code().into();
    terminal.document(document.to_string().as_bytes())?;
    Ok(exit)
}

/// The exit code of a run, and the sentence that explains it.
fn judge(summary: &Summary) -> (Exit, Option<&'static str>) {
    if !summary.rest.ids.violations().is_empty() {
        return (Exit::Broken, Some("the master acknowledged an id twice, or out of order"));
    }
    let writes = RequestsVerdict::of(&summary.total.writes, summary.rest.unanswered);
    let reads = RequestsVerdict::of(&summary.total.reads, 0);
    match (writes, reads) {
        (RequestsVerdict::AllRefused, _) => (Exit::Refused, Some("every message was refused; nothing was appended")),
        (RequestsVerdict::NotConnected, _) => (Exit::Unreachable, Some("no connection to the master could be made")),
        (RequestsVerdict::AllUnknown, _) if !summary.measured.is_zero() => {
            (Exit::Unknown, Some("no message was acknowledged, and some may have been appended"))
        }
        (_, RequestsVerdict::Done) => (Exit::Success, None),
        _ => (Exit::Unreachable, Some("no page was read")),
    }
}

// Before the run.

/// Finds the nodes, and opens the file for the plot, so that a long run does not end without one.
fn prepare(client: &Client, options: &Options) -> Result<(Plan, Option<File>), (Exit, String)> {
    options.check().map_err(|why| (Exit::Usage, why.to_owned()))?;
    let plot = match &options.plot {
        Some(path) => {
            let file = File::create(path);
            Some(file.map_err(|error| (Exit::Usage, format!("cannot write {}: {error}", path.display())))?)
        }
        None => None,
    };
    let mut addresses = options.read_from.clone();
    if addresses.is_empty() {
        addresses.push(client.master().clone());
    }
    let first = if options.writers > 0 { client.master() } else { &addresses[0] };
    let newest = newest(client, first).map_err(|failure| (failure.kind.exit(), failure.error))?;
    let master = if options.writers > 0 { reach(client.master())? } else { reach(&addresses[0])? };
    let read_from = addresses.iter().filter(|_| options.readers > 0).map(reach).collect::<Result<_, _>>()?;
    let stop = stop_on_signal().map_err(|error| (Exit::Unreachable, format!("cannot listen for signals: {error}")))?;
    let plan = Plan {
        options: options.clone(),
        master,
        read_from,
        timeout: client.timeout().max(options.wait.map_or(Duration::ZERO, |wait| wait + ANSWER_MARGIN)),
        token: client.token().cloned(),
        tag: scenario::tag("bench"),
        newest: AtomicU64::new(newest),
        stop,
    };
    Ok((plan, plot))
}

/// The newest id of a node. A server without /health can still be measured. A secondary accepts no messages.
fn newest(client: &Client, node: &Address) -> Result<u64, Failure> {
    match client.health(node) {
        Ok(reply) if node == client.master() && reply.value.role == "secondary" => Err(Failure::new(
            Kind::Unreachable,
            format!("{node} is a secondary: give the address of the master with --master"),
        )),
        Ok(reply) => Ok(reply.value.last.max(reply.value.message_count)),
        Err(Failure { status: Some(_), .. }) => Ok(0),
        Err(failure) => Err(failure),
    }
}

/// The first of a node's addresses that accepts a connection.
fn reach(address: &Address) -> Result<Node, (Exit, String)> {
    let fail = |why: String| (Exit::Unreachable, format!("{address} cannot be reached: {why}"));
    let sockets = address.resolve().map_err(|error| fail(error.to_string()))?;
    let mut why = "its name resolves to no address".to_owned();
    for socket in sockets {
        match TcpStream::connect_timeout(&socket, CONNECT_WAIT_MAX) {
            Ok(_) => return Ok(Node { address: address.clone(), socket }),
            Err(error) => why = error.to_string(),
        }
    }
    Err(fail(why))
}

/// The first signal ends the run early, and the second ends the program.
fn stop_on_signal() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

// During the run.

fn measure(plan: &Plan, is_silent: bool) -> io::Result<Summary> {
    let threads = plan.options.threads;
    let mut summary = Summary::new(threads, plan.options.warm_up);
    // A progress line on a terminal, and nothing elsewhere.
    let bar = if is_silent { ProgressBar::hidden() } else { ProgressBar::no_length() };
    let bar = bar.with_style(ProgressStyle::with_template("{wide_msg}").expect("the template is a constant"));
    thread::scope(|scope| {
        let (sender, reports) = mpsc::channel();
        let loads =
            (0..threads).map(|number| Load::new(plan, number, sender.clone())).collect::<io::Result<Vec<_>>>()?;
        drop(sender);
        let begun = Instant::now();
        let loads = loads.into_iter().map(|load| {
            let builder = thread::Builder::new().name("load".to_owned());
            builder.spawn_scoped(scope, move || load.play(begun))
        });
        let loads = loads.collect::<io::Result<Vec<_>>>()?;
        for interval in reports {
            if let Some(second) = summary.take(&interval) {
                bar.set_message(report::progress(&second));
            }
        }
        bar.finish_and_clear();
        let rests = loads.into_iter().map(|load| load.join().expect("a thread of load does not panic"));
        summary.finish(rests.collect::<io::Result<Vec<_>>>()?);
        Ok(summary)
    })
}
