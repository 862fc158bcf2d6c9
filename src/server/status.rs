//! What both kinds of node say of themselves, in `/health`, on the page and as figures.

use super::budget::BudgetFigures;
use super::http::Limits;
use serde::Serialize;
use std::collections::BTreeMap;

/// A node and its log.
#[derive(Debug, Serialize)]
pub(super) struct NodeStatus {
    pub(super) status: &'static str,
    /// `master` or `secondary`.
    pub(super) role: &'static str,
    pub(super) server_id: String,
    /// How many messages are visible.
    pub(super) message_count: u64,
    pub(super) epoch: u64,
    /// The newest id in the log.
    pub(super) last: u64,
    /// Every id up to here has its fate.
    pub(super) decided: u64,
    /// Messages without one.
    pub(super) pending: u64,
    pub(super) uptime_s: u64,
    /// How much memory clients make this node use, by what for.
    pub(super) budgets: BTreeMap<&'static str, BudgetFigures>,
    /// What an operator should look after, though the node works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warning: Option<String>,
}

/// The budgets that both kinds of node have.
pub(super) fn budgets(limits: &Limits) -> BTreeMap<&'static str, BudgetFigures> {
    BTreeMap::from([("bodies", limits.bodies.figures()), ("unread_replies", limits.unread.figures())])
}
