//! Damage to the files of a data directory: the store reads it exactly as it was written, or refuses it with an error.

use super::choices::Choices;
use replicated_log::protocol::{
    Entry, Epoch, EpochHistory, Id, Incarnation, KeyedWrite, Lineage, LogId, Roster, Slot, Watermark, WritePart,
};
use replicated_log::store::{Disk, Identity, KnownMember, ReadLimit, Store, StoreError};
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };
const SLOTS: u64 = 60;
const KEYS_MAX: usize = 100;
const FILES: [&str; 3] = ["log.sqlite", "log.sqlite-wal", "watermark"];
const WATERMARK_FILE: usize = 2;
const DAMAGES_MAX: usize = 8;

/// Everything that a node reads back.
#[derive(Clone, Debug, PartialEq)]
struct Content {
    slots: Vec<Slot>,
    refused: Vec<Id>,
    keyed: Vec<KeyedWrite>,
    identity: Option<Identity>,
    watermark: Watermark,
}

/// A directory, and what is in it.
struct Image {
    content: Content,
    /// Each slot that was ever refused, as it was before.
    before: Vec<Slot>,
    files: [Vec<u8>; 3],
}

/// The same log twice: as a kill -9 leaves it, and as a node leaves it that was stopped.
static IMAGES: LazyLock<[Image; 2]> = LazyLock::new(|| [Image::new(false), Image::new(true)]);

/// Damages a copy as the bytes choose, and opens it.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let image = &IMAGES[choices.below(2) as usize];
    let mut files = image.files.clone();
    for _ in 0..DAMAGES_MAX {
        if choices.are_over() {
            break;
        }
        let number = choices.below(3) as usize;
        damage(&mut choices, &mut files[number]);
    }
    let changed: [bool; 3] = std::array::from_fn(|number| files[number] != image.files[number]);
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in FILES.iter().zip(&files) {
        fs::write(directory.path().join(name), content).expect("a file");
    }
    match Disk::open(directory.path()).and_then(|store| content(&*store)) {
        Ok(found) if changed[WATERMARK_FILE] => {
            check_with_older_watermark_file(image, &found, changed[0] || changed[1]);
        }
        Ok(found) => assert_eq!(found, image.content, "damage was not noticed"),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

/// Damages a file as disks and people do: some bytes change, come from elsewhere, or are zero, the end is missing, or a
/// part is there twice.
fn damage(choices: &mut Choices<'_>, file: &mut Vec<u8>) {
    let place = |choices: &mut Choices<'_>, length: usize| {
        let number = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
        // Pages and sectors begin at multiples of 512.
        let scale = if choices.one_in(2) { 512 } else { 1 };
        number * scale % (length + 1)
    };
    let length = file.len();
    let at = place(choices, length);
    match choices.below(6) {
        0 => {
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << choices.below(8);
            }
        }
        1 => {
            let number = 1 + choices.below(16) as usize;
            let bytes = choices.bytes(number);
            let end = length.min(at + bytes.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
        2 => file.truncate(at),
        3 => {
            let end = length.min(at + 16 * (1 + choices.below(255) as usize));
            file[at..end].fill(0);
        }
        4 => {
            let from = place(choices, length);
            let size = 512 * (1 + choices.below(16) as usize);
            let size = size.min(length - at).min(length - from);
            file.copy_within(from..from + size, at);
        }
        _ => {
            let from = place(choices, length);
            file.extend_from_within(from..length.min(from + 4_096));
        }
    }
}

/// If the newer half of the watermark file is damaged, the older half promises less. If the log is damaged too, its end
/// may be missing unnoticed, but what the store reads was written there at some time.
fn check_with_older_watermark_file(image: &Image, found: &Content, log_is_changed: bool) {
    let written = &image.content;
    assert!(found.watermark.decided <= written.watermark.decided, "{found:?}");
    if !log_is_changed {
        let found = Content { watermark: written.watermark, ..found.clone() };
        return assert_eq!(found, *written, "damage was not noticed");
    }
    for (slot, id) in found.slots.iter().zip(Id::ZERO.until(Id::MAX)) {
        assert_eq!(slot.id(), id, "ids follow each other");
        assert!(written.slots.contains(slot) || image.before.contains(slot), "{slot:?} was never written");
    }
    let refused = found.slots.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id);
    assert!(refused.eq(found.refused.iter().copied()), "{:?} are not the refusals of this log", found.refused);
    for keyed in &found.keyed {
        assert!(written.keyed.contains(keyed), "{keyed:?} was never written");
    }
    assert!(found.identity.is_none() || found.identity == written.identity, "{:?}", found.identity);
}

fn content(store: &dyn Store) -> Result<Content, StoreError> {
    Ok(Content {
        slots: store.read(Id::ZERO, Id::MAX, ALL)?,
        refused: store.refused(Id::ZERO, Id::MAX)?,
        keyed: store.keyed_writes(KEYS_MAX)?,
        identity: store.identity()?,
        watermark: store.watermark(),
    })
}

impl Image {
    /// A log with slots of every kind. Its last slots are only in the write-ahead log.
    fn new(is_stopped: bool) -> Image {
        let directory = TempDir::new().expect("a directory");
        let store = Disk::open(directory.path()).expect("a new store");
        store.set_identity(&identity()).unwrap();
        let slots: Vec<Slot> = (1..=SLOTS).map(slot).collect();
        store.append(&slots[..40]).unwrap();
        store.refuse(&[Id::new(3)]).unwrap();
        store.close();
        drop(store);
        let store = reopen(directory.path());
        store.append(&slots[40..]).unwrap();
        store.note_watermark(Watermark { decided: Id::new(48), visible: 41 }).unwrap();
        store.refuse(&[Id::new(50)]).unwrap();
        store.note_watermark(Watermark { decided: Id::new(49), visible: 41 }).unwrap();
        let content = content(&*store).unwrap();
        if is_stopped {
            store.close();
        }
        let files = FILES.map(|name| fs::read(directory.path().join(name)).unwrap());
        Image { content, before: vec![slot(3), slot(50)], files }
    }
}

/// Opens a directory, with retries: the checkpointer of the last owner may still hold it.
fn reopen(directory: &Path) -> Arc<Disk> {
    loop {
        match Disk::open(directory) {
            Ok(store) => return store,
            Err(why) => assert!(why.to_string().contains("in use"), "{why}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn slot(number: u64) -> Slot {
    let id = Id::new(number);
    if number.is_multiple_of(7) {
        return Slot::Refused(id);
    }
    Slot::Entry(Arc::new(Entry {
        id,
        epoch: Epoch::new(1),
        timestamp_ms: 1_700_000_000_000 + number,
        message: format!("message {number} {}", "x".repeat(number as usize)).into(),
        key: number.is_multiple_of(5).then(|| format!("key {number}").into()),
        part: WritePart { index: (number % 3) as u32, of: 3 },
    }))
}

fn identity() -> Identity {
    let mut history = EpochHistory::default();
    history.begin(Epoch::new(1), Id::new(1), Incarnation::new(1));
    Identity {
        lineage: Lineage { log_id: LogId::new(42), history, roster: Roster::default(), promised: None },
        members: vec![KnownMember { url: "http://localhost:5001".to_owned(), name: "secondary-1".to_owned() }],
    }
}
