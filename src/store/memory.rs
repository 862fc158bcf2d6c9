//! A store in memory, which ends with its process.

use super::{Identity, ReadLimit, Store, StoreError, Trouble, check_order, weight};
use crate::protocol::{Base, CopyId, Entry, Id, KeyedWrite, Slot, SlotRef, Watermark};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A log in memory. For it, "durable" means: held by this process.
#[derive(Debug, Default)]
pub struct Memory {
    copy: CopyId,
    log: RwLock<Log>,
}

#[derive(Debug, Default)]
struct Log {
    base: Base,
    /// The first slot holds the id after the base.
    slots: VecDeque<Slot>,
    refused: BTreeSet<Id>,
    identity: Option<Identity>,
    watermark: Watermark,
}

impl Log {
    fn last(&self) -> Id {
        self.base.id.plus(self.slots.len() as u64)
    }

    fn index(&self, id: Id) -> Result<usize, StoreError> {
        usize::try_from(id.since(self.base.id))
            .ok()
            .and_then(|place| place.checked_sub(1))
            .filter(|&index| index < self.slots.len())
            .ok_or_else(|| StoreError::new(format!("id {id} is not held; the log ends at {}", self.last())))
    }
}

impl Memory {
    /// An empty log with this copy id.
    #[must_use]
    pub fn new(copy: CopyId) -> Memory {
        Memory { copy, log: RwLock::default() }
    }

    fn read_log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_log(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn append(&self, slots: &[Slot]) -> Result<(), StoreError> {
        let mut log = self.write_log();
        check_order(log.last(), slots)?;
        log.refused.extend(slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id));
        log.slots.extend(slots.iter().cloned());
        Ok(())
    }

    fn refuse(&self, ids: &[Id]) -> Result<(), StoreError> {
        let mut log = self.write_log();
        let indices = ids.iter().map(|&id| log.index(id)).collect::<Result<Vec<_>, _>>()?;
        for (index, &id) in indices.into_iter().zip(ids) {
            log.slots[index] = Slot::Refused(id);
            log.refused.insert(id);
        }
        Ok(())
    }

    fn restore(&self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let mut log = self.write_log();
        let indices = entries.iter().map(|entry| log.index(entry.id)).collect::<Result<Vec<_>, _>>()?;
        for (index, entry) in indices.into_iter().zip(entries) {
            log.slots[index] = Slot::Entry(Arc::clone(entry));
            log.refused.remove(&entry.id);
        }
        Ok(())
    }

    fn drop_from(&self, id: Id) -> Result<(), StoreError> {
        let mut log = self.write_log();
        if let Ok(index) = log.index(id.max(Id::ZERO.next())) {
            log.slots.truncate(index);
            log.refused.split_off(&id);
        }
        Ok(())
    }

    fn trim(&self, base: Base) -> Result<(), StoreError> {
        let mut log = self.write_log();
        let dropped = usize::try_from(base.id.since(log.base.id)).unwrap_or(usize::MAX).min(log.slots.len());
        log.slots.drain(..dropped);
        log.refused = log.refused.split_off(&base.id.next());
        log.base = base;
        Ok(())
    }

    fn base(&self) -> Base {
        self.read_log().base
    }

    fn last(&self) -> Id {
        self.read_log().last()
    }

    fn visit(
        &self,
        after: Id,
        through: Id,
        limit: ReadLimit,
        each: &mut dyn FnMut(SlotRef<'_>),
    ) -> Result<(), StoreError> {
        let log = self.read_log();
        if after < log.base.id && after < through {
            return Err(StoreError::trimmed(after, log.base.id));
        }
        let through = through.min(log.last());
        let Ok(first) = log.index(after.next()) else { return Ok(()) };
        let held = log.slots.range(first..).take(usize::try_from(through.since(after)).unwrap_or(usize::MAX));
        let mut bytes = 0;
        for (index, slot) in held.take(limit.slots_max).map(SlotRef::from).enumerate() {
            bytes += weight(slot);
            if bytes > limit.bytes_max && index > 0 {
                break;
            }
            each(slot);
        }
        Ok(())
    }

    fn refused(&self, after: Id, through: Id) -> Result<Vec<Id>, StoreError> {
        if through <= after {
            return Ok(Vec::new());
        }
        let log = self.read_log();
        if after < log.base.id {
            return Err(StoreError::trimmed(after, log.base.id));
        }
        Ok(log.refused.range(after.next()..=through).copied().collect())
    }

    fn keyed_writes(&self, writes_max: usize) -> Result<Vec<KeyedWrite>, StoreError> {
        let log = self.read_log();
        let key = |slot: &Slot| match slot {
            Slot::Entry(entry) => entry.key.clone().map(|key| Ok((entry.id, key))),
            Slot::Refused(_) => None,
        };
        KeyedWrite::group(log.slots.iter().rev().filter_map(key), writes_max)
    }

    fn copy_id(&self) -> CopyId {
        self.copy
    }

    fn identity(&self) -> Result<Option<Identity>, StoreError> {
        Ok(self.read_log().identity.clone())
    }

    fn set_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        self.write_log().identity = Some(identity.clone());
        Ok(())
    }

    fn watermark(&self) -> Watermark {
        let log = self.read_log();
        log.watermark.not_before(log.base)
    }

    fn note_watermark(&self, watermark: Watermark) -> Result<(), StoreError> {
        self.write_log().watermark = watermark;
        Ok(())
    }

    fn trouble(&self) -> Option<Trouble> {
        None
    }

    fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Entry, Epoch, WritePart};
    use std::sync::Arc;

    fn entry(id: u64, message: &str) -> Slot {
        Slot::Entry(Arc::new(Entry {
            id: Id::new(id),
            epoch: Epoch::new(1),
            timestamp_ms: 0,
            message: message.into(),
            key: None,
            part: WritePart::WHOLE,
        }))
    }

    const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };

    #[test]
    fn slots_follow_each_other() {
        let log = Memory::new(CopyId::default());
        log.append(&[entry(1, "a"), entry(2, "b")]).unwrap();
        assert!(log.append(&[entry(4, "d")]).unwrap_err().to_string().contains("where 3 was due"));
        assert_eq!(log.last(), Id::new(2), "nothing of a refused append is kept");
    }

    #[test]
    fn reads_stop_at_each_limit_but_never_give_nothing() {
        let log = Memory::new(CopyId::default());
        log.append(&[entry(1, "aaaa"), entry(2, "bbbb"), entry(3, "cccc")]).unwrap();
        let ids = |limit, after, through| {
            let slots = log.read(Id::new(after), Id::new(through), limit).unwrap();
            slots.iter().map(|slot| slot.id().get()).collect::<Vec<_>>()
        };
        assert_eq!(ids(ALL, 0, 9), [1, 2, 3]);
        assert_eq!(ids(ALL, 1, 2), [2]);
        assert_eq!(ids(ALL, 3, 9), [0; 0]);
        assert_eq!(ids(ReadLimit { slots_max: 2, ..ALL }, 0, 9), [1, 2]);
        assert_eq!(ids(ReadLimit { bytes_max: 8, ..ALL }, 0, 9), [1, 2]);
        assert_eq!(ids(ReadLimit { bytes_max: 1, ..ALL }, 0, 9), [1]);
    }

    #[test]
    fn refusals_are_remembered_and_dropped_with_their_slots() {
        let log = Memory::new(CopyId::default());
        log.append(&[entry(1, "a"), Slot::Refused(Id::new(2)), entry(3, "c")]).unwrap();
        log.refuse(&[Id::new(1)]).unwrap();
        assert_eq!(log.refused(Id::ZERO, Id::MAX).unwrap(), [Id::new(1), Id::new(2)]);
        assert_eq!(log.get(Id::new(1)).unwrap(), Some(Slot::Refused(Id::new(1))));
        log.drop_from(Id::new(2)).unwrap();
        assert_eq!((log.last(), log.refused(Id::ZERO, Id::MAX).unwrap()), (Id::new(1), vec![Id::new(1)]));
        assert!(log.refuse(&[Id::new(2)]).is_err());
    }
}
