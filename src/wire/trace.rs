//! Where the time of one write went, as it travels.
//!
//! All moments of a write are told as milliseconds after the master accepted it. No two clocks are compared: a secondary
//! tells how long it took, by its own clock, and what is left of the time that its call took was spent on the way, half of
//! it there and half of it back.

use super::client::WriteIds;
use super::timestamp::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;

/// A span of time, in JSON as milliseconds with a fraction.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_micros() as f64 / 1_000.0)
    }
}

/// How long a secondary took for a call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Took {
    /// From its arrival until everything in it was durable; µs.
    pub durable_us: u64,
    /// Its artificial delay; µs.
    pub delay_us: u64,
    /// From its arrival to the acknowledgement; µs.
    pub total_us: u64,
}

/// What happened to a write on its way to one secondary, and when.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallTimes {
    /// The call was sent.
    pub sent_ms: Millis,
    /// It arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_ms: Option<Millis>,
    /// The secondary had it on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_ms: Option<Millis>,
    /// So much of what follows is the artificial delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<Millis>,
    /// How often it was sent.
    pub attempts: u32,
}

/// One node's part in a write.
#[derive(Debug, Serialize)]
pub struct ReplicaTrace {
    /// The node.
    pub server_id: Arc<str>,
    /// What is known of its copy.
    pub state: ReplicaState,
    /// The call that carried the write, once one is under way.
    #[serde(flatten)]
    pub call: Option<CallTimes>,
    /// The master's own copy was on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_ms: Option<Millis>,
    /// The acknowledgement arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<Millis>,
    /// Why the copy is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What is known of one copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It is on disk.
    Durable,
    /// It is on its way, or is being made durable.
    Sent,
    /// It has not been sent.
    Waiting,
    /// The node refused it, or did not answer.
    Failed,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceOutcome {
    /// Its writer waits.
    Pending,
    /// 201.
    Committed,
    /// 202: fewer copies than asked for when its time was over.
    Short,
    /// 502 or 503.
    Refused,
}

/// Where the time of one write went.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// Its ids.
    #[serde(flatten)]
    pub ids: WriteIds,
    /// What became of it.
    pub outcome: TraceOutcome,
    /// When it was accepted.
    pub timestamp: Timestamp,
    /// The copies that it asked for.
    pub w: usize,
    /// The round that carried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// Until a round took it; since then it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<Millis>,
    /// Until its writer was answered, or until now.
    pub ms: Millis,
    /// Every node's part, the master's first.
    pub replicas: Vec<ReplicaTrace>,
}
