//! Secondaries of our own that leave the cluster and come back: the master is told to forget them.
//!
//! Each knows its master and registers itself again soon, so it is back before long, whatever happens to the master
//! meanwhile. Some are killed beside that, as if a machine were taken away.

use super::{ActiveFault, Class, FaultSource, between};
use crate::api::Client;
use crate::cluster::OwnCluster;
use crate::random::Random;
use std::sync::Arc;

/// Tells the master to forget secondaries.
pub(in super::super) struct Members {
    pub(in super::super) client: Client,
    pub(in super::super) cluster: Arc<OwnCluster>,
    pub(in super::super) names: Vec<String>,
}

impl Members {
    /// Lets secondaries that are not started yet register themselves.
    pub(in super::super) fn know_their_master(cluster: &mut OwnCluster, names: &[String]) {
        let master = format!("http://localhost:{}", cluster.port(0));
        (1..names.len()).for_each(|number| cluster.set(number, "MASTER_URL", &*master));
    }
}

impl FaultSource for Members {
    fn class(&self) -> Class {
        Class::Members
    }

    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        if !idle.contains(&0) {
            return Err("the master had a fault already".to_owned());
        }
        let listed = self.client.health(self.client.master()).map_err(|failure| failure.to_string())?.value.secondaries;
        let is_there = |node: &usize| listed.iter().any(|member| member.server_id == self.names[*node]);
        let secondaries: Vec<usize> = idle.iter().copied().filter(is_there).collect();
        if secondaries.is_empty() {
            return Err("every secondary had a fault already, or was not back from the last one".to_owned());
        }
        let node = random.one_of(&secondaries);
        let (name, is_killed) = (&self.names[node], random.one_in(3));
        let removed = self.client.remove(name);
        removed.map_err(|failure| format!("the master did not forget {name}: {failure}"))?;
        if is_killed {
            self.cluster.kill(node)?;
        }
        let cluster = Arc::clone(&self.cluster);
        let undo = Box::new(move || {
            if is_killed {
                cluster.start(node)?;
            }
            Ok(None)
        });
        let what = format!("{name} removed{}", if is_killed { " and killed" } else { "" });
        Ok(ActiveFault { what, nodes: vec![node], lasts: between(random, 0, 2500), undo })
    }
}
