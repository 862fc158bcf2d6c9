//! Idempotency keys: which write has which key.

use crate::protocol::Id;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A write with an idempotency key. Each of its messages carries the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyedWrite {
    /// The id of its first message.
    pub first: Id,
    /// The id of its last message.
    pub last: Id,
    /// Its key.
    pub key: Arc<str>,
}

impl KeyedWrite {
    /// Groups messages by their write, up to `writes_max` writes. Messages and writes come the latest first.
    ///
    /// Two writes that follow each other never have the same key: the first would have been known.
    ///
    /// # Errors
    /// The first error among the messages.
    pub fn group<E>(
        messages: impl IntoIterator<Item = Result<(Id, Arc<str>), E>>,
        writes_max: usize,
    ) -> Result<Vec<KeyedWrite>, E> {
        let mut writes: Vec<KeyedWrite> = Vec::new();
        for message in messages {
            let (id, key) = message?;
            if let Some(write) = writes.last_mut().filter(|write| write.key == key && write.first == id.next()) {
                write.first = id;
            } else if writes.len() == writes_max {
                break;
            } else {
                writes.push(KeyedWrite { first: id, last: id, key });
            }
        }
        Ok(writes)
    }
}

/// The latest keys of a log and the ids of their messages.
///
/// Bounded: beyond its maximum it forgets the key with the lowest id. A message that is posted again under a forgotten
/// key is appended again.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IdempotencyKeys {
    /// First and last id of the write with a key.
    ids: BTreeMap<Arc<str>, (Id, Id)>,
    /// The key of the write with a last id.
    keys: BTreeMap<Id, Arc<str>>,
    keys_max: usize,
}

impl IdempotencyKeys {
    /// Remembers `keys_max` keys at most.
    #[must_use]
    pub fn new(keys_max: usize) -> IdempotencyKeys {
        IdempotencyKeys { ids: BTreeMap::new(), keys: BTreeMap::new(), keys_max }
    }

    /// The ids of the first and the last message of the write with this key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<(Id, Id)> {
        self.ids.get(key).copied()
    }

    /// A write with a key was appended.
    pub fn remember(&mut self, write: KeyedWrite) {
        let KeyedWrite { first, last, key } = write;
        if let Some((_, before)) = self.ids.insert(Arc::clone(&key), (first, last)) {
            self.keys.remove(&before);
        }
        self.keys.insert(last, key);
        while self.keys.len() > self.keys_max {
            if let Some((_, oldest)) = self.keys.pop_first() {
                self.ids.remove(&oldest);
            }
        }
    }

    /// The writes up to this id are trimmed.
    pub fn forget_through(&mut self, id: Id) {
        let kept = self.keys.split_off(&id.next());
        for (_, key) in std::mem::replace(&mut self.keys, kept) {
            self.ids.remove(&key);
        }
    }

    /// The write whose last message has this id was refused: its key may be used again.
    pub fn forget(&mut self, last: Id) {
        if let Some(key) = self.keys.remove(&last) {
            self.ids.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(first: u64, last: u64, key: &str) -> KeyedWrite {
        KeyedWrite { first: Id::new(first), last: Id::new(last), key: key.into() }
    }

    #[test]
    fn the_latest_keys_are_known() {
        let ids = |first, last| Some((Id::new(first), Id::new(last)));
        let mut keys = IdempotencyKeys::new(2);
        keys.remember(write(1, 1, "a"));
        keys.remember(write(2, 4, "b"));
        assert_eq!(keys.find("a"), ids(1, 1));
        keys.remember(write(5, 5, "c"));
        assert_eq!((keys.find("a"), keys.find("b"), keys.find("c")), (None, ids(2, 4), ids(5, 5)));
        keys.forget(Id::new(4));
        assert_eq!(keys.find("b"), None);
        keys.remember(write(6, 6, "b"));
        assert_eq!(keys.find("b"), ids(6, 6));
        keys.forget(Id::new(9));
        keys.forget_through(Id::new(4));
        assert_eq!((keys.ids.len(), keys.keys.len()), (2, 2));
    }

    #[test]
    fn messages_of_one_write_are_found_together() {
        let messages = [(9, "c"), (8, "b"), (7, "b"), (5, "b"), (4, "a"), (3, "a")];
        let group = |writes_max| {
            let messages = messages.map(|(id, key)| Ok::<_, ()>((Id::new(id), Arc::from(key))));
            KeyedWrite::group(messages, writes_max).unwrap()
        };
        let all = [write(9, 9, "c"), write(7, 8, "b"), write(5, 5, "b"), write(3, 4, "a")];
        assert_eq!(group(9), all);
        assert_eq!(group(2), all[..2], "the oldest write is whole");
    }
}
