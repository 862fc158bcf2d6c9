//! A reader that starts after a 201 sees that message, on this node too.
//!
//! When nothing is pending here and nothing can be missing, this node answers alone. Otherwise it asks the master what
//! is decided. One question is in flight at a time; it serves every reader who came before it was sent, never one who
//! came later: that reader may know more than the master did then.
//!
//! Nothing can be missing, that is, of what was written for every node. A reader who wants to see what was acknowledged
//! with fewer copies, too, asks for that (`consistency=strong`): then the master is always asked.

use super::lifecycle::Secondary;
use super::question::Asking;
use crate::http::Reply;
use crate::node::ids::id_ranges;
use crate::node::reading::{Consistency, Log, Reading, Snapshot, not_sure};
use crate::peer::PeerError;
use crate::process::threads::{self, lock};
use crate::protocol::{Id, ReplicaView};
use crate::store::StoreError;
use crate::wire::address::NodeUrl;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How long a reader waits for the master, or for this node to catch up, before it is given what there is.
const READER_PATIENCE: Duration = Duration::from_secs(1);

impl Log for Secondary {
    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn snapshot(&self, consistency: Consistency) -> Result<Snapshot, Reply> {
        let view = self.view();
        let alone = match consistency {
            Consistency::Usual => view.clean(),
            Consistency::Strong => view.status.foreign > 0,
            Consistency::Prefix => true,
        };
        if alone {
            return Ok(self.snapshot_of(&view, false));
        }
        let deadline = Instant::now() + READER_PATIENCE;
        let decided = self.ask_master(deadline);
        let reached = decided.is_some_and(|decided| self.wait_for(decided, deadline));
        if !reached && consistency == Consistency::Strong {
            return Err(not_sure("the master did not say in time what is decided, or this node does not hold it yet"));
        }
        Ok(self.snapshot_of(&self.view(), !reached))
    }
}

impl Secondary {
    fn snapshot_of(&self, view: &ReplicaView, possibly_stale: bool) -> Snapshot {
        Snapshot {
            decided: view.status.decided,
            visible: view.visible,
            role: "secondary",
            server_id: self.settings.common.server_id.clone(),
            possibly_stale,
        }
    }

    /// Starts the thread that asks the master.
    pub(super) fn start_asking(self: &Arc<Secondary>) {
        let secondary = Arc::clone(self);
        if let Err(error) = threads::start_needed("questions", move || secondary.keep_asking()) {
            log::error!("cannot start the thread that asks the master: {error}; readers may get an older state");
        }
    }

    fn keep_asking(&self) {
        let mut asking = lock(&self.question.asking);
        loop {
            if asking.wanted <= asking.sent {
                asking = self.question.wanted.wait(asking).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            asking.sent += 1;
            let number = asking.sent;
            drop(asking);
            // A panic was logged by the hook; the readers of this question get an older state, those of the next may not.
            let decided = catch_unwind(AssertUnwindSafe(|| self.ask_and_apply())).unwrap_or_default();
            asking = lock(&self.question.asking);
            asking.answered = (number, decided);
            self.question.answered.notify_all();
        }
    }

    /// Gives the master's high watermark, as of a moment after this call began; `None` if it is not known in time.
    fn ask_master(&self, deadline: Instant) -> Option<Id> {
        let mut asking = lock(&self.question.asking);
        let wanted = asking.sent + 1;
        asking.wanted = asking.wanted.max(wanted);
        self.question.wanted.notify_one();
        let left = deadline.saturating_duration_since(Instant::now());
        let is_open = |asking: &mut Asking| asking.answered.0 < wanted;
        let waited = self.question.answered.wait_timeout_while(asking, left, is_open);
        let asking = waited.unwrap_or_else(PoisonError::into_inner).0;
        (asking.answered.0 >= wanted).then_some(asking.answered.1).flatten()
    }

    fn ask_and_apply(&self) -> Option<Id> {
        let master = self.known_master()?;
        match self.learn_fate(&master) {
            Ok(decided) => decided,
            Err(error) => {
                log::warn!("readers may get an older state: the master at {master} was asked, and {error}");
                None
            }
        }
    }

    /// Asks the master, and shows what it has decided. Gives how far that is, if the master is sure that it is all.
    fn learn_fate(&self, master: &NodeUrl) -> Result<Option<Id>, PeerError> {
        let fate = self.peers.fate(master, self.view().status.decided)?;
        let _writer = self.write_lock();
        let learned = self.replica().learn(&fate);
        let learned = learned.map_err(|stray| PeerError::Misunderstood(format!("it {stray}")))?;
        let decided = fate.sure.then_some(fate.decided);
        let Some(learned) = learned else { return Ok(decided) };
        let own_log_failed = |error: StoreError| PeerError::Misunderstood(error.to_string());
        if !learned.refuse.is_empty() {
            log::info!("{} refused by the master", id_ranges(&learned.refuse));
            self.store.refuse(&learned.refuse).map_err(own_log_failed)?;
        }
        self.publish(|replica| replica.learned(&learned)).map_err(own_log_failed)?;
        self.grew.notify_all();
        Ok(decided)
    }

    /// Waits until this node shows everything up to an id; `false` if the deadline comes first.
    fn wait_for(&self, decided: Id, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.grew.wait_timeout_while(self.replica(), left, |replica| replica.decided() < decided);
        waited.unwrap_or_else(PoisonError::into_inner).0.decided() >= decided
    }
}
