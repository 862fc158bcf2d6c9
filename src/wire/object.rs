//! Writes a JSON object key by key.
//!
//! Thousands of replies and messages a second have the same few keys. A derived serialiser escapes each of them each
//! time; this one takes them as they are, and texts that need no escape, too. That takes half as long, or less.

use super::timestamp::{Timestamp, in_utc};
use super::timing::Millis;
use serde::Serialize;

/// An object that is being written. The keys must need no escape.
pub(super) struct Object<'a> {
    json: &'a mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    /// Begins an object.
    pub(super) fn begin(json: &mut Vec<u8>) -> Object<'_> {
        json.push(b'{');
        Object { json, is_empty: true }
    }

    /// Begins the value of a key.
    pub(super) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        let begin: &[u8] = if std::mem::take(&mut self.is_empty) { b"\"" } else { b",\"" };
        self.json.extend_from_slice(begin);
        self.json.extend_from_slice(key.as_bytes());
        self.json.extend_from_slice(b"\":");
        self.json
    }

    pub(super) fn text(mut self, key: &'static str, text: &str) -> Self {
        write_text(self.key(key), text);
        self
    }

    pub(super) fn number(mut self, key: &'static str, number: u64) -> Self {
        write_value(self.key(key), &number);
        self
    }

    pub(super) fn timestamp(mut self, key: &'static str, Timestamp(ms): Timestamp) -> Self {
        let json = self.key(key);
        json.push(b'"');
        json.extend_from_slice(&in_utc(ms));
        json.push(b'"');
        self
    }

    /// Nothing if there is no such time. Otherwise with as many decimals as it needs, but at least one.
    pub(super) fn millis(mut self, key: &'static str, time: impl Into<Option<Millis>>) -> Self {
        let Some(Millis(span)) = time.into() else { return self };
        let json = self.key(key);
        let (ms, us) = (span.as_millis() as u64, span.subsec_micros() % 1_000);
        write_value(json, &ms);
        let decimals = [b'.', digit(us / 100), digit(us / 10 % 10), digit(us % 10)];
        let last = decimals.iter().rposition(|&digit| digit != b'0').unwrap_or_default().max(1);
        json.extend_from_slice(&decimals[..=last]);
        self
    }

    pub(super) fn end(self) {
        self.json.push(b'}');
    }
}

fn digit(digit: u32) -> u8 {
    b'0' + digit as u8
}

/// Writes a text as JSON.
pub(super) fn write_text(json: &mut Vec<u8>, text: &str) {
    // Without a branch for each byte, so that the processor compares many at once.
    let needs_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if text.bytes().fold(false, |found, byte| found | needs_escape(byte)) {
        return write_value(json, text);
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

fn write_value(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("strings and numbers always serialise into memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn an_object_is_written_as_a_serialiser_writes_it() {
        let every_character_below_256 = (0..256).filter_map(char::from_u32).collect::<String>();
        for text in ["", "plain", "a \"quoted\" \\ word", "\u{1f600}", &every_character_below_256] {
            for us in [0, 1, 10, 999, 1_000, 1_500, 123_456_789] {
                let (ms, at) = (Millis(Duration::from_micros(us)), Timestamp(1_795_301_049_123));
                let mut written = Vec::new();
                let object = Object::begin(&mut written).text("text", text).number("number", u64::MAX);
                object.timestamp("at", at).millis("ms", ms).end();
                let expected = json!({ "text": text, "number": u64::MAX, "at": at, "ms": ms });
                assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected);
                let numeral = serde_json::to_string(&ms).unwrap();
                assert!(written.ends_with(format!(":{numeral}}}").as_bytes()), "{numeral}");
            }
        }
    }
}
