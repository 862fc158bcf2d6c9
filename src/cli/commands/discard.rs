//! Moves a secondary's copy of the log aside.

use super::directory::lock_log;
use super::failure::Failure;
use crate::process::clock;
use std::path::Path;

/// Moves the log into a subdirectory. Nothing is deleted.
pub(super) fn discard(directory: &Path) -> Result<String, Failure> {
    let lock = lock_log(directory)?;
    let aside = directory.join(format!("discarded-{}", clock::now_ms()));
    lock.put_aside(&aside).map_err(Failure::failed)?;
    Ok(format!(
        "the copy is in {} now; start this secondary, and its master sends it everything again. \
         Remove the old copy when you no longer need it",
        aside.display()
    ))
}
