//! The store on disk: one SQLite database, and a floor beside it. `docs/format.md` is its specification.
//!
//! | File | What it is |
//! |---|---|
//! | `log.sqlite`, `log.sqlite-wal`, `log.sqlite-shm` | the log, what the node knows of it, and SQLite's write-ahead log |
//! | `floor` | what this node has promised, see [`floor`] |
//! | `reserve` | room for refusals on a full disk, see [`reserve`] |
//! | `lock` | held by the process that uses the directory, and names it |
//!
//! An append is one transaction and one sync, of the write-ahead log. [`housekeeping`] moves that log into the database
//! beside the appends.
//!
//! Caveats: SQLite repairs nothing, and takes a damaged end of its write-ahead log for the end of the log. So each slot
//! carries a checksum that is checked whenever it is read, ids must follow each other, and the floor tells when the end
//! is missing.

mod claim;
mod disk;
mod examination;
mod files;
mod floor;
mod holders;
mod housekeeping;
mod opening;
mod place;
mod promise;
mod readers;
mod reserve;
mod room;
mod schema;
mod write_ahead_log;

pub use claim::{Claim, ReadLock};
pub use disk::Disk;
pub use examination::Examination;
pub use opening::CACHE_BYTES_DEFAULT;
