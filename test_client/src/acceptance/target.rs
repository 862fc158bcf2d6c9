//! The cluster that the acceptance plays on, and how its last secondary is taken away.

use super::absence::Absence;
use crate::api::{Address, Client, Failure, Health, Listed};
use crate::cluster::{self, Cleanup, OwnCluster};
use crate::exit::Exit;
use crate::output::count;
use crate::scenario::reporter::Reporter;
use crate::scenario::{self, Stop};
use crate::wait::poll_for;
use std::sync::Arc;
use std::time::Duration;

/// The minimum number of secondaries: one to be away, and one to run meanwhile.
const SECONDARIES_MIN: usize = 2;

/// How long a node may take to show what was acknowledged, or to take part again. Machines may be slow.
pub(super) const CATCH_UP_WAIT_MAX: Duration = Duration::from_secs(30);

/// The shell commands that take the last secondary away, and bring it back.
pub(super) type Commands = Option<(String, String)>;

/// The nodes.
pub(super) struct Target {
    pub(super) client: Client,
    /// Name and address, the master first.
    pub(super) nodes: Vec<(String, Address)>,
    pub(super) absence: Absence,
}

impl Target {
    /// Starts all nodes of a cluster of our own except the last one.
    pub(super) fn own(timeout: Duration, reporter: &mut Reporter, cleanup: &Cleanup) -> Result<Target, Stop> {
        let cluster = Arc::new(OwnCluster::prepare("acceptance", None).map_err(Stop::usage)?);
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
        await_in_sync(&client, last - 1)?;
        Ok(Target { client, nodes, absence: Absence::NotStarted(cluster) })
    }

    /// Checks that the acceptance can be played on a given cluster.
    pub(super) fn given(client: Client, reporter: &mut Reporter, commands: Commands) -> Result<Target, Stop> {
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
            return Err(Stop::usage(format!(
                "the acceptance needs {SECONDARIES_MIN} secondaries or more; {master} has {secondaries}"
            )));
        }
        await_in_sync(&client, secondaries)?;
        let (name, address) = &nodes[secondaries];
        let absence = match commands {
            Some((down, up)) => Absence::Commands { down, up },
            None if faults_enabled(&client, address)? => Absence::Cut,
            None => {
                return Err(Stop::usage(format!(
                    "nothing can take {name} away: say how with --down and --up, such as --down 'docker compose pause \
                     {name}' --up 'docker compose unpause {name}', or start {name} with ENABLE_FAULTS=1"
                )));
            }
        };
        Ok(Target { client, nodes, absence })
    }
}

/// Whether a node accepts PUT /faults. An older one does not know that path.
pub(super) fn faults_enabled(client: &Client, node: &Address) -> Result<bool, Failure> {
    match client.faults(node) {
        Ok(reply) => Ok(reply.value.enabled),
        Err(Failure { status: Some(403 | 404), .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Waits until so many secondaries are in sync.
pub(super) fn await_in_sync(client: &Client, secondaries: usize) -> Result<(), Stop> {
    let ask = || client.health(client.master()).map(|reply| reply.value);
    let in_sync = |health: &Health| health.secondaries.iter().filter(|listed| Listed::is_in_sync(listed)).count();
    let enough = |health: &Result<Health, Failure>| health.as_ref().is_ok_and(|health| in_sync(health) >= secondaries);
    let there = in_sync(&poll_for(CATCH_UP_WAIT_MAX, ask, enough)?);
    if there >= secondaries {
        return Ok(());
    }
    let (secondaries, waited) = (count(secondaries, "secondary", "secondaries"), CATCH_UP_WAIT_MAX.as_secs());
    Err(Stop::Cluster(Exit::Unreachable, format!("only {there} of {secondaries} are in sync after {waited} s")))
}
