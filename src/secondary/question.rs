//! The question that a secondary asks its master, shared by readers.

use crate::protocol::Id;
use std::sync::{Condvar, Mutex};

/// The question to the master, shared by readers. A thread of its own asks it, so that no reader waits longer than its
/// time, whatever the master and the disk do.
#[derive(Default)]
pub(super) struct Question {
    pub(super) asking: Mutex<Asking>,
    pub(super) wanted: Condvar,
    pub(super) answered: Condvar,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Asking {
    /// The latest question that a reader waits for.
    pub(super) wanted: u64,
    /// Questions sent so far.
    pub(super) sent: u64,
    /// The latest one that was answered, and the high watermark that the master named; `None` if it named none.
    pub(super) answered: (u64, Option<Id>),
}
