//! The store on disk: one SQLite database, and a watermark file beside it. `docs/format.md` is its specification.
//!
//! | File | What it is |
//! |---|---|
//! | `log.sqlite`, `log.sqlite-wal`, `log.sqlite-shm` | the log, what the node knows of it, and SQLite's write-ahead log |
//! | `watermark` | what the log must hold at least, see [`watermark_file`] |
//! | `ballast` | space for refusals on a full disk, see [`ballast`] |
//! | `rollback-*.ndjson` | what was dropped, see [`rollback_file`] |
//! | `lock` | held by the process that uses the directory, and names it |
//!
//! # What is synced, and when
//!
//! | What | Sync | By |
//! |---|---|---|
//! | a round of messages, a refusal, an epoch, the list of secondaries | of the write-ahead log, one per transaction, before the operation returns | `Disk::write` |
//! | the high watermark | none before it is shown: the watermark file is written, which survives the end of the process | `Disk::set_record` |
//! | the watermark file | every second, when the node is idle, at a stop, and before the end of the log is dropped | [`checkpointer`], `Disk::close`, `Disk::drop_from` |
//! | the database | whenever the write-ahead log is moved into it: after about 4 MiB, and when the node is idle | [`checkpointer`] |
//! | the directory | when its files are made, and when one is replaced | [`files`], [`directory_lock`] |
//! | all of it | at every start, because a killed process may have left it in the page cache only | `Disk::open_alone` |
//!
//! A sync that fails latches the store: nothing is written any more until a restart has found out what is on disk.
//!
//! # What is checked
//!
//! SQLite repairs nothing, and takes a damaged end of its write-ahead log for the end of the log. So each slot has a
//! checksum that each read checks, ids must follow each other, and the watermark file shows if the end is missing.

mod ballast;
mod checkpointer;
mod directory_lock;
mod disk;
mod examination;
mod file_size_limit;
mod files;
mod holders;
mod lineage;
mod opening;
mod place;
mod promise;
mod readers;
mod rollback_file;
mod schema;
mod watermark_file;
mod write_ahead_log;

pub use directory_lock::{DirectoryLock, ReadLock};
pub use disk::Disk;
pub use examination::Examination;
pub use opening::CACHE_BYTES_DEFAULT;
