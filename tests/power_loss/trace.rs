//! The operations of a process on its disk, from the output of `strace`.
//!
//! A system call that changes a file in a way that the model does not know fails the test. So the test notices when the
//! store, or SQLite, begins to use it.

use crate::disk::{Inode, Operation, SimulatedDisk};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const CALLS: &str = "openat,open,creat,openat2,close,dup,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2,\
    truncate,ftruncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,sync_file_range,sync,syncfs,\
    unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat";
/// The calls that are recorded when they begin, because they may take effect from then on.
const EFFECTIVE_AT_ONCE: &[&str] = &["write", "pwrite64", "ftruncate", "fallocate", "unlink", "mkdir"];
/// Longer than any write.
const STRING_BYTES_MAX: &str = "100000000";
/// Files that a store makes anew: SQLite's index, the lock of its process, and the ballast.
const IGNORED: &[&str] = &["data/log/log.sqlite-shm", "data/log/lock", "data/log/ballast"];

/// Why nothing can be recorded here, or `None`.
pub(super) fn unavailable() -> Option<String> {
    match Command::new("strace").args(["-o", "/dev/null", "-e", "trace=openat", "true"]).output() {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(format!("strace cannot trace here: {}", String::from_utf8_lossy(&tried.stderr))),
        Err(why) => Some(format!("strace cannot be run: {why}")),
    }
}

/// A command that runs a program and writes its system calls to a file.
pub(super) fn tracing(program: &Path, output: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-xx", "-s", STRING_BYTES_MAX, "-e", &format!("trace={CALLS}"), "-o"]);
    command.arg(output).arg("--").arg(program);
    command
}

/// A system call. It began in one line of the trace, and ended in this one or a later one.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    name: String,
    arguments: Vec<String>,
    result: i64,
}

/// The operations in a trace, for a disk in the state of this one. `first` numbers the first line.
pub(super) fn operations(
    trace: &str,
    root: &Path,
    marker: &Path,
    disk: &SimulatedDisk,
    first: usize,
) -> Vec<Operation> {
    let mut calls = calls(trace, first);
    calls.sort_by_key(|call| if EFFECTIVE_AT_ONCE.contains(&call.name.as_str()) { call.began } else { call.ended });
    let mut tracer = Tracer {
        root: root.to_str().expect("a path in UTF-8").to_owned(),
        marker: marker.to_str().expect("a path in UTF-8").to_owned(),
        paths: disk.paths(),
        next_inode: disk.next_inode(),
        descriptors: BTreeMap::new(),
        operations: Vec::new(),
    };
    calls.iter().filter(|call| call.result >= 0).for_each(|call| tracer.follow(call));
    tracer.operations
}

fn calls(trace: &str, first: usize) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (number, line) in (first..).zip(trace.lines()) {
        let (thread, line) = line.split_once(' ').expect("a line begins with a thread");
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (number, beginning.trim_end()));
        } else if let Some((_, end)) = line.strip_prefix("<... ").and_then(|line| line.split_once(" resumed>")) {
            let (began, beginning) = unfinished.remove(thread).expect("what is resumed was begun");
            calls.extend(call(began, number, &format!("{beginning}{end}")));
        } else if !line.starts_with("+++") && !line.starts_with("---") {
            calls.extend(call(number, number, line));
        }
    }
    calls
}

/// Strings are in hexadecimal, so no comma or bracket is part of one. `None` if the process ended within the call.
fn call(began: usize, ended: usize, line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(').unwrap_or_else(|| panic!("not a call: {line}"));
    let (arguments, result) = rest.rsplit_once(" = ").unwrap_or_else(|| panic!("without a result: {line}"));
    let arguments = arguments.trim_end().trim_end_matches(')').split(", ").map(str::to_owned).collect();
    let digits = result.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(result.len());
    let result = result[..digits].parse().ok()?;
    Some(Call { began, ended, name: name.to_owned(), arguments, result })
}

/// Follows a process through its system calls.
struct Tracer {
    root: String,
    marker: String,
    paths: BTreeMap<String, Inode>,
    next_inode: Inode,
    descriptors: BTreeMap<i64, Inode>,
    operations: Vec<Operation>,
}

impl Tracer {
    fn follow(&mut self, call: &Call) {
        match call.name.as_str() {
            "openat" => self.open(call),
            "close" => {
                self.descriptors.remove(&descriptor(&call.arguments[0]));
            }
            "mkdir" => {
                if let Some(path) = self.below_root(&quoted(&call.arguments[0])) {
                    self.create(&path, true);
                }
            }
            "unlink" => self.unlink(&quoted(&call.arguments[0])),
            "write" if quoted(&call.arguments[0]) == self.marker => {
                let said = String::from_utf8(unhex(&call.arguments[1])).expect("markers are text");
                self.operations.push(Operation::Told(said));
            }
            // A `write` has no offset, so no modelled file may be its target.
            "write" => self.assert_elsewhere(call, 1),
            "pwrite64" => self.write(call),
            "ftruncate" => {
                if let Some(inode) = self.inode(call) {
                    let length = number(&call.arguments[1]);
                    self.operations.push(Operation::Resize { inode, length, ended: call.ended });
                }
            }
            // To the end of the file, and beyond it.
            "fallocate" => {
                if let Some(inode) = self.inode(call) {
                    let length = number(&call.arguments[2]) + number(&call.arguments[3]);
                    self.operations.push(Operation::Resize { inode, length, ended: call.ended });
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.inode(call) {
                    self.operations.push(Operation::Sync { inode, began: call.began });
                }
            }
            _ => self.assert_elsewhere(call, call.arguments.len()),
        }
    }

    fn open(&mut self, call: &Call) {
        let Some(path) = self.below_root(&quoted(&call.arguments[1])) else { return };
        let flags = &call.arguments[2];
        let inode = match self.paths.get(&path) {
            Some(&inode) => inode,
            None if flags.contains("O_CREAT") => self.create(&path, false),
            None => panic!("{path} was opened, but never made, line {}", call.began),
        };
        if flags.contains("O_TRUNC") {
            self.operations.push(Operation::Resize { inode, length: 0, ended: call.ended });
        }
        self.descriptors.insert(call.result, inode);
    }

    fn create(&mut self, path: &str, is_directory: bool) -> Inode {
        let (parent, name) = self.entry(path);
        let inode = self.next_inode;
        self.next_inode += 1;
        self.paths.insert(path.to_owned(), inode);
        self.operations.push(Operation::Create { parent, name, inode, is_directory });
        inode
    }

    fn unlink(&mut self, path: &str) {
        let Some(path) = self.below_root(path) else { return };
        let (parent, name) = self.entry(&path);
        self.paths.remove(&path);
        self.operations.push(Operation::Unlink { parent, name });
    }

    fn entry(&self, path: &str) -> (Inode, String) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.paths[parent], name.to_owned())
    }

    fn write(&mut self, call: &Call) {
        let Some(inode) = self.inode(call) else { return };
        let bytes = unhex(&call.arguments[1]);
        assert_eq!(bytes.len() as i64, call.result, "a short write is not modelled");
        self.operations.push(Operation::Write { inode, offset: number(&call.arguments[3]), bytes, ended: call.ended });
    }

    /// The file that a call is about, if it is modelled.
    fn inode(&self, call: &Call) -> Option<Inode> {
        let inode = self.descriptors.get(&descriptor(&call.arguments[0])).copied();
        if inode.is_none() {
            self.assert_elsewhere(call, 1);
        }
        inode
    }

    /// The path below the root, if it is there and modelled.
    fn below_root(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix(&self.root)?.trim_start_matches('/');
        (!IGNORED.contains(&path)).then(|| path.to_owned())
    }

    /// Asserts that none of the first arguments is a modelled file.
    fn assert_elsewhere(&self, call: &Call, arguments: usize) {
        let paths = call.arguments[..arguments].iter().filter_map(|argument| quoted_path(argument));
        let here = paths.filter_map(|path| self.below_root(&path)).next();
        assert!(here.is_none(), "{} of {here:?} is not modelled, line {}", call.name, call.began);
    }
}

fn number(argument: &str) -> usize {
    argument.parse().unwrap_or_else(|_| panic!("not a number: {argument}"))
}

/// `5<PATH>` is descriptor 5.
fn descriptor(argument: &str) -> i64 {
    argument.split('<').next().and_then(|digits| digits.parse().ok()).unwrap_or(-1)
}

/// The path of `5<PATH>` or `"PATH"`.
fn quoted_path(argument: &str) -> Option<String> {
    (argument.contains('<') || argument.starts_with('"')).then(|| quoted(argument))
}

fn quoted(argument: &str) -> String {
    String::from_utf8_lossy(&unhex(argument)).into_owned()
}

/// The bytes that `\x61\x62` stands for, without what is around it.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).expect("a hexadecimal digit") as u8;
    let from = text.find("\\x").unwrap_or(text.len());
    let bytes = text.as_bytes()[from..].chunks_exact(4).take_while(|bytes| bytes.starts_with(b"\\x"));
    bytes.map(|bytes| digit(bytes[2]) << 4 | digit(bytes[3])).collect()
}
