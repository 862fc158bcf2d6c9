//! The limit for the size of a file (`ulimit -f`).
//!
//! A write beyond that limit would fail like one to a broken disk. So the store does not try it: near the limit it
//! takes no messages, as on a full disk, and leaves space for refusals, as the ballast does.

use super::files::Files;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// Bytes that stay free for refusals, and for what SQLite writes beside a message.
const SPARE_BYTES: u64 = 4 << 20;
/// The most bytes of the database and of its write-ahead log for each byte of text.
const BYTES_PER_BYTE: u64 = 2;

/// The limit of this process, if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileSizeLimit(Option<u64>);

impl FileSizeLimit {
    pub(super) fn of_this_process() -> FileSizeLimit {
        FileSizeLimit(getrlimit(Resource::Fsize).current)
    }

    /// Why the files have no room for `text_bytes`, or `None` if they have.
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
