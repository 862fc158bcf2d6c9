//! What every node does, whichever its role: it shows its log, tells how it is, and says who may ask.
//!
//! - [`access`], [`hosts`]: who may ask what, and under which names a node is served.
//! - [`backups`], [`fingerprints`]: the decided part of a log as a file, and in 64 digits.
//! - [`faults`]: what a node does wrong when it is asked to.
//! - [`ids`]: ids in words.
//! - [`live`]: the page at `/`, and the views that it shows.
//! - [`logging`]: log lines.
//! - [`metrics`]: what `/metrics` tells; the only file that knows `prometheus`.
//! - [`semaphore`]: a limited number of places for clients who stay.
//! - [`readiness`], [`status`]: what a node says of itself.
//! - [`reading`]: pages, exports, followers.
//! - [`routes`]: the route table, every path and method of the API; to add one, begin there.
//! - [`settings`]: what both roles are configured with.

pub(crate) mod access;
pub(crate) mod backups;
pub(crate) mod faults;
pub(crate) mod fingerprints;
pub(crate) mod hosts;
pub(crate) mod ids;
pub(crate) mod live;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod readiness;
pub(crate) mod reading;
pub(crate) mod routes;
pub(crate) mod semaphore;
pub(crate) mod settings;
pub(crate) mod status;
