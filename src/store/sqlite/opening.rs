//! Opens a data directory, and starts its checkpointer.

use super::checkpointer;
use super::disk::Disk;
use crate::store::StoreError;
use std::path::Path;
use std::sync::Arc;

/// Memory for pages of the database, unless configured otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 2 << 20;

impl Disk {
    /// Opens a data directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// If another process uses it, if it cannot be read or written, or if its log is damaged, or holds less than the
    /// watermark file names. Nothing is changed then.
    pub fn open(directory: &Path) -> Result<Arc<Disk>, StoreError> {
        Disk::open_with_cache(directory, CACHE_BYTES_DEFAULT)
    }

    /// Opens a data directory, with `cache_bytes` of memory for pages that are written, and as many for pages that are
    /// read.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn open_with_cache(directory: &Path, cache_bytes: usize) -> Result<Arc<Disk>, StoreError> {
        let (disk, unchecked) = Disk::open_alone(directory, cache_bytes)?;
        checkpointer::start(&disk, unchecked)?;
        Ok(disk)
    }
}
