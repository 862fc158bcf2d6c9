//! A secondary, from its start to its end.

use super::question::Question;
use super::released::Released;
use super::settings::SecondarySettings;
use crate::node::faults::Faults;
use crate::node::live::Live;
use crate::node::logging::NodeLog;
use crate::node::metrics::SecondaryMetrics;
use crate::node::reading::Reading;
use crate::peer::Peers;
use crate::process::random;
use crate::protocol::{Incarnation, Replica, ReplicaView};
use crate::store::Store;
use crate::wire::address::NodeUrl;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a stop waits for calls in flight.
const STOP_PATIENCE: Duration = Duration::from_secs(4);
/// How long a question to the master may take: a reader waits for it.
const QUESTION_PATIENCE: Duration = Duration::from_secs(1);

/// A secondary in operation.
pub(crate) struct Secondary {
    pub(super) settings: SecondarySettings,
    /// Where the master reaches this node.
    pub(super) url: NodeUrl,
    pub(super) store: Arc<dyn Store>,
    pub(super) reading: Reading,
    pub(super) live: Arc<Live>,
    pub(super) metrics: SecondaryMetrics,
    pub(super) peers: Peers,
    pub(super) faults: Arc<Faults>,
    /// Held while a call is examined and stored.
    pub(super) writer: Mutex<()>,
    pub(super) replica: Mutex<Replica>,
    /// The replica holds or knows more than before.
    pub(super) grew: Condvar,
    /// The master, as configured or as learned from its calls.
    pub(super) master: Mutex<Option<NodeUrl>>,
    pub(super) question: Question,
    pub(super) calls_in_flight: AtomicUsize,
    /// Calls whose messages are not stored yet,
    pub(super) calls_being_read: AtomicUsize,
    /// and those of them that wait for an earlier one.
    pub(super) calls_that_are_early: AtomicUsize,
    /// Calls that came before an earlier one, since the start.
    pub(super) early_calls: AtomicU64,
    /// The id up to which the artificial delay is over.
    pub(super) released: Mutex<Released>,
    pub(super) stopping: AtomicBool,
    pub(super) log: NodeLog,
    pub(super) started: Instant,
}

impl Secondary {
    /// Makes a secondary that listens on `port`, finds its log again, and starts its threads.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub(crate) fn start(
        settings: SecondarySettings,
        port: u16,
        store: Arc<dyn Store>,
        log: NodeLog,
    ) -> Result<Arc<Secondary>, String> {
        let found = store.found().map_err(|error| error.to_string())?;
        let replica = Replica::recovered(Incarnation::new(random::bits_64()), found);
        log.set_epoch(replica.status().epoch);
        let released = Released::at_start(replica.last());
        let faults = Faults::new(settings.common.faults_enabled, false);
        let reading = Reading::start(&store, settings.common.follow, settings.common.view, replica.decided());
        let reading = reading.map_err(|error| error.to_string())?;
        let peers = Peers::new(QUESTION_PATIENCE, QUESTION_PATIENCE, settings.common.access.cluster.as_ref());
        let live = Live::new(settings.common.limits.write_timeout);
        let secondary = Arc::new(Secondary {
            url: NodeUrl::new(&settings.host, port)?,
            master: Mutex::new(settings.master_url.clone()),
            settings,
            store,
            reading,
            live,
            metrics: SecondaryMetrics::new(),
            peers: peers.over(faults.clone()),
            faults,
            writer: Mutex::new(()),
            replica: Mutex::new(replica),
            grew: Condvar::new(),
            question: Question::default(),
            calls_in_flight: AtomicUsize::new(0),
            calls_being_read: AtomicUsize::new(0),
            calls_that_are_early: AtomicUsize::new(0),
            early_calls: AtomicU64::new(0),
            released: Mutex::new(released),
            stopping: AtomicBool::new(false),
            log,
            started: Instant::now(),
        });
        let view = secondary.view();
        log::info!(
            "{} holds the log up to id {}, decided up to {}; it waits {} ms before it acknowledges",
            secondary.settings.common.server_id,
            view.status.last,
            view.status.decided,
            secondary.settings.delay.as_millis()
        );
        secondary.start_asking();
        secondary.start_registering();
        secondary.live.start(&secondary).map_err(|error| error.to_string())?;
        Ok(secondary)
    }

    /// Waits a while for calls in flight.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.calls_in_flight.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.reading.following.stop();
        self.live.stop();
        self.store.close();
        let view = self.view();
        log::info!("stopped with messages up to id {}, decided up to {}", view.status.last, view.status.decided);
    }

    pub(super) fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(&self) -> ReplicaView {
        self.replica().view()
    }

    pub(super) fn write_lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known_master(&self) -> Option<NodeUrl> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
