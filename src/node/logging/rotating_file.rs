//! A log file that is rotated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Appends to `PATH`. At its limit, that file becomes `PATH.1`, the former `PATH.1` becomes `PATH.2`, and so on, up to
/// `files_max`. If the disk is full or the directory is removed, lines are lost and the node goes on.
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
    /// Opens a file, and creates it and its directory if they do not exist.
    pub(super) fn open(path: &Path, bytes_max: u64, files_max: usize) -> io::Result<RotatingFile> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        Ok(RotatingFile { path: path.to_owned(), file, bytes, bytes_max, files_max })
    }

    /// Whether the file is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends lines, each whole in one file.
    pub(super) fn write_lines(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let (now, later) = lines.split_at(self.fitting(lines));
            self.file.write_all(now)?;
            self.bytes += now.len() as u64;
            if self.bytes >= self.bytes_max {
                // If that fails, the old file grows until a rotation succeeds.
                let _ = self.rotate();
            }
            lines = later;
        }
        Ok(())
    }

    /// The bytes of `lines` that go into this file: up to the end of the line in which it reaches its limit.
    fn fitting(&self, lines: &[u8]) -> usize {
        let room = usize::try_from(self.bytes_max.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let reaches = room.saturating_sub(1).min(lines.len());
        lines[reaches..].iter().position(|&byte| byte == b'\n').map_or(lines.len(), |end| reaches + end + 1)
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.files_max.saturating_sub(1);
        if oldest == 0 {
            self.file.set_len(0)?;
        } else if self.path.exists() {
            for number in (1..oldest).rev() {
                let _ = fs::rename(self.numbered(number), self.numbered(number + 1));
            }
            fs::rename(&self.path, self.numbered(1))?;
        }
        self.file = append_to(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
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
            log.write_lines(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap_or_default();
        assert_eq!(read("node.log"), "4\n");
        assert_eq!(read("node.log.1"), "third line\n");
        assert_eq!(read("node.log.2"), "second line\n");
        assert_eq!(read("node.log.3"), "");
    }

    #[test]
    fn many_lines_at_once_are_divided_between_files_at_their_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        RotatingFile::open(&path, 10, 3).unwrap().write_lines(b"12345\n123\n12\n1234567890123\n1\n").unwrap();
        let read = |name: &str| fs::read_to_string(path.with_file_name(name)).unwrap_or_default();
        assert_eq!(
            [read("node.log"), read("node.log.1"), read("node.log.2")],
            ["1\n", "12\n1234567890123\n", "12345\n123\n"]
        );
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        for _ in 0..2 {
            RotatingFile::open(&path, 1_000, 2).unwrap().write_lines(b"line\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\nline\n");
    }
}
