//! The data directory that a command works on.

use super::failure::Failure;
use crate::store::DirectoryLock;
use std::path::Path;

/// Locks a data directory.
pub(super) fn lock(directory: &Path) -> Result<DirectoryLock, Failure> {
    DirectoryLock::take(directory).map_err(|error| Failure::Usage(error.to_string()))
}

/// Locks a data directory that must hold a log.
pub(super) fn lock_log(directory: &Path) -> Result<DirectoryLock, Failure> {
    check_log(directory)?;
    lock(directory)
}

/// Fails if there is no log in a directory. Creates nothing there.
pub(super) fn check_log(directory: &Path) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", directory.display())));
    }
    if !DirectoryLock::holds_log(directory) {
        return Err(Failure::Usage(format!("there is no log in {}", directory.display())));
    }
    Ok(())
}
