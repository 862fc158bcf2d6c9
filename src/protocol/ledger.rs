//! The master's half of the protocol: which node holds what, and what that means for each message.

use super::writes::{Patience, Write, Writes};
use super::{
    Acknowledgement, Call, Entry, Epoch, EpochHistory, Holdings, Id, Incarnation, LogId, MemberId, Opening, Refusal,
    WriteConcern,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A secondary is admitted to the rounds when it lacks at most this many entries; its first round carries them.
const ADMISSION_LAG_MAX: u64 = 1_024;

/// Entries found undecided at a start need every secondary, whoever was registered when they were written.
const EVERY_MEMBER: MemberId = MemberId::new(u32::MAX);

/// What became of a write, for the writer who waits for it. Each writer gets exactly one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Its write concern is met and it is visible.
    Committed,
    /// It is visible and stays, but its own write concern was not met in time; a later message sealed it.
    CommittedShort,
    /// It is refused, durably: no node shows it, ever.
    Refused,
}

/// A secondary's part in the rounds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Standing {
    /// It gets every round, and writes may count on it.
    InSync,
    /// It answers and is being brought up to date.
    CatchingUp,
    /// It did not answer, or refused to take part.
    Unreachable,
}

/// What the owner of a ledger has to do after an event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "effects have to be carried out"]
pub struct Effects {
    /// Make these refusals durable, then report them with [`Ledger::refusal_stored`]. Tell nobody before.
    pub refuse: Vec<Id>,
    /// Answer these writers: each write is named by the id of its last message.
    pub settled: Vec<(Id, Outcome)>,
}

/// What one call to one secondary has to carry.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Dispatch {
    /// To whom.
    pub member: MemberId,
    /// To which start of its process.
    pub incarnation: Incarnation,
    /// In which turn: what becomes of the call says nothing of the secondary once it has reported anew.
    pub turn: u64,
    /// The call begins after this id.
    pub after: Id,
    /// And ends with this one.
    pub through: Id,
    /// The high watermark that the secondary is known to know: refusals after it must be told.
    pub told: Id,
    /// The high watermark to tell.
    pub decided: Id,
    /// Present until the secondary has entered this epoch.
    pub opening: Option<Opening>,
    /// Whether the secondary takes part in the rounds.
    pub admitted: bool,
    /// Whether it is known to know that.
    pub knows_admission: bool,
}

impl Dispatch {
    /// Whether there is anything in it that the secondary is not known to know.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.through > self.after || self.told < self.decided || self.admitted != self.knows_admission
    }
}

/// Why a write concern cannot be met at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shortfall {
    /// Copies wanted, the master's included.
    pub wanted: usize,
    /// Nodes that can take part, the master included.
    pub available: usize,
    /// The secondaries that cannot.
    pub missing: Vec<MemberId>,
}

/// One secondary, as the ledger sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MemberView {
    /// Its number.
    pub member: MemberId,
    /// Its part in the rounds.
    pub standing: Standing,
    /// The start of its process that the master has verified.
    pub incarnation: Option<Incarnation>,
    /// Its turn: a new one begins when it reports, and when it is about to be removed.
    pub turn: u64,
    /// The id up to which it is known to hold everything durably.
    pub durable: Id,
    /// The high watermark that it is known to know.
    pub told: Id,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Member {
    standing: Standing,
    incarnation: Option<Incarnation>,
    /// When it reports, its part in the rounds begins anew, in a new turn.
    turn: u64,
    /// The epoch that it reported; it has entered ours once the two are equal.
    epoch: Epoch,
    durable: Id,
    told: Id,
    /// The last id handed to a call: where its next round begins.
    sent: Id,
    /// It has acknowledged that it takes part in the rounds.
    knows_admission: bool,
    /// It is about to be removed, and was told so or is being told.
    leaving: bool,
}

impl Member {
    fn view(&self, member: MemberId) -> MemberView {
        MemberView {
            member,
            standing: self.standing,
            incarnation: self.incarnation,
            turn: self.turn,
            durable: self.durable,
            told: self.told,
        }
    }
}

/// What a master finds in its store when it starts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FoundLog {
    /// The id up to which everything is held durably.
    pub last: Id,
    /// The high watermark that was noted last.
    pub decided: Id,
    /// How many messages are visible up to it.
    pub visible: u64,
    /// The last of them; 0 if there is none.
    pub last_visible: Id,
    /// The refused ids above it.
    pub refused: BTreeSet<Id>,
}

/// The state of one reign of a master.
///
/// Invariants, asserted after every event:
/// - `decided ≤ durable ≤ last` and `decided`, `sealed`, `durable`, `last` never go back;
/// - every id in `decided+1..=last` is open or in `refused`;
/// - no open write at or below `sealed` is refusing, unless its refusing began before it could be sealed: such a write
///   is stepped over by the seal and never committed;
/// - `decided` and `sealed` never stand between two messages of one write: a write has one fate. Which messages found
///   undecided at the start were one write is not on record, so `decided` passes all of them at once.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Ledger {
    log_id: LogId,
    master: Incarnation,
    history: EpochHistory,
    /// The last id given.
    last: Id,
    /// The end of the log at the start of this reign.
    found: Id,
    /// The id up to which the master's own disk holds everything.
    durable: Id,
    /// The highest entry that was met: it and every entry before it that is not refused is committed.
    sealed: Id,
    /// The high watermark.
    decided: Id,
    /// How many entries up to `decided` are visible.
    visible: u64,
    /// The last of them; 0 if there is none.
    last_visible: Id,
    open: Writes,
    /// Durable refusals above `decided`.
    refused: BTreeSet<Id>,
    members: BTreeMap<MemberId, Member>,
    /// Turns so far. One node may be known under two addresses, and come back under another one: so the next turn of any
    /// secondary is later than all that any of them had.
    turns: u64,
}

impl Ledger {
    /// Begins a reign on what is found. `history` ends with the epoch of this reign, which is durable already.
    ///
    /// What lies beyond `decided` and is not refused may have been acknowledged: it stays pending, for ever if need be, and
    /// is replicated again.
    #[must_use]
    pub fn begin(log_id: LogId, master: Incarnation, history: EpochHistory, found: FoundLog) -> Ledger {
        let FoundLog { last, decided, visible, last_visible, refused } = found;
        let mut open = Writes::default();
        for id in decided.until(last).filter(|id| !refused.contains(id)) {
            open.insert(id, Write::new(id, WriteConcern::All, EVERY_MEMBER, Patience::Forever));
        }
        let ledger = Ledger {
            log_id,
            master,
            history,
            last,
            found: last,
            durable: last,
            sealed: decided,
            decided,
            visible,
            last_visible,
            open,
            refused,
            members: BTreeMap::new(),
            turns: 0,
        };
        ledger.assert_invariants();
        ledger
    }

    /// Every secondary on record has joined. What was found is decided now if there is none: nobody will report.
    pub fn assembled(&mut self) -> Effects {
        self.settle(Vec::new())
    }

    /// The log that this master serves.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The start of the master's process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.master
    }

    /// The reign.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.history.latest()
    }

    /// Every reign so far.
    #[must_use]
    pub fn history(&self) -> &EpochHistory {
        &self.history
    }

    /// The last id given.
    #[must_use]
    pub fn last(&self) -> Id {
        self.last
    }

    /// The high watermark: every id up to it has its fate, and what is committed up to it is visible.
    #[must_use]
    pub fn decided(&self) -> Id {
        self.decided
    }

    /// The id up to which the master's own store holds everything durably, and can be read.
    #[must_use]
    pub fn durable(&self) -> Id {
        self.durable
    }

    /// How many messages are visible.
    #[must_use]
    pub fn visible(&self) -> u64 {
        self.visible
    }

    /// The id of the newest message that is committed or may be: 0 if there is none.
    #[must_use]
    pub fn newest(&self) -> Id {
        let pending = self.open.iter().rev().find(|(_, write)| !write.refusing).map(|(last, _)| last);
        pending.map_or(self.last_visible, |id| id.max(self.last_visible))
    }

    /// How many messages wait for their fate, or for the copies that their writers asked for.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.messages()
    }

    /// How many nodes there are, the master included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.members.len() + 1
    }

    /// Every secondary, in the order of registration.
    pub fn members(&self) -> impl Iterator<Item = MemberView> + '_ {
        self.members.iter().map(|(&member, state)| state.view(member))
    }

    /// One secondary; `None` if it is not registered any more.
    #[must_use]
    pub fn member(&self, member: MemberId) -> Option<MemberView> {
        self.members.get(&member).map(|state| state.view(member))
    }

    /// A secondary is registered. It counts for nothing until it has reported and is admitted.
    ///
    /// # Panics
    /// If the number is taken.
    pub fn join(&mut self, member: MemberId) {
        let state = Member {
            standing: Standing::Unreachable,
            incarnation: None,
            turn: 0,
            epoch: Epoch::NONE,
            durable: Id::ZERO,
            told: Id::ZERO,
            sent: Id::ZERO,
            knows_admission: false,
            leaving: false,
        };
        let before = self.members.insert(member, state);
        assert!(before.is_none(), "member {member} joined twice");
    }

    /// A secondary is about to be removed. Gives the call that tells it so: in a turn in which it is not admitted, it answers
    /// no reader alone. It stays a part of everything until it leaves. `None` if the master knows no process to tell.
    pub fn dismiss(&mut self, member: MemberId) -> Option<Dispatch> {
        self.turns += 1;
        let state = self.members.get_mut(&member)?;
        (state.turn, state.leaving) = (self.turns, true);
        let durable = state.durable;
        let farewell = self.dispatch_from(member, durable)?;
        Some(Dispatch { through: durable, ..farewell })
    }

    /// A secondary is removed: "all" means the rest from now on.
    pub fn leave(&mut self, member: MemberId) -> Effects {
        self.members.remove(&member);
        self.give_up_hopeless()
    }

    /// A call of a dispatch, with what the store holds after an id and up to another one.
    ///
    /// It tells what is decided up to its own end: beyond, the secondary would need refusals that it is told later.
    #[must_use]
    pub fn call(
        &self,
        dispatch: &Dispatch,
        (after, through): (Id, Id),
        entries: Vec<Arc<Entry>>,
        refused: Vec<Id>,
    ) -> Call {
        Call {
            log_id: self.log_id,
            epoch: self.epoch(),
            master: self.master,
            opening: dispatch.opening,
            history: dispatch.opening.map(|_| self.history.clone()),
            after,
            through,
            entries,
            refused,
            decided: dispatch.decided.min(through),
            turn: dispatch.turn,
            admitted: dispatch.admitted,
        }
    }

    /// Tells whether a concern can be met by the nodes that take part now.
    pub fn shortfall(&self, concern: WriteConcern) -> Option<Shortfall> {
        let missing: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.standing != Standing::InSync)
            .map(|(&member, _)| member)
            .collect();
        let available = self.nodes() - missing.len();
        let wanted = self.copies(concern);
        (available < wanted).then_some(Shortfall { wanted, available, missing })
    }

    /// Opens a write of so many messages, which have one fate, and gives the id of the first; the others follow it. The
    /// caller hands all of them to the store, and to one round, at once.
    ///
    /// # Panics
    /// If it has no message.
    pub fn append(&mut self, messages: u64, concern: WriteConcern, patience: Patience) -> Id {
        assert!(messages > 0, "a write has at least one message");
        let first = self.last.next();
        let newest_member = self.members.last_key_value().map_or(MemberId::new(0), |(&member, _)| member);
        self.last = self.last.plus(messages);
        self.open.insert(self.last, Write::new(first, concern, newest_member, patience));
        first
    }

    /// What a round that ends with `through` has to carry to an in-sync secondary. The secondary's next round begins
    /// where this one ends, so each dispatch must be sent, or the secondary reported as [`Ledger::lost`].
    pub fn dispatch(&mut self, member: MemberId, through: Id) -> Option<Dispatch> {
        let state = self.members.get_mut(&member).filter(|state| state.standing == Standing::InSync)?;
        let after = state.sent;
        state.sent = state.sent.max(through);
        self.dispatch_from(member, after)
    }

    /// What a secondary that is catching up has to get next: at most `entries_max` ids beyond what it holds, and no
    /// further than the master's store can read back.
    pub fn dispatch_catch_up(&mut self, member: MemberId, entries_max: u64) -> Option<Dispatch> {
        let stored = self.durable;
        let state = self.members.get_mut(&member).filter(|state| state.standing == Standing::CatchingUp)?;
        let after = state.durable;
        state.sent = after.max(stored.min(after.plus(entries_max)));
        self.dispatch_from(member, after)
    }

    fn dispatch_from(&self, member: MemberId, after: Id) -> Option<Dispatch> {
        let state = self.members.get(&member)?;
        let overtaken_from = self.history.overtaken_from(state.epoch);
        let opening = overtaken_from.map(|overtaken_from| Opening { since: state.epoch, overtaken_from });
        Some(Dispatch {
            member,
            incarnation: state.incarnation?,
            turn: state.turn,
            after,
            through: state.sent,
            told: state.told,
            decided: self.decided,
            opening,
            admitted: state.standing == Standing::InSync && !state.leaving,
            knows_admission: state.knows_admission,
        })
    }

    /// Whether an in-sync secondary lacks an entry, or is not known to know the high watermark, or that it is in sync.
    /// Stays so while the call that tells it is under way.
    #[must_use]
    pub fn owes(&self, member: MemberId) -> bool {
        let knows = |member: &Member| member.knows_admission || member.leaving;
        let owes = |member: &Member| member.told < self.decided || member.sent < self.last || !knows(member);
        self.members.get(&member).is_some_and(|member| member.standing == Standing::InSync && owes(member))
    }

    /// Whether a message after an id, up to another, waits for its fate or for copies.
    #[must_use]
    pub fn has_open(&self, after: Id, through: Id) -> bool {
        self.open.range(after.next()..).next().is_some_and(|(_, write)| write.first <= through)
    }

    /// Whether messages are left that were found undecided at the start of this reign. They may have been shown then.
    #[must_use]
    pub fn has_doubt(&self) -> bool {
        self.decided < self.found && self.has_open(self.decided, self.found)
    }

    /// Whether a message was found undecided at the start of this reign, and still is: it is never refused.
    #[must_use]
    pub fn is_in_doubt(&self, id: Id) -> bool {
        self.open.of(id).is_some_and(|(_, write)| write.patience == Patience::Forever)
    }

    /// How many copies a concern means, the master's included.
    #[must_use]
    pub fn copies(&self, concern: WriteConcern) -> usize {
        match concern {
            WriteConcern::All => self.nodes(),
            WriteConcern::Copies(copies) => copies,
        }
    }

    /// The master's own disk holds everything up to `through`.
    ///
    /// # Panics
    /// If that was never appended.
    pub fn stored(&mut self, through: Id) -> Effects {
        assert!(through <= self.last, "stored up to {through}, but only {} were appended", self.last);
        self.durable = self.durable.max(through);
        self.settle(Vec::new())
    }

    /// The master's own disk had no room for the entries after what it holds, up to `through`, and holds refusals in
    /// their place. Nothing that the master does not hold is ever met, so none of them was committed.
    ///
    /// # Panics
    /// If that was never appended.
    pub fn refused_for_want_of_room(&mut self, through: Id) -> Effects {
        // One that is being refused already is settled once that refusal is stored.
        let unstored = self.open.range(self.durable.next()..=through).filter(|(_, write)| !write.refusing);
        let unstored: Vec<Id> = unstored.map(|(last, _)| last).collect();
        let mut settled = Vec::with_capacity(unstored.len());
        for last in unstored {
            self.refused.extend(self.open.remove(last).iter().flat_map(|write| write.ids(last)));
            settled.push((last, Outcome::Refused));
        }
        let mut effects = self.stored(through);
        settled.append(&mut effects.settled);
        Effects { settled, ..effects }
    }

    /// A secondary acknowledged. Ignored, with `false`, if it is not of the incarnation that the master verified.
    pub fn acknowledged(&mut self, member: MemberId, acknowledgement: Acknowledgement) -> (bool, Effects) {
        let (last, epoch) = (self.last, self.epoch());
        let Some(state) = self.members.get_mut(&member) else { return (false, Effects::default()) };
        if state.incarnation != Some(acknowledgement.incarnation) {
            return (false, Effects::default());
        }
        state.epoch = epoch;
        state.durable = state.durable.max(acknowledgement.durable.min(last));
        state.told = state.told.max(acknowledgement.decided.min(self.decided));
        state.knows_admission |= acknowledgement.admitted && acknowledgement.turn == state.turn;
        (true, self.settle(Vec::new()))
    }

    /// A secondary reported what it holds. If it can take part it is caught up from there.
    ///
    /// # Errors
    /// With the reason why it cannot take part; it stays unreachable.
    pub fn reported(&mut self, member: MemberId, holdings: &Holdings) -> Result<Effects, Refusal> {
        self.may_take_part(holdings)?;
        let ours = holdings.log_id == Some(self.log_id);
        let epoch = if ours { holdings.epoch } else { Epoch::NONE };
        let overtaken_from = self.history.overtaken_from(epoch).unwrap_or(Id::MAX);
        let holds = holdings.last.min(overtaken_from.previous()).min(self.last);
        let decided = self.decided;
        let Some(state) = self.members.get_mut(&member) else { return Ok(Effects::default()) };
        self.turns += 1;
        *state = Member {
            standing: Standing::CatchingUp,
            incarnation: Some(holdings.incarnation),
            turn: self.turns,
            epoch,
            durable: holds,
            told: holdings.decided.min(decided),
            sent: holds,
            knows_admission: false,
            leaving: state.leaving,
        };
        Ok(self.give_up_hopeless())
    }

    /// Whether a secondary that holds this can take part in this reign.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn may_take_part(&self, holdings: &Holdings) -> Result<(), Refusal> {
        if holdings.foreign > 0 {
            return Err(Refusal::Foreign { messages: holdings.foreign });
        }
        if let Some(id) = holdings.diverged {
            return Err(Refusal::Diverged { id });
        }
        match holdings.log_id {
            Some(other) if other != self.log_id && holdings.last > Id::ZERO => {
                return Err(Refusal::OtherLog { holds: other });
            }
            Some(ours) if ours == self.log_id => {}
            _ => return Ok(()),
        }
        if holdings.epoch > self.epoch() {
            return Err(Refusal::Fenced { epoch: holdings.epoch });
        }
        if holdings.last > Id::ZERO && self.history.master_of(holdings.epoch) != holdings.master {
            return Err(Refusal::OtherReign { epoch: holdings.epoch });
        }
        let begins = self.history.overtaken_from(holdings.epoch).unwrap_or(self.last.next());
        if holdings.decided >= begins {
            return Err(Refusal::MasterBehind { decided: holdings.decided, begins });
        }
        Ok(())
    }

    /// Admits a secondary to the rounds if it has caught up: it knows this epoch, holds everything that is decided or was
    /// found at the start, which may have been acknowledged, and lacks little of the rest, and nothing that could be
    /// committed without it: a reader there would miss that.
    pub fn admit(&mut self, member: MemberId) -> bool {
        let (epoch, needed, last) = (self.epoch(), self.decided.max(self.found), self.last);
        let Some(state) = self.members.get_mut(&member) else { return false };
        let needed_for = |write: &Write| write.concern != WriteConcern::All || member <= write.newest_member;
        let caught_up = state.standing == Standing::CatchingUp
            && state.epoch == epoch
            && state.durable >= needed
            && last.since(state.durable) <= ADMISSION_LAG_MAX
            && self.open.range(state.durable.next()..).all(|(_, write)| needed_for(write));
        if caught_up {
            state.standing = Standing::InSync;
            state.sent = state.durable;
        }
        caught_up
    }

    /// A secondary did not acknowledge, or refused: it leaves the rounds, and what cannot be met without it is refused.
    pub fn lost(&mut self, member: MemberId) -> Effects {
        if let Some(state) = self.members.get_mut(&member) {
            state.standing = Standing::Unreachable;
        }
        self.give_up_hopeless()
    }

    fn give_up_hopeless(&mut self) -> Effects {
        let is_hopeless =
            |(last, write): &(Id, &Write)| write.patience == Patience::FailFast && !self.attainable(*last, write);
        let hopeless: Vec<Id> = self.open.iter().filter(is_hopeless).map(|(last, _)| last).collect();
        self.give_up(hopeless)
    }

    /// The time of a write is over: it is refused, or answered short of its copies if it was sealed. It is named by the id
    /// of its last message.
    pub fn expire(&mut self, last: Id) -> Effects {
        let expired = self.open.of(last).filter(|(_, write)| write.patience != Patience::Forever);
        self.give_up(expired.map(|(last, _)| last))
    }

    fn give_up(&mut self, writes: impl IntoIterator<Item = Id>) -> Effects {
        let mut refuse = Vec::new();
        for last in writes {
            let sealed = last <= self.sealed;
            let Some(write) = self.open.get_mut(last) else { continue };
            if sealed {
                write.overdue = true;
            } else if !write.refusing {
                write.refusing = true;
                refuse.extend(write.ids(last));
            }
        }
        self.settle(refuse)
    }

    /// These refusals are on the master's disk: now they may be told.
    ///
    /// # Panics
    /// If one of them was not asked for.
    pub fn refusal_stored(&mut self, ids: &[Id]) -> Effects {
        let mut settled = Vec::new();
        for &id in ids {
            let write = self.open.of(id).filter(|(_, write)| write.refusing);
            let (last, _) = write.unwrap_or_else(|| panic!("refusal of {id} was stored, but not asked for"));
            self.refused.insert(id);
            if id == last {
                self.open.remove(last);
                settled.push((last, Outcome::Refused));
            }
        }
        let mut effects = self.settle(Vec::new());
        settled.append(&mut effects.settled);
        Effects { settled, ..effects }
    }

    /// The id up to which a concern is met: the master's own disk, and the copies among the secondaries.
    fn met_up_to(&self, concern: WriteConcern, newest_member: MemberId) -> Id {
        match concern {
            WriteConcern::All => {
                self.members.range(..=newest_member).map(|(_, member)| member.durable).min().unwrap_or(Id::MAX)
            }
            WriteConcern::Copies(copies) if copies <= 1 => Id::MAX,
            WriteConcern::Copies(copies) => {
                let mut held: Vec<Id> = self.members.values().map(|member| member.durable).collect();
                held.sort_unstable_by(|a, b| b.cmp(a));
                held.get(copies - 2).copied().unwrap_or(Id::ZERO)
            }
        }
        .min(self.durable)
    }

    /// Whether the copies that a write lacks can still come from the secondaries that take part.
    fn attainable(&self, last: Id, write: &Write) -> bool {
        let hopeful = |member: &Member| member.durable >= last || member.standing == Standing::InSync;
        match write.concern {
            WriteConcern::All => self.members.range(..=write.newest_member).all(|(_, member)| hopeful(member)),
            WriteConcern::Copies(copies) => {
                self.members.values().filter(|member| hopeful(member)).count() + 1 >= copies
            }
        }
    }

    /// Draws the consequences of an event: what is met, sealed, decided, and whom that answers.
    fn settle(&mut self, refuse: Vec<Id>) -> Effects {
        self.seal();
        self.decide();
        let settled = self.answer();
        self.assert_invariants();
        Effects { refuse, settled }
    }

    fn seal(&mut self) {
        let mut marks = Marks::default();
        let met = |(last, write): (Id, &Write)| (!write.refusing && last <= marks.of(self, write)).then_some(last);
        let sealed = self.open.range(self.sealed.next()..).filter_map(met).next_back();
        self.sealed = sealed.unwrap_or(self.sealed);
    }

    fn decide(&mut self) {
        let in_doubt = || self.open.range(..=self.found).next_back();
        if self.decided < self.found && in_doubt().is_some_and(|(last, _)| last > self.sealed) {
            return;
        }
        while self.decided < self.durable {
            let id = self.decided.next();
            if self.refused.remove(&id) {
                self.decided = id;
                continue;
            }
            let committed = self.open.of(id).filter(|(last, write)| *last <= self.sealed && !write.refusing);
            let Some((last, _)) = committed else { break };
            self.visible += last.since(self.decided);
            self.decided = last;
            self.last_visible = last;
        }
    }

    fn answer(&mut self) -> Vec<(Id, Outcome)> {
        let mut marks = Marks::default();
        let outcome = |(last, write): (Id, &Write)| {
            if last <= marks.of(self, write) {
                Some((last, Outcome::Committed))
            } else {
                write.overdue.then_some((last, Outcome::CommittedShort))
            }
        };
        let settled: Vec<(Id, Outcome)> = self.open.range(..=self.decided).filter_map(outcome).collect();
        for (last, _) in &settled {
            self.open.remove(*last);
        }
        settled
    }

    fn assert_invariants(&self) {
        assert!(
            self.decided <= self.durable && self.durable <= self.last,
            "decided {} ≤ durable {} ≤ last {}",
            self.decided,
            self.durable,
            self.last
        );
        for member in self.members.values() {
            assert!(member.told <= self.decided, "told {} ≤ decided {}", member.told, self.decided);
            assert!(member.durable <= self.last, "a member holds {} of {}", member.durable, self.last);
        }
        debug_assert!(
            self.decided.until(self.last).all(|id| self.open.of(id).is_some() || self.refused.contains(&id)),
            "an id above {} has neither a fate nor an open write",
            self.decided
        );
    }
}

/// How far each kind of concern is met, computed once per event: thousands of entries share a few kinds.
#[derive(Default)]
struct Marks {
    known: Vec<(WriteConcern, MemberId, Id)>,
}

impl Marks {
    fn of(&mut self, ledger: &Ledger, write: &Write) -> Id {
        let same = |(concern, newest, _): &&(WriteConcern, MemberId, Id)| {
            *concern == write.concern && *newest == write.newest_member
        };
        if let Some(&(_, _, mark)) = self.known.iter().find(same) {
            return mark;
        }
        let mark = ledger.met_up_to(write.concern, write.newest_member);
        self.known.push((write.concern, write.newest_member, mark));
        mark
    }
}
