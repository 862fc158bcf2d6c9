//! Room in the files of the log, where the system limits the size of a file (`ulimit -f`).
//!
//! A write beyond that limit would fail as one to a broken disk does. So it is not tried: a limit that is reached is a disk
//! that is full, and some room is left for refusals, as the ballast does it on a disk.

use super::files::Files;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// Bytes that stay free for refusals, and for what SQLite writes beside a message.
const SPARE_BYTES: u64 = 4 << 20;
/// Bytes of the database and of its log for each byte of text, at most.
const BYTES_PER_BYTE: u64 = 2;

/// The size that a file may have here.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileSizeLimit(Option<u64>);

impl FileSizeLimit {
    pub(super) fn of_this_process() -> FileSizeLimit {
        FileSizeLimit(getrlimit(Resource::Fsize).current)
    }

    /// Why so many bytes of text cannot be stored, if they cannot.
    pub(super) fn refusal(self, files: &Files, text_bytes: u64) -> Option<String> {
        let limit = self.0?;
        let bytes = |path| fs::metadata(path).map_or(0, |file| file.len());
        let [database, log, ..] = files.of_the_log();
        // What is in the write-ahead log goes into the database in the end.
        let expected = bytes(database) + bytes(log) + text_bytes * BYTES_PER_BYTE + SPARE_BYTES;
        (expected > limit).then(|| {
            format!(
                "the files in {} have nearly reached the size that a file may have here, {limit} bytes; raise it with \
                 ulimit -f and start this node again",
                files.directory.display()
            )
        })
    }
}
