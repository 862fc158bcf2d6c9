//! The store on disk: one SQLite database, and a watermark file beside it. `docs/format.md` is its specification.
//!
//! | File | What it is |
//! |---|---|
//! | `log.sqlite`, `log.sqlite-wal`, `log.sqlite-shm` | the log, what the node knows of it, and SQLite's write-ahead log |
//! | `watermark` | what the log must hold at least, see [`watermark_file`] |
//! | `ballast` | space for refusals on a full disk, see [`ballast`] |
//! | `lock` | held by the process that uses the directory, and names it |
//!
//! An append is one transaction and one sync, of the write-ahead log. [`checkpointer`] moves that log into the database
//! beside the appends.
//!
//! SQLite repairs nothing, and takes a damaged end of its write-ahead log for the end of the log. So each slot has a
//! checksum that each read checks, ids must follow each other, and the watermark file shows if the end is missing.

mod ballast;
mod checkpointer;
mod directory_lock;
mod disk;
mod examination;
mod files;
mod holders;
mod opening;
mod place;
mod promise;
mod readers;
mod room;
mod schema;
mod watermark_file;
mod write_ahead_log;

pub use directory_lock::{DirectoryLock, ReadLock};
pub use disk::Disk;
pub use examination::Examination;
pub use opening::CACHE_BYTES_DEFAULT;
