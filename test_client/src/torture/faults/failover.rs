//! Nodes of our own that take the lead from each other: the one that leads is killed or stopped and another one promoted,
//! both others at once, or it hands over.

use super::fault::{ActiveFault, FaultSource, between};
use super::processes::{kill, pause};
use crate::api::{Client, Promotion};
use crate::cluster::OwnCluster;
use crate::output::visible;
use crate::random::Random;
use std::sync::Arc;
use std::thread;

/// Replaces the master of a cluster of our own.
pub(crate) struct Failover {
    pub(crate) client: Client,
    pub(crate) cluster: Arc<OwnCluster>,
}

impl Failover {
    /// Lets any node lead, and every node find the others.
    pub(crate) fn prepare(cluster: &mut OwnCluster) {
        let numbers = 0..cluster.names().len();
        let urls: Vec<String> =
            numbers.clone().map(|number| format!("http://localhost:{}", cluster.port(number))).collect();
        for number in numbers {
            cluster.set(number, "PROMOTION", "on");
            let others = urls.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, url)| url.as_str());
            cluster.set(number, "MASTER_URL", others.collect::<Vec<_>>().join(","));
        }
    }

    fn leader(&self) -> Option<usize> {
        let nodes = self.cluster.nodes();
        let leads = |node: &usize| self.client.leader(&nodes[*node].1).is_ok_and(|reply| reply.value.leads);
        (0..nodes.len()).find(leads)
    }

    /// Promotes nodes, side by side. Gives what became of each.
    fn promote(&self, candidates: &[usize]) -> Vec<String> {
        let nodes = self.cluster.nodes();
        let promotion = Promotion { keep: false, force: false };
        let promote = |&candidate: &usize| {
            let (name, address) = &nodes[candidate];
            match self.client.promote(address, promotion) {
                Ok(_) => format!("{name} promoted"),
                Err(failure) => format!("{name} was promoted in vain: {}", visible(&failure.error)),
            }
        };
        let promote = &promote;
        thread::scope(|scope| {
            let asked: Vec<_> = candidates.iter().map(|node| scope.spawn(move || promote(node))).collect();
            asked.into_iter().filter_map(|asked| asked.join().ok()).collect()
        })
    }
}

impl FaultSource for Failover {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let leader = self.leader().ok_or("no node led")?;
        if !idle.contains(&leader) {
            return Err("the node that led had a fault already".to_owned());
        }
        let others: Vec<usize> = idle.iter().copied().filter(|node| *node != leader).collect();
        if others.is_empty() {
            return Err("no other node was there to lead".to_owned());
        }
        let nodes = self.cluster.nodes();
        let (name, candidate) = (&nodes[leader].0, random.one_of(&others));
        let how = random.below(6);
        if how < 2 {
            let reply = self.client.switch_over(&nodes[leader].1, Some(&nodes[candidate].0));
            let elected = reply.map_err(|failure| format!("{name} did not hand over: {failure}"))?.value;
            let what = format!("{name} handed over to {} in {} ms", elected.leader, elected.pause_ms.unwrap_or(0));
            let lasts = between(random, 0, 500);
            return Ok(ActiveFault { what, nodes: vec![leader], lasts, undo: Box::new(|| Ok(None)) });
        }
        let candidates = if how == 2 { others } else { vec![candidate] };
        let lasts = between(random, 0, 2_000);
        let mut fault = match how {
            3 => pause(&self.cluster, vec![leader], name, lasts)?,
            _ => kill(&self.cluster, vec![leader], name, lasts)?,
        };
        fault.what = format!("{}; {}", fault.what, self.promote(&candidates).join("; "));
        Ok(fault)
    }
}
