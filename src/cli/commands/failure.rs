//! Why a command did not do what it should.

use std::fmt::Display;

/// How a command ends that did not do what it should.
pub(super) enum Failure {
    /// It was asked in vain: nothing was tried.
    Usage(String),
    /// It was tried, and something is wrong.
    Failed(String),
}

impl Failure {
    pub(super) fn failed(why: impl Display) -> Failure {
        Failure::Failed(why.to_string())
    }
}
