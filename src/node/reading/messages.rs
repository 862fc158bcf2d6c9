//! Answers `GET /messages` and `GET /messages/ID`.

use super::broadcaster::Broadcaster;
use super::following::{After, FollowLimits, Following, Wanted};
use super::format::{Format, write_line};
use super::page::Page;
use super::query::{Query, consistency};
use super::snapshot::{Misplaced, Snapshot};
use crate::http::{Exchange, Reply};
use crate::process::text::number;
use crate::protocol::{Consistency, EntryRef, Id, LogId, Slot};
use crate::store::Store;
use crate::wire::client::View;
use crate::wire::position::Position;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What a node needs to serve its readers.
pub(crate) struct Reading {
    store: Arc<dyn Store>,
    /// The view of a request that does not name one.
    default_view: View,
    pub(crate) following: Arc<Following>,
}

impl Reading {
    /// For a log, if it is known, with this high watermark. Starts the broadcaster.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        limits: FollowLimits,
        default_view: View,
        (log_id, decided): (Option<LogId>, Id),
    ) -> io::Result<Reading> {
        let following = Following::new(store, limits, log_id, decided);
        Broadcaster::start(&following)?;
        Ok(Reading { store: Arc::clone(store), default_view, following })
    }
}

/// A log that can be read.
pub(crate) trait Log: Send + Sync {
    fn reading(&self) -> &Reading;

    /// What a reader may see now.
    ///
    /// # Errors
    /// With the reply that refuses the reader.
    fn snapshot(self: &Arc<Self>, consistency: Consistency) -> Result<Snapshot, Reply>;
}

/// Answers `GET /messages`.
pub(crate) fn list(exchange: Exchange, log: &Arc<impl Log + 'static>) {
    match Query::parse(&exchange, log.reading().default_view) {
        Ok(Query::Page { page, consistency, wait }) => show(exchange, log, page, consistency, wait),
        Ok(Query::Follow(wanted)) => follow(exchange, log, wanted),
        Err(why) => exchange.reply(Reply::no_answer(400, &why)),
    }
}

/// Shows a part of the log. If that is empty, waits for its first message if the reader asks for that.
fn show(exchange: Exchange, log: &Arc<impl Log + 'static>, page: Page, consistency: Consistency, wait: Duration) {
    let store = &log.reading().store;
    match log.snapshot(consistency) {
        Ok(snapshot) => match misplaced_because(log, &snapshot, page.reached(&snapshot)) {
            Some(because) => exchange.reply(snapshot.mark(misplaced(&because))),
            None if page.reached(&snapshot).id >= snapshot.extent.decided && !wait.is_zero() => {
                let later = Arc::clone(log);
                let show = move |exchange: Exchange| show(exchange, &later, page, consistency, Duration::ZERO);
                let from = page.reached(&snapshot).id.next();
                log.reading().following.wait(exchange, from, wait, Box::new(show));
            }
            None => exchange.reply(snapshot.mark(page.reply(store, &snapshot))),
        },
        Err(refusal) => exchange.reply(refusal),
    }
}

/// Lets a client follow the log.
fn follow(exchange: Exchange, log: &Arc<impl Log>, wanted: Wanted) {
    let snapshot = match log.snapshot(Consistency::Prefix) {
        Ok(snapshot) => snapshot,
        Err(refusal) => return exchange.reply(refusal),
    };
    let because = match wanted.after {
        After::Position(reached) => misplaced_because(log, &snapshot, reached),
        After::Nothing | After::Newest => None,
    };
    match (because, wanted.format) {
        (Some(because), Format::Lines(_)) => exchange.reply(snapshot.mark(misplaced(&because))),
        (because, format) => {
            let head = snapshot.mark(Reply::stream_head(format.content_type()));
            log.reading().following.follow(exchange, wanted, because.as_ref(), head);
        }
    }
}

/// Why a client that has reached this position cannot go on here, if it cannot. Of one that has reached more than this
/// node holds, only a strong read can tell: another node may have shown it what is on its way here.
fn misplaced_because(log: &Arc<impl Log>, snapshot: &Snapshot, reached: Position) -> Option<Misplaced> {
    let store = &*log.reading().store;
    if reached.id <= snapshot.last {
        return snapshot.misplaces(reached, false, store);
    }
    match log.snapshot(Consistency::Strong) {
        Ok(strong) => strong.misplaces(reached, true, store),
        Err(_) => snapshot.misplaces(reached, false, store),
    }
}

/// The reply to a client whose position is not in this log.
fn misplaced(because: &Misplaced) -> Reply {
    let why = &because.why;
    Reply::no_answer(410, &format!("{why}; read on from the beginning, or from another position of this log"))
}

/// The whole visible log as strings, which is the reply to a message posted as `msg`.
pub(crate) fn whole_log_as_text(status: u16, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Reply {
    Reply::json_stream(status, Page::all_as_text().pieces(store, snapshot))
}

/// Answers `GET /messages/ID`.
pub(crate) fn one(exchange: Exchange, log: &Arc<impl Log>, id: &str) {
    let snapshot = consistency(&exchange).map_err(|why| Reply::no_answer(400, &why));
    let snapshot = snapshot.and_then(|consistency| log.snapshot(consistency));
    let reply = snapshot.map(|snapshot| snapshot.mark(one_of(&log.reading().store, &snapshot, id)));
    exchange.reply(reply.unwrap_or_else(|refusal| refusal));
}

fn one_of(store: &Arc<dyn Store>, snapshot: &Snapshot, id: &str) -> Reply {
    match number(id).map(Id::new) {
        Some(id) if id < snapshot.extent.begins && id > Id::ZERO => {
            Reply::no_answer(410, &snapshot.trimmed(id.previous()).why)
        }
        Some(id) if id <= snapshot.extent.decided => match store.get(id) {
            Ok(Some(Slot::Entry(entry))) => {
                let mut json = Vec::new();
                write_line(&mut json, EntryRef::from(&*entry), View::Objects);
                Reply::json_text(200, json)
            }
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
