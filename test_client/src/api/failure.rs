//! A request that did not succeed, and what may be concluded from it.

use super::wire::{Ids, SecondaryReport};
use crate::exit::Exit;
use crate::output::{Terminal, visible};
use serde::Serialize;
use serde_json::json;
use std::fmt;
use std::io;

/// What may be concluded from a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The node was not reached, or what answered is not a node. The request changed nothing.
    Unreachable,
    /// The node refused. The request changed nothing, and will change nothing.
    Refused,
    /// The request may have changed something, or may do so later.
    Unknown,
}

impl Kind {
    /// The exit code of a command that ends with it.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Kind::Unreachable => Exit::Unreachable,
            Kind::Refused => Exit::Refused,
            Kind::Unknown => Exit::Unknown,
        }
    }
}

/// A request that did not succeed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) kind: Kind,
    /// What happened, in a sentence.
    pub(crate) error: String,
    /// The client stopped waiting for an answer, so its request may still be on its way to the node.
    #[serde(skip)]
    pub(crate) gave_up: bool,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The id of the message, if the master gave it one before it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<u64>,
    /// The ids of a batch, if the master gave it some before it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_ids: Option<Ids>,
    /// Each secondary's part, if the master reports it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secondaries: Vec<SecondaryReport>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: String) -> Failure {
        let (status, message_id, message_ids) = (None, None, None);
        Failure { kind, error, gave_up: false, status, message_id, message_ids, secondaries: Vec::new() }
    }

    /// Reports the failure of a command to a person or a script, and returns the exit code.
    pub(crate) fn report(&self, terminal: &mut Terminal) -> io::Result<Exit> {
        terminal.complain(self);
        terminal.document(json!(self).to_string().as_bytes())?;
        Ok(self.kind.exit())
    }

    /// Whether the post had an id. Before that, the master sends it to no secondary.
    pub(crate) fn had_an_id(&self) -> bool {
        self.message_id.is_some() || self.message_ids.is_some()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&visible(&self.error))
    }
}
