//! Puts a secondary's copy of the log aside.

use super::Failure;
use crate::server::clock;
use crate::store::Claim;
use std::path::Path;

/// Moves everything into a directory below; nothing is deleted.
pub(super) fn discard(directory: &Path) -> Result<String, Failure> {
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", directory.display())));
    }
    let claim = Claim::take(directory).map_err(|error| Failure::Usage(error.to_string()))?;
    if !claim.holds_log() {
        return Err(Failure::Usage(format!("there is no log in {}", directory.display())));
    }
    let aside = directory.join(format!("discarded-{}", clock::now_ms()));
    claim.put_aside(&aside).map_err(Failure::failed)?;
    Ok(format!(
        "the copy is in {} now; start this secondary, and its master sends it everything again. \
         Remove the old copy when you no longer need it",
        aside.display()
    ))
}
