//! `test_client get`: the messages that one node shows.

use crate::api::Address;
use crate::api::{Client, Messages};
use crate::exit::Exit;
use crate::output::{DIM, STRONG, Screen, count, visible};
use std::io;

/// Lists the messages of a node; of the master if none is named.
pub(crate) fn run(client: &Client, screen: &mut Screen, url: Option<&Address>) -> io::Result<Exit> {
    let node = url.unwrap_or(client.master());
    match client.messages(node) {
        Ok(reply) => {
            show(screen, node, &reply.value)?;
            screen.document(&reply.body)?;
            Ok(Exit::Success)
        }
        Err(failure) => screen.fail(&failure),
    }
}

fn show(screen: &mut Screen, node: &Address, shown: &Messages) -> io::Result<()> {
    let (role, name) = (visible(&shown.server_role), visible(&shown.server_id));
    let who = if role == name { role } else { format!("{role} {name}") };
    let total = count(shown.messages.len(), "message", "messages");
    screen.line(format_args!("{STRONG}{total}{STRONG:#} {DIM}at {node}, {}{DIM:#}", who.trim()))?;
    if shown.possibly_stale {
        screen.line("The node says that newer messages may be missing here.")?;
    }
    if shown.messages.is_empty() {
        return Ok(());
    }
    let ids = shown.messages.last().map_or(2, |message| message.id.to_string().len().max(2));
    screen.line(format_args!("{DIM}{:>ids$}  {:<24}  message{DIM:#}", "id", "timestamp"))?;
    for message in &shown.messages {
        let (time, text) = (visible(&message.timestamp), visible(&message.message));
        screen.line(format_args!("{:>ids$}  {DIM}{time:<24}{DIM:#}  {text}", message.id))?;
    }
    Ok(())
}
