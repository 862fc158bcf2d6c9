//! Time as a value: the owner of a leader or a follower passes it in.

use std::time::Duration;

/// A point in time, as the time since the process started. Only differences mean anything.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(Duration);

impl Time {
    /// The start of the process.
    pub const ZERO: Time = Time(Duration::ZERO);

    /// The time this long after the start of the process.
    #[must_use]
    pub const fn new(since_start: Duration) -> Time {
        Time(since_start)
    }

    /// The time this much later.
    #[must_use]
    pub fn plus(self, later: Duration) -> Time {
        Time(self.0.saturating_add(later))
    }

    /// How much later this time is than another one; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
