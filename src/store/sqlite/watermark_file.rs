//! The *watermark file*: a small file that names what the log of this node must hold at least.
//!
//! SQLite ends its write-ahead log at the first damaged frame, and opens as if nothing came after it. The watermark
//! file shows that: it names the id up to which everything was durable at the node's last acknowledgement, and the high
//! watermark that it showed. The node writes it each time without a sync, which survives the end of the process, and
//! the checkpointer syncs it, so after a power loss it is at most a second old. It never names what is not durable.
//!
//! The file has two slots of [`SLOT_BYTES`], written alternately. The valid one with the higher number counts.
//!
//! ```text
//! offset  bytes  field
//!      0      8  magic "RLMARKS1"
//!      8      8  number of this write, from 1
//!     16     16  log id
//!     32      8  durable: id up to which everything is on disk
//!     40      8  decided: high watermark
//!     48      8  visible: messages up to it that are not refused
//!     56      8  mutations: changes to the database other than appends
//!     64      4  CRC-32 of the bytes before
//! ```
//!
//! All numbers are little-endian.

use crate::protocol::{Base, Id, LogId, Watermark};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"RLMARKS1";
/// A slot has a disk sector to itself, so that a torn write harms only one.
const SLOT_BYTES: u64 = 4_096;
const FILE_BYTES: u64 = 2 * SLOT_BYTES;
const RECORD_BYTES: usize = 68;
const CHECKSUM_AT: usize = RECORD_BYTES - 4;

/// The content of the watermark file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct WatermarkRecord {
    pub(super) log_id: Option<LogId>,
    pub(super) durable: Id,
    pub(super) decided: Id,
    pub(super) visible: u64,
    pub(super) mutations: u64,
}

impl WatermarkRecord {
    /// The watermark that was shown, or the base if that is later.
    pub(super) fn watermark(&self, base: Base) -> Watermark {
        Watermark { decided: self.decided, visible: self.visible }.not_before(base)
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct WatermarkFile {
    file: Arc<File>,
    number: u64,
    record: WatermarkRecord,
    synced: bool,
}

impl WatermarkFile {
    /// Opens the file, and creates it if it does not exist. Gives its latest valid record, too.
    pub(super) fn open(path: &Path) -> io::Result<(WatermarkFile, Option<WatermarkRecord>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        if length < FILE_BYTES {
            // Allocates both slots, which could not be written on a full disk otherwise.
            file.write_all_at(&[0; FILE_BYTES as usize][length as usize..], length)?;
        }
        let latest = latest(&file);
        let (number, record) = latest.unwrap_or_default();
        Ok((WatermarkFile { file: Arc::new(file), number, record, synced: false }, latest.map(|(_, record)| record)))
    }

    pub(super) fn record(&self) -> WatermarkRecord {
        self.record
    }

    /// Writes a record. It survives this process, and after [`WatermarkFile::sync`] a power loss.
    pub(super) fn write(&mut self, record: WatermarkRecord) -> io::Result<()> {
        if record == self.record && self.number > 0 {
            return Ok(());
        }
        let number = self.number + 1;
        self.file.write_all_at(&encode(number, &record), (number % 2) * SLOT_BYTES)?;
        (self.number, self.record, self.synced) = (number, record, false);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some((file, number)) = self.to_sync() {
            file.sync_data()?;
            self.synced(number);
        }
        Ok(())
    }

    /// The file and the number of its last write, if that is not synced. The caller can sync it without a lock on this.
    pub(super) fn to_sync(&self) -> Option<(Arc<File>, u64)> {
        (!self.synced).then(|| (Arc::clone(&self.file), self.number))
    }

    /// Notes that the write with this number is synced.
    pub(super) fn synced(&mut self, number: u64) {
        self.synced |= self.number == number;
    }
}

/// Reads the latest valid record, if there is one. Changes nothing.
pub(super) fn read(path: &Path) -> io::Result<Option<WatermarkRecord>> {
    match File::open(path) {
        Ok(file) => Ok(latest(&file).map(|(_, record)| record)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn latest(file: &File) -> Option<(u64, WatermarkRecord)> {
    [0, 1].into_iter().filter_map(|slot| read_slot(file, slot)).max_by_key(|(number, _)| *number)
}

fn encode(number: u64, record: &WatermarkRecord) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..32].copy_from_slice(&record.log_id.map_or(0, LogId::bits).to_le_bytes());
    bytes[32..40].copy_from_slice(&record.durable.get().to_le_bytes());
    bytes[40..48].copy_from_slice(&record.decided.get().to_le_bytes());
    bytes[48..56].copy_from_slice(&record.visible.to_le_bytes());
    bytes[56..64].copy_from_slice(&record.mutations.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn read_slot(file: &File, slot: u64) -> Option<(u64, WatermarkRecord)> {
    let mut bytes = [0; RECORD_BYTES];
    file.read_exact_at(&mut bytes, slot * SLOT_BYTES).ok()?;
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let log_id = u128::from_le_bytes(bytes[16..32].try_into().expect("sixteen bytes"));
    let record = WatermarkRecord {
        log_id: (log_id != 0).then(|| LogId::new(log_id)),
        durable: Id::new(number(32)),
        decided: Id::new(number(40)),
        visible: number(48),
        mutations: number(56),
    };
    (encode(number(8), &record) == bytes).then(|| (number(8), record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(durable: u64) -> WatermarkRecord {
        WatermarkRecord {
            log_id: Some(LogId::new(7)),
            durable: Id::new(durable),
            decided: Id::new(durable / 2),
            visible: 1,
            mutations: 2,
        }
    }

    fn found(path: &Path) -> Option<WatermarkRecord> {
        WatermarkFile::open(path).unwrap().1
    }

    #[test]
    fn the_latest_record_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let (mut file, nothing) = WatermarkFile::open(&path).unwrap();
        assert_eq!(nothing, None);
        for durable in 1..=5 {
            file.write(record_of(durable)).unwrap();
            assert_eq!(found(&path), Some(record_of(durable)));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_the_other_slot_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let (mut file, _) = WatermarkFile::open(&path).unwrap();
        file.write(record_of(4)).unwrap();
        file.write(record_of(6)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let slot = SLOT_BYTES as usize;
        let bytes = (0..RECORD_BYTES).chain(slot..slot + RECORD_BYTES);
        for bit in bytes.flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            let found = found(&path).expect("one slot is whole");
            assert!(found == record_of(6) || found == record_of(4), "bit {bit}: {found:?}");
        }
    }
}
