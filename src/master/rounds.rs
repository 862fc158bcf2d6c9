//! The threads that run rounds, and keep time for the leader.
//!
//! A round is a crossbeam scope with one `std::thread` per secondary that calls with ureq, while the thread of the round
//! makes the master's own copy durable. Each thread reports its acknowledgement at once, so a write for few copies does not
//! wait for a secondary that it did not ask for, and one for all is committed when the last acknowledgement has returned.
//! The thread of the round joins the scope before it does anything else.
//!
//! To start a thread takes longer than many a call. So the scope is opened before there is something to carry: a thread
//! starts the [`Callers`] of its next round, waits until the leader has something to do, and gives it a tick. If that
//! begins the round, each caller makes one call, and ends.
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
use crate::process::threads::{self, lock};
use crate::protocol::{Dispatch, Event, Round, Time};
use crate::wire::node::EntriesText;
use crossbeam::thread::Scope;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
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
        // The thread that starts this one counts it as idle.
        let mut is_counted = true;
        loop {
            let ran = catch_unwind(AssertUnwindSafe(|| self.run_next_round(is_counted)));
            if self.lock().is_retired {
                return;
            }
            if !matches!(ran, Ok(Ok(Some(_)))) {
                let why = "a thread that ran or carried a round panicked; the log file says where";
                self.step(Event::Failed, Context::failed(why));
            }
            if self.lock().runners.idle >= IDLE_MAX {
                return;
            }
            is_counted = false;
        }
    }

    /// Opens a round, runs it when there is something to carry, and gives it when its calls have returned. Gives `None` if
    /// this node leads no more.
    fn run_next_round(self: &Arc<Master>, is_counted: bool) -> thread::Result<Option<BegunRound>> {
        let callers = self.lock().in_rounds();
        crossbeam::thread::scope(|scope| {
            let callers = Callers::start(self, scope, callers);
            // Not before, or a write would wait for these threads although another one has its own.
            self.lock().runners.idle += usize::from(!is_counted);
            loop {
                self.wait_until_due();
                if self.lock().is_retired {
                    return None;
                }
                let mut effects = self.begin_step(Event::Tick, Context::default());
                if let Some(begun) = effects.round.take() {
                    self.run_round(&begun, effects, callers);
                    return Some(begun);
                }
                self.perform(effects);
                self.lock().runners.idle += 1;
            }
        })
    }

    /// Waits until the leader has something to do. Of the threads that wait, one watches the clock.
    fn wait_until_due(self: &Arc<Master>) {
        let mut state = self.lock();
        let mut watches = false;
        loop {
            let (now, due) = (Instant::now(), self.at(state.leader.wake_at()));
            if due.is_some_and(|due| due <= now) || state.is_retired {
                break;
            }
            watches |= !state.runners.is_watched;
            state.runners.is_watched = true;
            state = if watches { self.watch(state, due, now) } else { state.wait(&self.spare) };
        }
        state.runners.idle = state.runners.idle.saturating_sub(1);
        state.runners.is_watched &= !watches;
        let goes_on = !state.is_retired;
        let (needs_another, is_unwatched) = (goes_on && state.runners.idle == 0, goes_on && !state.runners.is_watched);
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

    /// Sends a round to every secondary in parallel, and stores the master's own copy.
    fn run_round(&self, begun: &BegunRound, effects: Effects, mut callers: Callers<'_, '_>) {
        let round = &begun.round;
        let shared = Arc::new(SharedText { after: round.after, text: EntriesText::new(&round.entries) });
        for dispatch in &round.calls {
            callers.call(dispatch.clone(), Arc::clone(&shared));
        }
        drop(callers);
        self.tell_start(round, begun.number);
        self.perform(effects);
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

/// The threads of a round: each makes one call, with its follow-ups. Those that get none end when this is dropped.
struct Callers<'scope, 'env> {
    master: &'env Master,
    scope: &'scope Scope<'env>,
    /// How many wait for a call.
    waiting: usize,
    handover: Arc<Handover>,
}

/// Where calls wait for the threads that make them. A channel of `crossbeam` would let these threads spin first.
#[derive(Default)]
struct Handover {
    state: Mutex<Calls>,
    changed: Condvar,
}

#[derive(Default)]
struct Calls {
    queue: VecDeque<(Dispatch, Arc<SharedText>)>,
    /// No more will come.
    is_over: bool,
}

impl<'scope, 'env> Callers<'scope, 'env> {
    /// Starts so many threads. If fewer can be started, the rest are when they are needed.
    fn start(master: &'env Master, scope: &'scope Scope<'env>, number: usize) -> Callers<'scope, 'env> {
        let mut callers = Callers { master, scope, waiting: 0, handover: Arc::default() };
        callers.waiting = (0..number).take_while(|_| callers.add().is_ok()).count();
        callers
    }

    fn add(&self) -> io::Result<()> {
        let (master, handover) = (self.master, Arc::clone(&self.handover));
        let carry = move |_: &Scope<'env>| {
            if let Some((dispatch, shared)) = handover.take() {
                master.call_through(dispatch, Some(&shared));
            }
        };
        self.scope.builder().spawn(carry).map(drop)
    }

    /// Lets a thread make a call.
    fn call(&mut self, dispatch: Dispatch, shared: Arc<SharedText>) {
        match self.waiting.checked_sub(1) {
            Some(others) => self.waiting = others,
            None => self.add().expect("a thread for a call can be started"),
        }
        lock(&self.handover.state).queue.push_back((dispatch, shared));
        self.handover.changed.notify_one();
    }
}

impl Handover {
    fn take(&self) -> Option<(Dispatch, Arc<SharedText>)> {
        let calls = self.changed.wait_while(lock(&self.state), |calls| calls.queue.is_empty() && !calls.is_over);
        calls.unwrap_or_else(PoisonError::into_inner).queue.pop_front()
    }
}

impl Drop for Callers<'_, '_> {
    fn drop(&mut self) {
        lock(&self.handover.state).is_over = true;
        self.handover.changed.notify_all();
    }
}
