//! The connections that read.
//!
//! Each connection is kept for the next reader. So the memory and open files for reading do not grow with the number of
//! clients.

use crate::process::state_lock::before_io;
use crate::process::threads::lock;
use rusqlite::Connection;
use std::sync::{Condvar, Mutex, PoisonError};

/// The most readers at the same time. Further ones wait.
pub(super) const READERS_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Readers {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    kept: Vec<Connection>,
    /// The number of permits that are taken.
    taken: usize,
}

/// The permission to read.
pub(super) struct Permit<'a> {
    readers: &'a Readers,
    /// The kept connection to read with. What is here at the end is kept for the next reader.
    pub(super) kept: Option<Connection>,
}

impl Readers {
    /// Waits until a permit is free.
    pub(super) fn wait_for_permit(&self) -> Permit<'_> {
        before_io("the database is read");
        let is_full = |state: &mut State| state.taken == READERS_MAX;
        let mut state = self.freed.wait_while(lock(&self.state), is_full).unwrap_or_else(PoisonError::into_inner);
        state.taken += 1;
        Permit { readers: self, kept: state.kept.pop() }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.readers.state);
        state.taken -= 1;
        state.kept.extend(self.kept.take());
        drop(state);
        self.readers.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn no_more_than_so_many_read_at_once() {
        let (readers, now, most) = (Readers::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 * READERS_MAX {
                scope.spawn(|| {
                    let _permit = readers.wait_for_permit();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(std::time::Duration::from_millis(2));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= READERS_MAX);
        assert_eq!(lock(&readers.state).taken, 0);
    }
}
