//! Keeps the listener alive.
//!
//! Three weaknesses of the library need somebody who connects from time to time. Its accept loop ends for good when
//! `accept` times out, or when the process is out of descriptors. Its thread pool can leave connections of a burst
//! waiting when it believes that idle threads will take them; any thread that ends a connection takes one, so as many short
//! connections are made as new descriptors have been opened. And with idle threads in the pool it believes that more often,
//! so a few connections are held open to keep them busy.
//!
//! It also watches the [`Door`], which closes when there are too many connections.

use super::door::{Door, open_descriptors};
use super::gates::Gates;
use super::listener::reachable;
use crate::process::threads;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often a sign of life is asked for. Shorter than any time after which `accept` gives up.
const BEAT: Duration = Duration::from_millis(250);
/// Short connections at each beat: as many forgotten ones are remembered, also where descriptors cannot be counted.
const KNOCKS: usize = 4;
/// How often new connections are looked for, and
const GLANCE: Duration = Duration::from_millis(25);
/// how many short ones are made for them at once, at most.
const KNOCKS_MAX: usize = 1_024;
/// How many are made before the door closes.
const LAST_KNOCKS: usize = 8;
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many failures in a row make the listener be replaced.
const FAILURES_MAX: u32 = 3;
/// So many threads the library keeps idle: as many connections are held open.
const HELD: usize = 4;
/// Gates that have connections. Each keeps a thread; more than this, and something else is wrong.
const GATES_MAX: usize = 64;
/// The door stays closed so long at least, and longer when there are many gates: each time it opens makes another.
const CLOSED_MIN: Duration = Duration::from_secs(1);
/// How often those who come are refused while the door is closed.
const REFUSAL_PAUSE: Duration = Duration::from_millis(5);
/// So many descriptors must be free before a replacement: one without them would end with its first connections.
const SPARE_DESCRIPTORS: usize = 32;

pub(super) struct Caretaker {
    gates: Arc<Gates>,
    door: Door,
    address: SocketAddr,
    held: Vec<TcpStream>,
    held_since: Instant,
    failures: u32,
    /// Descriptors that were open when it last looked.
    descriptors: usize,
}

impl Caretaker {
    pub(super) fn start(gates: Arc<Gates>, listener: TcpListener) {
        let address = reachable(gates.address);
        let door = Door::new(listener, gates.edge.limits.connections_max);
        let (held, held_since) = (Vec::new(), Instant::now());
        let mut caretaker = Caretaker { gates, door, address, held, held_since, failures: 0, descriptors: 0 };
        let started = threads::start_needed("caretaker", move || caretaker.run());
        if let Err(error) = started {
            log::error!("the listener has no caretaker: {error}");
        }
    }

    fn run(&mut self) {
        while !self.gates.edge.stopping.load(Ordering::Acquire) {
            match self.door.closed_since() {
                Some(since) => self.turn_away(since),
                None => self.listen(),
            }
            self.gates.edge.connections.sweep();
            self.gates.sweep();
        }
    }

    /// Looks after the listener for one beat.
    fn listen(&mut self) {
        if self.failures == 0 {
            self.hold();
        }
        match self.ask() {
            Ok(()) => self.failures = 0,
            Err(error) => self.failed(&error),
        }
        self.knock_often(KNOCKS);
        let next_beat = Instant::now() + BEAT;
        while Instant::now() < next_beat {
            self.remember_the_new();
            if self.door.is_crowded(self.descriptors) {
                return self.close_door();
            }
            thread::sleep(GLANCE);
        }
    }

    /// Lets nobody in any more. Those who came last must be remembered now, because nobody can knock afterwards; the accept
    /// loop takes who is in line before it ends. If somebody came in between, a thread that is not held any more will
    /// find them.
    fn close_door(&mut self) {
        if let Err(error) = self.door.close() {
            log::error!("the door cannot be closed: {error}");
            return;
        }
        let newcomers = open_descriptors().saturating_sub(self.descriptors);
        for _ in 0..newcomers.min(KNOCKS_MAX) + LAST_KNOCKS {
            if !self.gates.accepts() || !self.knock() {
                break;
            }
        }
        let deadline = Instant::now() + BEAT;
        while self.gates.accepts() && Instant::now() < deadline {
            thread::sleep(REFUSAL_PAUSE);
        }
        self.held.clear();
    }

    /// Refuses connections for one beat, or until there is room.
    fn turn_away(&mut self, since: Instant) {
        let next_beat = Instant::now() + BEAT;
        while Instant::now() < next_beat {
            let refused = self.door.turn_away();
            self.gates.edge.refused.fetch_add(refused, Ordering::Relaxed);
            thread::sleep(REFUSAL_PAUSE);
            if self.may_open_door(since) {
                return self.open_door(since);
            }
        }
    }

    fn may_open_door(&self, closed_since: Instant) -> bool {
        let gates = self.gates.number();
        gates < GATES_MAX
            && closed_since.elapsed() > CLOSED_MIN * (1 + gates as u32 / 4)
            && self.door.has_room(open_descriptors())
    }

    fn open_door(&mut self, closed_since: Instant) {
        if self.gates.accepts() && closed_since.elapsed() < PATIENCE {
            // The accept loop has to end first, or there would be two. If it panicked, it cannot say so.
            self.knock();
        } else if let Err(error) = self.door.open().and_then(|()| self.replace()) {
            log::error!("no connections can be taken: {error}");
            self.close_door();
        }
    }

    /// Makes sure that nobody of those who came since it last looked is left waiting.
    fn remember_the_new(&mut self) {
        let before = self.descriptors;
        self.descriptors = open_descriptors();
        let knocks = self.descriptors.saturating_sub(before).min(KNOCKS_MAX);
        self.knock_often(knocks);
    }

    /// Asks for a sign of life, over a connection of its own, and goes on knocking while it waits.
    fn ask(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(BEAT))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: caretaker\r\nConnection: close\r\n\r\n")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match stream.read(&mut [0; 64]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    self.knock_often(1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn knock_often(&self, times: usize) {
        for _ in 0..times {
            self.knock();
        }
    }

    /// Connects and goes away again. A listener that seems dead is spared: whoever comes next would have to accept all
    /// of these before anybody else.
    fn knock(&self) -> bool {
        self.failures == 0 && TcpStream::connect_timeout(&self.address, BEAT).is_ok()
    }

    /// Holds connections open, and makes new ones before their silence ends them.
    fn hold(&mut self) {
        let refresh = self.gates.edge.limits.silence() / 2;
        if self.held.len() < HELD || self.held_since.elapsed() > refresh {
            self.held = (0..HELD).filter_map(|_| TcpStream::connect_timeout(&self.address, PATIENCE).ok()).collect();
            self.held_since = Instant::now();
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures += 1;
        if self.failures < FAILURES_MAX || self.gates.edge.stopping.load(Ordering::Acquire) {
            return;
        }
        self.failures = 0;
        log::error!("this node does not hear its own requests ({error}); its listener has to be replaced");
        self.held.clear();
        if let Err(error) = self.replace() {
            log::error!("the listener could not be replaced: {error}");
        }
    }

    fn replace(&self) -> io::Result<()> {
        let gates = self.gates.number();
        if gates >= GATES_MAX {
            return Err(io::Error::other(format!("it was replaced {gates} times already; restart this node")));
        }
        let listener = self.door.listener();
        let spare: Vec<TcpListener> =
            (0..SPARE_DESCRIPTORS).map(|_| listener.try_clone()).collect::<io::Result<_>>()?;
        drop(spare);
        self.gates.open(listener)
    }
}
