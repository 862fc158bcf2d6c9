//! The formats of single messages: lines and events.

use crate::protocol::{EntryRef, Id, LogId};
use crate::wire::client::{View, write_entry};
use crate::wire::position::Position;
use serde_json::json;
use std::io::Write;

/// After so many milliseconds a browser reconnects when its connection broke.
const RETRY_MS: u32 = 1_000;
/// After so many milliseconds one for which there was no room comes again.
const NO_ROOM_RETRY_MS: u32 = 10_000;

/// Writes a message in a line.
pub(super) fn write_line(text: &mut Vec<u8>, entry: EntryRef<'_>, view: View) {
    write_entry(text, entry, view);
    text.push(b'\n');
}

/// The format of a follower's messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// As server-sent events (WHATWG HTML, section 9.2).
    Events(View),
    /// Each in a line of JSON.
    Lines(View),
}

impl Format {
    pub(super) const ALL: [Format; 4] = [
        Format::Events(View::Objects),
        Format::Events(View::Text),
        Format::Lines(View::Objects),
        Format::Lines(View::Text),
    ];

    /// The text before the first message. It has the position after which the stream begins: a browser goes on from there
    /// if it reconnects before that message. If the beginning of the log is trimmed, it is also an event that says where the
    /// log begins.
    pub(super) fn preamble(self, after: Position, begins: Id) -> Vec<u8> {
        match self {
            Format::Events(_) if begins > Id::ZERO.next() => {
                let data = json!({ "begins": begins.get() });
                format!("retry: {RETRY_MS}\nid: {after}\nevent: log\ndata: {data}\n\n").into_bytes()
            }
            Format::Events(_) => format!("retry: {RETRY_MS}\nid: {after}\n\n").into_bytes(),
            Format::Lines(_) => Vec::new(),
        }
    }

    /// A line or an event without a message.
    pub(super) fn heartbeat(self) -> Vec<u8> {
        match self {
            Format::Events(_) => b":\n\n".to_vec(),
            Format::Lines(_) => b"\n".to_vec(),
        }
    }

    /// The whole reply to an `EventSource` for which there is no room. Any status but 200 would end it for good, and an
    /// end makes it come again, after the time in `retry`.
    pub(super) fn no_room(sentence: &str) -> Vec<u8> {
        let data = json!({ "error": sentence });
        format!("retry: {NO_ROOM_RETRY_MS}\nevent: unavailable\ndata: {data}\n\n").into_bytes()
    }

    /// An event for a client whose position is not in this log: what it has does not belong to it, and what follows is
    /// the log from its beginning.
    pub(super) fn reset(sentence: &str) -> Vec<u8> {
        format!("event: reset\ndata: {}\n\n", json!({ "error": sentence })).into_bytes()
    }

    /// An event for a client that lacks what is trimmed: what follows is the log from this id on.
    pub(super) fn trimmed(sentence: &str, begins: Id) -> Vec<u8> {
        let data = json!({ "error": sentence, "begins": begins.get() });
        format!("event: trimmed\ndata: {data}\n\n").into_bytes()
    }

    /// Writes a message of a log.
    pub(super) fn write(self, text: &mut Vec<u8>, entry: EntryRef<'_>, log_id: Option<LogId>) {
        match self {
            Format::Lines(view) => write_line(text, entry, view),
            Format::Events(view) => {
                let position = Position { id: entry.id, of: log_id.map(|log_id| (entry.epoch, log_id)) };
                write!(text, "id: {position}\ndata: ").expect("memory takes everything");
                write_entry(text, entry, view);
                text.extend_from_slice(b"\n\n");
            }
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Events(_) => "text/event-stream",
            Format::Lines(_) => "application/x-ndjson",
        }
    }
}
