//! The threads that run rounds, and keep time for the leader.
//!
//! A thread waits until the leader has something to do, and gives it a tick. If that begins a round, the thread runs
//! it: a crossbeam scope with one `std::thread` per secondary that calls with ureq, while the thread itself makes the
//! master's own copy durable. Each thread reports its acknowledgement at once, so a write for few copies does not wait
//! for a secondary that it did not ask for, and one for all is committed when the last acknowledgement has returned.
//! The thread joins the scope before it does anything else.
//!
//! The leader's scheduler decides when a round begins. Each round that has not ended has a thread, and one more waits.

use super::calls::SharedText;
use super::effects::{Context, Effects};
use super::shared::Master;
use super::state::{BegunRound, State};
use crate::node::ids::id_range;
use crate::node::logging::Step;
use crate::process::state_lock::StateGuard;
use crate::process::text::count;
use crate::process::threads;
use crate::protocol::{Event, Round, Time};
use crate::wire::node::EntriesText;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

/// Threads that wait for a round at most.
const IDLE_MAX: usize = 12;
/// How often the thread that watches the clock checks, while rounds are in flight, whether something is due. Writes
/// that come in meanwhile need not wake it.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Master {
    /// Starts one more thread that runs rounds.
    pub(super) fn add_runner(self: &Arc<Master>) {
        let master = Arc::clone(self);
        if let Err(error) = threads::start_needed("round", move || master.run_rounds()) {
            log::error!("cannot start a thread that runs rounds: {error}; one round less can be in flight");
            self.lock().runners.idle -= 1;
        }
    }

    fn run_rounds(self: &Arc<Master>) {
        loop {
            self.wait_until_due();
            if catch_unwind(AssertUnwindSafe(|| self.tick())).is_err() {
                self.step(
                    Event::Failed,
                    Context::failed("a thread that ran a round panicked; the log file says where"),
                );
            }
            let mut state = self.lock();
            if state.runners.idle >= IDLE_MAX {
                return;
            }
            state.runners.idle += 1;
        }
    }

    /// Waits until the leader has something to do. Of the threads that wait, one watches the clock.
    fn wait_until_due(self: &Arc<Master>) {
        let mut state = self.lock();
        let mut watches = false;
        loop {
            let (now, due) = (Instant::now(), self.at(state.leader.wake_at()));
            if due.is_some_and(|due| due <= now) {
                break;
            }
            watches |= !state.runners.is_watched;
            state.runners.is_watched = true;
            state = if watches { self.watch(state, due, now) } else { state.wait(&self.spare) };
        }
        state.runners.idle -= 1;
        state.runners.is_watched &= !watches;
        let (needs_another, is_unwatched) = (state.runners.idle == 0, !state.runners.is_watched);
        state.runners.idle += usize::from(needs_another);
        drop(state);
        if needs_another {
            self.add_runner();
        } else if is_unwatched {
            self.spare.notify_one();
        }
    }

    /// Waits until something may be due.
    fn watch<'a>(&self, mut state: StateGuard<'a, State>, due: Option<Instant>, now: Instant) -> StateGuard<'a, State> {
        let look_again = (state.leader.rounds_in_flight() > 0).then(|| now + LOOK_AGAIN);
        let until = due.into_iter().chain(look_again).min();
        state.runners.watched_until = until;
        match until {
            None => state.wait(&self.clock),
            Some(until) => state.wait_timeout(&self.clock, until - now).0,
        }
    }

    /// A time of the leader's, by this process's clock.
    fn at(&self, time: Option<Time>) -> Option<Instant> {
        time.and_then(|time| self.started.checked_add(time.since(Time::ZERO)))
    }

    /// The thread to wake once the state is unlocked, because the leader has something to do at a time: one for what is
    /// due, or the one that watches the clock if it would look too late.
    pub(super) fn sleeper(&self, state: &State, wake_at: Option<Time>) -> Option<&Condvar> {
        let (due, runners) = (self.at(wake_at)?, &state.runners);
        if due <= Instant::now() && runners.idle > usize::from(runners.is_watched) {
            return Some(&self.spare);
        }
        let looks_too_late = runners.is_watched && runners.watched_until.is_none_or(|until| due < until);
        looks_too_late.then_some(&self.clock)
    }

    fn tick(&self) {
        let mut effects = self.begin_step(Event::Tick, Context::default());
        match effects.round.take() {
            Some(begun) => self.run_round(&begun, effects),
            None => self.perform(effects),
        }
    }

    /// Sends a round to every secondary in parallel, while the master stores its own copy.
    fn run_round(&self, begun: &BegunRound, effects: Effects) {
        let round = &begun.round;
        let shared = SharedText { after: round.after, text: EntriesText::new(&round.entries) };
        let shared = &shared;
        let joined = crossbeam::thread::scope(|scope| {
            for dispatch in &round.calls {
                scope.spawn(move |_| self.call_through(dispatch.clone(), Some(shared)));
            }
            self.tell_start(round, begun.number);
            self.perform(effects);
        });
        if joined.is_err() {
            let why = "a thread that carried a round panicked; the log file says where";
            self.step(Event::Failed, Context::failed(why));
        }
    }

    fn tell_start(&self, round: &Round, number: u64) {
        let (messages, secondaries) = (round.entries.len(), round.calls.len());
        if messages == 0 {
            return;
        }
        self.metrics.round(messages);
        self.log.writes().tell(Step::Received, (round.after, round.through()), None, || {
            format!(
                "{} received ({}), sent to {} in round {number}",
                id_range(round.after, round.through()),
                count(messages, "message", "messages"),
                count(secondaries, "secondary", "secondaries"),
            )
        });
    }
}
