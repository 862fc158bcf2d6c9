//! The nodes' HTTP interface: one method per request, one type per reply.
//!
//! Every failure says what may be concluded from it. A failure that is not certain to have left the log unchanged is
//! [`Kind::Unknown`], however likely success may be.

mod address;
mod call;
mod credentials;
mod failure;
mod wire;
mod write_options;

pub(crate) use address::Address;
pub(crate) use call::Reply;
pub(crate) use credentials::Credentials;
pub(crate) use failure::{Failure, Kind};
pub(crate) use wire::{
    Ack, Copied, Elected, FaultState, Health, Ids, KnownWrite, Leader, Listed, Message, Messages, Posted, PostedBatch,
    Promotion, PutAside, Rejoined, SecondaryReport, SecondaryState, Trace, TracedReplica, TrimRequest, Trimmed,
    WriteIds, WriteOutcome,
};
pub(crate) use write_options::{Copies, SECONDS_MAX, WriteOptions, parse_key, parse_wait};

use call::{Answer, CONNECT_WAIT_MAX, Call, Effect, Sent};
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::middleware::MiddlewareNext;
use ureq::typestate::WithBody;
use ureq::{Agent, RequestBuilder, SendBody};

/// How much longer than the master a client waits: time for the answer to arrive.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// The limit for replies about one message or one node. A refusal lists every secondary: this has room for thousands.
const REPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The limit for a whole log, which comes in one reply and is held in memory. Beyond it, use `export`.
const LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Talks to the nodes of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    master: Address,
    timeout: Duration,
    token: Option<Credentials>,
}

impl Client {
    /// A client that waits this long for each answer.
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

    /// The same client with another time-out.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Client {
        Client::new(self.master.clone(), timeout, self.token.clone())
    }

    /// A client that writes to another node.
    pub(crate) fn at(&self, node: &Address) -> Client {
        Client::new(node.clone(), self.timeout, self.token.clone())
    }

    /// A client that waits for an answer longer than the master waits for copies.
    fn waiting_for(&self, options: &WriteOptions) -> Client {
        let needed = options.wait.map_or(Duration::ZERO, |wait| wait + ANSWER_MARGIN);
        self.with_timeout(self.timeout.max(needed))
    }

    pub(crate) fn health(&self, node: &Address) -> Result<Reply<Health>, Failure> {
        self.read(node, "/health", REPLY_BYTES_MAX)
    }

    /// What a node shows from an id on.
    pub(crate) fn messages(&self, node: &Address, from: u64) -> Result<Reply<Messages>, Failure> {
        self.page(node, from, None, None)
    }

    /// What a node shows from an id on without asking the master: any prefix of the log will do.
    pub(crate) fn prefix(&self, node: &Address, from: u64) -> Result<Reply<Messages>, Failure> {
        self.page(node, from, None, Some("prefix"))
    }

    /// A part of what a node shows: from an id on, at most so many messages, with this consistency. The request always
    /// names the view, because a node may be set to list bare strings.
    pub(crate) fn page(
        &self,
        node: &Address,
        from: u64,
        limit: Option<u64>,
        consistency: Option<&str>,
    ) -> Result<Reply<Messages>, Failure> {
        let limit = limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
        let consistency = consistency.map_or_else(String::new, |word| format!("&consistency={word}"));
        let from = place(from);
        self.read(node, &format!("/messages?view=objects&from={from}{limit}{consistency}"), LOG_BYTES_MAX)
    }

    /// The timeline of a message.
    pub(crate) fn trace(&self, id: u64) -> Result<Reply<Trace>, Failure> {
        self.read(&self.master, &format!("/messages/{id}/trace"), REPLY_BYTES_MAX)
    }

    /// The messages of a node from an id on, a line of JSON for each, as they become visible. Empty lines
    /// are heartbeats.
    pub(crate) fn follow(&self, node: &Address, from: u64) -> Result<impl BufRead + use<>, Failure> {
        self.lines(node, &format!("/messages?follow=true&view=objects&from={}", place(from)))
    }

    /// The messages that a node shows now, from an id on, a line of JSON for each.
    pub(crate) fn export(&self, node: &Address, from: u64) -> Result<impl BufRead + use<>, Failure> {
        self.lines(node, &format!("/messages?view=objects&from={}", place(from)))
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

    /// Whether a node leads, and if not, which node led last as far as it knows.
    pub(crate) fn leader(&self, node: &Address) -> Result<Reply<Leader>, Failure> {
        let call = Call { node, effect: Effect::Reads, bytes_max: REPLY_BYTES_MAX, timeout: self.timeout };
        call.run_for(|status| matches!(status, 200 | 503), || self.agent.get(node.url("/leader")).call())?.parse()
    }

    /// Lets a node lead.
    pub(crate) fn promote(&self, node: &Address, promotion: Promotion) -> Result<Reply<Elected>, Failure> {
        let body = serde_json::json!({ "keep": promotion.keep, "force": promotion.force }).to_string();
        let request = || self.agent.post(node.url("/promotion")).content_type("application/json");
        self.change_at(node, || request().send(body))?.parse()
    }

    /// Lets a node follow that has shown messages which the master does not have.
    pub(crate) fn rejoin(&self, node: &Address, put_aside: bool) -> Result<Reply<Rejoined>, Failure> {
        let body = serde_json::json!({ "put_aside": put_aside }).to_string();
        let request = || self.agent.post(node.url("/rejoin")).content_type("application/json");
        self.change_at(node, || request().send(body))?.parse()
    }

    /// Lets a node that leads hand over.
    pub(crate) fn switch_over(&self, node: &Address, to: Option<&str>) -> Result<Reply<Elected>, Failure> {
        let body = serde_json::json!({ "to": to }).to_string();
        let request = || self.agent.post(node.url("/switchover")).content_type("application/json");
        self.change_at(node, || request().send(body))?.parse()
    }

    /// Drops the beginning of the log.
    pub(crate) fn trim(&self, request: TrimRequest) -> Result<Reply<Trimmed>, Failure> {
        self.change(|| self.send("/trim", &serde_json::json!(request)))?.parse()
    }

    /// The state of the write with this key.
    pub(crate) fn write(&self, key: &str) -> Result<Reply<KnownWrite>, Failure> {
        self.read(&self.master, &format!("/writes/{key}"), REPLY_BYTES_MAX)
    }

    /// Appends a message. Blocks until the master answers.
    pub(crate) fn post(&self, message: &str, options: &WriteOptions) -> Result<Reply<Posted>, Failure> {
        let client = self.waiting_for(options);
        let body = options.body(message).to_string();
        let request = || with_headers(client.agent.post(client.master.url("/messages")), options);
        client.change(|| request().content_type("application/json").send(body))?.parse()
    }

    /// Appends several messages, all of them or none. Blocks until the master answers.
    pub(crate) fn post_batch<'a>(
        &self,
        messages: impl Iterator<Item = &'a str>,
        options: &WriteOptions,
    ) -> Result<Reply<PostedBatch>, Failure> {
        let client = self.waiting_for(options);
        let body: String = messages.map(|message| format!("{}\n", serde_json::json!(message))).collect();
        let path = format!("/messages{}", options.query());
        let request = || with_headers(client.agent.post(client.master.url(&path)), options);
        client.change(|| request().content_type("application/x-ndjson").send(body))?.parse()
    }

    pub(crate) fn faults(&self, node: &Address) -> Result<Reply<FaultState>, Failure> {
        self.read(node, "/faults", REPLY_BYTES_MAX)
    }

    /// Asks a node for a fault, which replaces the one that it has.
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

    /// The URL for a `DELETE` by hand.
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

/// Where a read begins: with the first id, which may be trimmed, the beginning of the log is meant.
fn place(from: u64) -> String {
    if from <= 1 { "oldest".to_owned() } else { from.to_string() }
}

/// Adds the write options that are headers.
fn with_headers(request: RequestBuilder<WithBody>, options: &WriteOptions) -> RequestBuilder<WithBody> {
    let request = match &options.key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    };
    match options.after {
        Some(id) => request.header("If-Match", format!("\"{id}\"")),
        None => request,
    }
}
