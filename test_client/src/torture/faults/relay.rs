//! A stretch of network between two nodes, with faults: a TCP relay that loses, delays and breaks what it carries.
//!
//! It listens at an address of its own and carries each connection to one target. Troubles concern connections that are
//! there as well as new ones, and end with [`Relay::heal`]. Healing closes nothing: what a cut held back arrives late,
//! as it does when a network comes back. A connection that has lost bytes in between can never be right again; it goes
//! on to swallow everything until one of its ends gives up.
//!
//! Each connection has two threads, one for each direction. They look for a change of the impairment several times a
//! second, so none of them waits without end.

use crate::random::Random;
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread waits for bytes before it looks whether something changed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The same for a thread that waits for connections, which are opened all the time.
const ACCEPT_EVERY: Duration = Duration::from_millis(5);
/// A target on the same machine takes a connection at once, or not at all.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
const CHUNK_BYTES: usize = 16 * 1024;

/// What is wrong with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Impairment {
    /// Nothing arrives, in these directions: `there` is towards the target.
    Cut { there: bool, back: bool },
    /// Everything arrives so much later.
    Delay(Duration),
    /// The next connection that carries something breaks after so many bytes of it.
    Reset { after: usize },
    /// Connections are accepted, and what is sent disappears.
    HalfOpen,
    /// Connections are refused, and those that are there break.
    Refuse,
}

impl Impairment {
    /// Draws an impairment of any kind.
    pub(super) fn by_chance(random: &mut Random) -> Impairment {
        match random.below(8) {
            0 | 1 => Impairment::Cut { there: true, back: true },
            2 => Impairment::Cut { there: true, back: false },
            3 => Impairment::Cut { there: false, back: true },
            4 => Impairment::Delay(Duration::from_millis(50 + random.below(750))),
            5 => Impairment::Reset { after: 1 + random.index(300) },
            6 => Impairment::HalfOpen,
            _ => Impairment::Refuse,
        }
    }

    /// What it is, to be read after "the way".
    pub(super) fn describe(self) -> String {
        match self {
            Impairment::Cut { there: true, back: false } => "loses what goes there".to_owned(),
            Impairment::Cut { there: false, back: true } => "loses what comes back".to_owned(),
            Impairment::Cut { .. } => "is cut".to_owned(),
            Impairment::Delay(delay) => format!("takes {} ms longer", delay.as_millis()),
            Impairment::Reset { after } => format!("breaks after {after} bytes"),
            Impairment::HalfOpen => "is half open: it accepts and swallows".to_owned(),
            Impairment::Refuse => "refuses connections".to_owned(),
        }
    }
}

/// The relay; it ends when it is dropped.
pub(super) struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    listens: SocketAddr,
    target: SocketAddr,
    impairment: Mutex<Option<Impairment>>,
    /// How often the impairment met something.
    hits: AtomicU64,
    ended: AtomicBool,
}

/// Which way bytes go.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Direction {
    There,
    Back,
}

impl Relay {
    /// Listens and carries.
    pub(super) fn start(listens: SocketAddr, target: SocketAddr) -> io::Result<Relay> {
        let listener = listen(listens)?;
        let listens = listener.local_addr()?;
        let (impairment, hits, ended) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { listens, target, impairment, hits, ended });
        let accepting = Arc::clone(&shared);
        thread::Builder::new().name("relay".to_owned()).spawn(move || accepting.accept(listener))?;
        Ok(Relay { shared })
    }

    #[cfg(test)]
    fn address(&self) -> SocketAddr {
        self.shared.listens
    }

    /// Begins an impairment, which replaces the one that there is.
    pub(super) fn impairment(&self, impairment: Impairment) {
        self.shared.hits.store(0, Ordering::SeqCst);
        *self.shared.lock() = Some(impairment);
    }

    /// Ends the impairment, and gives how often it met something.
    pub(super) fn heal(&self) -> u64 {
        *self.shared.lock() = None;
        self.shared.hits.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Impairment>> {
        self.impairment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Option<Impairment> {
        *self.lock()
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::SeqCst);
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn accept(self: Arc<Shared>, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.is_ended() {
            if self.now() == Some(Impairment::Refuse) {
                // Without a listener, the system refuses connections.
                listener = None;
            } else if listener.is_none() {
                listener = listen(self.listens).ok();
            }
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((stream, _))) => self.carry(stream),
                _ => thread::sleep(ACCEPT_EVERY),
            }
        }
    }

    /// Carries a connection, or closes it if that cannot be done.
    fn carry(self: &Arc<Shared>, near: TcpStream) {
        let shared = Arc::clone(self);
        let begin = move || {
            let far = TcpStream::connect_timeout(&shared.target, CONNECT_WAIT_MAX)?;
            for stream in [&near, &far] {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LOOK_EVERY))?;
            }
            let broken = Arc::new(AtomicBool::new(false));
            let back = Pump {
                shared: Arc::clone(&shared),
                direction: Direction::Back,
                from: far.try_clone()?,
                to: near.try_clone()?,
                broken: Arc::clone(&broken),
            };
            let there = Pump { shared, direction: Direction::There, from: near, to: far, broken };
            thread::Builder::new().name("relay-back".to_owned()).spawn(move || back.run())?;
            there.run();
            io::Result::Ok(())
        };
        // If no thread can be started, the connection is closed, as it would be by a machine that has none left.
        let _ = thread::Builder::new().name("relay-there".to_owned()).spawn(begin);
    }
}

/// One direction of a connection.
struct Pump {
    shared: Arc<Shared>,
    direction: Direction,
    from: TcpStream,
    to: TcpStream,
    /// The connection is to be reset.
    broken: Arc<AtomicBool>,
}

impl Pump {
    fn run(mut self) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut swallows = false;
        while !self.is_over() {
            match self.from.read(&mut chunk) {
                Ok(0) => {
                    let _ = self.to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(_) if swallows => {}
                Ok(length) => match self.pass(&chunk[..length]) {
                    Ok(is_lost) => swallows = is_lost,
                    Err(_) => self.reset(),
                },
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.reset(),
            }
        }
    }

    /// Whether there is nothing more to do. Where connections are refused, those that are there break.
    fn is_over(&self) -> bool {
        if self.shared.now() == Some(Impairment::Refuse) {
            self.shared.hit();
            self.reset();
        }
        self.broken.load(Ordering::SeqCst) || self.shared.is_ended()
    }

    /// Passes bytes on, or impairs them. Says whether they are lost.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let impairment = self.shared.now();
        if impairment.is_some() && !self.is_spared(impairment) {
            self.shared.hit();
        }
        match impairment {
            Some(Impairment::Cut { .. }) => self.wait_while(|pump| !pump.is_spared(pump.shared.now())),
            Some(Impairment::Delay(delay)) => {
                let begun = Instant::now();
                self.wait_while(|pump| pump.shared.now() == impairment && begun.elapsed() < delay);
            }
            Some(Impairment::Reset { after }) => {
                self.to.write_all(&bytes[..after.min(bytes.len())])?;
                self.reset();
                return Ok(true);
            }
            Some(Impairment::HalfOpen) => return Ok(true),
            Some(Impairment::Refuse) => {
                self.reset();
                return Ok(true);
            }
            None => {}
        }
        self.to.write_all(bytes)?;
        Ok(false)
    }

    /// Whether this direction is free of a cut.
    fn is_spared(&self, impairment: Option<Impairment>) -> bool {
        match (impairment, self.direction) {
            (Some(Impairment::Cut { there, .. }), Direction::There) => !there,
            (Some(Impairment::Cut { back, .. }), Direction::Back) => !back,
            (impairment, _) => impairment.is_none(),
        }
    }

    fn wait_while(&self, goes_on: impl Fn(&Pump) -> bool) {
        while goes_on(self) && !self.shared.is_ended() && !self.broken.load(Ordering::SeqCst) {
            // An impairment that came instead of a cut is not waited for.
            if !matches!(self.shared.now(), Some(Impairment::Cut { .. } | Impairment::Delay(_))) {
                return;
            }
            thread::sleep(ACCEPT_EVERY);
        }
    }

    /// Resets both ends as soon as both threads have dropped their sockets.
    fn reset(&self) {
        for stream in [&self.from, &self.to] {
            let _ = set_socket_linger(stream, Some(Duration::ZERO));
        }
        self.broken.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(20);
    /// Long enough that what is not cut would have arrived.
    const MOMENT: Duration = Duration::from_millis(300);

    /// A relay to a server that sends everything back.
    fn echo() -> Relay {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in server.incoming().flatten() {
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        Relay::start("127.0.0.1:0".parse().unwrap(), target).unwrap()
    }

    fn connect(relay: &Relay) -> TcpStream {
        let stream = TcpStream::connect(relay.address()).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        stream
    }

    fn answers(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, text.as_bytes());
    }

    fn is_silent(stream: &mut TcpStream) -> bool {
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        let read = stream.read(&mut [0]);
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        matches!(read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    #[test]
    fn what_is_cut_arrives_when_it_is_healed() {
        let relay = echo();
        let mut stream = connect(&relay);
        answers(&mut stream, "before");
        for (there, back) in [(true, true), (true, false), (false, true)] {
            relay.impairment(Impairment::Cut { there, back });
            stream.write_all(b"late").unwrap();
            assert!(is_silent(&mut stream), "there {there}, back {back}");
            assert!(relay.heal() > 0);
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"late");
        }
        answers(&mut stream, "after");
    }

    #[test]
    fn a_delay_is_waited_for() {
        let relay = echo();
        let mut stream = connect(&relay);
        let delay = Duration::from_millis(200);
        relay.impairment(Impairment::Delay(delay));
        let begun = Instant::now();
        answers(&mut stream, "slow");
        assert!(begun.elapsed() >= 2 * delay, "there and back: {:?}", begun.elapsed());
    }

    #[test]
    fn a_reset_breaks_a_transfer_in_the_middle() {
        let relay = echo();
        let mut stream = connect(&relay);
        relay.impairment(Impairment::Reset { after: 3 });
        stream.write_all(b"in the middle").unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(ended.is_err() && answer.len() <= 3, "{ended:?} {answer:?}");
        assert!(relay.heal() > 0);
        answers(&mut connect(&relay), "a new one");
    }

    #[test]
    fn what_was_swallowed_never_comes_again() {
        let relay = echo();
        let mut stream = connect(&relay);
        relay.impairment(Impairment::HalfOpen);
        stream.write_all(b"lost").unwrap();
        assert!(is_silent(&mut stream));
        assert!(relay.heal() > 0);
        stream.write_all(b"lost, too").unwrap();
        assert!(is_silent(&mut stream), "bytes are missing before these");
        answers(&mut connect(&relay), "a new one");
    }

    #[test]
    fn connections_are_refused_until_it_is_healed() {
        let relay = echo();
        let mut stream = connect(&relay);
        answers(&mut stream, "before");
        relay.impairment(Impairment::Refuse);
        assert!(stream.read(&mut [0]).is_err(), "it is reset");
        let until = Instant::now() + WAIT_MAX;
        while TcpStream::connect(relay.address()).is_ok() {
            assert!(Instant::now() < until, "connections are still accepted");
        }
        relay.heal();
        while TcpStream::connect(relay.address()).is_err() {
            assert!(Instant::now() < until, "connections are still refused");
        }
        answers(&mut connect(&relay), "after");
    }
}
