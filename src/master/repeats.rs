//! Posts with an idempotency key: a message that is posted again is not written again.
//!
//! The key is kept in the entry, so it is as durable as the message. A post whose key is known gets the answer of the
//! first one: at once if that is committed, and otherwise together with it. After a refusal the key is free again.

use super::answers::unknown;
use super::{Entries, Follower, Master, State, Writer};
use crate::http::{Exchange, Reply};
use crate::node::metrics::WriteOutcome;
use crate::node::reading;
use crate::protocol::{Id, MemberView, Slot};
use crate::store::{ReadLimit, StoreError};
use crate::wire::client::{Committed, Dialect, Fate, KnownWrite, Posted, WriteIds};
use crate::wire::timestamp::{Timestamp, rfc3339};
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How long a repeat waits for secondaries to report, and how often it looks.
const REPORTS_PATIENCE: Duration = Duration::from_secs(1);
const REPORTS_PAUSE: Duration = Duration::from_millis(10);

/// What a post with a known key finds.
pub(super) enum First {
    /// The write waits for its fate or for copies, and its writer for an answer.
    Waits(Entries),
    /// Nobody waits here: the write is committed, or in doubt since a restart.
    Stored {
        /// The id of its first message.
        first: Id,
        /// The id of its last message.
        last: Id,
    },
}

/// What the store holds of a write.
enum StoredWrite {
    Whole(Entries),
    /// It is longer than what was posted, or shorter.
    Another,
    Refused,
    /// It is on its way to the disk, or the disk failed before it had it. Secondaries may hold it, so it may come back.
    NotYet,
}

/// The reply to a post whose key belongs to another write.
fn another_write(last: Id) -> Reply {
    Reply::problem(422, &format!("this idempotency key belongs to message {last}, which is another one"))
}

impl Master {
    /// Answers a post whose key belongs to a message already.
    pub(super) fn repeat(&self, state: MutexGuard<'_, State>, first: First, exchange: Exchange, posted: &Posted) {
        match first {
            First::Waits(entries) => self.follow(state, &entries, exchange, posted),
            First::Stored { first, last } => {
                drop(state);
                self.repeat_from_store(first, last, exchange, posted);
            }
        }
    }

    fn repeat_from_store(&self, first: Id, last: Id, exchange: Exchange, posted: &Posted) {
        match self.stored_write(first, last, posted) {
            Ok(StoredWrite::Another) => exchange.reply(another_write(last)),
            Ok(StoredWrite::Whole(entries)) => self.follow(self.lock(), &entries, exchange, posted),
            Ok(StoredWrite::Refused) => {
                exchange.reply(Reply::overloaded("the first write with this key was just refused; try again"));
            }
            Ok(StoredWrite::NotYet) => {
                let ids = WriteIds::new(posted.dialect, first, last);
                exchange.reply(unknown(
                    ids,
                    "the first write with this key is not on this master's disk yet, or never will be",
                ));
            }
            Err(error) => exchange.reply(Reply::no_answer(500, &format!("message {last} cannot be read: {error}"))),
        }
    }

    /// Reads a write, but no more of it than what was posted has: a longer one is another.
    fn stored_write(&self, first: Id, last: Id, posted: &Posted) -> Result<StoredWrite, StoreError> {
        let count = last.since(first.previous());
        let bytes_max = posted.messages.iter().map(|message| message.len()).sum();
        if count != posted.messages.len() as u64 {
            return Ok(StoredWrite::Another);
        }
        if self.store.last() < last {
            return Ok(StoredWrite::NotYet);
        }
        let slots = self.store.read(first.previous(), last, ReadLimit { slots_max: usize::MAX, bytes_max })?;
        if slots.last().is_none_or(|slot| slot.id() < last) {
            return Ok(StoredWrite::Another);
        }
        let entries: Option<Box<[_]>> = slots.into_iter().map(Slot::into_entry).collect();
        Ok(entries.map_or(StoredWrite::Refused, |entries| StoredWrite::Whole(Entries::new(entries, None))))
    }

    /// Answers with what is known of a message, or when its fate is known.
    fn follow(&self, mut state: MutexGuard<'_, State>, first: &Entries, exchange: Exchange, posted: &Posted) {
        let id = first[first.len() - 1].id;
        if !first.iter().map(|entry| &entry.message).eq(&posted.messages) {
            drop(state);
            exchange.reply(another_write(id));
            return;
        }
        let dialect = posted.dialect;
        let wanted = state.copies_wanted(posted.wishes.copies.unwrap_or(self.settings.write_concern));
        if let Some(writer) = state.writers.get_mut(&id) {
            writer.followers.push(Follower { exchange, dialect, wanted });
        } else if id <= state.noted.decided {
            let state = self.wait_for_reports(state, id, wanted);
            let reply = self.known_commit(&state, first, wanted, dialect);
            drop(state);
            exchange.reply_aside(replayed(reply));
        } else if let Some(reason) = state.halted.clone() {
            drop(state);
            exchange.reply(unknown(WriteIds::new(dialect, first[0].id, id), &reason));
        } else {
            // In doubt since a restart: nobody else waits here. It is never refused, but may take long.
            let now = Instant::now();
            let patience = posted.wishes.timeout.unwrap_or_default().max(self.settings.replication_timeout);
            let writer = Writer::new(exchange, dialect, first.clone(), wanted, now, Some(now + patience));
            let writer = Writer { is_repeat: true, ..writer };
            state.writers.insert(id, writer);
            if state.set_deadline(now + patience, id) {
                self.sooner.notify_one();
            }
        }
    }

    /// Answers `GET /writes/KEY`.
    pub(super) fn known_write(&self, key: &str) -> Reply {
        let state = self.lock();
        let Some((first, id)) = state.keys.find(key) else {
            let sentence = format!("no message has this key, as far as the latest {} keys go", self.settings.keys_max);
            return Reply::not_found(&sentence);
        };
        let ids = WriteIds::new(if first == id { Dialect::Message } else { Dialect::Batch }, first, id);
        let known = |outcome, timestamp| Reply::json(200, &KnownWrite { key, outcome, ids, timestamp });
        if id > state.noted.decided {
            return known(Fate::Pending, None);
        }
        drop(state);
        match self.store.get(id) {
            Ok(Some(Slot::Entry(entry))) => known(Fate::Committed, Some(rfc3339(entry.timestamp_ms))),
            Ok(_) => Reply::not_found("the message with this key was refused"),
            Err(error) => Reply::no_answer(500, &format!("message {id} cannot be read: {error}")),
        }
    }

    /// The answer to a post whose message was committed before: it is on as many nodes as it asks for, or not, as far as
    /// is known now.
    fn known_commit(&self, state: &State, entries: &Entries, wanted: usize, dialect: Dialect) -> Reply {
        let (first, last) = (&entries[0], entries[entries.len() - 1].id);
        let ids = WriteIds::new(dialect, first.id, last);
        let (code, status) = if state.is_short_of(last, wanted) { (202, "short") } else { (201, "success") };
        if dialect == Dialect::Msg {
            let log = reading::whole_log_as_text(code, &self.store, &self.snapshot_of(state));
            return log.with_header("Location", ids.location());
        }
        let committed = Committed {
            status,
            ids,
            replicated_to: state.copies_of(last),
            w: wanted,
            timestamp: Timestamp(first.timestamp_ms),
            ms: 0,
            stored_ms: None,
            slowest: None,
            acks: Vec::new(),
        };
        Reply::json(code, &committed).with_header("Location", ids.location())
    }

    /// Tells a writer whose patience ended before a message in doubt had its fate, or all of its copies.
    pub(super) fn leave_in_doubt(&self, id: Id) {
        let mut state = self.lock();
        if !state.ledger.is_in_doubt(id) {
            return;
        }
        let Some(writer) = state.writers.remove(&id) else { return };
        if id > state.noted.decided {
            drop(state);
            self.answer_unknown([(id, writer)].into(), "it waits for secondaries since this master was started");
            return;
        }
        let Writer { exchange, dialect, entries, wanted, followers, .. } = writer;
        let is_short = state.is_short_of(id, wanted);
        let waiting = [Follower { exchange, dialect, wanted }].into_iter().chain(followers);
        let reply =
            |Follower { exchange, dialect, wanted }| (exchange, self.known_commit(&state, &entries, wanted, dialect));
        let answers: Vec<(Exchange, Reply)> = waiting.map(reply).collect();
        drop(state);
        self.metrics.write_ended(if is_short { WriteOutcome::Short } else { WriteOutcome::Committed });
        for (exchange, reply) in answers {
            exchange.reply_aside(replayed(reply));
        }
    }

    /// After a start, the master does not know what a secondary holds before that has reported: a repeat waits a moment for
    /// that, or would be told that there are fewer copies than the first post was.
    fn wait_for_reports<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        last: Id,
        wanted: usize,
    ) -> MutexGuard<'a, State> {
        let deadline = Instant::now() + REPORTS_PATIENCE;
        let has_reported = |view: MemberView| view.incarnation.is_some();
        while state.goes_on()
            && state.is_short_of(last, wanted)
            && !state.ledger.members().all(has_reported)
            && Instant::now() < deadline
        {
            drop(state);
            thread::sleep(REPORTS_PAUSE);
            state = self.lock();
        }
        state
    }
}

/// Marks an answer that an earlier post got, or gets, too.
pub(super) fn replayed(reply: Reply) -> Reply {
    reply.with_header("Idempotent-Replayed", "true")
}

impl State {
    /// The first post with a key, if there was one.
    pub(super) fn first_with(&self, key: &str) -> Option<First> {
        let (first, last) = self.keys.find(key)?;
        let waits = |writer: &Writer| First::Waits(writer.entries.clone());
        Some(self.writers.get(&last).map_or(First::Stored { first, last }, waits))
    }
}

/// Reads a key.
///
/// # Errors
/// If it is empty, too long, or has characters that a path cannot have.
pub(super) fn parse_key(text: &str) -> Result<Arc<str>, String> {
    const CHARACTERS_MAX: usize = 128;
    let key = text.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(text);
    let usable = (1..=CHARACTERS_MAX).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte));
    if usable {
        return Ok(key.into());
    }
    Err(format!(
        "\"{}\" is no idempotency key: it must have 1 to {CHARACTERS_MAX} letters, digits, or any of - . _ ~ :",
        text.escape_debug()
    ))
}
