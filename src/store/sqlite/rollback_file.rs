//! *Rollback files*: what a node held and drops, because a later master's log differs from it, for people to look at.
//!
//! Each is made before the end of the log is dropped, and the node never reads it. It is named
//! `rollback-LOG-eEPOCH-FROM-TO.ndjson` after the beginning of the log's id, the latest epoch that the node had entered, and
//! the ids in it: under such a name, a node drops the same once more only if it ended in between. Each line is a message as
//! JSON, or an id that was refused.

use super::files::{Files, is_full, sync_directory};
use crate::protocol::{Epoch, Id, Slot};
use crate::store::{Store, StoreError, walk};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much of the log's id is in the name.
const LOG_DIGITS: usize = 8;
/// Bytes that are written at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Writes the slots of a store from an id on to a rollback file, durably. Gives its path, or `None` if there are none.
///
/// # Errors
/// If they cannot be read, or the file cannot be made durable.
pub(super) fn keep(store: &dyn Store, files: &Files, from: Id) -> Result<Option<PathBuf>, StoreError> {
    let last = store.last();
    if last < from {
        return Ok(None);
    }
    let identity = store.identity()?;
    let log = identity.as_ref().map(|identity| identity.lineage.log_id.to_string());
    let log = log.map_or_else(String::new, |log| format!("{}-", &log[..LOG_DIGITS]));
    let epoch = identity.map_or(Epoch::NONE, |identity| identity.lineage.history.latest());
    let path = files.directory.join(format!("rollback-{log}e{epoch}-{from}-{last}.ndjson"));
    let written = write(store, &path, from, last).and_then(|()| Ok(sync_directory(&files.directory)?));
    if written.is_err() {
        // A part of it is of no use, and may fill the disk that is full.
        let _ = fs::remove_file(&path);
    }
    match written {
        Ok(()) => Ok(Some(path)),
        Err(Failure::Store(error)) => Err(error),
        Err(Failure::File(error)) => {
            let sentence = format!("what has to be dropped cannot be kept in {}: {error}", path.display());
            Err(if is_full(&error) { StoreError::no_room(sentence) } else { StoreError::new(sentence) })
        }
    }
}

enum Failure {
    Store(StoreError),
    File(io::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::File(error)
    }
}

fn write(store: &dyn Store, path: &Path, from: Id, last: Id) -> Result<(), Failure> {
    let (file, mut written, mut lines) = (File::create(path)?, 0, Vec::new());
    let mut flush = |lines: &mut Vec<u8>| {
        file.write_all_at(lines, written)?;
        written += lines.len() as u64;
        lines.clear();
        Ok::<(), io::Error>(())
    };
    walk(store, from.previous(), last, |slot| {
        let line = match slot {
            Slot::Entry(entry) => json!({
                "id": entry.id.get(),
                "epoch": entry.epoch.get(),
                "timestamp_ms": entry.timestamp_ms,
                "message": &*entry.message,
                "key": entry.key.as_deref(),
            }),
            Slot::Refused(id) => json!({ "id": id.get(), "refused": true }),
        };
        writeln!(lines, "{line}")?;
        if lines.len() >= PIECE_BYTES {
            flush(&mut lines)?;
        }
        Ok::<(), Failure>(())
    })?;
    flush(&mut lines)?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use crate::protocol::{Entry, Epoch, Id, Slot, WritePart};
    use crate::store::{Disk, Store};
    use std::fs;
    use std::sync::Arc;

    #[test]
    fn what_is_dropped_is_kept_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let store = Disk::open(directory.path()).unwrap();
        let entry = |id| {
            let (id, epoch) = (Id::new(id), Epoch::new(1));
            let message = format!("\"{id}\"\n").into();
            Slot::Entry(Arc::new(Entry { id, epoch, timestamp_ms: 7, message, key: None, part: WritePart::WHOLE }))
        };
        store.append(&[entry(1), entry(2), entry(3), entry(4)]).unwrap();
        store.refuse(&[Id::new(3)]).unwrap();
        store.drop_from(Id::new(2)).unwrap();
        assert_eq!(store.last(), Id::new(1));
        let kept = fs::read_to_string(directory.path().join("rollback-e0-2-4.ndjson")).unwrap();
        let line =
            |id| format!("{{\"epoch\":1,\"id\":{id},\"key\":null,\"message\":\"\\\"{id}\\\"\\n\",\"timestamp_ms\":7}}");
        assert_eq!(kept.lines().collect::<Vec<_>>(), [line(2), "{\"id\":3,\"refused\":true}".to_owned(), line(4)]);
        store.drop_from(Id::new(2)).unwrap();
        let files = fs::read_dir(directory.path()).unwrap().filter_map(Result::ok);
        let rollback = files.filter(|file| file.file_name().to_string_lossy().contains("rollback")).count();
        assert_eq!(rollback, 1, "nothing was dropped");
    }
}
