//! What the log is made of.

use super::{Epoch, Id};
use std::sync::Arc;

/// One message with its place in the log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    /// Its position.
    pub id: Id,
    /// The epoch in which the master gave it that position. `(epoch, id)` identifies an entry.
    pub epoch: Epoch,
    /// When the master accepted it: milliseconds since 1970-01-01T00:00:00Z, by the master's clock.
    pub timestamp_ms: u64,
    /// The client's text, exactly as posted.
    pub message: Arc<str>,
    /// The idempotency key: a post with the same key is not appended again.
    pub key: Option<Arc<str>>,
    /// Which part of a write it is.
    pub part: WritePart,
}

/// The place of a message among those that were posted together, so that it shows whether a log holds all of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WritePart {
    /// Its place, from 0.
    pub index: u32,
    /// How many messages the write has.
    pub of: u32,
}

impl WritePart {
    /// A message that was posted alone.
    pub const WHOLE: WritePart = WritePart { index: 0, of: 1 };

    /// The ids of the first and the last message of the write, given that of this one.
    #[must_use]
    pub fn write(self, id: Id) -> (Id, Id) {
        let first = Id::new(id.get().saturating_sub(u64::from(self.index)));
        (first, first.plus(u64::from(self.of)).previous().max(id))
    }

    /// Whether it is the last message of the write.
    #[must_use]
    pub fn is_last(self) -> bool {
        self.index.checked_add(1) == Some(self.of)
    }
}

/// What a log holds at one id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Slot {
    /// A message; whether it is visible depends on the high watermark.
    Entry(Arc<Entry>),
    /// A refused id. The refusal is durable and final, so the log does not keep what was posted.
    Refused(Id),
}

/// A slot that borrows its text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotRef<'a> {
    /// A message.
    Entry(EntryRef<'a>),
    /// A refused id.
    Refused(Id),
}

/// An [`Entry`] that borrows its text.
#[allow(missing_docs, reason = "the fields of an entry")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EntryRef<'a> {
    pub id: Id,
    pub epoch: Epoch,
    pub timestamp_ms: u64,
    pub message: &'a str,
    pub key: Option<&'a str>,
    pub part: WritePart,
}

impl<'a> From<&'a Entry> for EntryRef<'a> {
    fn from(entry: &'a Entry) -> EntryRef<'a> {
        let &Entry { id, epoch, timestamp_ms, ref message, ref key, part } = entry;
        EntryRef { id, epoch, timestamp_ms, message, key: key.as_deref(), part }
    }
}

impl<'a> From<&'a Slot> for SlotRef<'a> {
    fn from(slot: &'a Slot) -> SlotRef<'a> {
        match slot {
            Slot::Entry(entry) => SlotRef::Entry(EntryRef::from(&**entry)),
            Slot::Refused(id) => SlotRef::Refused(*id),
        }
    }
}

impl SlotRef<'_> {
    /// The id that this slot fills.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            SlotRef::Entry(entry) => entry.id,
            SlotRef::Refused(id) => *id,
        }
    }

    /// The same slot with its own copy of the text.
    #[must_use]
    pub fn to_slot(self) -> Slot {
        match self {
            SlotRef::Entry(EntryRef { id, epoch, timestamp_ms, message, key, part }) => {
                let (message, key) = (message.into(), key.map(Into::into));
                Slot::Entry(Arc::new(Entry { id, epoch, timestamp_ms, message, key, part }))
            }
            SlotRef::Refused(id) => Slot::Refused(id),
        }
    }
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

    /// Whether a write ends with this slot, so that a log which is cut after it holds no write in part.
    #[must_use]
    pub fn ends_a_write(&self) -> bool {
        match self {
            Slot::Entry(entry) => entry.part.is_last(),
            Slot::Refused(_) => true,
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
