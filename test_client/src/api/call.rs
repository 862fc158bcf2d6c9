//! One request to one node: its answer, or what may be concluded without one.

use super::address::Address;
use super::failure::{Failure, Kind};
use super::wire::{Ids, SecondaryReport};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Body, Timeout};

/// A host that runs accepts a connection at once. A longer `--timeout` is for slow answers.
pub(super) const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Whether a request, once sent, may have changed something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    Reads,
    Changes,
}

/// What a call of `ureq` returns.
pub(super) type Sent = Result<Response<Body>, ureq::Error>;

/// One request to one node.
pub(super) struct Call<'a> {
    pub(super) node: &'a Address,
    pub(super) effect: Effect,
    pub(super) bytes_max: u64,
    pub(super) timeout: Duration,
}

impl Call<'_> {
    pub(super) fn run(&self, send: impl FnOnce() -> Sent) -> Result<Answer, Failure> {
        self.run_for(|status| (200..300).contains(&status), send)
    }

    /// The same, for a request that is answered with these statuses.
    pub(super) fn run_for(
        &self,
        is_answer: impl FnOnce(u16) -> bool,
        send: impl FnOnce() -> Sent,
    ) -> Result<Answer, Failure> {
        // Resolved here first, because a name that does not resolve is certain to have changed nothing.
        self.node.resolve().map_err(|error| {
            Failure::new(Kind::Unreachable, format!("cannot resolve the name in {}: {error}", self.node))
        })?;
        let answer = send().and_then(|response| self.receive(response)).map_err(|error| self.explain(&error))?;
        if is_answer(answer.status) { Ok(answer) } else { Err(answer.into_failure()) }
    }

    pub(super) fn receive(&self, mut response: Response<Body>) -> Result<Answer, ureq::Error> {
        let body = response.body_mut().with_config().limit(self.bytes_max).read_to_vec()?;
        let replayed = response.headers().contains_key("Idempotent-Replayed");
        Ok(Answer { node: self.node.clone(), effect: self.effect, status: response.status().as_u16(), replayed, body })
    }

    /// The failure for a request without an answer.
    pub(super) fn explain(&self, error: &ureq::Error) -> Failure {
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
            other => format!("the reply of {node} is not that of a node: {other}"),
        };
        let gave_up = kind == Kind::Unknown && matches!(error, ureq::Error::Timeout(_));
        Failure { gave_up, ..Failure::new(kind, sentence) }
    }
}

/// Whether the request certainly never left. Other connection errors look the same as those of an established
/// connection, so they prove nothing.
fn nothing_was_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable),
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::HostNotFound | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

/// The answer of a node.
pub(super) struct Answer {
    pub(super) node: Address,
    pub(super) effect: Effect,
    status: u16,
    replayed: bool,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<Reply<T>, Failure> {
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(Reply { value, status: self.status, replayed: self.replayed, body: self.body }),
            Err(error) => Err(self.incomprehensible(&format!("unexpected JSON, {error}"))),
        }
    }

    /// The failure for an answer that is not a success.
    pub(super) fn into_failure(self) -> Failure {
        let Ok(problem) = serde_json::from_slice::<Problem>(&self.body) else {
            return self.incomprehensible("no explanation in JSON");
        };
        let kind = match problem.outcome.as_deref() {
            Some("not_appended") => Kind::Refused,
            None if self.effect == Effect::Reads || self.blames_the_client() => Kind::Refused,
            // An outcome that only a later version knows counts as unknown.
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

    /// The failure for an answer that cannot be understood.
    fn incomprehensible(&self, why: &str) -> Failure {
        let kind = match self.effect {
            Effect::Reads => Kind::Unreachable,
            Effect::Changes if self.blames_the_client() => Kind::Refused,
            Effect::Changes => Kind::Unknown,
        };
        let error = format!("{} answered {}, but not as a node: {why}", self.node, self.status);
        Failure { status: Some(self.status), ..Failure::new(kind, error) }
    }

    /// Whether the status alone says that the node refused the request before it did anything.
    fn blames_the_client(&self) -> bool {
        (400..500).contains(&self.status) && self.status != 408
    }
}

/// A reply: its value, and its body as it arrived.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pub(crate) status: u16,
    /// The master repeated its answer to an earlier post with the same key.
    pub(crate) replayed: bool,
    /// For scripts, which may know fields that this client does not.
    pub(crate) body: Vec<u8>,
}

/// The body of an error.
#[derive(Deserialize)]
struct Problem {
    error: String,
    outcome: Option<String>,
    message_id: Option<u64>,
    message_ids: Option<Ids>,
    #[serde(default)]
    secondaries: Vec<SecondaryReport>,
}
