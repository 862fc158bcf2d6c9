//! What a client may make the edge do.

use super::refusals::Refusals;
use crate::process::budget::Budget;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of replies that clients are slow to take: enough for some hundred followers, or readers of a long log, that
/// have stopped to read. The next one that does not read on is cut off.
const UNREAD_BYTES_MAX: usize = 32 << 20;

/// The named limits of the edge, with their reasons.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request's body.
    pub(crate) body_bytes_max: usize,
    /// Bytes of all bodies that are being read, and of what is made of them before it is stored or has an id.
    pub(crate) bodies: Arc<Budget>,
    /// Bytes of replies that clients are slow to take.
    pub(crate) unread: Arc<Budget>,
    /// What was refused, whatever the limit.
    pub(crate) refusals: Arc<Refusals>,
    /// Bytes of a request target, path and query: no call of ours needs more.
    pub(crate) target_bytes_max: usize,
    /// Header lines of a request, and their bytes.
    pub(crate) headers_max: usize,
    /// Bytes of all header lines together.
    pub(crate) head_bytes_max: usize,
    /// Threads that receive, read bodies, wait for disks and peers, and write replies; as many that send what clients
    /// are slow to take, or the receiver's replies when all of those are busy; and as many that skip bodies.
    pub(crate) threads_max: usize,
    /// Connections, about. Each costs two descriptors and a thread. Beyond, new ones are refused.
    pub(crate) connections_max: usize,
    /// How long a connection may be silent between requests; see also [`Limits::silence`].
    pub(crate) idle_timeout: Duration,
    /// How long the whole of a body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// How long a client may leave a reply unread before its connection is given up.
    pub(crate) write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 2 << 20,
            bodies: Budget::new(64 << 20),
            unread: Budget::new(UNREAD_BYTES_MAX),
            refusals: Arc::default(),
            target_bytes_max: 2 << 10,
            headers_max: 64,
            head_bytes_max: 16 << 10,
            threads_max: 1_024,
            connections_max: 10_000,
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// How long a connection may be silent. A socket knows one such time, between requests and within one, so it is the
    /// shorter of the two. It also bounds `accept`, so the watchdog probes more often.
    pub(crate) fn silence(&self) -> Duration {
        const SILENCE_MIN: Duration = Duration::from_secs(1);
        self.idle_timeout.min(self.body_timeout).max(SILENCE_MIN)
    }
}
