//! A synchronous replicated log: one master, N secondaries, every acknowledgement awaited.
//!
//! Its modules, in order. Each uses only modules above it, and neither role uses the other. `tests/layers.rs` checks
//! that.
//!
//! | Module | What is in it |
//! |---|---|
//! | [`protocol`] | the protocol as values, without side effects, and an explanation of it |
//! | [`wire`] | what nodes and clients exchange as JSON |
//! | `process` | what the operating system gives a process; it knows nothing of replication |
//! | [`store`] | what a node keeps, behind one trait |
//! | `http` | the HTTP server, the only module that uses `tiny_http` |
//! | `peer` | calls to other nodes, the only module that uses `ureq` |
//! | `node` | what every node does, whichever its role |
//! | `master` | the master |
//! | `secondary` | a secondary |
//! | `succession` | which node leads: the role of a node, and how it comes to the other one |
//! | [`cli`] | the programs: settings, commands, exit codes, a local cluster |
//! | [`echo`] | the echo pair of the warm-up exercise |

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

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: sockets and timeouts")]
mod peer;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, files, clocks and locks")]
mod node;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, clocks and locks")]
mod master;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads, clocks and locks")]
mod secondary;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: threads and locks")]
mod succession;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: processes, files and the environment")]
pub mod cli;

#[allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "an edge: sockets, and a thread per client")]
pub mod echo;
