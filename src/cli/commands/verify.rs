//! Checks a data directory while no node uses it, and changes nothing there.

use super::directory::check_log;
use super::failure::Failure;
use super::progress::Progress;
use crate::process::text::messages;
use crate::protocol::Watermark;
use crate::store::{Examination, ReadLock, StoreError};
use crate::wire::backup::Tally;
use std::path::Path;

/// Reads everything, which checks it.
pub(super) fn verify(directory: &Path) -> Result<String, Failure> {
    check_log(directory)?;
    let lock = ReadLock::take(directory).map_err(|error| Failure::Usage(error.to_string()))?;
    summary(directory, lock).map_err(Failure::failed)
}

fn summary(directory: &Path, lock: ReadLock) -> Result<String, StoreError> {
    let examination = Examination::open(lock)?;
    let log = examination.identity().map_or_else(
        || "no log id yet".to_owned(),
        |identity| format!("log {} in epoch {}", identity.lineage.log_id, identity.lineage.history.latest()),
    );
    let (base, last) = (examination.base(), examination.last());
    let Watermark { decided, .. } = examination.watermark();
    let mut progress = Progress::new("checked", last);
    let (mut all, mut fingerprint) = (Tally::after(base), Some(base.fingerprint));
    examination.visit_all(|slot| {
        all.add(&slot.to_slot());
        if all.last <= decided {
            fingerprint = Some(all.fingerprint);
        }
        progress.show(all.last);
    })?;
    let not_examined = match examination.check_beneath()? {
        true => "",
        false => {
            "\nNot examined: pages of log.sqlite that log.sqlite-wal holds, too. The node may have been \
             writing them when it ended, and its next start writes them again"
        }
    };
    Ok(format!(
        "{}: {log}, ids {} to {last}: {}, {} refused; decided up to id {decided}.\n\
         Every checksum matches, and nothing is missing. The fingerprint of what is decided is {}{not_examined}",
        directory.display(),
        base.id.next(),
        messages(all.messages),
        all.refused,
        fingerprint.unwrap_or_default()
    ))
}
