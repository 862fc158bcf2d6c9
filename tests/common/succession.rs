//! Clusters of which any node may come to lead.

use super::{Cluster, Node, Reply, get, post, try_get, wait_until};
use serde_json::{Value, json};

/// Three nodes, each of which votes.
pub(crate) fn start() -> Cluster {
    let cluster = Cluster::start_with(&["0", "0"], &[("PROMOTION", "on")]);
    wait_for_voters(&cluster, 3);
    cluster
}

pub(crate) fn wait_for_voters(cluster: &Cluster, voters: u64) {
    let knows = |node: &Node| preview(node)["voters"].as_u64() == Some(voters);
    wait_until("every node knows who votes", || cluster.nodes().all(|node| leads(node) || knows(node)));
}

pub(crate) fn preview(node: &Node) -> Value {
    get(&node.url("/promotion")).body
}

pub(crate) fn leads(node: &Node) -> bool {
    try_get(&node.url("/leader")).is_some_and(|reply| reply.status == 200)
}

pub(crate) fn promote(node: &Node) -> Reply {
    post(&node.url("/promotion"), &json!({}))
}

pub(crate) fn write(node: &Node, body: &Value) -> Reply {
    post(&node.url("/messages"), body)
}

/// Every secondary takes part under the node that leads, and all nodes hold the same.
pub(crate) fn wait_for_peace(cluster: &Cluster) {
    let is_quiet = || {
        let leader = cluster.nodes().find(|node| leads(node));
        leader.is_some_and(|leader| {
            let health = leader.health();
            let secondaries = health["secondaries"].as_array().cloned().unwrap_or_default();
            let in_sync = secondaries.iter().all(|secondary| secondary["state"] == "in_sync");
            secondaries.len() == 2 && in_sync && get(&leader.url("/verify")).body["identical"] == true
        })
    };
    wait_until("all nodes are in sync and hold the same", is_quiet);
}
