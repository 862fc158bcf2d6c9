//! Calls to other nodes. Only this module uses the crate `ureq`.
//!
//! By default that crate follows redirects, uses a proxy from the environment, and has no timeouts. [`Peers`] switches
//! the first two off. The crate's global timeout starts a thread per request, so connecting, sending and receiving have
//! timeouts of their own. [`names`] avoids its name lookup at every call, and [`coalescing`] its needless system calls.
//! [`forwarding`] passes the posts of clients on.

mod coalescing;
mod forwarding;
mod names;

pub(crate) use forwarding::{ForwardError, Forwarded, Forwarder, Returned};

use crate::process::state_lock::before_io;
use crate::protocol::{Acknowledgement, CopyId, Epoch, Id, LogId, NotPromised, Promise, PromiseRequest, Refusal};
use crate::wire::address::NodeUrl;
use crate::wire::client::Registration;
use crate::wire::node::{
    AcknowledgementBody, CallText, DecisionsBody, FingerprintBody, RefusalBody, SlotsBody, StatusBody,
};
use crate::wire::succession::{NotPromisedBody, PromiseBody, PromiseRequestBody};
use crate::wire::timing::Took;
use crate::wire::token::Token;
use coalescing::CoalescingConnector;
use names::RecentNames;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use ureq::config::ConfigBuilder;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use ureq::middleware::MiddlewareNext;
use ureq::typestate::{AgentScope, WithBody};
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, RequestBuilder, SendBody};

/// How long connecting may take. Between nodes of one cluster it takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may take to read a part of its log.
const READING_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a reply. The largest one is a part of a log, see `secondary::routes`.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// Idle connections kept to one node, enough for all rounds that may be in flight and a few questions.
const IDLE_CONNECTIONS_PER_NODE: usize = 16;
/// How long an idle connection is kept. The server of a node closes one later than that.
const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(10);

/// A call of at most so many bytes is copied into one text, which needs fewer system calls.
const SENT_AS_ONE_BYTES_MAX: usize = 64 << 10;

/// Why a call to a node failed.
#[derive(Clone, Debug)]
pub(crate) enum PeerError {
    /// The node could not be reached, or did not answer in time, so the caller does not know what it did.
    Unanswered(String),
    /// It answered, but not as a node of this program does.
    Misunderstood(String),
    /// It refused a replicate call.
    Refused(Refusal),
    /// It was restarted since the master last asked for its state.
    Restarted,
    /// It cannot store messages, for this reason.
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

/// The answer to a candidate: a promise, of the node that holds this copy.
pub(crate) type Promised = Result<(CopyId, Promise), NotPromised>;

/// The network to other nodes, in which an injected fault may lose calls and answers.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// Carries a call to another node.
    ///
    /// # Errors
    /// If the call is lost. Returns after the timeout then.
    fn carry_call(&self, timeout: Duration) -> Result<(), String>;

    /// Carries the answer to a call back.
    ///
    /// # Errors
    /// As [`Network::carry_call`].
    fn carry_answer(&self, timeout: Duration) -> Result<(), String>;
}

/// Asks nodes side by side, and gives their answers in the same order. A node for which there is no thread does not answer.
pub(crate) fn ask_each<N: Sync, T: Send>(
    nodes: &[N],
    ask: impl Fn(&N) -> Result<T, PeerError> + Sync,
) -> Vec<Result<T, PeerError>> {
    let (ask, not_asked) = (&ask, |why: String| Err(PeerError::Unanswered(format!("could not be asked: {why}"))));
    thread::scope(|scope| {
        let start = |node| thread::Builder::new().name("question".to_owned()).spawn_scoped(scope, move || ask(node));
        let asked: Vec<_> = nodes.iter().map(start).collect();
        let answer =
            |asked: io::Result<thread::ScopedJoinHandle<'_, _>>| match asked.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => not_asked("that panicked; see the log file".to_owned()),
                Err(error) => not_asked(error.to_string()),
            };
        asked.into_iter().map(answer).collect()
    })
}

/// A client of other nodes. It keeps connections open.
#[derive(Debug)]
pub(crate) struct Peers {
    agent: Agent,
    replication_timeout: Duration,
    question_timeout: Duration,
    /// What may lose calls and answers, for fault injection.
    network: Option<Arc<dyn Network>>,
}

impl Peers {
    /// A client with a timeout for replicate calls, and one for other calls. It shows the token to every node that it
    /// calls.
    pub(crate) fn new(replication_timeout: Duration, question_timeout: Duration, token: Option<&Token>) -> Peers {
        let mut config = config();
        if let Some(credentials) = token.and_then(|token| HeaderValue::from_str(&token.header()).ok()) {
            config = config.middleware(move |mut request: Request<SendBody>, next: MiddlewareNext| {
                request.headers_mut().insert(AUTHORIZATION, credentials.clone());
                next.handle(request)
            });
        }
        let config = config
            .timeout_connect(Some(CONNECT_TIMEOUT.min(question_timeout)))
            .timeout_send_request(Some(question_timeout))
            .timeout_send_body(Some(replication_timeout))
            .timeout_recv_response(Some(replication_timeout))
            .timeout_recv_body(Some(replication_timeout))
            .max_idle_connections(IDLE_CONNECTIONS_PER_NODE * 64)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_PER_NODE)
            .max_idle_age(IDLE_CONNECTION_AGE)
            .build();
        let connector = ().chain(TcpConnector::default()).chain(CoalescingConnector);
        let agent = Agent::with_parts(config, connector, RecentNames::default());
        Peers { agent, replication_timeout, question_timeout, network: None }
    }

    /// The same client, over a network that may lose calls and answers.
    pub(crate) fn over(self, network: Arc<dyn Network>) -> Peers {
        Peers { network: Some(network), ..self }
    }

    /// Sends a replicate call. Gives the acknowledgement, and how long the secondary took for a call with messages.
    pub(crate) fn replicate(
        &self,
        node: &NodeUrl,
        call: &CallText,
    ) -> Result<(Acknowledgement, Option<Took>), PeerError> {
        self.replicate_within(self.replication_timeout, node, call)
    }

    /// Sends a replicate call whose acknowledgement does not matter, with the timeout of a question.
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
        let answer = self.call(timeout, || self.send_call(&url, call))?;
        read_acknowledgement(&answer)
    }

    /// Sends a call. A long one is sent in its parts without a copy, because the calls of a round share the text of their
    /// entries.
    ///
    /// A thread that makes one call gives the deeper pages of its stack back to the system when it ends, and the next one
    /// would have to ask for them again. So the request is made beside `ureq`, which needs most of the other pages.
    fn send_call(&self, url: &str, call: &CallText) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        if call.bytes() <= SENT_AS_ONE_BYTES_MAX {
            return self.agent.run(json_request(url, call.to_vec())?);
        }
        let [head, entries, tail] = call.parts();
        let mut text = head.chain(entries).chain(tail);
        let mut request = json_request(url, SendBody::from_reader(&mut text))?;
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(call.bytes()));
        self.agent.run(request)
    }

    /// Asks a secondary what it holds.
    pub(crate) fn state(&self, node: &NodeUrl) -> Result<StatusBody, PeerError> {
        self.get(&format!("{node}/replicate/state"))?.expect_200()
    }

    /// Asks a node what it holds, as a master of an epoch of this log: a master of an earlier one, which that master may
    /// have replaced, leads no more before it answers.
    pub(crate) fn state_in(&self, node: &NodeUrl, log_id: LogId, epoch: Epoch) -> Result<StatusBody, PeerError> {
        self.get(&format!("{node}/replicate/state?log={log_id}&epoch={epoch}"))?.expect_200()
    }

    /// Asks a node for a promise. Gives the copy that it holds, too.
    pub(crate) fn promise(&self, node: &NodeUrl, request: &PromiseRequest) -> Result<Promised, PeerError> {
        let body = serde_json::to_vec(&PromiseRequestBody::from(request)).expect("strings always serialise");
        let (url, timeout) = (format!("{node}/replicate/promise"), self.question_timeout);
        let request = || self.agent.post(&url).config().timeout_recv_response(Some(timeout)).build();
        let answer = self.call(timeout, || send_json(request(), &body))?;
        match answer.status {
            200 => answer.read::<PromiseBody>()?.into_promise().map(Ok).ok_or_else(|| answer.unexpected()),
            409 => answer.read::<NotPromisedBody>().map(|body| Err(NotPromised::from(body))),
            _ => Err(answer.unexpected()),
        }
    }

    /// Asks a node to lead. Gives the status and the body of the answer.
    pub(crate) fn promote(&self, node: &NodeUrl, timeout: Duration) -> Result<(u16, Vec<u8>), PeerError> {
        let url = format!("{node}/promotion");
        let request = || self.agent.post(&url).config().timeout_recv_response(Some(timeout)).build();
        let answer = self.call(timeout, || send_json(request(), br#"{"handed_over": true}"#))?;
        Ok((answer.status, answer.body))
    }

    /// Asks a node what it holds. Gives `None` if it is a master.
    pub(crate) fn state_of_secondary(&self, node: &NodeUrl) -> Result<Option<StatusBody>, PeerError> {
        let answer = self.get(&format!("{node}/replicate/state"))?;
        if answer.status == 404 { Ok(None) } else { answer.expect_200().map(Some) }
    }

    /// Asks a secondary for its slots after an id, as many as fit into one reply.
    pub(crate) fn slots(&self, node: &NodeUrl, after: Id) -> Result<SlotsBody, PeerError> {
        self.get(&format!("{node}/replicate/slots?after={after}"))?.expect_200()
    }

    /// Asks the master for its decisions after an id.
    pub(crate) fn decisions(&self, master: &NodeUrl, after: Id) -> Result<DecisionsBody, PeerError> {
        self.get(&format!("{master}/replicate/decisions?after={after}"))?.expect_200()
    }

    /// Asks a node for its fingerprint of the ids after `after` up to `through`.
    pub(crate) fn fingerprint(&self, node: &NodeUrl, after: Id, through: Id) -> Result<FingerprintBody, PeerError> {
        let url = format!("{node}/fingerprint?after={after}&through={through}");
        self.get_within(&url, READING_TIMEOUT)?.expect_200()
    }

    /// Asks a node for a backup of its log. Gives a reader of it.
    pub(crate) fn backup(&self, node: &NodeUrl) -> Result<impl Read + use<>, PeerError> {
        let request = self.agent.get(format!("{node}/backup")).config().timeout_recv_body(None).build();
        let response = request.call().map_err(|error| PeerError::Unanswered(explain(&error)))?;
        if response.status() != 200 {
            return Err(Answer::new(response)?.unexpected());
        }
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// Registers with a master, or with the one that this node names. Gives the address of the master.
    pub(crate) fn register(&self, node: &NodeUrl, registration: &Registration) -> Result<NodeUrl, PeerError> {
        let body = serde_json::to_vec(registration).expect("strings always serialise");
        let timeout = self.question_timeout;
        let ask = |node: &NodeUrl| {
            let url = format!("{node}/secondaries");
            let request = || self.agent.post(&url).config().timeout_recv_response(Some(timeout)).build();
            self.call(timeout, || send_json(request(), &body))
        };
        let answer = ask(node)?;
        let named = answer.location.as_deref().and_then(|location| location.strip_suffix("/secondaries"));
        let (answer, master) = match named.and_then(|url| NodeUrl::parse(url).ok()).filter(|_| answer.status == 307) {
            Some(master) => (ask(&master)?, master),
            None => (answer, node.clone()),
        };
        if answer.status == 200 { Ok(master) } else { Err(answer.unexpected()) }
    }

    /// Injects a fault into a node, or ends its fault. Gives the status and the body of the answer.
    pub(crate) fn inject_fault(&self, node: &NodeUrl, fault: Option<&[u8]>) -> Result<(u16, Vec<u8>), PeerError> {
        let (url, timeout) = (format!("{node}/faults"), Some(self.question_timeout));
        let answer = once_more_if_stale(|| match fault {
            Some(fault) => send_json(self.agent.put(&url).config().timeout_recv_response(timeout).build(), fault),
            None => self.agent.delete(&url).config().timeout_recv_response(timeout).build().call(),
        })?;
        Ok((answer.status, answer.body))
    }

    /// Asks a master whether a secondary may be stopped. Gives the status and the body of the answer.
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

/// What all clients of other nodes have in common: they go where they are sent, and read whatever comes.
fn config() -> ConfigBuilder<AgentScope> {
    let config = Agent::config_builder().proxy(None).max_redirects(0).http_status_as_error(false);
    config.user_agent("replicated-log")
}

fn send_json(request: RequestBuilder<WithBody>, body: &[u8]) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    request.header("Content-Type", "application/json").send(body)
}

/// A `POST` of JSON.
#[inline(never)]
fn json_request<T>(url: &str, body: T) -> Result<Request<T>, ureq::Error> {
    let request = Request::post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(request.body(body)?)
}

/// Reads the answer to a replicate call.
#[inline(never)]
fn read_acknowledgement(answer: &Answer) -> Result<(Acknowledgement, Option<Took>), PeerError> {
    match answer.status {
        200 => answer.read::<AcknowledgementBody>().map(|body| (Acknowledgement::from(&body), body.took())),
        409 => {
            let refusal = answer.read::<RefusalBody>()?;
            Err(refusal.reason.into_refusal().map_or(PeerError::Restarted, PeerError::Refused))
        }
        _ => Err(answer.unexpected()),
    }
}

/// Sends a request, and once more if its connection broke, because the other node may just have closed a kept one.
/// Every call between nodes may be repeated, because epoch and id identify an entry. A request that timed out is not
/// repeated.
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
            "its host name cannot be resolved: the node is not running, or its address is wrong".to_owned()
        }
        other => other.to_string(),
    }
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the whole reply, so that the connection can be used again.
    fn new(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, PeerError> {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        body.map(|body| Answer { status, location, body }).map_err(|error| PeerError::Unanswered(explain(&error)))
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
