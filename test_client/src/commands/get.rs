//! `test_client get`: the messages that one node shows.

use crate::api::Address;
use crate::api::{Client, Messages};
use crate::exit::Exit;
use crate::output::{DIM, STRONG, Terminal, count, visible};
use std::io;

/// Lists the messages of a node, by default of the master.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, url: Option<&Address>) -> io::Result<Exit> {
    let node = url.unwrap_or(client.master());
    match client.messages(node, 1) {
        Ok(reply) => {
            show(terminal, node, &reply.value)?;
            terminal.document(&reply.body)?;
            Ok(Exit::Success)
        }
        Err(failure) => failure.report(terminal),
    }
}

fn show(terminal: &mut Terminal, node: &Address, shown: &Messages) -> io::Result<()> {
    let (role, name) = (visible(&shown.server_role), visible(&shown.server_id));
    let who = if role == name { role } else { format!("{role} {name}") };
    let total = count(shown.messages.len(), "message", "messages");
    terminal.line(format_args!("{STRONG}{total}{STRONG:#} {DIM}at {node}, {}{DIM:#}", who.trim()))?;
    if shown.possibly_stale {
        terminal.line("The node says that newer messages may be missing here.")?;
    }
    if shown.messages.is_empty() {
        return Ok(());
    }
    let ids = shown.messages.last().map_or(2, |message| message.id.to_string().len().max(2));
    terminal.line(format_args!("{DIM}{:>ids$}  {:<24}  message{DIM:#}", "id", "timestamp"))?;
    for message in &shown.messages {
        let (time, text) = (visible(&message.timestamp), visible(&message.message));
        terminal.line(format_args!("{:>ids$}  {DIM}{time:<24}{DIM:#}  {text}", message.id))?;
    }
    Ok(())
}
