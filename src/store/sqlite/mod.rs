//! The store on disk: one SQLite database, and a watermark file beside it. `docs/format.md` is its specification.
//!
//! | File | What it is |
//! |---|---|
//! | `log.sqlite`, `log.sqlite-wal`, `log.sqlite-shm` | the log, what the node knows of it, and SQLite's write-ahead log |
//! | `watermark` | what this node has promised, see [`watermark_file`] |
//! | `ballast` | room for refusals on a full disk, see [`ballast`] |
//! | `lock` | held by the process that uses the directory, and names it |
//!
//! An append is one transaction and one sync, of the write-ahead log. [`checkpointer`] moves that log into the database
//! beside the appends.
//!
//! Caveats: SQLite repairs nothing, and takes a damaged end of its write-ahead log for the end of the log. So each slot
//! carries a checksum that is checked whenever it is read, ids must follow each other, and the watermark file tells when the end
//! is missing.

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
