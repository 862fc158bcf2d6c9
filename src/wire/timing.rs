//! How long the parts of a write took, as JSON.
//!
//! All times of a write are milliseconds after the master accepted it. No two clocks are compared: a secondary measures
//! how long it took by its own clock, and the rest of its call's time counts as the way there and back, half each.

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
    /// Microseconds from its arrival until everything in it was durable.
    pub durable_us: u64,
    /// Microseconds of the artificial delay.
    pub delay_us: u64,
    /// Microseconds from its arrival to the acknowledgement.
    pub total_us: u64,
}

/// When a write reached the stages of its call to one secondary.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallTimes {
    /// The call was sent.
    pub sent_ms: Millis,
    /// The call arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_ms: Option<Millis>,
    /// The secondary had it on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable_ms: Option<Millis>,
    /// The artificial delay after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<Millis>,
    /// How often the master sent the call.
    pub attempts: u32,
}
