//! From a posted message to its reply.

use super::repeats::{parse_key, replayed};
use super::{Master, Queued, State, Writer};
use crate::replication::{Effects, Entry, Id, MemberId, Outcome, Patience, Shortfall, Standing, WriteConcern};
use crate::server::clock;
use crate::server::http::{Exchange, Reply};
use crate::server::reading;
use crate::server::text::id_ranges;
use crate::store::{StoreError, Watermark};
use crate::wire::client::{
    self, Ack, Committed, Copies, Dialect, NotCommitted, Posted, SecondaryReport, Wishes, parse_timeout,
};
use crate::wire::timestamp::rfc3339;
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// The name that a client gives to a write.
pub(super) const KEY_HEADER: &str = "Idempotency-Key";

/// Why a message is refused before it has an id.
enum Objection {
    Nonsense(String),
    /// Another message came in after the one that it was to follow; this is the newest.
    Overtaken(Id),
    ForGood(String),
    ForNow(String),
    /// Nodes are missing that it needs.
    Shortfall {
        shortfall: Shortfall,
        nodes: usize,
        secondaries: Vec<SecondaryReport>,
    },
}

impl Objection {
    fn into_reply(self) -> Reply {
        match self {
            Objection::Nonsense(sentence) => Reply::problem(400, &sentence),
            Objection::Overtaken(newest) => {
                let sentence =
                    format!("the message was refused: id {newest} is the newest now; read on, and decide again");
                Reply::problem(412, &sentence).with_header("ETag", format!("\"{newest}\""))
            }
            Objection::ForGood(sentence) => Reply::problem(503, &sentence),
            Objection::ForNow(sentence) => Reply::overloaded(&sentence),
            Objection::Shortfall { shortfall: Shortfall { wanted, available, .. }, nodes, secondaries } => {
                let error =
                    format!("the message was refused: {available} of {nodes} nodes can take part, {wanted} are needed");
                refused(error, None, secondaries).with_header("Retry-After", "1")
            }
        }
    }
}

/// What a post says in its headers.
struct Conditions {
    /// The name of the write.
    key: Option<Arc<str>>,
    /// The id that its message is to follow directly.
    follows: Option<Id>,
}

impl Conditions {
    fn of(exchange: &Exchange) -> Result<Conditions, String> {
        let key = exchange.header(KEY_HEADER).map(parse_key).transpose()?;
        let follows = exchange.header("If-Match").map(parse_id).transpose()?;
        Ok(Conditions { key, follows })
    }
}

/// Reads the id in an `If-Match` header.
fn parse_id(text: &str) -> Result<Id, String> {
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    reading::number(digits).map(Id::new).ok_or_else(|| {
        format!("If-Match is {}; it must be the id of the last message seen, such as \"7\"", text.escape_debug())
    })
}

impl Master {
    /// Answers `POST /messages`, when the fate of the message is known.
    pub(super) fn post(&self, mut exchange: Exchange) {
        let conditions = Conditions::of(&exchange).map_err(|why| Reply::problem(400, &why));
        let read = conditions.and_then(|conditions| Ok((self.check_size(read_posted(&mut exchange)?)?, conditions)));
        match read {
            Ok((posted, conditions)) => self.take(exchange, posted, conditions),
            Err(reply) => exchange.reply(reply),
        }
    }

    fn check_size(&self, posted: Posted) -> Result<Posted, Reply> {
        let (bytes, bytes_max) = (posted.message.len(), self.settings.message_bytes_max);
        if bytes <= bytes_max {
            return Ok(posted);
        }
        Err(Reply::problem(413, &format!("the message has {bytes} bytes; this master takes at most {bytes_max}")))
    }

    /// Gives the message its id and hands it to the rounds, or refuses it before it has one.
    fn take(&self, exchange: Exchange, posted: Posted, conditions: Conditions) {
        let Conditions { key, follows } = conditions;
        let mut state = self.lock();
        if let Some(first) = key.as_deref().and_then(|key| state.first_with(key)) {
            return self.repeat(state, first, exchange, &posted);
        }
        let patience = match posted.wishes.timeout {
            Some(timeout) if !timeout.is_zero() => Patience::UntilDeadline,
            _ => Patience::FailFast,
        };
        let copies = posted.wishes.copies.unwrap_or(self.settings.write_concern);
        let admitted = state.concern(copies).and_then(|concern| {
            self.admit(&state, concern, patience)?;
            state.check_follows(follows)?;
            Ok(concern)
        });
        let concern = match admitted {
            Ok(concern) => concern,
            Err(objection) => {
                drop(state);
                exchange.reply(objection.into_reply());
                return;
            }
        };
        let id = state.ledger.append(concern, patience);
        let (timestamp_ms, now) = (clock::now_ms(), Instant::now());
        let deadline =
            posted.wishes.timeout.filter(|_| patience == Patience::UntilDeadline).map(|timeout| now + timeout);
        let (epoch, message) = (state.ledger.epoch(), posted.message);
        if let Some(key) = &key {
            state.keys.remember(Arc::clone(key), id);
        }
        let entry = Arc::new(Entry { id, epoch, timestamp_ms, message, key });
        let wanted = state.ledger.copies(concern);
        let writer = Writer::new(exchange, posted.dialect, Arc::clone(&entry), wanted, now, deadline);
        state.writers.insert(id, writer);
        let is_earliest = deadline.is_some_and(|deadline| state.set_deadline(deadline, id));
        let below_all = concern != WriteConcern::All;
        state.queue.push_back(Queued { entry, since: now, below_all });
        state.queued_below_all += usize::from(below_all);
        let wakes = state.queue.len() == 1 || (below_all && state.queued_below_all == 1);
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        if is_earliest {
            self.sooner.notify_one();
        }
    }

    /// Whether a message can be taken now.
    fn admit(&self, state: &State, concern: WriteConcern, patience: Patience) -> Result<(), Objection> {
        if let Some(reason) = &state.halted {
            return Err(Objection::ForGood(format!("this master takes no writes: {reason}")));
        }
        if state.stopping {
            return Err(Objection::ForNow("this master is stopping; try again when it is back".to_owned()));
        }
        if let Some(trouble) = self.store.trouble() {
            return Err(Objection::ForNow(format!("this master takes no writes: {trouble}")));
        }
        if let Some(reason) = state.why_read_only(self.settings.quorum) {
            return Err(Objection::ForNow(reason));
        }
        let open = state.ledger.open();
        if open >= self.settings.pending_max {
            return Err(Objection::ForNow(format!(
                "{open} messages wait for their fate already; try again in a moment"
            )));
        }
        let shortfall = state.ledger.shortfall(concern).filter(|_| patience == Patience::FailFast);
        shortfall.map_or(Ok(()), |shortfall| {
            let nodes = state.ledger.nodes();
            Err(Objection::Shortfall { shortfall, nodes, secondaries: state.reports(None) })
        })
    }

    /// Does what an event in the ledger asks for: makes refusals durable, and answers writers.
    pub(super) fn carry_out<'a>(&'a self, mut state: MutexGuard<'a, State>, mut effects: Effects) {
        loop {
            if let Err(error) = self.note_watermark(&state) {
                drop(state);
                self.halt(&format!("what is decided could not be noted: {error}"));
                return;
            }
            let replies = self.replies(&mut state, &effects.settled);
            let queued_from = state.queue.front().map_or(Id::MAX, |queued| queued.entry.id);
            if effects.refuse.iter().any(|&id| id >= queued_from) {
                state.hurry = true;
                self.work.notify_one();
            }
            if !effects.settled.is_empty() {
                state.decided_at = Instant::now();
                state.rounds_settled();
                self.work.notify_one();
            }
            drop(state);
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
        if state.nobody_waits() {
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
            let Some(writer) = state.writers.remove(&id) else { continue };
            state.forget_deadline(writer.deadline, id);
            if outcome == Outcome::Refused {
                state.keys.forget(id);
            }
            let reply = |dialect| match outcome {
                Outcome::Committed => self.committed(201, state, id, &writer, dialect),
                Outcome::CommittedShort => self.committed(202, state, id, &writer, dialect),
                Outcome::Refused => refusal(state, id, &writer),
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

    fn committed(&self, status: u16, state: &State, id: Id, writer: &Writer, dialect: Dialect) -> Reply {
        if dialect == Dialect::Msg {
            return reading::whole_log_as_text(status, &self.store, &self.snapshot_of(state)).with_location(id);
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
            message_id: id.get(),
            replicated_to: acks.len(),
            w: writer.wanted,
            timestamp: rfc3339(writer.entry.timestamp_ms),
            ms: milliseconds(writer.since.elapsed()),
            acks,
        };
        Reply::json(status, &committed).with_location(id)
    }
}

impl State {
    /// Whether every writer has got its answer.
    pub(super) fn nobody_waits(&self) -> bool {
        self.writers.is_empty() && self.being_answered == 0
    }

    /// A secondary holds everything up to an id: notes it for the writers who wait for that.
    pub(super) fn note_acknowledgement(&mut self, member: MemberId, before: Id, durable: Id) {
        if durable > before {
            for (_, writer) in self.writers.range_mut(before.next()..=durable) {
                writer.acks.push((member, writer.since.elapsed()));
            }
        }
    }

    /// Whether nothing came in after the message that another is to follow.
    fn check_follows(&self, follows: Option<Id>) -> Result<(), Objection> {
        let newest = self.ledger.newest();
        if follows.is_none_or(|id| id == newest) { Ok(()) } else { Err(Objection::Overtaken(newest)) }
    }

    /// What a number of copies means with the nodes that there are.
    fn concern(&self, copies: Copies) -> Result<WriteConcern, Objection> {
        let nodes = self.ledger.nodes();
        match copies {
            Copies::All => Ok(WriteConcern::All),
            Copies::Majority => Ok(WriteConcern::Copies(nodes / 2 + 1)),
            Copies::Number(number) => match usize::try_from(number) {
                Ok(number) if number <= nodes => Ok(WriteConcern::Copies(number)),
                _ => Err(Objection::Nonsense(format!(
                    "{number} copies were asked for, but there {}; ask for fewer, for \"majority\" or for \"all\"",
                    if nodes == 1 { "is only the master".to_owned() } else { format!("are {nodes} nodes") }
                ))),
            },
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
        let reports = self.reports(writer.map(|writer| writer.acks.as_slice()));
        let reasons: Vec<String> =
            reports.into_iter().map(|report| format!("{}: {}", report.server_id, report.detail)).collect();
        reasons.join("; ")
    }

    /// What each secondary has to say about a message that was refused.
    fn reports(&self, acks: Option<&[(MemberId, Duration)]>) -> Vec<SecondaryReport> {
        let ack_of = |member: &MemberId| acks?.iter().find(|(acked_by, _)| acked_by == member).map(|&(_, after)| after);
        self.members
            .iter()
            .map(|(id, member)| {
                let ack = ack_of(id);
                let detail = match ack {
                    Some(after) => format!("acknowledged after {} ms", milliseconds(after)),
                    None if acks.is_some() && self.takes_part(*id) => {
                        "had not acknowledged yet when the message was given up".to_owned()
                    }
                    None => member.detail.clone(),
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

/// Reads a body by its type, which is looked at first: a client that asks before it sends is not told to go on in vain.
/// What curl sends by default is called a form, and is JSON all the same.
fn read_posted(exchange: &mut Exchange) -> Result<Posted, Reply> {
    let bad = |why: String| Reply::problem(400, &why);
    let asked = wishes_of(exchange).map_err(bad)?;
    let content_type = exchange.header("Content-Type").unwrap_or("application/json");
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let parse = match media_type.as_str() {
        "application/json" | "application/x-www-form-urlencoded" => Posted::from_json,
        "text/plain" if exchange.body_may_be_cut_off() => {
            return Err(Reply::problem(411, "text needs a Content-Length, which tells whether all of it has arrived"));
        }
        "text/plain" => Posted::from_text,
        other => {
            return Err(Reply::problem(
                415,
                &format!("\"{}\" is not taken; send application/json or text/plain", other.escape_debug()),
            ));
        }
    };
    let body = exchange.read_body()?;
    let posted = parse(&body).map_err(bad)?;
    Ok(Posted { wishes: posted.wishes.and(asked).map_err(bad)?, ..posted })
}

/// What the query asks for: the only place for it beside a body of plain text.
fn wishes_of(exchange: &Exchange) -> Result<Wishes, String> {
    if let Some(other) = exchange.query_names().find(|name| !matches!(*name, "w" | "write_concern" | "timeout")) {
        return Err(format!("\"{}\" is not a parameter of a post; there are w and timeout", other.escape_debug()));
    }
    let copies = exchange.query("w").or_else(|| exchange.query("write_concern")).map(Copies::parse).transpose()?;
    Ok(Wishes { copies, timeout: exchange.query("timeout").map(parse_timeout).transpose()? })
}

/// The reply to a message that had an id already.
fn refusal(state: &State, id: Id, writer: &Writer) -> Reply {
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
            refused(format!("the message was refused: {why}"), Some(id), state.reports(Some(&writer.acks)))
        }
    }
}

fn refused(error: String, id: Option<Id>, secondaries: Vec<SecondaryReport>) -> Reply {
    let message_id = id.map(Id::get);
    Reply::json(502, &NotCommitted { error, outcome: client::Outcome::NotAppended, message_id, secondaries })
}

/// The fate of these messages cannot be told by this master.
pub(super) fn answer_unknown(writers: BTreeMap<Id, Writer>, reason: &str) {
    for (id, writer) in writers {
        for follower in writer.followers {
            follower.exchange.reply(replayed(unknown(id, reason)));
        }
        writer.exchange.reply(unknown(id, reason));
    }
}

/// The fate of a message cannot be told by this master.
pub(super) fn unknown(id: Id, reason: &str) -> Reply {
    let body = NotCommitted {
        error: format!("whether message {id} is in the log is not known: {reason}"),
        outcome: client::Outcome::Unknown,
        message_id: Some(id.get()),
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
        let ids: Vec<Id> = settled.iter().filter(|(_, fate)| *fate == outcome).map(|&(id, _)| id).collect();
        let Some(first) = ids.first() else { continue };
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
