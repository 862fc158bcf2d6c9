//! `test_client acceptance`: the exercise's published acceptance, played against real nodes.
//!
//! It plays on a cluster of its own, or on a given one. There, other clients may write at the same time: a tag
//! distinguishes our messages, and the steps check only their order among themselves.

mod absence;
mod shell;
mod steps;
mod target;

use crate::api::{Address, Client};
use crate::cluster::{Cleanup, Guard};
use crate::exit::Exit;
use crate::output::Terminal;
use crate::scenario::Stop;
use crate::scenario::reporter::Reporter;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use steps::Play;
use target::{Commands, Target};

/// Plays the acceptance on the cluster of a client, or on one of its own, and prints the verdict.
pub(crate) fn run(
    given: Option<Client>,
    timeout: Duration,
    terminal: &mut Terminal,
    commands: Commands,
) -> io::Result<Exit> {
    let cleanup = Cleanup::default();
    let _guard = Guard(cleanup.clone());
    cleanup.run_on_signal(None)?;
    let own_cluster = given.is_none();
    let (mut reporter, mut nodes) = (Reporter::new(terminal), Vec::new());
    let played = play(given, timeout, &mut reporter, &cleanup, commands, &mut nodes);
    let (stop, stopped) = Stop::reason(played)?.unzip();
    let exit = reporter.exit(stop);
    let logs = cleanup.run(exit != Exit::Success);
    let notes = logs.iter().map(|logs| format!("The logs of the nodes are in {}", logs.display()));
    reporter.show_verdict(exit, stopped.as_deref(), &notes.collect::<Vec<_>>())?;
    let document = json!({
        "held": exit == Exit::Success, "exit_code": exit.code(), "own_cluster": own_cluster, "nodes": nodes,
        "stopped": stopped, "steps": reporter.steps, "logs": logs,
    });
    reporter.terminal.document(document.to_string().as_bytes())?;
    Ok(exit)
}

fn play(
    given: Option<Client>,
    timeout: Duration,
    reporter: &mut Reporter,
    cleanup: &Cleanup,
    commands: Commands,
    nodes: &mut Vec<Value>,
) -> Result<(), Stop> {
    reporter.begin("The nodes")?;
    let target = match given {
        Some(client) => Target::given(client, reporter, commands)?,
        None if commands.is_none() => Target::own(timeout, reporter, cleanup)?,
        None => return Err(Stop::usage("--down and --up are for a cluster that is given with --master")),
    };
    reporter.end();
    let node = |(server_id, url): &(String, Address)| json!({ "server_id": server_id, "url": url.to_string() });
    nodes.extend(target.nodes.iter().map(node));
    Play::new(target, reporter, cleanup).play()
}
