//! A synchronous replicated log: one master, N secondaries, every acknowledgement awaited.
//!
//! Its rooms, in their order. Each uses only rooms above it, and neither role uses the other; `tests/layers.rs` checks that.
//!
//! | Room | What is in it |
//! |---|---|
//! | [`protocol`] | the protocol as values, and an explanation of it: it decides, and does nothing |
//! | [`wire`] | what travels as JSON, and what it means |
//! | `process` | what a process has from its operating system, and nothing of replication |
//! | [`store`] | what a node keeps, behind one trait |
//! | `http` | the HTTP server: the only room that knows `tiny_http` |
//! | `peer` | calls to other nodes: the only room that knows `ureq` |
//! | `node` | what every node does, whichever its role |
//! | `master` | the master |
//! | `secondary` | a secondary |
//! | [`cli`] | the programs: settings, commands, exit codes, a local cluster |
//! | [`echo`] | the echo pair, a warm-up of its own |

pub mod protocol;

pub mod wire;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, locks, clocks and signals")]
mod process;

#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an edge: threads share a store, and it is on disk"
)]
pub mod store;

#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "an edge: sockets, clocks, and a pool of threads"
)]
mod http;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: sockets and time-outs")]
mod peer;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, files, clocks and locks")]
mod node;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, clocks and locks")]
mod master;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, clocks and locks")]
mod secondary;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: processes, files and the environment")]
pub mod cli;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: sockets, and a thread per client")]
pub mod echo;
