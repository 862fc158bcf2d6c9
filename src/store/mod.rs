//! What a node keeps.
//!
//! A store holds one [`Slot`] per id, from the one after its [`Base`], without holes: a message, or the mark that the id
//! was refused. Of decisions it knows refusals only: the protocol's high watermark says what is visible. Beside the slots
//! it keeps what a node must know at its next start: the log's identity, the epochs, the watermark, the secondaries.
//!
//! [`Disk`] keeps all of it through kill -9 and power loss. [`Memory`] keeps it until its process ends.

mod effects;
mod memory;
mod sqlite;

pub use effects::carry_out;
pub use memory::Memory;
pub use sqlite::{CACHE_BYTES_DEFAULT, DirectoryLock, Disk, Examination, ReadLock};

use crate::protocol::{
    Base, Change, CopyId, Entry, Found, FoundLog, Id, KeyedWrite, Lineage, Roster, Slot, SlotRef, Watermark,
};
use std::fmt;
use std::sync::Arc;

/// Why a store operation failed.
#[derive(Debug)]
pub struct StoreError {
    sentence: String,
    kind: Kind,
}

/// What a failure means for what follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Failed,
    NoRoom,
    Trimmed,
}

impl StoreError {
    /// A failure, with a sentence that names what it concerns.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> StoreError {
        StoreError { sentence: sentence.into(), kind: Kind::Failed }
    }

    /// There was no room. The operation changed nothing, and may succeed later.
    #[must_use]
    pub fn no_room(sentence: impl Into<String>) -> StoreError {
        StoreError { sentence: sentence.into(), kind: Kind::NoRoom }
    }

    /// Whether there was no room. The store is sound then.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        self.kind == Kind::NoRoom
    }

    /// What was asked for, after this id, is trimmed.
    #[must_use]
    pub fn trimmed(after: Id, base: Id) -> StoreError {
        let sentence = format!("id {} is trimmed: the log begins with id {}", after.next(), base.next());
        StoreError { sentence, kind: Kind::Trimmed }
    }

    /// Whether what was asked for is trimmed. The store is sound then.
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        self.kind == Kind::Trimmed
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence)
    }
}

/// Why a store takes no messages, in a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// There is no room. The log can be read, and refusals can be written. Messages are stored again once there is
    /// room.
    NoRoom(String),
    /// A write failed, or damage was found. Nothing is written until the node is restarted.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoRoom(sentence) | Trouble::Failed(sentence) => formatter.write_str(sentence),
        }
    }
}

impl std::error::Error for StoreError {}

/// The limits of one read. It ends at the limit that it reaches first, but gives at least one slot.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Slots.
    pub slots_max: usize,
    /// Bytes of message text.
    pub bytes_max: usize,
}

/// How large the files of a store are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes of it that are free, and reused before the database grows.
    pub free: u64,
    /// Whether slots that are trimmed still take some of the rest.
    pub is_reclaiming: bool,
}

/// Which log a node holds, and what the node must know at its next start.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    /// The log, its epochs, and who votes on it.
    pub lineage: Lineage,
    /// On a master: its secondaries, in the order of registration.
    pub members: Vec<KnownMember>,
}

/// A secondary that a master knows.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KnownMember {
    /// Its address.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// Checks that slots follow the last one held.
fn check_order(last: Id, slots: &[Slot]) -> Result<(), StoreError> {
    let mut expected = last;
    for slot in slots {
        expected = expected.next();
        if slot.id() != expected {
            return Err(StoreError::new(format!("id {} was appended where {expected} was due", slot.id())));
        }
    }
    Ok(())
}

/// Bytes of a slot's message.
fn weight(slot: SlotRef<'_>) -> usize {
    match slot {
        SlotRef::Entry(entry) => entry.message.len(),
        SlotRef::Refused(_) => 0,
    }
}

/// The most that [`walk`] reads at a time.
const STEP: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 1 << 20 };

/// Visits the slots after `after` up to `through`, in order. Reading a slot checks it.
///
/// # Errors
/// If one cannot be read, or `visit` fails.
pub fn walk<E: From<StoreError>>(
    store: &dyn Store,
    mut after: Id,
    through: Id,
    mut visit: impl FnMut(Slot) -> Result<(), E>,
) -> Result<(), E> {
    while after < through {
        let slots = store.read(after, through, STEP)?;
        let Some(last) = slots.last().map(Slot::id) else { break };
        slots.into_iter().try_for_each(&mut visit)?;
        after = last;
    }
    Ok(())
}

/// The base of a log that is trimmed up to an id, which it holds. Reading a slot checks it.
///
/// # Errors
/// If a slot cannot be read.
pub fn base_at(store: &dyn Store, id: Id) -> Result<Base, StoreError> {
    let mut base = store.base();
    walk(store, base.id, id, |slot| {
        base.extend(&slot);
        Ok::<_, StoreError>(())
    })?;
    Ok(base)
}

/// The last id up to this one, and after the base, with which a write ends; the base if there is none.
///
/// # Errors
/// If a slot cannot be read.
pub fn end_of_writes(store: &dyn Store, through: Id) -> Result<Id, StoreError> {
    let (base, mut through) = (store.base().id, through);
    while through > base && store.get(through)?.is_some_and(|slot| !slot.ends_a_write()) {
        through = through.previous();
    }
    Ok(through)
}

/// A log of slots. Its methods may be called from any thread, but appends must not overlap.
pub trait Store: Send + Sync {
    /// Appends slots that follow the last one. They are durable when this returns. An append of refused ids only
    /// succeeds on a full disk, too.
    ///
    /// # Errors
    /// If they do not follow the last one, or cannot be made durable. Then none of them is appended.
    fn append(&self, slots: &[Slot]) -> Result<(), StoreError>;

    /// Marks ids as refused, durably.
    ///
    /// # Errors
    /// If an id is not held, or the mark cannot be kept.
    fn refuse(&self, ids: &[Id]) -> Result<(), StoreError>;

    /// Stores entries in place of refusals, durably.
    ///
    /// # Errors
    /// If an id is not held, or the entries cannot be kept.
    fn restore(&self, entries: &[Arc<Entry>]) -> Result<(), StoreError>;

    /// Drops every slot from this id on.
    ///
    /// # Errors
    /// If that cannot be made durable.
    fn drop_from(&self, id: Id) -> Result<(), StoreError>;

    /// Drops every slot from this id on, although some of them are decided: the high watermark is set back to this one. On
    /// disk, what is dropped is kept in a file first.
    ///
    /// # Errors
    /// If that cannot be made durable.
    fn put_aside(&self, from: Id, watermark: Watermark) -> Result<(), StoreError> {
        self.note_watermark(watermark)?;
        self.drop_from(from)
    }

    /// Drops every slot up to a base, durably. A log that ends before the base ends there from then on, and what it had
    /// decided less than that it has decided now. The space is reused later.
    ///
    /// # Errors
    /// If that cannot be made durable.
    fn trim(&self, base: Base) -> Result<(), StoreError>;

    /// What was trimmed.
    fn base(&self) -> Base;

    /// Makes a change that a master's call asks for, durably.
    ///
    /// # Errors
    /// As the method for that change.
    fn change(&self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::DropFrom(id) => self.drop_from(*id),
            Change::Append(slots) => self.append(slots),
            Change::Refuse(ids) => self.refuse(ids),
            Change::Restore(entries) => self.restore(entries),
            Change::Promise(candidacy) => {
                let known =
                    self.identity()?.ok_or_else(|| StoreError::new("a store without a log promised an epoch"))?;
                let lineage = Lineage { promised: Some(*candidacy), ..known.lineage };
                self.set_identity(&Identity { lineage, ..known })
            }
            Change::Enter(entered) => {
                let known = self.identity()?.map(|identity| identity.lineage);
                self.set_identity(&Identity { lineage: entered.lineage(known.as_ref()), members: Vec::new() })
            }
            Change::TakeRoster(roster) => self.take_roster(roster),
            Change::BeginAt(base) => self.trim(*base),
        }
    }

    /// Takes over a roster, durably.
    ///
    /// # Errors
    /// If the store belongs to no log, or the roster cannot be kept.
    fn take_roster(&self, roster: &Roster) -> Result<(), StoreError> {
        let known = self.identity()?.ok_or_else(|| StoreError::new("a store without a log was given a roster"))?;
        let lineage = Lineage { roster: roster.clone(), ..known.lineage };
        self.set_identity(&Identity { lineage, ..known })
    }

    /// The last id held.
    fn last(&self) -> Id;

    /// Visits the slots after `after` up to `through`, in order, as far as the limit goes. `each` must not block,
    /// because it may block the store.
    ///
    /// # Errors
    /// If some of them are trimmed, or they cannot be read. Some may have been visited before that.
    fn visit(
        &self,
        after: Id,
        through: Id,
        limit: ReadLimit,
        each: &mut dyn FnMut(SlotRef<'_>),
    ) -> Result<(), StoreError>;

    /// The slots after `after` up to `through`, in order, as far as the limit goes.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self, after: Id, through: Id, limit: ReadLimit) -> Result<Vec<Slot>, StoreError> {
        let mut slots = Vec::new();
        self.visit(after, through, limit, &mut |slot| slots.push(slot.to_slot()))?;
        Ok(slots)
    }

    /// The refused ids after `after` up to `through`, in order.
    ///
    /// # Errors
    /// If some of the ids are trimmed, or they cannot be read.
    fn refused(&self, after: Id, through: Id) -> Result<Vec<Id>, StoreError>;

    /// The slot at an id, if it is held.
    ///
    /// # Errors
    /// If it is trimmed, or cannot be read.
    fn get(&self, id: Id) -> Result<Option<Slot>, StoreError> {
        let one = ReadLimit { slots_max: 1, bytes_max: usize::MAX };
        Ok(self.read(id.previous(), id, one)?.pop())
    }

    /// The messages under those of these ids that are not refused.
    ///
    /// # Errors
    /// If they cannot be read.
    fn entries(&self, ids: &[Id]) -> Result<Vec<Arc<Entry>>, StoreError> {
        ids.iter().filter_map(|&id| self.get(id).map(|slot| slot.and_then(Slot::into_entry)).transpose()).collect()
    }

    /// The latest writes with an idempotency key, at most `writes_max`, the latest first.
    ///
    /// # Errors
    /// If they cannot be read.
    fn keyed_writes(&self, writes_max: usize) -> Result<Vec<KeyedWrite>, StoreError>;

    /// Which copy of a log this is: made with the store, and never changed.
    fn copy_id(&self) -> CopyId;

    /// Which log this is, or `None` for a store that never belonged to one.
    ///
    /// # Errors
    /// If it cannot be read.
    fn identity(&self) -> Result<Option<Identity>, StoreError>;

    /// Sets the identity of the log, durably.
    ///
    /// # Errors
    /// If that cannot be kept.
    fn set_identity(&self, identity: &Identity) -> Result<(), StoreError>;

    /// The watermark that was noted last, or the base if that is later.
    fn watermark(&self) -> Watermark;

    /// What a secondary finds in the store at its start.
    ///
    /// # Errors
    /// If it cannot be read.
    fn found(&self) -> Result<Found, StoreError> {
        let (identity, last) = (self.identity()?, self.last());
        let Watermark { decided, visible } = self.watermark();
        Ok(Found {
            copy: self.copy_id(),
            lineage: identity.map(|identity| identity.lineage),
            base: self.base(),
            last,
            decided: decided.min(last),
            visible,
            refused: self.refused(decided, last)?.into_iter().collect(),
        })
    }

    /// What a master finds in the store at its start.
    ///
    /// # Errors
    /// If it cannot be read.
    fn found_log(&self) -> Result<FoundLog, StoreError> {
        let last = self.last();
        let Watermark { decided, visible } = self.watermark();
        let decided = decided.min(last);
        let base = self.base();
        // The newest message is never trimmed, unless this log began at the base of another one.
        let mut last_visible = decided;
        while last_visible > base.id && !matches!(self.get(last_visible)?, Some(Slot::Entry(_))) {
            last_visible = last_visible.previous();
        }
        let refused = self.refused(decided, last)?.into_iter().collect();
        Ok(FoundLog { base, last, decided, visible, last_visible, refused })
    }

    /// Notes the watermark. It survives the end of the process at once, but a power loss only after a later sync. That
    /// is enough, because a node asks its master, or its secondaries, after a start.
    ///
    /// # Errors
    /// If it cannot be written.
    fn note_watermark(&self, watermark: Watermark) -> Result<(), StoreError>;

    /// How large its files are.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn size(&self) -> Result<Size, StoreError> {
        Ok(Size::default())
    }

    /// Why the store takes no messages, or `None` if it does.
    fn trouble(&self) -> Option<Trouble>;

    /// A problem that an operator should solve soon, although the store takes messages.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Syncs and cleans up the files, so that the next start is quick.
    fn close(&self);
}
