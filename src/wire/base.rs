//! What was trimmed of a log, as JSON.

use crate::protocol::{Base, Fingerprint, Id};
use serde::{Deserialize, Serialize};

/// What [`Base`] says: its id, its fingerprint as 64 hexadecimal digits, and its messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaseBody {
    id: u64,
    fingerprint: String,
    messages: u64,
}

/// `None` if nothing was trimmed.
pub(super) fn body_of(base: Base) -> Option<BaseBody> {
    (base.id > Id::ZERO).then(|| BaseBody {
        id: base.id.get(),
        fingerprint: base.fingerprint.to_string(),
        messages: base.messages,
    })
}

/// The base of a log of which this was trimmed.
///
/// # Errors
/// If it is no base.
pub(super) fn base_of(body: Option<BaseBody>) -> Result<Base, String> {
    let Some(BaseBody { id, fingerprint, messages }) = body else { return Ok(Base::default()) };
    match Fingerprint::parse(&fingerprint) {
        Some(fingerprint) if messages <= id && id < u64::MAX => Ok(Base { id: Id::new(id), fingerprint, messages }),
        _ => Err(format!("its base after id {id} is not valid")),
    }
}
