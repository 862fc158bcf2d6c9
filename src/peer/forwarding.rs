//! Passes a client's request on to the master, and its reply back.
//!
//! A write may take as long as its client allows, up to a day, so such a call has no time-out for its reply. Two things
//! end the wait for a reply that will not come: the system asks the other end of the connection whether it still knows it
//! (TCP keepalive), and while nothing comes, the node asks the master every [`PROBE_INTERVAL`], over another connection,
//! whether it is alive.
//!
//! Nothing is sent twice: after a connection broke, the master may have the message. Each request has a connection of
//! its own, because one that was kept may be closed just when a message is sent through it, and the outcome would be
//! unknown without need.

use super::{CONNECT_TIMEOUT, explain};
use crate::process::state_lock::before_io;
use crate::wire::address::NodeUrl;
use socket2::{SockRef, TcpKeepalive};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Agent, Error};

/// How long nothing may come before the master is asked whether it is alive.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the master may take nothing of a request.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the system asks the other end of a silent connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// What is passed on of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forwarded<'a> {
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: &'a [u8],
}

/// The master's reply.
pub(crate) struct Returned {
    pub(crate) status: u16,
    /// Those of the wanted headers that it has.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Box<dyn Read + Send>,
    /// The length of the body, if it is known.
    pub(crate) bytes: Option<u64>,
}

/// Why a request was not passed on, or its reply not back.
#[derive(Debug)]
pub(crate) enum ForwardError {
    /// The master could not be reached, so it has nothing of the request.
    NotSent(String),
    /// It may have the request.
    Unknown(String),
}

/// A client that passes requests on.
#[derive(Debug)]
pub(crate) struct Forwarder {
    agent: Agent,
}

/// Why no connection could be made.
#[derive(Debug)]
struct NotConnected(String);

impl std::fmt::Display for NotConnected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotConnected {}

impl Forwarder {
    pub(crate) fn new() -> Forwarder {
        let config = || super::config().timeout_connect(Some(CONNECT_TIMEOUT)).max_idle_connections(0);
        let probes = Agent::from(config().timeout_recv_response(Some(PROBE_TIMEOUT)).build());
        let connector = PatientConnector { probes };
        Forwarder { agent: Agent::with_parts(config().build(), connector, DefaultResolver::default()) }
    }

    /// Passes a post on to the master. Gives the reply with those of these headers that it has.
    pub(crate) fn post(
        &self,
        master: &NodeUrl,
        request: Forwarded<'_>,
        wanted: &[&'static str],
    ) -> Result<Returned, ForwardError> {
        before_io("the master is called");
        let mut post = self.agent.post(format!("{master}{}", escaped(request.target)));
        for (name, value) in request.headers {
            post = post.header(*name, value);
        }
        let response = post.send(request.body).map_err(|error| match error {
            Error::Other(why) if why.is::<NotConnected>() => ForwardError::NotSent(why.to_string()),
            Error::HostNotFound | Error::BadUri(_) | Error::Http(_) | Error::Timeout(_) => {
                ForwardError::NotSent(explain(&error))
            }
            _ => ForwardError::Unknown(explain(&error)),
        })?;
        let value = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let headers = wanted.iter().filter_map(|&name| Some((name, value(name)?.to_owned()))).collect();
        let bytes = value("Content-Length").and_then(|length| length.parse().ok());
        let status = response.status().as_u16();
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Returned { status, headers, body: Box::new(body), bytes })
    }
}

/// A target as a URI has to be: clients send some characters that must be escaped there.
fn escaped(target: &str) -> String {
    target.bytes().fold(String::with_capacity(target.len()), |mut uri, byte| {
        if b"\"<>\\^`{|}".contains(&byte) {
            write!(uri, "%{byte:02X}").expect("memory takes everything");
        } else {
            uri.push(char::from(byte));
        }
        uri
    })
}

/// Makes connections that wait for a reply as long as the node at their other end is alive.
#[derive(Debug)]
struct PatientConnector {
    probes: Agent,
}

impl Connector<()> for PatientConnector {
    type Out = Patient;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Patient>, Error> {
        let mut stream = Err(io::ErrorKind::AddrNotAvailable.into());
        for address in &details.addrs {
            stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT);
            if stream.is_ok() {
                break;
            }
        }
        let not_connected = |error| Error::Other(Box::new(NotConnected(explain(&Error::Io(error)))));
        let stream = stream.and_then(prepared).map_err(not_connected)?;
        let authority = details.uri.authority().map(ToString::to_string).unwrap_or_default();
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Patient { stream, buffers, probes: self.probes.clone(), url: format!("http://{authority}/livez") }))
    }
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PROBE_INTERVAL))?;
    stream.set_write_timeout(Some(SEND_TIMEOUT))?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL).with_interval(KEEPALIVE_INTERVAL).with_retries(2);
    socket.set_tcp_keepalive(&keepalive)?;
    // The reply has been read when the connection ends. Otherwise the system would keep its port for a minute, and
    // some hundred posts a second would use up all of them.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

#[derive(Debug)]
struct Patient {
    stream: TcpStream,
    buffers: LazyBuffers,
    probes: Agent,
    url: String,
}

impl Transport for Patient {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        self.stream.write_all(&self.buffers.output()[..amount]).map_err(Error::Io)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(bytes) => {
                    self.buffers.input_appended(bytes);
                    return Ok(bytes > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The time-out of the read; `TimedOut` would be that of the keepalive.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.probes.get(&self.url).call().is_err() {
                        return Err(Error::Io(io::Error::other("it does not answer any more")));
                    }
                }
                Err(error) => return Err(Error::Io(error)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_becomes_a_uri() {
        assert_eq!(escaped("/messages?w=<2>&a=%41|\u{7f}"), "/messages?w=%3C2%3E&a=%41%7C\u{7f}");
    }
}
