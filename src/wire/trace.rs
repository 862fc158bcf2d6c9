//! Where the time of one write went, as JSON.

use super::client::WriteIds;
use super::timestamp::Timestamp;
use super::timing::{CallTimes, Millis};
use serde::Serialize;
use std::sync::Arc;

/// One node's part in a write.
#[derive(Debug, Serialize)]
pub struct ReplicaTrace {
    /// The name of the node.
    pub server_id: Arc<str>,
    /// The state of its copy, as the master knows it.
    pub state: ReplicaState,
    /// The times of the call that carried the write, once there is one.
    #[serde(flatten)]
    pub call: Option<CallTimes>,
    /// When the master's own copy was on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_ms: Option<Millis>,
    /// When the acknowledgement arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<Millis>,
    /// Why the copy is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The state of one copy, as the master knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It is on disk.
    Durable,
    /// It was sent, and is not acknowledged yet.
    Sent,
    /// It has not been sent.
    Waiting,
    /// The node refused it, or did not answer.
    Failed,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceOutcome {
    /// Its client waits for the reply.
    Pending,
    /// 201.
    Committed,
    /// 202: fewer copies than the client asked for when the timeout ended.
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
    /// Its outcome.
    pub outcome: TraceOutcome,
    /// When the master accepted it.
    pub timestamp: Timestamp,
    /// The number of copies that the client asked for.
    pub w: usize,
    /// The round that carried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// When a round took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<Millis>,
    /// When its client got the reply, or the time until now.
    pub ms: Millis,
    /// Every node's part, the master's first.
    pub replicas: Vec<ReplicaTrace>,
}
