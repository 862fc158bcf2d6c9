//! `GET /messages/ID/trace`: what the master records of each write, and shows.

use super::shared::Master;
use super::state::{OpenWrite, State};
use super::timeline::{CallMade, Settled, TRACES_MAX, Timeline, What};
use crate::http::Reply;
use crate::process::text::number;
use crate::protocol::{Id, MemberId, Outcome};
use crate::wire::client::Dialect;
use crate::wire::timestamp::Timestamp;
use crate::wire::trace::{ReplicaState, ReplicaTrace, Trace, TraceOutcome};
use std::sync::Arc;
use std::time::Instant;

impl State {
    /// The master's own copy of the ids after one, up to another, is on disk.
    pub(super) fn note_stored(&mut self, after: Id, through: Id) {
        let now = Instant::now();
        for (_, write) in self.writes.range_mut(after.next()..=through) {
            write.timeline.stored = Some(now);
        }
    }

    /// A secondary holds everything up to an id: notes it for the writes that wait for that, and for answered ones that
    /// did not.
    pub(super) fn note_acknowledgement(&mut self, member: MemberId, before: Id, durable: Id, call: Option<CallMade>) {
        if durable > before {
            let waiting = self.writes.range_mut(before.next()..=durable).map(|(_, write)| &mut write.timeline);
            // Under a refused id, what a secondary acknowledges later is the refusal.
            let answered = self.traces.range_mut(before, durable);
            let answered = answered.filter(|settled| settled.outcome != TraceOutcome::Refused);
            let answered = answered.map(|settled| &mut settled.timeline);
            let now = Instant::now();
            waiting.chain(answered).for_each(|timeline| timeline.acknowledged(member, now, call));
        }
    }

    /// A secondary has left the rounds: notes it for the writes that waited for it.
    pub(super) fn note_loss(&mut self, member: MemberId, durable: Id, why: &str) {
        for (_, write) in self.writes.range_mut(durable.next()..) {
            write.timeline.lost(member, why.to_owned());
        }
    }

    /// Keeps the timeline of a write whose client gets its reply.
    pub(super) fn keep_trace(
        &mut self,
        last: Id,
        what: What,
        outcome: Outcome,
        ended: Instant,
        mut timeline: Timeline,
    ) {
        let outcome = match outcome {
            Outcome::Committed => TraceOutcome::Committed,
            Outcome::CommittedShort => TraceOutcome::Short,
            Outcome::Refused => TraceOutcome::Refused,
        };
        if outcome == TraceOutcome::Refused {
            // A lost secondary may be catching up. Its calls are not those of this write.
            let waited_for = self.members.iter().filter(|&(&id, _)| timeline.why_lost(id).is_none());
            let sent = |(&id, member)| Some((id, timeline.sent(id, member, last, TraceOutcome::Pending)?));
            timeline.given_up = waited_for.filter_map(sent).collect();
        }
        self.traces.keep(Settled { last, what, outcome, ended, timeline });
    }

    /// The trace of the write that an id belongs to.
    fn trace_of(&self, id: Id, master: &Arc<str>) -> Option<Trace> {
        let pending = self.writes.range(id..).next().filter(|(_, write)| write.first <= id);
        if let Some((&last, write)) = pending {
            return Some(self.pending_trace(last, write, master));
        }
        let settled = self.traces.from(id).filter(|settled| settled.what.ids.first() <= id.get())?;
        Some(self.settled_trace(settled, master))
    }

    /// The `number` oldest open writes and the `number` latest answered ones, the newest first.
    pub(super) fn latest_traces(&self, number: usize, master: &Arc<str>) -> Vec<Trace> {
        let answered = self.traces.0.iter().rev().take(number).map(|settled| self.settled_trace(settled, master));
        let pending = self.writes.iter().take(number).map(|(&last, write)| self.pending_trace(last, write, master));
        let mut traces: Vec<Trace> = answered.chain(pending).collect();
        traces.sort_by_key(|trace| std::cmp::Reverse(trace.ids.first()));
        traces
    }

    fn pending_trace(&self, last: Id, write: &OpenWrite, master: &Arc<str>) -> Trace {
        self.trace(last, write.what(last), TraceOutcome::Pending, &write.timeline, Instant::now(), master)
    }

    fn settled_trace(&self, settled: &Settled, master: &Arc<str>) -> Trace {
        self.trace(settled.last, settled.what, settled.outcome, &settled.timeline, settled.ended, master)
    }

    fn trace(
        &self,
        last: Id,
        what: What,
        outcome: TraceOutcome,
        timeline: &Timeline,
        until: Instant,
        master: &Arc<str>,
    ) -> Trace {
        let round = timeline.round.map(|(number, _)| number);
        let state = match timeline.stored {
            Some(_) => ReplicaState::Durable,
            None if what.master_unable => ReplicaState::Failed,
            None if round.is_some() => ReplicaState::Sent,
            None => ReplicaState::Waiting,
        };
        let own = ReplicaTrace {
            server_id: Arc::clone(master),
            state,
            call: None,
            stored_ms: timeline.stored_after(),
            acknowledged_ms: None,
            detail: None,
        };
        let others = self.members.iter().map(|(&id, member)| timeline.replica(id, member, last, outcome));
        Trace {
            ids: what.ids,
            outcome,
            timestamp: what.timestamp,
            w: what.wanted,
            round,
            queued_ms: timeline.round.map(|(_, began)| timeline.after(began)),
            ms: timeline.after(until),
            replicas: [own].into_iter().chain(others).collect(),
        }
    }
}

impl Master {
    /// Answers `GET /messages/ID/trace`.
    pub(super) fn trace(&self, id: &str) -> Reply {
        let Some(id) = number(id).map(Id::new) else {
            return Reply::not_found("a trace is found at /messages/ID/trace, where ID is a number from 1");
        };
        match self.lock().trace_of(id, &self.name) {
            Some(trace) => Reply::json(200, &trace),
            None => Reply::not_found(&format!(
                "there is no trace of message {id}: those of the latest {TRACES_MAX} writes since this master was started \
                 are kept"
            )),
        }
    }
}

impl OpenWrite {
    /// The facts of it that do not change.
    pub(super) fn what(&self, last: Id) -> What {
        let dialect = if self.first == last { Dialect::Message } else { Dialect::Batch };
        What {
            ids: self.ids(dialect, last),
            wanted: self.wanted,
            timestamp: Timestamp(self.timestamp_ms),
            master_unable: self.master_unable.is_some(),
        }
    }
}
