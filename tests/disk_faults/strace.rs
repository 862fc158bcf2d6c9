//! Watches the system calls of a running node with strace, and makes some fail.
//!
//! Where strace is missing, or may not attach to a process, the tests print `skipped` and why, and pass. With
//! `REQUIRE_STRACE=1` they fail.

use super::common::{Node, TIMEOUT};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// SQLite uses one of the two, depending on how it was compiled.
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];
/// How long strace may take to detach from a process.
const DETACH_WAIT_MAX: Duration = Duration::from_secs(10);
/// SQLite begins a write-ahead log with a header of so many bytes.
const HEADER_BYTES: &str = "32";

/// Whether strace can be attached to a process of ours.
pub(crate) fn is_available() -> bool {
    super::is_available("REQUIRE_STRACE", || {
        let mut sleep = Command::new("sleep").arg("60").spawn().map_err(|error| format!("sleep: {error}"))?;
        let attached = Strace::attach(sleep.id(), &[]);
        sleep.kill().and_then(|()| sleep.wait()).map_err(|error| format!("sleep: {error}"))?;
        attached.map(|_| ())
    })
}

/// strace, attached to all threads of a process.
pub(crate) struct Strace {
    child: Child,
    directory: TempDir,
}

impl Strace {
    /// Records the syncs of a node, and what it writes at which place.
    pub(crate) fn record(node: &Node) -> Recording {
        let strace = Strace::attach(node.pid(), &["-y", "-s", "0", "-e", "trace=fsync,fdatasync,pwrite64"]);
        Recording { strace: strace.unwrap(), checkpointer: thread_of(node, "checkpointer") }
    }

    /// Makes every sync of one file of a node fail, until this is dropped.
    pub(crate) fn fail_syncs(node: &Node, file: &Path) -> Strace {
        let file = file.to_str().unwrap();
        let inject = "inject=fsync,fdatasync:error=EIO";
        Strace::attach(node.pid(), &["-e", "trace=fsync,fdatasync", "-P", file, "-e", inject]).unwrap()
    }

    /// Delays each sync of one file by a second, and makes it fail, in the threads of a node that run rounds. The syncs
    /// of other threads succeed.
    pub(crate) fn fail_slow_syncs_of_rounds(node: &Node, file: &Path) -> Strace {
        let file = file.to_str().unwrap();
        let threads: Vec<String> =
            threads_of(node, "round").iter().map(|thread| format!("--attach={thread}")).collect();
        let inject =
            ["-e", "trace=fsync,fdatasync", "-P", file, "-e", "inject=fsync,fdatasync:error=EIO:delay_enter=1000000"];
        let arguments: Vec<&str> = threads.iter().map(String::as_str).chain(inject).collect();
        Strace::attach_to(&arguments).unwrap()
    }

    /// Delays each write of a node to one file by ten seconds, until this is dropped.
    pub(crate) fn delay_writes(node: &Node, file: &Path) -> Strace {
        let file = file.to_str().unwrap();
        let inject = "inject=pwrite64:delay_enter=10000000";
        Strace::attach(node.pid(), &["-e", "trace=pwrite64", "-P", file, "-e", inject]).unwrap()
    }

    /// Kills a node when it syncs one file, before the sync happens.
    pub(crate) fn kill_at_sync(node: &Node, file: &Path) -> Strace {
        let file = file.to_str().unwrap();
        let inject = "inject=fsync,fdatasync:signal=KILL:when=1";
        Strace::attach(node.pid(), &["-e", "trace=fsync,fdatasync", "-P", file, "-e", inject]).unwrap()
    }

    /// Attaches strace to all threads of a process.
    fn attach(pid: u32, arguments: &[&str]) -> Result<Strace, String> {
        let process = format!("--attach={pid}");
        Strace::attach_to(&[&["-f", &process], arguments].concat())
    }

    fn attach_to(arguments: &[&str]) -> Result<Strace, String> {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("strace")
            .arg("-o")
            .arg(directory.path().join("trace"))
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace cannot be started: {error}"))?;
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (said, says) = mpsc::channel();
        // Reads to the end: strace would block on a full pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let strace = Strace { child, directory };
        match says.recv_timeout(TIMEOUT) {
            Ok(line) if line.contains("attached") => Ok(strace),
            Ok(line) => Err(line),
            Err(error) => Err(format!("strace does not attach: {error}")),
        }
    }

    fn trace(&self) -> PathBuf {
        self.directory.path().join("trace")
    }

    /// Lets the process go on undisturbed.
    ///
    /// A strace that has to detach from a process that was just killed waits for its first thread, which ends only when
    /// strace has waited for all others: it would hang. Then it is killed as well.
    fn detach(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::INT);
        let deadline = Instant::now() + DETACH_WAIT_MAX;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                self.child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.detach();
    }
}

/// A record of what a node does from now on.
pub(crate) struct Recording {
    strace: Strace,
    checkpointer: String,
}

impl Recording {
    /// The number of syncs that writes wait for: all but the checkpointer's.
    ///
    /// After the checkpointer has moved the write-ahead log into the database, SQLite begins it anew: it writes a
    /// header, syncs it, and goes on. There are as many of these syncs as headers, and they are not counted: a log
    /// under continuous load has one for some MiB.
    pub(crate) fn syncs_of_writes(mut self) -> usize {
        self.strace.detach();
        let trace = fs::read_to_string(self.strace.trace()).unwrap();
        let calls = || trace.lines().filter_map(Call::parse).filter(|call| call.thread != self.checkpointer);
        let syncs = || calls().filter(|call| SYNCS.contains(&call.name));
        for sync in syncs() {
            assert!(sync.is_of("log.sqlite-wal"), "a sync of something else than the write-ahead log: {sync:?}");
        }
        syncs().count() - calls().filter(Call::begins_write_ahead_log).count()
    }
}

/// A line of a trace: `THREAD  NAME(DESCRIPTOR<PATH>, …`. A call that another thread interrupts ends on a line of its
/// own, which does not count as a call.
#[derive(Debug)]
struct Call<'a> {
    thread: &'a str,
    name: &'a str,
    arguments: Vec<&'a str>,
}

impl Call<'_> {
    fn parse(line: &str) -> Option<Call<'_>> {
        let (thread, rest) = line.split_once(' ')?;
        let (name, arguments) = rest.trim_start().split_once('(')?;
        let arguments = arguments.split([',', ')', ' ']).filter(|argument| !argument.is_empty()).collect();
        name.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(Call { thread, name, arguments })
    }

    fn is_of(&self, file: &str) -> bool {
        self.arguments[0].ends_with(&format!("/{file}>"))
    }

    /// `pwrite64(FILE, TEXT, BYTES, OFFSET)` of the header.
    fn begins_write_ahead_log(&self) -> bool {
        self.name == "pwrite64" && self.is_of("log.sqlite-wal") && self.arguments[2..4] == [HEADER_BYTES, "0"]
    }
}

fn thread_of(node: &Node, name: &str) -> String {
    threads_of(node, name).pop().expect("a thread of this name")
}

fn threads_of(node: &Node, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
    let is_named = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let tasks = tasks.map(|task| task.unwrap().path()).filter(is_named);
    tasks.map(|task| task.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}
