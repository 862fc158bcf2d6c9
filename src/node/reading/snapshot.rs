//! What a reader may see now, and whether that may be stale.

use crate::http::Reply;
use crate::protocol::Id;
use crate::store::ReadLimit;

/// The most that a node reads from the store and sends at a time.
pub(super) const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// What a reader may see, and the node that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The high watermark: messages up to it are visible.
    pub(crate) decided: Id,
    /// The number of visible messages.
    pub(crate) visible: u64,
    /// `master` or `secondary`.
    pub(crate) role: &'static str,
    /// The name of the node.
    pub(crate) server_id: String,
    /// The node could not ask the master, so a message that was just committed may be missing.
    pub(crate) possibly_stale: bool,
}

/// The reply to a strong read of a node that cannot guarantee one.
pub(crate) fn not_sure(why: &str) -> Reply {
    let sentence = format!("{why}; try again, or read without consistency=strong, which may be stale");
    Reply::no_answer(503, &sentence).with_header("Retry-After", "1")
}
