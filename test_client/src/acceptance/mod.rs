//! `test_client acceptance`: the exercise's published acceptance, played against real nodes.
//!
//! It is played on a cluster of its own, or on one that is given. There, other clients may write at the same time: our
//! messages are told apart by a tag, and only their order among themselves is looked at.

mod absence;
mod cleanup;
mod shell;
mod steps;

use crate::api::Address;
use crate::api::{Client, Failure};
use crate::cluster;
use crate::cluster::OwnCluster;
use crate::exit::Exit;
use crate::output::Terminal;
use crate::scenario::reporter::{Report, Reporter};
use crate::scenario::{self, Stop};
use absence::Absence;
use cleanup::{Cleanup, Guard};
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use steps::Play;

/// Secondaries without which there is nothing to show: one to be away, and one to be there meanwhile.
const SECONDARIES_MIN: usize = 2;

/// The shell commands that take the last secondary away, and bring it back.
pub(crate) type Commands = Option<(String, String)>;

/// Plays the acceptance on the cluster of a client, or on one of its own, and gives the verdict.
pub(crate) fn run(
    given: Option<Client>,
    timeout: Duration,
    terminal: &mut Terminal,
    commands: Commands,
) -> io::Result<Exit> {
    let cleanup = Arc::new(Cleanup::default());
    let _guard = Guard(Arc::clone(&cleanup));
    cleanup.remove_on_signal()?;
    let report = Report { own_cluster: given.is_none(), ..Report::default() };
    let mut reporter = Reporter { terminal, report };
    let stopped = match play(given, timeout, &mut reporter, &cleanup, commands) {
        Ok(()) => None,
        Err(Stop::Output(error)) => return Err(error),
        Err(Stop::Cluster(exit, sentence)) => Some((exit, sentence)),
    };
    let exit = reporter.settle(stopped);
    reporter.report.logs = cleanup.remove(exit != Exit::Success);
    reporter.show_verdict(exit)?;
    reporter.terminal.document(json!(reporter.report).to_string().as_bytes())?;
    Ok(exit)
}

fn play(
    given: Option<Client>,
    timeout: Duration,
    reporter: &mut Reporter,
    cleanup: &Cleanup,
    commands: Commands,
) -> Result<(), Stop> {
    reporter.begin("Who is there")?;
    let target = match given {
        Some(client) => meet(client, reporter, commands)?,
        None if commands.is_none() => start(timeout, reporter, cleanup)?,
        None => return Err(usage("--down and --up are for a cluster that is given with --master")),
    };
    reporter.end();
    let node = |(server_id, url): &(String, Address)| json!({ "server_id": server_id, "url": url.to_string() });
    reporter.report.nodes = target.nodes.iter().map(node).collect();
    Play::new(target, reporter, cleanup).play()
}

/// The nodes, and how the last of them is taken away.
struct Target {
    client: Client,
    /// Name and address, the master first.
    nodes: Vec<(String, Address)>,
    absence: Absence,
}

fn usage(sentence: &str) -> Stop {
    Stop::Cluster(Exit::Usage, sentence.to_owned())
}

// A cluster of its own.

/// Starts all nodes but the last one.
fn start(timeout: Duration, reporter: &mut Reporter, cleanup: &Cleanup) -> Result<Target, Stop> {
    let cluster = OwnCluster::prepare("acceptance", None).map_err(|why| usage(&why))?;
    let cluster = Arc::new(cluster);
    cleanup.cluster_begins(&cluster);
    let nodes = cluster.nodes();
    let last = nodes.len() - 1;
    for number in (0..last).rev() {
        cluster.start(number).map_err(|why| Stop::Cluster(Exit::Unreachable, why))?;
    }
    for (name, address) in &nodes[..last] {
        reporter.find(Ok(format!("{name} runs at {address}")))?;
    }
    reporter.say(&format!("  {} will be at {}", nodes[last].0, nodes[last].1))?;
    let client = Client::new(nodes[0].1.clone(), timeout, None);
    steps::await_in_sync(&client, last - 1)?;
    Ok(Target { client, nodes, absence: Absence::NotStarted(cluster) })
}

// A given cluster.

/// Makes sure that it can be played on.
fn meet(client: Client, reporter: &mut Reporter, commands: Commands) -> Result<Target, Stop> {
    scenario::find_the_master(&client)?;
    scenario::await_writable(&client, reporter.terminal)?;
    let answers = cluster::survey(&client);
    cluster::show(reporter.terminal, &answers)?;
    if let Some(failure) = answers.iter().find_map(|node| node.answer.as_ref().err()) {
        return Err(failure.clone().into());
    }
    let nodes: Vec<(String, Address)> = answers.into_iter().filter_map(scenario::readable).collect();
    let secondaries = nodes.len() - 1;
    if secondaries < SECONDARIES_MIN {
        let master = client.master();
        return Err(usage(&format!(
            "the acceptance needs {SECONDARIES_MIN} secondaries or more; {master} has {secondaries}"
        )));
    }
    steps::await_in_sync(&client, secondaries)?;
    let absence = choose_absence(&client, &nodes[secondaries], commands)?;
    Ok(Target { client, nodes, absence })
}

fn choose_absence(client: &Client, last: &(String, Address), commands: Commands) -> Result<Absence, Stop> {
    let (name, address) = last;
    match commands {
        Some((down, up)) => Ok(Absence::Commands { down, up }),
        None if faults_enabled(client, address)? => Ok(Absence::Cut),
        None => Err(usage(&format!(
            "nothing can take {name} away: say how with --down and --up, such as --down 'docker compose pause {name}' \
             --up 'docker compose unpause {name}', or start {name} with ENABLE_FAULTS=1"
        ))),
    }
}

/// Whether a node can be asked for faults. An older one does not know what they are.
fn faults_enabled(client: &Client, node: &Address) -> Result<bool, Failure> {
    match client.faults(node) {
        Ok(reply) => Ok(reply.value.enabled),
        Err(Failure { status: Some(403 | 404), .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}
