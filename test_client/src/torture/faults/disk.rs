//! Slow, full and failing disks of nodes of our own: strace changes their system calls.
//!
//! A node whose sync failed acknowledges nothing more until it is started again, so it is killed and started when such
//! a fault ends. Reads are never touched.

use super::fault::{ActiveFault, FaultSource, between};
use crate::cluster::OwnCluster;
use crate::random::Random;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long strace may take to attach itself.
const ATTACH_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long it may take to let go of a process.
const DETACH_WAIT_MAX: Duration = Duration::from_secs(10);

/// What strace writes beside a call that it changed.
const MARKS: [&str; 2] = ["(INJECTED)", "(DELAYED)"];

/// Attaches strace to nodes.
pub(crate) struct Disks {
    pub(crate) cluster: Arc<OwnCluster>,
}

impl Disks {
    /// Whether strace is there, and may attach itself to processes of ours.
    pub(crate) fn can_be_harmed() -> Result<(), String> {
        if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
            return Err("strace is not installed (apt-get install strace)".to_owned());
        }
        let child = Command::new("sleep").arg("60").spawn();
        let mut sleep = child.map_err(|error| format!("sleep cannot be started: {error}"))?;
        let directory = tempfile::tempdir().map_err(|error| format!("there is no directory for strace: {error}"))?;
        let attached = Strace::attach(sleep.id(), &directory.path().join("trace"), &[]);
        let _ = sleep.kill().and_then(|()| sleep.wait());
        attached.map(Strace::detach).map(drop)
    }
}

impl FaultSource for Disks {
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String> {
        let node = random.one_of(idle);
        let (name, home) = (self.cluster.names()[node], self.cluster.home(node).ok_or("there are no nodes any more")?);
        let pid = self.cluster.process(node).ok_or_else(|| format!("{name} does not run"))?;
        let log = home.join("data").join("log.sqlite-wal").display().to_string();
        let (what, inject, breaks) = match random.below(3) {
            0 => {
                let micros = 20_000 + random.below(400_000);
                let what = format!("every sync of {name} takes {} ms longer", micros / 1000);
                (what, format!("fsync,fdatasync:delay_enter={micros}"), false)
            }
            1 => (format!("every sync of {name} fails"), "fsync,fdatasync:error=EIO".to_owned(), true),
            _ => (format!("the disk of {name} is full"), "pwrite64:error=ENOSPC".to_owned(), false),
        };
        let inject = format!("inject={inject}");
        let calls = "trace=fsync,fdatasync,pwrite64";
        let id = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
        let strace = Strace::attach(id, &home.join("trace"), &["-e", calls, "-P", &log, "-e", &inject])?;
        let cluster = Arc::clone(&self.cluster);
        let undo = Box::new(move || {
            let hits = strace.detach();
            if breaks {
                cluster.kill(node)?;
                cluster.start(node)?;
            }
            Ok(Some(hits))
        });
        Ok(ActiveFault { what, nodes: vec![node], lasts: between(random, 500, 3000), undo })
    }
}

/// strace, attached to all threads of a process.
struct Strace {
    child: Child,
    trace: PathBuf,
}

impl Strace {
    fn attach(pid: u32, trace: &Path, arguments: &[&str]) -> Result<Strace, String> {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-o"]).arg(trace).args(arguments);
        // Ctrl-C is for this process, which then ends the fault.
        command.process_group(0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("strace cannot be started: {error}"))?;
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (said, says) = mpsc::channel();
        // To the end: otherwise strace would block when the pipe is full.
        let read = move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line)));
        thread::Builder::new().spawn(read).map_err(|error| format!("strace cannot be listened to: {error}"))?;
        let strace = Strace { child, trace: trace.to_owned() };
        match says.recv_timeout(ATTACH_WAIT_MAX) {
            Ok(line) if line.contains("attached") => Ok(strace),
            Ok(line) => {
                strace.detach();
                Err(line)
            }
            Err(_) => {
                strace.detach();
                Err("strace does not attach".to_owned())
            }
        }
    }

    /// Lets the process go on undisturbed. Gives the number of calls that were changed.
    ///
    /// When strace is asked to detach from a process that was just killed, it waits for its first thread, which ends
    /// only when strace has waited for all others: a deadlock. Then it is killed as well.
    fn detach(mut self) -> u64 {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + DETACH_WAIT_MAX;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        trace.lines().filter(|line| MARKS.iter().any(|mark| line.contains(mark))).count() as u64
    }
}
