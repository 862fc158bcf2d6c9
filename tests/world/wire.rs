//! What is under way between nodes. Anything may take as long as it likes, arrive in any order, twice, or never.

use replicated_log::protocol::{Acknowledgement, Call, Dispatch, Entry, Fate, Holdings, Id, Incarnation, Refusal};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Something on its way between a master and a secondary.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Parcel {
    /// Given when it is sent.
    pub(crate) number: u64,
    pub(crate) master: usize,
    pub(crate) member: usize,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Content {
    /// Master to a start of a secondary. Without a delivery nobody waits for the answer any more.
    Call { to: Incarnation, call: Call, delivery: Option<Delivery> },
    /// Secondary to master: the answer to a call that went up to `through`.
    Reply { through: Id, delivery: Delivery, answer: Result<Acknowledgement, Complaint> },
    /// Secondary to master: what it holds; nothing, if it does not answer.
    Holdings(Option<Holdings>),
    /// Master to a start of a secondary: the fate of what is pending; nothing, if it does not answer. Beside it, what had
    /// been acknowledged when the secondary asked, for the witness.
    Fate { fate: Option<Fate>, asker: Incarnation, acknowledged: BTreeSet<Arc<str>> },
}

/// Why a secondary did not take a call.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Complaint {
    /// The replica refused it.
    Refused(Refusal),
    /// It was addressed to an earlier start of the process.
    OtherIncarnation,
    /// Its disk did not take it.
    Unable,
    /// Nobody listens there.
    Down,
}

/// A thread of a master that brings a secondary what it lacks, in as many calls as it takes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) dispatch: Dispatch,
    /// What the round carries that it belongs to; none for catch-up.
    pub(crate) round: Option<Round>,
    /// The next call begins after this id.
    pub(crate) after: Id,
    pub(crate) resends: u32,
}

/// The entries of a round follow the id `after`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Round {
    pub(crate) after: Id,
    pub(crate) entries: Vec<Arc<Entry>>,
}

impl Round {
    pub(crate) fn through(&self) -> Id {
        self.entries.last().map_or(self.after, |entry| entry.id)
    }
}

impl Delivery {
    pub(crate) fn new(dispatch: Dispatch, round: Option<Round>) -> Delivery {
        Delivery { after: dispatch.after, dispatch, round, resends: 0 }
    }

    pub(crate) fn is_round(&self) -> bool {
        self.round.is_some()
    }

    pub(crate) fn is_empty_round(&self) -> bool {
        self.round.as_ref().is_some_and(|round| round.entries.is_empty())
    }
}

impl Parcel {
    pub(crate) fn delivery(&self) -> Option<&Delivery> {
        match &self.content {
            Content::Call { delivery, .. } => delivery.as_ref(),
            Content::Reply { delivery, .. } => Some(delivery),
            Content::Holdings(_) | Content::Fate { .. } => None,
        }
    }

    /// Whether it arrives although the master that sent it has ended.
    pub(crate) fn outlives_the_sender(&self) -> bool {
        matches!(self.content, Content::Call { .. } | Content::Fate { .. })
    }

    /// Whether a thread of the master waits for what becomes of it.
    pub(crate) fn somebody_waits(&self) -> bool {
        self.delivery().is_some()
    }

    /// The same call, for whose answer nobody waits.
    pub(crate) fn orphan(&self) -> Parcel {
        let content = match &self.content {
            Content::Call { to, call, .. } => Content::Call { to: *to, call: call.clone(), delivery: None },
            other => other.clone(),
        };
        Parcel { content, ..self.clone() }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.master, self.member, &self.content).hash(&mut hasher);
        hasher.finish()
    }
}
