//! One snapshot of the master's state, from which everything that reports it is made.

use super::heartbeat::Level;
use super::members::Member;
use super::{Master, State};
use crate::node::live::Watched;
use crate::node::reading::Snapshot;
use crate::node::status::{NodeStatus, budgets};
use crate::process::clock;
use crate::process::threads;
use crate::protocol::Standing;
use crate::store::Trouble;
use crate::wire::fault::ActiveFault;
use crate::wire::timestamp::{self, rfc3339};
use serde::Serialize;
use serde_json::{Value, json};

/// Writes under way, and writes that were answered, that a page shows.
const WRITES_SHOWN: usize = 10;
/// Seconds of the past that a page is told when it comes,
const PACE_SHOWN_FIRST_S: u64 = 300;
/// and later.
const PACE_SHOWN_S: u64 = 2;

/// A secondary, as `GET /secondaries` and `/health` show it.
#[derive(Debug, Serialize)]
pub(super) struct SecondaryStatus {
    pub(super) server_id: String,
    url: String,
    /// `in_sync`, `catching_up` or `unreachable`.
    pub(super) state: &'static str,
    /// `healthy`, `suspected` or `unhealthy`.
    pub(super) health: &'static str,
    health_since: String,
    /// The id up to which it is known to hold everything durably.
    pub(super) durable: u64,
    /// The high watermark that it is known to know.
    told: u64,
    pub(super) delay_ms: u64,
    detail: String,
    since: String,
    /// What it does wrong because somebody asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// The master, as `/health` shows it.
#[derive(Debug, Serialize)]
pub(super) struct MasterStatus {
    #[serde(flatten)]
    pub(super) node: NodeStatus,
    log_id: String,
    pub(super) writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What it does wrong because somebody asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<ActiveFault>,
    rounds: u64,
    pub(super) rounds_in_flight: usize,
    pub(super) secondaries: Vec<SecondaryStatus>,
}

/// Why a master takes no messages.
pub(super) enum Closed {
    /// It never will again; it has to be started anew.
    ForGood(String),
    /// It will again, by itself.
    ForNow(String),
}

impl Closed {
    fn into_reason(self) -> String {
        match self {
            Closed::ForGood(reason) | Closed::ForNow(reason) => reason,
        }
    }
}

impl Master {
    pub(super) fn status(&self) -> MasterStatus {
        let state = self.lock();
        let closed = self.why_closed(&state).map(Closed::into_reason);
        let reason = closed.or_else(|| state.who_is_missing());
        let mut budgets = budgets(&self.settings.common.limits);
        budgets.insert("pending", self.pending.figures());
        MasterStatus {
            node: NodeStatus {
                status: "healthy",
                role: "master",
                server_id: self.settings.common.server_id.clone(),
                message_count: state.ledger.visible(),
                epoch: state.ledger.epoch().get(),
                last: state.ledger.last().get(),
                decided: state.ledger.decided().get(),
                pending: state.ledger.open(),
                uptime_s: self.started.elapsed().as_secs(),
                budgets,
                warning: self.store.warning(),
            },
            log_id: state.ledger.log_id().to_string(),
            writable: reason.is_none(),
            reason,
            fault: self.faults.active(),
            rounds: state.rounds_started,
            rounds_in_flight: state.rounds.under_way(),
            secondaries: state.secondaries(),
        }
    }

    /// Why no messages are taken now, whatever they ask for.
    pub(super) fn why_closed(&self, state: &State) -> Option<Closed> {
        if let Some(reason) = &state.halted {
            return Some(Closed::ForGood(reason.clone()));
        }
        if state.stopping {
            return Some(Closed::ForNow("it is stopping; try again when it is back".to_owned()));
        }
        if let Some(lost) = self.why_poisoned().or_else(threads::lost) {
            return Some(Closed::ForGood(lost));
        }
        if let Some(Trouble::Failed(why)) = self.store.trouble() {
            return Some(Closed::ForGood(why));
        }
        let trouble =
            self.store.trouble().map(|trouble| trouble.to_string()).or_else(|| timestamp::fault(clock::now_ms()));
        trouble.or_else(|| state.why_read_only(self.settings.quorum)).map(Closed::ForNow)
    }

    /// Why its state is not to be relied on, if that is so.
    pub(super) fn why_poisoned(&self) -> Option<String> {
        let why = "a thread panicked amid a change of the state, as the log file tells; restart this node";
        self.state.is_poisoned().then(|| why.to_owned())
    }

    /// What readers may see.
    pub(super) fn snapshot_of(&self, state: &State) -> Snapshot {
        Snapshot {
            decided: state.noted.decided,
            visible: state.noted.visible,
            role: "master",
            server_id: self.settings.common.server_id.clone(),
            possibly_stale: state.ledger.has_doubt(),
        }
    }
}

impl Watched for Master {
    fn view(&self, is_first: bool) -> Value {
        let status = self.status();
        let state = self.lock();
        let pace = state.pace.last(if is_first { PACE_SHOWN_FIRST_S } else { PACE_SHOWN_S });
        let (writes, now) = (state.latest_traces(WRITES_SHOWN, &self.name), state.pace.now());
        drop(state);
        json!({ "status": status, "writes": writes, "pace": pace, "now": now, "faults": self.faults.is_enabled() })
    }
}

impl State {
    /// The secondaries without which a message for all nodes is not taken.
    fn who_is_missing(&self) -> Option<String> {
        let missing: Vec<String> = self
            .ledger
            .members()
            .filter(|view| view.standing != Standing::InSync)
            .filter_map(|view| self.members.get(&view.member))
            .map(|member| format!("{}: {}", member.name, member.detail))
            .collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    /// How many nodes must be healthy to take writes: as configured, or more than half.
    pub(super) fn quorum(&self, configured: Option<usize>) -> usize {
        configured.unwrap_or(self.ledger.nodes() / 2 + 1)
    }

    /// Why no writes are taken, if fewer nodes are healthy than there should be.
    fn why_read_only(&self, quorum: Option<usize>) -> Option<String> {
        let (nodes, needed) = (self.ledger.nodes(), self.quorum(quorum));
        let unhealthy = |member: &&Member| member.health.level() == Level::Unhealthy;
        let healthy = nodes - self.members.values().filter(unhealthy).count();
        if healthy >= needed {
            return None;
        }
        let reasons =
            self.members.values().filter(unhealthy).map(|member| format!("; {}: {}", member.name, member.detail));
        Some(format!(
            "it is read-only: {healthy} of {nodes} nodes are healthy, {needed} are needed{}",
            reasons.collect::<String>()
        ))
    }

    pub(super) fn secondaries(&self) -> Vec<SecondaryStatus> {
        self.ledger
            .members()
            .filter_map(|view| {
                let member = self.members.get(&view.member)?;
                Some(SecondaryStatus {
                    server_id: member.name.to_string(),
                    url: member.url.to_string(),
                    state: match view.standing {
                        Standing::InSync => "in_sync",
                        Standing::CatchingUp => "catching_up",
                        Standing::Unreachable => "unreachable",
                    },
                    health: member.health.level().name(),
                    health_since: rfc3339(member.health.since_ms()),
                    durable: view.durable.get(),
                    told: view.told.get(),
                    delay_ms: member.delay_ms,
                    detail: member.detail.clone(),
                    since: rfc3339(member.since_ms),
                    fault: member.fault.clone(),
                })
            })
            .collect()
    }
}
