//! Numbers that travel as hexadecimal text, because JSON numbers lose digits beyond 2^53.

use crate::protocol::{CopyId, Incarnation, LogId};
use serde::{Deserialize, Serialize};

/// A log id as JSON.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct LogIdText(#[serde(serialize_with = "text::log_id", deserialize_with = "text::read_log_id")] pub LogId);

/// A copy id as JSON.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct CopyIdText(#[serde(serialize_with = "text::copy_id", deserialize_with = "text::read_copy_id")] pub CopyId);

/// An incarnation as JSON.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct IncarnationText(
    #[serde(serialize_with = "text::incarnation", deserialize_with = "text::read_incarnation")] pub Incarnation,
);

mod text {
    use super::{CopyId, Incarnation, LogId};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn log_id<S: Serializer>(log_id: &LogId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(log_id)
    }

    pub(super) fn read_log_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogId, D::Error> {
        let text = String::deserialize(deserializer)?;
        LogId::parse(&text).ok_or_else(|| D::Error::custom("a log id has 32 hexadecimal digits"))
    }

    pub(super) fn copy_id<S: Serializer>(copy: &CopyId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(copy)
    }

    pub(super) fn read_copy_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CopyId, D::Error> {
        let text = String::deserialize(deserializer)?;
        CopyId::parse(&text).ok_or_else(|| D::Error::custom("a copy id has 16 hexadecimal digits"))
    }

    pub(super) fn incarnation<S: Serializer>(incarnation: &Incarnation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(incarnation)
    }

    pub(super) fn read_incarnation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Incarnation, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map(Incarnation::new)
            .map_err(|_| D::Error::custom("an incarnation has up to 16 hexadecimal digits"))
    }
}
