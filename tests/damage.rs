//! A damaged data directory is either read exactly as it was, or refused with an error: never with a wrong message,
//! never with less than was promised, never with a panic.
//!
//! The short version flips one bit of some bytes of each file. `DAMAGE=all cargo test --release --test damage` flips
//! every bit of every byte, and cuts at every length.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

use replicated_log::protocol::{
    Entry, Epoch, EpochHistory, Id, Incarnation, Lineage, LogId, Roster, Slot, Watermark, WritePart,
};
use replicated_log::store::{Disk, Examination, Identity, KnownMember, ReadLimit, ReadLock, Store, StoreError};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };
const SLOTS: u64 = 60;

/// Everything that a node reads back.
#[derive(Debug, PartialEq)]
struct Content {
    slots: Vec<Slot>,
    refused: Vec<Id>,
    identity: Option<Identity>,
    watermark: Watermark,
}

fn content(store: &dyn Store) -> Result<Content, StoreError> {
    Ok(Content {
        slots: store.read(Id::ZERO, Id::MAX, ALL)?,
        refused: store.refused(Id::ZERO, Id::MAX)?,
        identity: store.identity()?,
        watermark: store.watermark(),
    })
}

/// A log with slots of every kind. Its last slots are only in the write-ahead log.
fn write_log(directory: &Path) -> Content {
    let store = Disk::open(directory).unwrap();
    let slot = |number: u64| {
        let id = Id::new(number);
        if number.is_multiple_of(7) {
            return Slot::Refused(id);
        }
        let message = format!("message {number} {}", "x".repeat(number as usize)).into();
        Slot::Entry(Arc::new(Entry {
            id,
            epoch: Epoch::new(1),
            timestamp_ms: 1_700_000_000_000 + number,
            message,
            key: None,
            part: WritePart::WHOLE,
        }))
    };
    let mut history = EpochHistory::default();
    history.begin(Epoch::new(1), Id::new(1), Incarnation::new(1));
    let identity = Identity {
        lineage: Lineage { log_id: LogId::new(42), history, roster: Roster::default(), promised: None },
        members: vec![KnownMember { url: "http://localhost:5001".to_owned(), name: "secondary-1".to_owned() }],
    };
    store.set_identity(&identity).unwrap();
    let slots: Vec<Slot> = (1..=SLOTS).map(slot).collect();
    store.append(&slots[..40]).unwrap();
    store.refuse(&[Id::new(3)]).unwrap();
    store.close();
    drop(store);
    let store = Disk::open(directory).unwrap();
    store.append(&slots[40..]).unwrap();
    store.refuse(&[Id::new(50)]).unwrap();
    store.note_watermark(Watermark { decided: Id::new(49), visible: 41 }).unwrap();
    let content = content(&*store).unwrap();
    // The directory after a kill -9: all of it is in the write-ahead log.
    copy(directory, &directory.with_extension("crashed"));
    // The directory once the checkpointer is done: the database has everything, and so does the write-ahead log.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !all_is_moved(directory) {
        assert!(Instant::now() < deadline, "the write-ahead log is moved when nothing happens");
        thread::sleep(Duration::from_millis(20));
    }
    copy(directory, &directory.with_extension("moved"));
    content
}

/// Whether all frames are moved, according to the index of the write-ahead log: its last frame, and the moved ones.
fn all_is_moved(directory: &Path) -> bool {
    let index = fs::read(directory.join("log.sqlite-shm")).unwrap();
    let number = |at: usize| u32::from_ne_bytes(index[at..at + 4].try_into().unwrap());
    let [frames, moved, being_moved] = [16, 96, 128].map(number);
    frames > 0 && moved == frames && being_moved == frames
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The result of opening a damaged copy.
#[derive(Debug, PartialEq)]
enum Verdict {
    Exact,
    Refused(String),
}

fn judge(directory: &Path, expected: &Content, damage: &str) -> Verdict {
    match Disk::open(directory).and_then(|store| content(&*store)) {
        Ok(found) => {
            // If the newer half of the watermark file is damaged, the older one counts: lower, but true.
            let older_watermark = found.watermark.decided <= expected.watermark.decided;
            let found = Content { watermark: expected.watermark, ..found };
            assert!(older_watermark && found == *expected, "{damage}: read as {found:#?}");
            Verdict::Exact
        }
        Err(why) => Verdict::Refused(why.to_string()),
    }
}

struct Images {
    directory: TempDir,
    expected: Content,
    files: Vec<(String, Vec<u8>)>,
}

impl Images {
    fn new() -> Images {
        let directory = tempfile::tempdir().unwrap();
        let expected = write_log(&directory.path().join("log"));
        let crashed = directory.path().join("log.crashed");
        let read = |name: &str| (name.to_owned(), fs::read(crashed.join(name)).unwrap());
        let mut files = ["log.sqlite", "log.sqlite-wal", "watermark"].map(read);
        Images::cut_behind_frames(&mut files[1].1);
        Images { directory, expected, files: files.into() }
    }

    /// Cuts off the part of a write-ahead log that is not written yet.
    fn cut_behind_frames(write_ahead_log: &mut Vec<u8>) {
        const HEADER_BYTES: usize = 32;
        const FRAME_BYTES: usize = 24 + 4_096;
        let written = write_ahead_log.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let frames = written.saturating_sub(HEADER_BYTES).div_ceil(FRAME_BYTES);
        write_ahead_log.truncate(HEADER_BYTES + frames * FRAME_BYTES);
    }

    /// Opens a copy in which one file has another content.
    fn with(&self, name: &str, content: &[u8], damage: &str) -> Verdict {
        let copied = self.directory.path().join("copy");
        let _ = fs::remove_dir_all(&copied);
        fs::create_dir_all(&copied).unwrap();
        for (other, whole) in &self.files {
            fs::write(copied.join(other), if other == name { content } else { whole }).unwrap();
        }
        judge(&copied, &self.expected, damage)
    }
}

fn everything() -> bool {
    std::env::var("DAMAGE").is_ok_and(|value| value == "all")
}

#[test]
fn an_undamaged_copy_is_read_exactly() {
    let images = Images::new();
    let (name, whole) = &images.files[0];
    assert_eq!(images.with(name, whole, "none"), Verdict::Exact);
}

#[test]
fn a_flipped_bit_is_harmless_or_named() {
    let images = Images::new();
    let mut refused = 0;
    for (name, whole) in &images.files {
        let step = if everything() { 1 } else { 8 * whole.len() / 250 + 3 };
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let verdict = images.with(name, &damaged, &format!("bit {bit} of {name}"));
            refused += usize::from(verdict != Verdict::Exact);
        }
    }
    assert!(refused > 50, "damage was noticed {refused} times only");
}

#[test]
fn a_file_that_was_cut_is_harmless_or_named() {
    let images = Images::new();
    for (name, whole) in &images.files {
        let step = if everything() { 1 } else { whole.len() / 60 + 1 };
        for length in (0..whole.len()).step_by(step) {
            let verdict = images.with(name, &whole[..length], &format!("{name} cut to {length} bytes"));
            // A cut behind the newest record of a file does no harm. A cut into the log does.
            if name == "log.sqlite-wal" && length < whole.len() - 4_200 {
                assert!(matches!(verdict, Verdict::Refused(_)), "{name} cut to {length} bytes: {verdict:?}");
            }
        }
    }
}

#[test]
fn a_missing_end_is_named_with_its_ids() {
    let images = Images::new();
    let Verdict::Refused(why) = images.with("log.sqlite-wal", &[], "no write-ahead log") else { panic!("not noticed") };
    assert!(why.contains("has lost the ids 41–60") && why.contains("backup"), "{why}");
}

#[test]
fn one_data_directory_serves_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let first = Disk::open(directory.path()).unwrap();
    let why = Disk::open(directory.path()).err().expect("the second is refused").to_string();
    let this_process = format!("in use by process {}", std::process::id());
    assert!(why.contains(&this_process), "{why}");
    let why = ReadLock::take(directory.path()).expect_err("it is not examined meanwhile").to_string();
    assert!(why.contains(&this_process), "{why}");
    first.close();
    drop(first);

    // Two readers may hold it at once, and no node starts meanwhile.
    let read = || ReadLock::take(directory.path());
    let deadline = Instant::now() + Duration::from_secs(60);
    let examined = loop {
        match read() {
            Ok(lock) => break lock,
            Err(why) => assert!(Instant::now() < deadline, "the thread of the first one leaves it: {why}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let _also = read().expect("a second reader");
    let why = Disk::open(directory.path()).err().expect("it is being examined").to_string();
    assert!(why.contains("is in use by"), "{why}");
    drop(examined);
}

#[test]
fn a_directory_whose_making_was_cut_off_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    Disk::open(directory.path()).unwrap();
    // As a kill -9 leaves it after the database got its tables, and before the first watermark file was written.
    fs::write(directory.path().join("watermark"), []).unwrap();
    let store = Disk::open(directory.path()).expect("nothing was promised yet");
    assert_eq!(store.last(), Id::ZERO);
    store.append(&[Slot::Refused(Id::new(1))]).unwrap();
    drop(store);
    fs::write(directory.path().join("watermark"), []).unwrap();
    let why = Disk::open(directory.path()).err().expect("now there is something to lose").to_string();
    assert!(why.contains("watermark") && why.contains("cannot know whether"), "{why}");
}

/// The verdict of `verify` on a directory.
fn examine(directory: &Path) -> Result<bool, StoreError> {
    let examination = Examination::open(ReadLock::take(directory)?)?;
    let mut slots = 0;
    examination.visit_all(|_| slots += 1)?;
    assert_eq!((slots, examination.last()), (SLOTS, Id::new(SLOTS)));
    examination.check_beneath()
}

#[test]
fn an_examination_changes_nothing_and_sees_everything() {
    let images = Images::new();
    for name in ["log.crashed", "log.moved"] {
        let directory = images.directory.path().join(name);
        for without_index in [false, true] {
            if without_index {
                fs::remove_file(directory.join("log.sqlite-shm")).unwrap();
            }
            let snapshot = || {
                let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
                files.sort();
                let read = |file| (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().modified().unwrap(), file);
                files.into_iter().map(read).collect::<Vec<_>>()
            };
            let before = snapshot();
            assert_eq!(examine(&directory).unwrap(), !without_index, "{name}: no other file tells what was moved");
            assert!(before == snapshot(), "{name} was changed");
        }
    }
}

#[test]
fn an_examination_finds_a_flipped_bit_that_lies_under_the_write_ahead_log() {
    let images = Images::new();
    let directory = images.directory.path().join("log.moved");
    let database = directory.join("log.sqlite");
    let whole = fs::read(&database).unwrap();
    let text = whole.windows(10).position(|window| window == b"message 45").expect("it was moved there");
    let step = if everything() { 1 } else { 8 * whole.len() / 400 + 3 };
    let mut found = 0;
    let text = text * 8..(text + 10) * 8;
    for bit in (0..whole.len() * 8).step_by(step).chain(text.clone()) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&database, damaged).unwrap();
        let verdict = examine(&directory).map_err(|why| why.to_string());
        assert!(verdict.is_err() || !text.contains(&bit), "bit {bit}, of a message, was not found");
        found += usize::from(verdict.is_err());
    }
    // The others are in unused pages.
    assert!(found > 200, "{found} flipped bits were found");
}
