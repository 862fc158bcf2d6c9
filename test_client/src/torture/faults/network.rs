//! The network between nodes of our own: a relay for each secondary and direction, between it and the master.
//!
//! Relays listen on other addresses of this machine than the nodes (127.0.0.2 and so on), at the same ports. So the
//! address under which a secondary registers itself leads through its relay, too.

use super::fault::{ActiveFault, FaultSource, between};
use super::relay::{Impairment, Relay};
use crate::cluster::OwnCluster;
use crate::random::Random;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Where a secondary is reached through its relay.
const TO_SECONDARIES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The relays.
pub(crate) struct Network {
    names: Vec<&'static str>,
    links: Vec<Arc<Link>>,
    long: Duration,
}

/// What connects a secondary with its master.
struct Link {
    /// For what the master sends.
    from_master: Relay,
    /// For what the secondary asks.
    to_master: Relay,
}

impl Network {
    /// Puts relays between nodes that are not started yet, and configures the nodes accordingly. An impairment that lasts `long`
    /// outlasts their time-outs.
    pub(crate) fn between(cluster: &mut OwnCluster, long: Duration) -> io::Result<Network> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (mut links, mut urls) = (Vec::new(), Vec::new());
        for number in 1..cluster.names().len() {
            let (port, master) = (cluster.port(number), cluster.port(0));
            let own = Ipv4Addr::new(127, 0, 0, 10 + u8::try_from(number).unwrap_or(0));
            let from_master = Relay::start((TO_SECONDARIES, port).into(), local(port))?;
            let to_master = Relay::start((own, master).into(), local(master))?;
            links.push(Arc::new(Link { from_master, to_master }));
            urls.push(format!("http://{TO_SECONDARIES}:{port}"));
            cluster.set(number, "SECONDARY_HOST", TO_SECONDARIES.to_string());
            cluster.set(number, "MASTER_URL", format!("http://{own}:{master}"));
        }
        cluster.set(0, "SECONDARIES", urls.join(","));
        Ok(Network { names: cluster.names(), links, long })
    }
}

impl FaultSource for Network {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let secondaries: Vec<usize> = idle.iter().copied().filter(|node| *node > 0).collect();
        if secondaries.is_empty() {
            return Err("every secondary had a fault already".to_owned());
        }
        let node = random.one_of(&secondaries);
        let impairment = Impairment::by_chance(random);
        let link = Arc::clone(&self.links[node - 1]);
        let (from_master, to_master) = [(true, true), (true, false), (false, true)][random.index(3)];
        if from_master {
            link.from_master.impairment(impairment);
        }
        if to_master {
            link.to_master.impairment(impairment);
        }
        let way = match (from_master, to_master) {
            (true, false) => "from the master to",
            (false, true) => "to the master from",
            _ => "between the master and",
        };
        let what = format!("the way {way} {} {}", self.names[node], impairment.describe());
        let lasts = if random.one_in(5) { self.long } else { between(random, 200, 2500) };
        let undo = Box::new(move || Ok(Some(link.from_master.heal() + link.to_master.heal())));
        Ok(ActiveFault { what, nodes: vec![node], lasts, undo })
    }
}
