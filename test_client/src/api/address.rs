//! Where a node listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use ureq::http::Uri;

/// Host and port of a node, shown and typed as `http://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// As in a URL: an IPv6 address has brackets.
    host: String,
    port: u16,
}

impl Address {
    /// The socket addresses that the host's name stands for, here.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        Ok((bare, self.port).to_socket_addrs()?.collect())
    }

    /// The same port on another node's host.
    pub(crate) fn on_host_of(&self, other: &Address) -> Address {
        Address { host: other.host.clone(), port: self.port }
    }

    /// Host and port, as the head of a request names them.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = with_scheme.parse().map_err(|error| format!("it is not http://HOST:PORT ({error})"))?;
        if uri.scheme_str() != Some("http") {
            return Err("nodes speak plain HTTP: http://HOST:PORT".to_owned());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("leave the path out: http://HOST:PORT".to_owned());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("it names no host: http://HOST:PORT")?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let port = match authority.strip_prefix(host) {
            Some("") => 80,
            Some(rest) => {
                rest.strip_prefix(':').and_then(port_number).ok_or("the port is not a number from 1 to 65535")?
            }
            None => return Err("leave the user name out: http://HOST:PORT".to_owned()),
        };
        Ok(Address { host: host.to_owned(), port })
    }
}

fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_understood() {
        for (typed, meant) in [
            ("http://localhost:5000", "http://localhost:5000"),
            ("http://localhost:5000/", "http://localhost:5000"),
            ("localhost:5000", "http://localhost:5000"),
            ("http://node", "http://node:80"),
            ("http://[::1]:5000", "http://[::1]:5000"),
        ] {
            assert_eq!(typed.parse::<Address>().map(|address| address.to_string()), Ok(meant.to_owned()), "{typed}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_a_reason() {
        for (typed, reason) in [
            ("", "http://HOST:PORT"),
            ("https://localhost:5000", "plain HTTP"),
            ("http://localhost:5000/messages", "leave the path out"),
            ("http://localhost:70000", "port"),
            ("http://localhost:0", "port"),
            ("http://me@localhost:5000", "user name"),
        ] {
            let error = typed.parse::<Address>().unwrap_err();
            assert!(error.contains(reason), "{typed}: {error}");
        }
    }

    #[test]
    fn brackets_do_not_hinder_resolving() {
        let address: Address = "http://[::1]:5000".parse().unwrap();
        assert_eq!(address.resolve().unwrap(), ["[::1]:5000".parse().unwrap()]);
    }
}
