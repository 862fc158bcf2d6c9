//! Replies: status, headers and content.

use crate::wire::client::{Outcome, Problem};
use serde::Serialize;
use std::fmt::{Display, Write};
use std::io;

/// Writes a body piece by piece. Gives the next piece, or `None` at the end.
pub(crate) type Pieces = Box<dyn FnMut() -> io::Result<Option<Vec<u8>>> + Send>;

/// What a reply consists of.
pub(crate) trait Source: Send + 'static {
    /// The next piece, or `None` if there is no more.
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>>;
}

impl Source for Option<Pieces> {
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.as_mut().map_or(Ok(None), |pieces| pieces())
    }
}

/// The content of a reply.
pub(crate) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Piece by piece, so that it is never in memory as a whole.
    Streamed(Pieces),
}

impl Body {
    /// How much of it is in memory.
    pub(super) fn bytes_at_once(&self) -> usize {
        match self {
            Body::Whole(body) => body.len(),
            Body::Streamed(_) => 0,
        }
    }
}

/// A reply: status, headers, content.
pub(crate) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Headers,
    pub(super) body: Body,
}

/// The headers of a reply beyond those that all have, as they are sent: a line for each.
#[derive(Default)]
pub(super) struct Headers(String);

/// Most replies have no more bytes of headers than this.
const HEADER_BYTES_EXPECTED: usize = 240;

impl Headers {
    /// Adds a line.
    pub(super) fn push(&mut self, name: &'static str, value: impl Display) {
        if self.0.is_empty() {
            self.0.reserve(HEADER_BYTES_EXPECTED);
        }
        self.0.push_str(name);
        self.0.push_str(": ");
        // Writing to a string does not fail.
        let _ = write!(self.0, "{value}");
        self.0.push_str("\r\n");
    }

    /// Adds other lines.
    pub(super) fn append(&mut self, other: Headers) {
        if self.0.is_empty() {
            *self = other;
        } else {
            self.0.push_str(&other.0);
        }
    }

    /// All lines, each with its end.
    pub(super) fn as_text(&self) -> &str {
        &self.0
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split_terminator("\r\n").filter_map(|line| line.split_once(": "))
    }
}

/// Every reply tells what this node knows at this moment, so no cache may keep any of them, and a strong read least.
pub(super) const CACHE_CONTROL: &str = "no-store";
/// What a reply depends on beside its target.
pub(super) const VARY: &str = "Accept, Origin";

const JSON: &str = "application/json";
/// Most replies in JSON have no more bytes than this.
const JSON_BYTES_EXPECTED: usize = 512;

impl Reply {
    /// A value as JSON, ended by a newline so that a terminal stays tidy.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Reply {
        let mut body = Vec::with_capacity(JSON_BYTES_EXPECTED);
        serde_json::to_writer(&mut body, value).expect("replies consist of strings, numbers and lists");
        body.push(b'\n');
        Reply::json_text(status, body)
    }

    /// JSON that was written already.
    pub(crate) fn json_text(status: u16, body: Vec<u8>) -> Reply {
        Reply { status, content_type: JSON, headers: Headers::default(), body: Body::Whole(body) }
    }

    /// JSON that is made while it is sent.
    pub(crate) fn json_stream(status: u16, pieces: Pieces) -> Reply {
        Reply { status, content_type: JSON, headers: Headers::default(), body: Body::Streamed(pieces) }
    }

    /// Lines of JSON that are made while they are sent.
    pub(crate) fn lines(pieces: Pieces) -> Reply {
        let body = Body::Streamed(pieces);
        Reply { status: 200, content_type: "application/x-ndjson", headers: Headers::default(), body }
    }

    /// Text of a type.
    pub(crate) fn text(content_type: &'static str, text: String) -> Reply {
        Reply { status: 200, content_type, headers: Headers::default(), body: Body::Whole(text.into_bytes()) }
    }

    /// The head of a stream. No proxy is to keep anything of it, or to hold it back.
    pub(crate) fn stream_head(content_type: &'static str) -> Reply {
        Reply { status: 200, content_type, headers: Headers::default(), body: Body::Streamed(Box::new(|| Ok(None))) }
            .with_header("X-Accel-Buffering", "no")
    }

    /// A reply without content.
    pub(crate) fn empty() -> Reply {
        Reply { status: 204, content_type: "", headers: Headers::default(), body: Body::Whole(Vec::new()) }
    }

    /// An error, in a sentence. The request was refused and nothing was done.
    pub(crate) fn problem(status: u16, sentence: &str) -> Reply {
        Reply::json(status, &Problem { error: sentence, outcome: Some(Outcome::NotAppended) })
    }

    /// An error of a request that changes nothing anyway.
    pub(crate) fn no_answer(status: u16, sentence: &str) -> Reply {
        Reply::json(status, &Problem { error: sentence, outcome: None })
    }

    /// What was asked for is not here.
    pub(crate) fn not_found(sentence: &str) -> Reply {
        Reply::no_answer(404, sentence)
    }

    /// A refusal for now: the client may try again.
    pub(crate) fn overloaded(sentence: &str) -> Reply {
        Reply::problem(503, sentence).with_header("Retry-After", "1")
    }

    /// Adds a header. Values come from this program, never from a client.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Display) -> Reply {
        self.headers.push(name, value);
        self
    }

    /// The same with another status.
    pub(crate) fn with_status(self, status: u16) -> Reply {
        Reply { status, ..self }
    }
}

/// The reason phrase of a status that this server uses.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}
