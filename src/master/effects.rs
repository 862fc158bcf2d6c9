//! Carries out what the leader asks for.
//!
//! A step locks the state, gives the leader an event, records what its effects mean for clients and logs, and unlocks
//! the state. Only then does it log, answer, write and send: no thread waits for a disk, a socket or a terminal while
//! it holds the lock.

use super::lines::{LogLine, WriteLine};
use super::member::Job;
use super::replies::Answer;
use super::shared::Master;
use super::state::{BegunRound, State};
use super::timeline::CallMade;
use crate::http::Exchange;
use crate::node::ids::{id_range, id_ranges};
use crate::node::logging::Step;
use crate::peer::PeerError;
use crate::process::state_lock::StateGuard;
use crate::process::threads::lock;
use crate::protocol::{
    CallFailure, Dispatch, Event, Health, Id, MemberId, News, Outcome, Purpose, Ready, ReplicationState, Roster, Slot,
    Watermark,
};
use crate::store::StoreError;
use crate::wire::timing::milliseconds;
use log::Level;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the master waits before it tries again to store a refusal that found no room on the disk.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How often a long catch-up is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What is left to do after a step. The leader waits for the events that report it.
#[must_use = "effects have to be carried out"]
pub(super) struct Effects {
    pub(super) round: Option<BegunRound>,
    /// Calls that the caller of the step has to make.
    pub(super) calls: Vec<Dispatch>,
    note: Option<Watermark>,
    append: Vec<Slot>,
    refuse: Vec<Id>,
    roster: Option<Roster>,
}

/// What an event is about, for the log and for traces.
#[derive(Default)]
pub(super) struct Context {
    /// The call that was acknowledged.
    pub(super) call: Option<CallMade>,
    /// Why something failed.
    pub(super) why: Option<String>,
}

impl Context {
    pub(super) fn failed(why: impl Into<String>) -> Context {
        Context { why: Some(why.into()), ..Context::default() }
    }
}

impl Master {
    /// Gives an event to the leader, and does all that it asks for.
    pub(super) fn step(&self, event: Event, context: Context) {
        let effects = self.begin_step(event, context);
        self.perform(effects);
    }

    /// Gives an event to the leader, answers clients, writes log lines, and hands work to other threads. Gives the
    /// effects that are left for the caller.
    pub(super) fn begin_step(&self, event: Event, context: Context) -> Effects {
        let mut state = self.lock();
        let ready = state.leader.step(self.now(), event);
        self.finish_step(state, ready, context)
    }

    /// The second half of [`Master::begin_step`], for an owner of the state that has made the step itself.
    pub(super) fn finish_step(&self, mut state: StateGuard<'_, State>, ready: Ready, mut context: Context) -> Effects {
        let Ready { note, replies, news, round, calls, probes, append, refuse, roster, wake_at } = ready;
        let mut lines = Vec::new();
        // An answer names the copies that this step has learned of, and a write that is settled is forgotten.
        let mut settled = Vec::new();
        for news in news {
            match news {
                News::Settled(..) => settled.push(news),
                _ => self.take_down(&mut state, news, &context, &mut lines),
            }
        }
        // Clients learn why.
        if state.leader.is_halted() && state.why_halted.is_none() {
            let why = context.why.take().unwrap_or_else(|| "its log could not be written".to_owned());
            lines.push(LogLine::Plain(Level::Error, format!("this master takes no more writes: {why}")));
            state.why_halted = Some(why);
        }
        let answers: Vec<(Box<Exchange>, Answer)> =
            replies.into_iter().filter_map(|(ticket, reply)| self.answer(&mut state, ticket, &reply)).collect();
        settled.into_iter().for_each(|news| self.take_down(&mut state, news, &context, &mut lines));
        let round = round.map(|round| state.begin_round(round));
        let roster = roster.map(|roster| roster.with_contacts(self.contacts(&state)));
        let (handed_over, own): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|dispatch| matches!(dispatch.purpose, Purpose::CatchUp | Purpose::Refusals));
        let jobs = handed_over.into_iter().map(|dispatch| (dispatch.member, Job::Call(dispatch)));
        for (member, job) in jobs.chain(probes.into_iter().map(|member| (member, Job::Probe))) {
            state.hand_over(member, job);
        }
        if state.leader.waiting() == 0 {
            self.all_answered.notify_all();
        }
        let (shown, sleeper) = (state.leader.shown().decided, self.sleeper(&state, wake_at));
        let is_more_shown = shown > std::mem::replace(&mut state.shown_to_followers, shown);
        let has_lines = !lines.is_empty();
        if has_lines {
            self.lines.extend(lines);
        }
        drop(state);
        sleeper.inspect(|sleeper| sleeper.notify_one());
        if is_more_shown {
            self.reading.following.show(shown);
        }
        if has_lines {
            self.lines.write(&self.log);
        }
        Exchange::reply_to_all(
            answers.into_iter().map(|(exchange, answer)| (exchange, move || answer.into_reply())).collect(),
        );
        Effects { round, calls: own, note, append, refuse, roster }
    }

    /// Makes durable what has to be, and reports it to the leader, until no effect is left.
    pub(super) fn perform(&self, mut effects: Effects) {
        loop {
            let inside = self.writes.enter();
            if inside.is_none() {
                return;
            }
            let (event, context) = if let Some(watermark) = effects.note.take() {
                self.note(watermark)
            } else if !effects.append.is_empty() {
                self.append(&std::mem::take(&mut effects.append))
            } else if !effects.refuse.is_empty() {
                self.refuse(&std::mem::take(&mut effects.refuse))
            } else if let Some(roster) = effects.roster.take() {
                self.take_roster(roster)
            } else {
                return;
            };
            drop(inside);
            let more = self.begin_step(event, context);
            effects.note = more.note.or(effects.note);
            effects.append.extend(more.append);
            effects.refuse.extend(more.refuse);
            effects.roster = more.roster.or(effects.roster);
        }
    }

    fn note(&self, watermark: Watermark) -> (Event, Context) {
        match self.store.note_watermark(watermark) {
            Ok(()) => (Event::WatermarkNoted, Context::default()),
            Err(error) => (Event::Failed, Context::failed(format!("the high watermark could not be noted: {error}"))),
        }
    }

    fn append(&self, slots: &[Slot]) -> (Event, Context) {
        let (first, last) = (slots[0].id(), slots[slots.len() - 1].id());
        let has_messages = slots.iter().any(|slot| matches!(slot, Slot::Entry(_)));
        let began = Instant::now();
        let appended =
            if has_messages { self.store.append(slots) } else { self.retry_while_full(|| self.store.append(slots)) };
        match appended {
            Ok(()) => {
                self.metrics.appended(began.elapsed());
                self.faults.sleep(self.faults.delay());
                (Event::Appended, Context::default())
            }
            Err(error) if error.is_no_room() && has_messages => {
                (Event::AppendHadNoRoom, Context::failed(error.to_string()))
            }
            Err(error) => {
                let ids = id_range(first.previous(), last);
                (Event::Failed, Context::failed(format!("{ids} could not be stored: {error}")))
            }
        }
    }

    fn refuse(&self, ids: &[Id]) -> (Event, Context) {
        match self.retry_while_full(|| self.store.refuse(ids)) {
            Ok(()) => (Event::RefusalsStored, Context::default()),
            Err(error) => (Event::Failed, Context::failed(format!("a refusal could not be made durable: {error}"))),
        }
    }

    fn take_roster(&self, roster: Roster) -> (Event, Context) {
        let _one_at_a_time = lock(&self.record);
        match self.retry_while_full(|| self.store.take_roster(&roster)) {
            Ok(()) => (Event::RosterStored(roster), Context::default()),
            Err(error) => (Event::Failed, Context::failed(format!("a roster could not be made durable: {error}"))),
        }
    }

    /// Retries a write while the disk is full. A client may learn of a refusal only when it is durable, and another
    /// program may have taken even the room that the ballast gave up.
    fn retry_while_full(&self, write: impl Fn() -> Result<(), StoreError>) -> Result<(), StoreError> {
        loop {
            match write() {
                Err(error) if error.is_no_room() && !self.is_ending() => thread::sleep(ROOM_PAUSE),
                other => return other,
            }
        }
    }

    /// Whether this node does not lead any more, or soon will not.
    pub(super) fn is_ending(&self) -> bool {
        let state = self.lock();
        state.is_stopping || state.leader.is_halted()
    }

    /// Records what has happened in traces, figures and log lines.
    fn take_down(&self, state: &mut State, news: News, context: &Context, lines: &mut Vec<LogLine>) {
        match news {
            News::Settled(outcome, writes) => self.settled(state, outcome, writes, lines),
            News::NoRoom(after, through) => {
                for (_, write) in state.writes.range_mut(after.next()..=through) {
                    write.master_unable.clone_from(&context.why);
                }
            }
            News::Sealed(first, last) => lines.push(LogLine::Plain(
                Level::Info,
                format!(
                    "{} committed: sealed by a later message; the writer goes on waiting for more copies",
                    id_range(first.previous(), last)
                ),
            )),
            News::Stored(after, through) => state.note_stored(after, through),
            News::Matched { member, before, matched } => {
                state.note_acknowledgement(member, before, matched, context.call);
                self.matched(state, member, (before, matched), context, lines);
            }
            News::CatchingUp { member, matched, lost } => {
                state.note_acknowledgement(member, Id::ZERO, matched, None);
                let name = state.name_of(member);
                if let Some(lost) = lost {
                    lines.push(LogLine::Plain(
                        Level::Error,
                        format!(
                            "{name} holds the log up to id {matched}, but had acknowledged {lost}: its disk has lost that, \
                             and it is sent again"
                        ),
                    ));
                }
                state.describe(member, "answers and is catching up".to_owned());
            }
            News::Admitted { member, sent } => {
                let epoch = state.leader.epoch();
                if let Some(member) = state.members.get_mut(&member) {
                    let after = milliseconds(member.since.elapsed());
                    member.set_detail("takes part".to_owned());
                    let name = &member.name;
                    let line = format!("{name} takes part in epoch {epoch}; it caught up on {sent} ids in {after} ms");
                    let line = member.said.once_more(Instant::now(), "admitted", line);
                    lines.extend(line.map(|line| LogLine::Plain(Level::Info, line)));
                }
            }
            News::Lost { member, matched, failure } => {
                let why = why(&failure, context);
                state.note_loss(member, matched, &why);
                if let Some(member) = state.members.get_mut(&member) {
                    let line = format!("{} ({}) leaves the rounds: {why}", member.name, member.url);
                    let line = member.said.once_more(Instant::now(), &why, line);
                    lines.extend(line.map(|line| LogLine::Plain(Level::Warn, line)));
                    member.set_detail(why);
                }
            }
            News::Unfit(member, failure) => {
                let why = why(&failure, context);
                if let Some(member) = state.members.get_mut(&member).filter(|member| member.detail != why) {
                    lines.push(LogLine::Plain(
                        Level::Error,
                        format!("{} ({}) cannot take part: {why}", member.name, member.url),
                    ));
                    member.set_detail(why);
                }
            }
            News::Health(member, health) => {
                if let Some(member) = state.members.get_mut(&member) {
                    member.health_changed();
                    let (level, word) = match health {
                        Health::Healthy => (Level::Info, "healthy"),
                        Health::Suspected => (Level::Warn, "suspected"),
                        Health::Unhealthy => (Level::Warn, "unhealthy"),
                    };
                    let why = context.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                    let line = format!("{} ({}) is {word}{why}", member.name, member.url);
                    let line = member.said.once_more(Instant::now(), word, line);
                    lines.extend(line.map(|line| LogLine::Plain(level, line)));
                }
            }
            News::Merged(member, twin) => {
                let line = self.merge(state, member, twin);
                lines.extend(line.map(|line| LogLine::Plain(Level::Warn, line)));
            }
            News::Resent(member, after) => {
                let name = state.name_of(member);
                lines.push(LogLine::Plain(
                    Level::Info,
                    format!("{name} holds the log only up to id {after}; sent again from there"),
                ));
            }
            News::Roster(roster) => lines.push(LogLine::Plain(Level::Info, roster.to_string())),
            News::Overtaken(member, refusal) => {
                state.is_overtaken = true;
                let reason = format!("{} {refusal}", state.name_of(member));
                lines.push(LogLine::Plain(Level::Error, format!("this master takes no more writes: {reason}")));
                state.why_halted = Some(reason);
            }
        }
    }

    /// Writes have their outcome.
    fn settled(&self, state: &mut State, outcome: Outcome, writes: Vec<(Id, Id)>, lines: &mut Vec<LogLine>) {
        let (Some(&(first, _)), Some(&(_, last))) = (writes.first(), writes.last()) else { return };
        let longest =
            writes.iter().filter_map(|(_, last)| state.writes.get(last)).map(|write| write.timeline.since.elapsed());
        let took = longest.max();
        if outcome == Outcome::Refused {
            let ids: Vec<Id> = writes.iter().flat_map(|&(first, last)| first.previous().until(last)).collect();
            let why = state.why_refused(writes[0].1);
            let after = milliseconds(took.unwrap_or_default());
            lines.push(LogLine::Plain(Level::Warn, format!("{} refused after {after} ms ({why})", id_ranges(&ids))));
        } else {
            let is_short = outcome == Outcome::CommittedShort;
            let words = is_short.then_some("committed with fewer copies than asked for");
            let (step, ids) = (Step::Committed, (first.previous(), last));
            lines.push(LogLine::Write(WriteLine { step, ids, took, ranges: joined(&writes), words }));
        }
        for (_, last) in writes {
            self.close_write(state, last, outcome);
        }
    }

    fn matched(
        &self,
        state: &mut State,
        id: MemberId,
        (before, matched): (Id, Id),
        context: &Context,
        lines: &mut Vec<LogLine>,
    ) {
        let is_catching_up = state.leader.member(id).is_some_and(|view| view.state == ReplicationState::CatchingUp);
        let last = state.leader.last();
        let Some(member) = state.members.get_mut(&id) else { return };
        let name = Arc::clone(&member.name);
        if is_catching_up && member.reported.elapsed() >= REPORT_EVERY {
            member.reported = Instant::now();
            lines.push(LogLine::Plain(Level::Info, format!("{name} is catching up: has {matched} of {last} ids")));
        }
        let Some(call) = context.call else { return };
        let took = call.sent.elapsed();
        self.metrics.acknowledged(&name, took);
        lines.push(LogLine::Write(WriteLine {
            step: Step::Acknowledged(name),
            ids: (before, matched),
            took: Some(took),
            ranges: vec![(before.next(), matched)],
            words: None,
        }));
    }
}

/// Joins ranges that follow each other.
fn joined(writes: &[(Id, Id)]) -> Vec<(Id, Id)> {
    let mut ranges: Vec<(Id, Id)> = Vec::new();
    for &(first, last) in writes {
        match ranges.last_mut() {
            Some(range) if range.1.next() == first => range.1 = last,
            _ => ranges.push((first, last)),
        }
    }
    ranges
}

/// Why a secondary does not take part, in words.
fn why(failure: &CallFailure, context: &Context) -> String {
    match (failure, &context.why) {
        (_, Some(why)) => why.clone(),
        (CallFailure::Refused(refusal), None) => refusal.to_string(),
        (CallFailure::Restarted, None) => PeerError::Restarted.to_string(),
        (CallFailure::Silent | CallFailure::Failed, None) => "did not answer as it should".to_owned(),
    }
}
