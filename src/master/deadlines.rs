//! Writers who said how long they wait.

use super::{Master, State};
use crate::process::threads;
use crate::protocol::Id;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// When the patience of writers ends, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, Id)>);

impl Deadlines {
    fn next(&self) -> Option<(Instant, Id)> {
        self.0.first().copied()
    }
}

impl State {
    /// Takes note of a deadline; whether it is the earliest.
    pub(super) fn set_deadline(&mut self, deadline: Instant, id: Id) -> bool {
        self.deadlines.0.insert((deadline, id));
        self.deadlines.next() == Some((deadline, id))
    }

    /// The writer of this message was answered.
    pub(super) fn forget_deadline(&mut self, deadline: Option<Instant>, id: Id) {
        if let Some(deadline) = deadline {
            self.deadlines.0.remove(&(deadline, id));
        }
    }
}

impl Master {
    pub(super) fn start_deadlines(self: &Arc<Master>) {
        let master = Arc::clone(self);
        let started = threads::start_needed("deadlines", move || master.watch_deadlines());
        if let Err(error) = started {
            log::error!("writers who wait are not told when their time is over: {error}");
        }
    }

    fn watch_deadlines(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.deadlines.next() {
                Some((deadline, id)) if deadline <= now => {
                    state.forget_deadline(Some(deadline), id);
                    if state.halted.is_some() {
                        // The fate of what was in flight then is not this master's to decide.
                        continue;
                    }
                    let effects = state.ledger.expire(id);
                    self.carry_out(state, effects);
                    self.leave_in_doubt(id);
                    state = self.lock();
                }
                Some((deadline, _)) => {
                    let waited = self.sooner.wait_timeout(state, deadline - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.sooner.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
