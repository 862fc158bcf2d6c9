//! `test_client nodes`, `promote` and `switchover`: which node leads, and how another one comes to.

use crate::api::{Address, Client, Elected, Failure, Kind, Promotion, PutAside, Rejoined};
use crate::exit::Exit;
use crate::output::{GOOD, STRONG, Terminal, count, tick, visible};
use serde_json::json;
use std::io;

/// Asks nodes which of them leads: those given, or the master of the command line and the one that it names.
pub(crate) fn run_nodes(client: &Client, terminal: &mut Terminal, urls: &[Address]) -> io::Result<Exit> {
    let mut asked: Vec<Address> = if urls.is_empty() { vec![client.master().clone()] } else { urls.to_vec() };
    let (mut nodes, mut place) = (Vec::new(), 0);
    while let Some(node) = asked.get(place).cloned() {
        place += 1;
        let document = match client.leader(&node) {
            Ok(reply) => {
                let leader = reply.value;
                let part = if leader.leads { "leads" } else { "follows" };
                terminal.line(format_args!(
                    "{} {STRONG}{}{STRONG:#} ({node}) {part} in epoch {}",
                    if leader.leads { tick(true) } else { " ".to_owned() },
                    visible(&leader.server_id),
                    leader.epoch
                ))?;
                if let Some(other) = leader.led_last.and_then(|other| other.url.parse::<Address>().ok()) {
                    let other = other.on_host_of(&node);
                    if urls.is_empty() && !asked.contains(&other) {
                        asked.push(other);
                    }
                }
                json!({ "url": node.to_string(), "server_id": leader.server_id, "leads": leader.leads, "epoch": leader.epoch })
            }
            Err(failure) => {
                terminal.line(format_args!("{} {node}: {failure}", tick(false)))?;
                json!({ "url": node.to_string(), "error": failure.error })
            }
        };
        nodes.push(document);
    }
    let leads = nodes.iter().any(|node| node["leads"] == true);
    terminal.document(json!({ "nodes": nodes }).to_string().as_bytes())?;
    Ok(if leads { Exit::Success } else { Exit::Unreachable })
}

/// Promotes a node.
pub(crate) fn run_promote(
    client: &Client,
    terminal: &mut Terminal,
    node: &Address,
    promotion: Promotion,
) -> io::Result<Exit> {
    match client.promote(node, promotion) {
        Ok(reply) => {
            terminal.document(&reply.body)?;
            tell(terminal, &reply.value)
        }
        Err(failure) => failure.report(terminal),
    }
}

/// Lets a node follow again that has shown messages which the master does not have.
pub(crate) fn run_rejoin(
    client: &Client,
    terminal: &mut Terminal,
    node: &Address,
    put_aside: bool,
) -> io::Result<Exit> {
    match client.rejoin(node, put_aside) {
        Ok(reply) => {
            terminal.document(&reply.body)?;
            let Rejoined { leader, put_aside: PutAside { messages, from, to }, directory } = reply.value;
            let messages = count(messages, "message was", "messages were");
            let place = directory.map_or_else(String::new, |directory| {
                format!(", in {STRONG}{}{STRONG:#}", visible(&format!("{directory}/rollback-*-{from}-{to}.ndjson")))
            });
            terminal.line(format_args!("{messages} put aside, ids {from} to {to}{place}."))?;
            terminal.line(format_args!("{node} follows {GOOD}{}{GOOD:#}.", visible(&leader)))?;
            Ok(Exit::Success)
        }
        Err(failure) => failure.report(terminal),
    }
}

/// Lets the node that leads hand over.
pub(crate) fn run_switchover(client: &Client, terminal: &mut Terminal, to: Option<&str>) -> io::Result<Exit> {
    match find_leader(client).and_then(|leader| client.switch_over(&leader, to)) {
        Ok(reply) => {
            terminal.document(&reply.body)?;
            tell(terminal, &reply.value)
        }
        Err(failure) => failure.report(terminal),
    }
}

/// The node that leads: the master of the command line, or the one that it names.
fn find_leader(client: &Client) -> Result<Address, Failure> {
    let node = client.master();
    let leader = client.leader(node)?.value;
    if leader.leads {
        return Ok(node.clone());
    }
    let nobody = || {
        let why = format!("{} does not lead, and knows no node that does", leader.server_id);
        Failure::new(Kind::Refused, why)
    };
    let other = leader.led_last.as_ref().ok_or_else(nobody)?;
    let address: Address = other.url.parse().map_err(|_| nobody())?;
    Ok(address.on_host_of(node))
}

fn tell(terminal: &mut Terminal, elected: &Elected) -> io::Result<Exit> {
    let pause = elected.pause_ms.map_or_else(String::new, |ms| format!("; posts waited {ms} ms"));
    terminal.line(format_args!(
        "{GOOD}{}{GOOD:#} leads in epoch {STRONG}{}{STRONG:#}{pause}.",
        visible(&elected.leader),
        elected.epoch
    ))?;
    if elected.in_doubt > 0 {
        let in_doubt = count(elected.in_doubt, "message was", "messages were");
        terminal.line(format_args!("{in_doubt} in doubt, and will be committed."))?;
    }
    if !elected.removed.is_empty() {
        let names: Vec<String> = elected.removed.iter().map(|name| visible(name)).collect();
        terminal
            .line(format_args!("Removed until back: {}. Writes for all nodes do not wait for it.", names.join(", ")))?;
    }
    for (name, why) in &elected.not_removed {
        terminal.line(format_args!("Writes for all nodes wait for {}: {}", visible(name), visible(why)))?;
    }
    terminal.line(format_args!("Kept: {}.", visible(&elected.kept)))?;
    Ok(Exit::Success)
}
