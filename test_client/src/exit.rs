//! The exit codes.

use std::process::ExitCode;

/// How a command ended. The help text documents the numbers, and scripts depend on them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// The command did its work.
    Success = 0,
    /// The cluster refused for good: nothing was appended.
    Refused = 1,
    /// The command line is invalid. `clap` uses the same number.
    Usage = 2,
    /// A node could not be reached, or what answered is not a node.
    Unreachable = 3,
    /// A message was sent, and it is unknown whether it was appended.
    Unknown = 4,
    /// The demonstration, the acceptance, the bench, torture or a check found a violation.
    Broken = 5,
}

impl Exit {
    /// The exit status of the process.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
