//! What goes into a [`super::Follower`], and what comes out of it.

use super::replica::{Change, Decisions, Found, StaleReply};
use crate::protocol::{
    Acknowledgement, Adoption, Base, Beginning, Call, Candidacy, Id, Incarnation, LogId, NotPromised, Promise,
    PromiseRequest, Refusal, Slot, Ticket, Watermark,
};
use std::sync::Arc;

/// Something that has happened to a secondary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A call has begun to arrive. [`Event::Called`], [`Event::ForeignCalled`] or [`Event::Abandoned`] follows.
    Arriving,
    /// What was arriving is no call, or did not arrive.
    Abandoned,
    /// A call has arrived.
    Called(Called),
    /// A message of a master that does not speak this protocol has arrived.
    ForeignCalled(ForeignMessage),
    /// A candidate, which may be this node, asks for something. [`Reply::NotPromised`] follows, or what the request names.
    Requested(Ticket, Request),
    /// The artificial delay of a call is over, see [`Reply::Stored`].
    DelayOver(Ticket),
    /// A reader wants to know whether this node shows all that was acknowledged.
    Read {
        /// The reader.
        ticket: Ticket,
        /// The consistency that the reader asks for.
        consistency: Consistency,
    },
    /// The question of [`Ready::ask`] is over.
    Answered {
        /// The ticket of the [`Reply::Learned`] or [`Reply::NotLearned`] that follows if the master answered.
        ticket: Ticket,
        /// The master's answer, if it gave one.
        decisions: Option<Decisions>,
    },
    /// [`Effect::LookUp`]: the slots that the store holds under the ids, in the order of the ids.
    LookedUp(Vec<Slot>),
    /// [`Effect::Store`]: everything is durable.
    Stored,
    /// [`Effect::Note`]: the high watermark is noted.
    WatermarkNoted,
    /// The store failed to carry out the effect. It may hold a part of it.
    StoreFailed,
    /// [`Effect::Recover`]: what the store holds, and a new incarnation.
    Recovered(Incarnation, Found),
    /// The log of the master is trimmed up to this base. Calls say so, too, but a node whose disk is full gets none.
    BaseTold(Base),
    /// [`Ready::trim`]: what this node holds up to the base, which ends with this id, is not what the base stands for.
    /// Nothing was dropped.
    BaseDiffers(Id),
    /// Time has passed; see [`super::Follower::wake_at`].
    Tick,
}

/// A call, as it arrives.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Called {
    /// The ticket of the reply.
    pub ticket: Ticket,
    /// The process that the call is meant for.
    pub to: Incarnation,
    /// The call.
    pub call: Call,
    /// Whether its acknowledgement waits for the artificial delay, if it carries messages.
    pub is_delayed: bool,
}

/// A message of a master that does not speak this protocol.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ForeignMessage {
    /// The ticket of the reply.
    pub ticket: Ticket,
    /// Its id; the next one, if that master gave none.
    pub id: Option<Id>,
    /// Its text.
    pub message: Arc<str>,
    /// When it arrived, by this node's wall clock: milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: u64,
}

/// What a candidate asks for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// A promise. [`Reply::Promised`] follows.
    Promise(PromiseRequest),
    /// This node is the candidate, and copies the best log. [`Reply::Adopted`] follows.
    Adopt(Adoption),
    /// This node is the candidate, holds the best log, and begins its epoch. [`Reply::Begun`] follows.
    Begin(Candidacy, Beginning),
}

/// Which messages a reader must not miss.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Consistency {
    /// Messages that all nodes acknowledged; otherwise the reply says that it may be stale.
    Usual,
    /// Messages that were acknowledged with any number of copies; otherwise there is no reply.
    Strong,
    /// No message in particular: the reply is the prefix of the log that this node knows.
    Prefix,
}

/// What has to be done after an event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "effects have to be carried out"]
pub struct Ready {
    /// Answer these calls, foreign messages and answers of the master.
    pub replies: Vec<(Ticket, Reply)>,
    /// Answer these readers: they may read what this node shows now.
    pub reads: Vec<(Ticket, Freshness)>,
    /// What an operator may want to know.
    pub news: Vec<News>,
    /// Do this to the store, then report its event, or [`Event::StoreFailed`]. One effect is under way at a time. It is
    /// part of what the holder of this ticket waits for.
    pub effect: Option<(Ticket, Effect)>,
    /// Trim the store up to this base, beside everything else, and report [`Event::BaseDiffers`] if the store holds
    /// something else up to there. What comes later replaces this.
    pub trim: Option<Base>,
    /// Ask the master what it has decided after this id, then report [`Event::Answered`]. One question is in flight at
    /// a time.
    pub ask: Option<Id>,
}

/// Something that has to be done to the store.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// Look up what it holds under these ids.
    LookUp(Vec<Id>),
    /// Make these changes, each durable before the next.
    Store(Vec<Change>),
    /// Note this high watermark, so that what a reader saw survives the process.
    Note(Watermark),
    /// Read again what it holds.
    Recover,
}

/// The answer to the holder of a ticket that is no reader.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reply {
    /// To a call: everything is durable, and the artificial delay begins. The owner may free what the call carried.
    /// After the delay it reports [`Event::DelayOver`], which leads to the acknowledgement.
    Stored,
    /// To a call: the acknowledgement.
    Acknowledged(Acknowledgement),
    /// To a call: nothing of it was kept.
    Refused(Refusal),
    /// To a call: it was meant for an earlier process of this node.
    OtherIncarnation,
    /// To a call, a foreign message or an answer of the master: the store failed.
    Unable,
    /// To a candidate: the promise. The owner adds the base, and the refused ids between [`PromiseRequest::after`] and the
    /// high watermark: those are in its store.
    Promised(Promise),
    /// To a candidate, or to this node as one: another candidate or master came before.
    NotPromised(NotPromised),
    /// The best log is stored.
    Adopted,
    /// The epoch has begun: this node leads from now on, and no [`super::Follower`] any more.
    Begun,
    /// To a foreign message: it is stored under this id, and shown.
    ForeignStored(Id),
    /// To a foreign message: it was not taken.
    ForeignRefused(ForeignRefusal),
    /// To the master's answer: its decisions are taken over.
    Learned,
    /// To the master's answer: it is stale, and changes nothing.
    NotLearned(StaleReply),
}

/// What a reader may conclude from what this node shows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Freshness {
    /// No message is missing that the consistency of the read asks for.
    Complete,
    /// This node may lack an acknowledged message.
    PossiblyStale,
}

/// Why a foreign message was not taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ForeignRefusal {
    /// This node belongs to a log, and takes messages from its master only.
    HasMaster(LogId),
    /// The id is held with another content, or was passed over.
    Held(Id),
    /// The id is too far from the last one held.
    TooFar {
        /// The id.
        id: Id,
        /// The last one held.
        last: Id,
    },
}

/// What an operator may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// A call with messages arrived before an earlier one, and waits for it.
    Early {
        /// The id before the first one that the call carries.
        after: Id,
        /// The last id that the call carries.
        through: Id,
        /// The last id that this node holds.
        holds: Id,
    },
    /// The high watermark has risen.
    Decided {
        /// The high watermark before.
        after: Id,
        /// The high watermark now.
        through: Id,
        /// How many messages are visible.
        visible: u64,
    },
}
