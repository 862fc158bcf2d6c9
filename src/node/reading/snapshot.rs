//! What a reader may see now, and whether that may be stale.

use crate::http::Reply;
use crate::protocol::{Epoch, Id, LogId, Slot};
use crate::store::{ReadLimit, Store, StoreError};
use crate::wire::position::Position;

/// The most that a node reads from the store and sends at a time.
pub(super) const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// What a reader may see, and the node that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The log, and where it begins and ends for readers.
    pub(crate) extent: Extent,
    /// The last id that this node holds, pending ones included.
    pub(crate) last: Id,
    /// The number of visible messages, without those that are trimmed.
    pub(crate) visible: u64,
    /// `master` or `secondary`.
    pub(crate) role: &'static str,
    /// The name of the node.
    pub(crate) server_id: String,
    /// The node could not ask the master, so a message that was just committed may be missing.
    pub(crate) possibly_stale: bool,
}

/// Which log a reply is of, and where that begins and ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// The log, if this node knows it.
    pub(crate) log_id: Option<LogId>,
    /// The first id that this node holds: what was before is trimmed.
    pub(crate) begins: Id,
    /// The high watermark: messages up to it are visible.
    pub(crate) decided: Id,
}

impl Extent {
    /// Adds it to a reply.
    pub(crate) fn mark(self, reply: Reply) -> Reply {
        let Some(log_id) = self.log_id else { return reply };
        let reply = reply.with_header("Log-Id", log_id).with_header("Log-Begin", self.begins);
        reply.with_header("Log-End", self.decided)
    }
}

/// Why a client cannot go on from the position that it has reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Misplaced {
    /// The reason, for people.
    pub(super) why: String,
    /// Whether what follows the position is trimmed. Otherwise what the client has does not belong to this log.
    pub(super) is_trimmed: bool,
}

impl Snapshot {
    /// Adds to a reply which log it is of, where that begins and ends, and whether it may be stale.
    pub(crate) fn mark(&self, reply: Reply) -> Reply {
        let reply = self.extent.mark(reply);
        if self.possibly_stale { reply.with_header("Warning", "110 - \"Response is Stale\"") } else { reply }
    }

    /// The position before the first message of the log.
    pub(super) fn beginning(&self) -> Position {
        Position { id: self.extent.begins.previous(), of: None }
    }

    /// Why a client that has reached this position cannot go on in this log, if it cannot: what it has is of another
    /// one, or of a part of this one that is lost, or what follows is trimmed. `is_sure` says that the snapshot shows
    /// everything that was acknowledged.
    pub(super) fn misplaces(&self, reached: Position, is_sure: bool, store: &dyn Store) -> Option<Misplaced> {
        let Position { id, of } = reached;
        let Extent { log_id, begins, decided } = self.extent;
        let log_id = log_id?;
        let held = format!("this node holds log {log_id} from id {begins} to {decided}");
        let misplaced = |why| Some(Misplaced { why, is_trimmed: false });
        if let Some((_, other)) = of.filter(|(_, other)| *other != log_id) {
            return misplaced(format!("the position is of log {other}, and {held}"));
        }
        if id > self.last && is_sure {
            return misplaced(format!("the position {id} is beyond the end: {held}"));
        }
        if id.next() < begins {
            return Some(self.trimmed(id));
        }
        let (epoch, _) = of.filter(|(epoch, _)| *epoch != Epoch::NONE && id <= decided)?;
        match store.get(id) {
            Ok(Some(Slot::Entry(entry))) if entry.epoch != epoch => misplaced(format!(
                "message {id} was written in epoch {epoch} where the position comes from, and in epoch {} here: {held}",
                entry.epoch
            )),
            _ => None,
        }
    }

    /// Why a client that has everything up to an id cannot go on: what follows is trimmed.
    pub(super) fn trimmed(&self, id: Id) -> Misplaced {
        let why = StoreError::trimmed(id, self.extent.begins.previous()).to_string();
        Misplaced { why, is_trimmed: true }
    }
}

/// The reply to a strong read of a node that cannot guarantee one.
pub(crate) fn not_sure(why: &str) -> Reply {
    let sentence = format!("{why}; try again, or read without consistency=strong, which may be stale");
    Reply::no_answer(503, &sentence).with_header("Retry-After", "1")
}
