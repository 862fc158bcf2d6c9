//! A secondary, from its start to its end.

use super::settings::SecondarySettings;
use super::state::State;
use crate::node::faults::Faults;
use crate::node::intake::Intake;
use crate::node::live::Live;
use crate::node::logging::NodeLog;
use crate::node::metrics::SecondaryMetrics;
use crate::node::reading::Reading;
use crate::node::semaphore::Semaphore;
use crate::peer::{Forwarder, Peers};
use crate::process::budget::Budget;
use crate::process::gate::Gate;
use crate::process::random;
use crate::process::state_lock::{StateGuard, StateLock};
use crate::process::threads::{STATE_IS_BROKEN, lock};
use crate::protocol::{Follower, FollowerSettings, Incarnation, ReplicaView, Time};
use crate::store::Store;
use crate::wire::address::NodeUrl;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a stop waits for calls in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a question to the master may take, because a reader waits for it.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

/// The most posts that wait here for the master. Each occupies a thread, and they may take a quarter of those that there
/// are: the calls of the master, for which they wait, need threads, too.
const FORWARDS_MAX: usize = 256;
/// Bytes of the bodies of those posts. They must leave room for the calls of the master.
const FORWARDED_BYTES_MAX: usize = 24 << 20;

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
    pub(super) forwarder: Forwarder,
    /// Takes posts back when this node leads.
    pub(super) intake: Arc<Intake>,
    /// The permits of posts that wait for the master.
    pub(super) forwards: Arc<Semaphore>,
    pub(super) forwarded: Arc<Budget>,
    pub(super) faults: Arc<Faults>,
    pub(super) state: StateLock<State>,
    /// Wakes the threads of calls and of answers of the master, for a reply or an effect.
    pub(super) calls: Condvar,
    /// Wakes readers for a reply.
    pub(super) readers: Condvar,
    /// Wakes the thread that asks the master.
    pub(super) questions: Condvar,
    /// Wakes the thread that trims the log.
    pub(super) trims: Condvar,
    /// The master, as configured or as learned from its calls.
    pub(super) master: Mutex<Option<NodeUrl>>,
    pub(super) calls_in_flight: AtomicUsize,
    /// Calls that came before an earlier one, since the start.
    pub(super) early_calls: AtomicU64,
    pub(super) stopping: AtomicBool,
    /// What this node writes to its store as a secondary goes through here, until it follows no more.
    pub(super) writes: Gate,
    pub(super) log: NodeLog,
    pub(super) started: Instant,
}

impl Secondary {
    /// Makes a secondary that listens on `port`, reads its log, and starts its threads.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub(crate) fn start(
        settings: SecondarySettings,
        port: u16,
        store: Arc<dyn Store>,
        (log, faults): (NodeLog, Arc<Faults>),
        intake: Arc<Intake>,
    ) -> Result<Arc<Secondary>, String> {
        let found = store.found().map_err(|error| error.to_string())?;
        let follower = Follower::begin(FollowerSettings::default(), Incarnation::new(random::bits_64()), found);
        let view = follower.view();
        log.set_epoch(view.status.epoch);
        faults.leads(false);
        let reading = Reading::start(
            &store,
            settings.common.follow,
            settings.common.view,
            (view.status.log_id, view.status.decided),
        );
        let reading = reading.map_err(|error| error.to_string())?;
        let peers = Peers::new(QUESTION_TIMEOUT, QUESTION_TIMEOUT, settings.common.access.cluster.as_ref());
        let live = Live::new(settings.common.limits.write_timeout);
        let secondary = Arc::new(Secondary {
            url: NodeUrl::new(&settings.host, port)?,
            master: Mutex::new(settings.master_urls.first().cloned()),
            forwards: Semaphore::new(FORWARDS_MAX.min(settings.common.limits.threads_max / 4)),
            settings,
            store,
            reading,
            live,
            metrics: SecondaryMetrics::new(),
            peers: peers.over(faults.clone()),
            forwarder: Forwarder::new(),
            intake,
            forwarded: Budget::new(FORWARDED_BYTES_MAX),
            faults,
            state: StateLock::new(State::new(follower)),
            calls: Condvar::new(),
            readers: Condvar::new(),
            questions: Condvar::new(),
            trims: Condvar::new(),
            calls_in_flight: AtomicUsize::new(0),
            early_calls: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            writes: Gate::default(),
            log,
            started: Instant::now(),
        });
        log::info!(
            "{} holds the log up to id {}, decided up to {}; it waits {} ms before it acknowledges",
            secondary.settings.common.server_id,
            view.status.last,
            view.status.decided,
            secondary.settings.delay.as_millis()
        );
        secondary.start_asking();
        secondary.start_trimming();
        secondary.start_registering();
        secondary.live.start(&secondary).map_err(|error| error.to_string())?;
        Ok(secondary)
    }

    /// Follows no more, because this node leads: nothing more is written to the store. The leader may begin on it when this
    /// returns.
    pub(crate) fn retire(&self) {
        self.stopping.store(true, Ordering::Release);
        self.writes.close();
        // A thread that waits for what is asked of the follower looks up, and finds that this node is stopping.
        drop(self.lock());
        self.questions.notify_all();
        self.trims.notify_all();
        self.reading.following.stop();
        self.live.stop();
    }

    /// Whether it follows no more.
    pub(crate) fn is_retired(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits for calls in flight, up to [`STOP_TIMEOUT`].
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.calls_in_flight.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.reading.following.stop();
        self.live.stop();
        self.store.close();
        let view = self.view();
        log::info!("stopped with messages up to id {}, decided up to {}", view.status.last, view.status.decided);
    }

    pub(super) fn lock(&self) -> StateGuard<'_, State> {
        self.state.lock()
    }

    /// The time that the follower knows.
    pub(super) fn now(&self) -> Time {
        Time::new(self.started.elapsed())
    }

    /// What this node holds, and what it shows.
    pub(crate) fn view(&self) -> ReplicaView {
        self.lock().follower.view()
    }

    /// Why its state cannot be relied on, if the follower panicked.
    pub(super) fn why_broken(&self) -> Option<String> {
        self.lock().is_broken.then(|| STATE_IS_BROKEN.to_owned())
    }

    /// Where the master is: as the roster says if that names one, otherwise as configured or learned. A node that led last
    /// itself does not know it.
    pub(super) fn known_master(&self) -> Option<NodeUrl> {
        if self.led_last() {
            return None;
        }
        self.master_of_roster().or_else(|| lock(&self.master).clone())
    }

    /// Whether this node led last, as far as it knows, and may lead again.
    pub(crate) fn led_last(&self) -> bool {
        let state = self.lock();
        let roster = state.follower.lineage().map(|lineage| &lineage.roster);
        roster.is_some_and(|roster| roster.allows_promotion() && roster.master() == self.store.copy_id())
    }

    /// Whether a node may come to lead that did not lead before.
    pub(super) fn may_be_led_by_another(&self) -> bool {
        let state = self.lock();
        state.follower.lineage().is_some_and(|lineage| lineage.roster.allows_promotion())
    }

    /// Where the roster says that the master is. It names nodes once another one may lead, or might.
    pub(super) fn master_of_roster(&self) -> Option<NodeUrl> {
        let state = self.lock();
        let roster = &state.follower.lineage()?.roster;
        let master = roster.master();
        let contact = roster.contacts().get(&master).filter(|_| master != self.store.copy_id())?;
        NodeUrl::parse(&contact.url).ok()
    }
}
