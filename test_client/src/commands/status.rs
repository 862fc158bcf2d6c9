//! `test_client status`: all nodes in a table that refreshes, and `test_client secondaries`: once.

use super::health;
use crate::api::{Client, Listed};
use crate::cluster;
use crate::exit::Exit;
use crate::output::{DIM, STRONG, Terminal, tick, visible};
use serde_json::json;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

/// Moves the cursor to the top left, and clears everything below it.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows the nodes at this interval until Ctrl-C, or once if the output is not a terminal.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, json: bool, every_s: f64) -> io::Result<Exit> {
    let is_watched = io::stdout().is_terminal() && !json;
    loop {
        let nodes = cluster::survey(client);
        if is_watched {
            terminal.line(CLEAR)?;
        }
        terminal.line(format_args!("{STRONG}{}{STRONG:#}", client.master()))?;
        cluster::show(terminal, &nodes)?;
        if let Ok(master) = &nodes[0].answer {
            terminal.gap()?;
            secondaries(terminal, master.value.last, &master.value.secondaries)?;
        }
        if !is_watched {
            return health::finish(terminal, &nodes);
        }
        terminal.line(format_args!("{DIM}every {every_s} s; Ctrl-C ends it{DIM:#}"))?;
        thread::sleep(Duration::from_secs_f64(every_s));
    }
}

/// Lists the secondaries that the master knows, and how far each is.
pub(crate) fn run_secondaries(client: &Client, terminal: &mut Terminal) -> io::Result<Exit> {
    match client.health(client.master()) {
        Ok(reply) => {
            secondaries(terminal, reply.value.last, &reply.value.secondaries)?;
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            terminal.document(json!({ "secondaries": body["secondaries"] }).to_string().as_bytes())?;
            Ok(Exit::Success)
        }
        Err(failure) => failure.report(terminal),
    }
}

fn secondaries(terminal: &mut Terminal, last: u64, listed: &[Listed]) -> io::Result<()> {
    if listed.is_empty() {
        return terminal.line("No secondary is registered: a write needs only the master's own copy.");
    }
    let names = listed.iter().map(|one| visible(&one.server_id).chars().count()).max().unwrap_or(0).max(9);
    terminal.line(format_args!(
        "{DIM}    {:<names$}  {:>10}  {:>8}  {:>8}  state{DIM:#}",
        "secondary", "holds", "lag", "delay"
    ))?;
    for one in listed {
        let (matched, delay_ms) = (one.matched.unwrap_or_default(), one.delay_ms.unwrap_or_default());
        let lag = last.saturating_sub(matched);
        let detail = one.detail.as_deref().map(visible).unwrap_or_default();
        terminal.line(format_args!(
            "  {} {STRONG}{:<names$}{STRONG:#}  {matched:>10}  {lag:>8}  {delay_ms:>5} ms  {detail}",
            tick(one.is_in_sync()),
            visible(&one.server_id),
        ))?;
    }
    Ok(())
}
