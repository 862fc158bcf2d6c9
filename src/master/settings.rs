//! A master's configuration.

use super::retention::Retention;
use crate::node::settings::CommonSettings;
use crate::protocol::Promotion;
use crate::wire::address::NodeUrl;
use crate::wire::client::Copies;
use std::time::Duration;

/// A master's configuration.
#[derive(Clone, Debug)]
pub(crate) struct MasterSettings {
    pub(crate) common: CommonSettings,
    /// The host under which other nodes reach this one.
    pub(crate) host: String,
    pub(crate) secondaries: Vec<NodeUrl>,
    /// Whether another node may take this one's place; as the log's roster says if not set.
    pub(crate) promotion: Option<Promotion>,
    /// How long a secondary may take to acknowledge.
    pub(crate) replication_timeout: Duration,
    /// How often the master probes a secondary that takes part.
    pub(crate) heartbeat: Duration,
    /// The write concern of a message that names none.
    pub(crate) write_concern: Copies,
    /// How long a write that does not say waits for missing nodes; zero to refuse it at once.
    pub(crate) ack_timeout: Duration,
    /// How many nodes must be healthy to take writes; more than half if not set.
    pub(crate) quorum: Option<usize>,
    /// How many idempotency keys the master remembers.
    pub(crate) keys_max: usize,
    /// What is kept of the log.
    pub(crate) retention: Retention,
    pub(crate) message_bytes_max: usize,
    /// The longest body of a post.
    pub(crate) body_bytes_max: usize,
    pub(crate) pending_max: usize,
    /// Bytes of text that may be under way.
    pub(crate) pending_bytes_max: usize,
}
