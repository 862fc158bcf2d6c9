//! Rounds: what waits goes to every secondary in parallel, while the master makes its own copy durable.
//!
//! A round is a crossbeam scope with one thread per in-sync secondary; the thread that runs the round stores the
//! master's copy meanwhile, and joins the others. Normally the next round begins when the last one has ended, so that
//! writers who came in between share it. But nobody waits for a stranger's delay: when the oldest waiting message has
//! waited [`PATIENCE`], doubled for each round in flight beyond the first, another round begins beside them. So a writer who
//! comes when many rounds are in flight waits a fraction of the delay that those are waiting for, at most.
//!
//! A few threads take turns at running rounds. All but one of those without a round sleep; a message that finds the
//! queue empty wakes one of them.

use super::{Master, State};
use crate::replication::{Dispatch, Entry, Id, Slot};
use crate::server::text::{count, id_range};
use crate::wire::node::EntriesText;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Rounds in flight at most. With doubled patience the last of them begins seconds after the first.
const ROUNDS_MAX: usize = 12;
/// How long a message waits for the round in flight before it gets one of its own.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long the high watermark waits for a round to carry it before an empty one does. Such a round goes beside those
/// that wait for a delay, and there is one of them at a time.
const TELL_AFTER: Duration = Duration::from_millis(5);
/// Messages of one round, and bytes of their text.
const ROUND_MESSAGES_MAX: usize = 4_096;
const ROUND_BYTES_MAX: usize = 1 << 20;

/// What one round carries.
pub(super) struct Round {
    number: u64,
    /// The round's entries follow this id.
    pub(super) after: Id,
    entries: Vec<Arc<Entry>>,
    /// The entries as JSON, made once for all secondaries.
    pub(super) text: EntriesText,
    dispatches: Vec<Dispatch>,
}

impl Round {
    fn through(&self) -> Id {
        self.entries.last().map_or(self.after, |entry| entry.id)
    }
}

impl Master {
    pub(super) fn start_rounds(self: &Arc<Master>) {
        for number in 1..=ROUNDS_MAX {
            let master = Arc::clone(self);
            let started = thread::Builder::new().name(format!("round-{number}")).spawn(move || master.run_rounds());
            if let Err(error) = started {
                log::error!("only {} rounds can be in flight: {error}", number - 1);
                break;
            }
        }
    }

    fn run_rounds(self: &Arc<Master>) {
        loop {
            let round = self.next_round();
            if catch_unwind(AssertUnwindSafe(|| self.run_round(&round))).is_err() {
                self.halt("a thread that ran a round panicked; the console says where");
            }
            let mut state = self.lock();
            if round.entries.is_empty() {
                state.telling = false;
            } else {
                state.rounds_in_flight -= 1;
            }
        }
    }

    /// Waits until a round is due, and takes what waits.
    fn next_round(&self) -> Round {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match due(&state) {
                Some(due) if due <= now => break,
                Some(due) => {
                    let waited = self.work.wait_timeout(state, due - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let round = take_round(&mut state);
        if !state.queue.is_empty() {
            self.work.notify_one();
        }
        drop(state);
        Round { text: EntriesText::new(&round.entries), ..round }
    }

    fn run_round(&self, round: &Round) {
        if !round.entries.is_empty() {
            log::info!(
                "{} received ({}), sent to {} in round {}",
                id_range(round.after, round.through()),
                count(round.entries.len(), "message", "messages"),
                count(round.dispatches.len(), "secondary", "secondaries"),
                round.number
            );
        }
        let joined = crossbeam::thread::scope(|scope| {
            for dispatch in &round.dispatches {
                scope.spawn(move |_| self.deliver_round(dispatch, round));
            }
            self.store_own_copy(round);
        });
        if joined.is_err() {
            self.halt("a thread that carried a round panicked; the log file says where");
        }
    }

    fn store_own_copy(&self, round: &Round) {
        if round.entries.is_empty() {
            return;
        }
        let slots: Vec<Slot> = round.entries.iter().cloned().map(Slot::Entry).collect();
        let mut appended = self.wait_for_store(round.after).and_then(|()| self.store.append(&slots));
        let no_room = appended.as_ref().err().filter(|error| error.is_no_room()).map(ToString::to_string);
        if no_room.is_some() {
            let refusals: Vec<Slot> = round.entries.iter().map(|entry| Slot::Refused(entry.id)).collect();
            appended = self.insist(|| self.store.append(&refusals));
        }
        if let Err(error) = appended {
            self.halt(&format!("{} could not be stored: {error}", id_range(round.after, round.through())));
            return;
        }
        let mut state = self.lock();
        let effects = match no_room {
            None => state.ledger.stored(round.through()),
            Some(reason) => {
                state.tell_writers(round.after, round.through(), &reason);
                state.ledger.refused_for_want_of_room(round.through())
            }
        };
        self.stored.notify_all();
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

/// When the next round is to begin; `None` if nothing waits.
fn due(state: &State) -> Option<Instant> {
    if state.halted.is_some() || state.rounds_in_flight >= ROUNDS_MAX {
        return None;
    }
    let tell = (!state.telling && state.ledger.owes()).then(|| state.decided_at + TELL_AFTER);
    match state.queue.front() {
        Some(oldest) if state.rounds_in_flight == 0 => Some(oldest.since),
        Some(oldest) => Some(oldest.since + PATIENCE * (1 << (state.rounds_in_flight - 1))),
        None => tell,
    }
}

fn take_round(state: &mut MutexGuard<'_, State>) -> Round {
    let mut entries = Vec::with_capacity(state.queue.len().min(ROUND_MESSAGES_MAX));
    let mut bytes = 0;
    while let Some(queued) = state.queue.front() {
        bytes += queued.entry.message.len();
        if !entries.is_empty() && (entries.len() == ROUND_MESSAGES_MAX || bytes > ROUND_BYTES_MAX) {
            break;
        }
        entries.extend(state.queue.pop_front().map(|queued| queued.entry));
    }
    let after = entries.first().map_or_else(|| state.ledger.last(), |entry| entry.id.previous());
    let through = entries.last().map_or(after, |entry| entry.id);
    let members: Vec<_> = state.members.keys().copied().collect();
    let dispatches = members
        .into_iter()
        .filter_map(|member| state.ledger.dispatch(member, through))
        .filter(Dispatch::has_news)
        .collect();
    if entries.is_empty() {
        state.telling = true;
    } else {
        state.rounds_in_flight += 1;
    }
    state.rounds_started += 1;
    Round { number: state.rounds_started, after, entries, text: EntriesText::new(&[]), dispatches }
}
