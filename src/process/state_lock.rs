//! The lock around what a node keeps in memory. A thread holds it for a step of the protocol, and never over I/O, the log
//! included: a slow disk, peer or terminal must not hold up those who only want to know something.
//!
//! In a debug build every I/O of a node asks [`before_io`], so the tests of the running system enforce that.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

thread_local! {
    /// How many state locks this thread holds.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

/// Asserts, in a debug build, that this thread holds no state lock. `what` is the I/O that it is about to do.
pub(crate) fn before_io(what: &str) {
    debug_assert!(HELD.get() == 0 || std::thread::panicking(), "{what} while the state of the node is locked");
}

/// A lock around the state of a node.
#[derive(Debug)]
pub(crate) struct StateLock<T>(Mutex<T>);

impl<T> StateLock<T> {
    pub(crate) fn new(state: T) -> StateLock<T> {
        StateLock(Mutex::new(state))
    }

    /// Locks the state, whatever became of a thread that held it before.
    pub(crate) fn lock(&self) -> StateGuard<'_, T> {
        StateGuard::of(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a thread panicked while it held the lock.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.0.is_poisoned()
    }
}

/// The state, locked.
#[derive(Debug)]
pub(crate) struct StateGuard<'a, T> {
    guard: MutexGuard<'a, T>,
    held: Held,
}

impl<'a, T> StateGuard<'a, T> {
    fn of(guard: MutexGuard<'a, T>) -> StateGuard<'a, T> {
        StateGuard { guard, held: Held::new() }
    }

    /// Waits until the condition is notified. The state is not locked meanwhile.
    pub(crate) fn wait(self, condition: &Condvar) -> StateGuard<'a, T> {
        let StateGuard { guard, held } = self;
        drop(held);
        StateGuard::of(condition.wait(guard).unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`wait`](StateGuard::wait), up to a timeout. Gives `true` if that came first.
    pub(crate) fn wait_timeout(self, condition: &Condvar, timeout: Duration) -> (StateGuard<'a, T>, bool) {
        let StateGuard { guard, held } = self;
        drop(held);
        let (guard, waited) = condition.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
        (StateGuard::of(guard), waited.timed_out())
    }
}

impl<T> Deref for StateGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for StateGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Counts as a lock that this thread holds.
#[derive(Debug)]
struct Held;

impl Held {
    fn new() -> Held {
        HELD.set(HELD.get() + 1);
        Held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn io_under_the_lock_is_noticed_and_io_beside_it_is_not() {
        let state = StateLock::new(1);
        before_io("nothing is locked");
        let locked = state.lock();
        assert!(catch_unwind(|| before_io("a write")).is_err());
        let (locked, is_late) = locked.wait_timeout(&Condvar::new(), Duration::from_millis(1));
        assert!(is_late && catch_unwind(|| before_io("a write after a wait")).is_err());
        drop(locked);
        before_io("nothing is locked any more");
    }
}
