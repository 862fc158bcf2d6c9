//! The nodes' HTTP interface: one method per request, one type per reply.
//!
//! Every failure says what may be concluded from it. A failure that is not certain to have left the log unchanged is
//! [`Kind::Unknown`], however likely the good case may be.

use crate::address::Address;
use crate::credentials::Credentials;
use crate::exit::Exit;
use crate::screen::visible;
use crate::wishes::Wishes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind};
use std::time::Duration;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::http::{Request, Response};
use ureq::middleware::MiddlewareNext;
use ureq::typestate::WithBody;
use ureq::{Agent, Body, RequestBuilder, SendBody, Timeout};

/// A host that is there accepts a connection at once; a longer `--timeout` is for slow answers.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// A master that was told how long to try answers then, but its answer has a way to go.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// Replies about one message or one node. A refusal lists every secondary, so this is room for thousands.
const REPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A whole log comes in one reply and is held in memory; beyond this a person or script wants another tool.
const LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Talks to the nodes of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    master: Address,
    timeout: Duration,
    token: Option<Credentials>,
}

/// Whether a request, once sent, may have changed something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    Reads,
    Changes,
}

impl Client {
    /// A client that waits this long for an answer.
    pub(crate) fn new(master: Address, timeout: Duration, token: Option<Credentials>) -> Client {
        let credentials = token.as_ref().and_then(|token| HeaderValue::from_str(&token.header()).ok());
        let show = move |mut request: Request<SendBody>, next: MiddlewareNext| {
            if let Some(credentials) = &credentials {
                request.headers_mut().insert(AUTHORIZATION, credentials.clone());
            }
            next.handle(request)
        };
        // No overall limit: sending, waiting and receiving each have their own, so that a large log that flows is not
        // cut off. No idle connections: a node would keep a thread waiting for our next request.
        let agent = Agent::config_builder()
            .middleware(show)
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
        Client { agent, master, timeout, token }
    }

    pub(crate) fn master(&self) -> &Address {
        &self.master
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn token(&self) -> Option<&Credentials> {
        self.token.as_ref()
    }

    /// The same client, but not so patient.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Client {
        Client::new(self.master.clone(), timeout, self.token.clone())
    }

    /// The same client, waiting long enough for the answer to a post that may wait itself.
    fn patient_enough(&self, wishes: &Wishes) -> Client {
        let needed = wishes.wait.map_or(Duration::ZERO, |wait| wait + ANSWER_MARGIN);
        self.with_timeout(self.timeout.max(needed))
    }

    /// How a node is.
    pub(crate) fn health(&self, node: &Address) -> Result<Reply<Health>, Failure> {
        self.read(node, "/health", REPLY_BYTES_MAX)
    }

    /// What a node shows. The view is named because a server may be set to list bare strings.
    pub(crate) fn messages(&self, node: &Address) -> Result<Reply<Messages>, Failure> {
        self.read(node, "/messages?view=objects", LOG_BYTES_MAX)
    }

    /// What a node shows from an id on.
    pub(crate) fn messages_from(&self, node: &Address, from: u64) -> Result<Reply<Messages>, Failure> {
        self.read(node, &format!("/messages?view=objects&from={from}"), LOG_BYTES_MAX)
    }

    /// The same, content with any prefix of the log: the node asks nobody.
    pub(crate) fn prefix_from(&self, node: &Address, from: u64) -> Result<Reply<Messages>, Failure> {
        self.read(node, &format!("/messages?view=objects&from={from}&consistency=prefix"), LOG_BYTES_MAX)
    }

    /// A part of what a node shows: from an id on, at most so many messages, under a consistency if one is named.
    pub(crate) fn page(
        &self,
        node: &Address,
        from: u64,
        limit: Option<u64>,
        consistency: Option<&str>,
    ) -> Result<Reply<Messages>, Failure> {
        let limit = limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
        let consistency = consistency.map_or_else(String::new, |word| format!("&consistency={word}"));
        self.read(node, &format!("/messages?view=objects&from={from}{limit}{consistency}"), LOG_BYTES_MAX)
    }

    /// Where the time of a message went.
    pub(crate) fn trace(&self, id: u64) -> Result<Reply<Trace>, Failure> {
        self.read(&self.master, &format!("/messages/{id}/trace"), REPLY_BYTES_MAX)
    }

    /// The messages of a node from an id on, a line of JSON for each, as they become visible. Empty lines are signs of
    /// life.
    pub(crate) fn follow(&self, node: &Address, from: u64) -> Result<impl BufRead + use<>, Failure> {
        self.lines(node, &format!("/messages?follow=true&view=objects&from={from}"))
    }

    /// The messages that a node shows now, from an id on, a line of JSON for each.
    pub(crate) fn export(&self, node: &Address, from: u64) -> Result<impl BufRead + use<>, Failure> {
        self.lines(node, &format!("/messages?view=objects&from={from}"))
    }

    fn lines(&self, node: &Address, path: &str) -> Result<impl BufRead + use<>, Failure> {
        let url = node.url(path);
        let request = self.agent.get(url).header("Accept", "application/x-ndjson");
        let request = request.config().timeout_recv_body(None).build();
        let call = Call { node, effect: Effect::Reads, bytes_max: REPLY_BYTES_MAX, timeout: self.timeout };
        let response = request.call().map_err(|error| call.explain(&error))?;
        if response.status() != 200 {
            return Err(call.receive(response).map_err(|error| call.explain(&error))?.into_failure());
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(BufReader::new(body))
    }

    /// What became of the write with this name.
    pub(crate) fn write(&self, key: &str) -> Result<Reply<KnownWrite>, Failure> {
        self.read(&self.master, &format!("/writes/{key}"), REPLY_BYTES_MAX)
    }

    /// Appends a message; blocks until it has its copies.
    pub(crate) fn post(&self, message: &str, wishes: &Wishes) -> Result<Reply<Posted>, Failure> {
        let client = self.patient_enough(wishes);
        let body = wishes.body(message).to_string();
        let request = || with_headers(client.agent.post(client.master.url("/messages")), wishes);
        client.change(|| request().content_type("application/json").send(body))?.parse()
    }

    /// Appends several messages, all of them or none; blocks until they have their copies.
    pub(crate) fn post_batch<'a>(
        &self,
        messages: impl Iterator<Item = &'a str>,
        wishes: &Wishes,
    ) -> Result<Reply<PostedBatch>, Failure> {
        let client = self.patient_enough(wishes);
        let body: String = messages.map(|message| format!("{}\n", serde_json::json!(message))).collect();
        let path = format!("/messages{}", wishes.query());
        let request = || with_headers(client.agent.post(client.master.url(&path)), wishes);
        client.change(|| request().content_type("application/x-ndjson").send(body))?.parse()
    }

    /// What a node says of the faults that it was asked for.
    pub(crate) fn faults(&self, node: &Address) -> Result<Reply<Faults>, Failure> {
        self.read(node, "/faults", REPLY_BYTES_MAX)
    }

    /// Asks a node for a fault, instead of the one that it has.
    pub(crate) fn set_fault(&self, node: &Address, fault: &serde_json::Value) -> Result<(), Failure> {
        let request = || self.agent.put(node.url("/faults")).content_type("application/json");
        self.change_at(node, || request().send(fault.to_string())).map(drop)
    }

    /// Ends the fault of a node.
    pub(crate) fn end_fault(&self, node: &Address) -> Result<(), Failure> {
        self.change_at(node, || self.agent.delete(node.url("/faults")).call()).map(drop)
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

    fn read<T: DeserializeOwned>(&self, node: &Address, path: &str, bytes_max: u64) -> Result<Reply<T>, Failure> {
        let call = Call { node, effect: Effect::Reads, bytes_max, timeout: self.timeout };
        call.run(|| self.agent.get(node.url(path)).call())?.parse()
    }

    fn change(&self, send: impl FnOnce() -> Sent) -> Result<Answer, Failure> {
        self.change_at(&self.master, send)
    }

    fn change_at(&self, node: &Address, send: impl FnOnce() -> Sent) -> Result<Answer, Failure> {
        Call { node, effect: Effect::Changes, bytes_max: REPLY_BYTES_MAX, timeout: self.timeout }.run(send)
    }

    fn send(&self, path: &str, body: &serde_json::Value) -> Sent {
        self.agent.post(self.master.url(path)).content_type("application/json").send(body.to_string())
    }
}

/// What is asked for in the head of a post.
fn with_headers(request: RequestBuilder<WithBody>, wishes: &Wishes) -> RequestBuilder<WithBody> {
    let request = match &wishes.key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    };
    match wishes.after {
        Some(id) => request.header("If-Match", format!("\"{id}\"")),
        None => request,
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
        let answer = send().and_then(|response| self.receive(response)).map_err(|error| self.explain(&error))?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(answer.into_failure()) }
    }

    fn receive(&self, mut response: Response<Body>) -> Result<Answer, ureq::Error> {
        let body = response.body_mut().with_config().limit(self.bytes_max).read_to_vec()?;
        let replayed = response.headers().contains_key("Idempotent-Replayed");
        Ok(Answer { node: self.node.clone(), effect: self.effect, status: response.status().as_u16(), replayed, body })
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
        let gave_up = kind == Kind::Unknown && matches!(error, ureq::Error::Timeout(_));
        Failure { gave_up, ..Failure::new(kind, sentence) }
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
    replayed: bool,
    body: Vec<u8>,
}

impl Answer {
    fn parse<T: DeserializeOwned>(self) -> Result<Reply<T>, Failure> {
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(Reply { value, status: self.status, replayed: self.replayed, body: self.body }),
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
            gave_up: false,
            status: Some(self.status),
            message_id: problem.message_id,
            message_ids: problem.message_ids,
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
    pub(crate) status: u16,
    /// It is the answer of an earlier post with the same key.
    pub(crate) replayed: bool,
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
    /// There was no answer as long as this client waited, so that what it sent may still be on its way.
    #[serde(skip)]
    pub(crate) gave_up: bool,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The id that the message had, if it got as far as having one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<u64>,
    /// The ids that a batch had, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_ids: Option<Ids>,
    /// Each secondary's part, if the master tells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secondaries: Vec<SecondaryReport>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: String) -> Failure {
        let (status, message_id, message_ids) = (None, None, None);
        Failure { kind, error, gave_up: false, status, message_id, message_ids, secondaries: Vec::new() }
    }

    /// Whether what was posted got as far as having an id: before that, it was sent to nobody.
    pub(crate) fn had_an_id(&self) -> bool {
        self.message_id.is_some() || self.message_ids.is_some()
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
    message_ids: Option<Ids>,
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
    #[serde(flatten)]
    pub(crate) copies: Copied,
}

/// Several messages that were committed together.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PostedBatch {
    pub(crate) message_ids: Ids,
    /// How many they are.
    pub(crate) count: u64,
    #[serde(flatten)]
    pub(crate) copies: Copied,
}

/// The ids of a batch, without a gap.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Ids {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Where what was committed is, as the master knew when it answered.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Copied {
    /// How many secondaries hold it.
    pub(crate) replicated_to: usize,
    /// How many copies were asked for, the master's included. A master of another make may not tell.
    pub(crate) w: Option<usize>,
    /// Each acknowledgement, likewise.
    #[serde(default)]
    pub(crate) acks: Vec<Ack>,
}

/// A write that was given a name.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct KnownWrite {
    pub(crate) outcome: Fate,
    #[serde(flatten)]
    pub(crate) ids: WriteIds,
    /// When it was accepted, once it is committed.
    pub(crate) timestamp: Option<String>,
}

/// What a write put into the log.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum WriteIds {
    One { message_id: u64 },
    Batch { message_ids: Ids },
}

impl WriteIds {
    /// The newest of them.
    pub(crate) fn last(self) -> u64 {
        match self {
            WriteIds::One { message_id } => message_id,
            WriteIds::Batch { message_ids } => message_ids.last,
        }
    }
}

/// What became of a write that was not refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It is in the log.
    Committed,
    /// It may still be refused.
    Pending,
}

/// What a node says of the faults that it was asked for.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Faults {
    /// Whether it can be asked for any.
    pub(crate) enabled: bool,
    /// How many calls the latest one met.
    #[serde(default)]
    pub(crate) hits: u64,
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
    /// The newest id that it holds, visible or not.
    #[serde(default)]
    pub(crate) last: u64,
    /// Everything up to this id that is not refused is visible.
    #[serde(default)]
    pub(crate) decided: u64,
    /// How many calls arrived at a secondary before an earlier one. An older version does not tell.
    pub(crate) early_calls: Option<u64>,
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
    /// Everything up to this id is known to be on its disk.
    pub(crate) durable: Option<u64>,
    pub(crate) delay_ms: Option<u64>,
}

impl Listed {
    pub(crate) fn is_in_sync(&self) -> bool {
        self.state == Some(State::InSync)
    }
}

/// Where the time of a write went.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trace {
    #[serde(flatten)]
    pub(crate) ids: WriteIds,
    pub(crate) outcome: String,
    pub(crate) timestamp: String,
    pub(crate) w: u64,
    pub(crate) ms: f64,
    pub(crate) replicas: Vec<Replica>,
}

/// One node's part in it; moments in milliseconds after the write was accepted.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Replica {
    pub(crate) server_id: String,
    pub(crate) state: String,
    pub(crate) stored_ms: Option<f64>,
    pub(crate) sent_ms: Option<f64>,
    pub(crate) received_ms: Option<f64>,
    pub(crate) durable_ms: Option<f64>,
    pub(crate) delay_ms: Option<f64>,
    pub(crate) acknowledged_ms: Option<f64>,
    pub(crate) attempts: Option<u32>,
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
