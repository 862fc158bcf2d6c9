//! Posts whose end must be known. The HTTP library takes the end of a connection for the last chunk of a body, so what a
//! client sent in chunks before it died looks complete. A JSON text that was cut off shows it, but nothing else does.

use crate::http::{Exchange, Reply};

/// Refuses a body in chunks that would look complete if it was cut off.
///
/// # Errors
/// With the reply, 411.
pub(crate) fn check(exchange: &Exchange) -> Result<(), Reply> {
    let content_type = exchange.header("Content-Type").unwrap_or("application/json");
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    // As it is stored, half a number is another number.
    let is_raw = exchange.query("raw").is_some_and(|raw| raw != "false" && raw != "0");
    if exchange.body_may_be_cut_off() && (is_raw || !media_type.eq_ignore_ascii_case("application/json")) {
        let why = "a body in chunks is taken as application/json without raw only; send this with a Content-Length, \
                   which tells whether all of it has arrived";
        return Err(Reply::problem(411, why));
    }
    Ok(())
}
