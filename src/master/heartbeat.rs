//! Whether a secondary can be relied on, as its answers tell.
//!
//! A secondary that misses one answer is *suspected*, and *unhealthy* once it has missed all of them for
//! [`UNHEALTHY_AFTER`] heartbeats; one answer makes it *healthy* again. Writes that need it do not wait for that: they are refused as
//! soon as it leaves the rounds. What depends on it is whether the master takes writes at all, see `QUORUM`.

use crate::process::clock;
use std::time::{Duration, Instant};

/// Without an answer for so many heartbeats, a secondary is unhealthy.
const UNHEALTHY_AFTER: u32 = 3;

/// What the answers of a secondary tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    Healthy,
    Suspected,
    Unhealthy,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Healthy => "healthy",
            Level::Suspected => "suspected",
            Level::Unhealthy => "unhealthy",
        }
    }
}

/// The health of one secondary.
#[derive(Debug)]
pub(super) struct Health {
    /// How often it is asked.
    heartbeat: Duration,
    level: Level,
    /// Milliseconds since 1970.
    since_ms: u64,
    /// The first answer missed since the last one that came.
    missed_since: Option<Instant>,
}

impl Health {
    /// Of a secondary that was not asked yet, and is asked so often from now on.
    pub(super) fn unknown(heartbeat: Duration) -> Health {
        Health { heartbeat, level: Level::Suspected, since_ms: clock::now_ms(), missed_since: Some(Instant::now()) }
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    pub(super) fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// It answered. Tells whether that changes anything.
    pub(super) fn answered(&mut self) -> bool {
        self.missed_since = None;
        self.become_level(Level::Healthy)
    }

    /// It did not answer, or not as it should. Tells whether that changes anything.
    pub(super) fn missed(&mut self) -> bool {
        let since = *self.missed_since.get_or_insert_with(Instant::now);
        let is_unhealthy = since.elapsed() >= self.heartbeat * UNHEALTHY_AFTER;
        self.become_level(if is_unhealthy { Level::Unhealthy } else { Level::Suspected })
    }

    fn become_level(&mut self, level: Level) -> bool {
        if self.level == level {
            return false;
        }
        self.level = level;
        self.since_ms = clock::now_ms();
        true
    }
}
