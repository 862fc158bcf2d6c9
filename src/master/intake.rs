//! From what is posted to the queue for the next round.

use super::answers::{refused, unknown};
use super::repeats::parse_key;
use super::status::Closed;
use super::{Entries, Master, Queued, State, Writer};
use crate::http::{Exchange, Reply};
use crate::node::faults::failed_before;
use crate::node::metrics::WriteOutcome;
use crate::process::budget::Share;
use crate::process::clock;
use crate::process::text::number;
use crate::protocol::{Entry, Id, KeyedWrite, Patience, Shortfall, WriteConcern};
use crate::wire::batch::{MESSAGES_MAX, WRITE_BYTES_CEILING};
use crate::wire::client::{Copies, Posted, SecondaryReport, Wishes, WriteIds, parse_timeout};
use crate::wire::fault::Fail;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name that a client gives to a write.
pub(super) const KEY_HEADER: &str = "Idempotency-Key";

/// Why a message is refused before it has an id.
enum Objection {
    Nonsense(String),
    /// Another message came in after the one that it was to follow; this is the newest.
    Overtaken(Id),
    Closed(Closed),
    /// Too much is under way.
    Overloaded(String),
    /// Nodes are missing that it needs.
    Shortfall {
        shortfall: Shortfall,
        nodes: usize,
        secondaries: Vec<SecondaryReport>,
    },
}

impl Objection {
    fn reply(&self) -> Reply {
        match self {
            Objection::Nonsense(sentence) => Reply::problem(400, sentence),
            Objection::Overtaken(newest) => {
                Reply::problem(412, &self.reason()).with_header("ETag", format!("\"{newest}\""))
            }
            Objection::Closed(Closed::ForGood(_)) => Reply::problem(503, &self.reason()),
            Objection::Closed(Closed::ForNow(_)) | Objection::Overloaded(_) => Reply::overloaded(&self.reason()),
            Objection::Shortfall { secondaries, .. } => {
                let error = format!("the message was refused: {}", self.reason());
                refused(error, None, secondaries.clone()).with_header("Retry-After", "1")
            }
        }
    }

    /// The same in a sentence.
    fn reason(&self) -> String {
        match self {
            Objection::Nonsense(sentence) | Objection::Overloaded(sentence) => sentence.clone(),
            Objection::Overtaken(newest) => {
                format!("the message was refused: id {newest} is the newest now; read on, and decide again")
            }
            Objection::Closed(Closed::ForGood(why) | Closed::ForNow(why)) => {
                format!("this master takes no writes: {why}")
            }
            Objection::Shortfall { shortfall: Shortfall { wanted, available, .. }, nodes, .. } => {
                format!("{available} of {nodes} nodes can take part, {wanted} are needed")
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

/// What a write asks for.
struct Write {
    concern: WriteConcern,
    /// How long it waits for nodes that are missing; otherwise it fails at once.
    timeout: Option<Duration>,
}

impl Conditions {
    fn of(exchange: &Exchange) -> Result<Conditions, String> {
        let key = exchange.header(KEY_HEADER).map(parse_key).transpose()?;
        let follows = exchange.header("If-Match").map(parse_id).transpose()?;
        Ok(Conditions { key, follows })
    }
}

/// Reads the id in an `If-Match` header. A number that no id can have is not the newest one.
fn parse_id(text: &str) -> Result<Id, String> {
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number(digits).map_or(Id::MAX, Id::new)).ok_or_else(|| {
        format!("If-Match is {}; it must be the id of the last message seen, such as \"7\"", text.escape_debug())
    })
}

impl Master {
    /// Answers `POST /messages`, when the fate of the message is known.
    pub(super) fn post(&self, mut exchange: Exchange) {
        match self.read(&mut exchange) {
            Ok((posted, share, conditions)) => {
                self.take(exchange, posted, conditions);
                drop(share);
            }
            Err(reply) => {
                self.metrics.write_ended(WriteOutcome::Rejected);
                exchange.reply(reply);
            }
        }
    }

    /// Reads what is posted, unless there is no room for it. Also gives what keeps its place in the budget for bodies.
    fn read(&self, exchange: &mut Exchange) -> Result<(Posted, impl Sized + use<>, Conditions), Reply> {
        let conditions = Conditions::of(exchange).map_err(|why| Reply::problem(400, &why))?;
        let bytes = exchange.declared_body_bytes();
        if !self.pending.has_room_for(bytes) {
            let why = self.too_much_pending(bytes);
            log::warn!("a post of {} was refused: {why}", exchange.client());
            return Err(Reply::overloaded(&why));
        }
        let (posted, share) = read_posted(exchange)?;
        Ok((self.check_size(posted)?, share, conditions))
    }

    fn too_much_pending(&self, bytes: usize) -> String {
        format!(
            "there is no room for {bytes} bytes of text: {}; try again in a moment",
            self.pending.in_words("MAX_PENDING_BYTES")
        )
    }

    fn check_size(&self, posted: Posted) -> Result<Posted, Reply> {
        let too_large = |why: String| Err(Reply::problem(413, &why));
        let (count, count_max) = (posted.messages.len(), MESSAGES_MAX.min(self.settings.pending_max));
        if count == 0 {
            return Err(Reply::problem(400, "the batch is empty; nothing was appended"));
        }
        if count > count_max {
            return too_large(format!("the batch has too many messages; this master takes at most {count_max}"));
        }
        let bytes_max = self.settings.message_bytes_max;
        if let Some(index) = posted.messages.iter().position(|message| message.len() > bytes_max) {
            let bytes = posted.messages[index].len();
            let which =
                if count == 1 { "the message".to_owned() } else { format!("message {} of the batch", index + 1) };
            return too_large(format!("{which} has {bytes} bytes; this master takes at most {bytes_max}"));
        }
        let bytes: usize = posted.messages.iter().map(|message| message.len()).sum();
        if bytes > WRITE_BYTES_CEILING {
            return too_large(format!("the batch has {bytes} bytes of text; {WRITE_BYTES_CEILING} are the most"));
        }
        Ok(posted)
    }

    /// Gives the messages their ids and hands them to the rounds, or refuses them before they have any.
    fn take(&self, exchange: Exchange, posted: Posted, conditions: Conditions) {
        let fault = self.faults.meet();
        self.faults.sleep(fault.map_or(Duration::ZERO, |fault| fault.hold));
        if fault.is_some_and(|fault| fault.fail == Some(Fail::Before)) {
            exchange.reply(failed_before());
            return;
        }
        let mut state = self.lock();
        if let Some(first) = conditions.key.as_deref().and_then(|key| state.first_with(key)) {
            return self.repeat(state, first, exchange, &posted);
        }
        let examined = self.examine(&state, &posted, &conditions).and_then(|write| {
            let bytes = posted.messages.iter().map(|message| message.len()).sum();
            let share = self.pending.take(bytes).ok_or_else(|| Objection::Overloaded(self.too_much_pending(bytes)))?;
            Ok((write, share))
        });
        let (write, share) = match examined {
            Ok(taken) => taken,
            Err(objection) => {
                drop(state);
                self.metrics.write_ended(WriteOutcome::Rejected);
                exchange.reply(objection.reply());
                return;
            }
        };
        let (entries, last) = state.append(posted.messages, conditions.key, &write, share);
        let is_first = state.enqueue(entries.clone(), write.concern);
        let sleeper = if is_first { self.sleeper(&state) } else { None };
        let now = Instant::now();
        let deadline = write.timeout.map(|timeout| now + timeout);
        let is_earliest = deadline.is_some_and(|deadline| state.set_deadline(deadline, last));
        let ids = WriteIds::new(posted.dialect, entries[0].id, last);
        let unanswered = if fault.is_some_and(|fault| fault.fail == Some(Fail::After)) {
            Some(exchange)
        } else {
            let wanted = state.ledger.copies(write.concern);
            state.writers.insert(last, Writer::new(exchange, posted.dialect, entries, wanted, now, deadline));
            None
        };
        drop(state);
        if is_earliest {
            self.sooner.notify_one();
        }
        sleeper.inspect(|sleeper| sleeper.notify_one());
        if let Some(exchange) = unanswered {
            exchange.reply(unknown(ids, "it was appended, but somebody asked this master to fail"));
        }
    }

    /// Answers `GET /writable`: whether a message would be taken now that asks for the copies in `?w=`.
    pub(super) fn writable(&self, exchange: &Exchange) -> Reply {
        let wishes = match wishes_of(exchange) {
            Ok(wishes) => wishes,
            Err(why) => return Reply::no_answer(400, &why),
        };
        let state = self.lock();
        let concern = state.concern(wishes.copies.unwrap_or(self.settings.write_concern));
        let taken = concern.and_then(|concern| {
            self.admit(&state, &Write { concern, timeout: None }, 1)?;
            Ok(state.ledger.copies(concern))
        });
        match taken {
            Ok(w) => Reply::json(200, &json!({ "writable": true, "w": w })),
            Err(Objection::Nonsense(why)) => Reply::no_answer(400, &why),
            Err(objection) => {
                let body = json!({ "writable": false, "reason": objection.reason() });
                Reply::json(503, &body).with_header("Retry-After", "1")
            }
        }
    }

    /// What the write asks for, if it can be taken now.
    fn examine(&self, state: &State, posted: &Posted, conditions: &Conditions) -> Result<Write, Objection> {
        let concern = state.concern(posted.wishes.copies.unwrap_or(self.settings.write_concern))?;
        let write = Write { concern, timeout: posted.wishes.timeout.filter(|timeout| !timeout.is_zero()) };
        self.admit(state, &write, posted.messages.len())?;
        state.check_follows(conditions.follows)?;
        Ok(write)
    }

    /// Whether so many messages can be taken now.
    fn admit(&self, state: &State, write: &Write, messages: usize) -> Result<(), Objection> {
        if let Some(closed) = self.why_closed(state) {
            return Err(Objection::Closed(closed));
        }
        let open = state.ledger.open();
        if open + messages as u64 > self.settings.pending_max as u64 {
            let most = self.settings.pending_max;
            return Err(Objection::Overloaded(format!(
                "{open} messages wait for their fate already, and with these {messages} there would be more than {most} \
                 (MAX_PENDING); try again in a moment"
            )));
        }
        let shortfall = state.ledger.shortfall(write.concern).filter(|_| write.timeout.is_none());
        shortfall.map_or(Ok(()), |shortfall| {
            let nodes = state.ledger.nodes();
            Err(Objection::Shortfall { shortfall, nodes, secondaries: state.reports(None) })
        })
    }
}

impl State {
    /// How many copies a post asks for; all, if there are fewer nodes now.
    pub(super) fn copies_wanted(&self, copies: Copies) -> usize {
        self.concern(copies).map_or(self.ledger.nodes(), |concern| self.ledger.copies(concern))
    }

    /// Opens a write. Gives its entries, and the id of the last.
    fn append(
        &mut self,
        messages: Vec<Arc<str>>,
        key: Option<Arc<str>>,
        write: &Write,
        pending: Share,
    ) -> (Entries, Id) {
        let (epoch, timestamp_ms) = (self.ledger.epoch(), clock::now_ms());
        let patience = if write.timeout.is_some() { Patience::UntilDeadline } else { Patience::FailFast };
        let first = self.ledger.append(messages.len() as u64, write.concern, patience);
        let last = self.ledger.last();
        let entry = |(id, message)| Arc::new(Entry { id, epoch, timestamp_ms, message, key: key.clone() });
        let entries = first.previous().until(last).zip(messages).map(entry).collect();
        if let Some(key) = key {
            self.keys.remember(KeyedWrite { first, last, key });
        }
        (Entries::new(entries, Some(pending)), last)
    }

    /// Lets a write wait for a round. Tells whether somebody has to look for it: whether it may be the first to wait for
    /// what it waits for.
    fn enqueue(&mut self, entries: Entries, concern: WriteConcern) -> bool {
        let below_all = concern != WriteConcern::All;
        let is_first = self.queue.is_empty() || (below_all && self.queued_below_all == 0);
        self.queued_below_all += usize::from(below_all);
        self.queue.push_back(Queued { entries, since: Instant::now(), below_all });
        let is_last = self.rounds.company.as_ref().is_some_and(|company| self.queue.len() == company.writes);
        is_first || is_last
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
}

/// Reads a body by its type, which is looked at first: a client that asks before it sends is not told to go on in vain.
/// What curl sends by default is called a form, and is JSON all the same.
fn read_posted(exchange: &mut Exchange) -> Result<(Posted, impl Sized + use<>), Reply> {
    let bad = |why: String| Reply::problem(400, &why);
    let asked = wishes_of(exchange).map_err(bad)?;
    let content_type = exchange.header("Content-Type").unwrap_or("application/json");
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let parse = match media_type.as_str() {
        "application/json" | "application/x-www-form-urlencoded" => Posted::from_json,
        "text/plain" | "application/x-ndjson" if exchange.body_may_be_cut_off() => {
            let why = format!("{media_type} needs a Content-Length, which tells whether all of it has arrived");
            return Err(Reply::problem(411, &why));
        }
        "text/plain" => Posted::from_text,
        "application/x-ndjson" => Posted::from_lines,
        other => {
            return Err(Reply::problem(
                415,
                &format!(
                    "\"{}\" is not taken; send application/json, application/x-ndjson or text/plain",
                    other.escape_debug()
                ),
            ));
        }
    };
    let (body, share) = exchange.read_body()?.into_parts();
    let posted = parse(&body).map_err(bad)?;
    Ok((Posted { wishes: posted.wishes.and(asked).map_err(bad)?, ..posted }, share))
}

/// What the query asks for: the only place for it beside a body of plain text.
fn wishes_of(exchange: &Exchange) -> Result<Wishes, String> {
    if let Some(other) = exchange.query_names().find(|name| !matches!(*name, "w" | "write_concern" | "timeout")) {
        return Err(format!("\"{}\" is not a parameter of a post; there are w and timeout", other.escape_debug()));
    }
    let copies = exchange.query("w").or_else(|| exchange.query("write_concern")).map(Copies::parse).transpose()?;
    Ok(Wishes { copies, timeout: exchange.query("timeout").map(parse_timeout).transpose()? })
}
