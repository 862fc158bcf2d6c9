//! The steps that a process plays on the store, and what must be found afterwards. The model has no notion of files.

use replicated_log::protocol::{
    Base, Candidacy, CopyId, Entry, Epoch, EpochHistory, Fingerprint, Id, Incarnation, Lineage, LogId, Promotion,
    Roster, RosterNumber, Slot, Voters, Watermark, WritePart,
};
use replicated_log::store::{Identity, KnownMember, ReadLimit, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };
/// In a list of message lengths: a slot that is appended as refused.
const REFUSED: usize = 0;

/// One call of the store, or a pause.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Open,
    Close,
    /// Long enough for the checkpointer to move the write-ahead log and sync the watermark file, or to end.
    Pause(Duration),
    /// Sets the log of an epoch, and of those before it.
    Identity(u64),
    /// Appends slots of an epoch with messages of these lengths.
    Append(u64, Vec<usize>),
    /// Refuses ids, counted back from the last one.
    RefuseBack(Vec<u64>),
    /// Notes an id as decided, counted back from the last one.
    NoteBack(u64),
    DropFrom(u64),
    /// Trims the log up to an id.
    Trim(u64),
    /// Begins at the base of another node, beyond the end of the log.
    BeginAt(u64),
}

const IDLE: Duration = Duration::from_millis(750);
const GONE: Duration = Duration::from_millis(250);

/// The life of a process that opens a new directory, closes it, opens it again, and ends without closing it.
pub(super) fn first_life() -> Vec<Step> {
    use Step::{Append, Close, DropFrom, Identity, NoteBack, Open, Pause, RefuseBack, Trim};
    vec![
        Open,
        Identity(1),
        Append(1, vec![20]),
        Append(1, (1..=12).map(|number| number * 9).collect()),
        Append(1, vec![15_000]),
        NoteBack(9),
        RefuseBack(vec![11, 5]),
        Append(1, vec![300, REFUSED, 700]),
        NoteBack(2),
        Append(1, vec![9_000]),
        RefuseBack(vec![0]),
        NoteBack(2),
        Trim(8),
        DropFrom(17),
        Identity(2),
        Append(2, vec![10, 200, 40, 60]),
        Append(2, vec![30]),
        Pause(IDLE),
        Append(2, vec![50]),
        Append(2, vec![2_000, 5_000]),
        Trim(13),
        RefuseBack(vec![1]),
        NoteBack(4),
        Trim(15),
        Pause(IDLE),
        DropFrom(22),
        Append(2, vec![70]),
        Pause(IDLE),
        RefuseBack(vec![0]),
        Append(2, vec![12_000, 90]),
        Close,
        Pause(GONE),
        Open,
        Append(2, vec![100]),
        RefuseBack(vec![0, 1]),
        NoteBack(2),
        Append(2, vec![35, 45]),
        DropFrom(25),
        Append(2, vec![6_000, 55]),
        NoteBack(1),
        Trim(24),
    ]
}

/// The life of the next process.
pub(super) fn second_life() -> Vec<Step> {
    use Step::{Append, BeginAt, Close, DropFrom, Identity, NoteBack, Open, RefuseBack, Trim};
    vec![
        Open,
        Append(2, vec![65]),
        RefuseBack(vec![0]),
        Identity(3),
        DropFrom(26),
        Append(3, vec![8_000]),
        NoteBack(0),
        BeginAt(40),
        Append(3, vec![80, 700]),
        NoteBack(0),
        Trim(41),
        Close,
    ]
}

/// The life of a process that starts on what a killed one left. The master drops the end of the log, perhaps once more.
pub(super) fn life_after_a_kill(dropped: u64) -> Vec<Step> {
    use Step::{Append, DropFrom, NoteBack, Open, RefuseBack};
    vec![Open, DropFrom(dropped), Append(4, vec![25]), RefuseBack(vec![0]), Append(4, vec![3_000]), NoteBack(0)]
}

/// What a node must read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) base: Base,
    pub(super) slots: Vec<Slot>,
    pub(super) identity: Option<Identity>,
    /// Every watermark that was noted so far: after a power loss the store may find an older one.
    pub(super) noted: Vec<Watermark>,
}

impl State {
    pub(super) fn last(&self) -> u64 {
        self.base.id.get() + self.slots.len() as u64
    }

    fn place(&self, id: u64) -> usize {
        (id - 1 - self.base.id.get()) as usize
    }

    /// The base of this log, trimmed up to an id that it holds.
    fn base_at(&self, id: u64) -> Base {
        let mut base = self.base;
        self.slots.iter().take_while(|slot| slot.id().get() <= id).for_each(|slot| base.extend(slot));
        base
    }

    /// The beginning of the log's id, as file names have it.
    pub(super) fn log(&self) -> String {
        self.identity
            .as_ref()
            .map_or_else(String::new, |identity| format!("{}-", &identity.lineage.log_id.to_string()[..8]))
    }

    /// The latest epoch, 0 without one.
    pub(super) fn epoch(&self) -> u64 {
        self.identity.as_ref().map_or(0, |identity| identity.lineage.history.latest().get())
    }

    pub(super) fn refused(&self) -> Vec<Id> {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id).collect()
    }

    fn visible(&self, decided: u64) -> u64 {
        let held = self.slots.iter().filter(|slot| slot.id() <= Id::new(decided) && matches!(slot, Slot::Entry(_)));
        self.base.messages + held.count() as u64
    }

    /// The state after one more step.
    pub(super) fn after(&self, step: &Step) -> State {
        let mut after = self.clone();
        match step {
            Step::Open | Step::Close | Step::Pause(_) => {}
            Step::Identity(epoch) => after.identity = Some(identity(*epoch)),
            Step::Append(epoch, lengths) => after.slots.extend(slots(self.last(), *epoch, lengths)),
            Step::RefuseBack(back) => {
                for id in ids_back(self.last(), back) {
                    after.slots[self.place(id.get())] = Slot::Refused(id);
                }
            }
            Step::NoteBack(back) => after.noted.push(self.watermark_back(*back)),
            Step::DropFrom(id) => after.slots.truncate(self.place(*id)),
            Step::Trim(_) | Step::BeginAt(_) => {
                after.base = self.base_after(step);
                after.slots.retain(|slot| slot.id() > after.base.id);
                // The base stands in for a watermark before it.
                after.noted.push(Watermark { decided: after.base.id, visible: after.base.messages });
            }
        }
        after
    }

    fn base_after(&self, step: &Step) -> Base {
        match step {
            Step::Trim(id) => self.base_at(*id),
            Step::BeginAt(id) => {
                Base { id: Id::new(*id), fingerprint: Fingerprint::of_bytes(b"another node"), messages: *id - 3 }
            }
            other => panic!("{other:?} does not trim"),
        }
    }

    fn watermark_back(&self, back: u64) -> Watermark {
        let decided = self.last().saturating_sub(back);
        Watermark { decided: Id::new(decided), visible: self.visible(decided) }
    }

    /// Plays a step other than opening and closing on a store that is in this state.
    pub(super) fn play(&self, step: &Step, store: &dyn Store) -> Result<(), StoreError> {
        match step {
            Step::Open | Step::Close | Step::Pause(_) => Ok(()),
            Step::Identity(epoch) => store.set_identity(&identity(*epoch)),
            Step::Append(epoch, lengths) => store.append(&slots(self.last(), *epoch, lengths)),
            Step::RefuseBack(back) => store.refuse(&ids_back(self.last(), back)),
            Step::NoteBack(back) => store.note_watermark(self.watermark_back(*back)),
            Step::DropFrom(id) => store.drop_from(Id::new(*id)),
            Step::Trim(_) | Step::BeginAt(_) => store.trim(self.base_after(step)),
        }
    }

    /// What differs between this state and the content of a store.
    pub(super) fn differs_from(&self, found: &Content) -> Option<String> {
        if found.base != self.base {
            return Some(format!("the log begins after {:?} instead of {:?}", found.base, self.base));
        }
        let ends = format!("the log has {} slots instead of {}", found.slots.len(), self.slots.len());
        if let Some(wrong) = self.slots.iter().zip(&found.slots).find(|(expected, found)| expected != found) {
            return Some(format!("expected {}, found {}", brief(wrong.0), brief(wrong.1)));
        }
        if found.slots.len() != self.slots.len() {
            return Some(ends);
        }
        if found.refused != self.refused() {
            return Some(format!("the ids {:?} are refused instead of {:?}", found.refused, self.refused()));
        }
        (found.identity != self.identity).then(|| format!("it is {:?} instead of {:?}", found.identity, self.identity))
    }

    /// What is wrong with a watermark that was found.
    pub(super) fn forbids(&self, found: Watermark) -> Option<String> {
        let noted = found == Watermark::default() || self.noted.contains(&found);
        (!noted).then(|| format!("the watermark {found:?} was never noted"))
    }
}

fn brief(slot: &Slot) -> String {
    match slot {
        Slot::Refused(id) => format!("id {id} refused"),
        Slot::Entry(entry) => format!("id {} of epoch {} with {} bytes", entry.id, entry.epoch, entry.message.len()),
    }
}

fn identity(epoch: u64) -> Identity {
    let mut history = EpochHistory::default();
    (1..=epoch).for_each(|epoch| history.begin(Epoch::new(epoch), Id::new(epoch), Incarnation::new(epoch)));
    let member = |number| KnownMember {
        url: format!("http://localhost:{}", 5_000 + number),
        name: format!("secondary-{number}"),
    };
    Identity {
        lineage: Lineage { log_id: LogId::new(42), history, roster: roster(epoch), promised: promised(epoch) },
        members: (1..=epoch).map(member).collect(),
    }
}

/// A roster of so many voters.
fn roster(voters: u64) -> Roster {
    let number = RosterNumber { epoch: Epoch::new(voters), sequence: 0 };
    Roster::new(number, CopyId::new(1), Voters::new(Promotion::On, (1..=voters).map(CopyId::new)))
}

/// A promise of the next epoch.
fn promised(epoch: u64) -> Option<Candidacy> {
    Some(Candidacy { epoch: Epoch::new(epoch + 1), copy: CopyId::new(2), master: Incarnation::new(epoch) })
}

fn slots(last: u64, epoch: u64, lengths: &[usize]) -> Vec<Slot> {
    (last + 1..).zip(lengths).map(|(number, &length)| slot(number, epoch, length)).collect()
}

fn slot(number: u64, epoch: u64, length: usize) -> Slot {
    let id = Id::new(number);
    if length == REFUSED {
        return Slot::Refused(id);
    }
    let message = format!("{number} of {epoch}; ").repeat(length.div_ceil(8))[..length].into();
    Slot::Entry(Arc::new(Entry {
        id,
        epoch: Epoch::new(epoch),
        timestamp_ms: 1_700_000_000_000 + number,
        message,
        key: None,
        part: WritePart::WHOLE,
    }))
}

fn ids_back(last: u64, back: &[u64]) -> Vec<Id> {
    back.iter().map(|back| Id::new(last - back)).collect()
}

/// Everything that a store reads back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) base: Base,
    pub(super) slots: Vec<Slot>,
    pub(super) refused: Vec<Id>,
    pub(super) identity: Option<Identity>,
    pub(super) watermark: Watermark,
}

impl Content {
    pub(super) fn of(store: &dyn Store) -> Result<Content, StoreError> {
        let base = store.base();
        Ok(Content {
            base,
            slots: store.read(base.id, Id::MAX, ALL)?,
            refused: store.refused(base.id, Id::MAX)?,
            identity: store.identity()?,
            watermark: store.watermark(),
        })
    }
}
