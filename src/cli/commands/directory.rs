//! The data directory that a command works on.

use super::failure::Failure;
use crate::store::Claim;
use std::path::Path;

/// Takes a data directory for this process.
pub(super) fn claim(directory: &Path) -> Result<Claim, Failure> {
    Claim::take(directory).map_err(|error| Failure::Usage(error.to_string()))
}

/// Takes a data directory that must hold a log already.
pub(super) fn claim_log(directory: &Path) -> Result<Claim, Failure> {
    check_log(directory)?;
    claim(directory)
}

/// There must be a log in a directory already. Nothing is made there.
pub(super) fn check_log(directory: &Path) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", directory.display())));
    }
    if !Claim::holds_log(directory) {
        return Err(Failure::Usage(format!("there is no log in {}", directory.display())));
    }
    Ok(())
}
