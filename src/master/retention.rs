//! How much of the log the settings keep, and how far it may therefore be trimmed.
//!
//! [`Retention`] says what is kept. A [`Horizon`] reads the log once, from its beginning, up to the first message that has
//! to stay, and remembers where it can be cut: at the end of a write, every thousand ids or so. With each place comes the
//! base that a log which is cut there begins with. So nothing is read twice, however long secondaries that are away hold
//! the trimming up.

use crate::protocol::{Base, Id, Slot};
use crate::store::{ReadLimit, Store, StoreError};
use std::collections::VecDeque;
use std::time::Duration;

/// What is read at a time.
const STEP: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };
/// Approximate bytes that a message takes on disk beside its text and key.
const SLOT_BYTES: u64 = 40;

/// What is kept of the log. A message goes as soon as one of these limits lets it go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Retention {
    /// How many messages.
    pub(crate) messages: Option<u64>,
    /// How many bytes of the database.
    pub(crate) bytes: Option<u64>,
    /// Since when.
    pub(crate) age: Option<Duration>,
    /// How much more, for secondaries that are away.
    pub(crate) for_absent: ForAbsent,
}

/// What is kept for secondaries that are away, beyond what is kept anyway. One that lacks more begins anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ForAbsent {
    /// So many bytes of messages.
    Bytes(u64),
    /// Messages that are younger than this.
    Younger(Duration),
}

impl Retention {
    /// Whether anything is trimmed by itself.
    pub(crate) fn is_limited(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some() || self.age.is_some()
    }
}

/// What there is, beside the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// The messages of the log so far, those included that are trimmed.
    pub(super) messages: u64,
    /// Bytes of the database that are used. `None` while slots that are trimmed still take some of them.
    pub(super) bytes: Option<u64>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(super) now_ms: u64,
}

/// A place where the log may be cut.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    base: Base,
    /// Bytes on disk that go, from the beginning of the log on.
    bytes: u64,
    /// When the last message that goes was written.
    timestamp_ms: u64,
}

/// How far the log may go, as far as that was read.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// The base of the log.
    begins: Cut,
    /// Where it may be cut, in order.
    cuts: VecDeque<Cut>,
}

impl Horizon {
    /// Reads on, up to a limit or to the first message that has to stay. Gives whether there is more to read.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(super) fn advance(
        &mut self,
        store: &dyn Store,
        limit: Id,
        retention: &Retention,
        present: &Present,
    ) -> Result<bool, StoreError> {
        if store.base().id > self.begins.base.id {
            self.trimmed(store.base());
        }
        let mut reached = self.cuts.back().copied().unwrap_or(self.begins);
        let mut cut = None;
        // A write of more messages than a step is read as a whole.
        while cut.is_none() && reached.base.id < limit {
            let slots = store.read(reached.base.id, limit, STEP)?;
            if slots.is_empty() {
                return Ok(false);
            }
            for slot in &slots {
                reached.add(slot);
                if !retention.lets_go(&reached, reached.bytes - self.begins.bytes, present) {
                    self.cuts.extend(cut);
                    return Ok(false);
                }
                if slot.ends_a_write() {
                    cut = Some(reached);
                }
            }
        }
        self.cuts.extend(cut);
        Ok(cut.is_some())
    }

    /// The id up to which the log may be trimmed although secondaries that are away lack some of it.
    pub(super) fn regardless(&self, retention: &Retention, present: &Present) -> Id {
        let Some(last) = self.cuts.back() else { return self.begins.base.id };
        let is_lapsed = |cut: &&Cut| match retention.for_absent {
            ForAbsent::Bytes(bytes) => last.bytes - cut.bytes >= bytes,
            ForAbsent::Younger(age) => is_older(cut.timestamp_ms, age, present),
        };
        self.cuts.iter().rev().find(is_lapsed).map_or(self.begins.base.id, |cut| cut.base.id)
    }

    /// The end of what may go.
    pub(super) fn end(&self) -> Id {
        self.cuts.back().map_or(self.begins.base.id, |cut| cut.base.id)
    }

    /// Bytes on disk that may go and have not gone, approximately.
    pub(super) fn bytes(&self) -> u64 {
        self.cuts.back().map_or(0, |cut| cut.bytes - self.begins.bytes)
    }

    /// The base of the last cut up to this id; `None` if the log cannot be cut there.
    pub(super) fn base_up_to(&self, id: Id) -> Option<Base> {
        self.cuts.iter().rev().find(|cut| cut.base.id <= id).map(|cut| cut.base)
    }

    /// The log begins with this base from now on.
    pub(super) fn trimmed(&mut self, base: Base) {
        let passed = self.cuts.partition_point(|cut| cut.base.id <= base.id);
        let last = self.cuts.drain(..passed).next_back().filter(|cut| cut.base == base);
        match last {
            Some(cut) => self.begins = cut,
            // It was trimmed by hand, somewhere in between.
            None => *self = Horizon { begins: Cut { base, ..Cut::default() }, cuts: VecDeque::new() },
        }
    }
}

impl Cut {
    fn add(&mut self, slot: &Slot) {
        self.base.extend(slot);
        self.bytes += SLOT_BYTES;
        if let Slot::Entry(entry) = slot {
            self.bytes += (entry.message.len() + entry.key.as_ref().map_or(0, |key| key.len())) as u64;
            self.timestamp_ms = entry.timestamp_ms;
        }
    }
}

impl Retention {
    /// Whether everything up to here may go, which is so many bytes of what is held.
    fn lets_go(&self, reached: &Cut, bytes: u64, present: &Present) -> bool {
        let left = reached.base.left_of(present.messages);
        self.messages.is_some_and(|kept| left >= kept)
            || self.bytes.is_some_and(|kept| present.bytes.is_some_and(|used| used.saturating_sub(bytes) >= kept))
            || self.age.is_some_and(|age| is_older(reached.timestamp_ms, age, present))
    }
}

fn is_older(timestamp_ms: u64, age: Duration, present: &Present) -> bool {
    let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    timestamp_ms < present.now_ms.saturating_sub(age_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CopyId, Entry, Epoch, WritePart};
    use crate::store::Memory;
    use std::sync::Arc;

    /// Everything is kept.
    const NONE: Retention =
        Retention { messages: None, bytes: None, age: None, for_absent: ForAbsent::Bytes(u64::MAX) };

    /// A log whose messages were written a second apart, two in each write; every tenth id is refused.
    fn log(ids: u64) -> Memory {
        let store = Memory::new(CopyId::default());
        let slot = |id: u64| match id % 10 {
            0 => Slot::Refused(Id::new(id)),
            _ => Slot::Entry(Arc::new(Entry {
                id: Id::new(id),
                epoch: Epoch::new(1),
                timestamp_ms: 1_000 * id,
                message: "0123456789".into(),
                key: None,
                part: if id % 10 == 9 { WritePart::WHOLE } else { WritePart { index: (id as u32 + 1) % 2, of: 2 } },
            })),
        };
        store.append(&(1..=ids).map(slot).collect::<Vec<_>>()).unwrap();
        store
    }

    fn present(store: &Memory) -> Present {
        let messages = store.last().get() * 9 / 10;
        Present { messages, bytes: Some(50 * store.last().get()), now_ms: 1_000 * store.last().get() }
    }

    fn end(store: &Memory, retention: Retention) -> (Horizon, u64) {
        let mut horizon = Horizon::default();
        while horizon.advance(store, store.last(), &retention, &present(store)).unwrap() {}
        let end = horizon.end().get();
        (horizon, end)
    }

    #[test]
    fn each_limit_lets_go_what_is_beyond_it() {
        let store = log(5_000);
        let none = NONE;
        assert_eq!(end(&store, none).1, 0);
        assert_eq!(end(&store, Retention { messages: Some(900), ..none }).1, 4_000);
        assert_eq!(end(&store, Retention { messages: Some(899), ..none }).1, 4_000, "a write goes as a whole");
        assert_eq!(end(&store, Retention { messages: Some(898), ..none }).1, 4_002);
        assert_eq!(end(&store, Retention { age: Some(Duration::from_secs(1_000)), ..none }).1, 4_000);
        assert_eq!(end(&store, Retention { messages: Some(900), age: Some(Duration::ZERO), ..none }).1, 5_000);
        assert!((4_000..4_100).contains(&end(&store, Retention { bytes: Some(50_000), ..none }).1));
    }

    #[test]
    fn what_is_read_is_remembered_with_its_base() {
        let store = log(5_000);
        let retention = Retention { messages: Some(900), for_absent: ForAbsent::Bytes(60_000), ..NONE };
        let (mut horizon, _) = end(&store, retention);
        let base = horizon.base_up_to(Id::new(2_500)).unwrap();
        assert_eq!(base, crate::store::base_at(&store, base.id).unwrap());
        assert!(base.id > Id::new(1_500) && base.id <= Id::new(2_500), "{base:?}");
        let lapsed = horizon.regardless(&retention, &present(&store)).get();
        assert!((1_500..=3_000).contains(&lapsed), "60,000 bytes are some 1,200 messages before 4,000: {lapsed}");
        store.trim(base).unwrap();
        horizon.trimmed(base);
        assert_eq!(horizon.base_up_to(base.id), None);
        assert_eq!(horizon.end(), Id::new(4_000));
        let by_hand = crate::store::base_at(&store, Id::new(2_998)).unwrap();
        store.trim(by_hand).unwrap();
        while horizon.advance(&store, store.last(), &retention, &present(&store)).unwrap() {}
        assert_eq!(horizon.end(), Id::new(4_000), "it reads on from where the log was cut by hand");
    }
}
