//! What a reader may see now, and whether that may be stale.

use crate::http::Reply;
use crate::protocol::{Epoch, Id, LogId, Slot};
use crate::store::{ReadLimit, Store};
use crate::wire::position::Position;

/// The most that a node reads from the store and sends at a time.
pub(super) const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// What a reader may see, and the node that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The high watermark: messages up to it are visible.
    pub(crate) decided: Id,
    /// The log, if this node knows it.
    pub(crate) log_id: Option<LogId>,
    /// The last id that this node holds, pending ones included.
    pub(crate) last: Id,
    /// The number of visible messages.
    pub(crate) visible: u64,
    /// `master` or `secondary`.
    pub(crate) role: &'static str,
    /// The name of the node.
    pub(crate) server_id: String,
    /// The node could not ask the master, so a message that was just committed may be missing.
    pub(crate) possibly_stale: bool,
}

/// The first id of a log.
const BEGIN: Id = Id::new(1);

impl Snapshot {
    /// Adds to a reply which log it is of, where that begins and ends, and whether it may be stale.
    pub(crate) fn mark(&self, reply: Reply) -> Reply {
        let reply = mark(reply, self.log_id, self.decided);
        if self.possibly_stale { reply.with_header("Warning", "110 - \"Response is Stale\"") } else { reply }
    }

    /// Why a client that has reached this position cannot go on in this log, if it cannot: what it has is of another
    /// one, or of a part of this one that is lost. `is_sure` says that the snapshot shows everything that was
    /// acknowledged.
    pub(super) fn misplaces(&self, reached: Position, is_sure: bool, store: &dyn Store) -> Option<String> {
        let Position { id, of } = reached;
        let log_id = self.log_id?;
        let held = format!("this node holds log {log_id} from id {BEGIN} to {}", self.decided);
        if let Some((_, other)) = of.filter(|(_, other)| *other != log_id) {
            return Some(format!("the position is of log {other}, and {held}"));
        }
        if id > self.last && is_sure {
            return Some(format!("the position {id} is beyond the end: {held}"));
        }
        let (epoch, _) = of.filter(|(epoch, _)| *epoch != Epoch::NONE && id <= self.decided)?;
        match store.get(id) {
            Ok(Some(Slot::Entry(entry))) if entry.epoch != epoch => Some(format!(
                "message {id} was written in epoch {epoch} where the position comes from, and in epoch {} here: {held}",
                entry.epoch
            )),
            _ => None,
        }
    }
}

/// Adds to a reply which log it is of, and where that begins and ends.
pub(crate) fn mark(reply: Reply, log_id: Option<LogId>, decided: Id) -> Reply {
    let Some(log_id) = log_id else { return reply };
    reply.with_header("Log-Id", log_id).with_header("Log-Begin", BEGIN).with_header("Log-End", decided)
}

/// The reply to a strong read of a node that cannot guarantee one.
pub(crate) fn not_sure(why: &str) -> Reply {
    let sentence = format!("{why}; try again, or read without consistency=strong, which may be stale");
    Reply::no_answer(503, &sentence).with_header("Retry-After", "1")
}
