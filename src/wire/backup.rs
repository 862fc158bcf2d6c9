//! A backup: the decided part of a log as lines of JSON, so that any tool reads it.
//!
//! 1. One [`Head`]: which log it is, and its last id.
//! 2. A line for each id, from the one after what is trimmed to `through`: a message, or `{"id":7,"refused":true}`.
//! 3. One [`End`]: the number of messages and refusals, and the fingerprint. A backup without it is incomplete.

use super::base::{BaseBody, base_of, body_of};
use super::hexadecimal::LogIdText;
use super::lineage::{EpochEntryBody, epochs_of, history_of};
use super::node::EntryBody;
use super::read_object;
use crate::protocol::{Base, Entry, EpochHistory, Fingerprint, Id, LogId, Slot};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The version of this format.
const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
pub struct Head {
    /// The version of the format. Its name distinguishes a backup from other files.
    replicated_log_backup: u32,
    /// When it was taken.
    pub taken: String,
    /// The node that gave it.
    pub server_id: String,
    log_id: LogIdText,
    /// Each epoch, the id where it began, and the start of its master.
    epochs: Vec<EpochEntryBody>,
    /// What was trimmed of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<BaseBody>,
    through: u64,
    /// The secondaries that were registered, if a master gave the backup.
    pub secondaries: Vec<SecondaryLine>,
}

/// A registered secondary.
#[derive(Debug, Deserialize, Serialize)]
pub struct SecondaryLine {
    /// Its name.
    pub server_id: String,
    /// Its address.
    pub url: String,
}

impl Head {
    /// Describes a log.
    #[must_use]
    pub fn new(
        taken: String,
        server_id: String,
        log_id: LogId,
        history: &EpochHistory,
        base: Base,
        through: Id,
        secondaries: Vec<SecondaryLine>,
    ) -> Head {
        let epochs = epochs_of(history);
        let (log_id, base, through) = (LogIdText(log_id), body_of(base), through.get());
        Head { replicated_log_backup: VERSION, taken, server_id, log_id, epochs, base, through, secondaries }
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// If it is not that of a backup, or has a format that this program does not know.
    pub fn parse(line: &[u8]) -> Result<Head, String> {
        let head: Head = read_object(line).map_err(|why| format!("its first line is not that of a backup: {why}"))?;
        if head.replicated_log_backup != VERSION {
            return Err(format!("it has the format {}, but this program knows {VERSION}", head.replicated_log_backup));
        }
        Ok(head)
    }

    /// The log.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id.0
    }

    /// The epochs of the log.
    ///
    /// # Errors
    /// If they do not form a valid history.
    pub fn history(&self) -> Result<EpochHistory, String> {
        history_of(&self.epochs).ok_or_else(|| "its first line has an invalid table of epochs".to_owned())
    }

    /// What was trimmed of the log.
    ///
    /// # Errors
    /// If it is no base.
    pub fn base(&self) -> Result<Base, String> {
        base_of(self.base.clone()).map_err(|why| format!("its first line cannot be read: {why}"))
    }

    /// The last id.
    #[must_use]
    pub fn through(&self) -> Id {
        Id::new(self.through)
    }
}

/// The last line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct End {
    end: bool,
    /// Messages.
    pub messages: u64,
    /// Refused ids.
    pub refused: u64,
    fingerprint: String,
    /// SHA-256 of the first line, its line feed included.
    head: String,
}

/// The sums of the lines so far. The fingerprint is that of the whole log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// The last id.
    pub last: Id,
    /// Messages.
    pub messages: u64,
    /// Refused ids.
    pub refused: u64,
    /// The fingerprint of everything up to the last id.
    pub fingerprint: Fingerprint,
}

/// The hash of a line, as the last line of a backup names it.
fn hash(line: &[u8]) -> String {
    Fingerprint::of_bytes(line).to_string()
}

impl Tally {
    /// The tally of no lines, in a log of which this is trimmed.
    #[must_use]
    pub fn after(base: Base) -> Tally {
        Tally { last: base.id, fingerprint: base.fingerprint, ..Tally::default() }
    }

    /// Adds the next slot.
    pub fn add(&mut self, slot: &Slot) {
        self.last = slot.id();
        self.fingerprint.extend(slot);
        match slot {
            Slot::Entry(_) => self.messages += 1,
            Slot::Refused(_) => self.refused += 1,
        }
    }

    /// The last line of a backup with this first line.
    #[must_use]
    pub fn end(&self, first_line: &[u8]) -> End {
        let fingerprint = self.fingerprint.to_string();
        End { end: true, messages: self.messages, refused: self.refused, fingerprint, head: hash(first_line) }
    }
}

/// A line after the first.
#[derive(Debug)]
pub enum Line {
    /// The slot of the next id.
    Slot(Slot),
    /// The last line.
    End(End),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyLine {
    Entry(EntryBody),
    Refused(RefusedLine),
    End(End),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RefusedLine {
    id: u64,
    refused: bool,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// If it is not a line of a backup.
    pub fn parse(line: &[u8]) -> Result<Line, String> {
        match read_object(line)? {
            AnyLine::Entry(body) => Ok(Line::Slot(Slot::Entry(Arc::new(Entry::from(body))))),
            AnyLine::Refused(body) => Ok(Line::Slot(Slot::Refused(Id::new(body.id)))),
            AnyLine::End(end) => Ok(Line::End(end)),
        }
    }
}

/// Writes a line.
pub fn write_line(lines: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *lines, value).expect("strings and numbers always serialise into memory");
    lines.push(b'\n');
}

/// Writes the line of a slot.
pub fn write_slot(lines: &mut Vec<u8>, slot: &Slot) {
    match slot {
        Slot::Entry(entry) => write_line(lines, &EntryBody::from(&**entry)),
        Slot::Refused(id) => write_line(lines, &RefusedLine { id: id.get(), refused: true }),
    }
}
