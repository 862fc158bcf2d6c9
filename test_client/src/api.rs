//! The nodes' HTTP interface: one method per request, one type per reply.
//!
//! Every failure says what may be concluded from it. A failure that is not certain to have left the log unchanged is
//! [`Kind::Unknown`], however likely the good case may be.

use crate::address::Address;
use crate::exit::Exit;
use crate::screen::visible;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body, Timeout};

/// A host that is there accepts a connection at once; a longer `--timeout` is for slow answers.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Replies about one message or one node. A refusal lists every secondary, so this is room for thousands.
const REPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A whole log comes in one reply and is held in memory; beyond this a person or script wants another tool.
const LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Talks to the nodes of one cluster.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    master: Address,
    timeout: Duration,
}

/// Whether a request, once sent, may have changed something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    Reads,
    Changes,
}

impl Client {
    /// A client that waits this long for an answer.
    pub(crate) fn new(master: Address, timeout: Duration) -> Client {
        // No overall limit: sending, waiting and receiving each have their own, so that a large log that flows is not
        // cut off. No idle connections: a node would keep a thread waiting for our next request.
        let agent = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .timeout_connect(Some(timeout.min(CONNECT_WAIT_MAX)))
            .timeout_send_request(Some(timeout))
            .timeout_send_body(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout))
            .user_agent(concat!("test_client/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Client { agent, master, timeout }
    }

    pub(crate) fn master(&self) -> &Address {
        &self.master
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How a node is.
    pub(crate) fn health(&self, node: &Address) -> Result<Reply<Health>, Failure> {
        let call = Call { node, effect: Effect::Reads, bytes_max: REPLY_BYTES_MAX, timeout: self.timeout };
        call.run(|| self.agent.get(node.url("/health")).call())?.parse()
    }

    /// What a node shows. The view is named because a server may be set to list bare strings.
    pub(crate) fn messages(&self, node: &Address) -> Result<Reply<Messages>, Failure> {
        let call = Call { node, effect: Effect::Reads, bytes_max: LOG_BYTES_MAX, timeout: self.timeout };
        call.run(|| self.agent.get(node.url("/messages?view=objects")).call())?.parse()
    }

    /// Appends a message; blocks until every secondary has acknowledged it.
    pub(crate) fn post(&self, message: &str) -> Result<Reply<Posted>, Failure> {
        self.change(|| self.send("/messages", &serde_json::json!({ "message": message })))?.parse()
    }

    /// Makes the master replicate to one more secondary.
    pub(crate) fn register(&self, url: &str, server_id: &str) -> Result<(), Failure> {
        let registration = serde_json::json!({ "url": url, "server_id": server_id });
        self.change(|| self.send("/secondaries", &registration)).map(drop)
    }

    /// Makes the master forget a secondary.
    pub(crate) fn remove(&self, server_id: &str) -> Result<(), Failure> {
        self.change(|| self.agent.delete(self.removal_url(server_id)).call()).map(drop)
    }

    /// What `DELETE` must be sent to, for those who have to do it by hand.
    pub(crate) fn removal_url(&self, server_id: &str) -> String {
        self.master.url(&format!("/secondaries/{server_id}"))
    }

    fn change(&self, send: impl FnOnce() -> Sent) -> Result<Answer, Failure> {
        let node = &self.master;
        Call { node, effect: Effect::Changes, bytes_max: REPLY_BYTES_MAX, timeout: self.timeout }.run(send)
    }

    fn send(&self, path: &str, body: &serde_json::Value) -> Sent {
        self.agent.post(self.master.url(path)).content_type("application/json").send(body.to_string())
    }
}

/// What `ureq` gives back.
type Sent = Result<Response<Body>, ureq::Error>;

/// One request to one node.
struct Call<'a> {
    node: &'a Address,
    effect: Effect,
    bytes_max: u64,
    timeout: Duration,
}

impl Call<'_> {
    fn run(&self, send: impl FnOnce() -> Sent) -> Result<Answer, Failure> {
        // Resolved here first, because a name that is not known is certain to have changed nothing.
        self.node.resolve().map_err(|error| {
            Failure::new(Kind::Unreachable, format!("the name in {} is not known here: {error}", self.node))
        })?;
        let (status, body) =
            send().and_then(|response| self.receive(response)).map_err(|error| self.explain(&error))?;
        let answer = Answer { node: self.node.clone(), effect: self.effect, status, body };
        if (200..300).contains(&status) { Ok(answer) } else { Err(answer.into_failure()) }
    }

    fn receive(&self, mut response: Response<Body>) -> Result<(u16, Vec<u8>), ureq::Error> {
        let body = response.body_mut().with_config().limit(self.bytes_max).read_to_vec()?;
        Ok((response.status().as_u16(), body))
    }

    /// A failure without an answer.
    fn explain(&self, error: &ureq::Error) -> Failure {
        let node = self.node;
        let kind =
            if self.effect == Effect::Changes && !nothing_was_sent(error) { Kind::Unknown } else { Kind::Unreachable };
        let sentence = match error {
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                format!("nothing listens on {node} (connection refused)")
            }
            ureq::Error::Io(error) => format!("the connection to {node} broke: {error}"),
            ureq::Error::Timeout(Timeout::Connect) => {
                format!("{node} accepted no connection within {} s", self.timeout.min(CONNECT_WAIT_MAX).as_secs())
            }
            ureq::Error::Timeout(_) => format!("{node} did not answer within {} s", self.timeout.as_secs()),
            ureq::Error::BodyExceedsLimit(limit) => format!("{node} answered with more than {} MiB", limit >> 20),
            other => format!("{node} did not answer as a node does: {other}"),
        };
        Failure::new(kind, sentence)
    }
}

/// Whether the request certainly never left. Other errors of connecting look the same as those of an established
/// connection, so they prove nothing.
fn nothing_was_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable),
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::HostNotFound | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

/// What a node answered.
struct Answer {
    node: Address,
    effect: Effect,
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn parse<T: DeserializeOwned>(self) -> Result<Reply<T>, Failure> {
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(Reply { value, body: self.body }),
            Err(error) => Err(self.incomprehensible(&format!("unexpected JSON, {error}"))),
        }
    }

    /// Reads an answer that is not a success.
    fn into_failure(self) -> Failure {
        let Ok(problem) = serde_json::from_slice::<Problem>(&self.body) else {
            return self.incomprehensible("no explanation in JSON");
        };
        let kind = match problem.outcome.as_deref() {
            Some("not_appended") => Kind::Refused,
            None if self.effect == Effect::Reads || self.blames_the_client() => Kind::Refused,
            // Unknown in this version's words, too.
            Some(_) | None => Kind::Unknown,
        };
        Failure {
            kind,
            error: problem.error,
            status: Some(self.status),
            message_id: problem.message_id,
            secondaries: problem.secondaries,
        }
    }

    /// Something answered, but nothing that can be understood.
    fn incomprehensible(&self, why: &str) -> Failure {
        let kind = match self.effect {
            Effect::Reads => Kind::Unreachable,
            Effect::Changes if self.blames_the_client() => Kind::Refused,
            Effect::Changes => Kind::Unknown,
        };
        let error = format!("{} answered {} not as a node does: {why}", self.node, self.status);
        Failure { status: Some(self.status), ..Failure::new(kind, error) }
    }

    /// Whether the status alone says that the request was turned down before anything was done.
    fn blames_the_client(&self) -> bool {
        (400..500).contains(&self.status) && self.status != 408
    }
}

/// A reply, understood and as it came.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    /// For scripts, which may know fields that this client does not.
    pub(crate) body: Vec<u8>,
}

/// What may be concluded from a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The node was not reached, or is none. Nothing was changed.
    Unreachable,
    /// The node said no. Nothing was changed, and nothing will be.
    Refused,
    /// Something may have been changed, now or later.
    Unknown,
}

impl Kind {
    /// The exit code that says so.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Kind::Unreachable => Exit::Unreachable,
            Kind::Refused => Exit::Refused,
            Kind::Unknown => Exit::Unknown,
        }
    }
}

/// A request that did not succeed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) kind: Kind,
    /// What happened, in a sentence.
    pub(crate) error: String,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The id that the message had, if it got as far as having one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<u64>,
    /// Each secondary's part, if the master tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secondaries: Vec<SecondaryReport>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: String) -> Failure {
        Failure { kind, error, status: None, message_id: None, secondaries: Vec::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&visible(&self.error))
    }
}

/// An error as nodes tell it.
#[derive(Deserialize)]
struct Problem {
    error: String,
    outcome: Option<String>,
    message_id: Option<u64>,
    #[serde(default)]
    secondaries: Vec<SecondaryReport>,
}

/// One secondary's part in a message that was not committed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SecondaryReport {
    pub(crate) server_id: String,
    pub(crate) url: String,
    pub(crate) acknowledged: bool,
    /// What happened, in a few words.
    #[serde(default)]
    pub(crate) detail: String,
}

/// A message that was committed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Posted {
    pub(crate) message_id: u64,
    /// How many secondaries hold it.
    pub(crate) replicated_to: usize,
    /// Each acknowledgement. A master of another make may not tell.
    #[serde(default)]
    pub(crate) acks: Vec<Ack>,
}

/// One acknowledgement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ack {
    pub(crate) server_id: String,
    /// How long after the master accepted the message, in milliseconds.
    pub(crate) ms: u64,
}

/// The messages that a node shows.
#[derive(Debug, Deserialize)]
pub(crate) struct Messages {
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) server_role: String,
    #[serde(default)]
    pub(crate) server_id: String,
    /// The node says itself that it may not show everything that was confirmed.
    #[serde(default)]
    pub(crate) possibly_stale: bool,
}

/// One message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) message: String,
    pub(crate) timestamp: String,
}

/// How a node is. The fields of both roles.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) role: String,
    pub(crate) server_id: String,
    #[serde(default)]
    pub(crate) message_count: u64,
    /// A secondary's artificial delay before each acknowledgement.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// Whether a master would take a message now; if not, `reason` says why.
    pub(crate) writable: Option<bool>,
    pub(crate) reason: Option<String>,
    /// What a master knows of its secondaries.
    #[serde(default)]
    pub(crate) secondaries: Vec<Listed>,
}

/// A secondary, as its master knows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) server_id: String,
    pub(crate) url: String,
    pub(crate) state: Option<State>,
    pub(crate) detail: Option<String>,
}

/// How far a secondary is, in its master's eyes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    InSync,
    CatchingUp,
    Unreachable,
    /// A word of a later version.
    #[serde(other)]
    Other,
}
