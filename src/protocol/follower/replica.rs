//! What a secondary holds: which calls it may accept, and what it may show.

use crate::protocol::{
    Acknowledgement, Base, Call, Candidacy, CopyId, Entry, Epoch, EpochHistory, Id, Incarnation, LogId, Refusal,
    Roster, Slot, Watermark,
};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What a secondary answers when the master asks for its state.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ReplicaStatus {
    /// The start of its process.
    pub incarnation: Incarnation,
    /// The copy of the log that it holds, the same under every address.
    pub copy: CopyId,
    /// The log that it holds, if it ever met a master.
    pub log_id: Option<LogId>,
    /// The latest epoch that it knows.
    pub epoch: Epoch,
    /// The start of the master's process that it followed in that epoch.
    pub master: Option<Incarnation>,
    /// The id up to which its log is trimmed, or is going to be.
    pub base: Id,
    /// The id up to which it holds everything durably.
    pub last: Id,
    /// The high watermark that it knows.
    pub decided: Id,
    /// How many messages of a foreign master it holds.
    pub foreign: u64,
    /// The id under which a call carried another content than this node holds.
    pub diverged: Option<Id>,
    /// The log, the epochs that it has entered, and what it has promised; `None` if it never met a master.
    pub lineage: Option<Arc<Lineage>>,
    /// The refused ids above its high watermark, in order.
    pub refused: Vec<Id>,
}

impl ReplicaStatus {
    /// Whether what this node holds beyond the end of a master's log belongs to that log. The master takes it over when
    /// it begins an epoch, because its own disk may have lost it. If any of it is decided, the master's disk lost more
    /// than a last batch, and the master takes nothing over.
    #[must_use]
    pub fn continues(&self, log_id: LogId, history: &EpochHistory, last: Id) -> bool {
        let of_latest_epoch = self.log_id == Some(log_id)
            && self.epoch == history.latest()
            && self.master == history.master_of(self.epoch);
        of_latest_epoch && self.decided <= last && self.last > last
    }
}

/// Which log a copy belongs to, and what its node knows of who leads there.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Lineage {
    /// The log.
    pub log_id: LogId,
    /// The epochs that the node has entered or begun.
    pub history: EpochHistory,
    /// The latest roster that it knows.
    pub roster: Roster,
    /// The latest promise that it gave.
    pub promised: Option<Candidacy>,
}

/// What a store holds when its node starts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// The copy of the log that the store holds.
    pub copy: CopyId,
    /// The log and its epochs; `None` if the node has never followed a master.
    pub lineage: Option<Lineage>,
    /// What was trimmed of the log.
    pub base: Base,
    /// The id up to which everything is held durably.
    pub last: Id,
    /// The high watermark that was noted last.
    pub decided: Id,
    /// How many messages are visible up to it.
    pub visible: u64,
    /// The refusals above it.
    pub refused: BTreeSet<Id>,
}

/// A call that may be accepted, once its changes are stored.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[must_use = "what is accepted has to be applied"]
pub(super) struct Accepted {
    pub(super) revision: Revision,
    enters: bool,
    /// Whether the node held another log before.
    pub(super) is_of_other_log: bool,
    pub(super) epoch: Epoch,
    decided: Id,
    session: u64,
    admitted: bool,
}

/// What changes in the log of a node, and in its lineage.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Revision {
    /// The id from which slots are dropped.
    pub(super) drop_from: Option<Id>,
    /// The end of the log then.
    pub(super) last: Id,
    /// Ids that are stored as refused, or marked as such.
    pub(super) refused: Vec<Id>,
    /// Where the log begins, if the node lacks what was decided up to there.
    pub(super) base: Option<Base>,
    /// Ids that are stored as entries again.
    pub(super) restored: Vec<Id>,
    /// The lineage, if it changes.
    pub(super) lineage: Option<Arc<Lineage>>,
}

/// A change to what is stored.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Change {
    /// Drop every slot from this id on.
    DropFrom(Id),
    /// Promise an epoch.
    Promise(Candidacy),
    /// Enter an epoch.
    Enter(EnteredEpoch),
    /// Begin at this base: drop every slot up to it, and go on behind it.
    BeginAt(Base),
    /// Take over the roster of the epoch that is entered already.
    TakeRoster(Roster),
    /// Store these entries in place of refusals that later epochs do not have.
    Restore(Vec<Arc<Entry>>),
    /// Append these, in order.
    Append(Vec<Slot>),
    /// Mark these entries, held already, as refused.
    Refuse(Vec<Id>),
}

impl Change {
    /// Those of these changes that are any, each to be durable before the next. What an epoch overtook is dropped, and
    /// refusals are settled, before the epoch is entered: after a kill in between, the node would hold as a part of the
    /// epoch what that began without. Entries and the base follow, because before they would count as some of an earlier
    /// epoch.
    pub(super) fn in_order(
        drop_from: Option<Id>,
        restore: Vec<Arc<Entry>>,
        refuse: Vec<Id>,
        enter: Option<EnteredEpoch>,
        base: Option<Base>,
        append: Vec<Slot>,
    ) -> Vec<Change> {
        let restore = (!restore.is_empty()).then_some(Change::Restore(restore));
        let refuse = (!refuse.is_empty()).then_some(Change::Refuse(refuse));
        let append = (!append.is_empty()).then_some(Change::Append(append));
        let before = [drop_from.map(Change::DropFrom), restore, refuse];
        let after = [enter.map(Change::Enter), base.map(Change::BeginAt), append];
        before.into_iter().chain(after).flatten().collect()
    }
}

/// An epoch that a secondary enters.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EnteredEpoch {
    /// The log.
    pub log_id: LogId,
    /// The epoch.
    pub epoch: Epoch,
    /// The start of the master's process.
    pub master: Incarnation,
    /// The id from which it overtakes what is held.
    pub begins: Id,
    /// Every epoch of the log so far, if the call carried them.
    pub history: Option<EpochHistory>,
    /// The roster, if the call carried it.
    pub roster: Option<Roster>,
}

impl EnteredEpoch {
    /// What a node that knew this lineage knows when it has entered the epoch.
    #[must_use]
    pub fn lineage(&self, known: Option<&Lineage>) -> Lineage {
        let EnteredEpoch { log_id, epoch, master, begins, history, roster } = self;
        let known = known.filter(|known| known.log_id == *log_id);
        let known_history = known.map(|known| known.history.clone()).unwrap_or_default();
        let known_roster = || known.map(|known| known.roster.clone()).unwrap_or_default();
        Lineage {
            log_id: *log_id,
            history: known_history.entering(history.as_ref(), *epoch, *begins, *master),
            roster: roster.clone().unwrap_or_else(known_roster),
            promised: known.and_then(|known| known.promised),
        }
    }
}

/// What the master answers a secondary that asks for the decisions about its pending entries.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Decisions {
    /// The log that the master serves.
    pub log_id: LogId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The start of its process: two masters that go on from copies of one log may be in the same epoch.
    pub master: Incarnation,
    /// Its high watermark.
    pub decided: Id,
    /// Every refusal between what the secondary knew as decided and that high watermark, in order.
    pub refused: Vec<Id>,
    /// Whether nothing beyond `decided` can have been acknowledged. False while messages are in doubt since a restart
    /// of the master, and once the master knows that another one may write.
    pub sure: bool,
}

/// What a master's answer changes once its refusals are stored.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[must_use = "what was learned has to be applied"]
pub(super) struct Learned {
    /// Entries to be marked as refused.
    pub(super) refuse: Vec<Id>,
    decided: Id,
}

/// Why an answer about decisions does not count: it does not come from the master that this node follows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StaleReply {
    /// The answering master serves this log.
    OtherLog(LogId),
    /// The answering master is still in this epoch.
    EarlierEpoch(Epoch),
    /// The answering master is in the same epoch, on a copy of the log.
    OtherMaster(Epoch),
}

impl fmt::Display for StaleReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StaleReply::OtherLog(log_id) => write!(formatter, "serves another log, {log_id}"),
            StaleReply::EarlierEpoch(epoch) => write!(formatter, "is still in epoch {epoch}"),
            StaleReply::OtherMaster(epoch) => {
                write!(formatter, "is not the master of epoch {epoch} that this node follows; stop one of the two")
            }
        }
    }
}

/// A replica as others see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplicaView {
    /// What it reports to the master.
    pub status: ReplicaStatus,
    /// How many messages are visible here.
    pub visible: u64,
    /// Whether the master has admitted this start of the process to the rounds. Until then the node does not know what
    /// it lacks.
    pub admitted: bool,
}

/// The state of one secondary.
///
/// Invariants, asserted after every event:
/// - `base ≤ decided ≤ last`; none of them goes back, except that undecided entries are dropped when a later epoch overtook them;
/// - at or below `decided` neither contents nor decisions change.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Replica {
    incarnation: Incarnation,
    copy: CopyId,
    pub(super) lineage: Option<Arc<Lineage>>,
    log_id: Option<LogId>,
    epoch: Epoch,
    master: Option<Incarnation>,
    /// The id up to which the log is trimmed, or is going to be: nothing is compared up to there.
    pub(super) base: Id,
    pub(super) last: Id,
    pub(super) decided: Id,
    visible: u64,
    /// Refusals above `decided`.
    pub(super) refused: BTreeSet<Id>,
    /// The latest replication session that it knows.
    session: u64,
    admitted: bool,
    foreign: u64,
    pub(super) diverged: Option<Id>,
}

impl Replica {
    /// Begins with what the store holds. What lies above `decided` stays pending until the master has decided it, and
    /// no reader gets an answer without the master before that. Messages of a foreign master are visible at once, so
    /// all of them are, even if their watermark was not noted.
    ///
    /// # Panics
    /// If `decided` is beyond `last`.
    pub(super) fn recovered(incarnation: Incarnation, found: Found) -> Replica {
        let Found { copy, lineage, base, last, decided, visible, refused } = found;
        assert!(base.id <= decided && decided <= last, "base {} ≤ decided {decided} ≤ last {last}", base.id);
        let empty = Replica {
            incarnation,
            copy,
            lineage: None,
            log_id: None,
            epoch: Epoch::NONE,
            master: None,
            base: base.id,
            last: Id::ZERO,
            decided: Id::ZERO,
            visible: 0,
            refused: BTreeSet::new(),
            session: 0,
            admitted: false,
            foreign: 0,
            diverged: None,
        };
        let Some(lineage) = lineage else {
            let visible = visible + last.since(decided) - refused.len() as u64;
            return Replica { last, decided: last, visible, foreign: visible, ..empty };
        };
        let mut replica = Replica { last, decided, visible, refused, ..empty };
        replica.set_lineage(Arc::new(lineage));
        replica
    }

    /// Takes over what is stored of the log and its epochs.
    pub(super) fn set_lineage(&mut self, lineage: Arc<Lineage>) {
        self.log_id = Some(lineage.log_id);
        self.epoch = lineage.history.latest();
        self.master = lineage.history.master_of(self.epoch);
        self.lineage = Some(lineage);
    }

    /// What this node answers when the master asks for its state.
    pub(super) fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            incarnation: self.incarnation,
            copy: self.copy,
            log_id: self.log_id,
            epoch: self.epoch,
            master: self.master,
            base: self.base,
            last: self.last,
            decided: self.decided,
            foreign: self.foreign,
            diverged: self.diverged,
            lineage: self.lineage.clone(),
            refused: self.refused.iter().copied().collect(),
        }
    }

    /// The replica as others see it.
    pub(super) fn view(&self) -> ReplicaView {
        ReplicaView { status: self.status(), visible: self.visible, admitted: self.admitted }
    }

    /// The id up to which everything is held durably.
    pub(super) fn last(&self) -> Id {
        self.last
    }

    /// The high watermark that this node knows: what is committed up to it is visible here.
    pub(super) fn decided(&self) -> Id {
        self.decided
    }

    /// What is shown.
    pub(super) fn watermark(&self) -> Watermark {
        Watermark { decided: self.decided, visible: self.visible }
    }

    /// The start of this process.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether messages of a foreign master are held.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign > 0
    }

    /// Whether nothing is pending here, and no message that all nodes acknowledged can be missing.
    pub(super) fn is_complete(&self) -> bool {
        self.admitted && self.decided == self.last
    }

    /// Examines a call as far as that is possible without the store.
    ///
    /// # Errors
    /// If the call is refused.
    pub(super) fn fits(&self, call: &Call) -> Result<Holds, Refusal> {
        if let Some(id) = self.diverged {
            return Err(Refusal::Diverged { id });
        }
        if self.foreign > 0 {
            return Err(Refusal::Foreign { messages: self.foreign });
        }
        check_shape(call)?;
        let drop_from = self.check_epoch(call)?;
        let held = drop_from.map_or(self.last, |id| self.last.min(id.previous()));
        let last = self.lacking(call).map_or(held, |base| held.max(base.id));
        if call.after > last {
            return Err(Refusal::Gap { holds: last });
        }
        Ok(Holds { last, drop_from })
    }

    /// Examines a call that [`fits`](Replica::fits). `held` is what the store holds under the ids that
    /// [`Holds::look_ups`] named. Gives what has to be stored, each change durably before the next. What an epoch
    /// overtook is dropped before the epoch is entered: after a kill in between, the rest of it would count as entries
    /// of the new epoch.
    ///
    /// Changes nothing, except that a diverging call sets `diverged`: from then on the replica refuses every call.
    ///
    /// # Errors
    /// If the call is refused.
    pub(super) fn examine(
        &mut self,
        call: &Call,
        holds: &Holds,
        held: &[Slot],
    ) -> Result<(Accepted, Vec<Change>), Refusal> {
        let settled = self.lacking(call).map_or(self.base, |base| base.id);
        if self.has_unnamed_refusal(call, holds) {
            return Err(Refusal::EpochStartMismatch { epoch: self.epoch });
        }
        let overlap = Overlap::find(call, settled, holds.last, held);
        let undone = overlap.refused.first().copied().filter(|&id| id <= self.decided);
        if let Some(id) = overlap.difference.or(undone) {
            self.diverged = Some(id);
            return Err(Refusal::Diverged { id });
        }
        Ok(self.accept(call, holds, overlap.refused))
    }

    /// A base that was told, if this node may trim its log up to there and did not know that.
    pub(super) fn may_trim(&mut self, base: Base) -> Option<Base> {
        let is_news = base.id > self.base && base.id <= self.decided;
        self.base = if is_news { base.id } else { self.base };
        is_news.then_some(base)
    }

    /// The base of a call, if this node lacks what was decided up to there.
    fn lacking(&self, call: &Call) -> Option<Base> {
        call.base.filter(|base| base.id > self.decided)
    }

    /// Whether this node has learned of a refusal since it reported, before it enters an epoch: the call says of no such
    /// id whether it is refused in that epoch.
    fn has_unnamed_refusal(&self, call: &Call, holds: &Holds) -> bool {
        let enters = call.roster.as_ref().is_some_and(Roster::allows_promotion) && call.epoch > self.epoch;
        let base = call.base.map_or(Id::ZERO, |base| base.id);
        let is_named = |id: &Id| {
            *id <= base
                || call.refused.binary_search(id).is_ok()
                || call.restored.binary_search_by_key(id, |entry| entry.id).is_ok()
        };
        enters && self.refused.iter().take_while(|id| **id <= holds.last).any(|id| !is_named(id))
    }

    fn accept(&self, call: &Call, holds: &Holds, refuse: Vec<Id>) -> (Accepted, Vec<Change>) {
        let known = self.log_id == Some(call.log_id) && self.epoch == call.epoch && self.master == Some(call.master);
        let append = slots_beyond(call, holds.last);
        let refused = append.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id);
        let is_lifted = |entry: &&Arc<Entry>| entry.id <= holds.last && self.refused.contains(&entry.id);
        let restored: Vec<Arc<Entry>> = call.restored.iter().filter(is_lifted).cloned().collect();
        let entered = (!known).then(|| self.entered(call, holds));
        let roster = if known { self.newer_roster(call) } else { None };
        let revision = Revision {
            drop_from: holds.drop_from.filter(|&id| self.last >= id),
            last: holds.last.max(call.through),
            refused: refused.chain(refuse.iter().copied()).collect(),
            base: self.lacking(call),
            restored: restored.iter().map(|entry| entry.id).collect(),
            lineage: match &entered {
                Some(entered) => Some(Arc::new(entered.lineage(self.lineage.as_deref()))),
                None => self
                    .lineage
                    .as_deref()
                    .zip(roster.as_ref())
                    .map(|(lineage, roster)| Arc::new(Lineage { roster: roster.clone(), ..lineage.clone() })),
            },
        };
        let enters = entered.is_some();
        let mut changes = Change::in_order(revision.drop_from, restored, refuse, entered, revision.base, append);
        changes.extend(roster.map(Change::TakeRoster));
        let accepted = Accepted {
            revision,
            enters,
            is_of_other_log: self.log_id.is_some_and(|log_id| log_id != call.log_id),
            epoch: call.epoch,
            decided: call.decided,
            session: call.session,
            admitted: call.admitted,
        };
        (accepted, changes)
    }

    /// The roster of a call of the epoch that is entered, if it is later than the one that this node knows.
    fn newer_roster(&self, call: &Call) -> Option<Roster> {
        let known = self.lineage.as_ref().map(|lineage| lineage.roster.number());
        call.roster.clone().filter(|roster| known.is_none_or(|known| roster.number() > known))
    }

    /// The epoch of a call, which this node has not entered.
    fn entered(&self, call: &Call, holds: &Holds) -> EnteredEpoch {
        EnteredEpoch {
            log_id: call.log_id,
            epoch: call.epoch,
            master: call.master,
            begins: holds.drop_from.unwrap_or(holds.last.next()),
            history: call.history.clone(),
            roster: call.roster.clone(),
        }
    }

    /// Checks log and epoch; gives the id from which a later epoch overtook what is held here.
    fn check_epoch(&self, call: &Call) -> Result<Option<Id>, Refusal> {
        match self.log_id {
            Some(holds) if holds != call.log_id && self.last > Id::ZERO => return Err(Refusal::OtherLog { holds }),
            Some(holds) if holds != call.log_id => return Ok(Some(Id::ZERO.next())),
            _ => {}
        }
        if call.epoch < self.epoch || (call.epoch == self.epoch && self.master.is_some_and(|one| one != call.master)) {
            return Err(Refusal::Fenced { epoch: self.epoch });
        }
        // A master of the promised epoch has a promise quorum, so no other candidate for it has one.
        if let Some(Candidacy { epoch, .. }) = self.promised().filter(|promised| call.epoch < promised.epoch) {
            return Err(Refusal::Fenced { epoch });
        }
        if call.epoch == self.epoch {
            return Ok(None);
        }
        let epoch_start = call.epoch_start.filter(|epoch_start| epoch_start.since == self.epoch);
        let Some(epoch_start) = epoch_start else { return Err(Refusal::EpochStartMismatch { epoch: self.epoch }) };
        if let (Some(lineage), Some(history), Some(true)) =
            (&self.lineage, &call.history, call.roster.as_ref().map(Roster::allows_promotion))
        {
            let Some(from) = lineage.history.fork(history) else { return Ok(None) };
            let is_forked = self.decided >= from;
            return if is_forked { Err(Refusal::Forked { decided: self.decided, from }) } else { Ok(Some(from)) };
        }
        if self.decided >= epoch_start.overtaken_from {
            return Err(Refusal::MasterBehind { decided: self.decided, begins: epoch_start.overtaken_from });
        }
        Ok(Some(epoch_start.overtaken_from))
    }

    /// The changes of an accepted call are stored: publishes them as pending, takes over the high watermark, and gives
    /// the acknowledgement. Publishing comes before the acknowledgement, so that no reader misses a message whose
    /// client has a 201.
    pub(super) fn applied(&mut self, accepted: &Accepted) -> Acknowledgement {
        if accepted.enters || accepted.session > self.session {
            (self.session, self.admitted) = (accepted.session, false);
        }
        self.revise(&accepted.revision);
        self.advance(accepted.decided);
        self.admitted |= accepted.admitted && accepted.session == self.session && self.last >= accepted.decided;
        self.acknowledgement()
    }

    /// What a revision stores is durable.
    pub(super) fn revise(&mut self, revision: &Revision) {
        if let Some(id) = revision.drop_from {
            self.refused.split_off(&id);
        }
        if let Some(lineage) = &revision.lineage {
            self.set_lineage(Arc::clone(lineage));
        }
        self.last = revision.last;
        if let Some(base) = revision.base {
            (self.base, self.decided, self.visible) = (base.id, base.id, base.messages);
            self.refused = self.refused.split_off(&base.id.next());
        }
        revision.restored.iter().for_each(|id| {
            self.refused.remove(id);
        });
        self.refused.extend(revision.refused.iter().copied().filter(|&id| id > self.decided));
    }

    /// Examines a master's answer about decisions. The refusals that it gives have to be stored before
    /// [`Replica::learned`], and nothing may be accepted in between. Gives `None` for an epoch that this node has not
    /// entered yet: the calls of its master bring what it decided.
    ///
    /// # Errors
    /// If the answer does not come from the master that this node follows.
    pub(super) fn learn(&self, decisions: &Decisions) -> Result<Option<Learned>, StaleReply> {
        let Some((ours, master)) = self.log_id.zip(self.master) else { return Ok(None) };
        if decisions.log_id != ours {
            return Err(StaleReply::OtherLog(decisions.log_id));
        }
        let promised = self.promised().map_or(Epoch::NONE, |candidacy| candidacy.epoch);
        if decisions.epoch < self.epoch.max(promised) {
            return Err(StaleReply::EarlierEpoch(decisions.epoch));
        }
        if decisions.epoch > self.epoch {
            return Ok(None);
        }
        if decisions.master != master {
            return Err(StaleReply::OtherMaster(decisions.epoch));
        }
        let news = self.decided.next()..=self.last;
        let refuse =
            decisions.refused.iter().copied().filter(|id| news.contains(id) && !self.refused.contains(id)).collect();
        Ok(Some(Learned { refuse, decided: decisions.decided }))
    }

    /// The refusals of an answer are stored: shows what the master has decided.
    pub(super) fn learned(&mut self, learned: &Learned) {
        self.refused.extend(learned.refuse.iter().copied().filter(|&id| id > self.decided));
        self.advance(learned.decided);
    }

    /// A message of a foreign master was stored at `id`: such messages are visible at once.
    ///
    /// # Panics
    /// If this node follows a master, or the id goes back.
    pub(super) fn foreign_stored(&mut self, id: Id) {
        assert!(self.log_id.is_none(), "a foreign message on a node of log {:?}", self.log_id);
        assert!(id > self.last, "foreign message {id} after {}", self.last);
        self.last = id;
        self.decided = id;
        self.visible += 1;
        self.foreign += 1;
    }

    fn advance(&mut self, decided: Id) {
        let reached = decided.min(self.last);
        for id in self.decided.until(reached) {
            if !self.refused.remove(&id) {
                self.visible += 1;
            }
        }
        self.decided = self.decided.max(reached);
        assert!(self.decided <= self.last, "decided {} ≤ last {}", self.decided, self.last);
    }

    fn acknowledgement(&self) -> Acknowledgement {
        Acknowledgement {
            incarnation: self.incarnation,
            durable: self.last,
            decided: self.decided,
            session: self.session,
            admitted: self.admitted,
        }
    }
}

/// The slots of a call beyond what is held, in order. A refusal wins over an entry sent before it was decided.
fn slots_beyond(call: &Call, holds: Id) -> Vec<Slot> {
    let refused: BTreeSet<Id> = call.refused.iter().copied().collect();
    let mut entries = call.entries.iter().filter(|entry| entry.id > holds).peekable();
    let mut slots = Vec::with_capacity(entries.size_hint().1.unwrap_or(0));
    for id in holds.until(call.through) {
        let entry = entries.next_if(|entry| entry.id == id);
        match entry {
            Some(entry) if !refused.contains(&id) => slots.push(Slot::Entry(Arc::clone(entry))),
            _ => slots.push(Slot::Refused(id)),
        }
    }
    slots
}

/// How far a replica follows the log of a call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Holds {
    /// The last id held of that log, without what the call's epoch start overtakes.
    last: Id,
    drop_from: Option<Id>,
}

impl Holds {
    /// The ids that the call covers and that are held already.
    pub(super) fn look_ups(self, call: &Call) -> Vec<Id> {
        let entries = call.entries.iter().map(|entry| entry.id);
        let ids = entries.chain(call.refused.iter().copied()).filter(|&id| id > Id::ZERO && id <= self.last);
        ids.collect::<BTreeSet<Id>>().into_iter().collect()
    }
}

/// The part of a call that is held already, beyond what is trimmed.
struct Overlap {
    /// The first entry that is held with another content. A held refusal is no difference: a call that was sent before
    /// the refusal may arrive after it.
    difference: Option<Id>,
    /// Refused ids that are held as entries, in order.
    refused: Vec<Id>,
}

impl Overlap {
    fn find(call: &Call, base: Id, last: Id, held: &[Slot]) -> Overlap {
        let held = |id: Id| held.binary_search_by_key(&id, Slot::id).ok().map(|place| &held[place]);
        let is_same = |entry: &&Arc<Entry>| match held(entry.id) {
            _ if entry.id <= base => true,
            Some(Slot::Entry(held)) => held == *entry,
            Some(Slot::Refused(_)) => true,
            None => false,
        };
        let difference = call.entries.iter().take_while(|entry| entry.id <= last).find(|entry| !is_same(entry));
        let is_entry = |id: &Id| *id > base && *id <= last && matches!(held(*id), Some(Slot::Entry(_)));
        Overlap {
            difference: difference.map(|entry| entry.id),
            refused: call.refused.iter().copied().filter(is_entry).collect(),
        }
    }
}

/// Checks that a call is what it says: every id that it covers is an entry or refused, in order.
fn check_shape(call: &Call) -> Result<(), Refusal> {
    let malformed = |why: String| Err(Refusal::Malformed(why));
    if call.epoch == Epoch::NONE {
        return malformed("it is of no epoch".to_owned());
    }
    if call.through == Id::MAX {
        return malformed(format!("it ends at id {}, beyond the last one that can be given", call.through));
    }
    if let Some(base) = call.base.filter(|base| base.id > call.after) {
        return malformed(format!("it begins after id {}, and the log is trimmed up to {}", call.after, base.id));
    }
    if call.through < call.after {
        return malformed(format!("it ends at id {} and begins after {}", call.through, call.after));
    }
    if let Some(pair) = call.refused.windows(2).find(|pair| pair[0] >= pair[1]) {
        return malformed(format!("refused id {} follows {}", pair[1], pair[0]));
    }
    let allows_promotion = call.roster.as_ref().is_some_and(Roster::allows_promotion);
    if !call.restored.is_empty() && (call.epoch_start.is_none() || !allows_promotion) {
        return malformed("it takes refusals back, and opens no epoch in which that may be".to_owned());
    }
    if let Some(pair) = call.restored.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        return malformed(format!("restored id {} follows {}", pair[1].id, pair[0].id));
    }
    if let Some(entry) = call.restored.iter().find(|entry| entry.epoch > call.epoch) {
        return malformed(format!("restored entry {} is of epoch {}, after {}", entry.id, entry.epoch, call.epoch));
    }
    if let Some(number) = call.roster.as_ref().map(Roster::number).filter(|number| number.epoch != call.epoch) {
        return malformed(format!("it is of epoch {}, and its roster of epoch {}", call.epoch, number.epoch));
    }
    let refused: BTreeSet<Id> = call.refused.iter().copied().collect();
    let mut expected = call.after.next();
    for entry in &call.entries {
        if entry.epoch > call.epoch {
            return malformed(format!("entry {} is of epoch {}, after {}", entry.id, entry.epoch, call.epoch));
        }
        while expected < entry.id && refused.contains(&expected) {
            expected = expected.next();
        }
        if entry.id != expected {
            return malformed(format!("entry {} where {expected} was due", entry.id));
        }
        expected = expected.next();
    }
    while expected <= call.through && refused.contains(&expected) {
        expected = expected.next();
    }
    if expected != call.through.next() {
        return malformed(format!("it ends at id {}, but id {expected} is missing", call.through));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_takes_over_only_what_continues_its_log() {
        let (log_id, master) = (LogId::new(1), Incarnation::new(9));
        let mut history = EpochHistory::default();
        history.begin(Epoch::new(1), Id::new(1), master);
        let continues = |log_id, epoch, master, decided, last| {
            let (decided, last) = (Id::new(decided), Id::new(last));
            let mut entered = EpochHistory::default();
            entered.begin(epoch, Id::new(1), master);
            let lineage = Lineage { log_id, history: entered, roster: Roster::default(), promised: None };
            let found = Found { lineage: Some(lineage), last, decided, ..Found::default() };
            let status = Replica::recovered(Incarnation::new(1), found).status();
            status.continues(LogId::new(1), &history, Id::new(3))
        };
        assert!(continues(log_id, Epoch::new(1), master, 3, 4));
        for (what, does) in [
            ("no more than the master", continues(log_id, Epoch::new(1), master, 3, 3)),
            ("more that is decided", continues(log_id, Epoch::new(1), master, 4, 5)),
            ("another log", continues(LogId::new(2), Epoch::new(1), master, 3, 4)),
            ("another epoch", continues(log_id, Epoch::new(2), master, 3, 4)),
            ("another master of the epoch", continues(log_id, Epoch::new(1), Incarnation::new(8), 3, 4)),
        ] {
            assert!(!does, "{what}");
        }
    }

    #[test]
    fn a_stale_reply_says_why_it_is() {
        assert!(StaleReply::OtherLog(LogId::new(1)).to_string().starts_with("serves another log, 0000"));
        assert_eq!(StaleReply::EarlierEpoch(Epoch::new(3)).to_string(), "is still in epoch 3");
        assert!(StaleReply::OtherMaster(Epoch::new(3)).to_string().contains("stop one of the two"));
    }
}
