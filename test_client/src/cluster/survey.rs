//! The nodes of a cluster, and the address of each from here.
//!
//! The master lists its secondaries by the addresses that it uses itself. Inside a compose network these are names like
//! `http://secondary-1:5001` that do not resolve outside, where the same port is published on the master's host. So the
//! client looks for such a node there. Two nodes may use one port inside, so what answers there must give the right
//! name.

use crate::api::Address;
use crate::api::{Client, Failure, Health, Kind, Listed, Reply, SecondaryState};

/// A node, and its health.
pub(crate) struct Node {
    /// Its name.
    pub(crate) server_id: String,
    /// The address at which the client asked it, or the one that the master lists if that is not valid.
    pub(crate) url: String,
    /// The address at which the client asked it, if that is valid.
    pub(crate) address: Option<Address>,
    /// The report of its master, or `None` for the master itself.
    pub(crate) listed: Option<Listed>,
    /// Its own report.
    pub(crate) answer: Result<Reply<Health>, Failure>,
}

impl Node {
    /// Whether it answers, and its master reaches it.
    pub(crate) fn is_reachable(&self) -> bool {
        let master_reaches_it =
            self.listed.as_ref().is_none_or(|listed| listed.state != Some(SecondaryState::Unreachable));
        self.answer.is_ok() && master_reaches_it
    }
}

/// Asks the master, and each secondary that it lists. The master comes first.
pub(crate) fn survey(client: &Client) -> Vec<Node> {
    let master = client.master();
    let answer = client.health(master);
    let listed = answer.as_ref().map(|reply| reply.value.secondaries.clone()).unwrap_or_default();
    let server_id = answer.as_ref().map_or_else(|_| "master".to_owned(), |reply| reply.value.server_id.clone());
    let first = Node { server_id, url: master.to_string(), address: Some(master.clone()), listed: None, answer };
    std::iter::once(first).chain(listed.into_iter().map(|listed| ask(client, listed))).collect()
}

fn ask(client: &Client, listed: Listed) -> Node {
    let server_id = listed.server_id.clone();
    match listed.url.parse::<Address>() {
        Ok(address) => {
            let (address, answer) = ask_at(client, &listed, address);
            Node { server_id, url: address.to_string(), address: Some(address), listed: Some(listed), answer }
        }
        Err(why) => {
            let error = format!("the master lists it as {}: {why}", listed.url);
            let url = listed.url.clone();
            Node {
                server_id,
                url,
                address: None,
                listed: Some(listed),
                answer: Err(Failure::new(Kind::Unreachable, error)),
            }
        }
    }
}

fn ask_at(client: &Client, listed: &Listed, address: Address) -> (Address, Result<Reply<Health>, Failure>) {
    if means_the_same_here(&address, client.master()) {
        let answer = client.health(&address);
        return (address, answer);
    }
    let stand_in = address.on_host_of(client.master());
    let answer = client.health(&stand_in).and_then(|reply| match &reply.value.server_id {
        found if *found == listed.server_id => Ok(reply),
        found => Err(Failure::new(Kind::Unreachable, format!("{stand_in} is {found}"))),
    });
    let answer = answer.map_err(|failure| {
        let error = format!("{address} is not known here, and in its place {}", failure.error);
        Failure { error, ..failure }
    });
    (stand_in, answer)
}

/// Whether an address that the master uses leads to the same node from here. It does not if its name does not resolve
/// here, nor if it is `localhost` on another machine.
fn means_the_same_here(address: &Address, master: &Address) -> bool {
    match address.resolve() {
        Ok(_) => !is_local(address) || is_local(master),
        Err(_) => false,
    }
}

fn is_local(address: &Address) -> bool {
    address.resolve().is_ok_and(|sockets| sockets.iter().all(|socket| socket.ip().is_loopback()))
}
