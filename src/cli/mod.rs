//! The programs: their command lines, what they do, and how they end.
//!
//! - [`settings`]: flags and environment, and what they mean; `table`: how they are written down and read.
//! - [`run`]: from a command line to a node in operation, and to its exit code.
//! - `commands`: what the programs do beside serving.
//! - `exit`: exit codes.
//! - [`local_cluster`]: a master and its secondaries on one machine.

mod commands;
mod exit;
pub mod local_cluster;
mod quantity;
pub mod run;
pub mod settings;
mod table;
