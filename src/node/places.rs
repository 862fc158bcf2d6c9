//! A limited number of places for those who stay: followers, and pages that watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places that there are.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    most: usize,
}

/// One of them. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { taken: AtomicUsize::new(0), most })
    }

    /// Takes one, if one is free.
    pub(crate) fn take(self: &Arc<Places>) -> Option<Place> {
        let one_more = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn there_are_no_more_than_said_and_each_is_free_again() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
        assert!(Places::new(0).take().is_none());
    }
}
