//! What travels as JSON, and what it means: nothing here sends or receives.
//!
//! - [`address`]: where a node is reached.
//! - [`backup`]: a log as a file.
//! - [`batch`]: several messages in one request.
//! - [`client`]: the API for people and programs, in the two dialects of a posted message.
//! - [`fault`]: what a node is asked to do wrong, for demonstrations and tests.
//! - [`node`]: what master and secondaries say to each other.
//! - [`server_id`]: the name of a node.
//! - [`timestamp`]: how a moment is written.
//! - [`timing`]: how long the parts of a write took.
//! - [`token`]: secrets that clients and nodes show.
//! - [`trace`]: where the time of one write went.

pub mod address;
pub mod backup;
pub mod batch;
pub mod client;
pub mod fault;
pub mod hexadecimal;
pub mod node;
pub mod server_id;
pub mod timestamp;
pub mod timing;
pub mod token;
pub mod trace;

use serde::de::DeserializeOwned;

/// Reads a JSON object. Anything else is refused first, because an array would be taken for the fields in order.
///
/// # Errors
/// With what is wrong, and where.
pub fn read_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(json).map_err(|error| error.to_string()),
        Some(_) => Err("it must be a JSON object, which begins with { at line 1 column 1".to_owned()),
        None => Err("it is empty; send a JSON object".to_owned()),
    }
}
