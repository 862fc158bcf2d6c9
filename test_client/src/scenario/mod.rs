//! The common parts of the scenarios of this program: how they begin, and why they end early.

pub(crate) mod reporter;
pub(crate) mod rules;

use crate::api::{Address, Client, Failure, Health, SecondaryState};
use crate::cluster::{self, Node};
use crate::exit::Exit;
use crate::output::{Terminal, visible};
use crate::wait::poll_briefly;
use std::io;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

/// A tag for the messages of a run, which no other run uses.
pub(crate) fn tag(scenario: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{scenario} {:06x}", (now.as_millis() ^ u128::from(process::id())) & 0xff_ffff)
}

/// Why a scenario cannot go on.
pub(crate) enum Stop {
    /// The output cannot be written.
    Output(io::Error),
    /// The cluster, or the command line, does not permit it: the exit code and a sentence.
    Cluster(Exit, String),
}

impl Stop {
    /// The command line asks for what cannot be done.
    pub(crate) fn usage(sentence: impl Into<String>) -> Stop {
        Stop::Cluster(Exit::Usage, sentence.into())
    }

    /// Why a scenario ended early, if it did.
    pub(crate) fn reason(ended: Result<(), Stop>) -> io::Result<Option<(Exit, String)>> {
        match ended {
            Ok(()) => Ok(None),
            Err(Stop::Output(error)) => Err(error),
            Err(Stop::Cluster(exit, sentence)) => Ok(Some((exit, sentence))),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Cluster(failure.kind.exit(), failure.to_string())
    }
}

/// The health of the master. Stops if the node at its address is no master.
pub(crate) fn find_the_master(client: &Client) -> Result<Health, Stop> {
    let health = client.health(client.master())?.value;
    if health.role == "master" {
        return Ok(health);
    }
    let (url, role) = (client.master(), visible(&health.role));
    Err(Stop::Cluster(Exit::Unreachable, format!("{url} is a {role}: give the address of the master with --master")))
}

/// Waits for a cluster that has just started or changed, as long as a healthy one needs.
pub(crate) fn await_writable(client: &Client, terminal: &mut Terminal) -> Result<(), Stop> {
    let ask = || client.health(client.master()).map(|reply| reply.value);
    let mut health = ask()?;
    if health.writable == Some(false) {
        terminal.line(format_args!("  The master {}. Waiting for it …", cluster::describe_master(&health)))?;
        let settled = |health: &Result<Health, _>| health.as_ref().is_ok_and(|health| health.writable != Some(false));
        health = poll_briefly(client.timeout(), ask, settled)?;
    }
    if health.writable != Some(false) {
        return Ok(());
    }
    let unreachable = health.secondaries.iter().any(|listed| listed.state == Some(SecondaryState::Unreachable));
    let exit = if unreachable { Exit::Unreachable } else { Exit::Refused };
    Err(Stop::Cluster(exit, format!("the master {}", cluster::describe_master(&health))))
}

/// Name and address of a node that answered.
pub(crate) fn readable(node: Node) -> Option<(String, Address)> {
    node.answer.is_ok().then_some(node.address).flatten().map(|address| (node.server_id, address))
}

/// Stops because a node that has to answer does not.
pub(crate) fn unreadable(name: &str, failure: &Failure) -> Stop {
    Stop::Cluster(failure.kind.exit(), format!("{name} cannot be read: {failure}"))
}
