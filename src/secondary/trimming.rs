//! The thread that trims this node's log up to the base that the master has told, beside calls and readers.

use super::lifecycle::Secondary;
use crate::process::threads;
use crate::protocol::Base;
use crate::protocol::follower::Event;
use crate::store::{self, StoreError, Trouble};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long this waits after the store had no room, or could not be read, and how often it asks on a full disk.
const RETRIED_AFTER: Duration = Duration::from_secs(1);
/// How often the log of this node says where its log begins. With retention, that changes every second.
const TOLD_EVERY: Duration = Duration::from_secs(60);

impl Secondary {
    /// Starts the thread.
    pub(super) fn start_trimming(self: &Arc<Secondary>) {
        let secondary = Arc::clone(self);
        if let Err(error) = threads::start_needed("trimming", move || secondary.keep_trimming()) {
            log::error!("cannot start the thread that trims the log: {error}; this node keeps everything");
        }
    }

    fn keep_trimming(&self) {
        let mut told: Option<Instant> = None;
        loop {
            let mut state = self.lock();
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            let Some(base) = state.trim.take() else {
                let (state, is_over) = state.wait_timeout(&self.trims, RETRIED_AFTER);
                drop(state);
                if is_over && matches!(self.store.trouble(), Some(Trouble::NoRoom(_))) {
                    self.ask_for_base();
                }
                continue;
            };
            drop(state);
            match self.trim(base) {
                Ok(()) if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) => {
                    told = Some(Instant::now());
                    log::info!("trimmed: the log begins with id {}", self.store.base().id.next());
                }
                Ok(()) => {}
                Err(error) => {
                    log::warn!("the log could not be trimmed up to id {}: {error}", base.id);
                    let mut state = self.lock();
                    state.trim.get_or_insert(base);
                    drop(state.wait_timeout(&self.trims, RETRIED_AFTER));
                }
            }
        }
    }

    /// Asks the master what is trimmed. A node whose disk is full gets no calls that would say so.
    fn ask_for_base(&self) {
        let Some(master) = self.known_master() else { return };
        let answer = self.peers.decisions(&master, self.view().status.decided);
        if let Ok(Ok((log_id, base))) = answer.map(|body| body.base())
            && self.view().status.log_id == Some(log_id)
        {
            self.step(Event::BaseTold(base));
        }
    }

    /// Trims the log, if it is the master's log up to there.
    fn trim(&self, base: Base) -> Result<(), StoreError> {
        if self.store.base().id >= base.id {
            return Ok(());
        }
        let own = store::base_at(&*self.store, base.id)?;
        if own != base {
            log::error!(
                "the master has trimmed its log up to id {}, and what this node holds up to there is something else: \
                 fingerprint {} instead of {}. This node drops nothing, and takes no more part; compare the two, then \
                 start it again with an empty data directory",
                base.id,
                own.fingerprint,
                base.fingerprint
            );
            self.step(Event::BaseDiffers(base.id));
            return Ok(());
        }
        let Some(_inside) = self.writes.enter() else { return Ok(()) };
        self.store.trim(base)
    }
}
