//! Whether the data directory still leads to the files that this node has open.
//!
//! A node whose files were removed, moved or replaced still writes without errors, because it holds them open, and its
//! next start loses everything that it acknowledged meanwhile. So the checkpointer compares the device and inode at
//! each path with those that it had at the start.

use super::files::Files;
use super::holders::{FileId, id_of, others_with};
use std::io;
use std::path::PathBuf;

/// The files of a data directory, as they were when it was opened.
#[derive(Debug)]
pub(super) struct OpenFiles(Vec<(PathBuf, FileId)>);

impl OpenFiles {
    /// Notes the files, all of which must exist.
    pub(super) fn note(files: &Files) -> io::Result<OpenFiles> {
        let paths = files.of_the_log().into_iter().chain([files.lock()]);
        paths.map(|path| id_of(&path).map(|id| (path, id))).collect::<io::Result<_>>().map(OpenFiles)
    }

    /// The first change, in words. Errors other than a missing file are ignored, because they do not show that the file
    /// is gone.
    pub(super) fn what_changed(&self) -> Option<String> {
        self.0.iter().find_map(|(path, noted)| match id_of(path) {
            Ok(found) if found == *noted => None,
            Ok(_) => Some(format!("{} is another file now", path.display())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Some(format!("{} is gone", path.display()))
            }
            Err(_) => None,
        })
    }

    /// The ids and names of the other processes that have the database open, as far as `/proc` shows them.
    pub(super) fn others_with_database(&self) -> Vec<String> {
        self.0.first().map_or_else(Vec::new, |(_, database)| others_with(*database))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;
    use std::fs;

    #[test]
    fn each_file_that_is_removed_or_replaced_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let _open = Disk::open(&data).unwrap();
        let files = Files { directory: data.clone() };
        let place = OpenFiles::note(&files).unwrap();
        assert_eq!(place.what_changed(), None);
        for path in files.of_the_log().into_iter().chain([files.lock()]) {
            let aside = directory.path().join("aside");
            fs::rename(&path, &aside).unwrap();
            let what = place.what_changed().expect("it is gone");
            assert_eq!(what, format!("{} is gone", path.display()));
            fs::copy(&aside, &path).unwrap();
            let what = place.what_changed().expect("it is a copy");
            assert_eq!(what, format!("{} is another file now", path.display()));
            fs::rename(&aside, &path).unwrap();
            assert_eq!(place.what_changed(), None);
        }
    }
}
