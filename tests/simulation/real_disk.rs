//! The real store on real files, through simulated crashes.

use crate::world::disk::{CrashKind, SimulatedDisk};
use replicated_log::protocol::{Base, CopyId, Entry, Id, KeyedWrite, Slot, SlotRef, Watermark};
use replicated_log::store::{Disk, Identity, ReadLimit, Store, StoreError, Trouble};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// A data directory. A crash abandons the open store and goes on with a copy of its files. After a kill they are as the
/// process left them to the system. After a power loss the watermark file is as it was synced last: the store leaves
/// nothing else unsynced.
pub(crate) struct RealDisk {
    directory: TempDir,
    store: Option<Watched>,
}

impl RealDisk {
    pub(crate) fn empty() -> RealDisk {
        RealDisk { directory: scratch(), store: None }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// In memory, where the system has such a place: the tests need no disk that keeps its content.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}

impl fmt::Debug for RealDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.data().display())
    }
}

impl SimulatedDisk for RealDisk {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("a process has it open")
    }

    fn crash(&mut self, kind: CrashKind) {
        let Some(store) = self.store.take() else { return };
        let next = scratch();
        if kind != CrashKind::DiskLost {
            let data = next.path().join("data");
            fs::create_dir(&data).expect("a directory");
            for file in ["log.sqlite", "log.sqlite-wal", "log.sqlite-shm", "watermark"] {
                let _ = fs::copy(self.data().join(file), data.join(file));
            }
            if let CrashKind::PowerLost { notes: 1.. } = kind {
                fs::write(data.join("watermark"), &*store.synced()).expect("a copy of the watermark file");
            }
        }
        store.disk.close();
        self.directory = next;
    }

    fn open(&mut self) -> Result<(), String> {
        let disk = Disk::open(&self.data()).map_err(|error| error.to_string())?;
        let store = Watched { disk, watermark_file: self.data().join("watermark"), synced: Mutex::default() };
        store.note_synced();
        self.store = Some(store);
        Ok(())
    }
}

/// The store, and the content of its watermark file that is known to be synced: that of its opening, and of each drop
/// of the log's end.
struct Watched {
    disk: Arc<Disk>,
    watermark_file: PathBuf,
    synced: Mutex<Vec<u8>>,
}

impl Watched {
    fn note_synced(&self) {
        *self.synced() = fs::read(&self.watermark_file).expect("a watermark file");
    }

    fn synced(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Watched {
    fn append(&self, slots: &[Slot]) -> Result<(), StoreError> {
        self.disk.append(slots)
    }

    fn refuse(&self, ids: &[Id]) -> Result<(), StoreError> {
        self.disk.refuse(ids)
    }

    fn restore(&self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        self.disk.restore(entries)
    }

    fn drop_from(&self, id: Id) -> Result<(), StoreError> {
        self.disk.drop_from(id)?;
        self.note_synced();
        Ok(())
    }

    fn trim(&self, base: Base) -> Result<(), StoreError> {
        self.disk.trim(base)
    }

    fn base(&self) -> Base {
        self.disk.base()
    }

    fn last(&self) -> Id {
        self.disk.last()
    }

    fn visit(
        &self,
        after: Id,
        through: Id,
        limit: ReadLimit,
        each: &mut dyn FnMut(SlotRef<'_>),
    ) -> Result<(), StoreError> {
        self.disk.visit(after, through, limit, each)
    }

    fn refused(&self, after: Id, through: Id) -> Result<Vec<Id>, StoreError> {
        self.disk.refused(after, through)
    }

    fn keyed_writes(&self, writes_max: usize) -> Result<Vec<KeyedWrite>, StoreError> {
        self.disk.keyed_writes(writes_max)
    }

    fn copy_id(&self) -> CopyId {
        self.disk.copy_id()
    }

    fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.disk.identity()
    }

    fn set_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        self.disk.set_identity(identity)
    }

    fn watermark(&self) -> Watermark {
        self.disk.watermark()
    }

    fn note_watermark(&self, watermark: Watermark) -> Result<(), StoreError> {
        self.disk.note_watermark(watermark)
    }

    fn trouble(&self) -> Option<Trouble> {
        self.disk.trouble()
    }

    fn close(&self) {
        self.disk.close();
    }
}
