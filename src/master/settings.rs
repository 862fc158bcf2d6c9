//! A master's configuration.

use crate::node::settings::CommonSettings;
use crate::wire::address::NodeUrl;
use crate::wire::client::Copies;
use std::time::Duration;

/// A master's configuration.
#[derive(Clone, Debug)]
pub(crate) struct MasterSettings {
    pub(crate) common: CommonSettings,
    pub(crate) secondaries: Vec<NodeUrl>,
    /// How long a secondary may take to acknowledge.
    pub(crate) replication_timeout: Duration,
    /// How often a secondary that takes part is asked for its state.
    pub(crate) heartbeat: Duration,
    /// What a message gets that does not say how many copies it needs.
    pub(crate) write_concern: Copies,
    /// Healthy nodes that are needed to take writes, unless that is more than half of them.
    pub(crate) quorum: Option<usize>,
    /// Idempotency keys that are known.
    pub(crate) keys_max: usize,
    pub(crate) message_bytes_max: usize,
    pub(crate) pending_max: usize,
    /// Bytes of text that may be under way.
    pub(crate) pending_bytes_max: usize,
}
