//! What a master keeps in memory: its leader, and what the leader does not know, as addresses, sockets and times.

use super::member::Member;
use super::timeline::{Timeline, Traces};
use crate::http::Exchange;
use crate::node::live::LatencyWindow;
use crate::process::budget::Share;
use crate::protocol::{Id, Leader, MemberId, ReplicationState, Round, Ticket};
use crate::wire::client::{Dialect, SecondaryReport, WriteIds};
use crate::wire::timing::milliseconds;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Everything that changes. It is locked for steps of the leader, and never while anything is written, sent, logged or
/// waited for.
pub(super) struct State {
    pub(super) leader: Leader,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) members_numbered: u32,
    /// Clients that wait for the outcome of a write.
    pub(super) clients: BTreeMap<Ticket, Client>,
    pub(super) tickets: u64,
    /// Writes that are open, each under its last id, without those that were found at the start.
    pub(super) writes: BTreeMap<Id, OpenWrite>,
    /// The timelines of settled writes.
    pub(super) traces: Traces,
    pub(super) latencies: LatencyWindow,
    pub(super) rounds_started: u64,
    /// The high watermark that the followers of the log know.
    pub(super) shown_to_followers: Id,
    pub(super) runners: Runners,
    /// Why this master takes no more writes until a restart.
    pub(super) why_halted: Option<String>,
    /// A secondary has shown that a later master may write.
    pub(super) is_overtaken: bool,
    /// This node leads no more.
    pub(super) is_retired: bool,
    pub(super) is_stopping: bool,
}

/// A round that has begun.
pub(super) struct BegunRound {
    pub(super) round: Round,
    /// Its number, from 1.
    pub(super) number: u64,
    /// The text that it carries counts as pending until its calls have returned.
    _pending: Vec<Arc<Share>>,
}

/// The threads that run rounds.
#[derive(Debug, Default)]
pub(super) struct Runners {
    /// Those that wait for a round.
    pub(super) idle: usize,
    /// Whether one of them watches the clock.
    pub(super) is_watched: bool,
    /// When the thread that watches the clock looks again, unless another thread wakes it.
    pub(super) watched_until: Option<Instant>,
}

/// A client that waits.
pub(super) struct Client {
    /// Boxed, because a large value costs the tree that keeps it many moves.
    pub(super) exchange: Box<Exchange>,
    pub(super) dialect: Dialect,
    /// The copies that it asks for, the master's included.
    pub(super) wanted: usize,
    /// How many messages it has posted.
    pub(super) messages: u64,
    /// When the write was taken, if that was before this start or the write is shown already: milliseconds since 1970.
    pub(super) timestamp_ms: u64,
}

/// A write that is open.
pub(super) struct OpenWrite {
    pub(super) first: Id,
    /// The copies that it asks for, the master's included.
    pub(super) wanted: usize,
    /// When it was taken: milliseconds since 1970.
    pub(super) timestamp_ms: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) timeline: Timeline,
    /// Why the master itself could not store it.
    pub(super) master_unable: Option<String>,
    /// Its text counts as pending until it is settled and sent.
    pub(super) pending: Option<Arc<Share>>,
}

impl OpenWrite {
    pub(super) fn ids(&self, dialect: Dialect, last: Id) -> WriteIds {
        WriteIds::new(dialect, self.first, last)
    }
}

impl State {
    /// A round begins.
    pub(super) fn begin_round(&mut self, round: Round) -> BegunRound {
        self.rounds_started += 1;
        let (number, now) = (self.rounds_started, Instant::now());
        let mut pending = Vec::new();
        if !round.entries.is_empty() {
            for (_, write) in self.writes.range_mut(round.after.next()..=round.through()) {
                write.timeline.round = Some((number, now));
                pending.extend(write.pending.clone());
            }
        }
        BegunRound { round, number, _pending: pending }
    }

    /// A number for a client that is about to wait.
    pub(super) fn new_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn name_of(&self, member: MemberId) -> Arc<str> {
        self.members.get(&member).map_or_else(|| "a removed secondary".into(), |member| Arc::clone(&member.name))
    }

    fn takes_part(&self, member: MemberId) -> bool {
        self.leader.member(member).is_some_and(|view| view.state == ReplicationState::InSync)
    }

    /// How many secondaries take part in rounds.
    pub(super) fn in_rounds(&self) -> usize {
        self.members.keys().filter(|&&member| self.takes_part(member)).count()
    }

    /// What is known of a secondary now, in words.
    pub(super) fn detail_of(&self, id: MemberId, member: &Member) -> String {
        let view = self.leader.member(id);
        match view.filter(|view| view.state == ReplicationState::CatchingUp) {
            Some(view) => format!("is catching up: has {} of {}", view.matched, self.leader.last()),
            None => member.detail.clone(),
        }
    }

    /// A report for each secondary about a write that was refused, or was not taken.
    pub(super) fn reports(&self, write: Option<&OpenWrite>) -> Vec<SecondaryReport> {
        let report = |(&id, member): (&MemberId, &Member)| {
            let timeline = write.map(|write| &write.timeline);
            let ack = timeline.and_then(|timeline| timeline.acknowledged_after(id));
            let detail = match (ack, timeline.and_then(|timeline| timeline.why_lost(id))) {
                (Some(after), None) => format!("acknowledged after {} ms", milliseconds(after)),
                (Some(after), Some(why)) => {
                    format!("{why}; it acknowledged after {} ms, which was too late", milliseconds(after))
                }
                (None, Some(why)) => why.to_owned(),
                (None, None) if write.is_some() && self.takes_part(id) => {
                    "had not acknowledged yet when the message was refused".to_owned()
                }
                (None, None) => self.detail_of(id, member),
            };
            SecondaryReport {
                server_id: member.name.to_string(),
                url: member.url.to_string(),
                acknowledged: ack.is_some(),
                detail,
            }
        };
        self.members.iter().map(report).collect()
    }
}
