//! One request of a connection at a time.
//!
//! The library reads ahead: pipelined requests, and what a malformed one left behind, are queued before the first is
//! answered, and a reply to a later one blocks its thread until the earlier one is sent. Here the later ones wait
//! instead, without a thread, and are forgotten if the connection ends with the earlier one. A client that sends too
//! many ahead gets answers to those that found room, and its connection ends with them.
//!
//! Connections are known by the address and port of the client, because the library gives nothing else to distinguish
//! them by, and offers no way to close one. There is an entry while a request is in flight, and for [`ENDED_MEMORY`]
//! after a connection was ended. In that time more can come in from the same address and port: what was on its way on
//! the ended connection, or the first request of a new one, because a client may take the same port again. The two look
//! alike, so neither is served, and the 503 asks the client to connect again.

use crate::process::threads::lock;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Requests of one connection that may wait.
const WAITING_MAX: usize = 1_000;
/// Requests of all connections that may wait. Each has a head that is no longer than it may be, and no body beyond what
/// the library reads ahead.
const WAITING_OF_ALL_MAX: usize = 4_000;
/// How long an ended connection is remembered. Longer would refuse more new connections: the system may give a client
/// the same port again.
pub(super) const ENDED_MEMORY: Duration = Duration::from_secs(2);

/// What to do with a request that was read.
pub(super) enum Admission<R> {
    /// Serve it.
    Now(R),
    /// It is kept until the earlier one is answered.
    Later,
    /// An earlier one of its connection found no room, so this one must not be served.
    Never(R),
    /// A connection from its address and port has just been ended.
    TooSoon(R),
}

enum Connection<R> {
    /// A request is being served; others wait behind it. After one that found no room, none may be served.
    Busy { waiting: VecDeque<R>, overflowed: bool },
    /// It was ended at this time.
    Ended(Instant),
}

pub(super) struct Connections<R = tiny_http::Request> {
    known: Mutex<Known<R>>,
    ended_memory: Duration,
}

struct Known<R> {
    busy: HashMap<SocketAddr, Connection<R>>,
    /// Requests that wait, of all connections.
    waiting: usize,
}

impl<R> Connections<R> {
    pub(super) fn new(ended_memory: Duration) -> Connections<R> {
        Connections { known: Mutex::new(Known { busy: HashMap::new(), waiting: 0 }), ended_memory }
    }

    /// A request came in. One that is too long to be kept does not wait.
    pub(super) fn enter(&self, address: Option<SocketAddr>, request: R, may_wait: bool) -> Admission<R> {
        let Some(address) = address else { return Admission::Now(request) };
        let Known { busy, waiting: waiting_of_all } = &mut *lock(&self.known);
        match busy.get_mut(&address) {
            Some(Connection::Busy { waiting, overflowed }) => {
                // One may always wait: a client that has its reply may send before this node has noted that it was
                // sent.
                let is_full = !waiting.is_empty() && *waiting_of_all >= WAITING_OF_ALL_MAX;
                *overflowed |= is_full || !may_wait || waiting.len() >= WAITING_MAX;
                if *overflowed {
                    return Admission::Never(request);
                }
                waiting.push_back(request);
                *waiting_of_all += 1;
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
        let Known { busy, waiting: waiting_of_all } = &mut *lock(&self.known);
        if ends {
            return match busy.insert(address, Connection::Ended(Instant::now())) {
                Some(Connection::Busy { waiting, .. }) => {
                    *waiting_of_all -= waiting.len();
                    (None, waiting)
                }
                _ => nothing,
            };
        }
        let Some(Connection::Busy { waiting, overflowed }) = busy.get_mut(&address) else { return nothing };
        let (next, overflowed) = (waiting.pop_front(), *overflowed);
        *waiting_of_all -= usize::from(next.is_some());
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
        lock(&self.known).busy.retain(|_, connection| match connection {
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
        assert!(matches!(connections.enter(from(1), 'a', true), Admission::Now('a')));
        assert!(matches!(connections.enter(from(1), 'b', true), Admission::Later));
        assert!(
            matches!(connections.enter(from(2), 'x', true), Admission::Now('x')),
            "another connection is not held up"
        );
        assert_eq!(connections.leave(from(1), false).0, Some('b'));
        assert_eq!(connections.leave(from(1), false).0, None);
        assert!(matches!(connections.enter(from(1), 'c', true), Admission::Now('c')));
    }

    #[test]
    fn what_finds_no_room_is_the_end() {
        let connections = Connections::new(Duration::MAX);
        assert!(matches!(connections.enter(from(1), 0, true), Admission::Now(0)));
        for number in 1..=WAITING_MAX {
            assert!(matches!(connections.enter(from(1), number, true), Admission::Later));
        }
        assert!(matches!(connections.enter(from(1), 7_777, true), Admission::Never(7_777)));
        assert_eq!(connections.leave(from(1), false).0, Some(1));
        assert!(
            matches!(connections.enter(from(1), 8_888, true), Admission::Never(8_888)),
            "there is room again, too late"
        );
        for number in 2..=WAITING_MAX {
            assert_eq!(connections.leave(from(1), false).0, Some(number));
        }
        assert_eq!(connections.leave(from(1), false).0, None);
        assert!(matches!(connections.enter(from(1), 9_999, true), Admission::TooSoon(9_999)));
    }

    #[test]
    fn what_is_too_long_does_not_wait() {
        let connections = Connections::new(Duration::MAX);
        assert!(matches!(connections.enter(from(1), 'a', false), Admission::Now('a')));
        assert!(matches!(connections.enter(from(1), 'b', false), Admission::Never('b')));
    }

    #[test]
    fn all_connections_together_may_have_so_many_waiting() {
        let connections = Connections::new(Duration::MAX);
        let last = 1 + (WAITING_OF_ALL_MAX / WAITING_MAX) as u16;
        for port in 1..=last {
            assert!(matches!(connections.enter(from(port), 0, true), Admission::Now(0)));
        }
        let later = |port| {
            (0..WAITING_MAX).filter(|_| matches!(connections.enter(from(port), 1, true), Admission::Later)).count()
        };
        assert_eq!((1..=last).map(later).sum::<usize>(), WAITING_OF_ALL_MAX + 1, "the last has one that waits");
        assert_eq!(connections.leave(from(1), true).1.len(), WAITING_MAX);
        assert_eq!(connections.leave(from(last), false).0, Some(1));
        assert_eq!(connections.leave(from(last), false).0, None);
        assert!(matches!(connections.enter(from(last), 0, true), Admission::TooSoon(0)), "it had too many before");
    }

    #[test]
    fn what_comes_right_after_the_end_is_refused() {
        let connections = Connections::new(Duration::MAX);
        assert!(matches!(connections.enter(from(1), 'a', true), Admission::Now('a')));
        assert!(matches!(connections.enter(from(1), 'b', true), Admission::Later));
        assert_eq!(connections.leave(from(1), true).1, ['b']);
        assert!(matches!(connections.enter(from(1), 'c', true), Admission::TooSoon('c')));
        connections.sweep();
        assert!(matches!(connections.enter(from(1), 'd', true), Admission::TooSoon('d')));
    }

    #[test]
    fn later_the_port_may_be_used_again() {
        for swept in [false, true] {
            let connections = Connections::new(Duration::ZERO);
            assert!(matches!(connections.enter(from(1), 'a', true), Admission::Now('a')));
            assert!(connections.leave(from(1), true).1.is_empty());
            if swept {
                connections.sweep();
            }
            assert!(matches!(connections.enter(from(1), 'b', true), Admission::Now('b')));
        }
    }
}
