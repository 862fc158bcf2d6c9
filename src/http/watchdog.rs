//! The listener watchdog: keeps connections coming in although the library's listener fails in four known situations.
//!
//! 1. Its accept loop ends when `accept` fails. It also ends without an error message, by a panic, when the process has
//!    no descriptor or thread left for a connection.
//! 2. `accept` fails when no connection came for as long as [`Limits::silence`](super::Limits::silence): connections
//!    inherit their read timeout from the listener, so the listener has one, too.
//! 3. Its thread pool *forgets* connections. It queues a connection when it counts an idle thread, but the threads that
//!    it has woken for earlier connections of a burst still count as idle. A forgotten connection is read when a thread
//!    of the pool ends another one.
//! 4. It accepts connections until the process has no descriptors left; see [`ConnectionLimiter`].
//!
//! The library reports only errors of `accept`, so the watchdog finds out the rest by connecting to its own node. A
//! *probe* is a connection that asks for `/livez`. It is repeated before `accept` can time out, and its answer proves
//! that the accept loop and the receiver run. The connections of the latest probes stay open, as many as the pool has
//! threads that never end: a pool whose threads are all busy starts a thread for each new connection and forgets none.
//! Threads of connections that ended are idle for some seconds all the same. So for every connection that came since
//! the last look, the watchdog makes and ends one of its own, which frees a thread for a forgotten one. It sees new
//! connections by the descriptors of the process, which costs one system call, and makes no connections beside the
//! probes when none came.
//!
//! An accept loop that ended cannot be restarted: the limiter refuses connections until there is room, and then another
//! [`Acceptor`](super::acceptor::Acceptor) takes over.

use super::acceptors::Acceptors;
use super::descriptors;
use super::limiter::ConnectionLimiter;
use super::listener::reachable;
use crate::process::threads;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often it looks for new connections, and for the answer to a probe.
const TICK: Duration = Duration::from_millis(25);
/// How often it probes. A shorter [`Limits::silence`](super::Limits::silence) makes it more often.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// How long the answer to a probe may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the system may take for a connection to this node itself.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// After so many probes in a row without an answer the accept loop counts as ended.
const FAILURES_MAX: u32 = 3;
/// Connections of probes that stay open: as many as the library's pool has threads that never end.
const HELD: usize = 4;
/// Descriptors that the watchdog keeps open: both ends of the connections of its probes.
pub(super) const DESCRIPTORS: usize = HELD * (1 + descriptors::PER_CONNECTION);
/// Threads that it frees for forgotten connections in a tick. It does nothing else meanwhile.
const FREED_PER_TICK_MAX: usize = 64;
/// Acceptors that have connections. Each keeps a thread, so the limiter refuses connections until one has lost its
/// last.
const ACCEPTORS_MAX: usize = 64;
/// How long connections are refused at least: each time that they are accepted again makes another acceptor.
const REFUSING_MIN: Duration = Duration::from_secs(1);

pub(super) struct Watchdog {
    acceptors: Arc<Acceptors>,
    limiter: ConnectionLimiter,
    address: SocketAddr,
    probe_interval: Duration,
    next_probe: Instant,
    /// The probe that has no answer yet, and when it was made.
    probe: Option<(TcpStream, Instant)>,
    /// Connections of the latest probes that were answered, the oldest first.
    held: VecDeque<TcpStream>,
    /// Probes in a row that were not answered.
    failures: u32,
    /// Descriptors that were open at the last tick.
    descriptors: usize,
    /// Connections that came and may have been forgotten.
    suspects: usize,
}

impl Watchdog {
    pub(super) fn start(acceptors: Arc<Acceptors>, listener: TcpListener) -> io::Result<()> {
        let limits = &acceptors.edge.limits;
        let mut watchdog = Watchdog {
            address: reachable(acceptors.address),
            limiter: ConnectionLimiter::new(listener, limits.connections_max),
            // The oldest probe that is held is four intervals old: half of what would end its connection.
            probe_interval: (limits.silence() / 2 / HELD as u32).min(PROBE_INTERVAL_MAX),
            next_probe: Instant::now(),
            probe: None,
            held: VecDeque::new(),
            failures: 0,
            descriptors: descriptors::open(),
            suspects: 0,
            acceptors,
        };
        threads::start_needed("watchdog", move || watchdog.run()).map(drop)
    }

    fn run(&mut self) {
        let mut next_sweep = Instant::now();
        while !self.acceptors.edge.stopping.load(Ordering::Acquire) {
            match self.limiter.refuses_since() {
                None => self.watch(),
                Some(since) => self.refuse(since),
            }
            if Instant::now() > next_sweep {
                self.acceptors.edge.connections.sweep();
                self.acceptors.sweep();
                next_sweep = Instant::now() + PROBE_INTERVAL_MAX;
            }
            thread::sleep(TICK);
        }
    }

    /// One tick while connections are accepted.
    fn watch(&mut self) {
        let before = std::mem::replace(&mut self.descriptors, descriptors::open());
        self.suspects += self.descriptors.saturating_sub(before).div_ceil(descriptors::PER_CONNECTION);
        if self.limiter.is_crowded(self.descriptors) {
            return self.stop_accepting("there are as many connections as this node takes");
        }
        if !self.acceptors.accept() {
            return self.stop_accepting("the HTTP library ended its accept loop with an error");
        }
        match self.await_answer() {
            Ok(()) if self.failures == 0 => self.free_threads(),
            Ok(()) => {}
            Err(error) => {
                log::debug!("a probe of the listener failed: {error}");
                self.failures += 1;
                self.next_probe = Instant::now() + ANSWER_TIMEOUT;
                if self.failures == FAILURES_MAX {
                    self.stop_accepting(&format!("the listener did not answer {FAILURES_MAX} probes ({error})"));
                }
            }
        }
    }

    /// Looks for the answer to a probe; makes the next one when it is due.
    fn await_answer(&mut self) -> io::Result<()> {
        let Some((mut stream, since)) = self.probe.take() else {
            let is_due = Instant::now() >= self.next_probe || (self.failures == 0 && self.held.len() < HELD);
            return if is_due { self.send_probe() } else { Ok(()) };
        };
        match stream.read(&mut [0; 1_024]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.failures = 0;
                self.held.push_back(stream);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < ANSWER_TIMEOUT => {
                self.probe = Some((stream, since));
                // It may have been forgotten itself.
                self.suspects = self.suspects.max(1);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn send_probe(&mut self) -> io::Result<()> {
        if self.held.len() == HELD {
            self.held.pop_front();
        }
        self.next_probe = Instant::now() + self.probe_interval;
        let mut stream = self.connect()?;
        stream.set_nonblocking(true)?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        self.probe = Some((stream, Instant::now()));
        Ok(())
    }

    /// Makes and ends a connection for each that may have been forgotten.
    fn free_threads(&mut self) {
        let now = self.suspects.min(FREED_PER_TICK_MAX);
        self.suspects -= now;
        for _ in 0..now {
            if let Err(error) = self.free_thread() {
                log::debug!("a connection to this node itself failed: {error}");
            }
        }
    }

    /// Waits until the library has ended the connection. Otherwise its descriptors would pass for those of a new one.
    fn free_thread(&self) -> io::Result<()> {
        let mut stream = self.connect()?;
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.read(&mut [0]).map(drop)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)
    }

    /// From now on the limiter refuses connections.
    fn stop_accepting(&mut self, why: &str) {
        if let Err(error) = self.limiter.refuse_from_now_on() {
            return log::error!("{why}, but new ones cannot be refused: {error}");
        }
        log::warn!("{why}; new connections are refused until there is room for them");
        self.probe = None;
        self.failures = 0;
    }

    /// One tick while connections are refused.
    fn refuse(&mut self, since: Instant) {
        // An accept loop that still runs ends after the next connection. One that panicked is not reported.
        if self.acceptors.accept() && since.elapsed() < ANSWER_TIMEOUT {
            drop(self.connect());
            return;
        }
        // The threads of the probes take what the library forgot last.
        self.held.clear();
        self.acceptors.edge.refused.fetch_add(self.limiter.refuse(), Ordering::Relaxed);
        if since.elapsed() > REFUSING_MIN
            && self.acceptors.number() < ACCEPTORS_MAX
            && self.limiter.has_room(descriptors::open())
        {
            self.accept_again();
        }
    }

    fn accept_again(&mut self) {
        let accepts = self.limiter.accept_from_now_on().and_then(|()| self.acceptors.open(self.limiter.listener()));
        match accepts {
            Ok(()) => {
                (self.descriptors, self.suspects, self.next_probe) = (descriptors::open(), 0, Instant::now());
            }
            Err(error) => self.stop_accepting(&format!("connections cannot be accepted: {error}")),
        }
    }
}
