//! The addresses of nodes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of a node: `http://HOST:PORT`, and nothing else, so that no client can make a node call something that
/// is not a node.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeUrl {
    host: String,
    port: u16,
}

impl NodeUrl {
    /// The node on this host and port.
    ///
    /// # Errors
    /// As [`NodeUrl::parse`].
    pub fn new(host: &str, port: u16) -> Result<NodeUrl, String> {
        NodeUrl::parse(&format!("http://{host}:{port}"))
    }

    /// Reads `http://HOST:PORT`, or with a slash at the end. Without a port, it is port 80.
    ///
    /// # Errors
    /// With a sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<NodeUrl, String> {
        let wrong = |why: &str| Err(format!("\"{}\" is not the address of a node: {why}", text.escape_debug()));
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("it must begin with http://");
        };
        if !scheme.eq_ignore_ascii_case("http") {
            return wrong("nodes speak http:// only");
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return wrong("it must not contain credentials");
        }
        if authority.contains(['/', '?', '#']) {
            return wrong("it must end after the port");
        }
        let (host, port) = split_port(authority);
        let port =
            port.map_or(Some(80), |digits| digits.parse().ok().filter(|&port| port > 0 && !digits.starts_with('+')));
        let Some(port) = port else {
            return wrong("the port must be a number from 1 to 65535");
        };
        if !is_host(host) {
            return wrong("its host is not one that a node can call");
        }
        Ok(NodeUrl { host: host.to_ascii_lowercase(), port })
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    // The colons of an IPv6 address are within brackets.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|ip| is_of_one_node(ip.to_canonical()));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return is_of_one_node(ip.into());
    }
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && !is_number_in_disguise(host)
}

/// Whether an address can be that of a node. Link-local ones cannot, because clouds serve a machine's credentials
/// there.
fn is_of_one_node(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_unspecified() && !ip.is_multicast() && !link_local
}

/// Whether resolvers take a name for an address, as `2130706433` and `0x7f.1`.
fn is_number_in_disguise(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X")
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::NodeUrl;

    #[test]
    fn addresses_are_written_one_way() {
        for (given, written) in [
            ("http://localhost:5001", "http://localhost:5001"),
            ("http://LocalHost:5001/", "http://localhost:5001"),
            ("HTTP://10.0.0.7", "http://10.0.0.7:80"),
            ("http://[::1]:5001", "http://[::1]:5001"),
            ("http://secondary_1:5001", "http://secondary_1:5001"),
        ] {
            assert_eq!(NodeUrl::parse(given).unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for bad in [
            "",
            "localhost:5001",
            "ftp://localhost:5001",
            "https://localhost:5001",
            "file:///etc/passwd",
            "http://",
            "http://:5001",
            "http://user@localhost:5001",
            "http://localhost:5001/path",
            "http://localhost:5001?x",
            "http://localhost:5001#x",
            "http://localhost:0",
            "http://localhost:99999",
            "http://localhost:abc",
            "http://localhost:",
            "http://0.0.0.0:5001",
            "http://224.0.0.1:5001",
            "http://[::]:5001",
            "http://[::1]x:5001",
            "http://[::1]5001",
            "http://localhost:+5001",
            "http://169.254.169.254:80",
            "http://[fe80::1]:5001",
            "http://[::ffff:169.254.169.254]:80",
            "http://[::ffff:0.0.0.0]:5001",
            "http://2130706433:5001",
            "http://127.1:5001",
            "http://0x7f.0x1:5001",
            "http://0:5001",
            "http://a b:5001",
            "http://a\r\nX: y:5001",
        ] {
            assert!(NodeUrl::parse(bad).is_err(), "{bad:?}");
        }
    }
}
