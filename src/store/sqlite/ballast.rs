//! Room for what must still be written when the disk is full.
//!
//! A message that cannot be stored is refused, and a refusal has to be durable before anybody is told. So some room is
//! taken beforehand, in a file of its own. When a write finds the disk full, the file is given up, refusals go into the
//! room that it leaves, and messages are taken again only once it could be made anew, with as much room beside it.

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Refusals of some ten thousand messages, and the pages of SQLite that they touch.
const BALLAST_BYTES: u64 = 4 << 20;
/// Room that must be there beside the ballast before messages are taken again, so that they are not refused again at once.
const HEADROOM_BYTES: u64 = 4 << 20;

pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn new(path: &Path) -> Ballast {
        Ballast { path: path.to_owned() }
    }

    /// Takes the room, unless it is held already; `false` if the disk is too full.
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

    /// Leaves the room to others.
    pub(super) fn give_up(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Takes room for a file, by zeroes where the file system knows no other way.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => io::copy(&mut io::repeat(0).take(bytes), file).map(|_| ()),
        other => Ok(other?),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
