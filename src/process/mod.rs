//! What a process gets from its operating system. It knows nothing of replication.
//!
//! - [`budget`]: how much memory clients may make this process use, for each purpose.
//! - [`clock`]: the wall clock.
//! - [`console`]: the standard output, written without ever waiting for long.
//! - [`gate`]: a gate through which work goes until it is closed.
//! - [`random`]: random bits, and numbers for jitter.
//! - [`shutdown`]: the signals that ask a process to stop.
//! - [`state_lock`]: the lock around what a node keeps in memory, never held over I/O.
//! - [`text`]: words for people, and numbers from them.
//! - [`threads`]: threads that a node needs; after a panic in one of them the node is not ready.

pub(crate) mod budget;
pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod gate;
pub(crate) mod random;
pub(crate) mod shutdown;
pub(crate) mod state_lock;
pub(crate) mod text;
pub(crate) mod threads;
