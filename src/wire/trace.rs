//! Where the time of one write went, as it travels.

use super::client::WriteIds;
use super::timestamp::Timestamp;
use super::timing::{CallTimes, Millis};
use serde::Serialize;
use std::sync::Arc;

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
