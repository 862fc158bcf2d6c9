//! What the log is made of.

use super::{Epoch, Id};
use std::sync::Arc;

/// One message with its place in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its position.
    pub id: Id,
    /// The reign in which the master gave it that position. `(epoch, id)` identifies an entry.
    pub epoch: Epoch,
    /// When the master accepted it: milliseconds since 1970-01-01T00:00:00Z, by the master's clock.
    pub timestamp_ms: u64,
    /// The client's text, exactly as posted.
    pub message: Arc<str>,
    /// The name that the client gave to this write, so that it can be posted again without being written twice.
    pub key: Option<Arc<str>>,
}

/// What a log holds at one id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Slot {
    /// A message; whether it is visible depends on the high watermark.
    Entry(Arc<Entry>),
    /// A refused id: durable, for ever, and never visible. What was posted under it is of no interest any more.
    Refused(Id),
}

impl Slot {
    /// The id that this slot fills.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Slot::Entry(entry) => entry.id,
            Slot::Refused(id) => *id,
        }
    }

    /// The message in this slot; `None` if its id was refused.
    #[must_use]
    pub fn into_entry(self) -> Option<Arc<Entry>> {
        match self {
            Slot::Entry(entry) => Some(entry),
            Slot::Refused(_) => None,
        }
    }
}
