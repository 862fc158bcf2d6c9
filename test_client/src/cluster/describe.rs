//! Nodes in a table for a person, and as a document for a script.

use super::survey::Node;
use crate::api::{Health, Listed, SecondaryState};
use crate::output::{DIM, STRONG, Terminal, count, tick, visible};
use serde_json::{Value, json};
use std::io;

/// A table of the nodes.
pub(crate) fn show(terminal: &mut Terminal, nodes: &[Node]) -> io::Result<()> {
    let widest =
        |text: fn(&Node) -> &str| nodes.iter().map(|node| visible(text(node)).chars().count()).max().unwrap_or(0);
    let (names, urls) = (widest(|node| &node.server_id), widest(|node| &node.url));
    for node in nodes {
        let (name, url) = (visible(&node.server_id), visible(&node.url));
        let holds = match &node.answer {
            Ok(reply) => count(reply.value.message_count, "message", "messages"),
            Err(_) => "–".to_owned(),
        };
        terminal.line(format_args!(
            "  {} {STRONG}{name:<names$}{STRONG:#}  {DIM}{url:<urls$}{DIM:#}  {holds:>11}  {}",
            tick(node.is_reachable()),
            describe(node)
        ))?;
    }
    Ok(())
}

/// A node for scripts. `health` is its own report. The report of its master is in the master's `health`.
pub(crate) fn document(node: &Node) -> Value {
    let mut document = json!({ "server_id": node.server_id, "url": node.url, "reachable": node.is_reachable() });
    match &node.answer {
        Ok(reply) => document["health"] = serde_json::from_slice(&reply.body).unwrap_or_default(),
        Err(failure) => document["error"] = json!(failure.error),
    }
    document
}

/// A node in one line.
fn describe(node: &Node) -> String {
    match (&node.answer, &node.listed) {
        (Err(failure), Some(Listed { state: Some(SecondaryState::InSync), .. })) => {
            format!("not reachable from here, though its master reaches it: {failure}")
        }
        (Err(failure), _) => failure.to_string(),
        (Ok(reply), None) => describe_master(&reply.value),
        (Ok(reply), Some(listed)) => describe_secondary(&reply.value, listed),
    }
}

/// A master in a few words, to be read after its name.
pub(crate) fn describe_master(health: &Health) -> String {
    let reason = || health.reason.as_deref().map_or_else(String::new, |reason| format!(": {}", visible(reason)));
    match health.writable {
        Some(false) => format!("takes no messages for all nodes{}", reason()),
        Some(true) => "takes messages".to_owned(),
        None => visible(&health.status),
    }
}

fn describe_secondary(health: &Health, listed: &Listed) -> String {
    let state = match listed.state {
        Some(SecondaryState::InSync) => "in sync",
        Some(SecondaryState::CatchingUp) => "catching up",
        Some(SecondaryState::Unreachable) => "its master does not reach it",
        Some(SecondaryState::Other) | None => &visible(&health.status),
    };
    // A secondary that is in sync needs no explanation.
    let detail = listed.detail.as_deref().filter(|_| listed.state != Some(SecondaryState::InSync));
    let detail = detail.map_or_else(String::new, |detail| format!(" ({})", visible(detail)));
    let delay = match health.delay_ms {
        0 => String::new(),
        ms => format!(", acknowledges after {ms} ms"),
    };
    format!("{state}{detail}{delay}")
}
