//! What a secondary keeps in memory: its follower, and what the threads hand to each other.

use crate::protocol::follower::{Effect, Freshness, Reply};
use crate::protocol::{Base, Epoch, Follower, Id, LogId, Ticket};
use std::collections::BTreeMap;

/// Everything that changes. It is locked for steps of the follower, and never while anything is written, sent, logged
/// or waited for.
pub(super) struct State {
    pub(super) follower: Follower,
    tickets: u64,
    /// What the holders of tickets do next, until their threads take it.
    pub(super) next: BTreeMap<Ticket, Next>,
    /// Readers that may read, and that their threads have not taken yet.
    pub(super) reads: BTreeMap<Ticket, Freshness>,
    /// The question to ask next: what is decided after this id.
    pub(super) question: Option<Id>,
    /// The base up to which the log is to be trimmed next.
    pub(super) trim: Option<Base>,
    /// The high watermark that the followers of the log know.
    pub(super) shown: Id,
    /// The epoch that log lines carry.
    pub(super) epoch: Epoch,
    /// The log that the followers of the log know.
    pub(super) log_id: Option<LogId>,
    /// The follower panicked, so its state is not reliable.
    pub(super) is_broken: bool,
}

/// What the thread that holds a ticket does next.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Carry out the effect, and report it.
    CarryOut(Effect),
    /// Return the reply. The job is over, or begins its artificial delay.
    Return(Reply),
}

impl State {
    pub(super) fn new(follower: Follower) -> State {
        State {
            tickets: 0,
            next: BTreeMap::new(),
            reads: BTreeMap::new(),
            question: None,
            trim: None,
            shown: follower.decided(),
            epoch: follower.status().epoch,
            log_id: follower.status().log_id,
            follower,
            is_broken: false,
        }
    }

    /// A ticket that was never given before.
    pub(super) fn new_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }
}
