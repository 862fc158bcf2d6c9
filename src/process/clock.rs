//! The wall clock and randomness of this node.

use crate::protocol::{Incarnation, LogId};
use crate::wire::timestamp::LAST_MS;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 on a machine whose clock is set before that.
pub(crate) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// Why no message can get a timestamp, if that is so.
pub(crate) fn fault() -> Option<String> {
    let now_ms = now_ms();
    (now_ms > LAST_MS)
        .then(|| format!("the clock of this machine is at {now_ms} ms since 1970, beyond the year 9999; set the clock"))
}

/// A new log's name.
///
/// # Panics
/// If the system has no randomness to give: without it two logs could be taken for one.
pub(crate) fn random_log_id() -> LogId {
    LogId::new(u128::from_le_bytes(random_bytes()))
}

/// The name of this start of the process.
///
/// # Panics
/// As [`random_log_id`].
pub(crate) fn random_incarnation() -> Incarnation {
    Incarnation::new(u64::from_le_bytes(random_bytes()))
}

/// A number below `bound`, for jitter.
pub(crate) fn random_below(bound: u64) -> u64 {
    u64::from_le_bytes(random_bytes()) % bound.max(1)
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has no randomness to give");
    bytes
}
