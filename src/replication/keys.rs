//! Idempotency keys: which write had which name.

use super::Id;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The latest keys of a log and the ids of their messages.
///
/// Bounded: when there are more than so many, the key with the lowest id is forgotten. A message that is posted again
/// under a forgotten key is written again.
#[derive(Debug)]
pub struct Keys {
    ids: BTreeMap<Arc<str>, Id>,
    keys: BTreeMap<Id, Arc<str>>,
    keys_max: usize,
}

impl Keys {
    /// Remembers at most so many keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Keys {
        Keys { ids: BTreeMap::new(), keys: BTreeMap::new(), keys_max }
    }

    /// The id of the message with this key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<Id> {
        self.ids.get(key).copied()
    }

    /// A message with this key was appended.
    pub fn remember(&mut self, key: Arc<str>, id: Id) {
        if let Some(before) = self.ids.insert(Arc::clone(&key), id) {
            self.keys.remove(&before);
        }
        self.keys.insert(id, key);
        while self.keys.len() > self.keys_max {
            if let Some((_, oldest)) = self.keys.pop_first() {
                self.ids.remove(&oldest);
            }
        }
    }

    /// The message with this id was refused: its key may be used again.
    pub fn forget(&mut self, id: Id) {
        if let Some(key) = self.keys.remove(&id) {
            self.ids.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_keys_are_known() {
        let mut keys = Keys::new(2);
        keys.remember("a".into(), Id::new(1));
        keys.remember("b".into(), Id::new(2));
        assert_eq!(keys.find("a"), Some(Id::new(1)));
        keys.remember("c".into(), Id::new(3));
        assert_eq!((keys.find("a"), keys.find("b"), keys.find("c")), (None, Some(Id::new(2)), Some(Id::new(3))));
        keys.forget(Id::new(2));
        assert_eq!(keys.find("b"), None);
        keys.remember("b".into(), Id::new(4));
        assert_eq!(keys.find("b"), Some(Id::new(4)));
        keys.forget(Id::new(9));
        assert_eq!((keys.ids.len(), keys.keys.len()), (2, 2));
    }
}
