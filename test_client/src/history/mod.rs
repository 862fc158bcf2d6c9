//! What clients of a cluster did and were told, as a file that can be judged again.
//!
//! A history is lines of JSON. Each is an object with one field, which says what the line is:
//!
//! - `header`, the first line: the version of this format, the seed, the tag that all texts of the run begin with, the
//!   names of the nodes (the master first; other lines mean a node by its place in this list, from 0), the first id
//!   that is looked at, and whether nobody else wrote.
//! - `write`: one attempt to append one message or a batch, written down when it returned. Attempts with the same `key`
//!   are attempts at the same write. `outcome` is one of
//!   - `committed`: the id of the first message, the copies that the reply counts (the master's included), whether they
//!     were as many as asked for (201) or not in time (202), and whether the reply is that of an earlier attempt;
//!   - `refused`: not appended, and the status that said so, or none if nothing was ever sent;
//!   - `unknown`: nobody told. `gave_up` means that the client stopped waiting, so that its request may still be on its
//!     way to the master.
//! - `read`: one answer of one node: what was asked for (`how`: the consistency, or `follow` for what a follower was sent;
//!   `from` an id, at most `limit` messages), whether the node said that it may be stale, and the entries that it
//!   showed as pairs of id and text. `failed` says why there was no answer.
//! - `fault`: what was done to which nodes, and how often it is known to have met something.
//! - `final`: the whole log of a node when everything was over.
//! - `end`, the last line: why the cluster did not come back, if it did not, and how many lines there are. A history
//!   without it, or with another number of lines, is cut off.
//!
//! Times are microseconds of one monotonic clock, from the beginning of the run: what returned at a lower time than something
//! else was called was over before that began.
//!
//! Texts repeat all the time, so that a history in memory has each once: [`Line`] is generic over what stands for a text,
//! a [`String`] in the file and a [`Text`] in memory.

mod read;
mod recorder;

#[cfg(test)]
pub(crate) use read::parse;
pub(crate) use read::{History, read};
pub(crate) use recorder::Recorder;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// Microseconds since the beginning of the run.
pub(crate) type Micros = u64;

/// One line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line<T> {
    Header(Header),
    Write(Write<T>),
    Read(Read<T>),
    Fault(Fault),
    Final(Final<T>),
    End(End),
}

/// What the others are to be understood with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) seed: u64,
    /// What every text of this run begins with.
    pub(crate) tag: String,
    /// Names, the master first.
    pub(crate) nodes: Vec<String>,
    /// The first id of this run. What was there before is not looked at.
    pub(crate) first: u64,
    /// Nobody else wrote: a text that is not of this run comes from nowhere.
    pub(crate) alone: bool,
    /// What was asked for, to be read by people.
    pub(crate) options: Value,
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
}

/// One attempt to append.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Write<T> {
    pub(crate) client: String,
    pub(crate) call: Micros,
    #[serde(rename = "return")]
    pub(crate) returned: Micros,
    /// One, or those of a batch.
    pub(crate) texts: Vec<T>,
    /// The copies that were asked for; the master's own choice if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) w: Option<String>,
    /// How many seconds the master was asked to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    pub(crate) outcome: Outcome,
}

/// What a writer was told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Committed { first: u64, copies: u64, in_time: bool, replayed: bool },
    Refused { status: Option<u16>, why: String },
    Unknown { gave_up: bool, why: String },
}

/// One answer to a reader.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Read<T> {
    pub(crate) client: String,
    pub(crate) call: Micros,
    #[serde(rename = "return")]
    pub(crate) returned: Micros,
    pub(crate) node: usize,
    pub(crate) how: ReadMode,
    pub(crate) from: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
    /// The node said that it may not show everything.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) stale: bool,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
    pub(crate) entries: Vec<(u64, T)>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What a reader asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReadMode {
    /// No consistency was named.
    Usual,
    Strong,
    Prefix,
    /// A follower was sent these.
    Follow,
}

impl ReadMode {
    pub(crate) const ALL: [ReadMode; 4] = [ReadMode::Usual, ReadMode::Strong, ReadMode::Prefix, ReadMode::Follow];

    pub(crate) fn word(self) -> &'static str {
        match self {
            ReadMode::Usual => "usual",
            ReadMode::Strong => "strong",
            ReadMode::Prefix => "prefix",
            ReadMode::Follow => "follow",
        }
    }
}

impl<T> Read<T> {
    /// Whether it was answered with everything that the node shows from `from` on. A page that is full may have been
    /// cut, and a follower is sent more later.
    pub(crate) fn is_complete(&self) -> bool {
        let is_full = self.limit.is_some_and(|limit| self.entries.len() as u64 >= limit);
        self.failed.is_none() && self.how != ReadMode::Follow && !is_full
    }
}

/// Something that was done to nodes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Fault {
    pub(crate) class: String,
    pub(crate) what: String,
    pub(crate) nodes: Vec<usize>,
    pub(crate) begin: Micros,
    pub(crate) end: Micros,
    /// How often it met something, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hits: Option<u64>,
}

/// What a node shows when everything is over.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Final<T> {
    pub(crate) node: usize,
    pub(crate) entries: Vec<(u64, T)>,
}

/// How it ended.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct End {
    pub(crate) at: Micros,
    /// Why the cluster did not come back, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_back: Option<String>,
    /// Lines of the file, this one included.
    pub(crate) lines: usize,
}

/// A text, by its number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Text(u32);

/// All texts of a history, each once.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    numbers: HashMap<String, Text>,
    texts: Vec<String>,
}

impl Texts {
    /// The number of a text, which is given to it when it is met first.
    pub(crate) fn number(&mut self, text: String) -> Text {
        let next = Text(u32::try_from(self.texts.len()).expect("a history has less than 4 billion texts"));
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }

    pub(crate) fn text(&self, text: Text) -> &str {
        &self.texts[text.0 as usize]
    }
}
