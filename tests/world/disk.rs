//! A disk with a store on it, through crashes.

use super::Node;
use replicated_log::protocol::{Base, CopyId, Entry, Id, KeyedWrite, Slot, SlotRef, Watermark};
use replicated_log::store::{Identity, ReadLimit, Store, StoreError, Trouble};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) const EVERYTHING: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };

/// The result of a write to a disk.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum IoResult {
    Good,
    /// There is no room for messages; for refusals there is.
    NoRoom,
    /// The write failed, and the store takes no more of them.
    Failed,
}

/// What a disk keeps when its process ends without a warning.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum CrashKind {
    /// The process was killed: everything that it handed to the system is there.
    Killed,
    /// The power failed, and unsynced data is gone: this many notes of the high watermark, and nothing else.
    PowerLost { notes: usize },
    /// The disk is gone.
    DiskLost,
}

/// How a process ends without a warning.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Crash {
    pub(crate) kind: CrashKind,
    /// The oldest round that the master was writing is on its disk, though the process never learned that.
    pub(crate) round_is_written: bool,
    /// The refusals that the master was writing are on its disk.
    pub(crate) refusals_are_written: bool,
}

impl Crash {
    pub(crate) const KILLED: Crash = Crash::of(CrashKind::Killed);

    /// A crash that leaves nothing of what the process was writing.
    pub(crate) const fn of(kind: CrashKind) -> Crash {
        Crash { kind, round_is_written: false, refusals_are_written: false }
    }
}

/// A disk, and the store on it.
pub(crate) trait SimulatedDisk: fmt::Debug + Sized {
    /// The store, while a process has it open.
    fn store(&self) -> &dyn Store;

    /// Its process ends.
    fn crash(&mut self, kind: CrashKind);

    /// A process begins on it.
    ///
    /// # Errors
    /// If the store finds itself damaged.
    fn open(&mut self) -> Result<(), String>;
}

/// A disk in memory: a list of slots. A copy shares the list until one of the two is written.
#[derive(Debug, Default)]
pub(crate) struct Slate {
    copy: CopyId,
    contents: RwLock<Arc<Contents>>,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Contents {
    base: Base,
    /// The first slot is the one after the base.
    slots: Vec<Slot>,
    identity: Option<Identity>,
    watermark: Watermark,
}

impl Slate {
    /// An empty disk for a node, as a copy of its own.
    pub(crate) fn of(node: Node) -> Slate {
        Slate::new(1 + node.0 as u64)
    }

    /// Which copy of a log it holds.
    pub(crate) fn copy_id(&self) -> CopyId {
        self.copy
    }

    /// A disk that is lost is replaced by one whose copy has a number that is so much higher.
    pub(super) const COPIES: u64 = 1_000;

    fn new(copy: u64) -> Slate {
        Slate { copy: CopyId::new(copy), contents: RwLock::default() }
    }

    fn contents(&self) -> Arc<Contents> {
        Arc::clone(&self.contents.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(Arc::make_mut(&mut self.contents.write().unwrap_or_else(PoisonError::into_inner)));
    }
}

impl SimulatedDisk for Slate {
    fn store(&self) -> &dyn Store {
        self
    }

    /// A power loss may take every note of the high watermark.
    fn crash(&mut self, kind: CrashKind) {
        match kind {
            CrashKind::Killed => {}
            CrashKind::PowerLost { .. } => self.change(|contents| contents.watermark = Watermark::default()),
            CrashKind::DiskLost => *self = Slate::new(self.copy.bits() + Slate::COPIES),
        }
    }

    fn open(&mut self) -> Result<(), String> {
        Ok(())
    }
}

impl Store for Slate {
    fn append(&self, slots: &[Slot]) -> Result<(), StoreError> {
        let follow = slots.iter().zip(self.last().get() + 1..).all(|(slot, id)| slot.id().get() == id);
        assert!(follow, "{slots:?} after {}", self.last());
        self.change(|contents| contents.slots.extend_from_slice(slots));
        Ok(())
    }

    fn refuse(&self, ids: &[Id]) -> Result<(), StoreError> {
        self.change(|contents| ids.iter().for_each(|&id| contents.refuse(id)));
        Ok(())
    }

    fn restore(&self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        self.change(|contents| {
            entries.iter().for_each(|entry| {
                let place = contents.place(entry.id);
                contents.slots[place] = Slot::Entry(Arc::clone(entry));
            });
        });
        Ok(())
    }

    fn drop_from(&self, id: Id) -> Result<(), StoreError> {
        self.change(|contents| contents.slots.truncate(contents.place(id)));
        Ok(())
    }

    fn trim(&self, base: Base) -> Result<(), StoreError> {
        self.change(|contents| {
            let dropped = contents.place(base.id.next()).min(contents.slots.len());
            contents.slots.drain(..dropped);
            contents.base = base;
        });
        Ok(())
    }

    fn base(&self) -> Base {
        self.contents().base
    }

    fn last(&self) -> Id {
        let contents = self.contents();
        contents.base.id.plus(contents.slots.len() as u64)
    }

    fn visit(
        &self,
        after: Id,
        through: Id,
        limit: ReadLimit,
        each: &mut dyn FnMut(SlotRef<'_>),
    ) -> Result<(), StoreError> {
        let contents = self.contents();
        contents.check_held(after, through)?;
        let slots = contents.slots.iter().filter(|slot| after < slot.id() && slot.id() <= through);
        slots.take(limit.slots_max).for_each(|slot| each(slot.into()));
        Ok(())
    }

    fn read(&self, after: Id, through: Id, limit: ReadLimit) -> Result<Vec<Slot>, StoreError> {
        let contents = self.contents();
        contents.check_held(after, through)?;
        let slots = contents.slots.iter().filter(|slot| after < slot.id() && slot.id() <= through);
        Ok(slots.take(limit.slots_max).cloned().collect())
    }

    fn refused(&self, after: Id, through: Id) -> Result<Vec<Id>, StoreError> {
        let is_refused = |slot: &Slot| matches!(slot, Slot::Refused(_)).then(|| slot.id());
        let contents = self.contents();
        contents.check_held(after, through)?;
        let refused = contents.slots.iter().filter_map(is_refused);
        Ok(refused.filter(|&id| after < id && id <= through).collect())
    }

    fn keyed_writes(&self, writes_max: usize) -> Result<Vec<KeyedWrite>, StoreError> {
        let key = |slot: &Slot| match slot {
            Slot::Entry(entry) => entry.key.clone().map(|key| Ok((entry.id, key))),
            Slot::Refused(_) => None,
        };
        KeyedWrite::group(self.contents().slots.iter().rev().filter_map(key), writes_max)
    }

    fn copy_id(&self) -> CopyId {
        self.copy
    }

    fn identity(&self) -> Result<Option<Identity>, StoreError> {
        Ok(self.contents().identity.clone())
    }

    fn set_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        self.change(|contents| contents.identity = Some(identity.clone()));
        Ok(())
    }

    fn watermark(&self) -> Watermark {
        let contents = self.contents();
        contents.watermark.not_before(contents.base)
    }

    fn note_watermark(&self, watermark: Watermark) -> Result<(), StoreError> {
        self.change(|contents| contents.watermark = watermark);
        Ok(())
    }

    fn trouble(&self) -> Option<Trouble> {
        None
    }

    fn close(&self) {}
}

impl Contents {
    fn place(&self, id: Id) -> usize {
        usize::try_from(id.previous().since(self.base.id)).unwrap_or(usize::MAX)
    }

    fn refuse(&mut self, id: Id) {
        let place = self.place(id);
        self.slots[place] = Slot::Refused(id);
    }

    fn check_held(&self, after: Id, through: Id) -> Result<(), StoreError> {
        let is_trimmed = after < self.base.id && after < through;
        if is_trimmed { Err(StoreError::trimmed(after, self.base.id)) } else { Ok(()) }
    }
}

impl Clone for Slate {
    fn clone(&self) -> Slate {
        Slate { copy: self.copy, contents: RwLock::new(self.contents()) }
    }
}

impl PartialEq for Slate {
    fn eq(&self, other: &Slate) -> bool {
        self.copy == other.copy && self.contents() == other.contents()
    }
}

impl Eq for Slate {}

impl Hash for Slate {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.copy.hash(hasher);
        self.contents().hash(hasher);
    }
}
