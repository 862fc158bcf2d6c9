//! How the last secondary is taken away, and brought back.

use super::cleanup::Cleanup;
use super::shell;
use super::usage;
use crate::api::Address;
use crate::api::Client;
use crate::cluster::OwnCluster;
use crate::exit::Exit;
use crate::scenario::Stop;
use serde_json::json;
use std::sync::Arc;

/// How long a node that nobody brings back stays cut off.
const CUT_SECONDS_MAX: u64 = 120;

/// The ways.
pub(super) enum Absence {
    /// It is the last node of a cluster of our own, and not started until it comes back.
    NotStarted(Arc<OwnCluster>),
    /// The person knows how: two shell commands.
    Commands { down: String, up: String },
    /// A fault cuts it off from the other nodes.
    Cut,
}

impl Absence {
    /// Takes it away. Says how.
    pub(super) fn begin(&self, client: &Client, cleanup: &Cleanup, node: &Address) -> Result<String, Stop> {
        match self {
            Absence::NotStarted(_) => Ok("it is not started yet".to_owned()),
            Absence::Commands { down, up } => {
                cleanup.absence_begins(up);
                shell::run(down).map_err(|why| usage(&why))?;
                Ok(format!("`{down}` took it away"))
            }
            Absence::Cut => {
                cleanup.fault_begins(client, node);
                client.set_fault(node, &json!({ "cut": "both", "for": CUT_SECONDS_MAX }))?;
                Ok("a fault cuts it off from the other nodes".to_owned())
            }
        }
    }

    /// Brings it back. Says how.
    pub(super) fn end(&self, client: &Client, cleanup: &Cleanup, node: &Address) -> Result<String, Stop> {
        match self {
            Absence::NotStarted(cluster) => {
                let last = cluster.nodes().len() - 1;
                cluster.start(last).map_err(|why| Stop::Cluster(Exit::Unreachable, why))?;
                Ok("it is started".to_owned())
            }
            Absence::Commands { up, .. } => {
                shell::run(up).map_err(|why| usage(&why))?;
                cleanup.absence_ended();
                Ok(format!("`{up}` brought it back"))
            }
            Absence::Cut => {
                client.end_fault(node)?;
                cleanup.fault_ended();
                Ok("the fault is ended".to_owned())
            }
        }
    }
}
