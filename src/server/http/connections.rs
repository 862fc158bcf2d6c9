//! One request of a connection at a time.
//!
//! The library reads ahead: pipelined requests, and whatever a malformed one left behind, are queued before the first
//! is answered, and a reply to a later one blocks the thread that gives it until the earlier one is sent. Here the later
//! ones wait instead, without a thread, and are forgotten if the connection ends with the earlier one. A client that
//! sends too many ahead gets answers to those that found room, and its connection ends with them.
//!
//! Connections are known by the address of the client, which is all that the library tells. There is an entry only while
//! a request is in flight, and for [`ENDED_MEMORY`] after a connection was ended, in case more comes in on it: what was
//! on its way when the client was told arrives within that time. The client may also have closed it, and have come back
//! from the same port. The two cannot be told apart, so neither is served, and both are told to connect again.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Requests of one connection that may wait.
const WAITING_MAX: usize = 1_000;
/// How long an ended connection is remembered. Longer would turn away honest clients: the kernel gives a port again after
/// some thousand connections.
pub(super) const ENDED_MEMORY: Duration = Duration::from_secs(2);

/// What to do with a request that was read.
pub(super) enum Admission<R> {
    /// Serve it.
    Now(R),
    /// It is kept until the earlier one is answered.
    Later,
    /// An earlier one of its connection found no room: nobody may act on it.
    Never(R),
    /// It comes from where a connection has just been ended.
    TooSoon(R),
}

enum Connection<R> {
    /// A request is being served; others wait behind it. After one that found no room, none may be served.
    Busy { waiting: VecDeque<R>, overflowed: bool },
    /// It was ended at this moment.
    Ended(Instant),
}

pub(super) struct Connections<R = tiny_http::Request> {
    busy: Mutex<HashMap<SocketAddr, Connection<R>>>,
    ended_memory: Duration,
}

impl<R> Connections<R> {
    pub(super) fn new(ended_memory: Duration) -> Connections<R> {
        Connections { busy: Mutex::new(HashMap::new()), ended_memory }
    }

    /// A request came in.
    pub(super) fn enter(&self, address: Option<SocketAddr>, request: R) -> Admission<R> {
        let Some(address) = address else { return Admission::Now(request) };
        let mut busy = super::lock(&self.busy);
        match busy.get_mut(&address) {
            Some(Connection::Busy { waiting, overflowed }) => {
                *overflowed |= waiting.len() >= WAITING_MAX;
                if *overflowed {
                    return Admission::Never(request);
                }
                waiting.push_back(request);
                Admission::Later
            }
            Some(Connection::Ended(since)) if since.elapsed() < self.ended_memory => Admission::TooSoon(request),
            Some(Connection::Ended(_)) | None => {
                busy.insert(address, Connection::Busy { waiting: VecDeque::new(), overflowed: false });
                Admission::Now(request)
            }
        }
    }

    /// A request was answered. Gives the one that waits behind it, or all of them if the connection ends here.
    pub(super) fn leave(&self, address: Option<SocketAddr>, ends: bool) -> (Option<R>, VecDeque<R>) {
        let nothing = (None, VecDeque::new());
        let Some(address) = address else { return nothing };
        let mut busy = super::lock(&self.busy);
        if ends {
            return match busy.insert(address, Connection::Ended(Instant::now())) {
                Some(Connection::Busy { waiting, .. }) => (None, waiting),
                _ => nothing,
            };
        }
        let Some(Connection::Busy { waiting, overflowed }) = busy.get_mut(&address) else { return nothing };
        let (next, overflowed) = (waiting.pop_front(), *overflowed);
        if next.is_none() && overflowed {
            busy.insert(address, Connection::Ended(Instant::now()));
        } else if next.is_none() {
            busy.remove(&address);
        }
        (next, VecDeque::new())
    }

    /// Forgets connections that ended long ago.
    pub(super) fn sweep(&self) {
        let memory = self.ended_memory;
        super::lock(&self.busy).retain(|_, connection| match connection {
            Connection::Busy { .. } => true,
            Connection::Ended(since) => since.elapsed() < memory,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn requests_of_one_connection_come_in_one_by_one() {
        let connections = Connections::new(Duration::MAX);
        assert!(matches!(connections.enter(from(1), 'a'), Admission::Now('a')));
        assert!(matches!(connections.enter(from(1), 'b'), Admission::Later));
        assert!(matches!(connections.enter(from(2), 'x'), Admission::Now('x')), "another connection is not held up");
        assert_eq!(connections.leave(from(1), false).0, Some('b'));
        assert_eq!(connections.leave(from(1), false).0, None);
        assert!(matches!(connections.enter(from(1), 'c'), Admission::Now('c')));
    }

    #[test]
    fn what_finds_no_room_is_the_end() {
        let connections = Connections::new(Duration::MAX);
        assert!(matches!(connections.enter(from(1), 0), Admission::Now(0)));
        for number in 1..=WAITING_MAX {
            assert!(matches!(connections.enter(from(1), number), Admission::Later));
        }
        assert!(matches!(connections.enter(from(1), 7_777), Admission::Never(7_777)));
        assert_eq!(connections.leave(from(1), false).0, Some(1));
        assert!(matches!(connections.enter(from(1), 8_888), Admission::Never(8_888)), "there is room again, too late");
        for number in 2..=WAITING_MAX {
            assert_eq!(connections.leave(from(1), false).0, Some(number));
        }
        assert_eq!(connections.leave(from(1), false).0, None);
        assert!(matches!(connections.enter(from(1), 9_999), Admission::TooSoon(9_999)));
    }

    #[test]
    fn what_comes_right_after_the_end_is_turned_away() {
        let connections = Connections::new(Duration::MAX);
        assert!(matches!(connections.enter(from(1), 'a'), Admission::Now('a')));
        assert!(matches!(connections.enter(from(1), 'b'), Admission::Later));
        assert_eq!(connections.leave(from(1), true).1, ['b']);
        assert!(matches!(connections.enter(from(1), 'c'), Admission::TooSoon('c')));
        connections.sweep();
        assert!(matches!(connections.enter(from(1), 'd'), Admission::TooSoon('d')));
    }

    #[test]
    fn later_the_port_is_somebody_elses() {
        for swept in [false, true] {
            let connections = Connections::new(Duration::ZERO);
            assert!(matches!(connections.enter(from(1), 'a'), Admission::Now('a')));
            assert!(connections.leave(from(1), true).1.is_empty());
            if swept {
                connections.sweep();
            }
            assert!(matches!(connections.enter(from(1), 'b'), Admission::Now('b')));
        }
    }
}
