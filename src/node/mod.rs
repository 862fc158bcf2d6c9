//! What every node does, whichever its role: it serves its log and its status, and checks access.
//!
//! - [`access`], [`hosts`]: which client may do what, and the names that a node answers to.
//! - [`backups`], [`fingerprints`]: the decided part of a log as a file, and its fingerprint.
//! - [`faults`]: fault injection.
//! - [`framing`]: posts whose end must be known.
//! - [`ids`]: ids in words.
//! - [`intake`]: where posts wait while this node hands over.
//! - [`live`]: the page at `/`, and the views that it shows.
//! - [`logging`]: log lines.
//! - [`metrics`]: what `/metrics` shows. Only this file uses the crate `prometheus`.
//! - [`origins`]: other sites whose pages may use the API.
//! - [`semaphore`]: a limited number of permits for clients that stay connected.
//! - [`readiness`], [`status`]: the replies about the state of a node.
//! - [`reading`]: pages, exports, followers.
//! - [`routes`]: the route table, with every path and method of the API. To add a route, begin there.
//! - [`settings`]: what both roles are configured with.

pub(crate) mod access;
pub(crate) mod backups;
pub(crate) mod faults;
pub(crate) mod fingerprints;
pub(crate) mod framing;
pub(crate) mod hosts;
pub(crate) mod ids;
pub(crate) mod intake;
pub(crate) mod live;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod origins;
pub(crate) mod readiness;
pub(crate) mod reading;
pub(crate) mod routes;
pub(crate) mod semaphore;
pub(crate) mod settings;
pub(crate) mod status;
