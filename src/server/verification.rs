//! Checks a data directory while no node uses it.

use super::text::count;
use crate::replication::{Id, Slot};
use crate::store::{Disk, ReadLimit, Store, StoreError, Watermark};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How much is read at a time.
const PIECE: ReadLimit = ReadLimit { slots_max: 10_000, bytes_max: 4 << 20 };
/// Shorter work needs no progress.
const QUIET: Duration = Duration::from_secs(1);

/// What a data directory holds.
pub(super) struct Summary {
    last: Id,
    messages: usize,
    refused: usize,
    watermark: Watermark,
    log: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}, ids up to {}: {}, {} refused; decided up to id {}. Every checksum matches, and nothing is missing.",
            self.log,
            self.last,
            count(self.messages, "message", "messages"),
            self.refused,
            self.watermark.decided
        )
    }
}

/// Reads everything; reading checks it.
pub(super) fn verify(directory: &Path) -> Result<Summary, StoreError> {
    let store = Disk::open(directory)?;
    let log = store.identity()?.map_or_else(
        || "no log of a master of ours".to_owned(),
        |identity| format!("log {} in epoch {}", identity.log_id, identity.history.latest()),
    );
    let last = store.last();
    let mut summary = Summary { last, messages: 0, refused: 0, watermark: store.watermark(), log };
    let mut progress = Progress::new(last);
    let mut after = Id::ZERO;
    while after < last {
        for slot in store.read(after, last, PIECE)? {
            after = slot.id();
            match slot {
                Slot::Entry(_) => summary.messages += 1,
                Slot::Refused(_) => summary.refused += 1,
            }
        }
        progress.show(after);
    }
    progress.end();
    Ok(summary)
}

/// A line on a terminal that says how far it is.
struct Progress {
    last: Id,
    began: Instant,
    shown: bool,
}

impl Progress {
    fn new(last: Id) -> Progress {
        Progress { last, began: Instant::now(), shown: false }
    }

    fn show(&mut self, reached: Id) {
        if self.began.elapsed() > QUIET && io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\rchecked {reached} of {} ids", self.last);
            self.shown = true;
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = writeln!(io::stderr());
        }
    }
}
