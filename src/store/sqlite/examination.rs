//! Reads a data directory that no node uses, and changes nothing in it, neither contents nor times. So another user can
//! do it, and the file system may be mounted read-only.
//!
//! SQLite can read a database with its write-ahead log without writing if no other process is there: without locks
//! (`unix-none`), and with the index of that log in its own memory (`locking_mode = EXCLUSIVE`).

use super::directory_lock::{self, ReadLock};
use super::files::in_directory;
use super::promise::{Held, check_promised};
use super::schema::{self, CHECK_STEP};
use super::watermark_file;
use super::write_ahead_log::{self, Beneath};
use crate::protocol::{Base, Id, SlotRef};
use crate::store::{Identity, StoreError, Watermark};
use rusqlite::Connection;
use std::fs;

/// An open data directory. No node starts on it meanwhile.
pub struct Examination {
    lock: ReadLock,
    reader: Connection,
    base: Base,
    last: Id,
    watermark: Watermark,
    identity: Option<Identity>,
}

impl Examination {
    /// Opens a data directory and checks it against its watermark file.
    ///
    /// # Errors
    /// If it cannot be read, or if something is damaged or missing.
    pub fn open(lock: ReadLock) -> Result<Examination, StoreError> {
        let files = &lock.files;
        let directory = files.directory.as_path();
        directory_lock::check_finished(directory)?;
        let found = watermark_file::read(&files.watermark_file()).map_err(|error| in_directory(directory, &error))?;
        let has_frames = fs::metadata(files.write_ahead_log()).is_ok_and(|file| file.len() > 0);
        let reader = schema::open_for_examination(&files.database(), has_frames)?;
        let Held { base, last, identity } = check_promised(files, found, &reader)?;
        let watermark = found.unwrap_or_default().watermark(base);
        Ok(Examination { reader, base, last, watermark, identity, lock })
    }

    /// The identity of the log.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// What was trimmed of the log.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// The last id held.
    #[must_use]
    pub fn last(&self) -> Id {
        self.last
    }

    /// The watermark up to which the node showed messages.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Visits every slot after the base in order, which checks it.
    ///
    /// # Errors
    /// If something is damaged, or cannot be read.
    pub fn visit_all(&self, mut each: impl FnMut(SlotRef<'_>)) -> Result<(), StoreError> {
        check_all(&self.reader, self.base.id, self.last, &mut each)
            .map_err(|damage| self.lock.files.damaged(&damage.to_string()))
    }

    /// Checks pages of the database that readers do not see, because the write-ahead log holds them, too. Gives whether
    /// all of them could be checked.
    ///
    /// # Errors
    /// If something there is damaged, or cannot be read.
    pub fn check_beneath(&self) -> Result<bool, StoreError> {
        let beneath = write_ahead_log::examine(&self.lock.files);
        let beneath = beneath.map_err(|error| in_directory(&self.lock.files.directory, &error))?;
        match beneath.map_err(|why| self.lock.files.damaged(&why))? {
            Beneath::Nothing => Ok(true),
            Beneath::Whole => {
                let alone = schema::open_for_examination(&self.lock.files.database(), false)?;
                let checked = schema::base(&alone).and_then(|base| {
                    let last = schema::last(&alone, base)?;
                    check_all(&alone, base.id, last, &mut |_| {})
                });
                checked.map(|()| true).map_err(|damage| {
                    self.lock.files.damaged(&format!(
                        "{damage}, in pages that readers do not see, because {} still holds them",
                        self.lock.files.write_ahead_log().display()
                    ))
                })
            }
            Beneath::Mixed => Ok(false),
        }
    }
}

fn check_all(reader: &Connection, base: Id, last: Id, each: &mut dyn FnMut(SlotRef<'_>)) -> Result<(), schema::Damage> {
    let mut checked = base;
    while checked < last {
        checked = schema::check(reader, checked, last, CHECK_STEP, each)?;
    }
    Ok(())
}
