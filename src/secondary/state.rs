//! What a secondary keeps in memory: its follower, and what the threads hand to each other.

use crate::protocol::follower::{Effect, Reply};
use crate::protocol::{Epoch, Follower, Id, Ticket};
use std::collections::BTreeMap;

/// Everything that changes. It is locked for steps of the follower, and never while anything is written, sent, logged or
/// waited for.
pub(super) struct State {
    pub(super) follower: Follower,
    tickets: u64,
    /// The effect that is to be carried out, by the holder of this ticket.
    pub(super) effect: Option<(Ticket, Effect)>,
    /// Replies that their threads have not taken yet.
    pub(super) replies: BTreeMap<Ticket, Reply>,
    /// The question that is to be asked: what is decided after this id.
    pub(super) question: Option<Id>,
    /// What those who follow the log, and the log file, know of.
    pub(super) shown: Id,
    pub(super) epoch: Epoch,
}

impl State {
    pub(super) fn new(follower: Follower) -> State {
        State {
            tickets: 0,
            effect: None,
            replies: BTreeMap::new(),
            question: None,
            shown: follower.decided(),
            epoch: follower.status().epoch,
            follower,
        }
    }

    /// A ticket that was never given before.
    pub(super) fn new_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Takes the effect that the holder of a ticket is to carry out.
    pub(super) fn effect_of(&mut self, ticket: Ticket) -> Option<Effect> {
        self.effect.take_if(|(holder, _)| *holder == ticket).map(|(_, effect)| effect)
    }
}
