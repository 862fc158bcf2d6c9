//! The API for people and programs.
//!
//! A message is posted as `{"message": …}` or as `{"msg": …}`. The two come from two descriptions of the same exercise;
//! both are understood everywhere, and a reply speaks the dialect of its request.

use super::read_object;
use super::timestamp::rfc3339;
use crate::replication::Entry;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// Which of the two descriptions a client follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `{"message": …}`, answered with the id of the message and how many secondaries hold it.
    Message,
    /// `{"msg": …}`, answered with the whole log as strings.
    Msg,
}

/// A message that a client posted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Posted {
    /// The text, exactly as sent.
    pub message: Arc<str>,
    /// How to answer.
    pub dialect: Dialect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostedFields {
    #[serde(default, deserialize_with = "text")]
    message: Option<Arc<str>>,
    #[serde(default, deserialize_with = "text")]
    msg: Option<Arc<str>>,
}

/// A string where the field is present: `null` is not one.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    Arc::<str>::deserialize(deserializer).map(Some)
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
    /// Reads a JSON body.
    ///
    /// # Errors
    /// With a sentence for the client, naming the position where there is one.
    pub fn from_json(body: &[u8]) -> Result<Posted, String> {
        let fields: PostedFields = read_object(body).map_err(|error| format!("the body is not a message: {error}"))?;
        match (fields.message, fields.msg) {
            (Some(message), None) => Ok(Posted { message, dialect: Dialect::Message }),
            (None, Some(message)) => Ok(Posted { message, dialect: Dialect::Msg }),
            (Some(_), Some(_)) => Err("the body has both \"message\" and \"msg\"; send one of them".to_owned()),
            (None, None) => {
                Err("the body has neither \"message\" nor \"msg\"; send {\"message\": \"your text\"}".to_owned())
            }
        }
    }

    /// Reads a `text/plain` body: all of it is the message.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn from_text(body: &[u8]) -> Result<Posted, String> {
        let text = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8 text: {error}"))?;
        Ok(Posted { message: text.into(), dialect: Dialect::Message })
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

/// An entry as an object.
#[derive(Debug, Serialize)]
pub struct EntryObject<'a> {
    id: u64,
    message: &'a str,
    timestamp: String,
}

impl<'a> From<&'a Entry> for EntryObject<'a> {
    fn from(entry: &'a Entry) -> EntryObject<'a> {
        EntryObject { id: entry.id.get(), message: &entry.message, timestamp: rfc3339(entry.timestamp_ms) }
    }
}

/// Appends an entry to a JSON text, as the view asks.
pub fn write_entry(json: &mut Vec<u8>, entry: &Entry, view: View) {
    let written = match view {
        View::Objects => serde_json::to_writer(json, &EntryObject::from(entry)),
        View::Text => serde_json::to_writer(json, &*entry.message),
    };
    written.expect("strings and numbers always serialise into memory");
}

/// One secondary's part in a write, as the reply tells it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ack {
    /// The node.
    pub server_id: String,
    /// How long after the message was accepted its acknowledgement arrived, in milliseconds.
    pub ms: u64,
}

/// The reply to a committed message, in the first dialect.
#[derive(Debug, Serialize)]
pub struct Committed {
    /// `success`.
    pub status: &'static str,
    /// The id that the message got.
    pub message_id: u64,
    /// How many secondaries hold it durably.
    pub replicated_to: usize,
    /// When it was accepted.
    pub timestamp: String,
    /// From acceptance to this reply, in milliseconds.
    pub ms: u64,
    /// Each acknowledgement, in the order of arrival.
    pub acks: Vec<Ack>,
}

/// One secondary's part in a write that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct SecondaryReport {
    /// The node.
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
    /// `not_appended`: it is not in the log and never will be. `unknown`: it may be.
    pub outcome: Outcome,
    /// The id, if one was given. No message will ever be shown under it if the outcome is `not_appended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<u64>,
    /// Every secondary's part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secondaries: Vec<SecondaryReport>,
}

/// What a client may conclude from an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The message is in no log and never will be. Retry freely.
    NotAppended,
    /// The message may be in the log, now or later.
    Unknown,
}

/// Any other error.
#[derive(Debug, Serialize)]
pub struct Problem<'a> {
    /// What is wrong and what to do, in a sentence.
    pub error: &'a str,
    /// For requests that would have changed something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A secondary that asks to be registered.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Its address: `http://HOST:PORT`.
    pub url: String,
    /// Its name, if it gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_field_is_a_message() {
        let posted = Posted::from_json(br#"{"message": "one"}"#).unwrap();
        assert_eq!((&*posted.message, posted.dialect), ("one", Dialect::Message));
        let posted = Posted::from_json(br#"{"msg": ""}"#).unwrap();
        assert_eq!((&*posted.message, posted.dialect), ("", Dialect::Msg), "an empty string is a message");
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
            (br#"["a"]"#, "column"),
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
    fn every_text_survives() {
        let text = "NUL \0, line\r\nbreak, \u{1b}[31m, \u{202e}, 🦀";
        let body = serde_json::to_vec(&serde_json::json!({ "message": text })).unwrap();
        assert_eq!(&*Posted::from_json(&body).unwrap().message, text);
        assert_eq!(&*Posted::from_text(text.as_bytes()).unwrap().message, text);
    }
}
