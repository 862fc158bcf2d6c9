//! Sizes and times with their units, as settings give them.

use std::time::Duration;

/// The units of sizes, in bytes.
const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];
/// The units of times, in seconds.
const TIMES: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

/// Reads a number of bytes, such as `64MiB`, `2GB` or `1048576`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let read = text.parse().ok().or_else(|| with_unit(text, &SIZES));
    read.filter(|&bytes| bytes > 0)
        .ok_or_else(|| format!("\"{}\" must be a number of bytes, such as 64MiB, 2GB or 1048576", text.escape_debug()))
}

/// Reads a time, such as `90s`, `30min`, `12h` or `7d`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let read = with_unit(text, &TIMES).filter(|&seconds| seconds > 0);
    read.map(Duration::from_secs)
        .ok_or_else(|| format!("\"{}\" must be a time, such as 90s, 30min, 12h or 7d", text.escape_debug()))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        assert_eq!(bytes("3 GiB"), Ok(3 << 30));
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(time("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(time("30min"), Ok(Duration::from_secs(1_800)));
        for wrong in ["", "0", "-1", "GiB", "1.5GiB", "1gib", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "7", "0s", "1 week", "-1h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
