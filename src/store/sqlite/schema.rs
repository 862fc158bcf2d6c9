//! The database: its tables, and the statements on them. All SQL is in this file.

use super::lineage;
use crate::protocol::{Base, CopyId, Entry, EntryRef, Epoch, Fingerprint, Id, KeyedWrite, Slot, SlotRef, WritePart};
use crate::store::{Identity, KnownMember, ReadLimit, Size, StoreError, weight};
use crc32fast::Hasher;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, ffi, params};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The version of the tables, in SQLite's `user_version`.
const FORMAT: i64 = 5;
/// The mark of a database of this program, in SQLite's `application_id`: "RLOG".
const APPLICATION: i64 = 0x524c_4f47;
/// How long a statement waits for another connection. Only the checkpointer and the writer can meet.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is checked at a time. With the checkpointer's pause that is some thousand slots a second, which hardly
/// costs readers and writers anything.
pub(super) const CHECK_STEP: ReadLimit = ReadLimit { slots_max: 500, bytes_max: 256 << 10 };

/// Size to which SQLite cuts the write-ahead log when it begins anew.
const WRITE_AHEAD_LOG_BYTES_KEPT: i64 = 16 << 20;

const TABLES: &str = "
CREATE TABLE slots (
    id           INTEGER PRIMARY KEY,  -- place in the log; those after the base follow each other without holes
    epoch        INTEGER NOT NULL,     -- epoch in which it was written; 0 for a refused id
    timestamp_ms INTEGER NOT NULL,     -- when the master accepted it, milliseconds since 1970; 0 for a refused id
    message      TEXT,                 -- NULL: the id was refused
    key          TEXT,                 -- the idempotency key, if it has one
    part         INTEGER NOT NULL,     -- which message of its write it is, from 0; 0 for a refused id
    parts        INTEGER NOT NULL,     -- how many messages that write has; 1 for a refused id
    checksum     INTEGER NOT NULL      -- CRC-32 over the columns before it
) STRICT;
CREATE INDEX refusals ON slots (id) WHERE message IS NULL;  -- for frequent reads of few rows
CREATE INDEX keys ON slots (id) WHERE key IS NOT NULL;          -- for the latest keys at every start
CREATE TABLE mutations (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    number       INTEGER NOT NULL      -- mutation counter: transactions so far that were no appends
) STRICT;
INSERT INTO mutations VALUES (1, 0);
CREATE TABLE base (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    id           INTEGER NOT NULL,     -- the last id that was trimmed: slots up to here are about to be deleted
    fingerprint  TEXT NOT NULL,        -- fingerprint of the log up to it, 64 hexadecimal digits
    messages     INTEGER NOT NULL,     -- messages up to it that were not refused
    checksum     INTEGER NOT NULL      -- CRC-32 over the columns before it
) STRICT;
CREATE TABLE copy (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    id           TEXT NOT NULL         -- 16 random hexadecimal digits: which copy of a log this is
) STRICT;
INSERT INTO copy VALUES (1, lower(hex(randomblob(8))));
CREATE TABLE node (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    log_id       TEXT NOT NULL,        -- 32 hexadecimal digits
    epochs       TEXT NOT NULL,        -- a line for each: EPOCH from FIRST-ID by MASTER
    roster       TEXT NOT NULL,        -- EPOCH.SEQUENCE led by COPY, then the voters: promotion on, voters COPY COPY
    promised     TEXT NOT NULL,        -- the latest promise, if there is one: EPOCH to COPY by MASTER
    members      TEXT NOT NULL,        -- on a master, a line for each secondary: NAME at ADDRESS
    checksum     INTEGER NOT NULL      -- CRC-32 over the columns before it
) STRICT;
";

/// What is wrong with a database.
#[derive(Debug)]
pub(super) enum Damage {
    Sqlite(rusqlite::Error),
    /// An id is missing.
    Missing(Id),
    Found(String),
}

impl Damage {
    /// Whether the data is damaged. Otherwise only reading it failed.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Damage::Missing(_) | Damage::Found(_) => true,
            Damage::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
        }
    }
}

impl From<rusqlite::Error> for Damage {
    fn from(error: rusqlite::Error) -> Damage {
        Damage::Sqlite(error)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Sqlite(error) => error.fmt(formatter),
            Damage::Missing(id) => write!(formatter, "id {id} is missing"),
            Damage::Found(what) => formatter.write_str(what),
        }
    }
}

/// Whether a transaction failed because the disk is full. SQLite has rolled it back then.
pub(super) fn is_no_room(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| (error.code, error.extended_code));
    matches!(code, Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE)))
}

/// Opens the database for its only writer. This leaves the write-ahead log of an earlier process as it is.
pub(super) fn open(path: &Path, existed: bool, cache_bytes: usize) -> Result<Connection, StoreError> {
    let connection = open_writer(path, cache_bytes)?;
    let prepared = if existed { check_format(&connection, path) } else { create(&connection).map_err(Damage::from) };
    prepared.map_err(|damage| StoreError::new(format!("{} cannot be used: {damage}", path.display())))?;
    Ok(connection)
}

/// Opens another connection that may write.
pub(super) fn open_writer(path: &Path, cache_bytes: usize) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    connect(path, flags, cache_bytes)
}

pub(super) fn open_reader(path: &Path, cache_bytes: usize) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX, cache_bytes)
}

/// Opens a database that no other process uses, with or without its write-ahead log. This changes no file.
pub(super) fn open_for_examination(path: &Path, with_write_ahead_log: bool) -> Result<Connection, StoreError> {
    let cannot = |why: &dyn fmt::Display| StoreError::new(format!("{} cannot be read: {why}", path.display()));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = if with_write_ahead_log {
        Connection::open_with_flags_and_vfs(path, flags, "unix-none").and_then(|connection| {
            connection.pragma_update(None, "locking_mode", "exclusive")?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(connection)
        })
    } else {
        let path = std::path::absolute(path).map_err(|error| cannot(&error))?;
        let path = path.to_str().ok_or_else(|| cannot(&"its path is not UTF-8"))?;
        let path = path.trim_start_matches('/').replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Connection::open_with_flags(format!("file:///{path}?immutable=1"), flags)
    };
    let connection = opened.map_err(|error| cannot(&error))?;
    match read_format(&connection, path).map_err(|damage| cannot(&damage))? {
        0 => Err(cannot(&"it has no tables, because its creation was interrupted; the next start creates them")),
        _ => Ok(connection),
    }
}

fn connect(path: &Path, flags: OpenFlags, cache_bytes: usize) -> Result<Connection, StoreError> {
    let cannot = |why: &dyn fmt::Display| StoreError::new(format!("{} cannot be opened: {why}", path.display()));
    let connection = Connection::open_with_flags(path, flags).map_err(|error| cannot(&error))?;
    prepare(&connection, cache_bytes).map_err(|damage| cannot(&damage))?;
    Ok(connection)
}

/// Sets what durability depends on, and reads it back, because SQLite ignores a pragma that it cannot apply.
fn prepare(connection: &Connection, cache_bytes: usize) -> Result<(), Damage> {
    let cache_kib = i64::try_from(cache_bytes >> 10).unwrap_or(i64::MAX);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Otherwise SQLite prepares a statement again when its parameters change, in case another plan is better for them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    if !connection.is_readonly("main")? {
        // For a new database, which this has to come first in: with it, a database can be made smaller page by page.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Damage::Found(format!("the journal mode is {mode} and cannot be made wal")));
        }
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // A long read makes the write-ahead log grow, and this shrinks it later.
        connection.pragma_update(None, "journal_size_limit", WRITE_AHEAD_LOG_BYTES_KEPT)?;
        // Otherwise closing moves the write-ahead log, even into a database that was just found to be damaged.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        if synchronous != 2 {
            return Err(Damage::Found(format!("synchronous is {synchronous} and cannot be made full")));
        }
    }
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))
}

fn check_format(connection: &Connection, path: &Path) -> Result<(), Damage> {
    // 0 means that the process that created the database ended before it had created the tables.
    if read_format(connection, path)? == 0 { Ok(create(connection)?) } else { Ok(()) }
}

/// The format of a database of this program, or 0 for an empty one.
fn read_format(connection: &Connection, path: &Path) -> Result<i64, Damage> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != APPLICATION && format != 0 {
        return Err(Damage::Found(format!("{} is a database of another program", path.display())));
    }
    match format {
        FORMAT => Ok(FORMAT),
        0 if is_empty(connection)? => Ok(0),
        other => Err(Damage::Found(format!("its format is {other}, but this program knows {FORMAT}"))),
    }
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Moves the write-ahead log into the database and truncates it, and waits up to `timeout` for other connections. Gives
/// whether all of it was moved, and so is durable. That fails while another process reads an earlier state.
pub(super) fn empty_write_ahead_log(connection: &Connection, timeout: Duration) -> rusqlite::Result<bool> {
    connection.busy_timeout(timeout)?;
    let moved = move_write_ahead_log(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
    connection.busy_timeout(BUSY_TIMEOUT)?;
    moved
}

/// Moves as much of the write-ahead log as no reader needs, without blocking. Gives whether that was all of it.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    move_write_ahead_log(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

fn move_write_ahead_log(connection: &Connection, pragma: &str) -> rusqlite::Result<bool> {
    // The pragma also gives whether another process was in the way. A process that reads the latest state is no
    // problem, so this compares the frames. Both numbers are negative if another process is moving the log: then
    // nothing was done.
    connection.query_row(pragma, [], |row| {
        let (frames, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(frames >= 0 && moved == frames)
    })
}

/// A transaction, which is rolled back unless it is committed. The one of the library parses its statements each time.
pub(super) struct Transaction<'a>(&'a Connection);

impl Transaction<'_> {
    pub(super) fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Transaction(connection))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let is_open = !self.0.is_autocommit();
        if is_open && let Err(error) = self.0.execute_batch("ROLLBACK") {
            log::error!("a transaction could not be rolled back: {error}");
        }
    }
}

/// The last id of the log, which is trimmed up to a base.
pub(super) fn last(connection: &Connection, base: Base) -> rusqlite::Result<Id> {
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM slots", [], |row| row.get(0))?;
    Ok(Id::new(last.unwrap_or(0).cast_unsigned()).max(base.id))
}

/// What was trimmed of the log.
pub(super) fn base(connection: &Connection) -> Result<Base, Damage> {
    let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get::<_, i64>(3)?));
    let row = connection.query_row("SELECT id, fingerprint, messages, checksum FROM base", [], columns).optional()?;
    let Some((id, fingerprint, messages, found)) = row else { return Ok(Base::default()) };
    let (id, messages) = (i64::cast_unsigned(id), i64::cast_unsigned(messages));
    let base = Fingerprint::parse(&fingerprint).map(|fingerprint| Base { id: Id::new(id), fingerprint, messages });
    base.filter(|base| checksum_of_base(base) == found)
        .ok_or_else(|| Damage::Found("its base does not have the checksum that it was written with".to_owned()))
}

/// Trims the log up to a base. [`reclaim`] deletes the slots.
pub(super) fn trim(transaction: &Transaction<'_>, base: &Base) -> rusqlite::Result<()> {
    let (id, messages) = (base.id.get().cast_signed(), base.messages.cast_signed());
    let row = params![id, base.fingerprint.to_string(), messages, checksum_of_base(base)];
    transaction.0.execute("INSERT OR REPLACE INTO base VALUES (1, ?1, ?2, ?3, ?4)", row).map(|_| ())
}

/// The end of the next slots that may be deleted because they are trimmed; `None` if all are deleted.
pub(super) fn reclaimable(connection: &Connection, base: Base, step: ReadLimit) -> rusqlite::Result<Option<Id>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, coalesce(octet_length(message), 0) FROM slots WHERE id <= ?1 ORDER BY id LIMIT ?2",
    )?;
    let slots_max = i64::try_from(step.slots_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![base.id.get().cast_signed(), slots_max])?;
    let (mut end, mut bytes) = (None, 0);
    while bytes < step.bytes_max
        && let Some(row) = rows.next()?
    {
        end = Some(Id::new(row.get::<_, i64>(0)?.cast_unsigned()));
        bytes += usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
    }
    Ok(end)
}

/// Deletes the slots up to an id.
pub(super) fn reclaim(transaction: &Transaction<'_>, through: Id) -> rusqlite::Result<()> {
    let mut statement = transaction.0.prepare_cached("DELETE FROM slots WHERE id <= ?1")?;
    statement.execute([through.get().cast_signed()]).map(|_| ())
}

/// Bytes of the database, and those of them that are free for reuse.
pub(super) fn size(connection: &Connection, base: Base) -> rusqlite::Result<Size> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let page = number("page_size")?.cast_unsigned();
    Ok(Size {
        bytes: page * number("page_count")?.cast_unsigned(),
        free: page * number("freelist_count")?.cast_unsigned(),
        is_reclaiming: reclaimable(connection, base, ReadLimit { slots_max: 1, bytes_max: 1 })?.is_some(),
    })
}

/// Gives free pages at the end of the database back to the file system, once the write-ahead log is moved.
pub(super) fn shrink(connection: &Connection, pages: u32) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

pub(super) fn insert(transaction: &Transaction<'_>, slots: &[Slot]) -> rusqlite::Result<()> {
    let mut statement = transaction.0.prepare_cached("INSERT INTO slots VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for slot in slots {
        let id = slot.id().get().cast_signed();
        let checksum = checksum_of(slot.into());
        match slot {
            Slot::Entry(entry) => {
                let (epoch, timestamp_ms) = (entry.epoch.get().cast_signed(), entry.timestamp_ms.cast_signed());
                statement.execute(params![
                    id,
                    epoch,
                    timestamp_ms,
                    &*entry.message,
                    entry.key.as_deref(),
                    entry.part.index,
                    entry.part.of,
                    checksum
                ])?
            }
            Slot::Refused(_) => statement.execute(params![id, 0, 0, None::<&str>, None::<&str>, 0, 1, checksum])?,
        };
    }
    Ok(())
}

pub(super) fn copy_id(connection: &Connection) -> Result<CopyId, Damage> {
    let text: String = connection.query_row("SELECT id FROM copy", [], |row| row.get(0))?;
    CopyId::parse(&text).ok_or_else(|| Damage::Found(format!("\"{}\" is no copy id", text.escape_debug())))
}

pub(super) fn mutations(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT number FROM mutations", [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// Counts a transaction that is no append. The last id does not show later if it is missing, but the watermark file has
/// this number.
pub(super) fn count_mutation(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    transaction.0.execute("UPDATE mutations SET number = number + 1", [])?;
    mutations(transaction.0)
}

pub(super) fn refuse(transaction: &Transaction<'_>, ids: &[Id]) -> rusqlite::Result<()> {
    let mut statement = transaction.0.prepare_cached(
        "UPDATE slots SET epoch = 0, timestamp_ms = 0, message = NULL, key = NULL, part = 0, parts = 1, checksum = ?2 WHERE id = ?1",
    )?;
    for &id in ids {
        statement.execute(params![id.get().cast_signed(), checksum_of(SlotRef::Refused(id))])?;
    }
    Ok(())
}

pub(super) fn restore(transaction: &Transaction<'_>, entries: &[Arc<Entry>]) -> rusqlite::Result<()> {
    let mut statement = transaction.0.prepare_cached(
        "UPDATE slots SET epoch = ?2, timestamp_ms = ?3, message = ?4, key = ?5, part = ?6, parts = ?7, checksum = ?8 WHERE id = ?1 AND message IS NULL",
    )?;
    for entry in entries {
        let (id, epoch) = (entry.id.get().cast_signed(), entry.epoch.get().cast_signed());
        let checksum = checksum_of(SlotRef::Entry((&**entry).into()));
        let timestamp_ms = entry.timestamp_ms.cast_signed();
        let (key, WritePart { index, of }) = (entry.key.as_deref(), entry.part);
        statement.execute(params![id, epoch, timestamp_ms, &*entry.message, key, index, of, checksum])?;
    }
    Ok(())
}

pub(super) fn drop_from(transaction: &Transaction<'_>, id: Id) -> rusqlite::Result<()> {
    transaction.0.execute("DELETE FROM slots WHERE id >= ?1", [id.get().cast_signed()]).map(|_| ())
}

/// Visits slots that must follow each other, and checks each.
pub(super) fn visit(
    reader: &Connection,
    after: Id,
    through: Id,
    limit: ReadLimit,
    each: &mut dyn FnMut(SlotRef<'_>),
) -> Result<(), Damage> {
    let mut statement = reader.prepare_cached(
        "SELECT id, epoch, timestamp_ms, message, key, part, parts, checksum FROM slots WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
    )?;
    let slots_max = i64::try_from(limit.slots_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after.get().cast_signed(), through.get().cast_signed(), slots_max])?;
    let (mut last, mut bytes) = (after, 0);
    while let Some(row) = rows.next()? {
        let slot = slot_of(row, last.next())?;
        bytes += weight(slot);
        if bytes > limit.bytes_max && last > after {
            return Ok(());
        }
        last = slot.id();
        each(slot);
    }
    if last < through && last.since(after) < limit.slots_max as u64 {
        return Err(Damage::Missing(last.next()));
    }
    Ok(())
}

/// Visits slots as [`visit`] does, and compares them with the indices, which have no checksums, in one transaction.
/// Gives the last id visited.
pub(super) fn check(
    reader: &Connection,
    after: Id,
    through: Id,
    limit: ReadLimit,
    each: &mut dyn FnMut(SlotRef<'_>),
) -> Result<Id, Damage> {
    let state = reader.unchecked_transaction()?;
    let (mut reached, mut refusals, mut keys) = (after, Vec::new(), Vec::new());
    visit(&state, after, through, limit, &mut |slot| {
        reached = slot.id();
        match slot {
            SlotRef::Refused(id) => refusals.push(id),
            SlotRef::Entry(entry) if entry.key.is_some() => keys.push(entry.id),
            SlotRef::Entry(_) => {}
        }
        each(slot);
    })?;
    for (index, found, expected) in
        [("refusals", refused(&state, after, reached)?, refusals), ("keys", keyed(&state, after, reached)?, keys)]
    {
        if found != expected {
            return Err(Damage::Found(format!("its index of {index} contradicts the ids {}–{reached}", after.next())));
        }
    }
    state.commit()?;
    Ok(reached)
}

fn slot_of<'a>(row: &'a Row<'_>, expected: Id) -> Result<SlotRef<'a>, Damage> {
    let id = Id::new(row.get::<_, i64>(0)?.cast_unsigned());
    if id != expected {
        return Err(Damage::Missing(expected));
    }
    let text = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null()?);
    let slot = match text(3)? {
        None => SlotRef::Refused(id),
        Some(message) => SlotRef::Entry(EntryRef {
            id,
            epoch: Epoch::new(row.get::<_, i64>(1)?.cast_unsigned()),
            timestamp_ms: row.get::<_, i64>(2)?.cast_unsigned(),
            message,
            key: text(4)?,
            part: WritePart { index: row.get(5)?, of: row.get(6)? },
        }),
    };
    if row.get::<_, i64>(7)? != checksum_of(slot) {
        return Err(Damage::Found(format!("id {id} does not have the checksum that it was written with")));
    }
    Ok(slot)
}

pub(super) fn refused(reader: &Connection, after: Id, through: Id) -> Result<Vec<Id>, Damage> {
    let statement =
        "SELECT id FROM slots INDEXED BY refusals WHERE id > ?1 AND id <= ?2 AND message IS NULL ORDER BY id";
    ids(reader, statement, after, through)
}

fn keyed(reader: &Connection, after: Id, through: Id) -> Result<Vec<Id>, Damage> {
    let statement = "SELECT id FROM slots INDEXED BY keys WHERE id > ?1 AND id <= ?2 AND key IS NOT NULL ORDER BY id";
    ids(reader, statement, after, through)
}

fn ids(reader: &Connection, statement: &str, after: Id, through: Id) -> Result<Vec<Id>, Damage> {
    let mut statement = reader.prepare_cached(statement)?;
    let ids =
        statement.query_map([after.get().cast_signed(), through.get().cast_signed()], |row| row.get::<_, i64>(0))?;
    let ids = ids.map(|id| id.map(|id| Id::new(id.cast_unsigned())));
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The latest writes with a key after a base, the latest first.
pub(super) fn keyed_writes(reader: &Connection, base: Id, writes_max: usize) -> Result<Vec<KeyedWrite>, Damage> {
    let mut statement = reader.prepare(
        "SELECT id, epoch, timestamp_ms, message, key, part, parts, checksum FROM slots INDEXED BY keys WHERE key IS NOT NULL \
         AND id > ?1 ORDER BY id DESC",
    )?;
    let messages = statement.query_and_then([base.get().cast_signed()], |row| {
        let id = Id::new(row.get::<_, i64>(0)?.cast_unsigned());
        match slot_of(row, id)? {
            SlotRef::Entry(EntryRef { key: Some(key), .. }) => Ok((id, key.into())),
            _ => Err(Damage::Found(format!("id {id} has lost its key"))),
        }
    })?;
    KeyedWrite::group(messages, writes_max)
}

pub(super) fn identity(reader: &Connection) -> Result<Option<Identity>, Damage> {
    let columns = |row: &Row<'_>| {
        let texts: [String; 5] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        Ok((texts, row.get::<_, i64>(5)?))
    };
    let statement = "SELECT log_id, epochs, roster, promised, members, checksum FROM node";
    let row = reader.query_row(statement, [], columns).optional()?;
    let Some((texts, found)) = row else { return Ok(None) };
    let damaged = |what: &str| Damage::Found(format!("its record of the log {what}"));
    if found != checksum_of_texts(&texts) {
        return Err(damaged("does not have the checksum that it was written with"));
    }
    let [log_id, epochs, roster, promised, members] = texts;
    let lineage = lineage::parse(&[log_id, epochs, roster, promised]).ok_or_else(|| damaged("cannot be read"))?;
    let member = |line: &str| {
        let (name, url) = line.split_once(" at ")?;
        Some(KnownMember { url: url.to_owned(), name: name.to_owned() })
    };
    let members: Option<_> = members.lines().map(member).collect();
    Ok(Some(Identity { lineage, members: members.ok_or_else(|| damaged("has members that cannot be read"))? }))
}

pub(super) fn set_identity(transaction: &Transaction<'_>, identity: &Identity) -> rusqlite::Result<()> {
    let [log_id, epochs, roster, promised] = lineage::to_texts(&identity.lineage);
    let members = identity.members.iter().map(|KnownMember { url, name }| format!("{name} at {url}\n")).collect();
    let texts = [log_id, epochs, roster, promised, members];
    let [log_id, epochs, roster, promised, members] = &texts;
    let row = params![log_id, epochs, roster, promised, members, checksum_of_texts(&texts)];
    transaction.0.execute("INSERT OR REPLACE INTO node VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)", row).map(|_| ())
}

fn checksum_of_texts(texts: &[String; 5]) -> i64 {
    checksum(&texts.each_ref().map(String::as_bytes))
}

fn checksum_of_base(base: &Base) -> i64 {
    let fingerprint = base.fingerprint.to_string();
    checksum(&[&base.id.get().to_le_bytes(), fingerprint.as_bytes(), &base.messages.to_le_bytes()])
}

fn checksum_of(slot: SlotRef<'_>) -> i64 {
    let id = slot.id().get().to_le_bytes();
    match slot {
        SlotRef::Entry(entry) => checksum(&[
            &id,
            &entry.epoch.get().to_le_bytes(),
            &entry.timestamp_ms.to_le_bytes(),
            b"message",
            entry.message.as_bytes(),
            entry.key.unwrap_or_default().as_bytes(),
            &entry.part.index.to_le_bytes(),
            &entry.part.of.to_le_bytes(),
        ]),
        SlotRef::Refused(_) => checksum(&[&id, b"refused"]),
    }
}

/// CRC-32 over parts, each preceded by its length, so that a byte that moves from one part to the next changes it.
/// Small parts are gathered first, because one update with many bytes costs hardly more than one with a few.
fn checksum(parts: &[&[u8]]) -> i64 {
    const GATHERED_BYTES: usize = 256;
    let mut hasher = Hasher::new();
    let (mut gathered, mut length) = ([0; GATHERED_BYTES], 0);
    for part in parts {
        for bytes in [&(part.len() as u64).to_le_bytes(), *part] {
            if length + bytes.len() > GATHERED_BYTES {
                hasher.update(&gathered[..length]);
                length = 0;
            }
            if bytes.len() > GATHERED_BYTES {
                hasher.update(bytes);
            } else {
                gathered[length..length + bytes.len()].copy_from_slice(bytes);
                length += bytes.len();
            }
        }
    }
    hasher.update(&gathered[..length]);
    i64::from(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_does_not_change_a_checksum() {
        let bytes: Vec<u8> = (0..300).map(|byte: u32| byte as u8).collect();
        for (first, second) in (0..300).flat_map(|first| (0..300).step_by(17).map(move |second| (first, second))) {
            let parts = [&bytes[..first], b"message", &bytes[..second]];
            let mut straight = Hasher::new();
            for part in parts {
                straight.update(&(part.len() as u64).to_le_bytes());
                straight.update(part);
            }
            assert_eq!(checksum(&parts), i64::from(straight.finalize()), "parts of {first}, 7 and {second} bytes");
        }
    }
}
