//! Posts with an idempotency key: a message that is posted again is not written again.
//!
//! The key is kept in the entry, so it is as durable as the message. A post whose key is known gets the answer of the
//! first one: at once if that is committed, and otherwise together with it. After a refusal the key is free again. The
//! leader knows which key belongs to which ids, and this file compares a repeated post with what the store holds there.

use super::effects::Context;
use super::replies::unknown;
use super::shared::Master;
use super::state::Client;
use crate::http::Reply;
use crate::protocol::{Entry, Event, Id, Slot, Ticket, WriteConcern};
use crate::store::{ReadLimit, StoreError};
use crate::wire::client::{Dialect, KnownOutcome, KnownWrite, WriteIds};
use crate::wire::timestamp::rfc3339;
use std::sync::Arc;
use std::time::Duration;

/// What the store holds of a write.
enum StoredWrite {
    Whole(Vec<Arc<Entry>>),
    /// It is longer than what was posted, or shorter.
    Another,
    Refused,
    /// The master's disk does not hold it yet, or failed before. Secondaries may hold it, so it may still be committed.
    NotYet,
}

/// The reply to a post whose key belongs to another write.
pub(super) fn another_write(last: Id) -> Reply {
    Reply::problem(422, &format!("this idempotency key belongs to message {last}, which is another one"))
}

impl Master {
    /// Answers a post whose key belongs to a write that the store holds.
    pub(super) fn repeat_from_store(
        &self,
        (first, last): (Id, Id),
        ticket: Ticket,
        client: Client,
        messages: &[Arc<str>],
        concern: WriteConcern,
        timeout: Duration,
    ) {
        let entries = match self.stored_write(first, last, messages) {
            Ok(StoredWrite::Whole(entries)) => entries,
            Ok(StoredWrite::Another) => return client.exchange.reply(another_write(last)),
            Ok(StoredWrite::Refused) => {
                let why = "the first write with this key was just refused; try again";
                return client.exchange.reply(Reply::overloaded(why));
            }
            Ok(StoredWrite::NotYet) => {
                let ids = WriteIds::new(client.dialect, first, last);
                let why = "the first write with this key is not on this master's disk yet, or never will be";
                return client.exchange.reply(unknown(ids, why));
            }
            Err(error) if error.is_trimmed() => {
                let why = format!("the first write with this key was just trimmed ({error}); try again");
                return client.exchange.reply(Reply::overloaded(&why));
            }
            Err(error) => {
                let why = format!("message {last} cannot be read: {error}");
                return client.exchange.reply(Reply::no_answer(500, &why));
            }
        };
        if !entries.iter().map(|entry| &entry.message).eq(messages) {
            return client.exchange.reply(another_write(last));
        }
        let client = Client { timestamp_ms: entries[0].timestamp_ms, ..client };
        let mut state = self.lock();
        state.clients.insert(ticket, client);
        let ready = state.leader.step(self.now(), Event::Repeated { ticket, last, concern, timeout });
        let effects = self.finish_step(state, ready, Context::default());
        self.perform(effects);
    }

    /// Reads a write, but no more of it than what was posted has: a longer one is another.
    fn stored_write(&self, first: Id, last: Id, messages: &[Arc<str>]) -> Result<StoredWrite, StoreError> {
        let bytes_max = messages.iter().map(|message| message.len()).sum();
        if last.since(first.previous()) != messages.len() as u64 {
            return Ok(StoredWrite::Another);
        }
        if self.store.last() < last {
            return Ok(StoredWrite::NotYet);
        }
        let slots = self.store.read(first.previous(), last, ReadLimit { slots_max: usize::MAX, bytes_max })?;
        if slots.last().is_none_or(|slot| slot.id() < last) {
            return Ok(StoredWrite::Another);
        }
        let entries: Option<Vec<_>> = slots.into_iter().map(Slot::into_entry).collect();
        Ok(entries.map_or(StoredWrite::Refused, StoredWrite::Whole))
    }

    /// Answers `GET /writes/KEY`.
    pub(super) fn known_write(self: &Arc<Master>, key: &str) -> Reply {
        let state = self.lock();
        let Some((first, id)) = state.leader.keyed(key) else {
            drop(state);
            // Another node may lead that has it.
            if let Err(why) = self.confirm() {
                return Reply::overloaded(&why);
            }
            let sentence = format!("no message has this key, as far as the latest {} keys go", self.settings.keys_max);
            return Reply::not_found(&sentence);
        };
        let ids = WriteIds::new(if first == id { Dialect::Message } else { Dialect::Batch }, first, id);
        let known = |outcome, timestamp| Reply::json(200, &KnownWrite { key, outcome, ids, timestamp });
        if id > state.leader.shown().decided {
            return known(KnownOutcome::Pending, None);
        }
        drop(state);
        match self.store.get(id) {
            Ok(Some(Slot::Entry(entry))) => known(KnownOutcome::Committed, Some(rfc3339(entry.timestamp_ms))),
            Ok(_) => Reply::not_found("the message with this key was refused"),
            Err(error) if error.is_trimmed() => Reply::not_found("the message with this key is trimmed"),
            Err(error) => Reply::no_answer(500, &format!("message {id} cannot be read: {error}")),
        }
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
