//! The thread that works beside the appends: it moves the write-ahead log into the database, syncs the watermark file,
//! deletes what was trimmed, looks for room on a full disk, checks that the directory still leads to the same files, and
//! checks the older part of the log once.

use super::disk::Disk;
use super::files::WRITE_AHEAD_LOG_BYTES;
use super::holders::holders;
use super::schema;
use crate::process::threads::{self, lock};
use crate::protocol::Id;
use crate::store::{ReadLimit, Store, StoreError, Trouble};
use rusqlite::Connection;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The pause of the checkpointer between two passes.
const EVERY: Duration = Duration::from_millis(100);
/// Approximate number of bytes written after which the write-ahead log is moved into the database.
const CHECKPOINT_BYTES: u64 = WRITE_AHEAD_LOG_BYTES / 2;
/// How old the watermark file may become after a power loss.
const WATERMARK_SYNCED_EVERY: Duration = Duration::from_secs(1);
/// Without an append for this long, the write-ahead log is emptied and the watermark file synced.
const IDLE: Duration = Duration::from_millis(500);
/// How often the checkpointer looks for room on a full disk.
const ROOM_TRIED_EVERY: Duration = Duration::from_secs(1);
/// The most that is deleted at a time: so little that no write waits for it longer than for its own sync.
const RECLAIM_STEP: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };
const RECLAIM_STEP_WHEN_FULL: ReadLimit = ReadLimit { slots_max: 100_000, bytes_max: 64 << 20 };
/// How long it deletes what was trimmed at a time, and its pause between two steps.
const RECLAIM_AT_ONCE: Duration = Duration::from_millis(50);
const RECLAIM_PAUSE: Duration = Duration::from_millis(1);
/// How often it tries again to move a write-ahead log that it could not move as a whole.
const UNFINISHED_TRIED_EVERY: Duration = Duration::from_secs(1);
/// How often it checks that the directory still leads to the files of the log.
const PLACE_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// Size from which it warns of a write-ahead log that cannot be moved.
const HELD_BYTES_TOLD: u64 = 8 * WRITE_AHEAD_LOG_BYTES;
/// How often it repeats that warning.
const HELD_TOLD_EVERY: Duration = Duration::from_secs(60);

struct Checkpointer {
    connection: Connection,
    /// The ids after the first one, up to the second one, are not checked yet.
    unchecked: (Id, Id),
    room_tried: Instant,
    /// When free pages were last given back.
    shrunk: Instant,
    /// When the write-ahead log was last moved.
    tidied: Instant,
    /// When the watermark file was last synced.
    watermark_synced: Instant,
    /// Whether a part of the write-ahead log could not be moved then.
    is_unfinished: bool,
    /// When it last logged the warning of a write-ahead log that cannot be moved.
    held_told: Instant,
    place_looked_at: Instant,
}

/// Starts the checkpointer, which checks the slots up to `unchecked`.
pub(super) fn start(disk: &Arc<Disk>, unchecked: Id) -> Result<(), StoreError> {
    let connection = schema::open_writer(&disk.files.database(), disk.cache_bytes)?;
    let now = Instant::now();
    let unchecked = (Id::ZERO, unchecked);
    let mut checkpointer = Checkpointer {
        connection,
        unchecked,
        room_tried: now,
        shrunk: now,
        tidied: now,
        watermark_synced: now,
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
            checkpointer.reclaim(&disk);
            drop(disk);
            thread::sleep(EVERY);
        }
    };
    let started = threads::start_needed("checkpointer", work);
    started.map(|_| ()).map_err(|error| StoreError::new(format!("cannot start the checkpointer thread: {error}")))
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
            let mut moved = self.move_write_ahead_log(disk);
            // The ballast is room for that. Later the write-ahead log itself may take all of it.
            if moved.as_ref().is_err_and(schema::is_no_room)
                && disk.trouble().is_none()
                && disk.run_out_of_room().is_ok()
            {
                moved = self.move_write_ahead_log(disk);
            }
            self.is_unfinished = !matches!(moved, Ok(true));
            match moved {
                Ok(everything) => self.look_at_write_ahead_log(disk, everything),
                Err(error) if schema::is_no_room(&error) && disk.trouble().is_some() => {}
                Err(error) => log::warn!(
                    "the write-ahead log of {} could not be moved into it: {error}",
                    disk.files.database().display()
                ),
            }
        }
        if bytes >= CHECKPOINT_BYTES || quiet || self.watermark_synced.elapsed() >= WATERMARK_SYNCED_EVERY {
            self.watermark_synced = Instant::now();
            disk.sync_watermark_file_aside();
        }
    }

    /// The first pass moves almost everything beside the appends. The second one moves the few frames that came in
    /// meanwhile, while appends wait. Only when all of it was moved does SQLite begin that log anew instead of growing it.
    fn move_write_ahead_log(&self, disk: &Disk) -> rusqlite::Result<bool> {
        schema::checkpoint(&self.connection)?;
        let _nobody_appends = lock(&disk.writer);
        schema::checkpoint(&self.connection)
    }

    /// Warns of a write-ahead log that grows because another process reads an earlier state of the database. The
    /// warning names that process, because it has to end.
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
            "{} has grown to {} MiB, because an earlier state of the database is being read by {}; end that process",
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

    /// Ends [`Trouble::NoRoom`] if there is room for messages and for the ballast.
    fn try_for_room(&mut self, disk: &Disk) {
        if !matches!(disk.trouble(), Some(Trouble::NoRoom(_))) || self.room_tried.elapsed() < ROOM_TRIED_EVERY {
            return;
        }
        self.room_tried = Instant::now();
        if disk.file_size_limit.refusal(&disk.files, 0).is_some() {
            return;
        }
        // A write that runs out of room meanwhile would remove the ballast that is created here.
        let _nobody_writes = lock(&disk.writer);
        match disk.ballast.take() {
            Ok(true) => {
                lock(&disk.trouble).take_if(|trouble| matches!(trouble, Trouble::NoRoom(_)));
                log::info!(
                    "there is room again in {}; this node stores messages again",
                    disk.files.directory.display()
                );
            }
            Ok(false) => {}
            Err(error) => log::warn!("{} could not be created: {error}", disk.files.ballast().display()),
        }
    }

    /// Deletes what was trimmed, in small steps with pauses, so that no write waits for more than one of them. The pages are
    /// reused. On a full disk they are given back to the file system, because the ballast needs them there. No message is
    /// written then, and large steps take less of the room that is left.
    fn reclaim(&mut self, disk: &Disk) {
        let began = Instant::now();
        let is_full = || matches!(disk.trouble(), Some(Trouble::NoRoom(_)));
        while began.elapsed() < RECLAIM_AT_ONCE && !disk.closed.load(Ordering::Acquire) {
            let step = if is_full() { RECLAIM_STEP_WHEN_FULL } else { RECLAIM_STEP };
            match disk.reclaim(step) {
                Ok(true) => thread::sleep(RECLAIM_PAUSE),
                Ok(false) => break,
                // Without room even for that, the next pass tries again. Anything else is latched.
                Err(error) if error.is_no_room() => break,
                Err(error) => return log::error!("what was trimmed could not be deleted: {error}"),
            }
        }
        if is_full() && self.shrunk.elapsed() >= ROOM_TRIED_EVERY {
            self.shrunk = Instant::now();
            if let Err(error) = disk.shrink() {
                log::warn!("free space could not be given back: {error}");
            }
        }
    }

    /// Checks the next slots of the older part of the log. [`Disk::check`] latches and logs damage.
    fn check_on(&mut self, disk: &Disk) {
        let (after, through) = self.unchecked;
        let after = after.max(disk.base().id);
        if after >= through {
            return;
        }
        let checked = disk.check(after, through, &mut |_| {});
        if checked.is_err() && !matches!(disk.trouble(), Some(Trouble::Failed(_))) {
            // Reading failed without a sign of damage, so the next pass tries again.
            return;
        }
        let is_sound = checked.is_ok();
        self.unchecked.0 = checked.unwrap_or(through);
        if is_sound && self.unchecked.0 == through {
            log::info!("checked all of {} up to id {through}", disk.files.database().display());
        }
    }
}
