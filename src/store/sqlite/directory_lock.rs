//! Locks a data directory, so that one process uses it at a time.

use super::files::{Files, in_directory, sync_directory};
use super::holders::others_with_file;
use crate::store::StoreError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The directory in which a restore makes a log before it moves it to its place.
const UNFINISHED: &str = "restoring";

/// The exclusive lock on a data directory. It opens no other file there.
#[derive(Debug)]
pub struct DirectoryLock {
    files: Files,
    _lock: File,
}

impl DirectoryLock {
    /// Locks a directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// If another process uses it, which the sentence names, or if it cannot be written.
    pub fn take(directory: &Path) -> Result<DirectoryLock, StoreError> {
        let files = Files { directory: directory.to_owned() };
        fs::create_dir_all(directory).map_err(|error| in_directory(directory, &error))?;
        let lock = lock(&files)?;
        Ok(DirectoryLock { files, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.files.directory
    }

    /// The directory in which a restore makes a log before it moves it here. No node starts while it exists.
    #[must_use]
    pub fn unfinished(&self) -> PathBuf {
        self.directory().join(UNFINISHED)
    }

    /// Whether a directory has any file of a log.
    #[must_use]
    pub fn holds_log(directory: &Path) -> bool {
        Files { directory: directory.to_owned() }.of_the_log().iter().any(|path| path.exists())
    }

    /// Moves the log into another directory, which this creates.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn put_aside(&self, aside: &Path) -> Result<(), StoreError> {
        let moved =
            fs::create_dir_all(aside).and_then(|()| move_log(&self.files, &Files { directory: aside.to_owned() }));
        moved.map_err(|error| in_directory(aside, &error))
    }

    /// Moves a closed log from another directory here, and removes that directory. The watermark file comes last,
    /// because no node starts on a database without it.
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

/// A shared lock on a data directory, which keeps nodes from starting there.
#[derive(Debug)]
pub struct ReadLock {
    pub(super) files: Files,
    /// `None` if the directory has no lock file. Then nothing keeps nodes from starting.
    _lock: Option<File>,
}

impl ReadLock {
    /// Keeps nodes from a directory without changing it.
    ///
    /// # Errors
    /// If a process uses it, which the sentence names, or if it cannot be read.
    pub fn take(directory: &Path) -> Result<ReadLock, StoreError> {
        let files = Files { directory: directory.to_owned() };
        let path = files.lock();
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadLock { files, _lock: None }),
            Err(error) => return Err(unusable(&path, &error)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(ReadLock { files, _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(in_use(&files, lock)),
            Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
        }
    }
}

/// Refuses a directory in which an interrupted restore has left a part of a log.
pub(super) fn check_finished(directory: &Path) -> Result<(), StoreError> {
    let unfinished = directory.join(UNFINISHED);
    if unfinished.exists() {
        return Err(StoreError::new(format!(
            "a restore into {} was interrupted; run \"master restore\" again, or remove {}",
            directory.display(),
            unfinished.display()
        )));
    }
    Ok(())
}

/// Names the process that uses the directory. The lock file has the id of the last node, which may have ended, because
/// a command that only reads does not write its own.
fn in_use(files: &Files, mut lock: File) -> StoreError {
    let mut holders = others_with_file(&files.lock());
    if holders.is_empty() {
        let mut number = String::new();
        let _ = lock.read_to_string(&mut number);
        holders.push(format!("process {}", number.trim()));
    }
    StoreError::new(format!(
        "{} is in use by {}; stop that process, or choose another DATA_DIR",
        files.directory.display(),
        holders.join(", ")
    ))
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::new(format!("{} cannot be used: {error}", path.display()))
}

fn lock(files: &Files) -> Result<File, StoreError> {
    let path = files.lock();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {
            let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            written.map(|()| file).map_err(|error| unusable(&path, &error))
        }
        Err(TryLockError::WouldBlock) => Err(in_use(files, file)),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}
