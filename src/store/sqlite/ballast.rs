//! Disk space for what must still be written when the disk is full.
//!
//! The master refuses a message that it cannot store, and a refusal has to be durable before the client gets its reply.
//! So the store reserves space in a file of its own, the *ballast*. When a write finds the disk full, the store removes
//! that file, and refusals use its space. It takes messages again once it could create the file anew, with
//! [`HEADROOM_BYTES`] beside it.

use super::files::is_full;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Enough for refusals of some ten thousand messages, and the pages of SQLite that they touch.
const BALLAST_BYTES: u64 = 4 << 20;
/// Free space beside the ballast before the store takes messages again. Without it, the disk would be full again at
/// once.
const HEADROOM_BYTES: u64 = 4 << 20;

pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn new(path: &Path) -> Ballast {
        Ballast { path: path.to_owned() }
    }

    /// Creates the file, unless it exists. Gives `false` if the disk is too full.
    ///
    /// # Errors
    /// If the file cannot be written for another reason.
    pub(super) fn take(&self) -> io::Result<bool> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() == BALLAST_BYTES) {
            return Ok(true);
        }
        let filled =
            OpenOptions::new().write(true).create(true).truncate(true).open(&self.path).and_then(|mut file| {
                fill(&mut file, BALLAST_BYTES + HEADROOM_BYTES).and_then(|()| file.set_len(BALLAST_BYTES))
            });
        match filled {
            Ok(()) => Ok(true),
            Err(error) => {
                let given_up = self.give_up();
                if is_full(&error) { given_up.map(|()| false) } else { Err(error) }
            }
        }
    }

    /// Removes the file, so that its space is free.
    pub(super) fn give_up(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Allocates space for a file. Where the file system cannot, this writes zeroes.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => io::copy(&mut io::repeat(0).take(bytes), file).map(|_| ()),
        other => Ok(other?),
    }
}
