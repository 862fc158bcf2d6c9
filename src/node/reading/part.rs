//! A part of the log, formatted once for all followers.

use super::format::Format;
use super::snapshot::PIECE;
use crate::protocol::{Id, LogId, SlotRef};
use crate::store::{Store, StoreError};

/// A part of the log as followers get it.
pub(super) struct Part {
    after: Id,
    log_id: Option<LogId>,
    /// Its last id.
    pub(super) through: Id,
    texts: Vec<Text>,
}

struct Text {
    format: Format,
    bytes: Vec<u8>,
    /// Where the text of each message ends.
    ends: Vec<(Id, usize)>,
}

impl Part {
    /// Reads the slots after `after` up to `decided`, at most [`PIECE`] of them.
    pub(super) fn read(
        store: &dyn Store,
        after: Id,
        decided: Id,
        log_id: Option<LogId>,
        formats: impl IntoIterator<Item = Format>,
    ) -> Result<Part, StoreError> {
        let text = |format| Text { format, bytes: Vec::new(), ends: Vec::new() };
        let mut part = Part { after, log_id, through: after, texts: formats.into_iter().map(text).collect() };
        store.visit(after, decided, PIECE, &mut |slot| part.add(slot))?;
        if part.through == after {
            return Err(StoreError::new(format!("the store lacks id {}", after.next())));
        }
        Ok(part)
    }

    fn add(&mut self, slot: SlotRef<'_>) {
        self.through = slot.id();
        if let SlotRef::Entry(entry) = slot {
            for text in &mut self.texts {
                text.format.write(&mut text.bytes, entry, self.log_id);
                text.ends.push((entry.id, text.bytes.len()));
            }
        }
    }

    /// The text for a follower that has everything up to an id, which is not before this part.
    pub(super) fn after(&self, after: Id, format: Format) -> &[u8] {
        debug_assert!(after >= self.after, "the follower lacks what comes before");
        let Some(text) = self.texts.iter().find(|text| text.format == format) else { return &[] };
        let has = text.ends.partition_point(|&(id, _)| id <= after);
        let from = has.checked_sub(1).map_or(0, |last| text.ends[last].1);
        &text.bytes[from..]
    }
}
