//! `test_client health`: the health of every node.

use crate::api::Client;
use crate::cluster::{self, Node};
use crate::exit::Exit;
use crate::output::Terminal;
use serde_json::json;
use std::io;

/// Asks every node and shows a line for each.
pub(crate) fn run(client: &Client, terminal: &mut Terminal) -> io::Result<Exit> {
    let nodes = cluster::survey(client);
    cluster::show(terminal, &nodes)?;
    finish(terminal, &nodes)
}

/// Prints the health of every node for scripts, and returns the exit code.
pub(crate) fn finish(terminal: &Terminal, nodes: &[Node]) -> io::Result<Exit> {
    let all_reachable = nodes.iter().all(Node::is_reachable);
    let document =
        json!({ "all_reachable": all_reachable, "nodes": nodes.iter().map(cluster::document).collect::<Vec<_>>() });
    terminal.document(document.to_string().as_bytes())?;
    Ok(if all_reachable { Exit::Success } else { Exit::Unreachable })
}
