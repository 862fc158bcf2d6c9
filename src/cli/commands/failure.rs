//! Why a command failed.

use std::fmt::Display;

/// Why a command failed, for its exit code.
pub(super) enum Failure {
    /// Its arguments or its configuration do not allow it, so it did nothing.
    Usage(String),
    /// It failed while it worked.
    Failed(String),
}

impl Failure {
    pub(super) fn failed(why: impl Display) -> Failure {
        Failure::Failed(why.to_string())
    }
}
