//! The status of a node of either role, for `/health`, the page and the metrics.

use crate::http::Limits;
use crate::process::budget::BudgetFigures;
use serde::Serialize;
use std::collections::BTreeMap;

/// The health of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It can do everything that its role requires.
    Healthy,
    /// It serves with limits or needs attention, as the reasons say. That may end without an operator.
    Degraded,
    /// It takes no writes until an operator acts.
    Failed,
}

impl Health {
    /// The health of a node: any reason makes it degraded.
    pub(crate) fn of(has_failed: bool, reasons: &[String]) -> Health {
        match (has_failed, reasons.is_empty()) {
            (true, _) => Health::Failed,
            (false, false) => Health::Degraded,
            (false, true) => Health::Healthy,
        }
    }
}

/// The status of a node and its log.
#[derive(Debug, Serialize)]
pub(crate) struct NodeStatus {
    pub(crate) status: Health,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reasons: Vec<String>,
    /// `master` or `secondary`.
    pub(crate) role: &'static str,
    pub(crate) server_id: String,
    /// The number of visible messages, without those that are trimmed.
    pub(crate) message_count: u64,
    pub(crate) epoch: u64,
    /// The first id in the log: what was before is trimmed.
    pub(crate) begins: u64,
    /// The newest id in the log.
    pub(crate) last: u64,
    /// The high watermark.
    pub(crate) decided: u64,
    /// Bytes of the database, and those of them that are free for reuse.
    pub(crate) database_bytes: u64,
    pub(crate) free_bytes: u64,
    /// Undecided messages.
    pub(crate) pending: u64,
    pub(crate) uptime_s: u64,
    /// The memory that clients make this node use, by purpose.
    pub(crate) budgets: BTreeMap<&'static str, BudgetFigures>,
    /// The requests that were refused since the start, by the status of the reply.
    pub(crate) refused_requests: BTreeMap<String, u64>,
    /// A problem that an operator should solve, although the node works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}

/// The requests that a node has refused, by the status of the reply.
pub(crate) fn refused_requests(limits: &Limits) -> BTreeMap<String, u64> {
    limits.refusals.counts().into_iter().map(|(status, count)| (status.to_string(), count)).collect()
}

/// The budgets that both roles have.
pub(crate) fn budgets(limits: &Limits) -> BTreeMap<&'static str, BudgetFigures> {
    BTreeMap::from([("bodies", limits.bodies.figures()), ("unread_replies", limits.unread.figures())])
}
