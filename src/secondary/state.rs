//! What a secondary keeps in memory: its follower, and what the threads hand to each other.

use crate::protocol::follower::{Effect, Freshness, Reply};
use crate::protocol::{Epoch, Follower, Id, Ticket};
use std::collections::BTreeMap;

/// Everything that changes. It is locked for steps of the follower, and never while anything is written, sent, logged
/// or waited for.
pub(super) struct State {
    pub(super) follower: Follower,
    tickets: u64,
    /// The effect that the holder of this ticket has to carry out.
    pub(super) effect: Option<(Ticket, Effect)>,
    /// Replies that their threads have not taken yet.
    pub(super) replies: BTreeMap<Ticket, Reply>,
    /// Readers that may read, and that their threads have not taken yet.
    pub(super) reads: BTreeMap<Ticket, Freshness>,
    /// The question to ask next: what is decided after this id.
    pub(super) question: Option<Id>,
    /// The high watermark that the followers of the log know.
    pub(super) shown: Id,
    /// The epoch that log lines carry.
    pub(super) epoch: Epoch,
    /// The follower panicked, so its state is not reliable.
    pub(super) is_broken: bool,
}

impl State {
    pub(super) fn new(follower: Follower) -> State {
        State {
            tickets: 0,
            effect: None,
            replies: BTreeMap::new(),
            reads: BTreeMap::new(),
            question: None,
            shown: follower.decided(),
            epoch: follower.status().epoch,
            follower,
            is_broken: false,
        }
    }

    /// A ticket that was never given before.
    pub(super) fn new_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Takes the effect that the holder of a ticket has to carry out.
    pub(super) fn effect_of(&mut self, ticket: Ticket) -> Option<Effect> {
        self.effect.take_if(|(holder, _)| *holder == ticket).map(|(_, effect)| effect)
    }
}
