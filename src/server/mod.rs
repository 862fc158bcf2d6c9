//! The running processes: configuration, HTTP, disks, threads.
//!
//! Everything that happens is here; everything that is decided is decided by [`crate::replication`].

mod clock;
pub mod config;
mod http;
mod logging;
mod master;
mod peer;
mod reading;
mod rotating_file;
mod routing;
pub mod run;
mod secondary;
mod shutdown;
mod text;
mod verification;

pub(crate) use peer::Peers;
pub(crate) use shutdown::{STOP_WITH_PARENT, wait as wait_for_signal};
