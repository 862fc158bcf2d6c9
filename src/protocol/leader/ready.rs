//! What goes into a [`super::Leader`], and what comes out of it.

use crate::protocol::{
    Acknowledgement, Base, CopyId, Entry, EpochStart, Health, Id, Incarnation, MemberId, Refusal, ReplicaStatus,
    Roster, Shortfall, Slot, Ticket, Time, Watermark, WriteConcern,
};
use std::sync::Arc;
use std::time::Duration;

/// Something that has happened to a master.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A client posts a write.
    Posted(Post),
    /// A client has posted again what the store holds, see [`Reply::Stored`].
    Repeated {
        /// The client.
        ticket: Ticket,
        /// The last id of the write.
        last: Id,
        /// How many copies the client asks for.
        concern: WriteConcern,
        /// How long it waits if the write is in doubt.
        timeout: Duration,
    },
    /// [`Ready::append`] is durable.
    Appended,
    /// The disk had no room for [`Ready::append`]; nothing of it is stored.
    AppendHadNoRoom,
    /// [`Ready::refuse`] is durable.
    RefusalsStored,
    /// [`Ready::note`] is noted.
    WatermarkNoted,
    /// The store failed: the master takes no more writes, and the outcome of those in flight is unknown.
    Failed,
    /// A secondary acknowledged a call.
    Acknowledged {
        /// What the call was made for.
        dispatch: Dispatch,
        /// The last id that the call carried.
        sent: Id,
        /// What the secondary says.
        acknowledgement: Acknowledgement,
    },
    /// A secondary did not acknowledge a call, or the call could not be made.
    CallFailed {
        /// What the call was made for.
        dispatch: Dispatch,
        /// Why.
        failure: CallFailure,
    },
    /// A secondary that [`Ready::probes`] named has reported, or has not.
    Reported {
        /// The secondary.
        member: MemberId,
        /// What it reports.
        report: Result<ReplicaStatus, CallFailure>,
    },
    /// [`Ready::roster`] is durable, as this roster: the owner may have added contacts.
    RosterStored(Roster),
    /// Nodes have other names or addresses than the contacts of the roster say.
    Renamed,
    /// A secondary is registered. If it is known which copy of the log it held last, that is given, too.
    Joined(MemberId, Option<CopyId>),
    /// A secondary says that this process of it has started.
    Started(MemberId, Incarnation),
    /// A secondary is to vote no more, so that it can be removed.
    Demoting(MemberId),
    /// The secondary is not removed after all, and may vote.
    Keeping(MemberId),
    /// A secondary, which votes no more, is about to be removed.
    Leaving(MemberId),
    /// A secondary is removed: "all" means the rest from now on.
    Left(MemberId),
    /// The master's store is trimmed up to this base, durably: the id is one that [`super::Leader::trimmable`] gave.
    Trimmed(Base),
    /// Every secondary on record has joined. If there is none, no report will come, so the leader decides now what it
    /// found.
    Assembled,
    /// The master stops: it takes no more writes, and refuses those that are undecided after this time.
    Stopping(Duration),
    /// Time has passed; see [`Ready::wake_at`].
    Tick,
}

/// A write as a client posts it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Post {
    /// The client.
    pub ticket: Ticket,
    /// Its messages, at least one. They get ids that follow each other, and one outcome.
    pub messages: Vec<Arc<str>>,
    /// The idempotency key.
    pub key: Option<Arc<str>>,
    /// How many copies it asks for.
    pub concern: WriteConcern,
    /// How long it waits for missing copies; otherwise it fails as soon as they cannot come.
    pub timeout: Option<Duration>,
    /// The id that it is to follow directly.
    pub follows: Option<Id>,
    /// When it came in, by the master's wall clock: milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: u64,
}

/// Why a secondary did not answer as it should.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum CallFailure {
    /// It refused the call, or cannot take part.
    Refused(Refusal),
    /// Another process answered than the one that the call was meant for.
    Restarted,
    /// No answer came, or none that this program gives.
    Silent,
    /// It gave another answer, it cannot store anything now, or the master could not make the call.
    Failed,
}

/// What has to be done after an event, in the order of the fields. Only `replies` and `news` may be left out: nothing
/// else depends on them.
///
/// One append, one batch of refusals, one watermark and one roster are under way at a time: the next comes with the event
/// that reports the last one. Calls may take as long as they like, but each must end in [`Event::Acknowledged`] or
/// [`Event::CallFailed`], and each probe in [`Event::Reported`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "effects have to be carried out"]
pub struct Ready {
    /// Note this high watermark, so that it survives the process, then report [`Event::WatermarkNoted`]. Until then no
    /// reader may see more than before.
    pub note: Option<Watermark>,
    /// Answer these clients.
    pub replies: Vec<(Ticket, Reply)>,
    /// What an operator may want to know.
    pub news: Vec<News>,
    /// Send this round: all its calls in parallel.
    pub round: Option<Round>,
    /// Make these calls, each to one secondary. That of a round, or one that tells the high watermark, continues the call
    /// whose outcome the event reported.
    pub calls: Vec<Dispatch>,
    /// Ask these secondaries for their state.
    pub probes: Vec<MemberId>,
    /// Make these slots durable at the end of the master's own log, then report [`Event::Appended`].
    pub append: Vec<Slot>,
    /// Make the refusals of these ids durable, then report [`Event::RefusalsStored`]. Do not tell
    /// clients or secondaries before.
    pub refuse: Vec<Id>,
    /// Make this roster durable, with the contacts of all nodes, then report [`Event::RosterStored`].
    pub roster: Option<Roster>,
    /// Report [`Event::Tick`] at this time, if no other event comes before.
    pub wake_at: Option<Time>,
}

/// One parallel replication step. It carries all writes that waited, or only the high watermark.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Round {
    /// Its entries follow this id.
    pub after: Id,
    /// Its entries, in order; none if it only tells the high watermark.
    pub entries: Arc<[Arc<Entry>]>,
    /// One call for each secondary that takes part.
    pub calls: Vec<Dispatch>,
}

impl Round {
    /// The last id that it carries.
    #[must_use]
    pub fn through(&self) -> Id {
        self.entries.last().map_or(self.after, |entry| entry.id)
    }
}

/// What a call is made for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// It belongs to the round that ends with this id.
    Round(Id),
    /// It tells the high watermark, or that the secondary takes part.
    Watermark,
    /// It tells refusals that have to become safe. Such a call belongs to no round: the owner makes it beside the step that
    /// asked for it, like that of a catch-up.
    Refusals,
    /// It is part of the catch-up of a secondary.
    CatchUp,
    /// It is the removal notice. The owner does not report what came of it.
    Removal,
}

/// A call to a secondary that has to be made. It covers the ids after `after`; the slots in the master's store come
/// from there, as many as one call takes, and the others are in `entries`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Dispatch {
    /// The secondary.
    pub member: MemberId,
    /// The process of it that the call is meant for.
    pub incarnation: Incarnation,
    /// The replication session in which the call is made.
    pub session: u64,
    /// What the call is for.
    pub purpose: Purpose,
    /// The call begins after this id.
    pub after: Id,
    /// The secondary is to hold everything up to here when this call and its follow-ups have returned.
    pub through: Id,
    /// What this call carries of that, unless the master's store holds it.
    pub entries: Arc<[Arc<Entry>]>,
    /// This call carries the ids up to this one, or less if it comes from the store and has no room for all.
    pub carries: Id,
    /// How often the call was sent before, because the secondary lacked an earlier one.
    pub resends: u32,
    /// The high watermark that the secondary has acknowledged: the call carries the refusals after it.
    pub known_decided: Id,
    /// The high watermark that the call carries.
    pub decided: Id,
    /// How many batches of refusals the master's store held when the call was asked for.
    pub refusals: u64,
    /// Present until the secondary has entered this epoch.
    pub epoch_start: Option<EpochStart>,
    /// Present until it is known that the secondary has this roster durably.
    pub roster: Option<Arc<Roster>>,
    /// Present until it is known that the secondary has decided as much, and knows of it.
    pub base: Option<Arc<Base>>,
    /// The ids under which the secondary has refusals that the master may not have: the call brings the messages that the
    /// master's store holds there. Empty once the secondary has entered this epoch.
    pub restores: Vec<Id>,
    /// Whether the secondary takes part in the rounds.
    pub admitted: bool,
}

impl Dispatch {
    /// Whether what the call carries has to be read from the master's store.
    #[must_use]
    pub fn is_from_store(&self) -> bool {
        self.carries > self.after && self.entries.is_empty()
    }
}

/// The reply to a client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reply {
    /// The write has its ids, and waits. Another reply brings its outcome.
    Accepted {
        /// The id of its first message.
        first: Id,
        /// The id of its last message.
        last: Id,
    },
    /// Another client posted this write, which waits. Another reply brings its outcome.
    Joined {
        /// The id of its last message.
        last: Id,
    },
    /// The write was not taken, and has no ids.
    Rejected(Rejection),
    /// The key belongs to a write that the store holds: compare the two, and report [`Event::Repeated`] if they are the
    /// same.
    Stored {
        /// The id of its first message.
        first: Id,
        /// The id of its last message.
        last: Id,
    },
    /// The key belongs to another write, with this last id.
    OtherWrite(Id),
    /// The write has its outcome.
    Settled {
        /// The id of its last message.
        last: Id,
        /// The outcome.
        outcome: Outcome,
        /// Whether the client posted a write again that an earlier post had appended.
        is_repeat: bool,
    },
    /// The master does not know the outcome of the write.
    Unknown {
        /// The id of its last message.
        last: Id,
    },
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// It is shown, and as many nodes hold it as the client asked for.
    Committed,
    /// It is shown and stays, but the leader knows of fewer copies: a later write sealed it before its time was over.
    CommittedShort,
    /// It is refused, durably: no node shows it, ever.
    Refused,
}

/// Why a write is not taken.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Rejection {
    /// The master takes no more writes until a restart.
    Halted,
    /// The master is stopping.
    Stopping,
    /// Fewer nodes are healthy than must be.
    ReadOnly {
        /// Nodes that are healthy, the master included.
        healthy: usize,
        /// Nodes that must be healthy.
        needed: usize,
    },
    /// Too many messages are open.
    Overloaded {
        /// Messages that are open now.
        open: u64,
    },
    /// The message that it was to follow is not the newest; this one is.
    Overtaken(Id),
    /// Too few nodes can take part.
    Shortfall(Shortfall),
}

/// What an operator may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// Writes have their outcome; each is named by its first and last id.
    Settled(Outcome, Vec<(Id, Id)>),
    /// The master's own disk holds the writes after an id, up to another.
    Stored(Id, Id),
    /// The disk had no room for the writes after an id, up to another, so they are being refused.
    NoRoom(Id, Id),
    /// A write is shown, though its own writer goes on waiting for copies.
    Sealed(Id, Id),
    /// A secondary acknowledged everything up to an id; before, it had up to another.
    Matched {
        /// The secondary.
        member: MemberId,
        /// The id up to which it was known to hold everything.
        before: Id,
        /// The id up to which it is known to hold everything now.
        matched: Id,
    },
    /// A secondary may take part, and catches up. `lost` is set if it holds less than it acknowledged.
    CatchingUp {
        /// The secondary.
        member: MemberId,
        /// The id up to which it holds everything.
        matched: Id,
        /// The id up to which it had acknowledged everything, if that is more.
        lost: Option<Id>,
    },
    /// A secondary takes part in the rounds.
    Admitted {
        /// The secondary.
        member: MemberId,
        /// How many ids it caught up on.
        sent: u64,
    },
    /// A secondary leaves the rounds, or stops catching up.
    Lost {
        /// The secondary.
        member: MemberId,
        /// The id up to which it is known to hold everything.
        matched: Id,
        /// Why.
        failure: CallFailure,
    },
    /// A secondary cannot take part.
    Unfit(MemberId, CallFailure),
    /// The health of a secondary has changed.
    Health(MemberId, Health),
    /// Two registered secondaries are the same copy: the first is no member any more, the second stays.
    Merged(MemberId, MemberId),
    /// A call is sent again from this id, because the secondary lacked an earlier one.
    Resent(MemberId, Id),
    /// This roster is in force.
    Roster(Arc<Roster>),
    /// The master takes no more writes, because of this refusal of a secondary.
    Overtaken(MemberId, Refusal),
}
