//! The API for people and programs.
//!
//! A client posts a message as `{"message": …}` or as `{"msg": …}`. These two dialects come from two descriptions of
//! the same exercise. Every node understands both, and replies in the dialect of the request. Several messages at once
//! come as a list or as lines.

use super::hexadecimal::{CopyIdText, IncarnationText};
use super::object::{Object, write_text};
use super::timestamp::Timestamp;
use super::timing::{CallTimes, Millis, milliseconds};
use super::{batch, escapes, read_object, shared_text};
use crate::protocol::{EntryRef, Id};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Most replies to a committed message have no more bytes than this.
const COMMITTED_BYTES_EXPECTED: usize = 512;
/// The same for its `Server-Timing`.
const SERVER_TIMING_BYTES_EXPECTED: usize = 96;

/// The dialect of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `{"message": …}`, answered with the id of the message and how many secondaries hold it.
    Message,
    /// `{"msg": …}`, answered with the whole log as strings.
    Msg,
    /// Several messages at once, an extension of both, answered with the ids of the first and the last.
    Batch,
}

/// The write concern: how many copies a client asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Copies {
    /// Every node.
    All,
    /// More than half of the nodes.
    Majority,
    /// This number of nodes, the master included.
    Number(u64),
}

impl Copies {
    /// Reads `all`, `majority` or a number from 1.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn parse(text: &str) -> Result<Copies, String> {
        match text {
            "all" => Ok(Copies::All),
            "majority" => Ok(Copies::Majority),
            _ => match text.parse() {
                Ok(number) if number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Ok(Copies::Number(number))
                }
                _ => Err(format!(
                    "\"{}\" is not a number of copies; it must be a whole number from 1, \"majority\" or \"all\"",
                    text.escape_debug()
                )),
            },
        }
    }

    fn from_json(value: &Value) -> Result<Copies, String> {
        match value {
            Value::String(text) if text.parse::<f64>().is_ok() => Err(format!(
                "the number of copies is the text \"{text}\"; send it as a number, without the quotation marks"
            )),
            Value::String(text) => Copies::parse(text),
            other => Copies::parse(&other.to_string()),
        }
    }
}

/// The longest timeout of a write, in seconds.
const TIMEOUT_MAX_S: f64 = 86_400.0;

/// Reads the timeout of a write, in seconds.
///
/// # Errors
/// If it is not a number from 0 to 86,400.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Some(seconds) if seconds <= TIMEOUT_MAX_S => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!(
            "\"{}\" is not a timeout; it must be a number of seconds from 0 to {TIMEOUT_MAX_S}",
            text.escape_debug()
        )),
    }
}

/// Reads seconds: digits, perhaps with a decimal point. Rust would take a sign, an exponent and names, too.
#[must_use]
pub fn seconds(text: &str) -> Option<f64> {
    let is_plain = text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

/// The write options. The master chooses those that the client does not give.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WriteOptions {
    /// The write concern.
    pub copies: Option<Copies>,
    /// How long the master waits for missing nodes before it refuses the write. By default it refuses at once.
    pub timeout: Option<Duration>,
}

impl WriteOptions {
    /// Merges the options of the body and the query.
    ///
    /// # Errors
    /// If both give the same option.
    pub fn and(self, other: WriteOptions) -> Result<WriteOptions, String> {
        if self.copies.is_some() && other.copies.is_some() {
            return Err("the number of copies is given twice, in the body and in the query".to_owned());
        }
        if self.timeout.is_some() && other.timeout.is_some() {
            return Err("the timeout is given twice, in the body and in the query".to_owned());
        }
        Ok(WriteOptions { copies: self.copies.or(other.copies), timeout: self.timeout.or(other.timeout) })
    }
}

/// What a client posted: one message, or several that the master decides as one write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Posted {
    /// The texts, exactly as sent.
    pub messages: Vec<Arc<str>>,
    /// The dialect of the reply.
    pub dialect: Dialect,
    /// The write options.
    pub options: WriteOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostedFields {
    #[serde(default, deserialize_with = "text")]
    message: Option<Arc<str>>,
    #[serde(default, deserialize_with = "text")]
    msg: Option<Arc<str>>,
    w: Option<Value>,
    write_concern: Option<Value>,
    timeout: Option<Value>,
}

impl PostedFields {
    fn options(&self) -> Result<WriteOptions, String> {
        let copies = match (&self.w, &self.write_concern) {
            (Some(_), Some(_)) => return Err("the body has both \"w\" and \"write_concern\"; send one".to_owned()),
            (Some(value), None) | (None, Some(value)) => Some(Copies::from_json(value)?),
            (None, None) => None,
        };
        let timeout = self.timeout.as_ref().map(timeout_from_json).transpose()?;
        Ok(WriteOptions { copies, timeout })
    }
}

/// Reads a string of a field that is present. `null` is not one.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    shared_text(deserializer).map(Some)
}

impl Registration {
    /// Reads a JSON body.
    ///
    /// # Errors
    /// With a sentence for the client, naming the position where there is one.
    pub fn from_json(body: &[u8]) -> Result<Registration, String> {
        read_object(body).map_err(|error| format!("the body is not a registration: {error}"))
    }
}

impl Posted {
    /// Reads a JSON body: an object with a message, or a list of messages.
    ///
    /// # Errors
    /// With a sentence for the client, naming the position where there is one.
    pub fn from_json(body: &[u8]) -> Result<Posted, String> {
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return batch::from_json(body).map(Posted::batch);
        }
        let fields: PostedFields = read_object(body).map_err(|error| format!("the body is not a message: {error}"))?;
        let options = fields.options()?;
        match (fields.message, fields.msg) {
            (Some(message), None) => Ok(Posted { messages: vec![message], dialect: Dialect::Message, options }),
            (None, Some(message)) => Ok(Posted { messages: vec![message], dialect: Dialect::Msg, options }),
            (Some(_), Some(_)) => Err("the body has both \"message\" and \"msg\"; send one of them".to_owned()),
            (None, None) => {
                Err("the body has neither \"message\" nor \"msg\"; send {\"message\": \"your text\"}".to_owned())
            }
        }
    }

    /// Reads a form: its field `message`, or `msg` if it has no such field, is the message. Other fields do not matter,
    /// because loggers send all that they know (`HTTPHandler` of Python, for example). A body in JSON is read as such:
    /// curl labels it as a form by default.
    ///
    /// # Errors
    /// With a sentence for the client.
    pub fn from_form(body: &[u8]) -> Result<Posted, String> {
        if matches!(body.trim_ascii_start(), [] | [b'{' | b'[' | b'"', ..]) {
            return Posted::from_json(body);
        }
        let text = std::str::from_utf8(body).map_err(|error| not_utf8(&error))?;
        let fields: Vec<(&str, &str)> = text.trim_end().split('&').filter_map(|field| field.split_once('=')).collect();
        for name in ["message", "msg"] {
            let mut values = fields.iter().filter(|(field, _)| *field == name);
            if let Some((_, value)) = values.next() {
                if values.next().is_some() {
                    return Err(format!("the form has more than one field {name}"));
                }
                return Ok(Posted::one(&escapes::decode_form(value)?));
            }
        }
        Err("the body is a form without a field message or msg; send one, or say with Content-Type what it is: \
             application/json for {\"message\": \"your text\"}, or text/plain if all of it is the message"
            .to_owned())
    }

    /// Reads a JSON body: a list whose elements are messages, each as the JSON text that it is, or one such text.
    ///
    /// # Errors
    /// With a sentence for the client, naming the position where there is one.
    pub fn from_raw_json(body: &[u8]) -> Result<Posted, String> {
        batch::from_raw_json(body).map(Posted::batch)
    }

    /// Reads a body of lines in JSON, each of which is a message as it stands.
    ///
    /// # Errors
    /// With a sentence for the client, naming the line.
    pub fn from_raw_lines(body: &[u8]) -> Result<Posted, String> {
        batch::from_raw_lines(body).map(Posted::batch)
    }

    /// Reads a `text/plain` body: all of it is the message.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn from_text(body: &[u8]) -> Result<Posted, String> {
        std::str::from_utf8(body).map(Posted::one).map_err(|error| not_utf8(&error))
    }

    fn one(text: &str) -> Posted {
        Posted { messages: vec![text.into()], dialect: Dialect::Message, options: WriteOptions::default() }
    }

    /// Reads a body of lines, each of which is a message in JSON.
    ///
    /// # Errors
    /// With a sentence for the client, naming the line.
    pub fn from_lines(body: &[u8]) -> Result<Posted, String> {
        batch::from_lines(body).map(Posted::batch)
    }

    fn batch(messages: Vec<Arc<str>>) -> Posted {
        Posted { messages, dialect: Dialect::Batch, options: WriteOptions::default() }
    }
}

fn not_utf8(error: &std::str::Utf8Error) -> String {
    format!(
        "the body is not UTF-8 text: {error}; send it in UTF-8, as \"curl --data-binary\" does with a file in UTF-8"
    )
}

fn timeout_from_json(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) if seconds(text).is_some() => {
            Err(format!("the timeout is the text \"{text}\"; send it as a number, without the quotation marks"))
        }
        Value::Number(number) => parse_timeout(&number.as_f64().unwrap_or(f64::MAX).to_string()),
        other => parse_timeout(&other.to_string()),
    }
}

/// The ids of a write.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum WriteIds {
    /// Of one message.
    One {
        /// Its id.
        message_id: u64,
    },
    /// Of several messages, whose ids follow each other.
    Several {
        /// The first and the last of them.
        message_ids: FirstAndLast,
        /// How many messages there are.
        count: u64,
    },
}

/// The ends of a range of ids.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FirstAndLast {
    /// The first id.
    pub first: u64,
    /// The last id.
    pub last: u64,
}

impl WriteIds {
    /// The ids of a write, in the form of a dialect.
    #[must_use]
    pub fn new(dialect: Dialect, first: Id, last: Id) -> WriteIds {
        match dialect {
            Dialect::Message | Dialect::Msg => WriteIds::One { message_id: last.get() },
            Dialect::Batch => WriteIds::Several {
                message_ids: FirstAndLast { first: first.get(), last: last.get() },
                count: last.since(first.previous()),
            },
        }
    }

    /// The first id.
    #[must_use]
    pub fn first(&self) -> u64 {
        match self {
            WriteIds::One { message_id } => *message_id,
            WriteIds::Several { message_ids, .. } => message_ids.first,
        }
    }

    /// The path of its messages.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            WriteIds::One { message_id } => format!("/messages/{message_id}"),
            WriteIds::Several { message_ids, count } => format!("/messages?from={}&limit={count}", message_ids.first),
        }
    }
}

/// How messages are listed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum View {
    /// As objects with id, message and timestamp.
    #[default]
    Objects,
    /// As bare strings.
    Text,
}

impl View {
    /// Reads the name that `?view=` and `MESSAGE_VIEW` use.
    ///
    /// # Errors
    /// If it is neither `objects` nor `text`.
    pub fn parse(name: &str) -> Result<View, String> {
        match name {
            "objects" => Ok(View::Objects),
            "text" => Ok(View::Text),
            other => Err(format!("the view is \"{other}\"; it must be \"objects\" or \"text\"")),
        }
    }
}

/// Appends an entry to a JSON text, as the view asks.
pub fn write_entry(json: &mut Vec<u8>, entry: EntryRef<'_>, view: View) {
    match view {
        View::Text => write_text(json, entry.message),
        View::Objects => {
            let object = Object::begin(json).number("id", entry.id.get()).text("message", entry.message);
            object.timestamp("timestamp", Timestamp(entry.timestamp_ms)).end();
        }
    }
}

/// One secondary's acknowledgement of a write.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The name of the secondary.
    pub server_id: Arc<str>,
    /// The times of the call that it answered.
    pub call: Option<CallTimes>,
    /// Milliseconds from the acceptance of the message to the acknowledgement.
    pub acknowledged_ms: Millis,
}

impl Ack {
    fn write(&self, json: &mut Vec<u8>) {
        let mut object = Object::begin(json).text("server_id", &self.server_id);
        object = object.number("ms", milliseconds(self.acknowledged_ms.0));
        if let Some(CallTimes { sent_ms, received_ms, durable_ms, delay_ms, attempts }) = self.call {
            object = object.millis("sent_ms", sent_ms).millis("received_ms", received_ms);
            object = object.millis("durable_ms", durable_ms).millis("delay_ms", delay_ms);
            object = object.number("attempts", attempts.into());
        }
        object.millis("acknowledged_ms", self.acknowledged_ms).end();
    }
}

/// The reply to a committed message, in the first dialect.
#[derive(Debug)]
pub struct Committed {
    /// `success`, or `short` if the timeout ended before the message had as many copies as the client asked for.
    pub status: &'static str,
    /// The ids of the write.
    pub ids: WriteIds,
    /// How many secondaries have acknowledged it.
    pub replicated_to: usize,
    /// The number of copies that the client asked for, the master's included.
    pub w: usize,
    /// When the master accepted it.
    pub timestamp: Timestamp,
    /// Milliseconds from acceptance to this reply.
    pub ms: u64,
    /// When the master's own copy was on disk.
    pub stored_ms: Option<Millis>,
    /// The node whose copy came last among those that the write waited for.
    pub slowest: Option<Arc<str>>,
    /// Each acknowledgement, in the order of arrival.
    pub acks: Vec<Ack>,
}

impl Committed {
    /// The reply as a line of JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(COMMITTED_BYTES_EXPECTED);
        let mut object = Object::begin(&mut json).text("status", self.status);
        object = match self.ids {
            WriteIds::One { message_id } => object.number("message_id", message_id),
            WriteIds::Several { message_ids: FirstAndLast { first, last }, count } => {
                Object::begin(object.key("message_ids")).number("first", first).number("last", last).end();
                object.number("count", count)
            }
        };
        object = object.number("replicated_to", self.replicated_to as u64).number("w", self.w as u64);
        object = object.timestamp("timestamp", self.timestamp).number("ms", self.ms);
        object = object.millis("stored_ms", self.stored_ms);
        if let Some(slowest) = &self.slowest {
            object = object.text("slowest", slowest);
        }
        let list = object.key("acks");
        list.push(b'[');
        for (place, ack) in self.acks.iter().enumerate() {
            if place > 0 {
                list.push(b',');
            }
            ack.write(list);
        }
        list.push(b']');
        object.end();
        json.push(b'\n');
        json
    }

    /// Where the time went, as browsers show it (W3C Server Timing).
    #[must_use]
    pub fn server_timing(&self) -> String {
        let mut timing = String::with_capacity(SERVER_TIMING_BYTES_EXPECTED);
        // Writing to a string does not fail.
        let _ = write!(timing, "total;dur={}", self.ms);
        let stored = self.stored_ms.map(|stored| ("master", stored));
        let acks = self.acks.iter().map(|ack| (&*ack.server_id, ack.acknowledged_ms));
        for (name, Millis(span)) in stored.into_iter().chain(acks) {
            let _ = write!(timing, ", {name};dur={}.{:03}", span.as_millis() as u64, span.subsec_micros() % 1_000);
        }
        timing
    }
}

/// One secondary's state in a refused write.
#[derive(Clone, Debug, Serialize)]
pub struct SecondaryReport {
    /// The name of the secondary.
    pub server_id: String,
    /// Its address.
    pub url: String,
    /// Whether it acknowledged this message.
    pub acknowledged: bool,
    /// What happened, in a sentence.
    pub detail: String,
}

/// The reply to a message that was not committed.
#[derive(Debug, Serialize)]
pub struct NotCommitted {
    /// What happened and what to do, in a sentence.
    pub error: String,
    /// Whether the message may be in the log.
    pub outcome: Outcome,
    /// The ids, if the write got any. If the outcome is `not_appended`, no node ever shows a message under them.
    #[serde(flatten)]
    pub ids: Option<WriteIds>,
    /// The state of every secondary.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secondaries: Vec<SecondaryReport>,
}

/// What a client may conclude from an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The message is not in the log and never will be. The client may retry.
    NotAppended,
    /// The message may be in the log, now or later.
    Unknown,
}

/// The outcome of a write, by its idempotency key.
#[derive(Debug, Serialize)]
pub struct KnownWrite<'a> {
    /// The key.
    pub key: &'a str,
    /// Whether it is decided.
    pub outcome: KnownOutcome,
    /// The ids of its messages.
    #[serde(flatten)]
    pub ids: WriteIds,
    /// When the master accepted it, once it is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// The state of a write that is not refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownOutcome {
    /// It is in the log.
    Committed,
    /// It may still be refused.
    Pending,
}

/// Any other error.
#[derive(Debug, Serialize)]
pub struct Problem<'a> {
    /// What is wrong and what to do, in a sentence.
    pub error: &'a str,
    /// Whether a message may be in the log, for requests that change something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A secondary that asks to be registered.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its address: `http://HOST:PORT`.
    pub url: String,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// Its copy id. The master knows a node by that, whatever its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyIdText>,
    /// Its incarnation. The master asks one that it does not know for its state at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<IncarnationText>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_field_is_a_message() {
        let posted = Posted::from_json(br#"{"message": "one"}"#).unwrap();
        assert_eq!((&*posted.messages[0], posted.dialect), ("one", Dialect::Message));
        let posted = Posted::from_json(br#"{"msg": ""}"#).unwrap();
        assert_eq!((&*posted.messages[0], posted.dialect), ("", Dialect::Msg), "an empty string is a message");
    }

    #[test]
    fn what_is_not_one_message_is_refused_with_a_reason() {
        for (body, reason) in [
            (&br"{}"[..], "neither"),
            (br#"{"message":"a","msg":"a"}"#, "both"),
            (br#"{"message":1}"#, "expected a string"),
            (br#"{"message":null}"#, "expected a string"),
            (br#"{"message":"a","message":"b"}"#, "duplicate field"),
            (br#"{"message":"a","colour":"red"}"#, "unknown field"),
            (br#"{"message":"a"} x"#, "trailing characters"),
            (br#"{"message":"a"#, "EOF"),
            (br#"["a",1]"#, "message 2"),
            (b"{\"message\":\"\xff\"}", "column"),
            (br#"{"message":"\ud800"}"#, "hex escape"),
            (br"null", "column"),
            (br"1e999", "column"),
        ] {
            let error = Posted::from_json(body).unwrap_err();
            assert!(error.contains(reason), "{}: {error}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_client_may_say_how_many_copies_it_wants_and_how_long_it_waits() {
        let options = |body: &str| Posted::from_json(body.as_bytes()).map(|posted| posted.options);
        let copies = |copies| Ok(WriteOptions { copies: Some(copies), timeout: None });
        assert_eq!(options(r#"{"message":"a"}"#), Ok(WriteOptions::default()));
        assert_eq!(options(r#"{"message":"a","w":2}"#), copies(Copies::Number(2)));
        assert_eq!(options(r#"{"message":"a","write_concern":"majority"}"#), copies(Copies::Majority));
        assert_eq!(options(r#"{"message":"a","w":"all"}"#), copies(Copies::All));
        let timeout = Some(Duration::from_millis(1_500));
        assert_eq!(options(r#"{"msg":"a","timeout":1.5}"#), Ok(WriteOptions { copies: None, timeout }));
        for wrong in [
            "\"w\":0",
            "\"w\":-1",
            "\"w\":1.5",
            "\"w\":2.0",
            "\"w\":\"2\"",
            "\"timeout\":\"2\"",
            "\"w\":\"most\"",
            "\"w\":[1]",
            "\"w\":true",
            "\"w\":1,\"write_concern\":1",
        ]
        .into_iter()
        .chain(["\"timeout\":-1", "\"timeout\":\"long\"", "\"timeout\":1e9", "\"timeout\":true"])
        {
            assert!(options(&format!("{{\"message\":\"a\",{wrong}}}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_text_survives() {
        let text = "NUL \0, line\r\nbreak, \u{1b}[31m, \u{202e}, 🦀";
        let body = serde_json::to_vec(&serde_json::json!({ "message": text })).unwrap();
        assert_eq!(&*Posted::from_json(&body).unwrap().messages[0], text);
        assert_eq!(&*Posted::from_text(text.as_bytes()).unwrap().messages[0], text);
    }
}
