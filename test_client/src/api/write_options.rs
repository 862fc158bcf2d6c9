//! The options of a post. The master has a default for each.

use crate::numbers::number_within;
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest wait, in seconds. A longer one is a mistake.
pub(crate) const SECONDS_MAX: u64 = 3600;

/// Longest idempotency key that a master accepts.
const KEY_CHARACTERS_MAX: usize = 128;

/// The options of a post.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct WriteOptions {
    /// How many nodes must have the message, the master included: a number from 1, `majority` or `all` [default: the
    /// master's WRITE_CONCERN]
    #[arg(long = "w", value_name = "COPIES")]
    pub(crate) copies: Option<Copies>,

    /// How long the master waits for nodes that are missing before it refuses; fractions are allowed. Without it, the
    /// master refuses at once if a node is missing that the write needs
    #[arg(long, value_name = "SECONDS", value_parser = parse_wait)]
    pub(crate) wait: Option<Duration>,

    /// Idempotency key: a message that is posted again under the same key is not written again
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub(crate) key: Option<String>,

    /// Append only if this is the id of the newest message, 0 for an empty log
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<u64>,
}

impl WriteOptions {
    /// Asks for so many copies, and nothing else.
    pub(crate) fn copies(copies: Copies) -> WriteOptions {
        WriteOptions { copies: Some(copies), ..WriteOptions::default() }
    }

    /// These options, with a wait for nodes that are missing.
    pub(crate) fn waiting(self, wait: Duration) -> WriteOptions {
        WriteOptions { wait: Some(wait), ..self }
    }

    /// These options, with an idempotency key.
    pub(crate) fn named(self, key: &str) -> WriteOptions {
        WriteOptions { key: Some(key.to_owned()), ..self }
    }

    /// The body of a post of one message.
    pub(crate) fn body(&self, message: &str) -> Value {
        let mut body = json!({ "message": message });
        if let Some(copies) = self.copies {
            body["w"] = copies.into();
        }
        if let Some(wait) = self.wait {
            body["timeout"] = json!(wait.as_secs_f64());
        }
        body
    }

    /// The query of a post of a batch, whose body has no room for options: with its question mark, or empty.
    pub(crate) fn query(&self) -> String {
        let copies = self.copies.map(|copies| format!("w={copies}"));
        let wait = self.wait.map(|wait| format!("timeout={}", wait.as_secs_f64()));
        let parts: Vec<String> = copies.into_iter().chain(wait).collect();
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

/// How many nodes must have a message, the master included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Copies {
    Number(u64),
    Majority,
    All,
}

impl fmt::Display for Copies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Copies::Number(number) => number.fmt(formatter),
            Copies::Majority => formatter.write_str("majority"),
            Copies::All => formatter.write_str("all"),
        }
    }
}

impl From<Copies> for Value {
    fn from(copies: Copies) -> Value {
        match copies {
            Copies::Number(number) => number.into(),
            word => word.to_string().into(),
        }
    }
}

impl FromStr for Copies {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Copies, &'static str> {
        match (text, text.parse()) {
            ("majority", _) => Ok(Copies::Majority),
            ("all", _) => Ok(Copies::All),
            (_, Ok(number)) if number > 0 => Ok(Copies::Number(number)),
            _ => Err("it must be a number from 1, majority or all"),
        }
    }
}

/// Reads a wait in seconds.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    number_within(text, 0.0..=SECONDS_MAX as f64).map(Duration::from_secs_f64)
}

/// Reads an idempotency key. It is part of a path, too, so a master accepts no other characters.
pub(crate) fn parse_key(text: &str) -> Result<String, String> {
    let usable = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte));
    if usable && (1..=KEY_CHARACTERS_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("it must have 1 to {KEY_CHARACTERS_MAX} letters, digits, or any of - . _ ~ :"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_a_number_or_one_of_two_words() {
        for (typed, meant) in
            [("1", json!(1)), ("12", json!(12)), ("majority", json!("majority")), ("all", json!("all"))]
        {
            assert_eq!(typed.parse().map(|copies: Copies| Value::from(copies)), Ok(meant), "{typed}");
        }
        for typed in ["", "0", "-1", "1.5", "most", "All"] {
            assert!(typed.parse::<Copies>().is_err(), "{typed}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        assert_eq!(WriteOptions::default().body("x"), json!({ "message": "x" }));
        assert_eq!(WriteOptions::default().query(), "");
        let both = WriteOptions::copies(Copies::Number(2)).waiting(Duration::from_millis(1500));
        assert_eq!(both.body("x"), json!({ "message": "x", "w": 2, "timeout": 1.5 }));
        assert_eq!(both.query(), "?w=2&timeout=1.5");
        assert_eq!(WriteOptions::copies(Copies::All).query(), "?w=all");
    }

    #[test]
    fn keys_have_bounds() {
        assert!(parse_key("order-4711.a_b~c:d").is_ok());
        for wrong in ["", "a b", "a/b", "ü", &"k".repeat(129)] {
            assert!(parse_key(wrong).is_err(), "{wrong}");
        }
    }
}
