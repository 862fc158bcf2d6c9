//! The cluster that is tortured: its nodes, and what can be done to them.

use super::faults::compose::Compose;
use super::faults::{Class, Clocks, Disks, FaultSource, Members, Network, Processes, Requests};
use super::options::{Options, Wanted, Which};
use crate::api::Address;
use crate::api::{Client, Failure, Health, Listed, Reply};
use crate::cluster::{self, Cleanup, OwnCluster};
use crate::exit::Exit;
use crate::random::Random;
use crate::scenario::{self, Stop};
use crate::wait::poll_briefly;
use std::sync::Arc;
use std::time::Duration;

/// Time-outs of own nodes, in seconds: short, so that many faults outlast them.
const REPLICATION_TIMEOUT: &str = "2";
const HEARTBEAT_INTERVAL: &str = "0.3";
/// Longer than each of these, and than three heartbeats.
const LONG: Duration = Duration::from_secs(5);
/// How long a node may take to answer when it is asked for a fault.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// What can be done, one for each class.
type AllMeans = Vec<Box<dyn FaultSource>>;

/// Nodes that can be written to, read, and harmed.
pub(super) struct Target {
    pub(super) client: Client,
    /// Name and address, the master first.
    pub(super) nodes: Vec<(String, Address)>,
    pub(super) sources: AllMeans,
    /// What cannot be done, and why.
    pub(super) skipped: Vec<String>,
    /// The nodes, if they are ours.
    pub(super) own: Option<Arc<OwnCluster>>,
    /// The first id that will be ours.
    pub(super) first: u64,
}

impl Target {
    /// Finds or starts the nodes. Own nodes are told to `cleanup` before any of them runs.
    pub(super) fn set(client: Client, options: &Options, cleanup: &Cleanup) -> Result<Target, Stop> {
        match options.cluster {
            Which::Own => Target::own(&client, options, cleanup),
            Which::Compose => {
                let (nodes, first) = meet(&client)?;
                let names: Vec<String> = nodes.iter().map(|(name, _)| name.clone()).collect();
                let compose = Compose::find(options.compose_file.as_deref(), options.project.as_deref(), &names);
                let sources = compose.map_err(Stop::usage)?.sources();
                Target::met(client, nodes, first, sources, options)
            }
            Which::Given => {
                let (nodes, first) = meet(&client)?;
                Target::met(client, nodes, first, Vec::new(), options)
            }
        }
    }

    fn own(client: &Client, options: &Options, cleanup: &Cleanup) -> Result<Target, Stop> {
        let mut cluster = OwnCluster::prepare("torture", options.port).map_err(Stop::usage)?;
        let nodes = cluster.nodes();
        let names: Vec<String> = nodes.iter().map(|(name, _)| name.clone()).collect();
        for number in 0..names.len() {
            for (variable, value) in [
                ("REPLICATION_TIMEOUT", REPLICATION_TIMEOUT),
                ("HEARTBEAT_INTERVAL", HEARTBEAT_INTERVAL),
                ("FOLLOW_HEARTBEAT", "1"),
            ] {
                cluster.set(number, variable, value);
            }
        }
        // Before the network, which puts its relays between them and their master.
        Members::know_their_master(&mut cluster, &names);
        let mut chosen = Chosen::new(&options.faults);
        chosen.offer(Class::Network, || {
            let network = Network::between(&mut cluster, &names, LONG);
            network.map(boxed).map_err(|error| format!("no relay can be put between nodes: {error}"))
        });
        chosen.offer(Class::Clock, || Clocks::of(&mut cluster, &names).map(boxed));
        let cluster = Arc::new(cluster);
        cleanup.cluster_begins(&cluster);
        let processes =
            |pauses| Ok(boxed(Processes { cluster: Arc::clone(&cluster), names: names.clone(), pauses, long: LONG }));
        chosen.offer(Class::Kill, || processes(false));
        chosen.offer(Class::Pause, || processes(true));
        chosen.offer(Class::Disk, || {
            Disks::can_be_harmed()?;
            Ok(boxed(Disks { cluster: Arc::clone(&cluster), names: names.clone() }))
        });
        for number in (0..names.len()).rev() {
            cluster.start(number).map_err(|why| Stop::Cluster(Exit::Unreachable, why))?;
        }
        let client = Client::new(nodes[0].1.clone(), client.timeout(), None);
        // Faults begin on a cluster that is well. If it never is, the verdict says so.
        let is_well = |health: &Result<Reply<Health>, Failure>| {
            let secondaries = health.as_ref().map(|reply| &reply.value.secondaries[..]).unwrap_or_default();
            secondaries.len() + 1 == nodes.len() && secondaries.iter().all(Listed::is_in_sync)
        };
        let _ = poll_briefly(client.timeout(), || client.health(client.master()), is_well);
        let hurried = client.with_timeout(REQUEST_PATIENCE);
        chosen.offer(Class::Members, || {
            Ok(boxed(Members { client: hurried.clone(), cluster: Arc::clone(&cluster), names: names.clone() }))
        });
        chosen.offer(Class::Api, || Ok(boxed(Requests { client: hurried.clone(), nodes: nodes.clone() })));
        let (sources, skipped) = chosen.close()?;
        Ok(Target { client, nodes, sources, skipped, own: Some(cluster), first: 1 })
    }

    fn met(
        client: Client,
        nodes: Vec<(String, Address)>,
        first: u64,
        sources: AllMeans,
        options: &Options,
    ) -> Result<Target, Stop> {
        let mut chosen = Chosen::new(&options.faults);
        for sources in sources {
            chosen.offer(sources.class(), || Ok(sources));
        }
        chosen.offer(Class::Api, || {
            let requests = Requests { client: client.with_timeout(REQUEST_PATIENCE), nodes: nodes.clone() };
            requests.are_heard()?;
            Ok(boxed(requests))
        });
        let (sources, skipped) = chosen.close()?;
        Ok(Target { client, nodes, sources, skipped, own: None, first })
    }
}

fn boxed(sources: impl FaultSource + 'static) -> Box<dyn FaultSource> {
    Box::new(sources)
}

/// The nodes of a cluster that runs, and the id after its newest message. Each is called what it says itself: a master that
/// has just started may know no more of a secondary than its address.
fn meet(client: &Client) -> Result<(Vec<(String, Address)>, u64), Stop> {
    let health = scenario::find_the_master(client)?;
    let mut nodes = Vec::new();
    for node in cluster::survey(client) {
        let name = node.answer?.value.server_id;
        nodes.extend(node.address.map(|address| (name, address)));
    }
    Ok((nodes, health.last + 1))
}

/// Classes that were asked for, and those that can be had.
struct Chosen<'a> {
    wanted: &'a Wanted,
    offered: Vec<Class>,
    sources: AllMeans,
    missing: Vec<(Class, String)>,
}

impl<'a> Chosen<'a> {
    fn new(wanted: &'a Wanted) -> Chosen<'a> {
        Chosen { wanted, offered: Vec::new(), sources: Vec::new(), missing: Vec::new() }
    }

    /// Takes the sources for a class, if it is wanted.
    fn offer(&mut self, class: Class, sources: impl FnOnce() -> Result<Box<dyn FaultSource>, String>) {
        self.offered.push(class);
        let is_wanted = match self.wanted {
            Wanted::All => true,
            Wanted::These(classes) => classes.contains(&class),
        };
        if !is_wanted {
            return;
        }
        match sources() {
            Ok(sources) => self.sources.push(sources),
            Err(why) => self.missing.push((class, why)),
        }
    }

    /// What was taken, and what is missing. What was asked for by name must be there.
    fn close(mut self) -> Result<(AllMeans, Vec<String>), Stop> {
        let sentence = |(class, why): &(Class, String)| format!("class {}: {why}", class.word());
        if let Wanted::These(classes) = self.wanted {
            if let Some(class) = classes.iter().find(|class| !self.offered.contains(class)) {
                let offered: Vec<&str> = self.offered.iter().map(|class| class.word()).collect();
                let word = class.word();
                return Err(Stop::usage(format!(
                    "there is no class {word} for this cluster; there are {}",
                    offered.join(", ")
                )));
            }
            if let Some(missing) = self.missing.first() {
                return Err(Stop::usage(sentence(missing)));
            }
        }
        // In one order, so that a seed means the same whatever was offered when.
        self.sources.sort_by_key(|sources| sources.class());
        Ok((self.sources, self.missing.iter().map(sentence).collect()))
    }
}

/// A seed, if none was given.
pub(super) fn draw_seed() -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let noise = clock.as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    Random::new(noise).below(1_000_000_000)
}
