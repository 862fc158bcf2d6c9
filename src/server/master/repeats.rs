//! Posts with an idempotency key: a message that is posted again is not written again.
//!
//! The key is kept in the entry, so it is as durable as the message. A post whose key is known gets the answer of the
//! first one: at once if that is committed, and otherwise together with it. After a refusal the key is free again.

use super::{Follower, Master, State, Writer};
use crate::replication::{Entry, Id, Slot};
use crate::server::http::{Exchange, Reply};
use crate::server::reading;
use crate::wire::client::{Committed, Dialect, Fate, KnownWrite, Posted};
use crate::wire::timestamp::rfc3339;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

/// What a post with a known key finds.
pub(super) enum First {
    /// The message waits for its fate or for copies, and its writer for an answer.
    Waits(Id, Arc<Entry>),
    /// Nobody waits here: the message is committed, or in doubt since a restart.
    Stored(Id),
}

impl Master {
    /// Answers a post whose key belongs to a message already.
    pub(super) fn repeat(&self, state: MutexGuard<'_, State>, first: First, exchange: Exchange, posted: &Posted) {
        match first {
            First::Waits(id, entry) => self.follow(state, id, &entry, exchange, posted),
            First::Stored(id) => {
                drop(state);
                self.repeat_from_store(id, exchange, posted);
            }
        }
    }

    fn repeat_from_store(&self, id: Id, exchange: Exchange, posted: &Posted) {
        match self.store.get(id) {
            Ok(Some(Slot::Entry(entry))) => self.follow(self.lock(), id, &entry, exchange, posted),
            Ok(_) => exchange.reply(Reply::overloaded("the first write with this key was just refused; try again")),
            Err(error) => exchange.reply(Reply::no_answer(500, &format!("message {id} cannot be read: {error}"))),
        }
    }

    /// Answers with what is known of a message, or when its fate is known.
    fn follow(
        &self,
        mut state: MutexGuard<'_, State>,
        id: Id,
        first: &Arc<Entry>,
        exchange: Exchange,
        posted: &Posted,
    ) {
        if first.message != posted.message {
            drop(state);
            let sentence = format!("this idempotency key belongs to message {id}, which is another one");
            exchange.reply(Reply::problem(422, &sentence));
            return;
        }
        let dialect = posted.dialect;
        if let Some(writer) = state.writers.get_mut(&id) {
            writer.followers.push(Follower { exchange, dialect });
        } else if id <= state.ledger.decided() {
            let reply = self.known_commit(&state, first, dialect);
            drop(state);
            exchange.reply_aside(replayed(reply));
        } else if let Some(reason) = state.halted.clone() {
            drop(state);
            exchange.reply(super::intake::unknown(id, &reason));
        } else {
            // In doubt since a restart: nobody else waits here. It is never refused, but may take long.
            let now = Instant::now();
            let patience = posted.wishes.timeout.unwrap_or_default().max(self.settings.replication_timeout);
            let wanted = state.ledger.nodes();
            let writer = Writer::new(exchange, dialect, Arc::clone(first), wanted, now, Some(now + patience));
            let writer = Writer { is_repeat: true, ..writer };
            state.writers.insert(id, writer);
            if state.set_deadline(now + patience, id) {
                self.sooner.notify_one();
            }
        }
    }

    /// Answers `GET /writes/KEY`.
    pub(super) fn known_write(&self, key: &str) -> Reply {
        let known = |outcome, id: Id, timestamp| {
            Reply::json(200, &KnownWrite { key, outcome, message_id: id.get(), timestamp })
        };
        let state = self.lock();
        let Some(id) = state.keys.find(key) else {
            let sentence = format!("no message has this key, as far as the latest {} keys go", self.settings.keys_max);
            return Reply::not_found(&sentence);
        };
        if id > state.ledger.decided() {
            return known(Fate::Pending, id, None);
        }
        drop(state);
        match self.store.get(id) {
            Ok(Some(Slot::Entry(entry))) => known(Fate::Committed, id, Some(rfc3339(entry.timestamp_ms))),
            Ok(_) => Reply::not_found("the message with this key was refused"),
            Err(error) => Reply::no_answer(500, &format!("message {id} cannot be read: {error}")),
        }
    }

    /// The answer to a post whose message was committed before.
    fn known_commit(&self, state: &State, entry: &Entry, dialect: Dialect) -> Reply {
        if dialect == Dialect::Msg {
            return reading::whole_log_as_text(201, &self.store, &self.snapshot_of(state)).with_location(entry.id);
        }
        let replicated_to = state.ledger.members().filter(|view| view.durable >= entry.id).count();
        let committed = Committed {
            status: "success",
            message_id: entry.id.get(),
            replicated_to,
            w: replicated_to + 1,
            timestamp: rfc3339(entry.timestamp_ms),
            ms: 0,
            acks: Vec::new(),
        };
        Reply::json(201, &committed).with_location(entry.id)
    }

    /// Tells a writer whose patience ended before a message in doubt had its fate.
    pub(super) fn leave_in_doubt(&self, id: Id) {
        let mut state = self.lock();
        if state.ledger.is_in_doubt(id)
            && let Some(writer) = state.writers.remove(&id)
        {
            drop(state);
            super::intake::answer_unknown(
                [(id, writer)].into(),
                "it waits for secondaries since this master was started",
            );
        }
    }
}

/// Marks an answer that an earlier post got, or gets, too.
pub(super) fn replayed(reply: Reply) -> Reply {
    reply.with_header("Idempotent-Replayed", "true")
}

impl State {
    /// The first post with a key, if there was one.
    pub(super) fn first_with(&self, key: &str) -> Option<First> {
        let id = self.keys.find(key)?;
        let waits = |writer: &Writer| First::Waits(id, Arc::clone(&writer.entry));
        Some(self.writers.get(&id).map_or(First::Stored(id), waits))
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
