//! A master: everything that its threads share.

use super::lines::Lines;
use super::retention::Horizon;
use super::settings::MasterSettings;
use super::state::State;
use crate::node::faults::Faults;
use crate::node::intake::Intake;
use crate::node::live::Live;
use crate::node::logging::NodeLog;
use crate::node::metrics::MasterMetrics;
use crate::node::reading::Reading;
use crate::peer::Peers;
use crate::process::budget::Budget;
use crate::process::gate::Gate;
use crate::process::state_lock::{StateGuard, StateLock};
use crate::process::threads::STATE_IS_BROKEN;
use crate::protocol::Time;
use crate::store::Store;
use crate::wire::address::NodeUrl;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A master in operation.
pub(crate) struct Master {
    pub(super) settings: MasterSettings,
    pub(super) name: Arc<str>,
    /// Bytes of text of writes that are under way: that have no outcome yet, or are still being sent.
    pub(super) pending: Arc<Budget>,
    pub(super) intake: Arc<Intake>,
    /// The port on which it listens. Secondaries without a configured master ask it there.
    pub(super) port: u16,
    /// Where other nodes reach this one.
    pub(super) url: NodeUrl,
    pub(super) store: Arc<dyn Store>,
    pub(super) reading: Reading,
    pub(super) live: Arc<Live>,
    pub(super) metrics: MasterMetrics,
    pub(super) log: NodeLog,
    pub(super) lines: Lines,
    pub(super) peers: Peers,
    pub(super) faults: Arc<Faults>,
    pub(super) state: StateLock<State>,
    /// Wakes a thread that waits for work.
    pub(super) spare: Condvar,
    /// Wakes the thread that watches the clock, because something is due earlier than it knows.
    pub(super) clock: Condvar,
    /// Signals that no client waits.
    pub(super) all_answered: Condvar,
    /// What this master writes to its store goes through here, until it leads no more.
    pub(super) writes: Gate,
    /// Held while the secondaries are put on record, so that an older list never replaces a newer one.
    pub(super) record: Mutex<()>,
    /// How far the settings let the log go. Held while it is trimmed.
    pub(super) horizon: Mutex<Horizon>,
    /// Bytes on disk that are kept only because secondaries that are away lack them, approximately.
    pub(super) bytes_held_up: AtomicU64,
    /// Held while the replicas are compared.
    pub(super) verification: Mutex<()>,
    pub(super) started: Instant,
}

impl Master {
    pub(super) fn lock(&self) -> StateGuard<'_, State> {
        self.state.lock()
    }

    /// The time, as the leader counts it.
    pub(super) fn now(&self) -> Time {
        Time::new(self.started.elapsed())
    }

    /// Why its state cannot be relied on, if a thread panicked while it held the lock.
    pub(super) fn why_poisoned(&self) -> Option<String> {
        self.state.is_poisoned().then(|| STATE_IS_BROKEN.to_owned())
    }
}
