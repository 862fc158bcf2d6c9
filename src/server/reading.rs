//! What readers get: the same on every node.

use super::http::{Exchange, Pieces, Reply};
use super::text::number;
use crate::replication::{EntryRef, Id, Slot, SlotRef};
use crate::store::{ReadLimit, Store};
use crate::wire::client::{EntryObject, View, write_entry};
use serde_json::Value;
use std::io;
use std::sync::Arc;

/// What `GET /messages` can be asked for.
const PARAMETERS: [&str; 4] = ["from", "limit", "view", "consistency"];
/// Messages of a page, at most.
const PAGE_MESSAGES_MAX: u64 = 10_000;
/// Room that is made for each message of a page before its length is known.
const MESSAGE_BYTES_EXPECTED: usize = 256;
/// How much is read from the store, and sent, at a time.
const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// What may be shown, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// The high watermark: messages up to it are visible.
    pub(super) decided: Id,
    /// How many they are.
    pub(super) visible: u64,
    /// `master` or `secondary`.
    pub(super) role: &'static str,
    /// The node.
    pub(super) server_id: String,
    /// The master could not be asked, so a message that was just written may be missing.
    pub(super) possibly_stale: bool,
}

/// How sure a reader wants to be that nothing is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Consistency {
    /// What was acknowledged by every node is there, or the reply says that it may not be.
    Usual,
    /// What was acknowledged with any number of copies is there, or there is no answer.
    Strong,
    /// What this node knows: a prefix of the log.
    Prefix,
}

impl Consistency {
    fn of(exchange: &Exchange) -> Result<Consistency, Reply> {
        match exchange.query("consistency") {
            None => Ok(Consistency::Usual),
            Some("strong") => Ok(Consistency::Strong),
            Some("prefix") => Ok(Consistency::Prefix),
            Some(other) => {
                let sentence =
                    format!("consistency is \"{}\"; it must be \"strong\" or \"prefix\"", other.escape_debug());
                Err(Reply::no_answer(400, &sentence))
            }
        }
    }
}

/// The reply to a reader who wants to be sure, when this node is not.
pub(super) fn not_sure(why: &str) -> Reply {
    let sentence = format!("{why}; ask again, or without consistency=strong for what this node knows");
    Reply::no_answer(503, &sentence).with_header("Retry-After", "1")
}

/// Which messages are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Page {
    from: Id,
    limit: Option<u64>,
    view: View,
}

/// Answers `GET /messages`. `snapshot` tells what may be shown.
pub(super) fn list(
    exchange: Exchange,
    store: &Arc<dyn Store>,
    snapshot: impl FnOnce(Consistency) -> Result<Snapshot, Reply>,
    default_view: View,
) {
    let page = Page::parse(&exchange, default_view).map_err(|why| Reply::no_answer(400, &why));
    let read = |page: Page| {
        let snapshot = snapshot(Consistency::of(&exchange)?)?;
        Ok(mark_stale(page.reply(store, &snapshot), &snapshot))
    };
    let reply = page.and_then(read).unwrap_or_else(|refusal| refusal);
    exchange.reply(reply);
}

/// The whole visible log as strings: the reply to a message that was posted as `msg`.
pub(super) fn whole_log_as_text(status: u16, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Reply {
    let page = Page { from: Id::ZERO.next(), limit: None, view: View::Text };
    Reply::json_stream(status, page.pieces(store, snapshot))
}

/// Answers `GET /messages/ID`. `snapshot` tells what may be shown.
pub(super) fn one(
    exchange: Exchange,
    store: &Arc<dyn Store>,
    snapshot: impl FnOnce(Consistency) -> Result<Snapshot, Reply>,
    id: &str,
) {
    let snapshot = Consistency::of(&exchange).and_then(snapshot);
    let reply = snapshot.map(|snapshot| mark_stale(one_of(store, &snapshot, id), &snapshot));
    exchange.reply(reply.unwrap_or_else(|refusal| refusal));
}

fn one_of(store: &Arc<dyn Store>, snapshot: &Snapshot, id: &str) -> Reply {
    match number(id).map(Id::new) {
        Some(id) if id <= snapshot.decided => match store.get(id) {
            Ok(Some(Slot::Entry(entry))) => Reply::json(200, &EntryObject::from(EntryRef::from(&*entry))),
            Ok(_) => no_message(id),
            Err(error) => Reply::no_answer(500, &format!("message {id} cannot be read: {error}")),
        },
        Some(id) => no_message(id),
        None => Reply::not_found("a message is found at /messages/ID, where ID is a number from 1"),
    }
}

fn no_message(id: Id) -> Reply {
    Reply::not_found(&format!("there is no message {id}"))
}

fn mark_stale(reply: Reply, snapshot: &Snapshot) -> Reply {
    if snapshot.possibly_stale { reply.with_header("Warning", "110 - \"Response is Stale\"") } else { reply }
}

impl Page {
    fn parse(exchange: &Exchange, default_view: View) -> Result<Page, String> {
        if let Some(other) = exchange.query_names().find(|name| !PARAMETERS.contains(name)) {
            return Err(format!(
                "\"{}\" is not a parameter of /messages; there are from, limit, view and consistency",
                other.escape_debug()
            ));
        }
        let given = |name: &str| match exchange.query(name).map(|text| (text, number(text))) {
            None => Ok(None),
            Some((_, Some(number))) => Ok(Some(number)),
            Some((text, None)) => {
                Err(format!("{name} is \"{}\"; it must be a whole number from 0 to {}", text.escape_debug(), u64::MAX))
            }
        };
        let view = exchange.query("view").map_or(Ok(default_view), View::parse)?;
        Ok(Page { from: Id::new(given("from")?.unwrap_or(1).max(1)), limit: given("limit")?, view })
    }

    /// A page that fits into one piece is sent as a whole; of a longer one, the rest is read while it is sent.
    fn reply(&self, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Reply {
        let mut writer = self.writer(snapshot);
        let first = match writer.next_piece(&**store) {
            Ok(first) => first.unwrap_or_default(),
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

    /// Reads and writes the page piece by piece, all of it while it is sent.
    fn pieces(&self, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Pieces {
        let (mut writer, store) = (self.writer(snapshot), Arc::clone(store));
        Box::new(move || writer.next_piece(&*store))
    }

    fn writer(&self, snapshot: &Snapshot) -> PageWriter {
        PageWriter {
            page: *self,
            snapshot: snapshot.clone(),
            after: self.from.previous(),
            left: self.limit.map_or(u64::MAX, |limit| limit.min(PAGE_MESSAGES_MAX)),
            written: 0,
            state: Progress::Begins,
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Progress {
    Begins,
    Continues,
    Ended,
}

/// Writes a page while it is sent. What follows the list of messages is written once it is known.
struct PageWriter {
    page: Page,
    snapshot: Snapshot,
    /// The last id looked at.
    after: Id,
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
            Progress::Begins => piece.extend_from_slice(b"{\"messages\":["),
            Progress::Continues => {}
            Progress::Ended => return Ok(None),
        }
        self.write_messages(store, &mut piece)?;
        self.state = Progress::Continues;
        if self.left == 0 || self.after >= self.snapshot.decided {
            self.write_end(&mut piece);
            self.state = Progress::Ended;
        }
        Ok(Some(piece))
    }

    fn write_messages(&mut self, store: &dyn Store, piece: &mut Vec<u8>) -> io::Result<()> {
        if self.left == 0 || self.after >= self.snapshot.decided {
            return Ok(());
        }
        let slots_max = PIECE.slots_max.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let piece_limit = ReadLimit { slots_max, ..PIECE };
        let before = self.after;
        store
            .visit(before, self.snapshot.decided, piece_limit, &mut |slot| self.write_slot(slot, piece))
            .map_err(io::Error::other)?;
        if self.after == before {
            return Err(io::Error::other(format!("the store lacks id {}", before.next())));
        }
        Ok(())
    }

    fn write_slot(&mut self, slot: SlotRef<'_>, piece: &mut Vec<u8>) {
        self.after = slot.id();
        if let SlotRef::Entry(entry) = slot {
            if self.written > 0 {
                piece.push(b',');
            }
            write_entry(piece, entry, self.page.view);
            self.written += 1;
            self.left -= 1;
        }
    }

    fn write_end(&self, json: &mut Vec<u8>) {
        let mut rest: Vec<(&str, Value)> = Vec::new();
        if self.page.view == View::Objects {
            rest.push(("total", self.snapshot.visible.into()));
            rest.push(("server_role", self.snapshot.role.into()));
            rest.push(("server_id", self.snapshot.server_id.as_str().into()));
        }
        if let Some(limit) = self.page.limit {
            if limit > PAGE_MESSAGES_MAX {
                rest.push(("limit", PAGE_MESSAGES_MAX.into()));
            }
            if self.after < self.snapshot.decided {
                rest.push(("next", self.after.next().get().into()));
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
