//! A synchronous replicated log: one master, N secondaries, every acknowledgement awaited.
//!
//! `ARCHITECTURE.md` draws the rooms; [`protocol`] teaches the protocol.

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: processes, and a thread for each")]
pub mod cluster;
#[allow(clippy::disallowed_types, reason = "an edge: threads share the standard output")]
mod console;
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an edge: the echo pair is made of sockets and a thread per client"
)]
pub mod echo;
pub mod protocol;
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an edge: threads, sockets, clocks and locks live here"
)]
pub mod server;
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an edge: a store is shared between threads, and lies on disk"
)]
pub mod store;
#[allow(clippy::disallowed_types, reason = "an edge: what a process knows of its threads")]
mod threads;
pub mod wire;
