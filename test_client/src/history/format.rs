//! The lines of a history, see [`super`].

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// Microseconds since the beginning of the run.
pub(crate) type Micros = u64;

/// The text of a message. Texts repeat all the time, so those that are equal share their memory.
pub(crate) type Text = Arc<str>;

/// One line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Header(Header),
    Write(Write),
    Read(Read),
    Fault(Fault),
    Final(Final),
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
    /// Only this run wrote: a text that is not of this run comes from nowhere.
    pub(crate) alone: bool,
    /// The options of the command, for a reader of the file.
    pub(crate) options: Value,
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
}

#[cfg(test)]
impl Header {
    /// The header of a history in a test, whose texts begin with "t".
    pub(crate) fn sample(seed: u64, nodes: &[&str]) -> Header {
        let nodes = nodes.iter().map(|name| (*name).to_owned()).collect();
        let (tag, options) = ("t".to_owned(), Value::Null);
        Header { version: VERSION, seed, tag, nodes, first: 1, alone: true, options, began: 0 }
    }
}

/// One attempt to append.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Write {
    pub(crate) client: String,
    pub(crate) call: Micros,
    #[serde(rename = "return")]
    pub(crate) returned: Micros,
    /// One, or those of a batch.
    pub(crate) texts: Vec<Text>,
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

/// What the answer to a writer said.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Committed { first: u64, copies: u64, in_time: bool, replayed: bool },
    Refused { status: Option<u16>, why: String },
    Unknown { gave_up: bool, why: String },
}

/// One answer to a reader.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Read {
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
    pub(crate) entries: Vec<(u64, Text)>,
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

impl Read {
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
pub(crate) struct Final {
    pub(crate) node: usize,
    pub(crate) entries: Vec<(u64, Text)>,
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
