//! What nodes and clients exchange as JSON. Nothing here sends or receives.
//!
//! - [`address`]: the addresses of nodes.
//! - [`backup`]: a log as a file.
//! - [`batch`]: several messages in one request.
//! - [`client`]: the API for people and programs, in the two dialects of a posted message.
//! - [`fault`]: injected faults.
//! - [`node`]: the calls between master and secondaries.
//! - [`server_id`]: the name of a node.
//! - [`timestamp`]: points in time as text.
//! - [`timing`]: how long the parts of a write took.
//! - [`token`]: the secrets of clients and nodes.
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

/// Reads a JSON object. Refuses anything else first, because serde takes an array for the fields in order.
///
/// # Errors
/// With a sentence that says what is wrong, and where.
pub fn read_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(json).map_err(|error| error.to_string()),
        Some(_) => Err("it must be a JSON object, which begins with { at line 1 column 1".to_owned()),
        None => Err("it is empty; send a JSON object".to_owned()),
    }
}
