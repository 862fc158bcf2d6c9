//! Several messages in one request: a list in JSON, or a line of JSON for each (NDJSON).
//!
//! Each message is a string, or an object in one of the two dialects. The write options concern all of them, so they
//! are in the query.

use super::explain;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The most messages of one batch. A larger batch is refused, and its further messages are not kept in memory.
pub const MESSAGES_MAX: usize = 10_000;
/// The most bytes of text that any setting allows for a write, one message or a batch. Even if every byte is escaped, a
/// secondary takes the call.
pub const WRITE_BYTES_CEILING: usize = 10 << 20;

/// Reads a list of messages. Of a list that is too long, this gives one message more than allowed.
pub(super) fn from_json(body: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let List(messages, PhantomData::<Message>) = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not a list of messages: {}", explain(&error, body)))?;
    Ok(messages)
}

/// Reads a message from each non-empty line. Of a body that is too long, this gives one message more than allowed.
pub(super) fn from_lines(body: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let lines = body.split(|&byte| byte == b'\n').enumerate();
    let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let message = |(index, line): (usize, &[u8])| {
        let message: Message = serde_json::from_slice(line).map_err(|error| {
            format!("line {} is not a message: {}", index + 1, without_line(&explain(&error, line)))
        })?;
        Ok(message.0)
    };
    filled.map(message).take(MESSAGES_MAX + 1).collect()
}

/// Reads the elements of a list, or one value, each as the text that it is. Of a list that is too long, this gives one
/// message more than allowed.
pub(super) fn from_raw_json(body: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let not_json = |error: serde_json::Error| format!("the body is not JSON: {}", explain(&error, body));
    if body.trim_ascii_start().first() != Some(&b'[') {
        let value: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
        return Ok(vec![value.get().into()]);
    }
    let List(messages, PhantomData::<Raw>) = serde_json::from_slice(body).map_err(not_json)?;
    Ok(messages)
}

/// Reads each non-empty line as the text that it is. Of a body that is too long, this gives one message more than
/// allowed.
pub(super) fn from_raw_lines(body: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let filled = lines.filter(|(_, line)| !line.is_empty());
    let message = |(index, line): (usize, &[u8])| {
        let value: &RawValue = serde_json::from_slice(line)
            .map_err(|error| format!("line {} is not JSON: {}", index + 1, without_line(&explain(&error, line))))?;
        Ok(value.get().into())
    };
    filled.map(message).take(MESSAGES_MAX + 1).collect()
}

/// Removes the line number, which is always 1, because each line is parsed by itself.
fn without_line(error: &str) -> String {
    error.replace("at line 1 column", "at column")
}

/// A list of messages, each written as an `M`. Elements beyond the limit are not kept in memory.
struct List<M>(Vec<Arc<str>>, PhantomData<M>);

impl<'de, M: Deserialize<'de> + Into<Arc<str>>> Deserialize<'de> for List<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<M>, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de> + Into<Arc<str>>> Visitor<'de> for ListVisitor<M> {
    type Value = List<M>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<M>, A::Error> {
        let mut messages = Vec::new();
        while messages.len() <= MESSAGES_MAX {
            let number = messages.len() + 1;
            let message =
                list.next_element::<M>().map_err(|error| A::Error::custom(format!("message {number}: {error}")))?;
            let Some(message) = message else { return Ok(List(messages, PhantomData)) };
            messages.push(message.into());
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List(messages, PhantomData))
    }
}

/// A message that is the text of any JSON.
struct Raw(Arc<str>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?;
        Ok(Raw(value.get().into()))
    }
}

impl From<Raw> for Arc<str> {
    fn from(Raw(text): Raw) -> Arc<str> {
        text
    }
}

impl From<Message> for Arc<str> {
    fn from(Message(text): Message) -> Arc<str> {
        text
    }
}

struct Message(Arc<str>);

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Message, D::Error> {
        deserializer.deserialize_any(MessageVisitor)
    }
}

/// An object with a message. Its name may be that of either dialect.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(alias = "msg")]
    message: Arc<str>,
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, or an object with \"message\" or \"msg\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Message, E> {
        Ok(Message(text.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Message, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map)).map(|fields| Message(fields.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(messages: &[Arc<str>]) -> Vec<&str> {
        messages.iter().map(|message| &**message).collect()
    }

    #[test]
    fn raw_values_are_kept_as_they_are() {
        let list = from_raw_json(br#" [{"b" : 1.0, "a":[2]},"x", 3]"#).unwrap();
        assert_eq!(texts(&list), [r#"{"b" : 1.0, "a":[2]}"#, r#""x""#, "3"]);
        assert_eq!(texts(&from_raw_json(b" {\"log\": \"\\u00e4\"}\n").unwrap()), [r#"{"log": "\u00e4"}"#]);
        let lines = from_raw_lines(b"{\"a\":1}\r\n\n  {\"b\":2}  \n").unwrap();
        assert_eq!(texts(&lines), [r#"{"a":1}"#, r#"{"b":2}"#]);
        let error = from_raw_lines(b"1\nplain text").unwrap_err();
        assert!(error.starts_with("line 2 is not JSON: "), "{error}");
        assert!(from_raw_json(b"[1, 2").is_err());
    }

    #[test]
    fn lists_and_lines_are_read_in_order() {
        let list = from_json(br#" ["a", {"message":"b"}, {"msg":"c"}, ""]"#).unwrap();
        assert_eq!(texts(&list), ["a", "b", "c", ""]);
        let lines = from_lines(b"\"a\"\r\n\n{\"message\":\"b\"}\n  {\"msg\":\"c\"}").unwrap();
        assert_eq!(texts(&lines), ["a", "b", "c"]);
        assert_eq!((from_json(b"[]").unwrap().len(), from_lines(b"\n").unwrap().len()), (0, 0));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_number() {
        for wrong in ["1", "null", "[\"a\"]", "{}", r#"{"message":"a","w":1}"#, r#"{"message":"a","msg":"b"}"#, "\"a"] {
            let list = from_json(format!("[\"fine\",{wrong}]").as_bytes()).unwrap_err();
            assert!(list.contains("message 2") || list.contains("EOF"), "{list}");
            let lines = from_lines(format!("\"fine\"\n\n{wrong}\n").as_bytes()).unwrap_err();
            assert!(lines.starts_with("line 3 is not a message"), "{lines}");
        }
        assert!(from_json(b"[\"a\"] x").is_err());
    }

    #[test]
    fn one_more_than_allowed_is_enough_to_refuse() {
        let many = MESSAGES_MAX + 5;
        let list = format!("[{}]", vec!["\"\""; many].join(","));
        assert_eq!(from_json(list.as_bytes()).unwrap().len(), MESSAGES_MAX + 1);
        assert_eq!(from_lines("\"\"\n".repeat(many).as_bytes()).unwrap().len(), MESSAGES_MAX + 1);
    }
}
