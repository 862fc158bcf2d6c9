//! How long the parts of a write took, as it travels.
//!
//! All moments of a write are told as milliseconds after the master accepted it. No two clocks are compared: a secondary
//! tells how long it took, by its own clock, and what is left of the time that its call took was spent on the way, half of
//! it there and half of it back.

use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

/// A span of time in whole milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A span of time, in JSON as milliseconds with a fraction.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_micros() as f64 / 1_000.0)
    }
}

/// How long a secondary took for a call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Took {
    /// From its arrival until everything in it was durable; µs.
    pub durable_us: u64,
    /// Its artificial delay; µs.
    pub delay_us: u64,
    /// From its arrival to the acknowledgement; µs.
    pub total_us: u64,
}

/// What happened to a write on its way to one secondary, and when.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallTimes {
    /// The call was sent.
    pub sent_ms: Millis,
    /// It arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_ms: Option<Millis>,
    /// The secondary had it on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_ms: Option<Millis>,
    /// So much of what follows is the artificial delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<Millis>,
    /// How often it was sent.
    pub attempts: u32,
}
