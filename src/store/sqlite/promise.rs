//! Checks a database against its watermark file.

use super::files::Files;
use super::schema::{self, Damage};
use super::watermark_file::WatermarkRecord;
use crate::protocol::{Base, Id, LogId};
use crate::store::{Identity, StoreError};
use rusqlite::Connection;

/// What a database holds.
pub(super) struct Held {
    pub(super) base: Base,
    pub(super) last: Id,
    pub(super) identity: Option<Identity>,
}

/// Checks that a database holds all that the watermark file names.
pub(super) fn check_promised(
    files: &Files,
    found: Option<WatermarkRecord>,
    connection: &Connection,
) -> Result<Held, StoreError> {
    let damaged = |damage: Damage| files.damaged(&damage.to_string());
    let base = schema::base(connection).map_err(damaged)?;
    let last = schema::last(connection, base).map_err(|error| damaged(error.into()))?;
    let mutations = schema::mutations(connection).map_err(|error| damaged(error.into()))?;
    check_record(files, found, last, mutations)?;
    let identity = schema::identity(connection).map_err(damaged)?;
    check_identity(files, found.and_then(|record| record.log_id), identity.as_ref())?;
    Ok(Held { base, last, identity })
}

/// Checks that the log is not shorter, and has not fewer changes, than the watermark file says. Without a readable
/// file, the database must be empty: then the directory is new, or its creation was interrupted.
fn check_record(files: &Files, found: Option<WatermarkRecord>, last: Id, mutations: u64) -> Result<(), StoreError> {
    let directory = files.directory.display();
    let lost = match found {
        Some(record) if record.durable > last => format!(
            "{directory} has lost the ids {}–{}: this node had acknowledged them, but the log ends at {last}",
            last.next(),
            record.durable
        ),
        Some(record) if record.mutations > mutations => format!(
            "{directory} has lost {} of {} changes, refusals of messages among them",
            record.mutations - mutations,
            record.mutations
        ),
        None if last > Id::ZERO || mutations > 0 => format!(
            "{} is missing or damaged, so this node cannot know whether the log, which ends at {last}, is complete",
            files.watermark_file().display()
        ),
        _ => return Ok(()),
    };
    Err(StoreError::new(format!("{lost}. {}", Files::WAY_OUT)))
}

/// Checks that the database belongs to the log that the watermark file names.
fn check_identity(files: &Files, promised: Option<LogId>, found: Option<&Identity>) -> Result<(), StoreError> {
    match promised {
        Some(promised) if found.map(|identity| identity.lineage.log_id) != Some(promised) => {
            Err(files.damaged(&format!("its watermark file belongs to log {promised}, but the database does not")))
        }
        _ => Ok(()),
    }
}
