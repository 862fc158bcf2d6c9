//! The running master: it owns the ledger, and does what the ledger says.
//!
//! | File | What it does |
//! |---|---|
//! | [`intake`] | takes what is posted: gives it ids, and hands it to the rounds |
//! | [`answers`] | answers its writer when the fate is known |
//! | [`reign`] | begins a reign on what the disk holds |
//! | [`repeats`] | answers messages that are posted again under the same key |
//! | [`deadlines`] | ends the patience of writers who said how long they wait |
//! | [`rounds`] | carries what waits to every secondary in parallel: a crossbeam scope, a thread per secondary |
//! | [`delivery`] | sends one secondary what it lacks, call by call |
//! | [`keeper`] | one thread per secondary that watches it and brings it up to date |
//! | [`comparison`] | compares what all replicas hold |
//! | [`heartbeat`] | whether a secondary can be relied on |
//! | [`members`] | registration and removal of secondaries |
//! | [`routes`] | which request goes where |
//! | [`readiness`] | what orchestrators ask |
//! | [`timeline`] | where the time of a write went |
//! | [`figures`] | what `/metrics` tells |
//! | [`status`] | the state that `/health` and the logs show |
//! | [`settings`] | what it is configured with |
//!
//! Rounds carry the present, keepers repair the past.
//!
//! There is one lock, around [`State`]. It is held for steps of the ledger and never while anything is written, sent or
//! waited for.

mod answers;
mod comparison;
mod deadlines;
mod delivery;
mod figures;
mod heartbeat;
mod intake;
mod keeper;
mod members;
mod readiness;
mod reign;
mod repeats;
mod rounds;
mod routes;
mod settings;
mod status;
mod timeline;

use crate::http::Exchange;
use crate::node::faults::Faults;
use crate::node::live::{Live, Pace};
use crate::node::logging::NodeLog;
use crate::node::metrics::MasterMetrics;
use crate::node::reading::Reading;
use crate::peer::Peers;
use crate::process::budget::{Budget, Share};
use crate::protocol::{Entry, Id, Keys, Ledger, MemberId};
use crate::store::{Store, StoreError, Watermark};
use crate::wire::address::NodeUrl;
use crate::wire::client::Dialect;
use deadlines::Deadlines;
use members::Member;
use rounds::RoundsUnderWay;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use timeline::{Timeline, Traces};

pub(crate) use routes::MasterService;
pub(crate) use settings::MasterSettings;

/// How long a stop waits for writes in flight, before it refuses them.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// How often a refusal is tried again that found no room on the disk.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// How long a secondary may take to answer a question: two heartbeats, but no longer than this. One that takes longer hangs.
const QUESTION_PATIENCE_MAX: Duration = Duration::from_secs(2);

/// A master in operation.
pub(crate) struct Master {
    settings: MasterSettings,
    name: Arc<str>,
    /// Bytes of text of writes that are under way: that have no fate yet, or are still being sent.
    pending: Arc<Budget>,
    /// Where it listens; secondaries that were not told ask it there.
    port: u16,
    store: Arc<dyn Store>,
    reading: Reading,
    live: Arc<Live>,
    metrics: MasterMetrics,
    log: NodeLog,
    peers: Peers,
    faults: Arc<Faults>,
    state: Mutex<State>,
    /// A round is due: for a thread that waits for one.
    spare: Condvar,
    /// A round is due earlier than the thread knows that watches the clock.
    clock: Condvar,
    /// There is a deadline before all others.
    sooner: Condvar,
    /// Every write has its fate.
    settled: Condvar,
    /// The store took another round, or never will.
    stored: Condvar,
    /// Held while the secondaries are put on record, so that an older list never replaces a newer one.
    record: Mutex<()>,
    /// Held while the replicas are compared.
    verification: Mutex<()>,
    started: Instant,
}

/// Everything that changes.
struct State {
    ledger: Ledger,
    /// Appended writes that no round carries yet, in the order of their ids.
    queue: VecDeque<Queued>,
    /// How many of the queued writes need fewer copies than all.
    queued_below_all: usize,
    /// A queued write is being refused: that has to be stored, so a round takes the queue at once.
    hurry: bool,
    rounds: RoundsUnderWay,
    rounds_started: u64,
    /// The high watermark that is noted: what everybody may see.
    noted: Watermark,
    /// When the high watermark last rose: what is not told soon after by a round is told by an empty one.
    decided_at: Instant,
    members: BTreeMap<MemberId, Member>,
    members_numbered: u32,
    /// Each under the id of the last message of its write.
    writers: BTreeMap<Id, Writer>,
    /// What happened to those who were answered.
    traces: Traces,
    pace: Pace,
    deadlines: Deadlines,
    keys: Keys,
    /// Why this master takes no more writes, for good.
    halted: Option<String>,
    stopping: bool,
}

/// The entries of one write, which one round carries.
#[derive(Clone)]
struct Entries(Arc<WriteEntries>);

struct WriteEntries {
    entries: Box<[Arc<Entry>]>,
    /// Their text counts as pending until the last of those who carry or answer the write is done with it.
    _pending: Option<Share>,
}

impl Entries {
    fn new(entries: Box<[Arc<Entry>]>, pending: Option<Share>) -> Entries {
        Entries(Arc::new(WriteEntries { entries, _pending: pending }))
    }
}

impl Deref for Entries {
    type Target = [Arc<Entry>];

    fn deref(&self) -> &[Arc<Entry>] {
        &self.0.entries
    }
}

struct Queued {
    entries: Entries,
    since: Instant,
    /// It needs fewer copies than all.
    below_all: bool,
}

/// Somebody who waits for the fate of a write.
struct Writer {
    exchange: Exchange,
    dialect: Dialect,
    entries: Entries,
    /// The copies that it waits for, the master's included.
    wanted: usize,
    deadline: Option<Instant>,
    timeline: Timeline,
    /// Why the master itself could not store the write.
    master_unable: Option<String>,
    /// It was posted before, to an earlier start of this master.
    is_repeat: bool,
    /// Others who posted it under the same key.
    followers: Vec<Follower>,
}

impl Writer {
    /// Somebody who waits for the fate of a write.
    pub(crate) fn new(
        exchange: Exchange,
        dialect: Dialect,
        entries: Entries,
        wanted: usize,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Writer {
        Writer {
            exchange,
            dialect,
            entries,
            wanted,
            deadline,
            timeline: Timeline::new(since),
            master_unable: None,
            is_repeat: false,
            followers: Vec::new(),
        }
    }
}

/// Somebody who posted a write again, and learns its fate together with its writer.
struct Follower {
    exchange: Exchange,
    dialect: Dialect,
    /// The copies that it asks for, the master's included.
    wanted: usize,
}

impl State {
    fn goes_on(&self) -> bool {
        self.halted.is_none() && !self.stopping
    }
}

impl Master {
    /// Makes a master that listens on `port`, begins its reign, and starts its threads.
    ///
    /// # Errors
    /// If its log cannot be read or written.
    pub(crate) fn start(
        settings: MasterSettings,
        port: u16,
        store: Arc<dyn Store>,
        log: NodeLog,
    ) -> Result<Arc<Master>, String> {
        let faults = Faults::new(settings.common.faults_enabled, true);
        let question_patience = (settings.heartbeat * 2).min(QUESTION_PATIENCE_MAX);
        let peers =
            Peers::new(settings.replication_timeout, question_patience, settings.common.access.cluster.as_ref());
        let peers = peers.over(faults.clone());
        let members = members::at_start(&*store, &settings.secondaries).map_err(|error| error.to_string())?;
        let addresses: Vec<NodeUrl> = members.iter().map(|member| member.url.clone()).collect();
        let ledger = reign::begin(&*store, &peers, &addresses).map_err(|error| error.to_string())?;
        log.set_epoch(ledger.epoch());
        let mut keys = Keys::new(settings.keys_max);
        let keyed_writes = store.keyed_writes(settings.keys_max).map_err(|error| error.to_string())?;
        keyed_writes.into_iter().rev().for_each(|write| keys.remember(write));
        let noted = Watermark { decided: ledger.decided(), visible: ledger.visible() };
        let reading = Reading::start(&store, settings.common.follow, settings.common.view, noted.decided)
            .map_err(|error| error.to_string())?;
        let state = State {
            ledger,
            queue: VecDeque::new(),
            queued_below_all: 0,
            hurry: false,
            rounds: RoundsUnderWay::default(),
            rounds_started: 0,
            noted,
            decided_at: Instant::now(),
            members: BTreeMap::new(),
            members_numbered: 0,
            writers: BTreeMap::new(),
            traces: Traces::default(),
            pace: Pace::default(),
            deadlines: Deadlines::default(),
            keys,
            halted: None,
            stopping: false,
        };
        let live = Live::new(settings.common.limits.write_timeout);
        let master = Arc::new(Master {
            peers,
            faults,
            name: settings.common.server_id.as_str().into(),
            pending: Budget::new(settings.pending_bytes_max),
            settings,
            port,
            store,
            reading,
            live,
            metrics: MasterMetrics::new(),
            log,
            state: Mutex::new(state),
            spare: Condvar::new(),
            clock: Condvar::new(),
            sooner: Condvar::new(),
            settled: Condvar::new(),
            stored: Condvar::new(),
            record: Mutex::new(()),
            verification: Mutex::new(()),
            started: Instant::now(),
        });
        for member in members {
            master.add_member(member);
        }
        let mut state = master.lock();
        let effects = state.ledger.assembled();
        master.carry_out(state, effects);
        master.start_rounds();
        master.start_deadlines();
        master.live.start(&master).map_err(|error| error.to_string())?;
        Ok(master)
    }

    /// Takes no more writes, waits a while for those in flight, and refuses the rest.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        let waiting = state.writers.len();
        log::info!("stopping: no new writes; {waiting} in flight");
        let patience = self.settled.wait_timeout_while(state, STOP_PATIENCE, |state| !state.writers.is_empty());
        state = patience.unwrap_or_else(PoisonError::into_inner).0;
        let late: Vec<Id> = state.writers.keys().copied().collect();
        for id in late {
            let effects = state.ledger.expire(id);
            self.carry_out(state, effects);
            state = self.lock();
        }
        drop(state);
        self.reading.following.stop();
        self.live.stop();
        self.store.close();
        let state = self.lock();
        log::info!("stopped in epoch {} with messages up to id {}", state.ledger.epoch(), state.ledger.decided());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more writes, for good. The fate of those in flight is unknown, and they are told so.
    fn halt(&self, reason: &str) {
        let mut state = self.lock();
        if state.halted.is_some() {
            return;
        }
        log::error!("no more writes are taken: {reason}");
        state.halted = Some(reason.to_owned());
        let writers = std::mem::take(&mut state.writers);
        drop(state);
        self.stored.notify_all();
        self.answer_unknown(writers, reason);
    }

    /// Writes what has to be durable before anybody may be told, as often as it takes: on a full disk somebody else may
    /// have taken even the room that was kept for this.
    fn insist(&self, write: impl Fn() -> Result<(), StoreError>) -> Result<(), StoreError> {
        loop {
            match write() {
                Err(error) if error.is_no_room() && self.lock().goes_on() => thread::sleep(ROOM_PAUSE),
                other => return other,
            }
        }
    }
}
