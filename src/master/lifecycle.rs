//! A master, from its start to its end.

use super::calls::CALL_LIMIT;
use super::effects::Context;
use super::epoch_start;
use super::lines::Lines;
use super::members::{self, FirstMember};
use super::settings::MasterSettings;
use super::shared::Master;
use super::state::{Runners, State};
use super::timeline::Traces;
use crate::node::faults::Faults;
use crate::node::intake::Intake;
use crate::node::live::{LatencyWindow, Live};
use crate::node::logging::NodeLog;
use crate::node::metrics::MasterMetrics;
use crate::node::reading::Reading;
use crate::peer::Peers;
use crate::process::budget::Budget;
use crate::process::gate::Gate;
use crate::process::state_lock::StateLock;
use crate::protocol::{Event, Id, LeaderSettings, Timing};
use crate::store::Store;
use crate::wire::address::NodeUrl;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a stop waits for writes in flight, before it refuses them.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a stop then waits for the refusals to be stored.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(4);
/// The upper limit of the time that a secondary may take to answer a question, which is two heartbeats otherwise.
const QUESTION_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// How a node comes to lead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// It starts, and no other node may lead.
    Start,
    /// As a candidate it has begun an epoch, durably.
    Promotion,
}

impl Master {
    /// Makes a master that listens on `port`, and starts its threads. It begins an epoch, or leads in the one that this
    /// node has begun as a candidate.
    ///
    /// # Errors
    /// If its log cannot be read or written.
    pub(crate) fn start(
        settings: MasterSettings,
        port: u16,
        store: Arc<dyn Store>,
        (log, faults): (NodeLog, Arc<Faults>),
        intake: Arc<Intake>,
        origin: Origin,
    ) -> Result<Arc<Master>, String> {
        faults.leads(true);
        let question_timeout = (settings.heartbeat * 2).min(QUESTION_TIMEOUT_MAX);
        let peers = Peers::new(settings.replication_timeout, question_timeout, settings.common.access.cluster.as_ref());
        let peers = peers.over(faults.clone());
        let members = members::at_start(&*store, &settings.secondaries).map_err(|error| error.to_string())?;
        let leader = match origin {
            Origin::Start => {
                let addresses: Vec<NodeUrl> = members.iter().map(|member| member.url.clone()).collect();
                epoch_start::begin(&*store, &peers, &addresses, leader_settings(&settings))
            }
            Origin::Promotion => epoch_start::lead(&*store, leader_settings(&settings)),
        };
        let leader = leader.map_err(|error| error.to_string())?;
        log.set_epoch(leader.epoch());
        let reading = Reading::start(
            &store,
            settings.common.follow,
            settings.common.view,
            (Some(leader.log_id()), leader.shown().decided),
        );
        let reading = reading.map_err(|error| error.to_string())?;
        let state = State {
            leader,
            members: BTreeMap::new(),
            members_numbered: 0,
            clients: BTreeMap::new(),
            tickets: 0,
            writes: BTreeMap::new(),
            traces: Traces::default(),
            latencies: LatencyWindow::default(),
            rounds_started: 0,
            shown_to_followers: Id::ZERO,
            runners: Runners { idle: 1, ..Runners::default() },
            why_halted: None,
            is_overtaken: false,
            is_retired: false,
            is_stopping: false,
        };
        let master = Arc::new(Master {
            peers,
            faults,
            name: settings.common.server_id.as_str().into(),
            url: NodeUrl::new(&settings.host, port)?,
            pending: Budget::new(settings.pending_bytes_max),
            intake,
            live: Live::new(settings.common.limits.write_timeout),
            settings,
            port,
            store,
            reading,
            metrics: MasterMetrics::new(),
            log,
            lines: Lines::default(),
            state: StateLock::new(state),
            spare: Condvar::new(),
            clock: Condvar::new(),
            all_answered: Condvar::new(),
            writes: Gate::default(),
            record: Mutex::new(()),
            horizon: Mutex::default(),
            bytes_held_up: AtomicU64::new(0),
            verification: Mutex::new(()),
            started: Instant::now(),
        });
        // What can fail comes before the threads that write.
        master.live.start(&master).map_err(|error| error.to_string())?;
        master.start_trimming()?;
        members.into_iter().for_each(|member: FirstMember| master.add_member(member));
        master.step(Event::Assembled, Context::default());
        if master.has_moved() {
            master.step(Event::Renamed, Context::default());
        }
        master.add_runner();
        Ok(master)
    }

    /// Whether a secondary has shown that a later master may write, or this node leads no more.
    pub(crate) fn is_overtaken(&self) -> bool {
        let state = self.lock();
        state.is_overtaken || state.is_retired
    }

    /// Whether this node leads no more.
    pub(crate) fn is_retired(&self) -> bool {
        self.lock().is_retired
    }

    /// Leads no more, because another node may: clients that wait learn that the outcome of their writes is not known, and
    /// nothing more is written to the store. Another role may begin on it when this returns.
    pub(crate) fn retire(&self, why: &str) {
        self.step(Event::Failed, Context::failed(why));
        self.writes.close();
        let mut state = self.lock();
        (state.is_stopping, state.is_retired) = (true, true);
        state.members.clear();
        drop(state);
        self.spare.notify_all();
        self.clock.notify_all();
        self.reading.following.stop();
        self.live.stop();
    }

    /// Takes no more writes, waits for those in flight, and refuses the rest.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let waiting = state.leader.waiting();
        drop(state);
        log::info!("stopping: no new writes; {waiting} in flight");
        self.step(Event::Stopping(STOP_TIMEOUT), Context::default());
        let deadline = Instant::now() + STOP_TIMEOUT + REFUSAL_TIMEOUT;
        let mut state = self.lock();
        while state.leader.waiting() > 0 && Instant::now() < deadline {
            (state, _) = state.wait_timeout(&self.all_answered, deadline.saturating_duration_since(Instant::now()));
        }
        drop(state);
        self.reading.following.stop();
        self.live.stop();
        self.store.close();
        let state = self.lock();
        let (epoch, shown) = (state.leader.epoch(), state.leader.shown().decided);
        drop(state);
        log::info!("stopped in epoch {epoch} with messages up to id {shown}");
    }
}

fn leader_settings(settings: &MasterSettings) -> LeaderSettings {
    LeaderSettings {
        timing: Timing::new(settings.heartbeat),
        quorum: settings.quorum,
        pending_max: settings.pending_max as u64,
        keys_max: settings.keys_max,
        catch_up_max: CALL_LIMIT.slots_max as u64,
        in_doubt_wait: settings.replication_timeout,
        promotion: settings.promotion,
    }
}
