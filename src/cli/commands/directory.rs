//! The data directory that a command works on.

use super::failure::Failure;
use crate::store::DirectoryLock;
use std::path::Path;

/// Takes a data directory for this process.
pub(super) fn lock(directory: &Path) -> Result<DirectoryLock, Failure> {
    DirectoryLock::take(directory).map_err(|error| Failure::Usage(error.to_string()))
}

/// Takes a data directory that must hold a log already.
pub(super) fn lock_log(directory: &Path) -> Result<DirectoryLock, Failure> {
    check_log(directory)?;
    lock(directory)
}

/// There must be a log in a directory already. Nothing is made there.
pub(super) fn check_log(directory: &Path) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", directory.display())));
    }
    if !DirectoryLock::holds_log(directory) {
        return Err(Failure::Usage(format!("there is no log in {}", directory.display())));
    }
    Ok(())
}
