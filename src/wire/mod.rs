//! What nodes and clients exchange as JSON. Nothing here sends or receives.
//!
//! - [`address`]: the addresses of nodes.
//! - [`backup`]: a log as a file.
//! - [`batch`]: several messages in one request.
//! - [`client`]: the API for people and programs, in the two dialects of a posted message.
//! - [`escapes`]: percent signs in targets and forms.
//! - [`fault`]: injected faults.
//! - [`node`]: the calls between master and secondaries.
//! - [`succession`]: what a candidate and the voters say to each other.
//! - [`position`]: where in which log.
//! - [`server_id`]: the name of a node.
//! - [`timestamp`]: points in time as text.
//! - [`timing`]: how long the parts of a write took.
//! - [`token`]: the secrets of clients and nodes.
//! - [`trace`]: where the time of one write went.

pub mod address;
pub mod backup;
mod base;
pub mod batch;
pub mod client;
pub mod escapes;
pub mod fault;
pub mod hexadecimal;
mod lineage;
pub mod node;
mod object;
pub mod position;
mod roster;
pub mod server_id;
pub mod succession;
pub mod timestamp;
pub mod timing;
pub mod token;
pub mod trace;
pub mod trim;

use serde::Deserializer;
use serde::de::{DeserializeOwned, Error, Visitor};
use std::fmt;
use std::sync::Arc;

/// Whether a field has its default, and is left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a JSON object. Refuses anything else first, because serde takes an array for the fields in order.
///
/// # Errors
/// With a sentence that says what is wrong, and where.
pub fn read_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(json).map_err(|error| explain(&error, json)),
        Some(_) if json.starts_with(BYTE_ORDER_MARK) => {
            Err("it begins with a byte order mark; send UTF-8 without one".to_owned())
        }
        Some(_) => Err("it must be a JSON object, which begins with { at line 1 column 1".to_owned()),
        None => Err("it is empty; send a JSON object".to_owned()),
    }
}

/// Reads a string. What `serde` does for an `Arc<str>` copies the text twice.
pub(crate) fn shared_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Arc<str>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
            Ok(text.into())
        }
    }

    deserializer.deserialize_str(Text)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with JSON, in words that say what to send. Where the library knows of a character only that it is none,
/// this says why.
pub(crate) fn explain(error: &serde_json::Error, json: &[u8]) -> String {
    let sentence = error.to_string();
    if let Err(not_utf8) = std::str::from_utf8(json) {
        let byte = json.get(not_utf8.valid_up_to()).copied().unwrap_or_default();
        return format!(
            "it is not UTF-8: byte {} is 0x{byte:02x}, which may be Latin-1; send UTF-8 ({sentence})",
            not_utf8.valid_up_to() + 1
        );
    }
    let is_half = ["surrogate", "hex escape"].iter().any(|words| sentence.contains(words));
    if is_half {
        return format!(
            "an escape is half of a surrogate pair, or cut off; send both halves, or the character ({sentence})"
        );
    }
    sentence
}
