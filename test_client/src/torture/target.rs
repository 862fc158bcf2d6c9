//! The cluster that is tortured: its nodes, and the faults that can be made.

use super::faults::{
    Class, Clocks, Compose, Disks, Failover, FaultSource, Members, Network, Processes, Requests, Sources,
};
use super::options::{Options, Wanted, Which};
use crate::api::{Address, Client, Failure, Health, Listed, Reply};
use crate::cluster::{self, Cleanup, OwnCluster};
use crate::exit::Exit;
use crate::scenario::{self, Stop};
use crate::wait::poll_briefly;
use std::sync::Arc;
use std::time::Duration;

/// Time-outs of own nodes, in seconds: short, so that many faults outlast them.
const SETTINGS: [(&str, &str); 3] =
    [("REPLICATION_TIMEOUT", "2"), ("HEARTBEAT_INTERVAL", "0.3"), ("FOLLOW_HEARTBEAT", "1")];
/// Longer than each of these, and than three heartbeats.
const LONG: Duration = Duration::from_secs(5);
/// How long a node may take to answer when it is asked for a fault.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Nodes that are written to, read, and harmed.
pub(super) struct Target {
    pub(super) client: Client,
    /// Name and address, the master first.
    pub(super) nodes: Vec<(String, Address)>,
    pub(super) sources: Sources,
    /// Which faults cannot be made, and why.
    pub(super) skipped: Vec<String>,
    /// Whether the nodes were started for this run.
    pub(super) is_own: bool,
    /// Whether any node may lead.
    pub(super) promotes: bool,
    /// The first id of this run.
    pub(super) first: u64,
}

impl Target {
    /// Finds or starts the nodes. `cleanup` knows of own nodes before any of them runs.
    pub(super) fn set(client: Client, options: &Options, cleanup: &Cleanup) -> Result<Target, Stop> {
        if options.cluster == Which::Own {
            return Target::own(&client, options, cleanup);
        }
        let (nodes, first) = meet(&client)?;
        let mut selection = Selection::new(&options.faults);
        if options.cluster == Which::Compose {
            let names: Vec<String> = nodes.iter().map(|(name, _)| name.clone()).collect();
            let compose = Compose::find(options.compose_file.as_deref(), options.project.as_deref(), &names);
            for (class, source) in compose.map_err(Stop::usage)?.sources() {
                selection.offer(class, || Ok(source));
            }
        }
        selection.offer(Class::Api, || {
            let requests = Requests { client: client.with_timeout(REQUEST_TIMEOUT), nodes: nodes.clone() };
            requests.are_enabled()?;
            Ok(boxed(requests))
        });
        let (sources, skipped) = selection.finish()?;
        Ok(Target { client, nodes, sources, skipped, is_own: false, promotes: false, first })
    }

    fn own(client: &Client, options: &Options, cleanup: &Cleanup) -> Result<Target, Stop> {
        let mut cluster = OwnCluster::prepare("torture", options.port).map_err(Stop::usage)?;
        let nodes = cluster.nodes();
        for number in 0..nodes.len() {
            SETTINGS.into_iter().for_each(|(variable, value)| cluster.set(number, variable, value));
        }
        // Before the network, which puts its relays between them and their master.
        Members::know_their_master(&mut cluster);
        let promotes = options.faults.names(Class::Failover);
        if promotes {
            Failover::prepare(&mut cluster);
        }
        let mut selection = Selection::new(&options.faults);
        selection.offer(Class::Network, || {
            let network = Network::between(&mut cluster, LONG);
            network.map(boxed).map_err(|error| format!("no relay can be put between nodes: {error}"))
        });
        selection.offer(Class::Clock, || Clocks::of(&mut cluster).map(boxed));
        let cluster = Arc::new(cluster);
        cleanup.cluster_begins(&cluster);
        for (class, pauses) in [(Class::Kill, false), (Class::Pause, true)] {
            selection.offer(class, || Ok(boxed(Processes { cluster: Arc::clone(&cluster), pauses, long: LONG })));
        }
        selection.offer(Class::Disk, || {
            Disks::can_be_harmed()?;
            Ok(boxed(Disks { cluster: Arc::clone(&cluster) }))
        });
        for number in (0..nodes.len()).rev() {
            cluster.start(number).map_err(|why| Stop::Cluster(Exit::Unreachable, why))?;
        }
        let client = Client::new(nodes[0].1.clone(), client.timeout(), None);
        // Faults begin on a cluster that is well. If it never is, the verdict says so.
        let is_well = |health: &Result<Reply<Health>, Failure>| {
            let secondaries = health.as_ref().map(|reply| &reply.value.secondaries[..]).unwrap_or_default();
            secondaries.len() + 1 == nodes.len() && secondaries.iter().all(Listed::is_in_sync)
        };
        let _ = poll_briefly(client.timeout(), || client.health(client.master()), is_well);
        let short = client.with_timeout(REQUEST_TIMEOUT);
        selection.offer(Class::Members, || Ok(boxed(Members { client: short.clone(), cluster: Arc::clone(&cluster) })));
        selection.offer(Class::Api, || Ok(boxed(Requests { client: short.clone(), nodes: nodes.clone() })));
        selection
            .offer(Class::Failover, || Ok(boxed(Failover { client: short.clone(), cluster: Arc::clone(&cluster) })));
        let (sources, skipped) = selection.finish()?;
        Ok(Target { client, nodes, sources, skipped, is_own: true, promotes, first: 1 })
    }
}

fn boxed(source: impl FaultSource + 'static) -> Box<dyn FaultSource> {
    Box::new(source)
}

/// The nodes of a cluster that runs, and the id after its newest message. Each is called what it says itself: a master
/// that has just started may know no more of a secondary than its address.
fn meet(client: &Client) -> Result<(Vec<(String, Address)>, u64), Stop> {
    let health = scenario::find_the_master(client)?;
    let mut nodes = Vec::new();
    for node in cluster::survey(client) {
        let name = node.answer?.value.server_id;
        nodes.extend(node.address.map(|address| (name, address)));
    }
    Ok((nodes, health.last + 1))
}

/// The classes that were asked for, and those that can be made.
struct Selection<'a> {
    wanted: &'a Wanted,
    offered: Vec<Class>,
    sources: Sources,
    missing: Vec<(Class, String)>,
}

impl<'a> Selection<'a> {
    fn new(wanted: &'a Wanted) -> Selection<'a> {
        Selection { wanted, offered: Vec::new(), sources: Vec::new(), missing: Vec::new() }
    }

    /// Takes the source of a class, if the class is wanted.
    fn offer(&mut self, class: Class, source: impl FnOnce() -> Result<Box<dyn FaultSource>, String>) {
        self.offered.push(class);
        match self.wanted {
            Wanted::These(classes) if !classes.contains(&class) => {}
            // It needs nodes of which any may lead, which changes what the other classes meet.
            Wanted::All if class == Class::Failover => {}
            _ => match source() {
                Ok(source) => self.sources.push((class, source)),
                Err(why) => self.missing.push((class, why)),
            },
        }
    }

    /// What was taken, and what is missing. A class that was asked for by name must be there.
    fn finish(mut self) -> Result<(Sources, Vec<String>), Stop> {
        let sentence = |(class, why): &(Class, String)| format!("class {}: {why}", class.word());
        if let Wanted::These(classes) = self.wanted {
            if let Some(class) = classes.iter().find(|class| !self.offered.contains(class)) {
                let offered: Vec<String> = self.offered.iter().map(|class| class.word()).collect();
                let (word, offered) = (class.word(), offered.join(", "));
                return Err(Stop::usage(format!("there is no class {word} for this cluster; there are {offered}")));
            }
            if let Some(missing) = self.missing.first() {
                return Err(Stop::usage(sentence(missing)));
            }
        }
        // In one order, so that a seed means the same whatever was offered when.
        self.sources.sort_by_key(|(class, _)| *class);
        Ok((self.sources, self.missing.iter().map(sentence).collect()))
    }
}
