//! What is done beside the appends, by a thread of its own: it moves the write-ahead log into the database, syncs the
//! floor, looks for room on a full disk and whether the directory is still the same, and reads the older part of the log
//! once, which checks it.

use super::disk::Disk;
use super::holders::holders;
use super::schema;
use crate::process::threads::{self, lock};
use crate::protocol::Id;
use crate::store::{Store, StoreError, Trouble};
use rusqlite::Connection;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often the checkpointer looks around. What is younger than this may be missing from the watermark file after a power loss.
const EVERY: Duration = Duration::from_millis(100);
/// Bytes written, about, after which the write-ahead log is moved into the database.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// Without an append for this long, the write-ahead log is emptied and the watermark file synced.
const IDLE: Duration = Duration::from_millis(500);
/// How often a full disk is tried again.
const ROOM_TRIED_EVERY: Duration = Duration::from_secs(1);

/// How often a write-ahead log is tried again that could not be moved as a whole.
const UNFINISHED_TRIED_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the directory still leads to the files of the log.
const PLACE_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// Size from which the node warns of a write-ahead log that cannot be moved: sixteen times what it normally has,
const HELD_BYTES_TOLD: u64 = 64 << 20;
/// and how often.
const HELD_TOLD_EVERY: Duration = Duration::from_secs(60);

struct Checkpointer {
    connection: Connection,
    /// Ids after the first, up to the second, are still to be checked.
    unchecked: (Id, Id),
    room_tried: Instant,
    /// When the write-ahead log was last moved,
    tidied: Instant,
    /// and whether something of it was left.
    is_unfinished: bool,
    /// When the last warning of a write-ahead log that cannot be moved was logged.
    held_told: Instant,
    place_looked_at: Instant,
}

/// Starts the checkpointer, which still has to check the slots up to an id.
pub(super) fn start(disk: &Arc<Disk>, unchecked: Id) -> Result<(), StoreError> {
    let connection = schema::open_writer(&disk.files.database(), disk.cache_bytes)?;
    let now = Instant::now();
    let unchecked = (Id::ZERO, unchecked);
    let mut checkpointer = Checkpointer {
        connection,
        unchecked,
        room_tried: now,
        tidied: now,
        is_unfinished: false,
        held_told: now,
        place_looked_at: now,
    };
    let disk = Arc::downgrade(disk);
    let work = move || {
        while let Some(disk) = disk.upgrade() {
            if disk.closed.load(Ordering::Acquire) {
                break;
            }
            if checkpointer.place_looked_at.elapsed() >= PLACE_LOOKED_AT_EVERY {
                checkpointer.place_looked_at = Instant::now();
                disk.look_at_place();
            }
            checkpointer.tidy(&disk);
            checkpointer.try_for_room(&disk);
            checkpointer.check_on(&disk);
            drop(disk);
            thread::sleep(EVERY);
        }
    };
    let started = threads::start_needed("checkpointer", work);
    started.map(|_| ()).map_err(|error| StoreError::new(format!("no thread for the store: {error}")))
}

impl Checkpointer {
    fn tidy(&mut self, disk: &Disk) {
        let (bytes, quiet) = {
            let activity = lock(&disk.activity);
            (activity.bytes_since_checkpoint, activity.last_write.elapsed() > IDLE)
        };
        let is_again = self.is_unfinished && self.tidied.elapsed() < UNFINISHED_TRIED_EVERY;
        if (bytes >= CHECKPOINT_BYTES || (quiet && (bytes > 0 || self.is_unfinished))) && !is_again {
            lock(&disk.activity).bytes_since_checkpoint = 0;
            self.tidied = Instant::now();
            // The first pass moves almost everything beside the appends. What came in meanwhile is moved while they wait,
            // a few frames and a sync: only then does SQLite begin its write-ahead log anew instead of growing it.
            let moved = schema::checkpoint(&self.connection).and_then(|_| {
                let _nobody_appends = lock(&disk.writer);
                schema::checkpoint(&self.connection)
            });
            self.is_unfinished = !matches!(moved, Ok(true));
            match moved {
                Ok(everything) => self.look_at_write_ahead_log(disk, everything),
                Err(error) => log::warn!("{} could not be tidied: {error}", disk.files.database().display()),
            }
        }
        if bytes >= CHECKPOINT_BYTES || quiet {
            disk.sync_watermark_file_aside();
        }
    }

    /// A write-ahead log that cannot be moved grows: another process reads the database as it was before. The warning names
    /// it, because only its end helps.
    fn look_at_write_ahead_log(&mut self, disk: &Disk, everything_was_moved: bool) {
        let path = disk.files.write_ahead_log();
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        if everything_was_moved || bytes < HELD_BYTES_TOLD {
            if lock(&disk.warning).take().is_some() {
                log::info!("{} can be moved into the database again", path.display());
            }
            return;
        }
        let warning = format!(
            "{} has grown to {} MiB, because the database is read as it was before by {}; end that process",
            path.display(),
            bytes >> 20,
            holders(&disk.open_files.others_with_database())
        );
        let is_new = lock(&disk.warning).replace(warning.clone()).is_none();
        if is_new || self.held_told.elapsed() >= HELD_TOLD_EVERY {
            self.held_told = Instant::now();
            log::warn!("{warning}");
        }
    }

    /// Takes messages again when there is room for them, and for the ballast.
    fn try_for_room(&mut self, disk: &Disk) {
        if !matches!(disk.trouble(), Some(Trouble::NoRoom(_))) || self.room_tried.elapsed() < ROOM_TRIED_EVERY {
            return;
        }
        self.room_tried = Instant::now();
        if disk.file_size_limit.refusal(&disk.files, 0).is_some() {
            return;
        }
        // A write that runs out of room meanwhile would give up what is taken here.
        let _nobody_writes = lock(&disk.writer);
        match disk.ballast.take() {
            Ok(true) => {
                lock(&disk.trouble).take_if(|trouble| matches!(trouble, Trouble::NoRoom(_)));
                log::info!("there is room again in {}; messages are stored", disk.files.directory.display());
            }
            Ok(false) => {}
            Err(error) => log::warn!("{} could not be made: {error}", disk.files.ballast().display()),
        }
    }

    /// Reads on in the older part of the log. Damage there is latched and logged by the reading.
    fn check_on(&mut self, disk: &Disk) {
        let (after, through) = self.unchecked;
        if after >= through {
            return;
        }
        let checked = disk.check(after, through, &mut |_| {});
        if checked.is_err() && !matches!(disk.trouble(), Some(Trouble::Failed(_))) {
            // Not read, but not known to be damaged: it is tried again.
            return;
        }
        let is_sound = checked.is_ok();
        self.unchecked.0 = checked.unwrap_or(through);
        if is_sound && self.unchecked.0 == through {
            log::info!("all of {} was read and checked, up to id {through}", disk.files.database().display());
        }
    }
}
