//! What may be shown to a reader who comes now, and how sure that reader can be.

use crate::http::Reply;
use crate::protocol::Id;
use crate::store::ReadLimit;

/// How much is read from the store, and sent, at a time.
pub(super) const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// What may be shown, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The high watermark: messages up to it are visible.
    pub(crate) decided: Id,
    /// How many they are.
    pub(crate) visible: u64,
    /// `master` or `secondary`.
    pub(crate) role: &'static str,
    /// The node.
    pub(crate) server_id: String,
    /// The master could not be asked, so a message that was just written may be missing.
    pub(crate) possibly_stale: bool,
}

/// The reply to a reader who wants to be sure, when this node is not.
pub(crate) fn not_sure(why: &str) -> Reply {
    let sentence = format!("{why}; ask again, or without consistency=strong for what this node knows");
    Reply::no_answer(503, &sentence).with_header("Retry-After", "1")
}
