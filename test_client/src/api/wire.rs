//! The replies of nodes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One secondary's part in a message that was not committed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SecondaryReport {
    pub(crate) server_id: String,
    pub(crate) url: String,
    pub(crate) acknowledged: bool,
    /// What happened, in a few words.
    #[serde(default)]
    pub(crate) detail: String,
}

/// A message that was committed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Posted {
    pub(crate) message_id: u64,
    #[serde(flatten)]
    pub(crate) copies: Copied,
}

/// Several messages that were committed together.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PostedBatch {
    pub(crate) message_ids: Ids,
    /// The number of messages.
    pub(crate) count: u64,
    #[serde(flatten)]
    pub(crate) copies: Copied,
}

/// The ids of a batch, without a gap.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Ids {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The copies of a committed write, as the master knew them when it answered.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Copied {
    /// How many secondaries hold it.
    pub(crate) replicated_to: usize,
    /// How many copies were asked for, the master's included. Other implementations may leave it out.
    pub(crate) w: Option<usize>,
    /// The acknowledgements. Other implementations may leave them out.
    #[serde(default)]
    pub(crate) acks: Vec<Ack>,
}

/// Whether a node leads.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Leader {
    pub(crate) leads: bool,
    pub(crate) server_id: String,
    pub(crate) epoch: u64,
    /// The node that led last, as far as this one knows.
    pub(crate) led_last: Option<Place>,
}

/// A node, as another one knows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) url: String,
}

/// How a node is promoted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promotion {
    /// Nodes that do not answer stay registered.
    pub(crate) keep: bool,
    /// The promises of those that answer are enough.
    pub(crate) force: bool,
}

/// What a node put aside to follow again.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rejoined {
    pub(crate) leader: String,
    pub(crate) put_aside: PutAside,
    pub(crate) directory: Option<String>,
}

/// What was put aside.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct PutAside {
    pub(crate) messages: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What is to be trimmed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TrimRequest {
    /// The first id that has to stay.
    pub(crate) before: u64,
    /// Whether to say only what would go.
    pub(crate) dry_run: bool,
    /// Whether secondaries that are away hold nothing up.
    pub(crate) leave_behind: bool,
}

/// What was trimmed, or would be.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trimmed {
    pub(crate) begins: u64,
    pub(crate) messages: u64,
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) held_up_by: Vec<String>,
    pub(crate) why: Option<String>,
}

/// What became of a promotion or a switchover.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Elected {
    pub(crate) leader: String,
    pub(crate) epoch: u64,
    pub(crate) in_doubt: u64,
    pub(crate) removed: Vec<String>,
    #[serde(default)]
    pub(crate) not_removed: BTreeMap<String, String>,
    pub(crate) kept: String,
    /// How long posts waited.
    pub(crate) pause_ms: Option<u64>,
}

/// A write that has a key.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct KnownWrite {
    pub(crate) outcome: WriteOutcome,
    #[serde(flatten)]
    pub(crate) ids: WriteIds,
    /// When it was accepted, once it is committed.
    pub(crate) timestamp: Option<String>,
}

/// The ids of a write in the log.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum WriteIds {
    One { message_id: u64 },
    Batch { message_ids: Ids },
}

impl WriteIds {
    /// The newest of them.
    pub(crate) fn last(self) -> u64 {
        match self {
            WriteIds::One { message_id } => message_id,
            WriteIds::Batch { message_ids } => message_ids.last,
        }
    }
}

/// The state of a write that was not refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WriteOutcome {
    /// The write is in the log.
    Committed,
    /// The master may still refuse it.
    Pending,
}

/// The state of the faults of a node.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct FaultState {
    /// Whether the node accepts PUT /faults.
    pub(crate) enabled: bool,
    /// How many calls the latest fault changed.
    #[serde(default)]
    pub(crate) hits: u64,
}

/// One acknowledgement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ack {
    pub(crate) server_id: String,
    /// The time since the master accepted the message, in milliseconds.
    pub(crate) ms: u64,
}

/// The messages that a node shows.
#[derive(Debug, Deserialize)]
pub(crate) struct Messages {
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) server_role: String,
    #[serde(default)]
    pub(crate) server_id: String,
    /// The node reports that it may not show everything that was acknowledged.
    #[serde(default)]
    pub(crate) possibly_stale: bool,
}

/// One message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) message: String,
    pub(crate) timestamp: String,
}

/// The health of a node, with the fields of both roles.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) role: String,
    pub(crate) server_id: String,
    #[serde(default)]
    pub(crate) message_count: u64,
    /// A secondary's artificial delay before each acknowledgement.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// The newest id that it holds, visible or not.
    #[serde(default)]
    pub(crate) last: u64,
    /// Everything up to this id that is not refused is visible.
    #[serde(default)]
    pub(crate) decided: u64,
    /// How many calls arrived at a secondary before an earlier one. Older versions leave it out.
    pub(crate) early_calls: Option<u64>,
    /// Whether a master would take a message. If not, `reason` says why.
    pub(crate) writable: Option<bool>,
    pub(crate) reason: Option<String>,
    /// The secondaries, as a master knows them.
    #[serde(default)]
    pub(crate) secondaries: Vec<Listed>,
}

/// A secondary, as its master knows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) server_id: String,
    pub(crate) url: String,
    pub(crate) state: Option<SecondaryState>,
    pub(crate) detail: Option<String>,
    /// Everything up to this id is known to be on its disk.
    pub(crate) matched: Option<u64>,
    pub(crate) delay_ms: Option<u64>,
}

impl Listed {
    pub(crate) fn is_in_sync(&self) -> bool {
        self.state == Some(SecondaryState::InSync)
    }
}

/// The timeline of a write.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trace {
    #[serde(flatten)]
    pub(crate) ids: WriteIds,
    pub(crate) outcome: String,
    pub(crate) timestamp: String,
    pub(crate) w: u64,
    pub(crate) ms: f64,
    pub(crate) replicas: Vec<TracedReplica>,
}

/// One node's part in it, with times in milliseconds after the master accepted the write.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TracedReplica {
    pub(crate) server_id: String,
    pub(crate) state: String,
    pub(crate) stored_ms: Option<f64>,
    pub(crate) sent_ms: Option<f64>,
    pub(crate) received_ms: Option<f64>,
    pub(crate) durable_ms: Option<f64>,
    pub(crate) delay_ms: Option<f64>,
    pub(crate) acknowledged_ms: Option<f64>,
    pub(crate) attempts: Option<u32>,
    pub(crate) detail: Option<String>,
}

/// The state of a secondary, as its master reports it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecondaryState {
    InSync,
    CatchingUp,
    Unreachable,
    /// A state that only a later version knows.
    #[serde(other)]
    Other,
}
