//! How many bytes may be in memory at the same time for one purpose, whatever clients do.
//!
//! A caller that needs bytes takes a [`Share`] first, and gives it back by dropping it. The last quarter of a budget is
//! for small shares: clients that send little are served while others, that send much, are refused.

use serde::Serialize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A share of at most so many bytes is a small one.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// A number of bytes to share.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    refused: u64,
    waiting: usize,
}

/// How much of a budget is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct BudgetFigures {
    /// Bytes that are taken now.
    pub(crate) bytes: usize,
    /// Bytes that there are.
    pub(crate) bytes_max: usize,
    /// Shares that were refused since the start.
    pub(crate) refused: u64,
}

/// Some of the bytes.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget { bytes_max, state: Mutex::default(), freed: Condvar::new() })
    }

    /// The smallest budget from which a share of so many bytes can be taken when there is little else.
    pub(crate) fn least_for(bytes: usize) -> usize {
        bytes.saturating_mul(4).div_ceil(3)
    }

    /// Takes bytes, if they are free.
    pub(crate) fn take(self: &Arc<Budget>, bytes: usize) -> Option<Share> {
        self.take_within(Duration::ZERO, bytes)
    }

    /// Takes bytes as soon as they are free; `None` if they are not in time.
    pub(crate) fn take_within(self: &Arc<Budget>, timeout: Duration, bytes: usize) -> Option<Share> {
        let mut share = Share { budget: Arc::clone(self), bytes: 0 };
        share.grow_within(timeout, bytes).then_some(share)
    }

    fn wait_until_free(&self, timeout: Duration, bytes: usize, more: usize) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if !timeout.is_zero() && !self.is_free_for(&state, bytes, more) {
            state.waiting += 1;
            let waits = |state: &mut State| !self.is_free_for(state, bytes, more);
            let waited = self.freed.wait_timeout_while(state, timeout, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        state
    }

    /// Whether so many bytes are free now. If they are not, that counts as a refusal.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let has_room = self.is_free_for(&state, bytes, bytes);
        state.refused += u64::from(!has_room);
        has_room
    }

    /// How much of it is taken, with the name of its setting.
    pub(crate) fn in_words(&self, setting: &str) -> String {
        let BudgetFigures { bytes, bytes_max, .. } = self.figures();
        format!(
            "{bytes} bytes are taken of the {bytes_max} of {setting}, whose last quarter is for requests of at most \
             {SMALL_BYTES_MAX} bytes"
        )
    }

    pub(crate) fn figures(&self) -> BudgetFigures {
        let state = self.lock();
        BudgetFigures { bytes: state.taken, bytes_max: self.bytes_max, refused: state.refused }
    }

    /// Whether a share that has `bytes` then can have `more` of them.
    fn is_free_for(&self, state: &State, bytes: usize, more: usize) -> bool {
        let available = if bytes <= SMALL_BYTES_MAX { self.bytes_max } else { self.bytes_max - self.bytes_max / 4 };
        state.taken.saturating_add(more) <= available
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// How many they are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more bytes as soon as they are free; `false` if they are not in time.
    pub(crate) fn grow_within(&mut self, timeout: Duration, more: usize) -> bool {
        let (budget, bytes) = (&self.budget, self.bytes + more);
        let mut state = budget.wait_until_free(timeout, bytes, more);
        let is_free = budget.is_free_for(&state, bytes, more);
        if is_free {
            state.taken += more;
            self.bytes = bytes;
        } else {
            state.refused += 1;
        }
        is_free
    }

    /// Gives back what is beyond so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.give_back(self.bytes.saturating_sub(bytes));
    }

    /// Takes more bytes, or gives some back, so that there are so many; `false` if they are not free.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        self.shrink_to(bytes);
        self.bytes == bytes || self.grow_within(Duration::ZERO, bytes - self.bytes)
    }

    fn give_back(&mut self, bytes: usize) {
        let mut state = self.budget.lock();
        state.taken -= bytes;
        self.bytes -= bytes;
        if state.waiting > 0 {
            drop(state);
            self.budget.freed.notify_all();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LARGE: usize = 1 << 20;

    #[test]
    fn a_budget_is_never_exceeded_and_its_last_quarter_is_for_small_shares() {
        let budget = Budget::new(8 * LARGE);
        let large: Vec<Share> = (0..20).map_while(|_| budget.take(LARGE)).collect();
        assert_eq!(large.len(), 6);
        assert!(!budget.has_room_for(LARGE));
        let small: Vec<Share> = (0..100).map_while(|_| budget.take(SMALL_BYTES_MAX)).collect();
        assert_eq!(small.len(), 2 * LARGE / SMALL_BYTES_MAX);
        assert_eq!(budget.figures(), BudgetFigures { bytes: 8 * LARGE, bytes_max: 8 * LARGE, refused: 3 });
        drop((large, small));
        assert_eq!(budget.figures().bytes, 0);
        assert!(Budget::new(Budget::least_for(LARGE)).take(LARGE).is_some());
    }

    #[test]
    fn a_share_grows_as_long_as_there_is_room() {
        let budget = Budget::new(4 * LARGE);
        let mut share = budget.take(0).unwrap();
        let grown = (0..100).take_while(|_| share.grow_within(Duration::ZERO, SMALL_BYTES_MAX)).count();
        assert_eq!(grown * SMALL_BYTES_MAX, 3 * LARGE, "it is no small share any more");
        assert!(share.resize(LARGE) && !share.resize(4 * LARGE));
        assert_eq!(budget.figures().bytes, LARGE);
        share.shrink_to(7);
        assert_eq!(budget.figures().bytes, 7);
        drop(share);
        assert_eq!(budget.figures().bytes, 0);
    }

    #[test]
    fn a_caller_that_waits_gets_what_is_given_back() {
        let budget = Budget::new(2 * LARGE);
        let share = budget.take(LARGE).unwrap();
        assert!(budget.take_within(Duration::from_millis(1), LARGE).is_none());
        thread::scope(|scope| {
            let waits = scope.spawn(|| budget.take_within(Duration::from_secs(60), LARGE));
            thread::sleep(Duration::from_millis(20));
            drop(share);
            assert!(waits.join().unwrap().is_some());
        });
    }
}
