//! A part of the log as it is now.
//!
//! It is read and sent piece by piece, so it is never in memory as a whole. That needs no lock, because the decided
//! part of the log does not change.

use super::format::write_line;
use super::snapshot::{PIECE, Snapshot};
use crate::http::{Pieces, Reply};
use crate::protocol::{Epoch, Id, SlotRef};
use crate::store::{ReadLimit, Store, StoreError};
use crate::wire::client::{View, write_entry};
use crate::wire::position::Position;
use serde_json::Value;
use std::io;
use std::sync::Arc;

/// The most messages of a document whose request has a limit.
const PAGE_MESSAGES_MAX: u64 = 10_000;
/// The expected length of a message, for which memory is reserved.
const MESSAGE_BYTES_EXPECTED: usize = 256;

/// Which messages a reader wants, and in which form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Page {
    /// The position that the reader has reached: the page begins after it, or with the log.
    pub(super) after: Option<Position>,
    pub(super) limit: Option<u64>,
    pub(super) view: View,
    pub(super) form: Form,
}

/// The form of a part of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// One JSON object, with a list of messages.
    Document,
    /// Each message in a line of JSON.
    Lines,
}

impl Page {
    /// The whole log as strings.
    pub(super) fn all_as_text() -> Page {
        Page { after: None, limit: None, view: View::Text, form: Form::Document }
    }

    /// The reply with this page. A page of one piece is sent as a whole, and a longer one is read while it is sent.
    pub(super) fn reply(&self, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Reply {
        if self.form == Form::Lines {
            return Reply::lines(self.pieces(store, snapshot));
        }
        let mut writer = self.writer(snapshot);
        let first = match writer.next_piece(&**store) {
            Ok(first) => first.unwrap_or_default(),
            Err(error) if is_trimmed(&error) => return Reply::no_answer(410, &error.to_string()),
            Err(error) => return Reply::no_answer(500, &format!("the log cannot be read: {error}")),
        };
        if writer.state == Progress::Ended {
            return Reply::json_text(200, first);
        }
        let (mut first, store) = (Some(first), Arc::clone(store));
        Reply::json_stream(
            200,
            Box::new(move || first.take().map_or_else(|| writer.next_piece(&*store), |piece| Ok(Some(piece)))),
        )
    }

    /// The position that the reader has reached.
    pub(super) fn reached(&self, snapshot: &Snapshot) -> Position {
        self.after.unwrap_or_else(|| snapshot.beginning())
    }

    /// The page as pieces, which are read while they are sent.
    pub(super) fn pieces(&self, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Pieces {
        let (mut writer, store) = (self.writer(snapshot), Arc::clone(store));
        Box::new(move || writer.next_piece(&*store))
    }

    fn writer(&self, snapshot: &Snapshot) -> PageWriter {
        PageWriter {
            page: *self,
            snapshot: snapshot.clone(),
            after: self.reached(snapshot).id,
            epoch: Epoch::NONE,
            left: match (self.limit, self.form) {
                (None, _) => u64::MAX,
                (Some(limit), Form::Document) => limit.min(PAGE_MESSAGES_MAX),
                (Some(limit), Form::Lines) => limit,
            },
            written: 0,
            state: Progress::Begins,
        }
    }
}

/// Whether a part of the log was trimmed before it could be read.
fn is_trimmed(error: &io::Error) -> bool {
    let store = error.get_ref().and_then(|error| error.downcast_ref::<StoreError>());
    store.is_some_and(StoreError::is_trimmed)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Progress {
    Begins,
    Continues,
    Ended,
}

/// Writes a page piece by piece. The fields after the list depend on how much was written.
struct PageWriter {
    page: Page,
    snapshot: Snapshot,
    /// The last id read.
    after: Id,
    /// The epoch of the last message read.
    epoch: Epoch,
    /// Messages that may still be written.
    left: u64,
    written: u64,
    state: Progress,
}

impl PageWriter {
    fn next_piece(&mut self, store: &dyn Store) -> io::Result<Option<Vec<u8>>> {
        let expected = usize::try_from(self.left).unwrap_or(usize::MAX).saturating_mul(MESSAGE_BYTES_EXPECTED);
        let mut piece = Vec::with_capacity(expected.min(PIECE.bytes_max / 2));
        match self.state {
            Progress::Begins if self.page.form == Form::Document => piece.extend_from_slice(b"{\"messages\":["),
            Progress::Begins | Progress::Continues => {}
            Progress::Ended => return Ok(None),
        }
        self.write_messages(store, &mut piece)?;
        self.state = Progress::Continues;
        if self.left == 0 || self.after >= self.snapshot.extent.decided {
            if self.page.form == Form::Document {
                self.write_end(&mut piece);
            }
            self.state = Progress::Ended;
        }
        Ok(Some(piece))
    }

    fn write_messages(&mut self, store: &dyn Store, piece: &mut Vec<u8>) -> io::Result<()> {
        if self.left == 0 || self.after >= self.snapshot.extent.decided {
            return Ok(());
        }
        let slots_max = PIECE.slots_max.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let piece_limit = ReadLimit { slots_max, ..PIECE };
        let before = self.after;
        store
            .visit(before, self.snapshot.extent.decided, piece_limit, &mut |slot| self.write_slot(slot, piece))
            .map_err(io::Error::other)?;
        if self.after == before {
            return Err(io::Error::other(format!("the store lacks id {}", before.next())));
        }
        Ok(())
    }

    fn write_slot(&mut self, slot: SlotRef<'_>, piece: &mut Vec<u8>) {
        self.after = slot.id();
        if let SlotRef::Entry(entry) = slot {
            self.epoch = entry.epoch;
            match self.page.form {
                Form::Lines => write_line(piece, entry, self.page.view),
                Form::Document => {
                    if self.written > 0 {
                        piece.push(b',');
                    }
                    write_entry(piece, entry, self.page.view);
                }
            }
            self.written += 1;
            self.left -= 1;
        }
    }

    fn write_end(&self, json: &mut Vec<u8>) {
        let mut rest: Vec<(&str, Value)> = Vec::new();
        if self.page.view == View::Objects {
            rest.push(("total", self.snapshot.visible.into()));
            if self.snapshot.beginning().id > Id::ZERO {
                rest.push(("begins", self.snapshot.extent.begins.get().into()));
            }
            rest.push(("server_role", self.snapshot.role.into()));
            rest.push(("server_id", self.snapshot.server_id.as_str().into()));
        }
        if let Some(limit) = self.page.limit {
            if limit > PAGE_MESSAGES_MAX {
                rest.push(("limit", PAGE_MESSAGES_MAX.into()));
            }
            if self.after < self.snapshot.extent.decided {
                let of = self.snapshot.extent.log_id.map(|log_id| (self.epoch, log_id));
                rest.push(("next", Position { id: self.after.next(), of }.to_string().into()));
            }
        }
        if self.snapshot.possibly_stale {
            rest.push(("possibly_stale", true.into()));
        }
        json.push(b']');
        for (name, value) in rest {
            json.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        json.extend_from_slice(b"}\n");
    }
}
