//! Why a command failed.

use std::fmt::Display;

/// How a command fails.
pub(super) enum Failure {
    /// It cannot be tried as it was given.
    Usage(String),
    /// It was tried, and failed or found something wrong.
    Failed(String),
}

impl Failure {
    pub(super) fn failed(why: impl Display) -> Failure {
        Failure::Failed(why.to_string())
    }
}
