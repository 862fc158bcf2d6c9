//! Which processes have a file open.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// Joins the names of processes for a sentence.
pub(super) fn holders(processes: &[String]) -> String {
    if processes.is_empty() { "a process that the system does not name".to_owned() } else { processes.join(", ") }
}

/// The ids and names of the other processes that have a file open, as far as `/proc` shows them.
pub(super) fn others_with_file(path: &Path) -> Vec<String> {
    id_of(path).map(others_with).unwrap_or_default()
}

/// The same, for a file that is known by device and inode.
pub(super) fn others_with(file: FileId) -> Vec<String> {
    let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    let mut others = Vec::new();
    for process in entries(Path::new("/proc")) {
        let number = process.file_name().to_string_lossy().into_owned();
        let is_other = number != own && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_other && entries(&process.path().join("fd")).any(|open| id_of(&open.path()).is_ok_and(|id| id == file)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            others.push(format!("process {number} ({})", name.trim()));
        }
    }
    others
}

pub(super) fn id_of(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
