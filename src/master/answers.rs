//! From the fate of a write to the reply that its writer gets.

use super::repeats::replayed;
use super::timeline::What;
use super::{Follower, Master, State, Writer};
use crate::http::{Exchange, Reply};
use crate::node::ids::id_ranges;
use crate::node::logging::Step;
use crate::node::metrics::WriteOutcome;
use crate::node::reading;
use crate::protocol::{Effects, Id, MemberId, Outcome, Standing};
use crate::store::{StoreError, Watermark};
use crate::wire::client::{self, Committed, Dialect, NotCommitted, SecondaryReport, WriteIds};
use crate::wire::timestamp::Timestamp;
use crate::wire::timing::milliseconds;
use std::collections::BTreeMap;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

impl Master {
    /// Does what an event in the ledger asks for: makes refusals durable, and answers writers.
    pub(super) fn carry_out<'a>(&'a self, mut state: MutexGuard<'a, State>, mut effects: Effects) {
        loop {
            let shown_before = state.noted.decided;
            if let Err(error) = self.note_watermark(&mut state) {
                drop(state);
                self.halt(&format!("what is decided could not be noted: {error}"));
                return;
            }
            let mut news = state.fates(&effects.settled);
            let answers = self.answers(&mut state, &effects.settled);
            news.extend(state.sealed(shown_before));
            let queued_from = state.queue.front().map_or(Id::MAX, |queued| queued.entries[0].id);
            if effects.refuse.iter().any(|&id| id >= queued_from) {
                state.hurry = true;
            }
            if !effects.settled.is_empty() {
                state.decided_at = Instant::now();
                state.rounds_settled(answers.len());
            }
            if state.stopping && state.writers.is_empty() {
                self.settled.notify_all();
            }
            self.unlock_and_wake(state);
            news.iter().for_each(|news| self.tell(news));
            Exchange::reply_to_all(answers);
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

    fn tell(&self, news: &News) {
        match news {
            News::Committed { ids, words, after } => {
                let (Some(first), Some(&last)) = (ids.first(), ids.last()) else { return };
                self.log.writes().tell(Step::Committed, (first.previous(), last), Some(*after), || {
                    format!("{} {words} after {} ms", id_ranges(ids), milliseconds(*after))
                });
            }
            News::Refused { ids, after, why } => {
                log::warn!("{} refused after {} ms ({why})", id_ranges(ids), milliseconds(*after));
            }
            News::Sealed(ids) => log::info!(
                "{} committed: sealed by a later message; the writer goes on waiting for more copies",
                id_ranges(ids)
            ),
        }
    }

    /// Notes what is shown from now on, before anybody is told or sees it.
    fn note_watermark(&self, state: &mut State) -> Result<(), StoreError> {
        let reached = Watermark { decided: state.ledger.decided(), visible: state.ledger.visible() };
        if reached.decided > state.noted.decided {
            self.store.note_watermark(reached)?;
            state.noted = reached;
            self.reading.following.show(reached.decided);
        }
        Ok(())
    }

    /// The fate of these writes cannot be told by this master.
    pub(super) fn answer_unknown(&self, writers: BTreeMap<Id, Writer>, reason: &str) {
        for writer in writers.into_values() {
            self.metrics.write_ended(WriteOutcome::Unknown);
            let (first, last) = writer.ends();
            let reply = |dialect| unknown(WriteIds::new(dialect, first, last), reason);
            for follower in writer.followers {
                follower.exchange.reply(replayed(reply(follower.dialect)));
            }
            writer.exchange.reply(reply(writer.dialect));
        }
    }

    fn store_refusals(&self, ids: &[Id]) -> Result<(), StoreError> {
        if let Some(&last) = ids.iter().max() {
            self.wait_for_store(last)?;
        }
        self.insist(|| self.store.refuse(ids))
    }

    /// What the writers are to be told. It is put into words later: everybody waits for the state meanwhile.
    fn answers(
        &self,
        state: &mut State,
        settled: &[(Id, Outcome)],
    ) -> Vec<(Exchange, impl FnOnce() -> Reply + Send + use<>)> {
        let mut answers = Vec::with_capacity(settled.len());
        let now = Instant::now();
        for &(id, outcome) in settled {
            if outcome == Outcome::Refused {
                state.keys.forget(id);
            }
            let Some(mut writer) = state.writers.remove(&id) else { continue };
            state.forget_deadline(writer.deadline, id);
            let content = |writer: &Writer, dialect, wanted, is_short| match outcome {
                Outcome::Refused => Content::Reply(refusal(state, writer, dialect)),
                _ => self.committed(if is_short { 202 } else { 201 }, state, writer, wanted, dialect),
            };
            for Follower { exchange, dialect, wanted } in std::mem::take(&mut writer.followers) {
                let is_short = state.is_short_of(id, wanted);
                let content = content(&writer, dialect, wanted, is_short);
                answers.push((exchange, Answer { content, is_replay: true }));
            }
            let content = content(&writer, writer.dialect, writer.wanted, outcome == Outcome::CommittedShort);
            let what = What::of(&writer);
            let Writer { exchange, is_repeat, timeline, .. } = writer;
            self.metrics.write_ended(match outcome {
                Outcome::Committed => WriteOutcome::Committed,
                Outcome::CommittedShort => WriteOutcome::Short,
                Outcome::Refused => WriteOutcome::Refused,
            });
            state.pace.count(outcome != Outcome::Refused, now, now.saturating_duration_since(timeline.since));
            self.metrics.write_took(now.saturating_duration_since(timeline.since));
            answers.push((exchange, Answer { content, is_replay: is_repeat }));
            state.keep_trace(id, what, outcome, now, timeline);
        }
        answers.into_iter().map(|(exchange, answer)| (exchange, move || answer.into_reply())).collect()
    }

    fn committed(&self, status: u16, state: &State, writer: &Writer, wanted: usize, dialect: Dialect) -> Content {
        let ids = writer.ids(dialect);
        if dialect == Dialect::Msg {
            let log = reading::whole_log_as_text(status, &self.store, &self.snapshot_of(state));
            return Content::Reply(log.with_header("Location", ids.location()));
        }
        let timeline = &writer.timeline;
        let committed = Committed {
            status: if status == 201 { "success" } else { "short" },
            ids,
            replicated_to: state.copies_of(writer.ends().1),
            w: wanted,
            timestamp: Timestamp(writer.entries[0].timestamp_ms),
            ms: milliseconds(timeline.since.elapsed()),
            stored_ms: timeline.stored_after(),
            slowest: timeline.slowest(wanted, &self.name, &state.members),
            acks: timeline.acks(&state.members),
        };
        Content::Committed(status, committed)
    }
}

/// What a writer is told.
struct Answer {
    content: Content,
    /// Somebody else has been given it before.
    is_replay: bool,
}

enum Content {
    Committed(u16, Committed),
    Reply(Reply),
}

impl Answer {
    fn into_reply(self) -> Reply {
        let reply = match self.content {
            Content::Reply(reply) => reply,
            Content::Committed(status, committed) => Reply::json(status, &committed)
                .with_header("Location", committed.ids.location())
                .with_header("Server-Timing", committed.server_timing()),
        };
        if self.is_replay { replayed(reply) } else { reply }
    }
}

impl Writer {
    /// The ids of the first and the last message.
    pub(super) fn ends(&self) -> (Id, Id) {
        let first = self.entries[0].id;
        (first, self.entries.last().map_or(first, |entry| entry.id))
    }

    fn ids(&self, dialect: Dialect) -> WriteIds {
        let (first, last) = self.ends();
        WriteIds::new(dialect, first, last)
    }
}

impl State {
    /// Tells of writes that have become visible, though their own writers still wait for copies.
    fn sealed(&self, shown_before: Id) -> Option<News> {
        if shown_before == self.noted.decided {
            return None;
        }
        let writers = self.writers.range(shown_before.next()..=self.noted.decided);
        let sealed: Vec<Id> = writers.flat_map(|(_, writer)| writer.entries.iter().map(|entry| entry.id)).collect();
        (!sealed.is_empty()).then_some(News::Sealed(sealed))
    }

    /// Tells what became of writes.
    fn fates(&self, settled: &[(Id, Outcome)]) -> Vec<News> {
        let mut news = Vec::new();
        for (outcome, words) in [
            (Outcome::Committed, "committed"),
            (Outcome::CommittedShort, "committed with fewer copies than asked for"),
            (Outcome::Refused, "refused"),
        ] {
            let writes: Vec<Id> = settled.iter().filter(|(_, fate)| *fate == outcome).map(|&(last, _)| last).collect();
            let Some(first) = writes.first() else { continue };
            let ids: Vec<Id> = writes.iter().flat_map(|&last| self.ids_of(last)).collect();
            let after = self.writers.get(first).map_or(Duration::ZERO, |writer| writer.timeline.since.elapsed());
            news.push(match outcome {
                Outcome::Refused => News::Refused { ids, after, why: self.why_refused(*first) },
                _ => News::Committed { ids, words, after },
            });
        }
        news
    }

    /// How many secondaries hold everything up to an id, as far as is known.
    pub(super) fn copies_of(&self, last: Id) -> usize {
        self.ledger.members().filter(|view| view.durable >= last).count()
    }

    /// Whether fewer nodes hold everything up to an id than somebody wants, as far as is known.
    pub(super) fn is_short_of(&self, last: Id, wanted: usize) -> bool {
        self.copies_of(last) + 1 < wanted
    }

    /// The ids of a write. Of one that nobody waits for, the last is enough.
    fn ids_of(&self, last: Id) -> Vec<Id> {
        let entries = self.writers.get(&last).map(|writer| &writer.entries);
        entries.map_or_else(|| vec![last], |entries| entries.iter().map(|entry| entry.id).collect())
    }

    fn takes_part(&self, member: MemberId) -> bool {
        self.ledger.member(member).is_some_and(|view| view.standing == Standing::InSync)
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
                let timeline = writer.map(|writer| &writer.timeline);
                let ack = timeline.and_then(|timeline| timeline.acknowledged_after(*id));
                let detail = match (ack, timeline.and_then(|timeline| timeline.why_lost(*id))) {
                    (Some(after), None) => format!("acknowledged after {} ms", milliseconds(after)),
                    (Some(after), Some(why)) => {
                        format!("{why}; it acknowledged after {} ms, which was too late", milliseconds(after))
                    }
                    (None, Some(why)) => why.to_owned(),
                    (None, None) if writer.is_some() && self.takes_part(*id) => {
                        "had not acknowledged yet when the message was given up".to_owned()
                    }
                    (None, None) => member.detail.clone(),
                };
                SecondaryReport {
                    server_id: member.name.to_string(),
                    url: member.url.to_string(),
                    acknowledged: ack.is_some(),
                    detail,
                }
            })
            .collect()
    }
}

/// What the log is to tell, once the state is unlocked.
enum News {
    Committed { ids: Vec<Id>, words: &'static str, after: Duration },
    Refused { ids: Vec<Id>, after: Duration, why: String },
    Sealed(Vec<Id>),
}

/// The reply to a write that had its ids already.
fn refusal(state: &State, writer: &Writer, dialect: Dialect) -> Reply {
    match &writer.master_unable {
        Some(reason) => Reply::overloaded(&format!("the message was refused: {reason}")),
        None => {
            let copies = writer.timeline.copies() + 1;
            let late = writer.deadline.filter(|&deadline| deadline <= Instant::now());
            let why = match late {
                Some(_) if copies >= writer.wanted => {
                    format!(
                        "not all of the {} nodes it asked for had it in time, or an earlier message waits for its fate",
                        writer.wanted
                    )
                }
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
