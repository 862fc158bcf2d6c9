//! How many connections a listener has. The library does not tell, but the system does.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The system tells of every connection of the machine, also of those that ended a moment ago: tens of thousands, where
/// many clients come for one request each. So it is asked no more often than this.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// The state of a connection that is open on both sides, as Linux writes it.
const ESTABLISHED: &str = "01";

/// Counts the connections to a port.
#[derive(Debug)]
pub(super) struct Census {
    port: u16,
    latest: Mutex<Option<(Instant, usize)>>,
}

impl Census {
    pub(super) fn of(port: u16) -> Census {
        Census { port, latest: Mutex::new(None) }
    }

    /// Open connections, as of a moment ago.
    pub(super) fn connections(&self) -> usize {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match *latest {
            Some((when, connections)) if when.elapsed() < COUNT_EVERY => connections,
            _ => {
                let connections = connections(self.port);
                *latest = Some((Instant::now(), connections));
                connections
            }
        }
    }
}

/// Open connections to a local port; 0 where the system does not tell.
fn connections(port: u16) -> usize {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .map(|table| count(&table, port))
        .sum()
}

/// Counts lines of such a table: number, local address, remote address, state, and so on.
fn count(table: &str, port: u16) -> usize {
    let port = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(ESTABLISHED)
    };
    table.lines().skip(1).filter(is_one).count()
}

#[cfg(test)]
mod tests {
    use super::{connections, count};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn open_connections_to_the_port_count_and_others_do_not() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                     0: 0100007F:1388 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1388 0100007F:8A26 01 00000000:00000000\n\
                     2: 0100007F:8A26 0100007F:1388 01 00000000:00000000\n\
                     3: 0100007F:1388 0100007F:8A28 06 00000000:00000000\n";
        assert_eq!(count(table, 5_000), 1);
    }

    #[test]
    fn the_system_tells() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let _accepted: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
        if cfg!(target_os = "linux") {
            assert_eq!(connections(address.port()), 3);
        }
    }
}
