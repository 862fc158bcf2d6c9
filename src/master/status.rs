//! One snapshot of the master's state, from which everything that reports it is made.

use super::posts::Closed;
use super::shared::Master;
use super::state::State;
use crate::node::live::Watched;
use crate::node::reading::{Extent, Snapshot};
use crate::node::status::{Health, NodeStatus, budgets, refused_requests};
use crate::protocol::{self, ReplicationState};
use crate::wire::fault::ActiveFault;
use crate::wire::timestamp::rfc3339;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// Writes under way, and writes that were answered, that a page shows.
const WRITES_SHOWN: usize = 10;
/// How many seconds of the past the first view of a page covers.
const PACE_SHOWN_FIRST_S: u64 = 300;
/// How many seconds of the past each later view of a page covers.
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
    pub(super) matched: u64,
    /// The high watermark that it has acknowledged.
    known_decided: u64,
    pub(super) delay_ms: u64,
    /// Whether another node needs its promise to lead. Left out while promotion is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    votes: Option<bool>,
    detail: String,
    since: String,
    /// The fault that is injected into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// The master, as `/health` shows it.
#[derive(Debug, Serialize)]
pub(super) struct MasterStatus {
    #[serde(flatten)]
    pub(super) node: NodeStatus,
    log_id: String,
    /// Whether it has given up to lead until a restart.
    #[serde(skip)]
    pub(super) has_given_up: bool,
    /// How many nodes vote, this one included. Left out while promotion is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) voters: Option<usize>,
    /// Bytes that are kept only because secondaries that are away lack them. Left out if everything is kept anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_held_up: Option<u64>,
    pub(super) writable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The fault that is injected into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<ActiveFault>,
    rounds: u64,
    pub(super) rounds_in_flight: usize,
    pub(super) secondaries: Vec<SecondaryStatus>,
}

impl Master {
    pub(super) fn status(&self) -> MasterStatus {
        let size = self.store.size().unwrap_or_default();
        let bytes_held_up = self.bytes_held_up.load(Ordering::Relaxed);
        let state = self.lock();
        let unable = self.why_unable();
        let rejected = state.leader.takes_writes().err().map(|rejection| self.reason(&state, &rejection));
        let closed = match &unable {
            Some(Closed::ForGood(why) | Closed::ForNow(why)) => Some(why.clone()),
            None => rejected,
        };
        let warning = self.store.warning();
        let has_failed = state.leader.is_halted() || matches!(unable, Some(Closed::ForGood(_)));
        let mut reasons: Vec<String> = closed.iter().cloned().collect();
        reasons.extend(state.who_is_missing());
        reasons.extend(warning.iter().cloned());
        let reason = closed.or_else(|| {
            let missing = state.who_is_missing();
            (!missing.is_empty()).then(|| missing.join("; "))
        });
        let mut budgets = budgets(&self.settings.common.limits);
        budgets.insert("pending", self.pending.figures());
        let shown = state.leader.shown();
        let roster = state.leader.roster();
        let promotes = roster.allows_promotion();
        MasterStatus {
            node: NodeStatus {
                status: Health::of(has_failed, &reasons),
                reasons,
                role: "master",
                server_id: self.settings.common.server_id.clone(),
                message_count: state.leader.base().left_of(shown.visible),
                epoch: state.leader.epoch().get(),
                begins: state.leader.base().id.next().get(),
                last: state.leader.last().get(),
                decided: shown.decided.get(),
                database_bytes: size.bytes,
                free_bytes: size.free,
                pending: state.leader.open(),
                uptime_s: self.started.elapsed().as_secs(),
                budgets,
                refused_requests: refused_requests(&self.settings.common.limits),
                warning,
            },
            log_id: state.leader.log_id().to_string(),
            has_given_up: state.leader.is_halted(),
            voters: promotes.then(|| roster.voters().number()),
            bytes_held_up: self.settings.retention.is_limited().then_some(bytes_held_up),
            writable: reason.is_none(),
            reason,
            fault: self.faults.active(),
            rounds: state.rounds_started,
            rounds_in_flight: state.leader.rounds_in_flight(),
            secondaries: state.secondaries(),
        }
    }

    /// What readers may see.
    pub(super) fn snapshot_of(&self, state: &State) -> Snapshot {
        Snapshot {
            extent: state.extent(),
            last: state.leader.last(),
            visible: state.leader.base().left_of(state.leader.shown().visible),
            role: "master",
            server_id: self.settings.common.server_id.clone(),
            possibly_stale: state.leader.is_halted() || state.leader.has_doubt(),
        }
    }
}

impl Watched for Master {
    fn view(&self, is_first: bool) -> Value {
        let status = self.status();
        let state = self.lock();
        let pace = state.latencies.last(if is_first { PACE_SHOWN_FIRST_S } else { PACE_SHOWN_S });
        let (writes, now) = (state.latest_traces(WRITES_SHOWN, &self.name), state.latencies.now());
        drop(state);
        json!({ "status": status, "writes": writes, "pace": pace, "now": now, "faults": self.faults.is_enabled() })
    }
}

impl State {
    /// Which log this is, and where it begins and ends for readers.
    pub(super) fn extent(&self) -> Extent {
        let (log_id, decided) = (Some(self.leader.log_id()), self.leader.shown().decided);
        Extent { log_id, begins: self.leader.base().id.next(), decided }
    }

    /// The secondaries without which a message for all nodes is not taken, and what is wrong with them.
    fn who_is_missing(&self) -> Vec<String> {
        let missing = self.leader.members().filter(|view| view.state != ReplicationState::InSync);
        let named = missing.filter_map(|view| Some((view.member, self.members.get(&view.member)?)));
        named.map(|(id, member)| format!("{}: {}", member.name, self.detail_of(id, member))).collect()
    }

    pub(super) fn secondaries(&self) -> Vec<SecondaryStatus> {
        let roster = self.leader.roster();
        let promotes = roster.allows_promotion();
        self.leader
            .members()
            .filter_map(|view| {
                let member = self.members.get(&view.member)?;
                Some(SecondaryStatus {
                    server_id: member.name.to_string(),
                    url: member.url.to_string(),
                    state: match view.state {
                        ReplicationState::InSync => "in_sync",
                        ReplicationState::CatchingUp => "catching_up",
                        ReplicationState::Unreachable => "unreachable",
                    },
                    health: match view.health {
                        protocol::Health::Healthy => "healthy",
                        protocol::Health::Suspected => "suspected",
                        protocol::Health::Unhealthy => "unhealthy",
                    },
                    health_since: rfc3339(member.health_since_ms),
                    matched: view.matched.get(),
                    known_decided: view.known_decided.get(),
                    delay_ms: member.delay_ms,
                    votes: promotes.then(|| view.copy.is_some_and(|copy| roster.is_voter(copy))),
                    detail: self.detail_of(view.member, member),
                    since: rfc3339(member.since_ms),
                    fault: member.fault.clone(),
                })
            })
            .collect()
    }
}
