//! Creates a data directory from a backup, or from a running node.
//!
//! The log is written in a subdirectory, checked against the fingerprint, and moved to its place as the last step.
//! While that subdirectory exists no node starts, and the command can be repeated.
//!
//! A backup holds decided entries only. From a running secondary, pending entries are restored, too, because the master
//! may have acknowledged them before it failed. The master decides them after its next start.

use super::backup::{BackupReader, from_node};
use super::directory;
use super::failure::Failure;
use super::progress::Progress;
use crate::peer::Peers;
use crate::protocol::{Base, Lineage, Roster, Slot, Watermark};
use crate::store::{DirectoryLock, Disk, Identity, KnownMember, Store, StoreError};
use crate::wire::address::NodeUrl;
use crate::wire::backup::SecondaryLine;
use crate::wire::server_id;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// The most slots that are written at a time.
const BATCH_SLOTS: usize = 10_000;
/// Bytes of text from which a batch is written.
const BATCH_BYTES: usize = 4 << 20;

/// Restores from a file or from a node.
pub(super) fn restore(source: &str, peers: &Peers, directory: &Path) -> Result<String, Failure> {
    if source.contains("://") || (!Path::new(source).exists() && source.contains(':')) {
        let node = NodeUrl::parse(source).map_err(Failure::Usage)?;
        let mut backup = from_node(peers, &node)?;
        return make(&mut backup, &lock_empty(directory)?, Some((peers, &node)));
    }
    let file = File::open(source).map_err(|error| Failure::Usage(format!("{source} cannot be read: {error}")))?;
    let backup = BackupReader::new(BufReader::new(file));
    let mut backup = backup.map_err(|why| Failure::Failed(format!("{source}: {why}")))?;
    make(&mut backup, &lock_empty(directory)?, None)
}

fn lock_empty(directory: &Path) -> Result<DirectoryLock, Failure> {
    let lock = directory::lock(directory)?;
    if DirectoryLock::holds_log(lock.directory()) {
        return Err(Failure::Usage(format!(
            "{} holds a log already; move it away first, for example to {}.old",
            directory.display(),
            directory.display()
        )));
    }
    Ok(lock)
}

fn make(
    backup: &mut BackupReader<impl BufRead>,
    lock: &DirectoryLock,
    node: Option<(&Peers, &NodeUrl)>,
) -> Result<String, Failure> {
    let unfinished = lock.unfinished();
    let removed = match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    removed.map_err(|error| Failure::Failed(format!("{} cannot be removed: {error}", unfinished.display())))?;
    let written =
        write(backup, &unfinished, node).and_then(|()| lock.adopt(&unfinished).map_err(|error| error.to_string()));
    if let Err(why) = written {
        let _ = fs::remove_dir_all(&unfinished);
        return Err(Failure::Failed(format!("nothing was restored: {why}")));
    }
    Ok(format!(
        "restored {} into {}\nStart the master with the addresses of all its secondaries in SECONDARIES, and keep them \
         running. The master does not overwrite a secondary that holds more than this log",
        backup.summary(),
        lock.directory().display()
    ))
}

fn write(
    backup: &mut BackupReader<impl BufRead>,
    directory: &Path,
    node: Option<(&Peers, &NodeUrl)>,
) -> Result<(), String> {
    let store = Disk::open(directory).map_err(|error| error.to_string())?;
    let filled = fill(backup, &*store, node);
    // Also after a failure, so that nothing is written into a directory that is removed.
    store.close();
    filled?;
    store.trouble().map_or(Ok(()), |trouble| Err(trouble.to_string()))
}

fn fill(
    backup: &mut BackupReader<impl BufRead>,
    store: &dyn Store,
    node: Option<(&Peers, &NodeUrl)>,
) -> Result<(), String> {
    let mut progress = Progress::new("restored", backup.head.through());
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let (mut decided, mut visible) = (backup.base.id, backup.base.messages);
    let failed = |error: StoreError| error.to_string();
    store.set_identity(&identity(backup)?).map_err(failed)?;
    if backup.base != Base::default() {
        store.trim(backup.base).map_err(failed)?;
    }
    while let Some(slot) = backup.next()? {
        decided = slot.id();
        if let Slot::Entry(entry) = &slot {
            visible += 1;
            bytes += entry.message.len();
        }
        batch.push(slot);
        if batch.len() == BATCH_SLOTS || bytes >= BATCH_BYTES {
            store.append(&batch).map_err(failed)?;
            batch.clear();
            bytes = 0;
            progress.show(decided);
        }
    }
    store.append(&batch).map_err(failed)?;
    store.note_watermark(Watermark { decided, visible }).map_err(failed)?;
    if let Some((peers, node)) = node {
        append_pending(store, peers, node)?;
    }
    Ok(())
}

/// Appends the pending entries of a secondary. A master has no endpoint for them.
fn append_pending(store: &dyn Store, peers: &Peers, node: &NodeUrl) -> Result<(), String> {
    let held = peers.state_of_secondary(node).map_err(|error| format!("{node} {error}"))?;
    let Some(status) = held.map(|body| body.status()) else { return Ok(()) };
    while store.last() < status.last {
        let slots = peers.slots(node, store.last()).map_err(|error| format!("{node} {error}"))?.into_slots();
        if slots.is_empty() {
            break;
        }
        store.append(&slots).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn identity<R>(backup: &BackupReader<R>) -> Result<Identity, String> {
    let lineage = Lineage {
        log_id: backup.head.log_id(),
        history: backup.head.history()?,
        roster: Roster::default(),
        promised: None,
    };
    Ok(Identity { lineage, members: backup.head.secondaries.iter().map(member).collect::<Result<_, _>>()? })
}

/// Checks the address and the name of a secondary.
fn member(line: &SecondaryLine) -> Result<KnownMember, String> {
    let known = NodeUrl::parse(&line.url)
        .and_then(|url| Ok(KnownMember { url: url.to_string(), name: server_id::parse(&line.server_id)? }));
    known.map_err(|why| format!("its first line has an invalid secondary: {why}"))
}
