//! Reads SQLite's write-ahead log without SQLite, which would move that log and so overwrite the pages under it. The
//! formats are those of <https://www.sqlite.org/walformat.html>.
//!
//! SQLite does not read a page of the database that the log holds, too. So damage there does no harm yet, but it shows
//! that the disk is unreliable.

use super::files::Files;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Its last bit gives the byte order of the words of a checksum.
const MAGIC: u32 = 0x377f_0682;
/// Size of the header of the index, which has two copies of it.
const INDEX_HEADER_BYTES: usize = 48;
/// Where that header has the salts of the log that the index belongs to.
const SALTS_AT: std::ops::Range<usize> = 32..40;
/// Where the index has the number of frames that were certainly moved.
const MOVED_AT: usize = 96;
/// Where the index has the number of frames that were perhaps moved.
const PERHAPS_MOVED_AT: usize = 128;

/// The state of those pages of the database that the write-ahead log holds, too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Beneath {
    /// There is no log, or it is empty.
    Nothing,
    /// The database without the log is as it was when the log was last moved into it, so it can be read.
    Whole,
    /// A part of the log was perhaps moved: the process ended meanwhile, or there is no valid index. The database
    /// without the log may be a mixture.
    Mixed,
}

/// The committed frames of a write-ahead log: for each page, the numbers of its frames and the sums of their bytes.
struct Frames {
    pages: BTreeMap<u32, Vec<(u32, u32)>>,
    page_bytes: usize,
    salts: [u8; 8],
}

/// Compares the pages of the database with those that were moved there.
///
/// A checkpoint moves the latest frame of each page, unless that frame is later than what a reader allows it to move.
/// So only a page without frames after the moved ones must be the same as in the log.
///
/// # Errors
/// The inner error is a sentence about the first page that differs from its moved frame. The outer one is a file that
/// cannot be read.
pub(super) fn examine(files: &Files) -> io::Result<Result<Beneath, String>> {
    let Some(frames) = read_frames(files)? else { return Ok(Ok(Beneath::Nothing)) };
    let Some((moved, perhaps_moved)) = moved_frames(files, frames.salts) else { return Ok(Ok(Beneath::Mixed)) };
    let database = File::open(files.database())?;
    let mut page = vec![0; frames.page_bytes];
    let mut is_whole = moved == perhaps_moved;
    for (&number, versions) in &frames.pages {
        let before = versions.partition_point(|(frame, _)| *frame <= moved);
        let (Some((_, expected)), Some(index)) = (versions[..before].last(), number.checked_sub(1)) else { continue };
        let offset = u64::from(index) * frames.page_bytes as u64;
        let found = match database.read_exact_at(&mut page, offset) {
            Ok(()) => Some(crc32fast::hash(&page)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        if found == Some(*expected) {
            continue;
        }
        if before == versions.len() {
            let log = files.write_ahead_log();
            return Ok(Err(format!(
                "page {number}, at byte {offset}, is not what was moved there from {}; readers do not see it, because that \
                 log still holds the page",
                log.display()
            )));
        }
        is_whole = false;
    }
    Ok(Ok(if is_whole { Beneath::Whole } else { Beneath::Mixed }))
}

/// The number of frames of the log with these salts that were certainly moved into the database, and of those that were
/// perhaps moved.
fn moved_frames(files: &Files, salts: [u8; 8]) -> Option<(u32, u32)> {
    let index = fs::read(files.index()).ok()?;
    let (first, second) = (index.get(..INDEX_HEADER_BYTES)?, index.get(INDEX_HEADER_BYTES..2 * INDEX_HEADER_BYTES)?);
    if first != second || first[SALTS_AT] != salts {
        return None;
    }
    let number = |at: usize| Some(u32::from_ne_bytes(index.get(at..at + 4)?.try_into().ok()?));
    let moved = number(MOVED_AT)?;
    Some((moved, number(PERHAPS_MOVED_AT)?.max(moved)))
}

/// Reads the frames up to the last committed one, or `None` if there are none.
fn read_frames(files: &Files) -> io::Result<Option<Frames>> {
    let mut log = match File::open(files.write_ahead_log()) {
        Ok(file) => BufReader::with_capacity(1 << 20, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER_BYTES];
    if !read_whole(&mut log, &mut header)? {
        return Ok(None);
    }
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (magic, page_bytes) = (word(&header, 0), word(&header, 8) as usize);
    let mut sum = Sum { is_big_endian: magic & 1 == 1, words: [0, 0] };
    sum.add(&header[..24]);
    if magic & !1 != MAGIC || !(512..=65_536).contains(&page_bytes) || !sum.is(&header[24..]) {
        return Ok(None);
    }
    let salts: [u8; 8] = header[16..24].try_into().expect("eight bytes");
    let (mut pages, mut uncommitted) = (BTreeMap::<u32, Vec<(u32, u32)>>::new(), Vec::new());
    let (mut head, mut page) = ([0; FRAME_HEADER_BYTES], vec![0; page_bytes]);
    for frame in 1.. {
        if !read_whole(&mut log, &mut head)? || !read_whole(&mut log, &mut page)? {
            break;
        }
        sum.add(&head[..8]);
        sum.add(&page);
        if head[8..16] != salts || !sum.is(&head[16..]) {
            break;
        }
        uncommitted.push((word(&head, 0), (frame, crc32fast::hash(&page))));
        if word(&head, 4) > 0 {
            uncommitted.drain(..).for_each(|(number, version)| pages.entry(number).or_default().push(version));
        }
    }
    Ok((!pages.is_empty()).then_some(Frames { pages, page_bytes, salts }))
}

/// Fills a buffer. Gives `false` if the file ends before.
fn read_whole(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum of a log, which accumulates from frame to frame.
struct Sum {
    is_big_endian: bool,
    words: [u32; 2],
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8]| {
            let bytes = bytes.try_into().expect("four bytes");
            if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let [mut first, mut second] = self.words;
        for pair in bytes.chunks_exact(8) {
            first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
            second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
        }
        self.words = [first, second];
    }

    fn is(&self, stored: &[u8]) -> bool {
        stored[..4] == self.words[0].to_be_bytes() && stored[4..8] == self.words[1].to_be_bytes()
    }
}
