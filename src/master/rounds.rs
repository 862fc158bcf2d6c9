//! Rounds: what waits goes to every secondary in parallel, while the master makes its own copy durable.
//!
//! A round is a crossbeam scope with one thread per in-sync secondary; the thread that runs the round stores the
//! master's copy meanwhile, and joins the others. Normally the next round begins when the last one has ended, so that
//! writers who came in between share it, and a moment later if others have just been answered: they are likely to write
//! again at once, and without that moment writers fall into two halves that wait for each other's rounds. If they do not
//! come, the moment is soon given up. A lone writer waits for nobody. And nobody waits for a stranger's delay:
//!
//! - when the oldest waiting message has waited [`PATIENCE`], doubled for each round in flight beyond the first, another
//!   round begins beside them. So a writer who comes when many rounds are in flight waits a fraction of the delay that
//!   those are waiting for, at most;
//! - a round whose messages all have their fate holds up nobody, even if a call of it has not returned;
//! - a message that needs fewer copies than all begins a round as soon as the master's own disk is free.
//!
//! A secondary that does not answer gets [`CALLS_MAX`] calls and no more; what it misses meanwhile is sent when one of
//! them has returned. The threads that run rounds are as many as rounds have not ended, and one that waits for the next.

use super::members::Member;
use super::{Entries, Master, State};
use crate::node::ids::id_range;
use crate::node::logging::{NodeLog, Step};
use crate::process::text::count;
use crate::process::threads;
use crate::protocol::{Dispatch, Entry, Id, MemberId, Slot};
use crate::store::StoreError;
use crate::wire::node::EntriesText;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rounds in flight at most. With doubled patience the last of them begins seconds after the first.
const ROUNDS_MAX: usize = 12;
/// How long a round waits at most for writers who have just been answered: about as long as a round takes.
const GATHER: Duration = Duration::from_millis(1);
/// After so many times in vain it does not wait any more,
const VAIN_WAITS_MAX: u32 = 3;
/// except every so many times, to see whether it would be worth it again.
const GATHER_AGAIN: u32 = 16;
/// How long a message waits for the round in flight before it gets one of its own.
const PATIENCE: Duration = Duration::from_millis(2);
/// Calls to one secondary that have not returned, at most.
const CALLS_MAX: usize = 12;
/// How long the high watermark waits for a round to carry it before an empty one does. Such a round goes beside those
/// that wait for a delay, and each secondary gets one of them at a time.
const TELL_AFTER: Duration = Duration::from_millis(5);
/// Messages of one round, and bytes of their text, unless a single write has more.
const ROUND_MESSAGES_MAX: usize = 4_096;
const ROUND_BYTES_MAX: usize = 1 << 20;

/// What one round carries.
pub(super) struct Round {
    number: u64,
    /// When it took what waited.
    began: Instant,
    /// The round's entries follow this id.
    pub(super) after: Id,
    entries: Vec<Arc<Entry>>,
    /// The writes that they belong to.
    _writes: Vec<Entries>,
    /// The entries as JSON, made once for all secondaries.
    pub(super) text: EntriesText,
    dispatches: Vec<Dispatch>,
}

impl Round {
    fn through(&self) -> Id {
        self.entries.last().map_or(self.after, |entry| entry.id)
    }

    fn log_start(&self, log: &NodeLog) {
        if !self.entries.is_empty() {
            log.writes().tell(Step::Received, (self.after, self.through()), None, || {
                format!(
                    "{} received ({}), sent to {} in round {}",
                    id_range(self.after, self.through()),
                    count(self.entries.len(), "message", "messages"),
                    count(self.dispatches.len(), "secondary", "secondaries"),
                    self.number
                )
            });
        }
    }
}

/// The rounds that have not ended.
#[derive(Debug, Default)]
pub(super) struct RoundsUnderWay {
    /// Those for which new messages wait a while: their number, and the ids after the first up to the second.
    blocking: Vec<(u64, Id, Id)>,
    /// How many of them the master's own store has still to take.
    storing: usize,
    /// Writers who may come in time for the next one.
    pub(super) company: Option<Company>,
    /// So many times in a row most of them did not come.
    vain: u32,
    /// Threads that wait for a round to run.
    idle: usize,
    /// One of them watches the clock,
    is_watched: bool,
    /// and looks again at this moment, or when it is woken.
    watched_until: Option<Instant>,
    /// Threads that wait for the store to take an earlier round.
    queue_for_store: usize,
}

/// Writers who were answered a moment ago.
#[derive(Debug)]
pub(super) struct Company {
    /// How many writes there will be when all of them have come back.
    pub(super) writes: usize,
    /// Nobody waits for them any longer than this.
    until: Instant,
}

impl RoundsUnderWay {
    /// The round that carries an id and is not over.
    pub(super) fn carrying(&self, id: Id) -> Option<u64> {
        self.blocking.iter().find(|&&(_, after, through)| after < id && id <= through).map(|&(number, ..)| number)
    }

    /// How many there are that others wait for.
    pub(super) fn under_way(&self) -> usize {
        self.blocking.len()
    }
}

impl State {
    /// Some messages have their fate: a round whose messages all have theirs blocks no other, whatever it still waits for.
    ///
    /// So many writers are being answered: those among them who write again do so soon, and may share the next round.
    pub(super) fn rounds_settled(&mut self, answered: usize) {
        let ledger = &self.ledger;
        self.rounds.blocking.retain(|&(_, after, through)| ledger.has_open(after, through));
        let writes = self.queue.len() + answered;
        let vain = self.rounds.vain;
        let is_worth_it = vain < VAIN_WAITS_MAX || vain.is_multiple_of(GATHER_AGAIN);
        let until = Instant::now() + if is_worth_it { GATHER } else { Duration::ZERO };
        self.rounds.company = (writes > 1).then_some(Company { writes, until });
    }

    /// A round begins. Was it worth waiting for company?
    fn learn_from_company(&mut self) {
        let Some(company) = self.rounds.company.take() else { return };
        let most_came = self.queue.len() * 4 >= company.writes * 3;
        self.rounds.vain = if most_came { 0 } else { self.rounds.vain.wrapping_add(1) };
    }
}

impl Master {
    pub(super) fn start_rounds(self: &Arc<Master>) {
        self.add_runner();
    }

    /// Starts one more thread that runs rounds.
    fn add_runner(self: &Arc<Master>) {
        let master = Arc::clone(self);
        if let Err(error) = threads::start_needed("round", move || master.run_rounds()) {
            log::error!("one round less can be in flight: {error}");
        }
    }

    fn run_rounds(self: &Arc<Master>) {
        loop {
            let round = self.next_round();
            if catch_unwind(AssertUnwindSafe(|| self.run_round(&round))).is_err() {
                self.halt("a thread that ran a round panicked; the log file says where");
            }
            let mut state = self.lock();
            state.rounds.blocking.retain(|&(number, ..)| number != round.number);
            let enough = state.rounds.idle >= ROUNDS_MAX;
            self.unlock_and_wake(state);
            if enough {
                return;
            }
        }
    }

    /// Waits until a round is due, and takes what waits. Of the threads that wait, one watches the clock.
    fn next_round(self: &Arc<Master>) -> Round {
        let mut state = self.lock();
        state.rounds.idle += 1;
        let mut watches = false;
        loop {
            let (now, due) = (Instant::now(), due(&state));
            if due.is_some_and(|due| due <= now) {
                break;
            }
            watches |= !state.rounds.is_watched;
            state.rounds.is_watched = true;
            state = if watches { self.watch(state, due, now) } else { wait(&self.spare, state) };
        }
        let round = take_round(&mut state);
        state.rounds.idle -= 1;
        state.rounds.is_watched &= !watches;
        let (nobody_is_left, nobody_watches) = (state.rounds.idle == 0, !state.rounds.is_watched);
        drop(state);
        if nobody_is_left {
            self.add_runner();
        } else if nobody_watches {
            self.spare.notify_one();
        }
        Round { text: EntriesText::new(&round.entries), ..round }
    }

    /// Waits until something may be due. While rounds are under way that is looked at often, so that nobody has to be woken
    /// for each message that comes in meanwhile.
    fn watch<'a>(&self, mut state: MutexGuard<'a, State>, due: Option<Instant>, now: Instant) -> MutexGuard<'a, State> {
        let look_again = (state.rounds.under_way() > 0).then(|| now + PATIENCE);
        let until = due.into_iter().chain(look_again).min();
        state.rounds.watched_until = until;
        match until {
            None => wait(&self.clock, state),
            Some(until) => self.clock.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Whom to wake, once the state is unlocked: a thread for a round that is due, or the one that watches the clock if it
    /// would look too late.
    pub(super) fn sleeper(&self, state: &State) -> Option<&Condvar> {
        let (due, rounds) = (due(state)?, &state.rounds);
        if due <= Instant::now() && rounds.idle > usize::from(rounds.is_watched) {
            return Some(&self.spare);
        }
        let looks_too_late = rounds.is_watched && rounds.watched_until.is_none_or(|until| due < until);
        looks_too_late.then_some(&self.clock)
    }

    /// Unlocks the state after a change, and wakes whoever has to run a round because of it.
    pub(super) fn unlock_and_wake(&self, state: MutexGuard<'_, State>) {
        let sleeper = self.sleeper(&state);
        drop(state);
        sleeper.inspect(|sleeper| sleeper.notify_one());
    }

    fn run_round(&self, round: &Round) {
        let joined = crossbeam::thread::scope(|scope| {
            for dispatch in &round.dispatches {
                scope.spawn(move |_| {
                    self.deliver_round(dispatch, round);
                    self.call_returned(dispatch, round);
                });
            }
            round.log_start(&self.log);
            if !round.entries.is_empty() {
                self.metrics.round(round.entries.len());
            }
            self.store_own_copy(round);
        });
        if joined.is_err() {
            self.halt("a thread that carried a round panicked; the log file says where");
        }
    }

    fn call_returned(&self, dispatch: &Dispatch, round: &Round) {
        let mut state = self.lock();
        if state.ledger.member(dispatch.member).is_some_and(|view| view.turn == dispatch.turn)
            && let Some(member) = state.members.get_mut(&dispatch.member)
        {
            member.calls -= 1;
            member.being_told &= !round.entries.is_empty();
        }
        self.unlock_and_wake(state);
    }

    /// Waits until the store holds everything up to an id, and the ledger knows. Rounds run side by side, but the log
    /// grows in order, and so does what the ledger hears of it.
    pub(super) fn wait_for_store(&self, id: Id) -> Result<(), StoreError> {
        let mut state = self.lock();
        while state.ledger.durable() < id {
            if let Some(reason) = &state.halted {
                return Err(StoreError::new(format!("id {id} was not stored: {reason}")));
            }
            state.rounds.queue_for_store += 1;
            state = wait(&self.stored, state);
            state.rounds.queue_for_store -= 1;
        }
        Ok(())
    }

    fn store_own_copy(&self, round: &Round) {
        if round.entries.is_empty() {
            return;
        }
        let slots: Vec<Slot> = round.entries.iter().cloned().map(Slot::Entry).collect();
        let mut appended = self.wait_for_store(round.after).and_then(|()| {
            let began = Instant::now();
            self.store.append(&slots).inspect(|()| self.metrics.appended(began.elapsed()))
        });
        let no_room = appended.as_ref().err().filter(|error| error.is_no_room()).map(ToString::to_string);
        if no_room.is_some() {
            let refusals: Vec<Slot> = round.entries.iter().map(|entry| Slot::Refused(entry.id)).collect();
            appended = self.insist(|| self.store.append(&refusals));
        }
        if let Err(error) = appended {
            self.halt(&format!("{} could not be stored: {error}", id_range(round.after, round.through())));
            return;
        }
        self.faults.sleep(self.faults.delay());
        let mut state = self.lock();
        state.rounds.storing -= 1;
        let effects = match no_room {
            None => {
                state.note_stored(round.after, round.through(), (round.number, round.began));
                state.ledger.stored(round.through())
            }
            Some(reason) => {
                state.tell_writers(round.after, round.through(), &reason);
                state.ledger.refused_for_want_of_room(round.through())
            }
        };
        if state.rounds.queue_for_store > 0 {
            self.stored.notify_all();
        }
        self.carry_out(state, effects);
    }
}

impl State {
    /// Writers of refused messages are told this, and not which secondary did not acknowledge.
    fn tell_writers(&mut self, after: Id, through: Id, reason: &str) {
        for (_, writer) in self.writers.range_mut(after.next()..=through) {
            writer.master_unable = Some(reason.to_owned());
        }
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// When the next round is to begin; `None` if nothing waits.
fn due(state: &State) -> Option<Instant> {
    if state.halted.is_some() {
        return None;
    }
    let blocking = state.rounds.blocking.len();
    match state.queue.front() {
        Some(oldest) if blocking == 0 => match &state.rounds.company {
            Some(company) if state.queue.len() < company.writes => Some(oldest.since.max(company.until)),
            _ => Some(oldest.since),
        },
        // A message that needs few copies does not wait for nodes that others need; only for the master's own disk.
        Some(oldest) if (state.hurry || state.queued_below_all > 0) && state.rounds.storing == 0 => Some(oldest.since),
        Some(_) if blocking >= ROUNDS_MAX => None,
        Some(oldest) => Some(oldest.since + PATIENCE * (1 << (blocking - 1))),
        None => state
            .members
            .iter()
            .any(|(&id, member)| is_to_be_told(state, id, member))
            .then(|| state.decided_at + TELL_AFTER),
    }
}

/// Whether a secondary has to be told something, and a call may be made for that.
fn is_to_be_told(state: &State, id: MemberId, member: &Member) -> bool {
    !member.being_told && member.calls < CALLS_MAX && state.ledger.owes(id)
}

fn take_round(state: &mut MutexGuard<'_, State>) -> Round {
    let state = &mut **state;
    if !state.queue.is_empty() {
        state.learn_from_company();
    }
    let writes = take_writes(state);
    let entries: Vec<Arc<Entry>> = writes.iter().flat_map(|write| write.iter().cloned()).collect();
    state.hurry &= !state.queue.is_empty();
    let after = entries.first().map_or_else(|| state.ledger.last(), |entry| entry.id.previous());
    let through = entries.last().map_or(after, |entry| entry.id);
    state.rounds_started += 1;
    let number = state.rounds_started;
    let members: Vec<MemberId> = match entries.is_empty() {
        true => {
            state.members.iter().filter(|(id, member)| is_to_be_told(state, **id, member)).map(|(&id, _)| id).collect()
        }
        false => state.members.iter().filter(|(_, member)| member.calls < CALLS_MAX).map(|(&id, _)| id).collect(),
    };
    let dispatch = |id: &MemberId| state.ledger.dispatch(*id, through).filter(Dispatch::has_news);
    let dispatches: Vec<Dispatch> = members.iter().filter_map(dispatch).collect();
    for dispatch in &dispatches {
        if let Some(member) = state.members.get_mut(&dispatch.member) {
            member.calls += 1;
            member.being_told |= entries.is_empty();
        }
    }
    if !entries.is_empty() {
        state.rounds.blocking.push((number, after, through));
        state.rounds.storing += 1;
    }
    Round { number, began: Instant::now(), after, entries, _writes: writes, text: EntriesText::new(&[]), dispatches }
}

/// Takes what fits into one round; a write is never divided.
fn take_writes(state: &mut State) -> Vec<Entries> {
    let mut writes = Vec::with_capacity(state.queue.len().min(ROUND_MESSAGES_MAX));
    let (mut messages, mut bytes) = (0, 0);
    while let Some(queued) = state.queue.front() {
        messages += queued.entries.len();
        bytes += queued.entries.iter().map(|entry| entry.message.len()).sum::<usize>();
        if (messages > ROUND_MESSAGES_MAX || bytes > ROUND_BYTES_MAX) && !writes.is_empty() {
            break;
        }
        if let Some(queued) = state.queue.pop_front() {
            state.queued_below_all -= usize::from(queued.below_all);
            writes.push(queued.entries);
        }
    }
    writes
}
