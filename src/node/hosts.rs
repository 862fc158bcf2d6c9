//! The names under which a node serves requests without a token.
//!
//! Once a browser has loaded a page, the page's site can point its own name at this machine (*DNS rebinding*). The
//! browser then takes this node for that site, and lets the page read and post. `Host` still carries the name of the
//! site, so a node answers only to names that no other site can have: IP addresses, `localhost`, names without a dot
//! (public DNS has none), and the names in its configuration.

use crate::process::text::in_small_letters;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The configured names. Every node also answers to addresses, `localhost` and names without a dot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Vec<Pattern>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Pattern {
    Any,
    /// Every name with this ending, which begins with a dot.
    Below(String),
    Exactly(String),
}

impl Hosts {
    /// Reads names, separated by commas: `log.example.org`, `*.example.org` for everything below, `*` for all.
    ///
    /// # Errors
    /// If one of them cannot be a name.
    pub(crate) fn parse(text: &str) -> Result<Hosts, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(Pattern::parse).collect::<Result<_, _>>().map(Hosts)
    }

    /// Adds a name.
    pub(crate) fn and(mut self, name: &str) -> Hosts {
        self.0.push(Pattern::Exactly(canonical(name).into_owned()));
        self
    }

    /// Whether a `Host` header names this node.
    pub(crate) fn name(&self, host: &str) -> bool {
        let host = canonical(without_port(host));
        let is_address = host.parse::<Ipv4Addr>().is_ok()
            || host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
        let is_local = !host.contains('.') || host.ends_with(".localhost");
        is_address || is_local || self.0.iter().any(|pattern| pattern.fits(&host))
    }

    /// Whether the node answers to every name.
    pub(crate) fn are_all(&self) -> bool {
        self.0.contains(&Pattern::Any)
    }

    /// The names with a dot, for sentences. The text is empty if there are none.
    pub(crate) fn in_words(&self) -> String {
        let names = self.0.iter().filter_map(|pattern| match pattern {
            Pattern::Any => None,
            Pattern::Below(suffix) => Some(format!(", *{suffix}")),
            Pattern::Exactly(name) => name.contains('.').then(|| format!(", {name}")),
        });
        names.collect()
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, String> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        match text {
            "*" => Ok(Pattern::Any),
            _ if !is_name || name.is_empty() => Err(format!(
                "\"{}\" is not the name of a host; names have letters, digits, dots, dashes and underscores, without a \
                 port, such as log.example.org, or *.example.org for all below it",
                text.escape_debug()
            )),
            _ if name.len() < text.len() => Ok(Pattern::Below(format!(".{}", canonical(name)))),
            _ => Ok(Pattern::Exactly(canonical(name).into_owned())),
        }
    }

    fn fits(&self, host: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Below(suffix) => host.ends_with(suffix.as_str()),
            Pattern::Exactly(name) => host == name,
        }
    }
}

/// Whether an `Origin` is that of a request with this `Host`. The default port of the origin's scheme is the same as
/// none. The schemes are not compared, because a proxy may have ended TLS.
pub(crate) fn is_origin_of(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let without_default = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority.strip_suffix(default_port).map_or_else(|| authority.clone(), str::to_owned)
    };
    without_default(authority) == without_default(host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn canonical(name: &str) -> Cow<'_, str> {
    in_small_letters(name.strip_suffix('.').unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_answers_to_names_that_no_other_site_can_have() {
        let hosts = Hosts::parse("log.example.org, *.internal.example").unwrap().and("node1.lan");
        for own in [
            "127.0.0.1:5000",
            "192.0.2.7",
            "[::1]:5000",
            "[2001:db8::1]",
            "localhost:5000",
            "LOCALHOST",
            "a.localhost:5000",
            "secondary-1:5001",
            "log.example.org",
            "Log.Example.Org.:443",
            "a.b.internal.example:80",
            "node1.lan:5001",
        ] {
            assert!(hosts.name(own), "{own}");
        }
        for foreign in [
            "attacker.example",
            "attacker.example:5000",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "log.example.org.attacker.example",
            "xlog.example.org",
            "internal.example",
            "[::1].attacker.example",
        ] {
            assert!(!hosts.name(foreign), "{foreign}");
        }
        assert!(Hosts::parse("*").unwrap().name("attacker.example"));
        for wrong in ["http://log.example.org", "log.example.org:5000", "a b", "*.", "a*b"] {
            assert!(Hosts::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_default_port_is_the_same_as_none() {
        for (origin, host) in [
            ("http://node:5000", "node:5000"),
            ("http://node", "node:80"),
            ("http://node:80", "node"),
            ("https://log.example.org", "log.example.org"),
            ("https://log.example.org", "log.example.org:443"),
            ("https://Log.example.org:443", "log.example.org"),
            ("http://[::1]:5000", "[::1]:5000"),
        ] {
            assert!(is_origin_of(origin, host), "{origin} and {host}");
        }
        for (origin, host) in [
            ("null", "node"),
            ("http://node:443", "node"),
            ("https://node:80", "node"),
            ("http://other:5000", "node:5000"),
            ("http://node:5001", "node:5000"),
            ("chrome-extension://node", "node"),
        ] {
            assert!(!is_origin_of(origin, host), "{origin} and {host}");
        }
    }
}
