//! The replies to clients that wait for the outcome of a write.

use super::shared::Master;
use super::state::{Client, OpenWrite, State};
use super::timeline::Timeline;
use crate::http::{Exchange, Reply};
use crate::node::metrics::WriteOutcome;
use crate::node::reading::{self, Extent};
use crate::protocol::{self, Id, Outcome, Ticket};
use crate::wire::client::{self, Committed, Dialect, NotCommitted, SecondaryReport, WriteIds};
use crate::wire::timestamp::Timestamp;
use crate::wire::timing::milliseconds;
use std::time::Instant;

/// A reply that is not put into words yet. That happens without a lock.
pub(super) struct Answer {
    content: Content,
    extent: Extent,
    /// Whether it repeats the reply to an earlier post.
    is_replay: bool,
}

enum Content {
    Committed(u16, Committed),
    Reply(Reply),
}

impl Answer {
    fn new(state: &State, content: Content, is_replay: bool) -> Answer {
        Answer { content, extent: state.extent(), is_replay }
    }

    pub(super) fn into_reply(self) -> Reply {
        let reply = match self.content {
            Content::Reply(reply) => reply,
            Content::Committed(status, committed) => {
                let reply =
                    Reply::json_text(status, committed.to_json()).with_header("Location", committed.ids.location());
                if committed.stored_ms.is_some() {
                    reply.with_header("Server-Timing", committed.server_timing())
                } else {
                    reply
                }
            }
        };
        let reply = self.extent.mark(reply);
        if self.is_replay { reply.with_header("Idempotent-Replayed", "true") } else { reply }
    }
}

impl Master {
    /// The client with a ticket and its answer, if the reply is for a client that waits.
    pub(super) fn answer(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &protocol::Reply,
    ) -> Option<(Box<Exchange>, Answer)> {
        match *reply {
            protocol::Reply::Settled { last, outcome, is_repeat } => {
                let client = state.clients.remove(&ticket)?;
                let write = state.writes.get(&last);
                if is_repeat && write.is_none() {
                    self.metrics.write_ended(counted_as(outcome));
                }
                let content = match outcome {
                    Outcome::Refused => Content::Reply(state.refusal(last, client.dialect)),
                    Outcome::Committed => self.committed(201, state, &client, last),
                    Outcome::CommittedShort => self.committed(202, state, &client, last),
                };
                Some((client.exchange, Answer::new(state, content, is_repeat)))
            }
            protocol::Reply::Unknown { last } => {
                let client = state.clients.remove(&ticket)?;
                self.metrics.write_ended(WriteOutcome::Unknown);
                let first = state.writes.get(&last).map_or(client.first_of(last), |write| write.first);
                let ids = WriteIds::new(client.dialect, first, last);
                let why = match &state.why_halted {
                    Some(why) => why.as_str(),
                    None => "it waits for secondaries since this master was started",
                };
                let content = Content::Reply(unknown(ids, why));
                Some((client.exchange, Answer::new(state, content, false)))
            }
            // `Master::take` deals with these.
            protocol::Reply::Accepted { .. }
            | protocol::Reply::Joined { .. }
            | protocol::Reply::Rejected(_)
            | protocol::Reply::Stored { .. }
            | protocol::Reply::OtherWrite(_) => None,
        }
    }

    fn committed(&self, status: u16, state: &State, client: &Client, last: Id) -> Content {
        let write = state.writes.get(&last);
        let first = write.map_or(client.first_of(last), |write| write.first);
        let ids = WriteIds::new(client.dialect, first, last);
        if client.dialect == Dialect::Msg {
            let log = reading::whole_log_as_text(status, &self.store, &self.snapshot_of(state));
            return Content::Reply(log.with_header("Location", ids.location()));
        }
        let timeline = write.map(|write| &write.timeline);
        let committed = Committed {
            status: if status == 201 { "success" } else { "short" },
            ids,
            replicated_to: state.leader.copies_of(last),
            w: client.wanted,
            timestamp: Timestamp(write.map_or(client.timestamp_ms, |write| write.timestamp_ms)),
            ms: timeline.map_or(0, |timeline| milliseconds(timeline.since.elapsed())),
            stored_ms: timeline.and_then(Timeline::stored_after),
            slowest: timeline.and_then(|timeline| timeline.slowest(client.wanted, &self.name, &state.members)),
            acks: timeline.map_or_else(Vec::new, |timeline| timeline.acks(&state.members)),
        };
        Content::Committed(status, committed)
    }

    /// A write has its outcome, and its clients have their answers: keeps what happened to it.
    pub(super) fn close_write(&self, state: &mut State, last: Id, outcome: Outcome) {
        let Some(write) = state.writes.remove(&last) else { return };
        let now = Instant::now();
        let took = now.saturating_duration_since(write.timeline.since);
        self.metrics.write_ended(counted_as(outcome));
        self.metrics.write_took(took);
        state.latencies.count(outcome != Outcome::Refused, now, took);
        let what = write.what(last);
        state.keep_trace(last, what, outcome, now, write.timeline);
    }
}

impl Client {
    /// The first id of a write that ends with another one, as far as the client knows how many messages it has.
    pub(super) fn first_of(&self, last: Id) -> Id {
        Id::new(last.get().saturating_sub(self.messages.saturating_sub(1)))
    }
}

impl State {
    /// Why a write was refused, in words.
    pub(super) fn why_refused(&self, last: Id) -> String {
        let write = self.writes.get(&last);
        if let Some(reason) = write.and_then(|write| write.master_unable.as_ref()) {
            return reason.clone();
        }
        let reasons: Vec<String> =
            self.reports(write).into_iter().map(|report| format!("{}: {}", report.server_id, report.detail)).collect();
        reasons.join("; ")
    }

    /// The reply to a write that had its ids already.
    fn refusal(&self, last: Id, dialect: Dialect) -> Reply {
        let Some(write) = self.writes.get(&last) else {
            return Reply::overloaded("the first write with this key was just refused; try again");
        };
        if let Some(reason) = &write.master_unable {
            return Reply::overloaded(&format!("the message was refused: {reason}"));
        }
        let why = self.why_short(write);
        let reports = self.reports(Some(write));
        refused(format!("the message was refused: {why}"), Some(write.ids(dialect, last)), reports)
    }

    fn why_short(&self, write: &OpenWrite) -> String {
        let (copies, wanted) = (write.timeline.copies() + 1, write.wanted);
        let is_late = write.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match is_late {
            true if copies >= wanted => {
                format!("not all of the {wanted} nodes it asked for had it in time, or an earlier message is undecided")
            }
            true => format!("{copies} of the {wanted} nodes it asked for had it when its time was over"),
            false if wanted == self.leader.nodes() => "not every secondary acknowledged it".to_owned(),
            false => format!("only {copies} of the {wanted} nodes it asked for can have it"),
        }
    }
}

/// An outcome, as `/metrics` counts it.
fn counted_as(outcome: Outcome) -> WriteOutcome {
    match outcome {
        Outcome::Committed => WriteOutcome::Committed,
        Outcome::CommittedShort => WriteOutcome::Short,
        Outcome::Refused => WriteOutcome::Refused,
    }
}

/// The reply to a write for which there are too few nodes.
pub(super) fn refused(error: String, ids: Option<WriteIds>, secondaries: Vec<SecondaryReport>) -> Reply {
    Reply::json(502, &NotCommitted { error, outcome: client::Outcome::NotAppended, ids, secondaries })
}

/// The reply to a write whose outcome this master does not know.
pub(super) fn unknown(ids: WriteIds, reason: &str) -> Reply {
    let body = NotCommitted {
        error: format!("this master does not know whether the message is in the log: {reason}"),
        outcome: client::Outcome::Unknown,
        ids: Some(ids),
        secondaries: Vec::new(),
    };
    Reply::json(504, &body)
}
