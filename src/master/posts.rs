//! Takes what clients post: reads it, gives it to the leader, and answers it if it is not taken.

use super::effects::Context;
use super::idempotency::{another_write, parse_key};
use super::replies::{refused, unknown};
use super::shared::Master;
use super::state::{Client, OpenWrite, State};
use super::timeline::Timeline;
use crate::http::{Body, Exchange, Reply};
use crate::node::faults::failed_before;
use crate::node::framing;
use crate::node::metrics::WriteOutcome;
use crate::process::budget::Share;
use crate::process::clock;
use crate::process::threads;
use crate::protocol::{
    self, Epoch, Event, Health, Id, LogId, MemberId, Post, Rejection, Shortfall, Slot, WriteConcern,
};
use crate::store::{Store, Trouble};
use crate::wire::batch::{MESSAGES_MAX, WRITE_BYTES_CEILING};
use crate::wire::client::{Copies, Posted, WriteIds, WriteOptions, parse_timeout};
use crate::wire::fault::Fail;
use crate::wire::position::Position;
use crate::wire::timestamp;
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The header with the idempotency key of a write.
pub(super) const KEY_HEADER: &str = "Idempotency-Key";

/// The types of bodies that are taken.
const MEDIA_TYPES: [&str; 4] =
    ["application/json", "application/x-ndjson", "application/x-www-form-urlencoded", "text/plain"];

/// What a post says in its headers.
struct Conditions {
    /// The idempotency key.
    key: Option<Arc<str>>,
    /// The positions of which its message is to follow one directly, if it is to follow any.
    follows: Option<Vec<Position>>,
}

/// What a client gets, once the leader has its write.
enum Next {
    /// It waits for the outcome.
    Wait,
    Reply(Client, Reply),
    /// The store holds a write with its key, between these ids.
    Compare(Client, Id, Id),
}

impl Conditions {
    fn of(exchange: &Exchange) -> Result<Conditions, String> {
        let key = exchange.header(KEY_HEADER).map(parse_key).transpose()?;
        let tags: Vec<&str> =
            exchange.header_lines("If-Match").flat_map(|line| line.split(',')).map(str::trim).collect();
        let follows = match tags.as_slice() {
            // There is always a log.
            [] | ["*"] => None,
            tags => Some(tags.iter().map(|tag| parse_tag(tag)).collect::<Result<_, _>>()?),
        };
        if exchange.header("If-None-Match").is_some() {
            return Err(
                "a post with If-None-Match could never succeed, because there is always a log; to append only to \
                        the log that you have seen, send If-Match with the id of the last message, such as \"7\""
                    .to_owned(),
            );
        }
        Ok(Conditions { key, follows })
    }

    /// Forgets the positions that are not of this log. What a position names never changes once it is stored.
    fn keep_those_of(&mut self, log_id: LogId, store: &dyn Store) {
        let is_here = |position: &Position| match position.of {
            Some((_, of)) if of != log_id => false,
            Some((epoch, _)) if epoch != Epoch::NONE => match store.get(position.id) {
                Ok(Some(Slot::Entry(entry))) => entry.epoch == epoch,
                _ => true,
            },
            _ => true,
        };
        if let Some(positions) = &mut self.follows {
            positions.retain(is_here);
        }
    }

    /// The id that the message is to follow, if this is the newest one.
    fn follows(&self, newest: Id) -> Option<Id> {
        let positions = self.follows.as_ref()?;
        let fitting = positions.iter().find(|position| position.id == newest).or(positions.first());
        Some(fitting.map_or(Id::MAX, |position| position.id))
    }
}

/// Reads one entity tag of an `If-Match` header: a position. A weak tag never matches (RFC 9110, section 13.1.1), and a
/// number beyond every id is not the newest either: both are read as [`Id::MAX`].
fn parse_tag(tag: &str) -> Result<Position, String> {
    let never = Position { id: Id::MAX, of: None };
    if tag.starts_with("W/\"") {
        return Ok(never);
    }
    let text = tag.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(tag);
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Position::parse(text).or(is_number.then_some(never)).ok_or_else(|| {
        format!("If-Match has {}; it must be the id of the last message seen, such as \"7\"", tag.escape_debug())
    })
}

impl Master {
    /// Answers `POST /messages`, once the write has its outcome.
    pub(super) fn post(&self, mut exchange: Exchange) {
        match self.read(&mut exchange) {
            Ok((posted, body, conditions)) => self.take(exchange, posted, body, conditions),
            Err(reply) => {
                self.metrics.write_ended(WriteOutcome::Rejected);
                exchange.reply(reply);
            }
        }
    }

    /// Reads what is posted, unless there is no room for it.
    fn read(&self, exchange: &mut Exchange) -> Result<(Posted, Body, Conditions), Reply> {
        exchange.limit_body(self.settings.body_bytes_max)?;
        let conditions = Conditions::of(exchange).map_err(|why| Reply::problem(400, &why))?;
        let bytes = exchange.declared_body_bytes();
        if !self.pending.has_room_for(bytes) {
            let why = self.too_much_pending(bytes);
            log::warn!("a post of {} was refused: {why}", exchange.client());
            return Err(Reply::overloaded(&why));
        }
        let (posted, body) = read_posted(exchange)?;
        Ok((self.check_size(posted)?, body, conditions))
    }

    fn too_much_pending(&self, bytes: usize) -> String {
        format!(
            "there is no room for {bytes} bytes of text: {}; try again in a second",
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

    /// Gives a write to the leader. The client gets its reply when the write has its outcome, or at once if the leader
    /// rejects it. While this node hands over, and when it leads no more, the intake gets the post back.
    fn take(&self, mut exchange: Exchange, posted: Posted, body: Body, mut conditions: Conditions) {
        if conditions.follows.is_some() {
            let log_id = self.lock().leader.log_id();
            conditions.keep_those_of(log_id, &*self.store);
        }
        let fault = self.faults.meet();
        self.faults.sleep(fault.map_or(Duration::ZERO, |fault| fault.hold));
        if fault.is_some_and(|fault| fault.fail == Some(Fail::Before)) {
            exchange.reply(failed_before());
            return;
        }
        let fails_after = fault.is_some_and(|fault| fault.fail == Some(Fail::After));
        let taking = self.intake.enter();
        let mut state = self.lock();
        if taking.is_none() || state.is_retired {
            drop(state);
            exchange.put_back(body);
            return self.intake.give_back(exchange);
        }
        let is_known = conditions.key.as_deref().is_some_and(|key| state.leader.keyed(key).is_some());
        let copies = posted.options.copies.unwrap_or(self.settings.write_concern);
        let examined = if is_known {
            Ok((state.concern(copies).unwrap_or(WriteConcern::All), None))
        } else {
            self.examine(&state, &posted, copies).map(|(concern, share)| (concern, Some(Arc::new(share))))
        };
        let (concern, share) = match examined {
            Ok(taken) => taken,
            Err(reply) => {
                drop(state);
                self.metrics.write_ended(WriteOutcome::Rejected);
                return exchange.reply(reply);
            }
        };
        let Posted { messages, dialect, options } = posted;
        let (ticket, wanted) = (state.new_ticket(), state.leader.copies(concern));
        let timeout = options.timeout.unwrap_or(self.settings.ack_timeout);
        let timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        let follows = conditions.follows(state.leader.newest());
        let key = conditions.key;
        let is_keyed = key.is_some();
        let (timestamp_ms, number) = (clock::now_ms(), messages.len() as u64);
        let repeated = if key.is_some() { messages.clone() } else { Vec::new() };
        let post = Post { ticket, messages, key, concern, timeout, follows, timestamp_ms };
        let mut ready = state.leader.step(self.now(), Event::Posted(post));
        let reply = ready.replies.iter().position(|(to, _)| *to == ticket).map(|at| ready.replies.swap_remove(at).1);
        let client = Client { exchange: Box::new(exchange), dialect, wanted, messages: number, timestamp_ms };
        let next = match reply {
            Some(protocol::Reply::Accepted { first, last }) => {
                let since = Instant::now();
                let (deadline, timeline) = (timeout.map(|timeout| since + timeout), Timeline::new(since));
                let write =
                    OpenWrite { first, wanted, timestamp_ms, deadline, timeline, master_unable: None, pending: share };
                state.writes.insert(last, write);
                if fails_after {
                    let ids = WriteIds::new(dialect, first, last);
                    Next::Reply(client, unknown(ids, "it was appended, but an injected fault hides that"))
                } else {
                    state.clients.insert(ticket, client);
                    Next::Wait
                }
            }
            Some(protocol::Reply::Joined { .. }) => {
                state.clients.insert(ticket, client);
                Next::Wait
            }
            Some(protocol::Reply::Rejected(rejection)) => {
                self.metrics.write_ended(WriteOutcome::Rejected);
                let reply = self.rejection(&state, &rejection, is_keyed);
                Next::Reply(client, state.extent().mark(reply))
            }
            Some(protocol::Reply::Stored { first, last }) => Next::Compare(client, first, last),
            Some(protocol::Reply::OtherWrite(last)) => Next::Reply(client, another_write(last)),
            Some(protocol::Reply::Unknown { last }) => {
                let ids = WriteIds::new(dialect, client.first_of(last), last);
                let reply = unknown(ids, state.why_halted.as_deref().unwrap_or_default());
                Next::Reply(client, reply)
            }
            other => unreachable!("a post gets {other:?}"),
        };
        let effects = self.finish_step(state, ready, Context::default());
        drop((taking, body));
        self.perform(effects);
        match next {
            Next::Wait => {}
            Next::Reply(client, reply) => client.exchange.reply(reply),
            Next::Compare(client, first, last) => {
                let timeout = timeout.unwrap_or_default();
                self.repeat_from_store((first, last), ticket, client, &repeated, concern, timeout);
            }
        }
    }

    /// What a write asks for, and room for its text, if this node can take it.
    fn examine(&self, state: &State, posted: &Posted, copies: Copies) -> Result<(WriteConcern, Share), Reply> {
        let concern = state.concern(copies).map_err(|why| Reply::problem(400, &why))?;
        if let Some(closed) = self.why_unable() {
            return Err(closed.reply());
        }
        let bytes = posted.messages.iter().map(|message| message.len()).sum();
        let share = self.pending.take(bytes).ok_or_else(|| Reply::overloaded(&self.too_much_pending(bytes)))?;
        Ok((concern, share))
    }

    /// Answers `GET /writable`: whether a message would be taken now that asks for the copies in `?w=`.
    pub(super) fn writable(&self, exchange: &Exchange) -> Reply {
        let options = match options_of(exchange) {
            Ok(options) => options,
            Err(why) => return Reply::no_answer(400, &why),
        };
        let state = self.lock();
        let concern = match state.concern(options.copies.unwrap_or(self.settings.write_concern)) {
            Ok(concern) => concern,
            Err(why) => return Reply::no_answer(400, &why),
        };
        let reason = match self.why_unable() {
            Some(Closed::ForGood(why) | Closed::ForNow(why)) => Some(closed_sentence(&why)),
            None => {
                let taken = state.leader.would_take(self.now(), concern, 1);
                taken.err().map(|rejection| self.reason(&state, &rejection))
            }
        };
        match reason {
            None => Reply::json(200, &json!({ "writable": true, "w": state.leader.copies(concern) })),
            Some(reason) => {
                let body = json!({ "writable": false, "reason": reason });
                Reply::json(503, &body).with_header("Retry-After", "1")
            }
        }
    }

    /// Why this node can take no writes, for reasons that its leader does not know.
    pub(super) fn why_unable(&self) -> Option<Closed> {
        if let Some(lost) = self.why_poisoned().or_else(threads::lost) {
            return Some(Closed::ForGood(lost));
        }
        match self.store.trouble() {
            Some(Trouble::Failed(why)) => Some(Closed::ForGood(why)),
            Some(Trouble::NoRoom(why)) => Some(Closed::ForNow(why)),
            None => timestamp::fault(clock::now_ms()).map(Closed::ForNow),
        }
    }

    /// The reply to a write that the leader does not take. A refusal of a write with a key speaks of every post with that
    /// key. If another node may lead, this one does not know whether it has such a write: then only this post was refused.
    fn rejection(&self, state: &State, rejection: &Rejection, is_keyed: bool) -> Reply {
        let reason = self.reason(state, rejection);
        match rejection {
            Rejection::Overtaken(newest) => {
                let position = Position { id: *newest, of: Some((Epoch::NONE, state.leader.log_id())) };
                Reply::problem(412, &reason).with_header("ETag", format!("\"{position}\""))
            }
            Rejection::Halted => Reply::problem(503, &reason),
            Rejection::Stopping | Rejection::ReadOnly { .. } | Rejection::Overloaded { .. } => {
                Reply::overloaded(&reason)
            }
            Rejection::Shortfall(_) if is_keyed && state.leader.roster().allows_promotion() => {
                Reply::overloaded(&format!("this message was not appended: {reason}"))
            }
            Rejection::Shortfall(_) => {
                let error = format!("the message was refused: {reason}");
                refused(error, None, state.reports(None)).with_header("Retry-After", "1")
            }
        }
    }

    /// Why the leader does not take a write, in words.
    pub(super) fn reason(&self, state: &State, rejection: &Rejection) -> String {
        match rejection {
            Rejection::Halted => closed_sentence(state.why_halted.as_deref().unwrap_or("it has given up")),
            Rejection::Stopping => closed_sentence("it is stopping; try again when it is back"),
            Rejection::ReadOnly { healthy, needed } => closed_sentence(&state.why_read_only(*healthy, *needed)),
            Rejection::Overloaded { open } => {
                let most = self.settings.pending_max;
                format!(
                    "{open} messages are undecided already, and with these there would be more than {most} \
                     (MAX_PENDING); try again in a second"
                )
            }
            Rejection::Overtaken(newest) => {
                format!("the message was refused: id {newest} is the newest now; read on, and decide again")
            }
            Rejection::Shortfall(Shortfall { wanted, available, .. }) => {
                let nodes = state.leader.nodes();
                format!("{available} of {nodes} nodes can take part, {wanted} are needed")
            }
        }
    }
}

/// Why a master takes no messages, whatever they ask for.
pub(super) enum Closed {
    /// Until it is restarted.
    ForGood(String),
    /// Until the reason is gone, without a restart.
    ForNow(String),
}

impl Closed {
    fn reply(&self) -> Reply {
        match self {
            Closed::ForGood(why) => Reply::problem(503, &closed_sentence(why)),
            Closed::ForNow(why) => Reply::overloaded(&closed_sentence(why)),
        }
    }
}

fn closed_sentence(why: &str) -> String {
    format!("this master takes no writes: {why}")
}

impl State {
    /// The write concern for a number of copies.
    ///
    /// # Errors
    /// If there are fewer nodes.
    fn concern(&self, copies: Copies) -> Result<WriteConcern, String> {
        let nodes = self.leader.nodes();
        match copies {
            Copies::All => Ok(WriteConcern::All),
            Copies::Majority if self.leader.roster().allows_promotion() => Ok(WriteConcern::Majority),
            Copies::Majority => Ok(WriteConcern::Copies(nodes / 2 + 1)),
            Copies::Number(number) => match usize::try_from(number) {
                Ok(number) if number <= nodes => Ok(WriteConcern::Copies(number)),
                _ => Err(format!(
                    "{number} copies were asked for, but there {}; ask for fewer, for \"majority\" or for \"all\"",
                    if nodes == 1 { "is only the master".to_owned() } else { format!("are {nodes} nodes") }
                )),
            },
        }
    }

    /// Why no writes are taken when fewer nodes are healthy than must be.
    pub(super) fn why_read_only(&self, healthy: usize, needed: usize) -> String {
        let nodes = self.leader.nodes();
        let is_unhealthy = |id: &MemberId| self.leader.member(*id).is_some_and(|view| view.health == Health::Unhealthy);
        let unhealthy = self.members.iter().filter(|(id, _)| is_unhealthy(id));
        let reasons = unhealthy.map(|(_, member)| format!("; {}: {}", member.name, member.detail));
        let reasons: String = reasons.collect();
        format!("it is read-only: {healthy} of {nodes} nodes are healthy, {needed} are needed{reasons}")
    }
}

/// Reads a body by its type. The type is checked first, so that a client with `Expect: 100-continue` does not send a
/// body that would be rejected.
fn read_posted(exchange: &mut Exchange) -> Result<(Posted, Body), Reply> {
    let bad = |why: String| Reply::problem(400, &why);
    let asked = options_of(exchange).map_err(bad)?;
    let media_type = media_type(exchange)?;
    let is_raw = framing::is_raw(exchange).map_err(bad)?;
    let parse = match &*media_type {
        "application/json" if is_raw => Posted::from_raw_json,
        "application/x-ndjson" if is_raw => Posted::from_raw_lines,
        _ if is_raw => {
            let why = format!("raw is for application/json and application/x-ndjson, and this is {media_type}");
            return Err(bad(why));
        }
        "application/json" => Posted::from_json,
        "application/x-www-form-urlencoded" => Posted::from_form,
        "text/plain" => Posted::from_text,
        _ => Posted::from_lines,
    };
    framing::check(exchange)?;
    let body = exchange.read_body()?;
    let posted = parse(&body).map_err(bad)?;
    Ok((Posted { options: posted.options.and(asked).map_err(bad)?, ..posted }, body))
}

/// The type of a body, in small letters, if it is taken.
fn media_type(exchange: &Exchange) -> Result<Cow<'_, str>, Reply> {
    let (media_type, parameters) = framing::media_type(exchange);
    if !MEDIA_TYPES.contains(&&*media_type) {
        let why = format!("\"{}\" is not taken; send {}", media_type.escape_debug(), MEDIA_TYPES.join(", "));
        return Err(Reply::problem(415, &why));
    }
    let charsets = parameters.filter_map(|part| Some(part.strip_prefix("charset=")?.trim_matches('"').to_owned()));
    if let Some(other) = charsets.into_iter().find(|charset| !matches!(&**charset, "utf-8" | "utf8" | "us-ascii")) {
        let why = format!("the charset {} is not taken; send UTF-8", other.escape_debug());
        return Err(Reply::problem(415, &why));
    }
    let encodings = exchange.header("Content-Encoding").unwrap_or("identity");
    if !encodings.eq_ignore_ascii_case("identity") {
        let why = format!("the content encoding {} is not taken; send the body as it is", encodings.escape_debug());
        return Err(Reply::problem(415, &why).with_header("Accept-Encoding", "identity"));
    }
    Ok(media_type)
}

/// The write options of the query: the only place for them beside a body of plain text.
fn options_of(exchange: &Exchange) -> Result<WriteOptions, String> {
    if let Some(other) = exchange.query_names().find(|name| !matches!(*name, "w" | "write_concern" | "timeout" | "raw"))
    {
        return Err(format!("\"{}\" is not a parameter of a post; there are w, timeout and raw", other.escape_debug()));
    }
    if exchange.query("w").is_some() && exchange.query("write_concern").is_some() {
        return Err("the query has both w and write_concern; send one".to_owned());
    }
    let copies =
        exchange.query("w").or_else(|| exchange.query("write_concern")).map(|text| Copies::parse(&text)).transpose()?;
    let timeout = exchange.query("timeout").map(|text| parse_timeout(&text)).transpose()?;
    Ok(WriteOptions { copies, timeout })
}
