//! The `/metrics` of a master: its status as figures, and its counters.

use super::shared::Master;
use super::status::SecondaryStatus;
use crate::http::{Exchange, Reply};
use crate::node::metrics::{Gauges, flag};

impl Master {
    /// Answers `GET /metrics`.
    pub(super) fn figures(&self, exchange: &Exchange) -> Reply {
        let status = self.status();
        let followers = self.reading.following.number();
        let gauges = Gauges::of_node(exchange, self.settings.common.data_dir.as_deref(), &status.node, followers);
        gauges.leads(!status.has_given_up);
        let voters = status.voters.unwrap_or_default();
        gauges.set("voters", "Nodes that vote on which of them leads; 0 while promotion is off.", voters as f64);
        gauges.set(
            "held_up_bytes",
            "Bytes that are kept only because secondaries that are away lack them.",
            status.bytes_held_up.unwrap_or_default() as f64,
        );
        gauges.set("writable", "Whether a message for all nodes is taken now.", flag(status.writable));
        gauges.set("rounds_in_flight", "Rounds that others wait for.", status.rounds_in_flight as f64);
        let each = |name, help, figure: &dyn Fn(&SecondaryStatus) -> f64| {
            gauges.set_each(
                name,
                help,
                "secondary",
                status.secondaries.iter().map(|one| (&*one.server_id, figure(one))),
            );
        };
        each("secondary_in_sync", "Whether a secondary takes part in the rounds.", &|one| flag(one.state == "in_sync"));
        each("secondary_healthy", "Whether a secondary answers.", &|one| flag(one.health == "healthy"));
        each("secondary_lag", "Ids that a secondary is not known to hold.", &|one| {
            status.node.last.saturating_sub(one.matched) as f64
        });
        each("secondary_delay_seconds", "The artificial delay of a secondary.", &|one| one.delay_ms as f64 / 1_000.0);
        self.metrics.reply(&gauges)
    }
}
