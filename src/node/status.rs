//! What both kinds of node say of themselves, in `/health`, on the page and as figures.

use crate::http::Limits;
use crate::process::budget::BudgetFigures;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a node is, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It does all that it is there for.
    Healthy,
    /// It serves, but not all that it is there for, or it needs attention; the reasons say what is wrong. That may end by
    /// itself.
    Degraded,
    /// It takes no writes any more, and needs an operator.
    Failed,
}

impl Health {
    /// The health of a node that has failed or not, and for which these reasons speak.
    pub(crate) fn of(has_failed: bool, reasons: &[String]) -> Health {
        match (has_failed, reasons.is_empty()) {
            (true, _) => Health::Failed,
            (false, false) => Health::Degraded,
            (false, true) => Health::Healthy,
        }
    }
}

/// A node and its log.
#[derive(Debug, Serialize)]
pub(crate) struct NodeStatus {
    pub(crate) status: Health,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reasons: Vec<String>,
    /// `master` or `secondary`.
    pub(crate) role: &'static str,
    pub(crate) server_id: String,
    /// How many messages are visible.
    pub(crate) message_count: u64,
    pub(crate) epoch: u64,
    /// The newest id in the log.
    pub(crate) last: u64,
    /// Every id up to here has its fate.
    pub(crate) decided: u64,
    /// Messages without one.
    pub(crate) pending: u64,
    pub(crate) uptime_s: u64,
    /// How much memory clients make this node use, by what for.
    pub(crate) budgets: BTreeMap<&'static str, BudgetFigures>,
    /// What an operator should look after, though the node works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}

/// The budgets that both kinds of node have.
pub(crate) fn budgets(limits: &Limits) -> BTreeMap<&'static str, BudgetFigures> {
    BTreeMap::from([("bodies", limits.bodies.figures()), ("unread_replies", limits.unread.figures())])
}
