//! Waiting for something that is about to become true.

use std::thread;
use std::time::{Duration, Instant};

/// How long to wait at most for what a healthy cluster does at once: to become writable, to show what it confirmed.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until the result is `enough`, but not much longer than `limit`, and gives back what was seen last. Does not
/// wait longer than what a healthy cluster needs.
pub(crate) fn poll_briefly<T>(limit: Duration, look: impl FnMut() -> T, enough: impl Fn(&T) -> bool) -> T {
    poll_for(limit.min(WAIT_MAX), look, enough)
}

/// The same, for what may take longer.
pub(crate) fn poll_for<T>(limit: Duration, mut look: impl FnMut() -> T, enough: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let seen = look();
        if enough(&seen) || begun.elapsed() >= limit {
            return seen;
        }
        thread::sleep(PAUSE);
    }
}

/// How long ago, in whole milliseconds.
pub(crate) fn milliseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
