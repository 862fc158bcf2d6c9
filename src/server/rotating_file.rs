//! A log file that does not grow for ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Appends to `PATH`; when that reaches its limit it becomes `PATH.1`, the former `PATH.1` becomes `PATH.2`, and so on,
/// up to a number of files. If the disk is full or the directory goes away, lines are lost and nothing else happens.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    /// Files kept, the current one included.
    files_max: usize,
}

impl RotatingFile {
    /// Opens a file, and creates it and its directory if need be.
    pub(super) fn open(path: &Path, bytes_max: u64, files_max: usize) -> io::Result<RotatingFile> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        Ok(RotatingFile { path: path.to_owned(), file, bytes, bytes_max, files_max })
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.files_max.saturating_sub(1);
        for number in (1..oldest).rev() {
            let _ = fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        if oldest > 0 {
            fs::rename(&self.path, self.numbered(1))?;
        } else {
            self.file.set_len(0)?;
        }
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    /// Called between lines, so a line is never split over two files.
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        if self.bytes >= self.bytes_max { self.rotate() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lines_move_on_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("node.log");
        let mut log = RotatingFile::open(&path, 10, 3).unwrap();
        for line in ["first line\n", "second line\n", "third line\n", "4\n"] {
            log.write_all(line.as_bytes()).unwrap();
            log.flush().unwrap();
        }
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap_or_default();
        assert_eq!(read("node.log"), "4\n");
        assert_eq!(read("node.log.1"), "third line\n");
        assert_eq!(read("node.log.2"), "second line\n");
        assert_eq!(read("node.log.3"), "");
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        for _ in 0..2 {
            RotatingFile::open(&path, 1_000, 2).unwrap().write_all(b"line\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\nline\n");
    }
}
