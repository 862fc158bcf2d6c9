//! Secondaries of our own that leave the cluster and come back: a request makes the master forget them.
//!
//! Each knows its master and registers itself again soon, so it is back before long, whatever happens to the master
//! meanwhile. Some are killed beside that, as if a machine were taken away.

use super::fault::{ActiveFault, FaultSource, between};
use crate::api::Client;
use crate::cluster::OwnCluster;
use crate::random::Random;
use std::sync::Arc;

/// Makes the master forget secondaries.
pub(crate) struct Members {
    pub(crate) client: Client,
    pub(crate) cluster: Arc<OwnCluster>,
}

impl Members {
    /// Lets secondaries that are not started yet register themselves.
    pub(crate) fn know_their_master(cluster: &mut OwnCluster) {
        let master = format!("http://localhost:{}", cluster.port(0));
        (1..cluster.names().len()).for_each(|number| cluster.set(number, "MASTER_URL", &*master));
    }
}

impl FaultSource for Members {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        if !idle.contains(&0) {
            return Err("the master had a fault already".to_owned());
        }
        let listed = self.client.health(self.client.master()).map_err(|failure| failure.to_string())?.value.secondaries;
        let names = self.cluster.names();
        let is_there = |node: &usize| listed.iter().any(|member| member.server_id == names[*node]);
        let secondaries: Vec<usize> = idle.iter().copied().filter(is_there).collect();
        if secondaries.is_empty() {
            return Err("every secondary had a fault already, or was not back from the last one".to_owned());
        }
        let node = random.one_of(&secondaries);
        let (name, is_killed) = (names[node], random.one_in(3));
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
