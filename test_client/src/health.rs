//! `test_client health`: how every node is.

use crate::api::Client;
use crate::cluster::{self, Node};
use crate::exit::Exit;
use crate::screen::{DIM, STRONG, Screen, count, tick, visible};
use serde_json::{Value, json};
use std::io;

/// Asks every node and shows a line for each.
pub(crate) fn run(client: &Client, screen: &mut Screen) -> io::Result<Exit> {
    let nodes = cluster::survey(client);
    show(screen, &nodes)?;
    tell(screen, &nodes)
}

/// The same for scripts. Gives the exit code.
pub(crate) fn tell(screen: &Screen, nodes: &[Node]) -> io::Result<Exit> {
    let all_reachable = nodes.iter().all(Node::is_reachable);
    let document = json!({ "all_reachable": all_reachable, "nodes": nodes.iter().map(document).collect::<Vec<_>>() });
    screen.document(document.to_string().as_bytes())?;
    Ok(if all_reachable { Exit::Success } else { Exit::Unreachable })
}

/// A table of the nodes.
pub(crate) fn show(screen: &mut Screen, nodes: &[Node]) -> io::Result<()> {
    let widest =
        |text: fn(&Node) -> &str| nodes.iter().map(|node| visible(text(node)).chars().count()).max().unwrap_or(0);
    let (names, urls) = (widest(|node| &node.server_id), widest(|node| &node.url));
    for node in nodes {
        let (name, url) = (visible(&node.server_id), visible(&node.url));
        let holds = match &node.answer {
            Ok(reply) => count(reply.value.message_count, "message", "messages"),
            Err(_) => "–".to_owned(),
        };
        screen.line(format_args!(
            "  {} {STRONG}{name:<names$}{STRONG:#}  {DIM}{url:<urls$}{DIM:#}  {holds:>11}  {}",
            tick(node.is_reachable()),
            cluster::describe(node)
        ))?;
    }
    Ok(())
}

/// A node, for scripts: what it says itself under `health`, what its master says of it is in the master's `health`.
pub(crate) fn document(node: &Node) -> Value {
    let mut document = json!({ "server_id": node.server_id, "url": node.url, "reachable": node.is_reachable() });
    match &node.answer {
        Ok(reply) => document["health"] = serde_json::from_slice(&reply.body).unwrap_or_default(),
        Err(failure) => document["error"] = json!(failure.error),
    }
    document
}
