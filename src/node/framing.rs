//! What the head of a post says of its body. A secondary examines that before it passes a post on, as a master does before
//! it reads one.
//!
//! The HTTP library takes the end of a connection for the last chunk of a body, so what a client sent in chunks before it
//! died looks complete. A JSON text that was cut off shows it, but nothing else does.

use crate::http::{Exchange, Reply};
use crate::process::text::{in_small_letters, switch};
use std::borrow::Cow;

/// The media type of a body without a `Content-Type`.
const JSON: &str = "application/json";

/// The media type in small letters, and its parameters.
pub(crate) fn media_type(exchange: &Exchange) -> (Cow<'_, str>, impl Iterator<Item = Cow<'_, str>>) {
    let content_type = exchange.header("Content-Type").unwrap_or(JSON);
    let mut parts = content_type.split(';').map(|part| in_small_letters(part.trim()));
    (parts.next().unwrap_or_default(), parts)
}

/// Whether messages are to be stored as the JSON texts that they are.
///
/// # Errors
/// With a sentence for the client.
pub(crate) fn is_raw(exchange: &Exchange) -> Result<bool, String> {
    exchange.query("raw").map_or(Ok(false), |text| switch("raw", &text))
}

/// Refuses a body in chunks that would look complete if it was cut off.
///
/// # Errors
/// With the reply, 411.
pub(crate) fn check(exchange: &Exchange) -> Result<(), Reply> {
    // As it is stored, half a number is another number.
    let is_whole = media_type(exchange).0 == JSON && is_raw(exchange) == Ok(false);
    if exchange.body_may_be_cut_off() && !is_whole {
        let why = "a body in chunks is taken as application/json without raw only; send this with a Content-Length, \
                   which tells whether all of it has arrived";
        return Err(Reply::problem(411, why));
    }
    Ok(())
}
