//! What readers get: the same on every node.
//!
//! | File | What it does |
//! |---|---|
//! | [`query`] | what is asked for |
//! | [`page`] | a part of the log as it is now, as a document or as lines |
//! | [`following`] | what comes later: followers, and readers who wait a while |
//! | [`feeder`] | the thread that brings it to them |

mod feeder;
mod following;
mod page;
mod query;

pub(crate) use following::FollowLimits;
use following::Following;

use crate::http::{Exchange, Reply};
use crate::process::text::number;
use crate::protocol::{EntryRef, Id, Slot};
use crate::store::{ReadLimit, Store};
use crate::wire::client::{EntryObject, View};
use page::Page;
use query::Query;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How much is read from the store, and sent, at a time.
const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// What a node has for its readers.
pub(crate) struct Reading {
    store: Arc<dyn Store>,
    /// How messages are listed if the reader does not say.
    default_view: View,
    pub(crate) following: Arc<Following>,
}

impl Reading {
    /// Begins with a log that is visible up to an id.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        limits: FollowLimits,
        default_view: View,
        decided: Id,
    ) -> io::Result<Reading> {
        let following = Following::start(store, limits, decided)?;
        Ok(Reading { store: Arc::clone(store), default_view, following })
    }
}

/// A log that can be read.
pub(crate) trait Log: Send + Sync {
    fn reading(&self) -> &Reading;

    /// What may be shown to a reader who comes now; or the reply that refuses.
    fn snapshot(&self, consistency: Consistency) -> Result<Snapshot, Reply>;
}

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

/// How sure a reader wants to be that nothing is missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Consistency {
    /// What was acknowledged by every node is there, or the reply says that it may not be.
    Usual,
    /// What was acknowledged with any number of copies is there, or there is no answer.
    Strong,
    /// What this node knows: a prefix of the log.
    Prefix,
}

/// The reply to a reader who wants to be sure, when this node is not.
pub(crate) fn not_sure(why: &str) -> Reply {
    let sentence = format!("{why}; ask again, or without consistency=strong for what this node knows");
    Reply::no_answer(503, &sentence).with_header("Retry-After", "1")
}

/// Answers `GET /messages`.
pub(crate) fn list(exchange: Exchange, log: &Arc<impl Log + 'static>) {
    match Query::parse(&exchange, log.reading().default_view) {
        Ok(Query::Page { page, consistency, wait }) => show(exchange, log, page, consistency, wait),
        Ok(Query::Follow(wanted)) => log.reading().following.follow(exchange, wanted),
        Err(why) => exchange.reply(Reply::no_answer(400, &why)),
    }
}

/// Shows a part of the log. If there is nothing in it yet, that may be waited for.
fn show(exchange: Exchange, log: &Arc<impl Log + 'static>, page: Page, consistency: Consistency, wait: Duration) {
    match log.snapshot(consistency) {
        Ok(snapshot) if page.from > snapshot.decided && !wait.is_zero() => {
            let later = Arc::clone(log);
            let show = move |exchange: Exchange| show(exchange, &later, page, consistency, Duration::ZERO);
            log.reading().following.wait(exchange, page.from, wait, Box::new(show));
        }
        Ok(snapshot) => exchange.reply(mark_stale(page.reply(&log.reading().store, &snapshot), &snapshot)),
        Err(refusal) => exchange.reply(refusal),
    }
}

/// The whole visible log as strings: the reply to a message that was posted as `msg`.
pub(crate) fn whole_log_as_text(status: u16, store: &Arc<dyn Store>, snapshot: &Snapshot) -> Reply {
    Reply::json_stream(status, Page::all_as_text().pieces(store, snapshot))
}

/// Answers `GET /messages/ID`.
pub(crate) fn one(exchange: Exchange, log: &impl Log, id: &str) {
    let snapshot = Consistency::of(&exchange).map_err(|why| Reply::no_answer(400, &why));
    let snapshot = snapshot.and_then(|consistency| log.snapshot(consistency));
    let reply = snapshot.map(|snapshot| mark_stale(one_of(&log.reading().store, &snapshot, id), &snapshot));
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
