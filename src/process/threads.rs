//! The threads that a node needs as long as it runs, and what they lock.
//!
//! Such a thread does not end unseen: a panic in it is logged by the panic hook, and from then on the node says that it
//! is not ready, because something that it promises is not done any more. Only a restart helps.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};

/// The threads of this process that were lost.
static LOST: Lost = Lost::new();

#[derive(Debug)]
struct Lost(Mutex<Vec<String>>);

impl Lost {
    const fn new() -> Lost {
        Lost(Mutex::new(Vec::new()))
    }

    /// Runs the work of a thread. A panic is kept in mind.
    fn watch(&self, name: &str, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            lock(&self.0).push(name.to_owned());
        }
    }

    fn sentence(&self) -> Option<String> {
        let lost = lock(&self.0);
        (!lost.is_empty()).then(|| {
            format!("its thread {} ended by a panic, which is in its log file; restart this node", lost.join(", "))
        })
    }
}

/// Starts a thread that the node needs as long as it runs.
///
/// # Errors
/// If the system starts no thread.
pub(crate) fn start_needed(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let owned = name.to_owned();
    thread::Builder::new().name(name.to_owned()).spawn(move || LOST.watch(&owned, work))
}

/// Why a node is not ready after a panic in the middle of a change of its state.
pub(crate) const STATE_IS_BROKEN: &str =
    "a thread panicked while it changed the state, as the log file tells; restart this node";

/// Which threads that this node needs ended by a panic, in a sentence.
pub(crate) fn lost() -> Option<String> {
    LOST.sentence()
}

/// Locks a mutex, whatever became of a thread that held it before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a mutex in the same way, unless a thread holds it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(held) => Some(held),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panicked_is_named_and_one_that_ended_is_not() {
        let lost = Lost::new();
        lost.watch("well", || ());
        assert_eq!(lost.sentence(), None);
        lost.watch("unwell", || panic!("on purpose"));
        assert!(lost.sentence().unwrap().contains("unwell ended by a panic"), "{lost:?}");
    }
}
