//! Who may use a data directory: one process at a time.

use super::{Files, in_directory, sync_directory};
use crate::store::StoreError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A data directory that belongs to this process, as long as this is held. The files in it are not opened.
#[derive(Debug)]
pub struct Claim {
    files: Files,
    _lock: File,
}

impl Claim {
    /// Takes a directory, and makes it if need be.
    ///
    /// # Errors
    /// If another process uses it, which is named, or it cannot be written.
    pub fn take(directory: &Path) -> Result<Claim, StoreError> {
        let files = Files { directory: directory.to_owned() };
        fs::create_dir_all(directory).map_err(|error| in_directory(directory, &error))?;
        let lock = lock(&files)?;
        Ok(Claim { files, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.files.directory
    }

    /// Where a log is made before it is moved here. No node starts while it is there.
    #[must_use]
    pub fn unfinished(&self) -> PathBuf {
        self.directory().join("restoring")
    }

    /// Whether there is anything of a log in it.
    #[must_use]
    pub fn holds_log(&self) -> bool {
        self.files.of_the_log().iter().any(|path| path.exists())
    }

    /// Moves the log into another directory, which is made.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn put_aside(&self, aside: &Path) -> Result<(), StoreError> {
        let moved =
            fs::create_dir_all(aside).and_then(|()| move_log(&self.files, &Files { directory: aside.to_owned() }));
        moved.map_err(|error| in_directory(aside, &error))
    }

    /// Takes over a log that was made in another directory and closed, and removes that directory. The floor comes last:
    /// a database without it is refused.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn adopt(&self, made: &Path) -> Result<(), StoreError> {
        let moved =
            move_log(&Files { directory: made.to_owned() }, &self.files).and_then(|()| fs::remove_dir_all(made));
        moved.map_err(|error| in_directory(self.directory(), &error))
    }
}

fn move_log(from: &Files, to: &Files) -> io::Result<()> {
    for (from, to) in from.of_the_log().iter().zip(to.of_the_log()) {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    sync_directory(&to.directory)?;
    sync_directory(&from.directory)
}

/// The second process is told which the first is.
fn lock(files: &Files) -> Result<File, StoreError> {
    let path = files.lock();
    let here = |error: &io::Error| StoreError::new(format!("{} cannot be used: {error}", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| here(&error))?;
    match file.try_lock() {
        Ok(()) => {
            let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            written.map(|()| file).map_err(|error| here(&error))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            Err(StoreError::new(format!(
                "{} is in use by process {}; stop that one, or choose another DATA_DIR",
                files.directory.display(),
                holder.trim()
            )))
        }
        Err(TryLockError::Error(error)) => Err(here(&error)),
    }
}
