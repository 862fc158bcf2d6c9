//! Writes a history down while it happens.

use super::format::{End, Header, Line, Micros};
use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A history that grows, shared by all clients of a run.
pub(crate) struct Recorder {
    began: Instant,
    file: Mutex<Growing>,
}

struct Growing {
    out: BufWriter<File>,
    lines: usize,
    /// The last line was written; what comes later is too late.
    ended: bool,
    /// The first line that could not be written. Then the history proves nothing.
    failed: Option<io::Error>,
}

impl Recorder {
    /// Begins a history. What the file held before is gone, unless another run is writing it.
    pub(crate) fn create(path: &Path, header: Header) -> io::Result<Recorder> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another run is writing its history there"),
            TryLockError::Error(error) => error,
        })?;
        file.set_len(0)?;
        let out = BufWriter::new(file);
        let recorder =
            Recorder { began: Instant::now(), file: Mutex::new(Growing { out, lines: 0, ended: false, failed: None }) };
        recorder.note(&Line::Header(header));
        Ok(recorder)
    }

    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> Micros {
        Micros::try_from(self.began.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Writes one line down, unless the history has ended.
    pub(crate) fn note(&self, line: &Line) {
        self.lock().note(line);
    }

    /// Writes the last line down, and says whether all of them were written.
    pub(crate) fn end(&self, not_back: Option<String>) -> io::Result<()> {
        let mut file = self.lock();
        let lines = file.lines + 1;
        file.note(&Line::End(End { at: self.now(), not_back, lines }));
        file.ended = true;
        match file.failed.take() {
            Some(error) => Err(error),
            None => file.out.flush(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Growing> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Growing {
    fn note(&mut self, line: &Line) {
        if self.ended {
            return;
        }
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut json| {
            json.push(b'\n');
            self.out.write_all(&json)
        });
        self.lines += 1;
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::read;
    use tempfile::NamedTempFile;

    fn header(seed: u64) -> Header {
        Header::sample(seed, &["master"])
    }

    /// Why there are no final logs.
    fn no_cluster() -> Option<String> {
        Some("there is no cluster".to_owned())
    }

    #[test]
    fn two_runs_do_not_write_one_file() {
        let file = NamedTempFile::new().unwrap();
        let first = Recorder::create(file.path(), header(1)).unwrap();
        let second = Recorder::create(file.path(), header(2)).err().expect("the file is in use");
        assert!(second.to_string().contains("another run"), "{second}");
        first.end(no_cluster()).unwrap();
        assert_eq!(read(file.path()).unwrap().header.seed, 1);
        drop(first);
        Recorder::create(file.path(), header(3)).unwrap().end(no_cluster()).unwrap();
        assert_eq!(read(file.path()).unwrap().header.seed, 3);
    }
}
