//! The ways to take the last secondary away, and to bring it back.

use super::shell;
use crate::api::{Address, Client};
use crate::cluster::{Cleanup, OwnCluster};
use crate::exit::Exit;
use crate::scenario::Stop;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The longest time, in seconds, for which a fault cuts a node off. It then ends by itself.
const CUT_SECONDS_MAX: u64 = 120;

/// How long a node may take to end its fault when a signal stops the run. Short: faults end by themselves.
const END_FAULT_WAIT_MAX: Duration = Duration::from_secs(5);

/// The ways to take a secondary away.
pub(super) enum Absence {
    /// It is the last node of a cluster of our own, which starts when it has to come back.
    NotStarted(Arc<OwnCluster>),
    /// Two shell commands of the user do it.
    Commands { down: String, up: String },
    /// A fault cuts it off from the other nodes.
    Cut,
}

impl Absence {
    /// Takes it away. Returns a sentence that says how.
    pub(super) fn begin(&self, client: &Client, cleanup: &Cleanup, node: &Address) -> Result<String, Stop> {
        match self {
            Absence::NotStarted(_) => Ok("it is not started yet".to_owned()),
            Absence::Commands { down, up } => {
                let up = up.clone();
                cleanup.change_begins(move || bring_back(&up));
                shell::run(down).map_err(Stop::usage)?;
                Ok(format!("`{down}` took it away"))
            }
            Absence::Cut => {
                begin_fault(client, cleanup, node, &json!({ "cut": "both", "for": CUT_SECONDS_MAX }))?;
                Ok("a fault cuts it off from the other nodes".to_owned())
            }
        }
    }

    /// Brings it back. Returns a sentence that says how.
    pub(super) fn end(&self, client: &Client, cleanup: &Cleanup, node: &Address) -> Result<String, Stop> {
        match self {
            Absence::NotStarted(cluster) => {
                let last = cluster.nodes().len() - 1;
                cluster.start(last).map_err(|why| Stop::Cluster(Exit::Unreachable, why))?;
                Ok("it is started".to_owned())
            }
            Absence::Commands { up, .. } => {
                shell::run(up).map_err(Stop::usage)?;
                cleanup.change_ended();
                Ok(format!("`{up}` brought it back"))
            }
            Absence::Cut => {
                end_fault(client, cleanup, node)?;
                Ok("the fault is ended".to_owned())
            }
        }
    }
}

/// Asks a node for a fault, which ends with the run at the latest.
pub(super) fn begin_fault(client: &Client, cleanup: &Cleanup, node: &Address, fault: &Value) -> Result<(), Stop> {
    let (short, faulty) = (client.with_timeout(END_FAULT_WAIT_MAX), node.clone());
    cleanup.change_begins(move || {
        if let Err(failure) = short.end_fault(&faulty) {
            anstream::eprintln!(
                "test_client: the fault of {faulty} could not be ended: {failure}\n\
                 It ends by itself within two minutes, or by hand: curl -X DELETE {}",
                faulty.url("/faults")
            );
        }
    });
    Ok(client.set_fault(node, fault)?)
}

/// Ends the fault of [`begin_fault`].
pub(super) fn end_fault(client: &Client, cleanup: &Cleanup, node: &Address) -> Result<(), Stop> {
    client.end_fault(node)?;
    cleanup.change_ended();
    Ok(())
}

fn bring_back(up: &str) {
    if let Err(why) = shell::run(up) {
        anstream::eprintln!("test_client: the last secondary is still away: {why}\nBring it back: {up}");
    }
}
