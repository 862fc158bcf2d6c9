//! Nodes of our own that are killed, or stopped and continued.

use super::fault::{ActiveFault, FaultSource, between};
use crate::cluster::OwnCluster;
use crate::random::Random;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::time::Duration;

/// Kills (`kill -9`) or pauses (SIGSTOP) the nodes of a cluster of our own.
pub(crate) struct Processes {
    pub(crate) cluster: Arc<OwnCluster>,
    /// Pauses, or else kills.
    pub(crate) pauses: bool,
    /// Longer than all time-outs of the nodes.
    pub(crate) long: Duration,
}

impl FaultSource for Processes {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let names = self.cluster.names();
        let mut nodes: Vec<usize> = idle.iter().copied().filter(|_| random.one_in(2)).collect();
        if nodes.is_empty() {
            nodes.push(random.one_of(idle));
        }
        if random.one_in(2) {
            nodes.reverse();
        }
        let who = nodes.iter().map(|node| names[*node]).collect::<Vec<_>>().join(", ");
        if self.pauses {
            let lasts = if random.one_in(4) { self.long } else { between(random, 100, 1800) };
            pause(&self.cluster, nodes, &who, lasts)
        } else {
            kill(&self.cluster, nodes, &who, between(random, 0, 1500))
        }
    }
}

/// Kills nodes, and starts them again in the same order: the master may be the first or the last.
pub(super) fn kill(
    cluster: &Arc<OwnCluster>,
    nodes: Vec<usize>,
    who: &str,
    lasts: Duration,
) -> Result<ActiveFault, String> {
    for node in &nodes {
        cluster.kill(*node)?;
    }
    let (cluster, victims) = (Arc::clone(cluster), nodes.clone());
    let undo = Box::new(move || {
        victims.into_iter().try_for_each(|node| cluster.start(node))?;
        Ok(None)
    });
    Ok(ActiveFault { what: format!("{who} killed"), nodes, lasts, undo })
}

/// Stops nodes, and continues them.
pub(super) fn pause(
    cluster: &Arc<OwnCluster>,
    nodes: Vec<usize>,
    who: &str,
    lasts: Duration,
) -> Result<ActiveFault, String> {
    let pids: Vec<Pid> = nodes.iter().filter_map(|node| cluster.process(*node)).collect();
    for pid in &pids {
        signal(*pid, Signal::STOP)?;
    }
    let undo = Box::new(move || {
        pids.into_iter().try_for_each(|pid| signal(pid, Signal::CONT))?;
        Ok(None)
    });
    Ok(ActiveFault { what: format!("{who} stopped for {:.1} s", lasts.as_secs_f64()), nodes, lasts, undo })
}

fn signal(pid: Pid, signal: Signal) -> Result<(), String> {
    kill_process(pid, signal).map_err(|error| format!("a node could not be sent a signal: {error}"))
}
