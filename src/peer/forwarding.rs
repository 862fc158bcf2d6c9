//! Passes a client's request on to the master, and its reply back.
//!
//! A write may take as long as its client allows, up to a day, so such a call has no time-out for its reply. Instead,
//! while nothing comes, the node asks the master every [`PROBE_INTERVAL`] whether it is alive, over another connection:
//! a master that has vanished ends the wait within seconds.
//!
//! Nothing is sent twice: after a connection broke, the master may have the message. Each request has a connection of
//! its own, because one that was kept may be closed just when a message is sent through it, and the outcome would be
//! unknown without need.

use super::{CONNECT_TIMEOUT, explain};
use crate::process::state_lock::before_io;
use crate::wire::address::NodeUrl;
use std::io::{self, Read};
use std::time::Duration;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport, time};
use ureq::{Agent, Error};

/// How long nothing may come before the master is asked whether it is alive.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

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

impl Forwarder {
    pub(crate) fn new() -> Forwarder {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_idle_connections(0)
            .user_agent("replicated-log")
            .build();
        let probes = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(PROBE_TIMEOUT))
            .max_idle_connections(0)
            .build();
        let connector = ().chain(TcpConnector::default()).chain(ProbingConnector { probes: Agent::from(probes) });
        Forwarder { agent: Agent::with_parts(config, connector, DefaultResolver::default()) }
    }

    /// Passes a post on to the master. Gives the reply with those of these headers that it has.
    pub(crate) fn post(
        &self,
        master: &NodeUrl,
        request: Forwarded<'_>,
        wanted: &[&'static str],
    ) -> Result<Returned, ForwardError> {
        before_io("the master is called");
        let mut post = self.agent.post(format!("{master}{}", request.target));
        for (name, value) in request.headers {
            post = post.header(*name, value);
        }
        let response = post.send(request.body).map_err(|error| match error {
            Error::HostNotFound | Error::ConnectionFailed | Error::Timeout(_) => ForwardError::NotSent(explain(&error)),
            Error::Io(ref io) if io.kind() == io::ErrorKind::ConnectionRefused => {
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

/// Makes connections that wait as long as the node at their other end is alive.
#[derive(Debug)]
struct ProbingConnector {
    probes: Agent,
}

impl<In: Transport> Connector<In> for ProbingConnector {
    type Out = Probing<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, connection: Option<In>) -> Result<Option<Probing<In>>, Error> {
        let authority = details.uri.authority().map(ToString::to_string).unwrap_or_default();
        let url = format!("http://{authority}/livez");
        Ok(connection.map(|connection| Probing { connection, probes: self.probes.clone(), url }))
    }
}

#[derive(Debug)]
struct Probing<T> {
    connection: T,
    probes: Agent,
    url: String,
}

impl<T: Transport> Transport for Probing<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.connection.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let step = NextTimeout { after: time::Duration::Exact(PROBE_INTERVAL), ..timeout };
        loop {
            match self.connection.await_input(step) {
                Err(Error::Timeout(_)) if self.probes.get(&self.url).call().is_ok() => {}
                Err(Error::Timeout(_)) => {
                    let why = "the master does not answer any more";
                    return Err(Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
                }
                other => return other,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }
}
