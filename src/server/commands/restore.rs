//! Makes a data directory from a backup, or from a node that runs.
//!
//! The log is made in a directory below, checked against the fingerprint, and moved to its place as the last step. If
//! that is cut off, what is there is refused by the next start, and restoring can be done again.

use super::Failure;
use super::backup::{BackupReader, from_node};
use super::progress::Progress;
use crate::replication::{Id, Slot};
use crate::server::clock;
use crate::store::{Claim, Disk, Identity, KnownMember, Store, StoreError, Watermark};
use crate::wire::address::NodeUrl;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Slots, and bytes of text, that are written at a time.
const BATCH_SLOTS: usize = 10_000;
const BATCH_BYTES: usize = 4 << 20;

/// Restores from a file or from a node.
pub(super) fn restore(source: &str, directory: &Path) -> Result<String, Failure> {
    let claim = Claim::take(directory).map_err(|error| Failure::Usage(error.to_string()))?;
    if claim.holds_log() {
        return Err(Failure::Usage(format!(
            "{} holds a log already; move it away first, for example to {}.old",
            directory.display(),
            directory.display()
        )));
    }
    if source.starts_with("http://") {
        let node = NodeUrl::parse(source).map_err(Failure::Usage)?;
        make(&mut from_node(&node)?, &claim)
    } else {
        let file = File::open(source).map_err(|error| Failure::Usage(format!("{source} cannot be read: {error}")))?;
        let mut backup =
            BackupReader::new(BufReader::new(file)).map_err(|why| Failure::Failed(format!("{source}: {why}")))?;
        make(&mut backup, &claim)
    }
}

fn make(backup: &mut BackupReader<impl BufRead>, claim: &Claim) -> Result<String, Failure> {
    let unfinished = claim.directory().join("restoring");
    let removed = match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    removed.map_err(|error| Failure::Failed(format!("{} is in the way: {error}", unfinished.display())))?;
    let written = write(backup, &unfinished).and_then(|()| claim.adopt(&unfinished).map_err(|error| error.to_string()));
    if let Err(why) = written {
        let _ = fs::remove_dir_all(&unfinished);
        return Err(Failure::Failed(format!("nothing was restored: {why}")));
    }
    let next = if backup.head.secondaries.is_empty() {
        "\nNo secondary is on record in it: start the master with SECONDARIES, or let them register before you write."
    } else {
        ""
    };
    Ok(format!("restored {} into {}{next}", backup.summary(), claim.directory().display()))
}

fn write(backup: &mut BackupReader<impl BufRead>, directory: &Path) -> Result<(), String> {
    let store = Disk::open(directory).map_err(|error| error.to_string())?;
    let mut progress = Progress::new("restored", backup.head.through());
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let (mut decided, mut visible) = (Id::ZERO, 0);
    let failed = |error: StoreError| error.to_string();
    store.set_identity(&identity(backup)).map_err(failed)?;
    while let Some(slot) = backup.next()? {
        decided = slot.id();
        if let Slot::Entry(entry) = &slot {
            visible += 1;
            bytes += entry.message.len();
        }
        batch.push(slot);
        if batch.len() == BATCH_SLOTS || bytes >= BATCH_BYTES {
            store.append(&batch).map_err(failed)?;
            batch.clear();
            bytes = 0;
            progress.show(decided);
        }
    }
    store.append(&batch).map_err(failed)?;
    store.note_watermark(Watermark { decided, visible }).map_err(failed)?;
    store.close();
    Ok(())
}

fn identity<R>(backup: &BackupReader<R>) -> Identity {
    let member =
        |line: &crate::wire::backup::SecondaryLine| KnownMember { url: line.url.clone(), name: line.server_id.clone() };
    Identity {
        log_id: backup.head.log_id(),
        master: clock::random_incarnation(),
        history: backup.head.history(),
        members: backup.head.secondaries.iter().map(member).collect(),
    }
}
