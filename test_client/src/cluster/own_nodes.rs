//! A cluster of our own: a master and two secondaries as processes, their logs and data in a temporary directory.
//!
//! Each node holds the reading end of a pipe from here and stops when it closes, so no node outlives this process, even
//! after a kill.

use crate::api::Address;
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a node may take until it serves.
const START_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to stop before it is killed.
const STOP_WAIT_MAX: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The words that a node prints when it serves.
const SERVES: &str = " serves on http://";

/// The master comes first.
const NAMES: [&str; 3] = ["master", "secondary-1", "secondary-2"];

/// The nodes, of which some run.
pub(crate) struct OwnCluster {
    /// The programs of the master and of a secondary.
    programs: [PathBuf; 2],
    ports: Vec<u16>,
    /// Environment variables of each node beside the usual ones.
    settings: Vec<Vec<(&'static str, String)>>,
    directory: Mutex<Option<TempDir>>,
    /// The nodes that run, by their numbers.
    running: Mutex<BTreeMap<usize, Child>>,
}

impl OwnCluster {
    /// Finds programs, ports and a directory whose name begins with that of a command. Starts nothing.
    pub(crate) fn prepare(command: &str, first_port: Option<u16>) -> Result<OwnCluster, String> {
        let programs = find_programs()?;
        let directory = tempfile::Builder::new().prefix(&format!("{command}-")).tempdir();
        let directory = directory.map_err(|error| format!("cannot make a directory for the nodes: {error}"))?;
        let ports = match first_port {
            Some(first) => (first..=u16::MAX).take(NAMES.len()).collect(),
            None => free_ports(NAMES.len()),
        };
        if ports.len() < NAMES.len() {
            return Err("there are no free ports on 127.0.0.1".to_owned());
        }
        let settings = vec![Vec::new(); NAMES.len()];
        Ok(OwnCluster { programs, ports, settings, directory: Mutex::new(Some(directory)), running: Mutex::default() })
    }

    /// Sets an environment variable of a node that is not started yet.
    pub(crate) fn set(&mut self, number: usize, variable: &'static str, value: impl Into<String>) {
        self.settings[number].push((variable, value.into()));
    }

    /// The port of a node, on 127.0.0.1.
    pub(crate) fn port(&self, number: usize) -> u16 {
        self.ports[number]
    }

    /// The names of the nodes, the master first.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }

    /// The directory of a node's data and logs, until the nodes stop.
    pub(crate) fn home(&self, number: usize) -> Option<PathBuf> {
        lock(&self.directory).as_ref().map(|directory| directory.path().join(NAMES[number]))
    }

    /// The process of a node that runs.
    pub(crate) fn process(&self, number: usize) -> Option<Pid> {
        let id = lock(&self.running).get(&number)?.id();
        i32::try_from(id).ok().and_then(Pid::from_raw)
    }

    /// Ends a node as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&self, number: usize) -> Result<(), String> {
        let Some(mut node) = lock(&self.running).remove(&number) else { return Ok(()) };
        let killed = node.kill().and_then(|()| node.wait());
        killed.map(drop).map_err(|error| format!("{} could not be killed: {error}", NAMES[number]))
    }

    /// Name and address of each node, the master first.
    pub(crate) fn nodes(&self) -> Vec<(String, Address)> {
        let address = |port: &u16| format!("localhost:{port}").parse().expect("host and port are an address");
        NAMES.iter().zip(&self.ports).map(|(name, port)| ((*name).to_owned(), address(port))).collect()
    }

    /// Starts the node with this number, and waits until it serves.
    pub(crate) fn start(&self, number: usize) -> Result<(), String> {
        let name = NAMES[number];
        let home = self.home(number).ok_or_else(|| format!("{name} is not started: the cluster is being stopped"))?;
        let mut child = self.spawn(number, &home).map_err(|error| format!("{name} could not be started: {error}"))?;
        let served = wait_until_it_serves(&mut child);
        lock(&self.running).insert(number, child);
        served.map_err(|why| {
            let said = fs::read_to_string(errors_of(&home)).unwrap_or_default();
            let said = said.lines().last().map_or_else(String::new, |line| format!("; it said: {line}"));
            format!("{name} {why}{said}")
        })
    }

    fn spawn(&self, number: usize, home: &Path) -> io::Result<Child> {
        fs::create_dir_all(home)?;
        let port = self.ports[number].to_string();
        let secondaries: Vec<String> = self.ports[1..].iter().map(|port| format!("http://localhost:{port}")).collect();
        let mut command = Command::new(&self.programs[number.min(1)]);
        // A clean environment: the user's settings for another cluster do not apply to this one.
        command.env_clear().env("SERVER_ID", NAMES[number]);
        match number {
            0 => command.env("MASTER_PORT", port).env("SECONDARIES", secondaries.join(",")),
            _ => command.env("SECONDARY_PORT", port),
        };
        command
            .env("DATA_DIR", home.join("data"))
            .env("LOG_DIR", home.join("logs"))
            .env("ENABLE_FAULTS", "1")
            .env("STOP_WITH_PARENT", "1")
            .envs(self.settings[number].iter().map(|(variable, value)| (variable, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(errors_of(home))?)
            // Ctrl-C must reach this process only, which then stops the master before its secondaries.
            .process_group(0)
            .spawn()
    }

    /// Stops every node that runs, the master first, and removes the directory.
    pub(crate) fn stop(&self) {
        drop(self.stop_nodes());
    }

    /// Stops every node that runs, the master first, and returns the directory instead of removing it.
    pub(crate) fn stop_and_keep(&self) -> Option<PathBuf> {
        self.stop_nodes().map(TempDir::keep)
    }

    fn stop_nodes(&self) -> Option<TempDir> {
        // Taken first, so that no other node starts.
        let directory = lock(&self.directory).take();
        let running = std::mem::take(&mut *lock(&self.running));
        running.into_values().for_each(stop);
        directory
    }
}

/// Closes the pipe of a node, which makes it stop, and waits for that.
fn stop(mut node: Child) {
    drop(node.stdin.take());
    let begun = Instant::now();
    while begun.elapsed() < STOP_WAIT_MAX {
        if !matches!(node.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
    let _ = node.kill().and_then(|()| node.wait());
}

/// Looks beside this program, and then on PATH.
fn find_programs() -> Result<[PathBuf; 2], String> {
    let beside = env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let path = env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = beside.iter().cloned().chain(env::split_paths(&path)).collect();
    let find = |name: &str| places.iter().map(|place| place.join(name)).find(|program| program.is_file());
    match (find("master"), find("secondary")) {
        (Some(master), Some(secondary)) => Ok([master, secondary]),
        _ => Err(format!(
            "the programs `master` and `secondary` are neither in {} nor on PATH; build them with `cargo build \
             --release --workspace`, put them on PATH with `cargo install --path .`, or name a cluster with --master",
            beside.as_deref().map_or(OsStr::new("the directory of this program"), Path::as_os_str).display()
        )),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of a node's standard error.
fn errors_of(home: &Path) -> PathBuf {
    home.join("errors.txt")
}

/// Reads the output of the node to its end, so that the node never blocks on a full pipe.
fn wait_until_it_serves(child: &mut Child) -> Result<(), String> {
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let (serves, served) = mpsc::channel();
    let read = move || {
        for line in lines.map_while(Result::ok) {
            if line.contains(SERVES) {
                let _ = serves.send(());
            }
        }
    };
    thread::Builder::new().spawn(read).map_err(|error| format!("its output cannot be read: {error}"))?;
    served.recv_timeout(START_WAIT_MAX).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!("does not serve {} s after its start", START_WAIT_MAX.as_secs()),
        RecvTimeoutError::Disconnected => "ended before it served".to_owned(),
    })
}

/// Ports that nothing listens on. They are below the range from which the system takes ports for outgoing connections:
/// such a connection could take the port of a node that has not started yet.
fn free_ports(count: usize) -> Vec<u16> {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    let first = process::id().wrapping_mul(7_919);
    let port = |step: u32| PORTS.start + first.wrapping_add(step * 37) % (PORTS.end - PORTS.start);
    let held: Vec<TcpListener> = (0..PORTS.end - PORTS.start)
        .filter_map(|step| u16::try_from(port(step)).ok())
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .take(count)
        .collect();
    held.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.port()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let mut ports = free_ports(20);
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
