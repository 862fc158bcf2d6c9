//! The connection limiter.
//!
//! Each connection costs two descriptors and a thread of the library, which accepts connections until no descriptor is
//! left; then its accept loop ends, and this node can open no file and call no other node. So the limiter stops the
//! accept loop before that. The library offers no way to do it, but all copies of a listener share their state: the
//! limiter makes the listener non-blocking, so the accept loop ends after the next connection. From then on the limiter
//! accepts the connections itself, answers 503, and closes them. The watchdog decides when another acceptor takes over.
//!
//! The limiter counts the descriptors of the process, which is one system call; a few dozen of them are something else.
//! This also counts connections that the library leaked.

use super::descriptors;
use super::reply::Reply;
use super::sending::whole;
use rustix::process::{Resource, getrlimit};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::iter;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Descriptors that are no connections of clients, about: files, connections to other nodes, and those of the watchdog.
const OTHER_DESCRIPTORS: usize = 64;
/// A quarter of the descriptors, but not more than these, stay free for files, other nodes, and connections that come
/// between two ticks of the watchdog.
const SPARE_DESCRIPTORS_MAX: usize = 2_304;
/// There is room again when so many descriptors have become free, or a tenth of all: more than the watchdog's own.
const MARGIN_MIN: usize = 16;
/// How long a refused connection stays open, so that its client can read why: closing at once could reset it.
const LINGER: Duration = Duration::from_millis(500);
/// Refused connections that stay open. They do not count as connections, but take descriptors that are spare.
const LINGERING_MAX: usize = 64;
/// Connections that are refused at a time: as many as may wait to be accepted.
const AT_ONCE: usize = 1_024;

pub(super) struct ConnectionLimiter {
    listener: TcpListener,
    descriptors_max: usize,
    /// So many are kept free.
    spare: usize,
    /// There were more than [`ConnectionLimiter::descriptors_max`] when it was last asked.
    was_full: bool,
    refuses_since: Option<Instant>,
    refusal: Vec<u8>,
    lingering: VecDeque<(Instant, TcpStream)>,
    lingering_max: usize,
    refused: u64,
}

impl ConnectionLimiter {
    pub(super) fn new(listener: TcpListener, connections_max: usize) -> ConnectionLimiter {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let spare = (descriptors / 4).min(SPARE_DESCRIPTORS_MAX);
        let available = descriptors - spare;
        let wanted = connections_max * descriptors::PER_CONNECTION + OTHER_DESCRIPTORS;
        if wanted > available {
            let connections = available.saturating_sub(OTHER_DESCRIPTORS) / descriptors::PER_CONNECTION;
            log::warn!(
                "this node takes at most about {connections} connections, not {connections_max}: the process may have \
                 {descriptors} open files; raise that with ulimit -n"
            );
        }
        let refusal = Reply::overloaded("this node has as many connections as it takes; try again in a second");
        ConnectionLimiter {
            listener,
            descriptors_max: wanted.min(available),
            spare,
            was_full: false,
            refuses_since: None,
            refusal: whole(&refusal).unwrap_or_default(),
            lingering: VecDeque::new(),
            lingering_max: LINGERING_MAX.min(spare / 2),
            refused: 0,
        }
    }

    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    pub(super) fn refuses_since(&self) -> Option<Instant> {
        self.refuses_since
    }

    /// Whether there are more connections than there may be: far more, or some more at two ticks in a row, because some
    /// connections are very short.
    pub(super) fn is_crowded(&mut self, descriptors: usize) -> bool {
        let is_full = descriptors > self.descriptors_max;
        let was_full = std::mem::replace(&mut self.was_full, is_full);
        is_full && (was_full || descriptors > self.descriptors_max + self.spare / 2)
    }

    /// Whether there is room again, and for more than a few.
    pub(super) fn has_room(&self, descriptors: usize) -> bool {
        let margin = (self.descriptors_max / 10).max(MARGIN_MIN);
        descriptors.saturating_sub(self.lingering.len()) + margin < self.descriptors_max
    }

    /// Ends the accept loop with the next connection.
    pub(super) fn refuse_from_now_on(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        self.refuses_since = Some(Instant::now());
        self.refused = 0;
        Ok(())
    }

    /// From now on an acceptor may take connections.
    pub(super) fn accept_from_now_on(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(false)?;
        self.refuses_since = None;
        self.was_full = false;
        self.lingering.clear();
        log::info!("connections are accepted again; {} were refused meanwhile", self.refused);
        Ok(())
    }

    /// Refuses all connections that wait. Gives how many they were.
    pub(super) fn refuse(&mut self) -> u64 {
        let before = self.refused;
        let over = self.lingering.partition_point(|(since, _)| since.elapsed() > LINGER);
        self.lingering.drain(..over).for_each(|(_, stream)| close(&stream));
        for (stream, _) in iter::from_fn(|| self.listener.accept().ok()).take(AT_ONCE) {
            self.refused += 1;
            if self.lingering.len() >= self.lingering_max
                && let Some((_, stream)) = self.lingering.pop_front()
            {
                close(&stream);
            }
            if stream.set_nonblocking(true).and_then(|()| (&stream).write_all(&self.refusal)).is_ok() {
                self.lingering.push_back((Instant::now(), stream));
            }
        }
        self.refused - before
    }
}

/// Reads what has come first: unread bytes would make the system reset the connection.
fn close(mut stream: &TcpStream) {
    let _ = stream.read(&mut [0; 4_096]);
    let _ = stream.shutdown(Shutdown::Both);
}
