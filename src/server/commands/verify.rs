//! Checks a data directory while no node uses it.

use super::progress::Progress;
use super::{Failure, claim_log};
use crate::server::text::messages;
use crate::store::{Disk, Store, StoreError, Watermark};
use crate::wire::backup::Tally;
use std::path::Path;

/// Reads everything; reading checks it.
pub(super) fn verify(directory: &Path) -> Result<String, Failure> {
    drop(claim_log(directory)?);
    summary(directory).map_err(Failure::failed)
}

fn summary(directory: &Path) -> Result<String, StoreError> {
    let store = Disk::open(directory)?;
    let log = store.identity()?.map_or_else(
        || "no log of a master of ours".to_owned(),
        |identity| format!("log {} in epoch {}", identity.log_id, identity.history.latest()),
    );
    let last = store.last();
    let Watermark { decided, .. } = store.watermark();
    let mut progress = Progress::new("checked", last);
    let (mut all, mut fingerprint) = (Tally::default(), None);
    while all.last < last {
        store.check(all.last, last, &mut |slot| {
            all.add(&slot.to_slot());
            if all.last <= decided {
                fingerprint = Some(all.fingerprint);
            }
            progress.show(all.last);
        })?;
    }
    Ok(format!(
        "{}: {log}, ids up to {last}: {}, {} refused; decided up to id {decided}.\n\
         Every checksum matches, and nothing is missing. The fingerprint of what is decided is {}",
        directory.display(),
        messages(all.messages),
        all.refused,
        fingerprint.unwrap_or_default()
    ))
}
