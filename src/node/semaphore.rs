//! A limited number of permits, for followers and open pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of permits.
#[derive(Debug)]
pub(crate) struct Semaphore {
    taken: AtomicUsize,
    most: usize,
}

/// A permit. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Semaphore>);

impl Semaphore {
    pub(crate) fn new(most: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore { taken: AtomicUsize::new(0), most })
    }

    /// Takes a permit, if one is free.
    pub(crate) fn take(self: &Arc<Semaphore>) -> Option<Permit> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }

    /// The number of permits that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Semaphore;

    #[test]
    fn there_are_no_more_than_said_and_each_is_free_again() {
        let permits = Semaphore::new(2);
        let (first, _second) = (permits.take().unwrap(), permits.take().unwrap());
        assert!(permits.take().is_none());
        drop(first);
        assert_eq!(permits.taken(), 1);
        assert!(permits.take().is_some());
        assert!(Semaphore::new(0).take().is_none());
    }
}
