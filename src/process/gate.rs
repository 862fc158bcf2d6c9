//! A gate through which work goes until it is closed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Lets work in, side by side, until it is closed. From then on no work is in, and none gets in.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_closed: RwLock<bool>,
}

/// Work that is in. It is out when this is dropped.
pub(crate) struct Inside<'a>(#[expect(dead_code, reason = "it is held")] RwLockReadGuard<'a, bool>);

impl Gate {
    /// Goes in; `None` if the gate is closed.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        let inside = self.is_closed.read().unwrap_or_else(PoisonError::into_inner);
        (!*inside).then_some(Inside(inside))
    }

    /// Closes the gate, and waits for the work that is in.
    pub(crate) fn close(&self) {
        *self.is_closed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn a_gate_closes_when_nobody_is_in_and_lets_no_one_in_again() {
        let (gate, was_out) = (Gate::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let inside = gate.enter().expect("it is open");
            let closing = scope.spawn(|| {
                gate.close();
                was_out.load(Ordering::Acquire)
            });
            was_out.store(true, Ordering::Release);
            drop(inside);
            assert!(closing.join().unwrap(), "it closed while work was in");
        });
        assert!(gate.enter().is_none());
    }
}
