//! Saves the log of a running node, and reads backups.

use super::failure::Failure;
use super::progress::Progress;
use crate::peer::Peers;
use crate::process::text::messages;
use crate::protocol::{Base, Slot};
use crate::wire::address::NodeUrl;
use crate::wire::backup::{End, Head, Line, Tally};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a node may take until its answer begins.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a line, enough for the largest message with every byte escaped.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Reads a backup, and checks that it is whole.
pub(super) struct BackupReader<R> {
    source: R,
    pub(super) head: Head,
    /// What was trimmed of the log.
    pub(super) base: Base,
    first_line: Vec<u8>,
    tally: Tally,
    line: Vec<u8>,
}

/// Asks a node for its log.
pub(super) fn from_node(peers: &Peers, node: &NodeUrl) -> Result<BackupReader<impl BufRead + use<>>, Failure> {
    let source = peers.backup(node).map_err(|error| Failure::Failed(format!("{node} {error}")))?;
    BackupReader::new(BufReader::new(source)).map_err(|why| Failure::Failed(format!("what {node} sent: {why}")))
}

impl<R: BufRead> BackupReader<R> {
    pub(super) fn new(source: R) -> Result<BackupReader<R>, String> {
        let mut line = Vec::new();
        let mut source = source;
        read_line(&mut source, &mut line)?;
        let head = Head::parse(&line)?;
        let base = head.base()?;
        Ok(BackupReader { source, head, base, first_line: line.clone(), tally: Tally::after(base), line })
    }

    /// The next slot, or `None` after the last line, if that matches everything before.
    pub(super) fn next(&mut self) -> Result<Option<Slot>, String> {
        read_line(&mut self.source, &mut self.line)?;
        let due = self.tally.last.next();
        match Line::parse(&self.line).map_err(|why| format!("the line of id {due} cannot be read: {why}"))? {
            Line::Slot(slot) if slot.id() == due => {
                self.tally.add(&slot);
                Ok(Some(slot))
            }
            Line::Slot(slot) => Err(format!("id {} stands where {due} was due", slot.id())),
            Line::End(end) => self.check_end(&end).map(|()| None),
        }
    }

    fn check_end(&mut self, end: &End) -> Result<(), String> {
        if self.tally.last != self.head.through() {
            return Err(format!("it ends at id {}, but should go up to {}", self.tally.last, self.head.through()));
        }
        if *end != self.tally.end(&self.first_line) {
            return Err("its fingerprint does not match: something in it was changed".to_owned());
        }
        Ok(())
    }

    /// The last line that was read, with its line feed.
    fn line(&self) -> &[u8] {
        &self.line
    }

    /// What was read, in words.
    pub(super) fn summary(&self) -> String {
        format!(
            "log {}, ids {} to {}: {}, {} refused; fingerprint {}",
            self.head.log_id(),
            self.base.id.next(),
            self.tally.last,
            messages(self.tally.messages),
            self.tally.refused,
            self.tally.fingerprint
        )
    }
}

fn read_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> Result<(), String> {
    line.clear();
    source.take(LINE_BYTES_MAX).read_until(b'\n', line).map_err(|error| format!("it cannot be read: {error}"))?;
    if line.ends_with(b"\n") { Ok(()) } else { Err("it was cut off".to_owned()) }
}

/// Saves the log of a node. The file gets its name once it is complete and durable.
pub(super) fn save(peers: &Peers, node: &NodeUrl, file: &Path) -> Result<String, Failure> {
    if file.exists() {
        return Err(Failure::Usage(format!("{} exists; choose another name", file.display())));
    }
    let mut backup = from_node(peers, node)?;
    let unfinished = unfinished(file);
    let saved = write(&mut backup, &unfinished).and_then(|()| {
        let named = fs::rename(&unfinished, file).and_then(|()| sync_directory_of(file));
        named.map_err(|error| format!("{} cannot be written: {error}", file.display()))
    });
    if let Err(why) = saved {
        let _ = fs::remove_file(&unfinished);
        return Err(Failure::Failed(why));
    }
    Ok(format!("saved {} to {}", backup.summary(), file.display()))
}

fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn write(backup: &mut BackupReader<impl BufRead>, path: &Path) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut file = std::io::BufWriter::new(File::create(path).map_err(cannot)?);
    let mut progress = Progress::new("saved", backup.head.through());
    file.write_all(backup.line()).map_err(cannot)?;
    while let Some(slot) = backup.next()? {
        file.write_all(backup.line()).map_err(cannot)?;
        progress.show(slot.id());
    }
    file.write_all(backup.line()).map_err(cannot)?;
    file.into_inner().map_err(|error| cannot(error.into_error()))?.sync_all().map_err(cannot)
}

fn sync_directory_of(file: &Path) -> std::io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
