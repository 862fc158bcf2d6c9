//! Bodies of requests that no handler reads.
//!
//! When the library drops the reader of a body, it allocates memory for all that was not read. So a body is skipped
//! before that, and a request whose body is too long for that is *leaked*: never dropped, with the thread and the
//! descriptors of its connection. Otherwise a declared body of a terabyte would end the process.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tiny_http::Request;

/// An unread body up to this size is skipped; a request with a longer one is leaked. The library allocates so much at
/// most, and the system gives memory only for what is written to, which is nothing.
pub(super) const SKIPPED_BYTES_MAX: usize = 256 << 20;

/// Bytes that are read at a time to be skipped.
pub(super) const SKIPPED_AT_ONCE: usize = 8 << 10;

/// Reads what comes of a body within this time. Gives how much that was.
pub(super) fn skip(body: &mut impl Read, timeout: Duration) -> usize {
    let deadline = Instant::now() + timeout;
    let (mut skipped, mut piece) = (0, [0; SKIPPED_AT_ONCE]);
    while Instant::now() < deadline {
        match body.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => skipped += read,
        }
    }
    skipped
}

/// Whether a request has a body that is too long to be skipped.
pub(super) fn must_leak(request: &Request) -> bool {
    request.body_length().is_some_and(|length| length > SKIPPED_BYTES_MAX)
}

pub(super) fn count_leaked(leaked: &AtomicU64) {
    let count = leaked.fetch_add(1, Ordering::Relaxed) + 1;
    log::error!(
        "a request declared a body of more than {SKIPPED_BYTES_MAX} bytes: its connection and thread are leaked \
         ({count} so far); a restart of this node frees them"
    );
}

/// Forgets a request that must not be answered. This waits for the rest of its body: see [`has_rest`].
pub(super) fn discard(request: Request, leaked: &AtomicU64) {
    if must_leak(&request) {
        count_leaked(leaked);
        std::mem::forget(request);
    } else {
        drop(request.into_writer());
    }
}

/// Whether the library reads on when this request is dropped.
pub(super) fn has_rest(request: &Request) -> bool {
    request.body_length().is_some_and(|length| length > 0)
}
