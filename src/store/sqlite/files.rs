//! The files of a data directory: their paths, operations on them as files, and sentences about them.

use super::holders::{holders, others_with_file};
use super::schema;
use crate::store::{StoreError, Trouble};
use rusqlite::Connection;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Size of the write-ahead log from the start on, if the disk has plenty of room. It is moved into the database when half
/// of it was written.
pub(super) const WRITE_AHEAD_LOG_BYTES: u64 = 8 << 20;
/// A disk with less room than this keeps it for messages.
const ROOM_BYTES_PLENTY: u64 = 16 * WRITE_AHEAD_LOG_BYTES;
/// How long a start waits for processes that read the database.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the log names those processes meanwhile.
const MOVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The paths of all files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
}

impl Files {
    pub(super) fn database(&self) -> PathBuf {
        self.directory.join("log.sqlite")
    }

    pub(super) fn write_ahead_log(&self) -> PathBuf {
        self.directory.join("log.sqlite-wal")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.directory.join("log.sqlite-shm")
    }

    pub(super) fn watermark_file(&self) -> PathBuf {
        self.directory.join("watermark")
    }

    pub(super) fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// The files that make up the log. The watermark file is the last.
    pub(super) fn of_the_log(&self) -> [PathBuf; 4] {
        [self.database(), self.write_ahead_log(), self.index(), self.watermark_file()]
    }

    /// What to do about a log that is damaged or incomplete.
    pub(super) const WAY_OUT: &str = "A secondary fetches everything again from its master after \"secondary discard\"; a \
                           master is restored from a backup or from a secondary with \"master restore\"";

    pub(super) fn full(&self) -> Trouble {
        Trouble::NoRoom(format!("the disk is full: there is no room in {}", self.directory.display()))
    }

    /// Moves the write-ahead log into the database, which syncs both. Waits for processes that read an earlier state of
    /// the database, because SQLite cannot move that log before they end.
    pub(super) fn make_durable(&self, connection: &Connection) -> Result<(), StoreError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !schema::empty_write_ahead_log(connection, MOVE_TIMEOUT).map_err(|error| self.unusable(&error))? {
            let readers = holders(&others_with_file(&self.database()));
            let why = format!(
                "{} is being read by {readers}, so what its write-ahead log holds cannot be made durable",
                self.database().display()
            );
            if Instant::now() > deadline {
                return Err(StoreError::new(format!("{why}. End that process, and start this node again")));
            }
            log::warn!("{why}; waiting for that process to end");
            thread::sleep(MOVE_TIMEOUT);
        }
        Ok(())
    }

    /// Allocates the write-ahead log in advance, if it is empty and the disk has plenty of room. To sync a file that grows
    /// takes half as long again. SQLite takes zeroes for an empty log, and holds no lock on this file that would end when
    /// it is closed here.
    ///
    /// # Errors
    /// If that fails for another reason than a full disk, or a file system that cannot do it.
    pub(super) fn allocate_write_ahead_log(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.write_ahead_log())?;
        let disk = rustix::fs::fstatvfs(&file)?;
        // Another process may be reading the latest state in a log that is not empty.
        if file.metadata()?.len() > 0 || disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES_PLENTY {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, WRITE_AHEAD_LOG_BYTES).map_err(io::Error::from) {
            Err(error) if is_full(&error) || error.kind() == io::ErrorKind::Unsupported => file.set_len(0),
            allocated => allocated,
        }
    }

    pub(super) fn unusable(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::new(format!("{} cannot be used: {error}", self.database().display()))
    }

    pub(super) fn damaged(&self, why: &str) -> StoreError {
        StoreError::new(format!("{} is damaged: {why}. {}", self.database().display(), Files::WAY_OUT))
    }
}

/// Makes the names of a directory's files durable. That includes the directory and those above it, because a process
/// that was killed may have created them without a sync.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = directory.canonicalize()?;
    for ancestor in directory.ancestors() {
        match File::open(ancestor).and_then(|file| file.sync_all()) {
            Err(error) if !is_not_ours_to_sync(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a directory belongs to another user, or to a file system that cannot sync it.
fn is_not_ours_to_sync(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Whether a file could not be written because there is no room for it.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

pub(super) fn in_directory(directory: &Path, error: &io::Error) -> StoreError {
    StoreError::new(format!("the data directory {} cannot be used: {error}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_an_empty_write_ahead_log_is_allocated_in_advance() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files { directory: directory.path().to_owned() };
        fs::write(files.write_ahead_log(), "frames").unwrap();
        files.allocate_write_ahead_log().unwrap();
        assert_eq!(fs::read(files.write_ahead_log()).unwrap(), b"frames");

        fs::write(files.write_ahead_log(), "").unwrap();
        files.allocate_write_ahead_log().unwrap();
        let allocated = fs::read(files.write_ahead_log()).unwrap();
        assert!(allocated.len() as u64 == WRITE_AHEAD_LOG_BYTES && allocated.iter().all(|&byte| byte == 0));
    }
}
