//! Readers, and the thread that asks the master for them. The follower decides when to ask, and which readers the
//! answer serves.

use super::lifecycle::Secondary;
use crate::http::Reply;
use crate::node::reading::{Extent, Log, Reading, Snapshot, not_sure};
use crate::process::threads;
use crate::protocol::follower::{self, Event, Freshness};
use crate::protocol::{Consistency, Id, ReplicaView};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log for Secondary {
    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn snapshot(self: &Arc<Secondary>, consistency: Consistency) -> Result<Snapshot, Reply> {
        let ticket = {
            let mut state = self.lock();
            if state.follower.answers_alone(consistency) && !state.is_broken {
                return Ok(self.snapshot_of(&state.follower.view(), false));
            }
            state.new_ticket()
        };
        let is_possibly_stale = self.wait_to_read(ticket, consistency) == Freshness::PossiblyStale;
        if is_possibly_stale && consistency == Consistency::Strong {
            return Err(not_sure("the master did not say in time what is decided, or this node does not hold it yet"));
        }
        Ok(self.snapshot_of(&self.view(), is_possibly_stale))
    }
}

impl Secondary {
    fn snapshot_of(&self, view: &ReplicaView, possibly_stale: bool) -> Snapshot {
        let base = self.store.base();
        Snapshot {
            extent: Extent { log_id: view.status.log_id, begins: base.id.next(), decided: view.status.decided },
            last: view.status.last,
            visible: base.left_of(view.visible),
            role: "secondary",
            server_id: self.settings.common.server_id.clone(),
            possibly_stale,
        }
    }

    /// Starts the thread that asks the master, so that no reader waits longer than its timeout, whatever the master and
    /// the disk do.
    pub(super) fn start_asking(self: &Arc<Secondary>) {
        let secondary = Arc::clone(self);
        if let Err(error) = threads::start_needed("questions", move || secondary.keep_asking()) {
            log::error!("cannot start the thread that asks the master: {error}; readers may get an older state");
        }
    }

    fn keep_asking(&self) {
        loop {
            let mut state = self.lock();
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            let Some(after) = state.question.take() else {
                drop(state.wait(&self.questions));
                continue;
            };
            drop(state);
            // The panic hook has logged it. The readers of this question get a reply that may be stale.
            if catch_unwind(AssertUnwindSafe(|| self.ask(after))).is_err() {
                self.step(Event::Answered { ticket: self.new_ticket(), decisions: None });
            }
        }
    }

    fn ask(&self, after: Id) {
        let ticket = self.new_ticket();
        let Some(master) = self.known_master() else {
            return self.step(Event::Answered { ticket, decisions: None });
        };
        let why = match self.peers.decisions(&master, after) {
            Ok(decisions) => {
                let answered = Event::Answered { ticket, decisions: Some(decisions.into()) };
                match self.drive(ticket, answered) {
                    (follower::Reply::NotLearned(stale), _) => format!("it {stale}"),
                    (_, Some(error)) => format!("what it said could not be stored: {error}"),
                    _ => return,
                }
            }
            Err(error) => {
                self.step(Event::Answered { ticket, decisions: None });
                error.to_string()
            }
        };
        log::warn!("readers may get an older state: this node asked the master at {master}, and {why}");
    }
}
