//! The running processes: configuration, HTTP, disks, threads.
//!
//! Everything that happens is here; everything that is decided is decided by [`crate::protocol`].

mod access;
mod backups;
mod budget;
mod clock;
mod commands;
pub mod config;
mod faults;
mod fingerprints;
mod hosts;
mod http;
mod live;
mod logging;
mod master;
mod metrics;
mod peer;
mod places;
mod readiness;
mod reading;
mod routing;
pub mod run;
mod secondary;
mod shutdown;
mod status;
mod text;

pub(crate) use peer::Peers;
pub(crate) use shutdown::{STOP_WITH_PARENT, watch as watch_for_signals};
