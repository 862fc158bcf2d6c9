//! Posts that come to a secondary: it passes them on to the master, and gives back what the master replies.
//!
//! The client cannot tell the difference, outcomes included. If the master cannot be reached, nothing was appended
//! (503). If the connection to it breaks while its reply is awaited, the outcome is unknown (504), as if the client's own
//! connection had broken; with an idempotency key it can ask again.
//!
//! With `FORWARD=0` the node redirects such clients instead.

use super::lifecycle::Secondary;
use crate::http::{Exchange, Reply};
use crate::node::framing;
use crate::peer::{ForwardError, Forwarded, Returned};
use crate::wire::address::NodeUrl;
use crate::wire::client::{Outcome, Problem};
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

/// What is passed on of a request's head.
const REQUEST_HEADERS: [&str; 8] = [
    "Accept",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "traceparent",
];
/// What is passed back of a reply's head.
const REPLY_HEADERS: [&str; 11] = [
    "Accept-Encoding",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Log-Begin",
    "Log-End",
    "Log-Id",
    "Retry-After",
    "Server-Timing",
    "Warning",
    "WWW-Authenticate",
];
/// Names this program in `Via` (RFC 9110, section 7.6.3), which shows a request that goes round in a circle.
const PROGRAM: &str = "(replicated-log)";
/// How long a post waits until this node knows the master, if another node may have come to lead.
const MASTER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it looks.
const MASTER_PAUSE: Duration = Duration::from_millis(2);
/// How many nodes pass a post on where another node may come to lead: not every node knows that at once.
const HOPS_MAX: usize = 3;
/// A reply up to this length is read before it is passed back, so that one that breaks off is noticed in time.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// What is taken from the budget for a body of unknown length: that of the longest body of a master by default.
const CHUNKED_BYTES: usize = 8 << 20;
/// Bytes of a longer one that are passed back at a time.
const PIECE_BYTES: usize = 64 << 10;

impl Secondary {
    /// Answers a post as the master does.
    pub(super) fn forward(&self, exchange: &mut Exchange, master: Option<NodeUrl>) -> Reply {
        let Some(master) = master else {
            return Reply::overloaded("only the master takes messages, and this node does not know it yet");
        };
        let hops_max = if self.may_be_led_by_another() { HOPS_MAX } else { 1 };
        if exchange.header_lines("Via").filter(|via| via.contains(PROGRAM)).count() >= hops_max {
            return Reply::problem(
                503,
                &format!("another node passed this on, and this one is no master either; its master is {master}"),
            );
        }
        let Some(_permit) = self.forwards.take() else {
            return Reply::overloaded(&format!(
                "{} posts wait here for the master, as many as this node passes on; try again, or post to {master}",
                self.forwards.taken()
            ));
        };
        let bytes = Some(exchange.declared_body_bytes()).filter(|&bytes| bytes > 0).unwrap_or(CHUNKED_BYTES);
        let Some(_share) = self.forwarded.take(bytes) else {
            return Reply::overloaded(&format!(
                "there is no room to pass {bytes} bytes on: {}; try again, or post to {master}",
                self.forwarded.in_words("a fixed limit")
            ));
        };
        if let Err(refusal) = framing::check(exchange) {
            return refusal;
        }
        let body = match exchange.read_body() {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let lines =
            REQUEST_HEADERS.iter().flat_map(|&name| exchange.header_lines(name).map(move |value| (name, value)));
        let mut headers: Vec<(&'static str, String)> = lines.map(|(name, value)| (name, value.to_owned())).collect();
        headers.push(("Via", format!("1.1 {} {PROGRAM}", self.settings.common.server_id)));
        let request = Forwarded { target: exchange.target(), headers: &headers, body: &body };
        match self.forwarder.post(&master, request, &REPLY_HEADERS) {
            Ok(returned) => pass_back(returned, &master),
            Err(ForwardError::NotSent(why)) => {
                Reply::overloaded(&format!("the message was not appended: the master at {master}: {why}"))
            }
            Err(ForwardError::Unknown(why)) => unknown(&master, &why),
        }
    }
}

impl Secondary {
    /// The master. While another node comes to lead, this one may not know it for a moment. A node that leads itself by now
    /// does not know one.
    pub(super) fn await_master(&self) -> Option<NodeUrl> {
        let deadline = Instant::now() + MASTER_TIMEOUT;
        loop {
            let master = self.known_master();
            let is_over = self.is_retired() || Instant::now() >= deadline;
            if master.is_some() || !self.may_be_led_by_another() || is_over {
                return master;
            }
            thread::sleep(MASTER_PAUSE);
        }
    }
}

fn pass_back(returned: Returned, master: &NodeUrl) -> Reply {
    let Returned { status, headers, mut body, bytes } = returned;
    let reply = if bytes.is_some_and(|bytes| bytes <= WHOLE_BYTES_MAX) {
        let mut text = Vec::new();
        if let Err(error) = body.read_to_end(&mut text) {
            return unknown(master, &format!("its reply broke off: {error}"));
        }
        Reply::json_text(status, text)
    } else {
        Reply::json_stream(
            status,
            Box::new(move || {
                let mut piece = vec![0; PIECE_BYTES];
                let read = body.read(&mut piece)?;
                piece.truncate(read);
                Ok((read > 0).then_some(piece))
            }),
        )
    };
    headers.into_iter().fold(reply, |reply, (name, value)| reply.with_header(name, value))
}

/// The reply to a client whose message the master may have.
fn unknown(master: &NodeUrl, why: &str) -> Reply {
    let error = format!("it is not known whether the message is in the log: the master at {master}: {why}");
    Reply::json(504, &Problem { error: &error, outcome: Some(Outcome::Unknown) })
}
