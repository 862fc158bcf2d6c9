//! Keeps the listener alive.
//!
//! Three weaknesses of the library need somebody who connects from time to time. Its accept loop ends for good when
//! `accept` times out, or when the process is out of descriptors. Its thread pool can leave connections of a burst
//! waiting when it believes that idle threads will take them; any thread that ends a connection takes one, so as many short
//! connections are made as new descriptors have been opened. And with idle threads in the pool it believes that more often,
//! so a few connections are held open to keep them busy.

use super::listener::reachable;
use super::{Server, lock};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many failures in a row make the listener be replaced.
const FAILURES_MAX: u32 = 3;
/// So many threads the library keeps idle: as many connections are held open.
const HELD: usize = 4;
/// Replacements over the life of a process. Each keeps a thread; more than this, and something else is wrong.
const SERVERS_MAX: usize = 64;
/// So many descriptors must be free before a replacement: one without them would end with its first connections.
const SPARE_DESCRIPTORS: usize = 32;

pub(super) struct Caretaker {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
    held: Vec<TcpStream>,
    held_since: Instant,
    failures: u32,
    /// Descriptors that were open when it last looked.
    descriptors: usize,
}

impl Caretaker {
    pub(super) fn start(server: Server, listener: TcpListener) {
        let address = reachable(server.address());
        let (held, held_since) = (Vec::new(), Instant::now());
        let mut caretaker = Caretaker { server, listener, address, held, held_since, failures: 0, descriptors: 0 };
        let started = thread::Builder::new().name("caretaker".to_owned()).spawn(move || caretaker.run());
        if let Err(error) = started {
            log::error!("the listener has no caretaker: {error}");
        }
    }

    fn run(&mut self) {
        while !self.server.edge.stopping.load(Ordering::Acquire) {
            if self.failures == 0 {
                self.hold();
            }
            match self.ask() {
                Ok(()) => self.failures = 0,
                Err(error) => self.failed(&error),
            }
            (0..KNOCKS).for_each(|_| self.knock());
            self.server.edge.connections.sweep();
            let next_beat = Instant::now() + BEAT;
            while Instant::now() < next_beat {
                self.remember_the_new();
                thread::sleep(GLANCE);
            }
        }
    }

    /// Makes sure that nobody of those who came since it last looked is left waiting.
    fn remember_the_new(&mut self) {
        let before = self.descriptors;
        self.descriptors = open_descriptors();
        let knocks = self.descriptors.saturating_sub(before).min(KNOCKS_MAX);
        (0..knocks).for_each(|_| self.knock());
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => self.knock(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects and goes away again. A listener that seems dead is spared: whoever comes next would have to accept all
    /// of these before anybody else.
    fn knock(&self) {
        if self.failures == 0 {
            drop(TcpStream::connect_timeout(&self.address, BEAT));
        }
    }

    /// Holds connections open, and makes new ones before their silence ends them.
    fn hold(&mut self) {
        let refresh = self.server.edge.limits.silence() / 2;
        if self.held.len() < HELD || self.held_since.elapsed() > refresh {
            self.held = (0..HELD).filter_map(|_| TcpStream::connect_timeout(&self.address, PATIENCE).ok()).collect();
            self.held_since = Instant::now();
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.failures += 1;
        if self.failures < FAILURES_MAX || self.server.edge.stopping.load(Ordering::Acquire) {
            return;
        }
        self.failures = 0;
        let servers = lock(&self.server.listeners).len();
        log::error!("this node does not hear its own requests ({error}); its listener has to be replaced");
        if servers >= SERVERS_MAX {
            log::error!("the listener was replaced {servers} times; restart this node");
            return;
        }
        self.held.clear();
        if let Err(error) = self.replace() {
            log::error!("the listener could not be replaced: {error}");
        }
    }

    fn replace(&self) -> io::Result<()> {
        let spare: Vec<TcpListener> =
            (0..SPARE_DESCRIPTORS).map(|_| self.listener.try_clone()).collect::<io::Result<_>>()?;
        drop(spare);
        self.server.listen(self.listener.try_clone()?)
    }
}

/// How many descriptors this process has open; 0 where the system does not tell. Linux 6.2 and later tell it as the size
/// of the directory; before, its entries have to be counted.
fn open_descriptors() -> usize {
    const DIRECTORY: &str = "/proc/self/fd";
    let told = fs::metadata(DIRECTORY).map_or(0, |directory| usize::try_from(directory.len()).unwrap_or(0));
    if told > 0 { told } else { fs::read_dir(DIRECTORY).map_or(0, Iterator::count) }
}
