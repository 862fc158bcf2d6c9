//! Ports for nodes that tests start.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::sync::Mutex;

/// Below the range from which the system takes ports for outgoing connections, or one of those could take a port
/// between the look here and the start of the node.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

/// Ports in a row that nothing listens on, and that no test gets, of this process or another, while this one runs: each
/// is claimed by a locked file.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let begin = FIRST + std::process::id() as u16 % (LAST - FIRST);
    let mut row: Vec<(u16, File)> = Vec::new();
    for port in (begin..LAST).chain(FIRST..begin) {
        let follows = row.last().is_none_or(|(last, _)| last + 1 == port);
        let claimed = claim(port);
        if !follows || claimed.is_none() {
            row.clear();
        }
        row.extend(claimed.map(|claim| (port, claim)));
        if row.len() == count {
            let (ports, claims): (Vec<u16>, Vec<File>) = row.into_iter().unzip();
            CLAIMS.lock().unwrap().extend(claims);
            return ports;
        }
    }
    panic!("there are no {count} free ports in a row from {FIRST} to {LAST}");
}

/// A port is free and ours as long as the file is open.
fn claim(port: u16) -> Option<File> {
    let directory = std::env::temp_dir().join("replicated-log-test-ports");
    fs::create_dir_all(&directory).unwrap();
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join(port.to_string()));
    let file = file.unwrap();
    file.try_lock().ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok().map(|_| file)
}
