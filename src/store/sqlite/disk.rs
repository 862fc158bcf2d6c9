//! A log on disk, as the rest of the node sees it.
//!
//! Each change of the log holds the writing connection while it checks that the store is sound, writes, and latches a
//! failure. So no write comes after a write or a sync that failed, not even one that was waiting for the connection.

use super::ballast::Ballast;
use super::directory_lock::{self, DirectoryLock};
use super::file_size_limit::FileSizeLimit;
use super::files::{Files, in_directory, sync_directory};
use super::place::OpenFiles;
use super::promise::{Held, check_promised};
use super::readers::{READERS_MAX, Readers};
use super::rollback_file;
use super::schema::{self, CHECK_STEP, Damage, Transaction};
use super::watermark_file::{WatermarkFile, WatermarkRecord};
use crate::process::state_lock::before_io;
use crate::process::threads::lock;
use crate::protocol::{Base, CopyId, Entry, Id, KeyedWrite, Slot, SlotRef, Watermark};
use crate::store::{Identity, ReadLimit, Size, Store, StoreError, Trouble, check_order, weight};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Slots at the end of the log that are checked before the node serves.
const CHECKED_AT_START: u64 = 10_000;
/// If that check takes longer than this, the log shows its progress.
const QUIET_START: Duration = Duration::from_secs(1);
/// The most refusals that are kept in memory.
const REFUSALS_REMEMBERED: usize = 65_536;
/// What one transaction writes at least: approximately a page of the database.
const TRANSACTION_BYTES: u64 = 4 << 10;
/// How many pages of the database are given back to the file system at a time.
const SHRINK_PAGES: u32 = 1_000;
/// How long a stop waits for processes that read the database.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// A log on disk.
pub struct Disk {
    pub(super) files: Files,
    copy: CopyId,
    pub(super) writer: Mutex<Connection>,
    readers: Readers,
    base: Mutex<Base>,
    /// The id up to which everything that is trimmed is deleted, as far as that is known.
    reclaimed: AtomicU64,
    last: AtomicU64,
    /// How often the end of the log was dropped, or its beginning trimmed. A reader that misses an id checks whether this
    /// has changed meanwhile.
    drops: AtomicU64,
    refused: Mutex<Refusals>,
    pub(super) cache_bytes: usize,
    watermark_file: Mutex<WatermarkFile>,
    /// A failure stays, and nothing is written after it, because the node cannot know how much of that write is on
    /// disk.
    pub(super) trouble: Mutex<Option<Trouble>>,
    /// A problem that an operator should solve, although the store works.
    pub(super) warning: Mutex<Option<String>>,
    pub(super) ballast: Ballast,
    pub(super) open_files: OpenFiles,
    pub(super) file_size_limit: FileSizeLimit,
    pub(super) activity: Mutex<Activity>,
    pub(super) closed: AtomicBool,
    _directory_lock: DirectoryLock,
}

pub(super) struct Activity {
    pub(super) bytes_since_checkpoint: u64,
    pub(super) last_write: Instant,
}

/// The latest refusals. They are in memory because every call to a secondary needs them.
struct Refusals {
    /// Every refusal after this id is in `known`. The older ones are in the table only.
    after: Id,
    known: BTreeSet<Id>,
}

impl Refusals {
    fn remove(&mut self, ids: impl Iterator<Item = Id>) {
        ids.for_each(|id| {
            self.known.remove(&id);
        });
    }

    fn extend(&mut self, ids: &[Id]) {
        self.known.extend(ids.iter().filter(|&&id| id > self.after));
        while self.known.len() > REFUSALS_REMEMBERED {
            self.after = self.known.pop_first().unwrap_or(self.after);
        }
    }
}

/// What a write is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// Messages. There may be no room for them.
    Messages,
    /// What must succeed on a full disk, too, in the space of the ballast.
    Decision,
}

impl Disk {
    /// Opens a data directory without a checkpointer, and checks the end of the log. Gives the id up to which nothing
    /// was checked, for the checkpointer.
    pub(super) fn open_alone(directory: &Path, cache_bytes: usize) -> Result<(Arc<Disk>, Id), StoreError> {
        let lock = DirectoryLock::take(directory)?;
        directory_lock::check_finished(directory)?;
        let files = Files { directory: directory.to_owned() };
        let existed = files.database().exists();
        let (mut watermark_file, found) =
            WatermarkFile::open(&files.watermark_file()).map_err(|error| in_directory(directory, &error))?;
        let writer = schema::open(&files.database(), existed, cache_bytes)?;
        let Held { base, last, .. } = check_promised(&files, found, &writer)?;
        let cannot_read = |damage| StoreError::new(format!("{}: {damage}", files.database().display()));
        let copy = schema::copy_id(&writer).map_err(cannot_read)?;
        // SQLite treats what an earlier process left in the write-ahead log as durable, but only moving it makes it so.
        files.make_durable(&writer)?;
        // What a killed process wrote may still be in the page cache only, so it counts once it is synced. A readable
        // watermark file means that the names of all files are durable, so the directory is synced before it is
        // written.
        if found.is_none() {
            sync_directory(directory).map_err(|error| in_directory(directory, &error))?;
            watermark_file.write(WatermarkRecord::default()).map_err(|error| in_directory(directory, &error))?;
        }
        watermark_file.sync().map_err(|error| in_directory(directory, &error))?;
        let ballast = Ballast::new(&files.ballast());
        let room = ballast.take().map_err(|error| in_directory(directory, &error))?;
        if room {
            files.allocate_write_ahead_log().map_err(|error| in_directory(directory, &error))?;
        }
        let file_size_limit = FileSizeLimit::of_this_process();
        let no_room = file_size_limit.refusal(&files, 0).map_or_else(|| files.full(), Trouble::NoRoom);
        let open_files = OpenFiles::note(&files).map_err(|error| in_directory(directory, &error))?;
        let disk = Arc::new(Disk {
            trouble: Mutex::new((!room).then_some(no_room)),
            warning: Mutex::default(),
            ballast,
            open_files,
            file_size_limit,
            files,
            copy,
            writer: Mutex::new(writer),
            readers: Readers::default(),
            base: Mutex::new(base),
            reclaimed: AtomicU64::new(0),
            last: AtomicU64::new(last.get()),
            drops: AtomicU64::new(0),
            refused: Mutex::new(Refusals { after: last, known: BTreeSet::new() }),
            cache_bytes,
            watermark_file: Mutex::new(watermark_file),
            activity: Mutex::new(Activity { bytes_since_checkpoint: 0, last_write: Instant::now() }),
            closed: AtomicBool::new(false),
            _directory_lock: lock,
        });
        let unchecked = disk.check_end(last)?;
        Ok((disk, unchecked))
    }

    /// Checks the end of the log, where damage is the most likely and the most harmful. Gives the id up to which
    /// nothing was checked.
    fn check_end(&self, last: Id) -> Result<Id, StoreError> {
        let before = Id::new(last.get().saturating_sub(CHECKED_AT_START)).max(self.base().id);
        let (mut checked, mut told) = (before, Instant::now());
        while checked < last {
            checked = self.check(checked, last, &mut |_| {})?;
            if told.elapsed() > QUIET_START {
                told = Instant::now();
                log::info!("checking the end of the log before serving: id {checked} of {last}");
            }
        }
        Ok(before)
    }

    /// Visits the next slots after `after` up to `through`, in order. Checks them, and that the indices agree with
    /// them. Gives the last id visited, or `through` if the log ends before.
    ///
    /// # Errors
    /// If something is damaged, or cannot be read.
    pub fn check(&self, after: Id, through: Id, each: &mut dyn FnMut(SlotRef<'_>)) -> Result<Id, StoreError> {
        let checked =
            self.with_slots(after, through, |reader, end| schema::check(reader, after, end, CHECK_STEP, each))?;
        // If the end of the log was dropped and has grown again, there are slots left to check.
        Ok(checked.unwrap_or_else(|| if self.last() <= after { through } else { after }))
    }

    /// Reads the slots after `after` up to `through` or to the end of the log. Gives `None` if there are none. A
    /// missing id is damage, unless the end of the log was dropped meanwhile, or the beginning trimmed.
    fn with_slots<T>(
        &self,
        after: Id,
        through: Id,
        read: impl FnOnce(&Connection, Id) -> Result<T, Damage>,
    ) -> Result<Option<T>, StoreError> {
        // In this order, because `drop_from` changes `last` before `drops`.
        let drops = self.drops.load(Ordering::SeqCst);
        let end = through.min(self.last());
        if end <= after {
            return Ok(None);
        }
        self.check_held(after)?;
        let done = self.with_reader(|reader| Ok(read(reader, end)))?;
        match done {
            Err(Damage::Missing(_)) if self.drops.load(Ordering::SeqCst) != drops => {
                self.check_held(after).map(|()| None)
            }
            done => done.map(Some).map_err(|damage| self.damaged(&damage)),
        }
    }

    /// Fails if slots after this id are trimmed.
    fn check_held(&self, after: Id) -> Result<(), StoreError> {
        let base = self.base().id;
        if after < base { Err(StoreError::trimmed(after, base)) } else { Ok(()) }
    }

    /// Deletes some of the slots that are trimmed. Gives whether there may be more.
    ///
    /// # Errors
    /// If that cannot be written.
    pub(super) fn reclaim(&self, step: ReadLimit) -> Result<bool, StoreError> {
        let base = self.base();
        if self.reclaimed.load(Ordering::Relaxed) == base.id.get() {
            return Ok(false);
        }
        let next = self.with_reader(|reader| {
            schema::reclaimable(reader, base, step).map_err(|error| self.damaged(&error.into()))
        })?;
        let Some(through) = next else {
            self.reclaimed.store(base.id.get(), Ordering::Relaxed);
            return Ok(false);
        };
        let writer = self.writer(Purpose::Decision, 0)?;
        self.write(&writer, "what was trimmed", Purpose::Decision, 0, |transaction| {
            schema::reclaim(transaction, through)
        })?;
        Ok(true)
    }

    /// Gives free pages at the end of the database back to the file system, a few MiB at most.
    ///
    /// # Errors
    /// If that cannot be written.
    pub(super) fn shrink(&self) -> Result<(), StoreError> {
        if self.size()?.free == 0 {
            return Ok(());
        }
        let writer = self.writer(Purpose::Decision, 0)?;
        let shrunk = schema::shrink(&writer, SHRINK_PAGES).and_then(|()| schema::checkpoint(&writer));
        match shrunk {
            Ok(_) => Ok(()),
            Err(error) if schema::is_no_room(&error) => Ok(()),
            Err(error) => {
                let path = self.files.database();
                Err(self.latch_write(&format!("{} could not be made smaller: {error}", path.display())))
            }
        }
    }

    /// Locks the writing connection, if the store is sound and has room. While it is locked, nothing else changes the
    /// log.
    fn writer(&self, purpose: Purpose, text_bytes: u64) -> Result<MutexGuard<'_, Connection>, StoreError> {
        let writer = lock(&self.writer);
        match self.trouble() {
            Some(Trouble::Failed(reason)) => return Err(failed_before(&reason)),
            Some(Trouble::NoRoom(reason)) if purpose == Purpose::Messages => return Err(StoreError::no_room(reason)),
            _ => {}
        }
        if purpose == Purpose::Messages
            && let Some(reason) = self.file_size_limit.refusal(&self.files, text_bytes)
        {
            self.take_no_more(Trouble::NoRoom(reason.clone()));
            return Err(StoreError::no_room(reason));
        }
        Ok(writer)
    }

    /// Fails after a latched failure.
    fn check_sound(&self) -> Result<(), StoreError> {
        match self.trouble() {
            Some(Trouble::Failed(reason)) => Err(failed_before(&reason)),
            _ => Ok(()),
        }
    }

    /// Makes one transaction durable. Latches a failure while the writer is still locked, so that no write follows it.
    fn write<T>(
        &self,
        writer: &MutexGuard<'_, Connection>,
        what: &str,
        purpose: Purpose,
        text_bytes: u64,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        before_io("the database is written");
        let mut done = commit(writer, &work);
        if done.as_ref().is_err_and(schema::is_no_room) {
            let trouble = self.run_out_of_room()?;
            if purpose == Purpose::Messages {
                return Err(StoreError::no_room(trouble.to_string()));
            }
            done = commit(writer, &work);
            if done.as_ref().is_err_and(schema::is_no_room) {
                return Err(StoreError::no_room(trouble.to_string()));
            }
        }
        let mut activity = lock(&self.activity);
        activity.bytes_since_checkpoint += TRANSACTION_BYTES + text_bytes;
        activity.last_write = Instant::now();
        drop(activity);
        done.map_err(|error| {
            self.latch_write(&format!("{what} could not be written to {}: {error}", self.files.database().display()))
        })
    }

    /// Latches a failed write or sync. Only a restart finds out how much of it is on disk.
    fn latch_write(&self, sentence: &str) -> StoreError {
        self.latch(format!("{sentence}; restart this node"))
    }

    /// Latches the first failure. Nothing is written after it.
    fn latch(&self, sentence: String) -> StoreError {
        let mut trouble = lock(&self.trouble);
        if !matches!(*trouble, Some(Trouble::Failed(_))) {
            *trouble = Some(Trouble::Failed(sentence.clone()));
        }
        StoreError::new(sentence)
    }

    /// Removes the ballast of a full disk, so that there is room for refusals.
    pub(super) fn run_out_of_room(&self) -> Result<Trouble, StoreError> {
        self.ballast.give_up().map_err(|error| {
            self.latch_write(&format!("{} could not be removed: {error}", self.files.ballast().display()))
        })?;
        Ok(self.take_no_more(self.files.full()))
    }

    /// Takes no messages until there is room. Gives the current trouble, which may be an earlier failure.
    fn take_no_more(&self, no_room: Trouble) -> Trouble {
        let mut trouble = lock(&self.trouble);
        if trouble.is_none() {
            log::error!("this node stores no messages until there is room: {no_room}");
        }
        trouble.get_or_insert(no_room).clone()
    }

    /// Writes a change that is no append, and counts it in the database and in the watermark file.
    fn amend(
        &self,
        writer: &MutexGuard<'_, Connection>,
        what: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mutations = self.write_mutation(writer, what, work)?;
        self.note_mutations(mutations)
    }

    fn write_mutation(
        &self,
        writer: &MutexGuard<'_, Connection>,
        what: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<u64, StoreError> {
        self.write(writer, what, Purpose::Decision, 0, |transaction| {
            work(transaction)?;
            schema::count_mutation(transaction)
        })
    }

    fn note_mutations(&self, number: u64) -> Result<(), StoreError> {
        self.set_record(|record| record.mutations = record.mutations.max(number))
    }

    /// Latches damage that a reader found, because the disk may have damaged more than that.
    fn damaged(&self, damage: &Damage) -> StoreError {
        let error = self.files.damaged(&damage.to_string());
        if damage.is_certain() && !matches!(self.trouble(), Some(Trouble::Failed(_))) {
            log::error!("{error}");
            return self.latch(error.to_string());
        }
        error
    }

    /// Reads with a connection. If the files were removed, SQLite can open no new connection, so a read without a free
    /// one uses the writing connection, which writes nothing any more.
    fn with_reader<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut permit = self.readers.wait_for_permit();
        let reader = match permit.kept.take() {
            Some(reader) => reader,
            None => match schema::open_reader(&self.files.database(), self.cache_bytes / READERS_MAX) {
                _ if !self.look_at_place() => return work(&lock(&self.writer)),
                opened => opened?,
            },
        };
        let done = work(&reader);
        permit.kept = done.is_ok().then_some(reader);
        done
    }

    /// Whether the directory still leads to the files of this log. If it does not, this latches a failure.
    pub(super) fn look_at_place(&self) -> bool {
        let Some(what) = self.open_files.what_changed() else { return true };
        if !matches!(self.trouble(), Some(Trouble::Failed(_))) {
            let directory = self.files.directory.display();
            let error = self.latch(format!(
                "{directory} does not lead to the files of this log any more: {what}. This node acknowledges nothing \
                 any more. It still holds its files open, so its log can be saved now with \"master backup FILE --from URL\" or GET \
                 /backup; then stop the node, put the files back or restore them, and start it again"
            ));
            log::error!("{error}");
        }
        false
    }

    /// Keeps what is about to be dropped in a file. A full disk gives up its ballast for that.
    fn keep_from(&self, id: Id) -> Result<(), StoreError> {
        let mut kept = rollback_file::keep(self, &self.files, id);
        if kept.as_ref().is_err_and(StoreError::is_no_room) {
            self.run_out_of_room()?;
            kept = rollback_file::keep(self, &self.files, id);
        }
        if let Some(path) = kept? {
            log::warn!("what is dropped of the log, from id {id} on, is kept in {}", path.display());
        }
        Ok(())
    }

    /// Drops what is kept in a file.
    fn drop_kept(&self, id: Id) -> Result<(), StoreError> {
        let writer = self.writer(Purpose::Decision, 0)?;
        let before = self.last();
        let last = before.min(id.previous());
        // The watermark file comes first, so that after a crash in between the log holds at least what the file names.
        self.set_record(|record| record.durable = record.durable.min(last))?;
        self.sync_watermark_file()?;
        // Before the drop, so that no reader takes it for damage: see `with_slots`.
        self.last.store(last.get(), Ordering::SeqCst);
        self.drops.fetch_add(1, Ordering::SeqCst);
        let what = "the end of a former epoch";
        let mutations = self
            .write_mutation(&writer, what, |transaction| schema::drop_from(transaction, id))
            .inspect_err(|_| self.last.store(before.get(), Ordering::SeqCst))?;
        lock(&self.refused).known.split_off(&last.next());
        self.note_mutations(mutations)
    }

    /// Changes the watermark file. The change survives the process at once, and a power loss after the next sync.
    fn set_record(&self, change: impl FnOnce(&mut WatermarkRecord)) -> Result<(), StoreError> {
        before_io("the watermark file is written");
        let mut file = lock(&self.watermark_file);
        self.check_sound()?;
        let mut record = file.record();
        change(&mut record);
        file.write(record).map_err(|error| {
            self.latch_write(&format!("{} could not be written: {error}", self.files.watermark_file().display()))
        })
    }

    /// Syncs the watermark file without its lock, so that writes of it do not wait.
    fn sync_watermark_file(&self) -> Result<(), StoreError> {
        let to_sync = lock(&self.watermark_file).to_sync();
        let synced = to_sync
            .map_or(Ok(()), |(file, number)| file.sync_data().map(|()| lock(&self.watermark_file).synced(number)));
        synced.map_err(|error| {
            self.latch_write(&format!("{} could not be synced: {error}", self.files.watermark_file().display()))
        })
    }

    /// Syncs the watermark file, and latches and logs a failure.
    pub(super) fn sync_watermark_file_aside(&self) {
        if let Err(error) = self.sync_watermark_file() {
            log::error!("{error}");
        }
    }
}

impl Store for Disk {
    fn append(&self, slots: &[Slot]) -> Result<(), StoreError> {
        let Some(last) = slots.last().map(Slot::id) else { return Ok(()) };
        let refused: Vec<Id> = slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id).collect();
        let purpose = if refused.len() == slots.len() { Purpose::Decision } else { Purpose::Messages };
        let text_bytes = slots.iter().map(|slot| weight(slot.into()) as u64).sum();
        let writer = self.writer(purpose, text_bytes)?;
        let before = self.last();
        check_order(before, slots)?;
        let what = format!("ids {}–{last}", before.next());
        self.write(&writer, &what, purpose, text_bytes, |transaction| schema::insert(transaction, slots))?;
        self.last.store(last.get(), Ordering::SeqCst);
        lock(&self.refused).extend(&refused);
        self.set_record(|record| record.durable = last)
    }

    fn refuse(&self, ids: &[Id]) -> Result<(), StoreError> {
        let writer = self.writer(Purpose::Decision, 0)?;
        if let Some(missing) = ids.iter().find(|&&id| id > self.last() || id == Id::ZERO) {
            return Err(StoreError::new(format!("id {missing} is not held; the log ends at {}", self.last())));
        }
        self.amend(&writer, "a refusal", |transaction| schema::refuse(transaction, ids))?;
        lock(&self.refused).extend(ids);
        Ok(())
    }

    fn restore(&self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        let text_bytes = entries.iter().map(|entry| entry.message.len() as u64).sum();
        let writer = self.writer(Purpose::Messages, text_bytes)?;
        if let Some(missing) = entries.iter().find(|entry| entry.id > self.last() || entry.id == Id::ZERO) {
            return Err(StoreError::new(format!("id {} is not held; the log ends at {}", missing.id, self.last())));
        }
        let what = "messages that are not refused";
        let mutations = self.write(&writer, what, Purpose::Messages, text_bytes, |transaction| {
            schema::restore(transaction, entries)?;
            schema::count_mutation(transaction)
        })?;
        self.note_mutations(mutations)?;
        lock(&self.refused).remove(entries.iter().map(|entry| entry.id));
        Ok(())
    }

    fn put_aside(&self, from: Id, watermark: Watermark) -> Result<(), StoreError> {
        self.keep_from(from)?;
        self.note_watermark(watermark)?;
        self.drop_kept(from)
    }

    fn drop_from(&self, id: Id) -> Result<(), StoreError> {
        self.keep_from(id)?;
        self.drop_kept(id)
    }

    fn trim(&self, base: Base) -> Result<(), StoreError> {
        let writer = self.writer(Purpose::Decision, 0)?;
        let mutations =
            self.write_mutation(&writer, "where the log begins", |transaction| schema::trim(transaction, &base))?;
        // Before anything is deleted, so that no reader takes that for damage: see `with_slots`.
        *lock(&self.base) = base;
        self.last.fetch_max(base.id.get(), Ordering::SeqCst);
        self.drops.fetch_add(1, Ordering::SeqCst);
        {
            let mut refused = lock(&self.refused);
            refused.known = refused.known.split_off(&base.id.next());
            refused.after = refused.after.max(base.id);
        }
        self.set_record(|record| {
            record.mutations = record.mutations.max(mutations);
            record.durable = record.durable.max(base.id);
            let watermark = record.watermark(base);
            (record.decided, record.visible) = (watermark.decided, watermark.visible);
        })
    }

    fn base(&self) -> Base {
        *lock(&self.base)
    }

    fn last(&self) -> Id {
        Id::new(self.last.load(Ordering::SeqCst))
    }

    fn visit(
        &self,
        after: Id,
        through: Id,
        limit: ReadLimit,
        each: &mut dyn FnMut(SlotRef<'_>),
    ) -> Result<(), StoreError> {
        self.with_slots(after, through, |reader, end| schema::visit(reader, after, end, limit, each)).map(drop)
    }

    fn refused(&self, after: Id, through: Id) -> Result<Vec<Id>, StoreError> {
        let through = through.min(self.last());
        if through <= after {
            return Ok(Vec::new());
        }
        self.check_held(after)?;
        let older = {
            let refusals = lock(&self.refused);
            if after >= refusals.after {
                return Ok(refusals.known.range(after.next()..=through).copied().collect());
            }
            refusals.after.min(through)
        };
        let mut refused =
            self.with_reader(|reader| schema::refused(reader, after, older).map_err(|damage| self.damaged(&damage)))?;
        if through > older {
            refused.extend(lock(&self.refused).known.range(older.next()..=through));
        }
        Ok(refused)
    }

    fn keyed_writes(&self, writes_max: usize) -> Result<Vec<KeyedWrite>, StoreError> {
        let base = self.base().id;
        self.with_reader(|reader| {
            schema::keyed_writes(reader, base, writes_max).map_err(|damage| self.damaged(&damage))
        })
    }

    fn copy_id(&self) -> CopyId {
        self.copy
    }

    fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.with_reader(|reader| schema::identity(reader).map_err(|damage| self.damaged(&damage)))
    }

    fn set_identity(&self, identity: &Identity) -> Result<(), StoreError> {
        let writer = self.writer(Purpose::Decision, 0)?;
        self.amend(&writer, "the log's identity", |transaction| schema::set_identity(transaction, identity))?;
        self.set_record(|record| record.log_id = Some(identity.lineage.log_id))
    }

    fn watermark(&self) -> Watermark {
        let record = lock(&self.watermark_file).record();
        record.watermark(self.base())
    }

    fn note_watermark(&self, watermark: Watermark) -> Result<(), StoreError> {
        self.set_record(|record| {
            record.decided = watermark.decided;
            record.visible = watermark.visible;
        })
    }

    fn size(&self) -> Result<Size, StoreError> {
        let base = self.base();
        self.with_reader(|reader| schema::size(reader, base).map_err(|error| self.damaged(&error.into())))
    }

    fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    fn warning(&self) -> Option<String> {
        lock(&self.warning).clone()
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.sync_watermark_file_aside();
        if let Err(error) = schema::empty_write_ahead_log(&lock(&self.writer), CLOSE_TIMEOUT) {
            log::warn!("the write-ahead log of {} could not be emptied: {error}", self.files.database().display());
        }
    }
}

/// Runs one transaction.
fn commit<T>(writer: &Connection, work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let transaction = Transaction::begin(writer)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn failed_before(reason: &str) -> StoreError {
    StoreError::new(format!("an earlier write failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Epoch, WritePart};

    fn entry(id: u64) -> Slot {
        let (id, epoch) = (Id::new(id), Epoch::new(1));
        Slot::Entry(Arc::new(Entry {
            id,
            epoch,
            timestamp_ms: 5,
            message: "a".into(),
            key: None,
            part: WritePart::WHOLE,
        }))
    }

    #[test]
    fn refusals_are_found_wherever_they_are_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let ids = |numbers: &[u64]| numbers.iter().copied().map(Id::new).collect::<Vec<_>>();
        let before = Disk::open(directory.path()).unwrap();
        before.append(&[entry(1), Slot::Refused(Id::new(2)), entry(3)]).unwrap();
        before.close();
        drop(before);
        // The checkpointer of the first store may hold the directory until its next pass.
        let again =
            |_| Disk::open(directory.path()).inspect_err(|_| std::thread::sleep(Duration::from_millis(10))).ok();
        let disk = (0..1_000).find_map(again).expect("the checkpointer leaves");
        // Refusals from before the start are in the table only, later ones in memory, too.
        disk.append(&[entry(4), entry(5)]).unwrap();
        disk.refuse(&[Id::new(4)]).unwrap();
        for (after, through, refused) in [(0, 1, &[][..]), (0, 3, &[2]), (2, 3, &[]), (1, 4, &[2, 4]), (3, 5, &[4])] {
            assert_eq!(disk.refused(Id::new(after), Id::new(through)).unwrap(), ids(refused), "{after} to {through}");
        }
    }

    #[test]
    fn a_short_log_does_not_grow_its_write_ahead_log() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let length = || std::fs::metadata(disk.files.write_ahead_log()).unwrap().len();
        let before = length();
        (1..=20).for_each(|id| disk.append(&[entry(id)]).unwrap());
        assert_eq!((length(), before), (before, super::super::files::WRITE_AHEAD_LOG_BYTES));
    }

    #[test]
    fn what_is_dropped_beside_readers_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let slots: Vec<Slot> = (1..=20).map(entry).collect();
        disk.append(&slots).unwrap();
        let all = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) && disk.trouble().is_none() {
                        let _ = disk.read(Id::ZERO, Id::MAX, all);
                        let _ = disk.check(Id::new(5), Id::MAX, &mut |_| {});
                    }
                });
            }
            for _ in 0..500 {
                if disk.drop_from(Id::new(11)).and_then(|()| disk.append(&slots[10..])).is_err() {
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(disk.trouble(), None);
        assert_eq!(disk.read(Id::ZERO, Id::MAX, all).unwrap(), slots);
    }
}
