//! Bodies of requests that nobody reads.
//!
//! The library takes memory for all that is left of a body when its reader is dropped. So a body is thrown away before, and
//! a request whose body is too long for that is *buried*: kept for ever.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tiny_http::Request;

/// An unread body up to this size is thrown away; beyond, its request is buried. Of so much memory the system gives as much as
/// is written to, which is nothing.
pub(super) const DRAIN_BYTES_MAX: usize = 256 << 20;

/// The library would take memory for all that is left of a body to throw it away.
pub(super) const THROWN_AWAY_BYTES: usize = 8 << 10;

/// Reads what comes of a body in time. Gives how much that was.
pub(super) fn throw_away(body: &mut impl Read, patience: Duration) -> usize {
    let deadline = Instant::now() + patience;
    let (mut thrown_away, mut piece) = (0, [0; THROWN_AWAY_BYTES]);
    while Instant::now() < deadline {
        match body.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => thrown_away += read,
        }
    }
    thrown_away
}

/// Whether a request has a body that is too long to be thrown away.
pub(super) fn must_bury(request: &Request) -> bool {
    request.body_length().is_some_and(|length| length > DRAIN_BYTES_MAX)
}

pub(super) fn count_buried(buried: &AtomicU64) {
    let count = buried.fetch_add(1, Ordering::Relaxed) + 1;
    log::error!("a request declared a body that cannot be skipped; its connection is kept for good ({count} so far)");
}

/// Forgets a request that must not be answered. This waits for the rest of its body: see [`has_rest`].
pub(super) fn discard(request: Request, buried: &AtomicU64) {
    if must_bury(&request) {
        count_buried(buried);
        std::mem::forget(request);
    } else {
        drop(request.into_writer());
    }
}

/// Whether the library reads on when this request is dropped.
pub(super) fn has_rest(request: &Request) -> bool {
    request.body_length().is_some_and(|length| length > 0)
}
