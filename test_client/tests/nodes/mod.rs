//! Real nodes, if they were built.

#![allow(dead_code, reason = "each test file uses its part of this")]

#[path = "../../../tests/common/ports.rs"]
mod ports;

pub(crate) use ports::free_ports;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};
use tempfile::TempDir;

/// Where `cargo test --workspace` builds the nodes.
fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_test_client")).parent().unwrap()
}

/// Whether the nodes were built, too.
pub(crate) fn has_nodes() -> bool {
    let directory = programs();
    let there = ["master", "secondary"].iter().all(|program| directory.join(program).is_file());
    let required = env::var("REQUIRE_NODES").is_ok_and(|value| value == "1");
    assert!(
        there || !required,
        "REQUIRE_NODES=1, and there are no `master` and `secondary` in {}; cargo build --workspace makes them",
        directory.display()
    );
    if !there {
        println!("skipped: there are no `master` and `secondary` in {}", directory.display());
    }
    there
}

/// Real nodes that the program does not know: a master and two secondaries, gone when the test ends.
pub(crate) struct Nodes {
    pub(crate) master: String,
    ports: Vec<u16>,
    /// The master comes first.
    pub(crate) processes: Vec<Child>,
    _directory: TempDir,
}

impl Nodes {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Nodes {
        Nodes::start_with(settings, ["0", "0"])
    }

    /// Nodes whose secondaries wait so many seconds before they acknowledge.
    pub(crate) fn start_with(settings: &[(&str, &str)], delays: [&str; 2]) -> Nodes {
        let directory = TempDir::new().unwrap();
        let ports = free_ports(3);
        let secondaries = format!("http://localhost:{},http://localhost:{}", ports[1], ports[2]);
        let start = |number: usize| {
            let name = if number == 0 { "master".to_owned() } else { format!("secondary-{number}") };
            let home = directory.path().join(&name);
            let mut command = Command::new(programs().join(if number == 0 { "master" } else { "secondary" }));
            command.env("PORT", ports[number].to_string()).env("SERVER_ID", &name);
            if number == 0 {
                command.env("SECONDARIES", &secondaries);
            } else {
                command.env("REPLICATION_DELAY", delays[number - 1]);
            }
            command.env("DATA_DIR", home.join("data")).env("LOG_DIR", home.join("logs"));
            command.env("STOP_WITH_PARENT", "1").envs(settings.iter().copied());
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            command.spawn().unwrap()
        };
        let nodes = Nodes {
            master: format!("http://localhost:{}", ports[0]),
            processes: (0..3).map(start).collect(),
            ports,
            _directory: directory,
        };
        let begun = Instant::now();
        while nodes.ports.iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the nodes do not serve");
            thread::sleep(Duration::from_millis(20));
        }
        nodes
    }

    /// The host and port of a secondary, counted from one.
    pub(crate) fn secondary(&self, number: usize) -> String {
        format!("localhost:{}", self.ports[number])
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
