//! Points in time: milliseconds between nodes, RFC 3339 text for clients.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// The latest time that RFC 3339 can express, the end of the year 9999, in milliseconds since 1970.
pub const LAST_MS: u64 = 253_402_300_799_999;

/// Why no message can get this timestamp, or `None` if one can.
#[must_use]
pub fn fault(now_ms: u64) -> Option<String> {
    (now_ms > LAST_MS)
        .then(|| format!("the clock of this machine is at {now_ms} ms since 1970, beyond the year 9999; set the clock"))
}

/// Writes milliseconds since 1970 as `2026-11-21T22:44:09.123Z`.
///
/// A later time than [`LAST_MS`] is written as that one, so that the format is always the same.
#[must_use]
pub fn rfc3339(timestamp_ms: u64) -> String {
    in_utc(timestamp_ms).iter().copied().map(char::from).collect()
}

/// The same as ASCII characters. This is written by hand, because each message that a client reads has a timestamp, and
/// the formatter of the `time` crate takes longer than everything else about it.
pub(super) fn in_utc(timestamp_ms: u64) -> [u8; 24] {
    let timestamp_ms = timestamp_ms.min(LAST_MS);
    let moment =
        OffsetDateTime::from_unix_timestamp((timestamp_ms / 1_000).cast_signed()).expect("the year is 9999 at most");
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut write = |end: usize, digits: usize, mut number: u32| {
        for place in text[end - digits..end].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    write(4, 4, year.unsigned_abs());
    write(7, 2, u8::from(month).into());
    write(10, 2, day.into());
    write(13, 2, hour.into());
    write(16, 2, minute.into());
    write(19, 2, second.into());
    write(23, 3, (timestamp_ms % 1_000) as u32);
    text
}

/// Milliseconds since 1970 that become text where they are written as JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timestamp(pub u64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&in_utc(self.0)).expect("digits and signs are ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::{LAST_MS, rfc3339};

    #[test]
    fn moments_are_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_301_049_123), "2026-11-21T22:44:09.123Z");
        for beyond in [LAST_MS, LAST_MS + 1, u64::MAX] {
            assert_eq!(rfc3339(beyond), "9999-12-31T23:59:59.999Z", "{beyond}");
        }
    }
}
