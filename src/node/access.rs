//! Which client may do what.
//!
//! A node can have two tokens. Where `CLUSTER_TOKEN` is set, only a client that shows it may replicate, register or
//! remove a node, or ask for faults. Where `CLIENT_TOKEN` is set, a client needs one of the two tokens for everything
//! else. Only liveness and readiness need none, because orchestrators ask for them.
//!
//! How a client shows a token, and how a node compares it, is in [`token`](crate::wire::token).
//!
//! Three more checks keep a node from serving requests that its operator did not intend:
//!
//! - A request that would change something is refused if the browser says that it comes from a page of another site
//!   (`Sec-Fetch-Site`, or `Origin`).
//! - A request without a token has to name this node in `Host`, see [`hosts`].
//! - Without a cluster token, the master accepts a registration only from the node itself or from its own machine.
//!   Otherwise any client could make the master call any address.

use crate::http::{Exchange, Method, Reply};
use crate::node::hosts::{self, Hosts};
use crate::node::origins::Origins;
use crate::wire::address::NodeUrl;
use crate::wire::token::{Token, secret};
use std::net::{IpAddr, ToSocketAddrs};

/// Which clients may use a route. Each guard admits all clients that the next one admits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Guard {
    /// Every client.
    Open,
    /// A client that shows one of the tokens.
    Client,
    /// A client that shows the token of the cluster.
    Cluster,
}

/// The tokens of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) cluster: Option<Token>,
    pub(crate) client: Option<Token>,
    /// Names of this node, for requests without a token.
    pub(crate) hosts: Hosts,
    /// Other sites whose pages may use this node.
    pub(crate) origins: Origins,
}

impl Access {
    /// The token that this process shows when it asks a node for its log.
    pub(crate) fn own(&self) -> Option<&Token> {
        self.cluster.as_ref().or(self.client.as_ref())
    }

    /// Checks whether a request may use a route.
    ///
    /// # Errors
    /// With the reply that refuses the request.
    pub(crate) fn admit(&self, exchange: &Exchange, guard: Guard) -> Result<(), Reply> {
        let is_allowed = |origin| self.origins.allow(origin);
        if exchange.method() != Method::Get && !exchange.header("Origin").is_some_and(is_allowed) {
            check_site(exchange)?;
        }
        let token = match guard {
            Guard::Open => return Ok(()),
            Guard::Cluster => &self.cluster,
            Guard::Client => &self.client,
        };
        let Some(token) = token else { return self.check_host(exchange) };
        let Some(given) = exchange.header("Authorization").and_then(secret) else {
            return Err(refused("this needs a token: Authorization: Bearer TOKEN"));
        };
        let is = |token: &Option<Token>| token.as_ref().is_some_and(|token| token.is(&given));
        if token.is(&given) || is(&self.cluster) {
            return Ok(());
        }
        if is(&self.client) {
            return Err(Reply::problem(403, "this needs the token of the cluster, not that of clients"));
        }
        log::warn!("{} showed a wrong token", exchange.client());
        Err(refused("the token is wrong"))
    }

    /// Refuses a request that names another host, unless it shows the token of the cluster.
    fn check_host(&self, exchange: &Exchange) -> Result<(), Reply> {
        let Some(host) = exchange.host().filter(|host| !self.hosts.name(host)) else { return Ok(()) };
        let shown = exchange.header("Authorization").and_then(secret);
        if shown.is_some_and(|shown| self.cluster.as_ref().is_some_and(|token| token.is(&shown))) {
            return Ok(());
        }
        log::warn!("{} was refused: it asked for the host {host}, which does not name this node", exchange.client());
        Err(Reply::problem(
            403,
            &format!(
                "this node does not serve the host {}: without a token, it serves IP addresses, localhost, names without a \
                 dot{}. If the name is right, put it into ALLOW_HOSTS, set CLIENT_TOKEN, or let the proxy in front send \
                 another Host",
                host.escape_debug(),
                self.hosts.in_words()
            ),
        ))
    }

    /// Checks whether a client may make the master call an address.
    ///
    /// # Errors
    /// With the reason.
    pub(crate) fn admit_registration(&self, client: Option<IpAddr>, url: &NodeUrl) -> Result<(), String> {
        if self.cluster.is_some() || client.is_none_or(|client| client.to_canonical().is_loopback()) {
            return Ok(());
        }
        let addresses = (url.host().trim_matches(['[', ']']), url.port()).to_socket_addrs();
        let is_the_client = |ip: IpAddr| client.is_some_and(|client| client.to_canonical() == ip.to_canonical());
        if addresses.is_ok_and(|mut addresses| addresses.any(|address| is_the_client(address.ip()))) {
            return Ok(());
        }
        Err(format!(
            "{url} is not where this request comes from; without a CLUSTER_TOKEN a node registers itself, or is registered \
             from the machine of the master"
        ))
    }
}

fn refused(why: &str) -> Reply {
    Reply::problem(401, why).with_header("WWW-Authenticate", "Basic realm=\"replicated-log\", Bearer")
}

/// Refuses a request if the browser says that a page of another site sent it.
fn check_site(exchange: &Exchange) -> Result<(), Reply> {
    let (site, origin) = (exchange.header("Sec-Fetch-Site"), exchange.header("Origin"));
    let host = exchange.host().unwrap_or_default();
    let is_own = match (site, origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => hosts::is_origin_of(origin, host),
        (None, None) => true,
    };
    if is_own {
        return Ok(());
    }
    Err(Reply::problem(
        403,
        &format!(
            "a page of another site ({}) sent this to {}; only pages of this node, and of the origins in ALLOW_ORIGIN, \
             may. A proxy in front of it has to pass Host as the browser sent it",
            origin.unwrap_or("which the browser does not name").escape_debug(),
            host.escape_debug()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_a_node_is_registered_by_itself_or_from_the_machine_of_the_master() {
        let url = |text: &str| NodeUrl::parse(text).unwrap();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let open = Access::default();
        assert!(open.admit_registration(ip("127.0.0.1"), &url("http://192.0.2.1:80")).is_ok());
        assert!(open.admit_registration(ip("::ffff:127.0.0.1"), &url("http://192.0.2.1:80")).is_ok());
        assert!(open.admit_registration(ip("192.0.2.7"), &url("http://192.0.2.7:5001")).is_ok());
        assert!(open.admit_registration(ip("192.0.2.7"), &url("http://192.0.2.8:5001")).is_err());
        assert!(open.admit_registration(ip("192.0.2.7"), &url("http://localhost:5001")).is_err());
        let guarded = Access { cluster: Some(Token::parse(&"x".repeat(16)).unwrap()), ..Access::default() };
        assert!(guarded.admit_registration(ip("192.0.2.7"), &url("http://192.0.2.8:5001")).is_ok());
    }
}
