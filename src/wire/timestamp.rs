//! Moments travel as milliseconds between nodes and as RFC 3339 text to people.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

const MILLISECONDS: &[FormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Writes milliseconds since 1970 as `2026-11-21T22:44:09.123Z`.
///
/// A value beyond the year 9999 is written as that number of milliseconds, so that nothing a peer sends can fail here.
#[must_use]
pub fn rfc3339(timestamp_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp_ms) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(MILLISECONDS).ok())
        .unwrap_or_else(|| timestamp_ms.to_string())
}

/// Milliseconds since 1970 that become text where they are written as JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timestamp(pub u64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn moments_are_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_301_049_123), "2026-11-21T22:44:09.123Z");
        assert_eq!(rfc3339(u64::MAX), u64::MAX.to_string(), "beyond the calendar");
    }
}
