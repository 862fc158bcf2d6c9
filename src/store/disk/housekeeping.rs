//! What is done beside the appends, by a thread of its own: it moves the write-ahead log into the database, syncs the
//! floor, looks for room on a full disk, and reads the older part of the log once, which checks it.

use super::{Disk, lock, schema};
use crate::replication::Id;
use crate::store::{Store, StoreError, Trouble};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often the housekeeper looks around. What is younger than this may be missing from the floor after a power loss.
const EVERY: Duration = Duration::from_millis(100);
/// Bytes written, about, after which the write-ahead log is moved into the database.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// Without an append for this long, the write-ahead log is emptied and the floor synced.
const IDLE: Duration = Duration::from_millis(500);
/// How often a full disk is tried again.
const ROOM_TRIED_EVERY: Duration = Duration::from_secs(1);

struct Housekeeper {
    connection: Connection,
    /// Ids after the first, up to the second, are still to be checked.
    unchecked: (Id, Id),
    room_tried: Instant,
}

impl Disk {
    /// Starts the housekeeper, which still has to check the slots up to an id.
    pub(super) fn keep_house(self: &Arc<Disk>, unchecked: Id) -> Result<(), StoreError> {
        let connection = schema::open_writer(&self.files.database(), self.cache_bytes)?;
        let mut housekeeper = Housekeeper { connection, unchecked: (Id::ZERO, unchecked), room_tried: Instant::now() };
        let disk = Arc::downgrade(self);
        let work = move || {
            while let Some(disk) = disk.upgrade() {
                if disk.closed.load(Ordering::Acquire) {
                    break;
                }
                housekeeper.tidy(&disk);
                housekeeper.try_for_room(&disk);
                housekeeper.check_on(&disk);
                drop(disk);
                thread::sleep(EVERY);
            }
        };
        let started = thread::Builder::new().name("housekeeper".to_owned()).spawn(work);
        started.map(|_| ()).map_err(|error| StoreError::new(format!("no thread for the store: {error}")))
    }

    /// Syncs the floor where nobody waits for it: a failure is latched, and logged.
    pub(super) fn sync_floor_aside(&self) {
        if let Err(error) = self.sync_floor() {
            log::error!("{error}");
        }
    }
}

impl Housekeeper {
    fn tidy(&self, disk: &Disk) {
        let (bytes, quiet) = {
            let activity = lock(&disk.activity);
            (activity.bytes_since_checkpoint, activity.last_write.elapsed() > IDLE)
        };
        if bytes >= CHECKPOINT_BYTES || (quiet && bytes > 0) {
            lock(&disk.activity).bytes_since_checkpoint = 0;
            // The first pass moves almost everything beside the appends. What came in meanwhile is moved while they wait,
            // a few frames and a sync: only then does SQLite begin its write-ahead log anew instead of growing it.
            let moved = schema::checkpoint(&self.connection).and_then(|()| {
                let _nobody_appends = lock(&disk.writer);
                schema::checkpoint(&self.connection)
            });
            if let Err(error) = moved {
                log::warn!("{} could not be tidied: {error}", disk.files.database().display());
            }
        }
        if bytes >= CHECKPOINT_BYTES || quiet {
            disk.sync_floor_aside();
        }
    }

    /// Takes messages again when there is room for them, and for the reserve.
    fn try_for_room(&mut self, disk: &Disk) {
        if !matches!(disk.trouble(), Some(Trouble::NoRoom(_))) || self.room_tried.elapsed() < ROOM_TRIED_EVERY {
            return;
        }
        self.room_tried = Instant::now();
        match disk.reserve.take() {
            Ok(true) => {
                lock(&disk.trouble).take_if(|trouble| matches!(trouble, Trouble::NoRoom(_)));
                log::info!("there is room again in {}; messages are stored", disk.files.directory.display());
            }
            Ok(false) => {}
            Err(error) => log::warn!("{} could not be made: {error}", disk.files.reserve().display()),
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
