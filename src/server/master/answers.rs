//! From the fate of a write to the reply that its writer gets.

use super::repeats::replayed;
use super::{Master, State, Writer};
use crate::replication::{Effects, Id, MemberId, Outcome, Standing};
use crate::server::http::{Exchange, Reply};
use crate::server::peer::PeerError;
use crate::server::reading;
use crate::server::text::id_ranges;
use crate::store::{StoreError, Watermark};
use crate::wire::client::{self, Ack, Committed, Dialect, NotCommitted, SecondaryReport, WriteIds};
use crate::wire::timestamp::rfc3339;
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

impl Master {
    /// Does what an event in the ledger asks for: makes refusals durable, and answers writers.
    pub(super) fn carry_out<'a>(&'a self, mut state: MutexGuard<'a, State>, mut effects: Effects) {
        loop {
            if let Err(error) = self.note_watermark(&state) {
                drop(state);
                self.halt(&format!("what is decided could not be noted: {error}"));
                return;
            }
            let replies = self.replies(&mut state, &effects.settled);
            state.log_sealed();
            let queued_from = state.queue.front().map_or(Id::MAX, |queued| queued.entries[0].id);
            if effects.refuse.iter().any(|&id| id >= queued_from) {
                state.hurry = true;
            }
            if !effects.settled.is_empty() {
                state.decided_at = Instant::now();
                state.rounds_settled();
            }
            let sleeper = self.sleeper(&state);
            drop(state);
            sleeper.inspect(|sleeper| sleeper.notify_one());
            self.send(replies);
            if effects.refuse.is_empty() {
                return;
            }
            if let Err(error) = self.store_refusals(&effects.refuse) {
                self.halt(&format!("a refusal could not be made durable: {error}"));
                return;
            }
            state = self.lock();
            effects = state.ledger.refusal_stored(&effects.refuse);
        }
    }

    fn send(&self, replies: Vec<(Exchange, Reply)>) {
        if replies.is_empty() {
            return;
        }
        let count = replies.len();
        for (exchange, reply) in replies {
            exchange.reply_aside(reply);
        }
        let mut state = self.lock();
        state.being_answered -= count;
        if state.stopping && state.nobody_waits() {
            self.settled.notify_all();
        }
    }

    /// Notes what is shown from now on, before anybody is told or sees it.
    fn note_watermark(&self, state: &State) -> Result<(), StoreError> {
        let (decided, visible) = (state.ledger.decided(), state.ledger.visible());
        self.store.note_watermark(Watermark { decided, visible })
    }

    fn store_refusals(&self, ids: &[Id]) -> Result<(), StoreError> {
        if let Some(&last) = ids.iter().max() {
            self.wait_for_store(last)?;
        }
        self.insist(|| self.store.refuse(ids))
    }

    fn replies(&self, state: &mut State, settled: &[(Id, Outcome)]) -> Vec<(Exchange, Reply)> {
        log_fates(state, settled);
        let mut replies = Vec::with_capacity(settled.len());
        for &(id, outcome) in settled {
            if outcome == Outcome::Refused {
                state.keys.forget(id);
            }
            let Some(writer) = state.writers.remove(&id) else { continue };
            state.forget_deadline(writer.deadline, id);
            let reply = |dialect| match outcome {
                Outcome::Committed => self.committed(201, state, &writer, dialect),
                Outcome::CommittedShort => self.committed(202, state, &writer, dialect),
                Outcome::Refused => refusal(state, &writer, dialect),
            };
            let first = reply(writer.dialect);
            let first = if writer.is_repeat { replayed(first) } else { first };
            let others: Vec<Reply> =
                writer.followers.iter().map(|follower| replayed(reply(follower.dialect))).collect();
            replies.push((writer.exchange, first));
            replies.extend(writer.followers.into_iter().map(|follower| follower.exchange).zip(others));
        }
        state.being_answered += replies.len();
        replies
    }

    fn committed(&self, status: u16, state: &State, writer: &Writer, dialect: Dialect) -> Reply {
        let ids = writer.ids(dialect);
        if dialect == Dialect::Msg {
            let log = reading::whole_log_as_text(status, &self.store, &self.snapshot_of(state));
            return log.with_header("Location", ids.location());
        }
        let acks: Vec<Ack> = writer
            .acks
            .iter()
            .filter_map(|(member, after)| {
                Some(Ack { server_id: state.members.get(member)?.name.clone(), ms: milliseconds(*after) })
            })
            .collect();
        let committed = Committed {
            status: if status == 201 { "success" } else { "short" },
            ids,
            replicated_to: state.copies_of(writer.ends().1),
            w: writer.wanted,
            timestamp: rfc3339(writer.entries[0].timestamp_ms),
            ms: milliseconds(writer.since.elapsed()),
            acks,
        };
        Reply::json(status, &committed).with_header("Location", ids.location())
    }
}

impl Writer {
    /// The ids of the first and the last message.
    fn ends(&self) -> (Id, Id) {
        let first = self.entries[0].id;
        (first, self.entries.last().map_or(first, |entry| entry.id))
    }

    fn ids(&self, dialect: Dialect) -> WriteIds {
        let (first, last) = self.ends();
        WriteIds::new(dialect, first, last)
    }
}

impl State {
    /// Whether every writer has got its answer.
    pub(super) fn nobody_waits(&self) -> bool {
        self.writers.is_empty() && self.being_answered == 0
    }

    /// Tells of writes that have become visible, though their own writers still wait for copies.
    fn log_sealed(&mut self) {
        let before = std::mem::replace(&mut self.logged, self.ledger.decided());
        if before == self.logged {
            return;
        }
        let sealed = self.writers.range(before.next()..=self.logged).flat_map(|(_, writer)| writer.entries.iter());
        let sealed: Vec<Id> = sealed.map(|entry| entry.id).collect();
        if !sealed.is_empty() {
            let ids = id_ranges(&sealed);
            log::info!("{ids} committed: sealed by a later message; the writer goes on waiting for more copies");
        }
    }

    /// How many secondaries hold everything up to an id, as far as is known.
    pub(super) fn copies_of(&self, last: Id) -> usize {
        self.ledger.members().filter(|view| view.durable >= last).count()
    }

    /// The ids of a write. Of one that nobody waits for, the last is enough.
    fn ids_of(&self, last: Id) -> Vec<Id> {
        let entries = self.writers.get(&last).map(|writer| &writer.entries);
        entries.map_or_else(|| vec![last], |entries| entries.iter().map(|entry| entry.id).collect())
    }

    /// A secondary holds everything up to an id: notes it for the writers who wait for that.
    pub(super) fn note_acknowledgement(&mut self, member: MemberId, before: Id, durable: Id) {
        if durable > before {
            for (_, writer) in self.writers.range_mut(before.next()..=durable) {
                if find(&writer.acks, member).is_none() {
                    writer.acks.push((member, writer.since.elapsed()));
                }
            }
        }
    }

    /// A secondary has left the rounds: notes it for the writers who waited for it.
    pub(super) fn note_loss(&mut self, member: MemberId, durable: Id, error: &PeerError) {
        for (_, writer) in self.writers.range_mut(durable.next()..) {
            writer.losses.retain(|(lost, _)| *lost != member);
            writer.losses.push((member, error.to_string()));
        }
    }

    fn takes_part(&self, member: MemberId) -> bool {
        self.ledger.members().any(|view| view.member == member && view.standing == Standing::InSync)
    }

    fn why_refused(&self, id: Id) -> String {
        let writer = self.writers.get(&id);
        if let Some(reason) = writer.and_then(|writer| writer.master_unable.as_ref()) {
            return reason.clone();
        }
        let reports = self.reports(writer);
        let reasons: Vec<String> =
            reports.into_iter().map(|report| format!("{}: {}", report.server_id, report.detail)).collect();
        reasons.join("; ")
    }

    /// What each secondary has to say about a write that was refused.
    pub(super) fn reports(&self, writer: Option<&Writer>) -> Vec<SecondaryReport> {
        self.members
            .iter()
            .map(|(id, member)| {
                let ack = writer.and_then(|writer| find(&writer.acks, *id));
                let detail = match (ack, writer.and_then(|writer| find(&writer.losses, *id))) {
                    (Some(after), None) => format!("acknowledged after {} ms", milliseconds(*after)),
                    (Some(after), Some(why)) => {
                        format!("{why}; it acknowledged after {} ms, which was too late", milliseconds(*after))
                    }
                    (None, Some(why)) => why.clone(),
                    (None, None) if writer.is_some() && self.takes_part(*id) => {
                        "had not acknowledged yet when the message was given up".to_owned()
                    }
                    (None, None) => member.detail.clone(),
                };
                SecondaryReport {
                    server_id: member.name.clone(),
                    url: member.url.to_string(),
                    acknowledged: ack.is_some(),
                    detail,
                }
            })
            .collect()
    }
}

/// What was noted about a secondary.
fn find<T>(notes: &[(MemberId, T)], member: MemberId) -> Option<&T> {
    notes.iter().find(|(noted, _)| *noted == member).map(|(_, note)| note)
}

/// The reply to a write that had its ids already.
fn refusal(state: &State, writer: &Writer, dialect: Dialect) -> Reply {
    match &writer.master_unable {
        Some(reason) => Reply::overloaded(&format!("the message was refused: {reason}")),
        None => {
            let copies = writer.acks.len() + 1;
            let late = writer.deadline.filter(|&deadline| deadline <= Instant::now());
            let why = match late {
                Some(_) => {
                    format!("{copies} of the {} nodes it asked for had it when its time was over", writer.wanted)
                }
                None if writer.wanted == state.ledger.nodes() => "not every secondary acknowledged it".to_owned(),
                None => format!("only {copies} of the {} nodes it asked for can have it", writer.wanted),
            };
            let reports = state.reports(Some(writer));
            refused(format!("the message was refused: {why}"), Some(writer.ids(dialect)), reports)
        }
    }
}

/// The reply to a write for which there are too few nodes.
pub(super) fn refused(error: String, ids: Option<WriteIds>, secondaries: Vec<SecondaryReport>) -> Reply {
    Reply::json(502, &NotCommitted { error, outcome: client::Outcome::NotAppended, ids, secondaries })
}

/// The fate of these writes cannot be told by this master.
pub(super) fn answer_unknown(writers: BTreeMap<Id, Writer>, reason: &str) {
    for writer in writers.into_values() {
        let (first, last) = writer.ends();
        let reply = |dialect| unknown(WriteIds::new(dialect, first, last), reason);
        for follower in writer.followers {
            follower.exchange.reply(replayed(reply(follower.dialect)));
        }
        writer.exchange.reply(reply(writer.dialect));
    }
}

/// The fate of a write cannot be told by this master.
pub(super) fn unknown(ids: WriteIds, reason: &str) -> Reply {
    let body = NotCommitted {
        error: format!("whether the message is in the log is not known: {reason}"),
        outcome: client::Outcome::Unknown,
        ids: Some(ids),
        secondaries: Vec::new(),
    };
    Reply::json(504, &body)
}

fn log_fates(state: &State, settled: &[(Id, Outcome)]) {
    for (outcome, words) in [
        (Outcome::Committed, "committed"),
        (Outcome::CommittedShort, "committed with fewer copies than asked for"),
        (Outcome::Refused, "refused"),
    ] {
        let writes: Vec<Id> = settled.iter().filter(|(_, fate)| *fate == outcome).map(|&(last, _)| last).collect();
        let Some(first) = writes.first() else { continue };
        let ids: Vec<Id> = writes.iter().flat_map(|&last| state.ids_of(last)).collect();
        let after = state.writers.get(first).map_or(0, |writer| milliseconds(writer.since.elapsed()));
        match outcome {
            Outcome::Refused => {
                log::warn!("{} {words} after {after} ms ({})", id_ranges(&ids), state.why_refused(*first));
            }
            _ => log::info!("{} {words} after {after} ms", id_ranges(&ids)),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
