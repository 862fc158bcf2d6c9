//! What is under way between nodes. Any packet may take any time, arrive in any order, twice, or never.

use super::Node;
use replicated_log::protocol::{
    Acknowledgement, Call, Candidacy, CopyId, Decisions, Dispatch, Id, Incarnation, Promise, PromiseRequest, Refusal,
    ReplicaStatus, Ticket,
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A packet between a master and a secondary.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Packet {
    /// Assigned when the packet is sent.
    pub(crate) number: u64,
    pub(crate) master: Node,
    pub(crate) member: Node,
    pub(crate) content: Content,
}

#[allow(clippy::large_enum_variant, reason = "most packets are calls")]
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Content {
    /// A call of a master to a process of a secondary. Without a dispatch no thread waits for the answer.
    Call { to: Incarnation, call: Call, dispatch: Option<Dispatch> },
    /// A call that a secondary has not answered yet; the answer comes under this ticket.
    Held { sent: Id, dispatch: Dispatch, ticket: Ticket },
    /// The answer of a secondary to a call that carried ids up to `sent`.
    Reply { sent: Id, dispatch: Dispatch, answer: Result<Acknowledgement, Complaint> },
    /// The question of a master for the state of a secondary.
    Probe,
    /// The state of a secondary, or `None` if it does not answer.
    Status(Option<ReplicaStatus>),
    /// The question of a candidate for a promise. The candidate is in the place of the master.
    Ask(PromiseRequest),
    /// A promise to a candidate, of the node that holds this copy.
    Promised(Candidacy, CopyId, Box<Promise>),
    /// The reply of a master to a secondary that asked what is decided, or `None` if the master does not answer.
    Answer(Option<Decisions>),
}

/// Why a secondary did not take a call.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Complaint {
    /// The replica refused the call.
    Refused(Refusal),
    /// The call was for an earlier start of the process.
    OtherIncarnation,
    /// The disk did not take the call's entries.
    Unable,
    /// The process does not run.
    Down,
}

impl Packet {
    pub(crate) fn dispatch(&self) -> Option<&Dispatch> {
        match &self.content {
            Content::Call { dispatch, .. } => dispatch.as_ref(),
            Content::Reply { dispatch, .. } | Content::Held { dispatch, .. } => Some(dispatch),
            Content::Probe | Content::Status(_) | Content::Answer(_) | Content::Ask(_) | Content::Promised(..) => None,
        }
    }

    /// Whether it arrives although the master that sent it has ended.
    pub(crate) fn outlives_the_sender(&self) -> bool {
        matches!(self.content, Content::Call { .. } | Content::Answer(_) | Content::Ask(_) | Content::Promised(..))
    }

    /// Whether a thread of the master waits for what becomes of it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.dispatch().is_some()
    }

    /// The ticket under which a secondary answers the call later.
    pub(super) fn held_under(&self) -> Option<Ticket> {
        match self.content {
            Content::Held { ticket, .. } => Some(ticket),
            _ => None,
        }
    }

    /// Puts the answer in place of a call that is held under such a ticket.
    pub(super) fn answer(&mut self, is_meant: impl Fn(Ticket) -> bool, answer: &Result<Acknowledgement, Complaint>) {
        if let Content::Held { sent, dispatch, ticket } = &self.content
            && is_meant(*ticket)
        {
            self.content = Content::Reply { sent: *sent, dispatch: dispatch.clone(), answer: answer.clone() };
        }
    }

    /// The same call without its dispatch: no thread waits for the answer.
    pub(crate) fn orphan(&self) -> Packet {
        let content = match &self.content {
            Content::Call { to, call, .. } => Content::Call { to: *to, call: call.clone(), dispatch: None },
            other => other.clone(),
        };
        Packet { content, ..self.clone() }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.master, self.member, &self.content).hash(&mut hasher);
        hasher.finish()
    }
}
