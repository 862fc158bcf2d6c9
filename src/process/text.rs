//! Words for people, and numbers from them.

use std::borrow::Cow;

/// The version of these programs.
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Reads a number of digits only: Rust would take a sign, too.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A text with small letters in place of the capital ones of ASCII.
pub(crate) fn in_small_letters(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// Reads the value of a switch in a query; without a value it is on.
///
/// # Errors
/// With a sentence for the client.
pub(crate) fn switch(name: &str, text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("{name} is \"{}\"; it must be true or false", other.escape_debug())),
    }
}

/// `1 message`, `2 messages`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// `1 message`, `2 messages`.
pub(crate) fn messages(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "message", "messages")
}
