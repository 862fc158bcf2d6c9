//! The formats of single messages: lines and events.

use crate::protocol::{EntryRef, Id};
use crate::wire::client::{View, write_entry};
use std::io::Write;

/// After so many milliseconds a browser reconnects when its connection broke.
const RETRY_MS: u32 = 1_000;

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

    /// The text before the first message. It has an id, from which a browser goes on if it reconnects before that
    /// message.
    pub(super) fn preamble(self, after: Id) -> Vec<u8> {
        match self {
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

    pub(super) fn write(self, text: &mut Vec<u8>, entry: EntryRef<'_>) {
        match self {
            Format::Lines(view) => write_line(text, entry, view),
            Format::Events(view) => {
                write!(text, "id: {}\ndata: ", entry.id).expect("memory takes everything");
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
