//! Faults: their classes, and what makes them.
//!
//! A fault begins, lasts for a time, and ends; then whatever it did is undone. How that is done depends on the cluster,
//! so each class has a source of its own. The [`Injector`] draws what happens when.

mod api;
mod clock;
mod compose;
mod disk;
mod failover;
mod fault;
mod injector;
mod members;
mod network;
mod processes;
mod relay;

pub(super) use api::Requests;
pub(super) use clock::Clocks;
pub(super) use compose::Compose;
pub(super) use disk::Disks;
pub(super) use failover::Failover;
pub(super) use fault::{Class, FaultSource, Sources, word};
pub(super) use injector::Injector;
pub(super) use members::Members;
pub(super) use network::Network;
pub(super) use processes::Processes;
