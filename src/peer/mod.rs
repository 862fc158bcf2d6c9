//! Calls to other nodes: the only room that knows `ureq`.
//!
//! The library would follow redirects, use a proxy from the environment, and wait for ever: none of that is wanted
//! between nodes. Its global time-out starts a thread per request, so connecting, sending and receiving are bounded one
//! by one. It would also look a name up for every call ([`names`]), and use more calls of the system than it needs
//! ([`coalescing`]).

mod coalescing;
mod names;

use crate::process::state_lock::before_io;
use crate::protocol::{Acknowledgement, Decisions, Id, Refusal, Slot};
use crate::wire::address::NodeUrl;
use crate::wire::client::Registration;
use crate::wire::node::{
    AcknowledgementBody, CallText, DecisionsBody, FingerprintBody, RefusalBody, SlotsBody, StatusBody,
};
use crate::wire::timing::Took;
use crate::wire::token::Token;
use coalescing::CoalescingConnector;
use names::RecentNames;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::middleware::MiddlewareNext;
use ureq::typestate::WithBody;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, RequestBuilder, SendBody};

/// How long a connection may take to be made: between nodes of one cluster it takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may take to read a part of its log.
const READING_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest reply is a part of a log, see `secondary::routes`; more than this is not one.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// Connections kept to one node: as many rounds may be in flight, and a few questions.
const IDLE_CONNECTIONS_PER_NODE: usize = 16;
/// Shorter than the time after which our own servers end a silent connection.
const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(10);

/// A call of at most so many bytes is sent as one text, which asks less of the system.
const SENT_AS_ONE_BYTES_MAX: usize = 64 << 10;

/// Why a node did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) enum PeerError {
    /// It could not be reached, or did not answer in time: what it did is not known.
    Unanswered(String),
    /// It answered, but not as a node of ours does.
    Misunderstood(String),
    /// It refused a replicate call.
    Refused(Refusal),
    /// It was started again since it was last asked for its state.
    Restarted,
    /// It cannot store messages; a sentence says why.
    Unable(String),
}

impl fmt::Display for PeerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerError::Unanswered(why) | PeerError::Misunderstood(why) => formatter.write_str(why),
            PeerError::Unable(why) => write!(formatter, "cannot store messages: {why}"),
            PeerError::Refused(refusal) => refusal.fmt(formatter),
            PeerError::Restarted => formatter.write_str("was restarted and has to be caught up"),
        }
    }
}

/// The network between this node and the others, which may lose what goes over it.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// Carries a call to another node.
    ///
    /// # Errors
    /// With a sentence, when the caller would wait no longer, if the call is lost.
    fn carry_call(&self, timeout: Duration) -> Result<(), String>;

    /// Carries the answer back.
    ///
    /// # Errors
    /// As [`Network::carry_call`].
    fn carry_answer(&self, timeout: Duration) -> Result<(), String>;
}

/// A client of other nodes. It keeps connections open.
#[derive(Debug)]
pub(crate) struct Peers {
    agent: Agent,
    replication_timeout: Duration,
    question_timeout: Duration,
    /// What may lose calls and answers, beside the network that there is.
    network: Option<Arc<dyn Network>>,
}

impl Peers {
    /// A client that waits so long for the acknowledgement of a replicate call, and for the answer to a question.
    ///
    /// With a token, it shows that to everybody it calls.
    pub(crate) fn new(replication_timeout: Duration, question_timeout: Duration, token: Option<&Token>) -> Peers {
        let credentials = token.and_then(|token| HeaderValue::from_str(&token.header()).ok());
        let show = move |mut request: Request<SendBody>, next: MiddlewareNext| {
            if let Some(credentials) = &credentials {
                request.headers_mut().insert(AUTHORIZATION, credentials.clone());
            }
            next.handle(request)
        };
        let config = Agent::config_builder()
            .middleware(show)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(question_timeout)))
            .timeout_send_request(Some(question_timeout))
            .timeout_send_body(Some(replication_timeout))
            .timeout_recv_response(Some(replication_timeout))
            .timeout_recv_body(Some(replication_timeout))
            .max_idle_connections(IDLE_CONNECTIONS_PER_NODE * 64)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_PER_NODE)
            .max_idle_age(IDLE_CONNECTION_AGE)
            .user_agent("replicated-log")
            .build();
        let connector = ().chain(TcpConnector::default()).chain(CoalescingConnector);
        let agent = Agent::with_parts(config, connector, RecentNames::default());
        Peers { agent, replication_timeout, question_timeout, network: None }
    }

    /// The same, over a network that may lose what it sends and what it gets.
    pub(crate) fn over(self, network: Arc<dyn Network>) -> Peers {
        Peers { network: Some(network), ..self }
    }

    /// Sends a replicate call. Gives the acknowledgement, and how long the secondary took, if it says so.
    pub(crate) fn replicate(
        &self,
        node: &NodeUrl,
        call: &CallText,
    ) -> Result<(Acknowledgement, Option<Took>), PeerError> {
        self.replicate_within(self.replication_timeout, node, call)
    }

    /// Sends a replicate call that tells something, and waits no longer than for the answer to a question.
    pub(crate) fn tell(&self, node: &NodeUrl, call: &CallText) -> Result<(), PeerError> {
        self.replicate_within(self.question_timeout, node, call).map(drop)
    }

    fn replicate_within(
        &self,
        timeout: Duration,
        node: &NodeUrl,
        call: &CallText,
    ) -> Result<(Acknowledgement, Option<Took>), PeerError> {
        let url = format!("{node}/replicate");
        let answer = self.call(timeout, || send_call(self.agent.post(&url), call))?;
        match answer.status {
            200 => answer.read::<AcknowledgementBody>().map(|body| (Acknowledgement::from(&body), body.took())),
            409 => {
                let refusal = answer.read::<RefusalBody>()?;
                Err(refusal.reason.into_refusal().map_or(PeerError::Restarted, PeerError::Refused))
            }
            _ => Err(answer.unexpected()),
        }
    }

    /// Asks a secondary what it holds.
    pub(crate) fn state(&self, node: &NodeUrl) -> Result<StatusBody, PeerError> {
        self.get(&format!("{node}/replicate/state"))?.expect_200()
    }

    /// The same of a node that may be a master: `None` then.
    pub(crate) fn state_of_secondary(&self, node: &NodeUrl) -> Result<Option<StatusBody>, PeerError> {
        let answer = self.get(&format!("{node}/replicate/state"))?;
        if answer.status == 404 { Ok(None) } else { answer.expect_200().map(Some) }
    }

    /// Asks a secondary for what it holds beyond an id; as much as fits into one reply.
    pub(crate) fn slots(&self, node: &NodeUrl, after: Id) -> Result<Vec<Slot>, PeerError> {
        self.get(&format!("{node}/replicate/slots?after={after}"))?.expect_200::<SlotsBody>().map(SlotsBody::into_slots)
    }

    /// Asks the master what it has decided beyond an id.
    pub(crate) fn decisions(&self, master: &NodeUrl, after: Id) -> Result<Decisions, PeerError> {
        self.get(&format!("{master}/replicate/decisions?after={after}"))?
            .expect_200::<DecisionsBody>()
            .map(Decisions::from)
    }

    /// Asks a node for its fingerprint of the ids after one, up to another.
    pub(crate) fn fingerprint(&self, node: &NodeUrl, after: Id, through: Id) -> Result<FingerprintBody, PeerError> {
        let url = format!("{node}/fingerprint?after={after}&through={through}");
        self.get_within(&url, READING_TIMEOUT)?.expect_200()
    }

    /// Asks a node for a backup of its log, which is not read yet.
    pub(crate) fn backup(&self, node: &NodeUrl) -> Result<impl Read + use<>, PeerError> {
        let request = self.agent.get(format!("{node}/backup")).config().timeout_recv_body(None).build();
        let response = request.call().map_err(|error| PeerError::Unanswered(explain(&error)))?;
        if response.status() != 200 {
            return Err(Answer::new(response)?.unexpected());
        }
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// Registers with a master.
    pub(crate) fn register(&self, master: &NodeUrl, registration: &Registration) -> Result<(), PeerError> {
        let body = serde_json::to_vec(registration).expect("strings always serialise");
        let (url, timeout) = (format!("{master}/secondaries"), self.question_timeout);
        let request = || self.agent.post(&url).config().timeout_recv_response(Some(timeout)).build();
        let answer = self.call(timeout, || send_json(request(), &body))?;
        if answer.status == 200 { Ok(()) } else { Err(answer.unexpected()) }
    }

    /// Asks a node to show a fault, or none any more. Gives what it answered.
    pub(crate) fn inject_fault(&self, node: &NodeUrl, fault: Option<&[u8]>) -> Result<(u16, Vec<u8>), PeerError> {
        let (url, timeout) = (format!("{node}/faults"), Some(self.question_timeout));
        let answer = once_more_if_stale(|| match fault {
            Some(fault) => send_json(self.agent.put(&url).config().timeout_recv_response(timeout).build(), fault),
            None => self.agent.delete(&url).config().timeout_recv_response(timeout).build().call(),
        })?;
        Ok((answer.status, answer.body))
    }

    /// Asks a master whether a secondary may be stopped. Gives what it answered.
    pub(crate) fn may_stop(&self, master: &NodeUrl, name: &str) -> Result<(u16, Vec<u8>), PeerError> {
        let answer = self.get(&format!("{master}/safe-to-stop?node={name}"))?;
        if matches!(answer.status, 200 | 503) { Ok((answer.status, answer.body)) } else { Err(answer.unexpected()) }
    }

    /// Asks a node whether it is alive.
    pub(crate) fn live(&self, node: &NodeUrl) -> Result<(), PeerError> {
        let answer = self.get(&format!("{node}/livez"))?;
        if answer.status == 200 { Ok(()) } else { Err(answer.unexpected()) }
    }

    /// Whether a master takes writes.
    pub(crate) fn is_writable(&self, master: &NodeUrl) -> bool {
        let health = self.get(&format!("{master}/health")).and_then(|answer| answer.expect_200::<serde_json::Value>());
        health.is_ok_and(|health| health["writable"] == true)
    }

    fn get(&self, url: &str) -> Result<Answer, PeerError> {
        self.get_within(url, self.question_timeout)
    }

    fn get_within(&self, url: &str, timeout: Duration) -> Result<Answer, PeerError> {
        let request = || {
            let request = self.agent.get(url).config().timeout_recv_response(Some(timeout)).build();
            request.call()
        };
        self.call(timeout, request)
    }

    fn call(
        &self,
        timeout: Duration,
        request: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, PeerError> {
        before_io("a node is called");
        let Some(network) = &self.network else { return once_more_if_stale(request) };
        network.carry_call(timeout).map_err(PeerError::Unanswered)?;
        let answer = once_more_if_stale(request);
        network.carry_answer(timeout).map_err(PeerError::Unanswered)?;
        answer
    }
}

fn send_json(request: RequestBuilder<WithBody>, body: &[u8]) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    request.header("Content-Type", "application/json").send(body)
}

/// Sends a call. A long one is not put together first: the calls of a round share the text of their entries.
fn send_call(
    request: RequestBuilder<WithBody>,
    call: &CallText,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    if call.bytes() <= SENT_AS_ONE_BYTES_MAX {
        return send_json(request, &call.to_vec());
    }
    let [head, entries, tail] = call.parts();
    let mut text = head.chain(entries).chain(tail);
    let request = request.header("Content-Type", "application/json").header("Content-Length", call.bytes());
    request.send(SendBody::from_reader(&mut text))
}

/// A kept connection may have been closed by the other side at the moment it is used. Every call of ours may be
/// repeated: entries are known by epoch and id. So one that broke is tried once more, on a fresh connection if the
/// kept ones are all dead; one that timed out is not.
fn once_more_if_stale(
    request: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, PeerError> {
    let first = request();
    let response = match first {
        Err(ureq::Error::Io(error)) if broke(&error) => request(),
        other => other,
    };
    response.map_err(|error| PeerError::Unanswered(explain(&error))).and_then(Answer::new)
}

fn broke(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there".to_owned()
        }
        ureq::Error::Io(error) if broke(error) => format!("the connection broke before an answer came ({error})"),
        ureq::Error::Timeout(stage) => format!("no answer in time ({stage})"),
        ureq::Error::HostNotFound => {
            "its host name is not known: it is not running, or its address is wrong".to_owned()
        }
        other => other.to_string(),
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the whole reply, or the connection could not be used again.
    fn new(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, PeerError> {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
        body.map(|body| Answer { status, body }).map_err(|error| PeerError::Unanswered(explain(&error)))
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, PeerError> {
        serde_json::from_slice(&self.body).map_err(|_| self.unexpected())
    }

    fn expect_200<T: DeserializeOwned>(&self) -> Result<T, PeerError> {
        if self.status == 200 { self.read() } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> PeerError {
        const SHOWN_CHARACTERS: usize = 200;
        let text = String::from_utf8_lossy(&self.body);
        let sentence = serde_json::from_slice::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|body| body.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| text.chars().take(SHOWN_CHARACTERS).collect());
        PeerError::Misunderstood(format!("answered {}: {sentence}", self.status))
    }
}
