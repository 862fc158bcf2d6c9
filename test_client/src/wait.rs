//! Waits for conditions, and measures waits.

use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for what a healthy cluster does at once: become writable, show what it acknowledged.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(50);

/// Polls until the result is `enough`, but not much longer than `limit` or than a healthy cluster needs. Returns the
/// last result.
pub(crate) fn poll_briefly<T>(limit: Duration, look: impl FnMut() -> T, enough: impl Fn(&T) -> bool) -> T {
    poll_for(limit.min(WAIT_MAX), look, enough)
}

/// Polls until the result is `enough`, but not much longer than `limit`. Returns the last result.
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

/// Whole milliseconds since then.
pub(crate) fn milliseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
