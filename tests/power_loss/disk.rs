//! A disk that loses what was not synced: it follows the recorded operations, and yields what it may hold after a power
//! loss.
//!
//! Each file has a content that is synced, and operations since then. At a power loss, every sector of a file is as it
//! was after any one of these operations, independent of the other sectors. The length of the file is as it was after
//! any of them, too, and what was never written within it is zero. Each entry of a directory is as it was after any
//! operation on it since the directory was synced.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::Path;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
/// The directory in which everything happens: it existed, and was synced, before.
pub(super) const ROOT: Inode = 0;

/// A file or directory, independent of its current name.
pub(super) type Inode = usize;

/// An operation on the disk, or a line that the process printed meanwhile.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create {
        parent: Inode,
        name: String,
        inode: Inode,
        is_directory: bool,
    },
    Unlink {
        parent: Inode,
        name: String,
    },
    Write {
        inode: Inode,
        offset: usize,
        bytes: Vec<u8>,
        ended: usize,
    },
    Resize {
        inode: Inode,
        length: usize,
        ended: usize,
    },
    /// Makes durable what had ended when the sync began.
    Sync {
        inode: Inode,
        began: usize,
    },
    /// A call of the store has returned.
    Told(String),
}

/// A change of a file that is not synced.
#[derive(Clone, Debug)]
struct Change {
    ended: usize,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { length: usize },
}

#[derive(Clone, Debug, Default)]
struct Node {
    name: String,
    is_directory: bool,
    /// Synced at least once since it was made.
    synced: bool,
    content: Content,
    changes: Vec<Change>,
    entries: BTreeMap<String, Inode>,
    entry_changes: Vec<(String, Option<Inode>)>,
}

/// The content of a file: bytes, and zeroes up to the length.
#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    length: usize,
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk {
    nodes: Vec<Node>,
}

/// What a disk holds after the power came back: files by their path.
#[derive(Clone, Debug)]
pub(super) struct Image(BTreeMap<String, Content>);

/// Which unsynced changes of directories a disk kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries {
    None,
    /// As many file systems do it: a file that was synced has its name, too.
    OfSyncedFiles,
    All,
    Random(u64),
}

/// Which unsynced changes of files a disk kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Changes {
    None,
    All,
    /// All changes but the last one of this file.
    AllButLast(Inode),
    /// The length of each file, and zeroes.
    Lengths,
    /// The changes of some files, one bit for each.
    OfFiles(u64),
    /// All but the last operation on this file, and of that one only the sectors before this one, or from it on.
    TornBefore(Inode, usize),
    TornAfter(Inode, usize),
    /// Each sector by itself: so many in a hundred are as they were written last.
    Sectors(u64, u64),
}

impl SimulatedDisk {
    /// A disk with an empty directory.
    pub(super) fn new() -> SimulatedDisk {
        SimulatedDisk { nodes: vec![Node { is_directory: true, synced: true, ..Node::default() }] }
    }

    pub(super) fn next_inode(&self) -> Inode {
        self.nodes.len()
    }

    /// Every file and directory by its path, as a process sees them at this point.
    pub(super) fn paths(&self) -> BTreeMap<String, Inode> {
        let mut paths = BTreeMap::from([(String::new(), ROOT)]);
        self.walk(ROOT, "", Entries::All, &mut |path, inode| {
            paths.insert(path.to_owned(), inode);
        });
        paths
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { parent, name, inode, is_directory } => {
                assert_eq!(*inode, self.nodes.len(), "inodes are given in order");
                self.nodes.push(Node { name: name.clone(), is_directory: *is_directory, ..Node::default() });
                self.nodes[*parent].entry_changes.push((name.clone(), Some(*inode)));
            }
            Operation::Unlink { parent, name } => self.nodes[*parent].entry_changes.push((name.clone(), None)),
            Operation::Write { inode, offset, bytes, ended } => {
                let kind = ChangeKind::Write { offset: *offset, bytes: bytes.clone() };
                self.nodes[*inode].changes.push(Change { ended: *ended, kind });
            }
            Operation::Resize { inode, length, ended } => {
                let kind = ChangeKind::Resize { length: *length };
                self.nodes[*inode].changes.push(Change { ended: *ended, kind });
            }
            Operation::Sync { inode, began } => self.nodes[*inode].sync(*began),
            Operation::Told(_) => {}
        }
    }

    /// An operation in words.
    pub(super) fn describe(&self, operation: &Operation) -> String {
        let name = |inode: &Inode| if *inode == ROOT { "the root" } else { self.nodes[*inode].name.as_str() };
        match operation {
            Operation::Create { parent, name: new, .. } => format!("create {new} in {}", name(parent)),
            Operation::Unlink { parent, name: old } => format!("unlink {old} in {}", name(parent)),
            Operation::Write { inode, offset, bytes, .. } => {
                format!("write {} bytes at {offset} of {}", bytes.len(), name(inode))
            }
            Operation::Resize { inode, length, .. } => format!("set the length of {} to {length}", name(inode)),
            Operation::Sync { inode, .. } => format!("sync {}", name(inode)),
            Operation::Told(what) => format!("return: {what}"),
        }
    }

    pub(super) fn is_named(&self, inode: Inode, name: &str) -> bool {
        self.nodes[inode].name == name
    }

    pub(super) fn is_directory(&self, inode: Inode) -> bool {
        self.nodes[inode].is_directory
    }

    /// The files that have unsynced changes, each with the sectors that its last change touches.
    pub(super) fn changed_files(&self) -> Vec<(Inode, usize)> {
        let changed = self.nodes.iter().enumerate();
        changed.filter_map(|(inode, node)| Some((inode, node.changes.last()?.sectors()))).collect()
    }

    pub(super) fn has_entry_changes(&self) -> bool {
        self.nodes.iter().any(|node| !node.entry_changes.is_empty())
    }

    /// What the disk holds if the power goes now.
    pub(super) fn image(&self, entries: Entries, changes: Changes) -> Image {
        let mut files = BTreeMap::new();
        self.walk(ROOT, "", entries, &mut |path, inode| {
            if !self.nodes[inode].is_directory {
                files.insert(path.to_owned(), self.nodes[inode].kept(inode, changes));
            }
        });
        Image(files)
    }

    fn walk(&self, directory: Inode, path: &str, entries: Entries, visit: &mut impl FnMut(&str, Inode)) {
        for (name, inode) in self.entries(directory, entries) {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            visit(&path, inode);
            if self.nodes[inode].is_directory {
                self.walk(inode, &path, entries, visit);
            }
        }
    }

    fn entries(&self, directory: Inode, kept: Entries) -> BTreeMap<String, Inode> {
        let node = &self.nodes[directory];
        let mut entries = node.entries.clone();
        for (number, (name, inode)) in node.entry_changes.iter().enumerate() {
            let is_kept = match kept {
                Entries::None => false,
                Entries::All => true,
                Entries::OfSyncedFiles => inode.is_some_and(|inode| self.nodes[inode].synced),
                Entries::Random(seed) => number < bound(seed, (directory, name), 30, node.entry_changes.len()),
            };
            match (is_kept, inode) {
                (true, Some(inode)) => entries.insert(name.clone(), *inode),
                (true, None) => entries.remove(name),
                (false, _) => None,
            };
        }
        entries
    }
}

impl Node {
    fn sync(&mut self, began: usize) {
        let (before, since): (Vec<Change>, Vec<Change>) = self.changes.drain(..).partition(|it| it.ended < began);
        self.content = replay(&self.content, &before, before.len(), |_| before.len());
        self.changes = since;
        self.synced = true;
        for (name, inode) in self.entry_changes.drain(..) {
            match inode {
                Some(inode) => self.entries.insert(name, inode),
                None => self.entries.remove(&name),
            };
        }
    }

    fn kept(&self, inode: Inode, kept: Changes) -> Content {
        let all = self.changes.len();
        let but_one = all.saturating_sub(1);
        let replay = |length, bound: &dyn Fn(usize) -> usize| replay(&self.content, &self.changes, length, bound);
        match kept {
            Changes::None => self.content.clone(),
            Changes::OfFiles(files) if files & (1 << (inode % 64)) == 0 => self.content.clone(),
            Changes::AllButLast(lacking) if lacking == inode => replay(but_one, &|_| but_one),
            Changes::All | Changes::AllButLast(_) | Changes::OfFiles(_) => replay(all, &|_| all),
            Changes::Lengths => replay(all, &|_| 0),
            Changes::TornBefore(torn, at) if torn == inode => {
                let at = self.first_sector_of_last() + at;
                replay(all, &|sector| if sector < at { all } else { but_one })
            }
            Changes::TornAfter(torn, at) if torn == inode => {
                let at = self.first_sector_of_last() + at;
                replay(all, &|sector| if sector >= at { all } else { but_one })
            }
            Changes::TornBefore(..) | Changes::TornAfter(..) => replay(all, &|_| all),
            Changes::Sectors(seed, likely) => {
                let length = bound(seed, (inode, "length"), 50, all);
                replay(length, &|sector| bound(seed, (inode, sector), likely, all))
            }
        }
    }

    fn first_sector_of_last(&self) -> usize {
        match self.changes.last().map(|change| &change.kind) {
            Some(ChangeKind::Write { offset, .. }) => offset / SECTOR,
            _ => 0,
        }
    }
}

impl Change {
    /// How many sectors the change touches.
    fn sectors(&self) -> usize {
        match &self.kind {
            ChangeKind::Write { offset, bytes } => (offset + bytes.len()).div_ceil(SECTOR) - offset / SECTOR,
            ChangeKind::Resize { .. } => 0,
        }
    }
}

/// How many of `all` changes are kept of one thing: all of them so often in a hundred, otherwise none or some.
fn bound(seed: u64, what: impl Hash, likely: u64, all: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    let random = hasher.finish();
    if random % 100 < likely {
        return all;
    }
    if (random >> 8).is_multiple_of(2) { 0 } else { (random >> 16) as usize % (all + 1) }
}

/// The content after changes: the length of the file after the first `length` of them, and each sector after as many as
/// `bound` says.
fn replay(content: &Content, changes: &[Change], length: usize, bound: impl Fn(usize) -> usize) -> Content {
    let mut content = content.clone();
    for (number, change) in changes.iter().enumerate() {
        match &change.kind {
            ChangeKind::Resize { length: new } if number < length => content.resize(*new),
            ChangeKind::Resize { .. } => {}
            ChangeKind::Write { offset, bytes } => {
                if number < length {
                    content.length = content.length.max(offset + bytes.len());
                }
                content.write_sectors(*offset, bytes, |sector| number < bound(sector));
            }
        }
    }
    content
}

impl Content {
    fn resize(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.length = length;
    }

    /// Writes those sectors that are kept, as far as the file goes.
    fn write_sectors(&mut self, offset: usize, bytes: &[u8], is_kept: impl Fn(usize) -> bool) {
        let end = (offset + bytes.len()).min(self.length);
        let mut from = offset;
        while from < end {
            let sector = from / SECTOR;
            let to = end.min((sector + 1) * SECTOR);
            if is_kept(sector) {
                self.bytes.resize(self.bytes.len().max(to), 0);
                self.bytes[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
            }
            from = to;
        }
    }
}

impl Image {
    /// Writes the image below a directory.
    pub(super) fn write_to(&self, root: &Path) {
        for (path, content) in &self.0 {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a file lies in a directory")).unwrap();
            let mut file = File::create(path).unwrap();
            file.write_all(&content.bytes).unwrap();
            file.set_len(content.length as u64).unwrap();
        }
    }

    /// A hash that tells images apart.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, content) in &self.0 {
            (path, content.length, crc32fast::hash(&content.bytes)).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Names and lengths.
    pub(super) fn describe(&self) -> String {
        let files = self.0.iter().map(|(path, content)| format!("{path} of {} bytes", content.length));
        let files = files.collect::<Vec<_>>().join(", ");
        if files.is_empty() { "no files".to_owned() } else { files }
    }
}
