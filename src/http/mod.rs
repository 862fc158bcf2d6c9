//! The HTTP edge: the only room that knows `tiny_http`.
//!
//! The server of that library reads requests on a thread per connection and queues them; from there they come in through
//! a [`gate`]: one thread takes them from the queue in their order, examines each head ([`admission`]), and serves it, or
//! lets another thread take over before it does what may block. A request may be answered from any thread, so a writer
//! whose message waits for a slow secondary occupies none.
//!
//! What the library leaves open is closed here, as far as that can be done from outside:
//!
//! - **Smuggling.** A request whose length is ambiguous ends its connection: what follows it there is not acted on.
//!   [`connections`] lets one request of a connection in at a time, so nothing overtakes the examination.
//! - **Slow clients.** Whoever waits for a client is not the receiver any more; it is bounded in time, and costs one
//!   thread of a pool at most. A client that does not read its reply has a thread wait for it that does nothing else;
//!   see [`sending`]. Silent connections end after [`Limits::silence`].
//! - **Bodies that are declared and never sent.** They are answered from their declared length, and skipped by threads
//!   that serve nobody else; see [`exchange`].
//! - **Memory.** What a client sends and does not read is bounded in sum: [`Limits::bodies`] and [`Limits::unread`] are
//!   budgets, and what the system keeps of a body that is not read yet is bounded by [`listener`].
//! - **Deaf listeners.** The [`caretaker`] asks the server for a sign of life over a fresh connection four times a
//!   second, which also keeps `accept` from timing out and wakes connections that the library's thread pool forgot, and
//!   puts a new server on the same listener when it gets none.
//! - **Too many connections.** The [`door`] closes before descriptors run out: who comes then is told 503.
//!
//! Caveats, which only another server library or a proxy in front can remove: a head, or the size of a chunk, is read
//! without a bound on its length; a client that sends one of them byte by byte keeps a connection for as long as it
//! likes; a request line with `HTTP/2.0` or `HTTP/3.0` costs one thread and two descriptors for good; so does a declared
//! body of more than [`exchange::DRAIN_BYTES_MAX`]; an expectation other than `100-continue` is answered with 417 before,
//! or amid, the replies to earlier requests of its connection; and a connection that is to end stays open until it has been
//! silent for a while, unless the client closes it. `README.md` says so, too.

mod admission;
mod caretaker;
mod census;
mod connections;
mod door;
mod exchange;
mod gate;
mod listener;
mod pool;
mod reply;
mod sending;
mod stream;

pub(crate) use exchange::{Exchange, Method};
pub(crate) use listener::{bind, raise_descriptor_limit, reachable};
pub(crate) use reply::{Pieces, Reply};
pub(crate) use stream::{Source, Stream};

use crate::process::budget::Budget;
use caretaker::Caretaker;
use census::Census;
use connections::{Connections, ENDED_MEMORY};
use gate::Gate;
use pool::Pool;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a stop waits for replies that are on their way,
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// and how often it looks for them.
const STOP_PAUSE: Duration = Duration::from_millis(1);

/// Bytes of replies that clients are slow to take. Some hundred followers, or readers of a long log, that have stopped to
/// read; then the next one that does not read on is cut off.
const UNREAD_BYTES_MAX: usize = 32 << 20;

/// The named limits of the edge, with their reasons.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request's body.
    pub(crate) body_bytes_max: usize,
    /// Bytes of all bodies that are being read, and of what is made of them before it is stored or has an id.
    pub(crate) bodies: Arc<Budget>,
    /// Bytes of replies that clients are slow to take.
    pub(crate) unread: Arc<Budget>,
    /// Bytes of a request target, path and query: no call of ours needs more.
    pub(crate) target_bytes_max: usize,
    /// Header lines of a request, and their bytes.
    pub(crate) headers_max: usize,
    /// Bytes of all header lines together.
    pub(crate) head_bytes_max: usize,
    /// Threads that receive, read bodies, wait for disks and peers, and write replies; as many that send what clients are
    /// slow to take, or the receiver's replies when all of those are busy; and as many that skip bodies nobody wants.
    pub(crate) threads_max: usize,
    /// Connections, about. Each costs two descriptors and a thread. Beyond, new ones are refused.
    pub(crate) connections_max: usize,
    /// How long a connection may be silent between requests; see also [`Limits::silence`].
    pub(crate) idle_timeout: Duration,
    /// How long the whole of a body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// How long a client may leave a reply unread before its connection is given up.
    pub(crate) write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 2 << 20,
            bodies: Budget::new(64 << 20),
            unread: Budget::new(UNREAD_BYTES_MAX),
            target_bytes_max: 2 << 10,
            headers_max: 64,
            head_bytes_max: 16 << 10,
            threads_max: 1_024,
            connections_max: 10_000,
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// How long a connection may be silent. A socket knows one such time, between requests and within one, so it is the
    /// shorter of the two; and `accept` knows it, too, so it is longer than the caretaker's beat.
    pub(crate) fn silence(&self) -> Duration {
        const SILENCE_MIN: Duration = Duration::from_secs(1);
        self.idle_timeout.min(self.body_timeout).max(SILENCE_MIN)
    }
}

/// What answers requests.
pub(crate) trait Service: Send + Sync {
    /// Answers one request, now or later, on this thread or another.
    fn call(&self, exchange: Exchange);

    /// Whether `call` never blocks for this request: then it runs while nobody else receives.
    fn is_prompt(&self, exchange: &Exchange) -> bool;
}

/// How busy the edge is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Open connections, about.
    pub(crate) connections: usize,
    /// Connections that found no room, since the start.
    pub(crate) refused: u64,
    /// Requests that are not answered yet.
    pub(crate) unanswered: usize,
}

/// What every thread of the edge shares.
struct Edge {
    service: Arc<dyn Service>,
    connections: Connections,
    /// Receives, and runs the service.
    pool: Pool,
    /// Sends what clients are slow to take, and the replies of a receiver that finds nobody to take its place.
    senders: Pool,
    /// Refuses requests whose body was not read, and skips it.
    skippers: Pool,
    limits: Limits,
    /// As many threads send replies that are given at once.
    cores: usize,
    census: Census,
    started: Instant,
    stopping: AtomicBool,
    /// Requests that could not be dropped, see [`exchange`].
    buried: AtomicU64,
    /// Connections that were told that there is no room.
    refused: AtomicU64,
    /// Requests that are not answered yet, at any gate.
    unanswered: AtomicUsize,
}

impl Edge {
    fn figures(&self) -> Figures {
        Figures {
            connections: self.census.connections(),
            refused: self.refused.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
        }
    }

    /// A request was answered. Gives the next one of its connection, if that goes on.
    fn leave(self: &Arc<Edge>, address: Option<SocketAddr>, ends: bool) -> Option<tiny_http::Request> {
        let (next, dropped) = self.connections.leave(address, ends);
        dropped.into_iter().for_each(|request| self.discard(request));
        self.unanswered.fetch_sub(1, Ordering::Release);
        next
    }

    /// Forgets a request that is not to be answered.
    fn discard(self: &Arc<Edge>, request: tiny_http::Request) {
        if exchange::has_rest(&request) {
            let edge = Arc::clone(self);
            self.skippers.submit(Box::new(move || exchange::discard(request, &edge.buried)));
        } else {
            exchange::discard(request, &self.buried);
        }
    }

    fn age_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// A running server. It serves until [`Server::stop`].
#[derive(Clone)]
pub(crate) struct Server {
    edge: Arc<Edge>,
    /// One accepts connections; the others still serve theirs.
    gates: Arc<Mutex<Vec<Arc<Gate>>>>,
    address: SocketAddr,
}

impl Server {
    /// Begins to serve on a listener made by [`bind`].
    pub(crate) fn start(listener: TcpListener, limits: Limits, service: Arc<dyn Service>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let edge = Arc::new(Edge {
            service,
            connections: Connections::new(ENDED_MEMORY),
            pool: Pool::new("http", limits.threads_max),
            senders: Pool::new("sender", limits.threads_max),
            skippers: Pool::new("skipper", limits.threads_max),
            limits,
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            census: Census::of(address.port()),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            buried: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
        });
        let server = Server { edge, gates: Arc::default(), address };
        server.open_gate(&listener)?;
        Caretaker::start(server.clone(), listener);
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and lets those that are being answered go on for a moment.
    pub(crate) fn stop(&self) {
        self.edge.stopping.store(true, Ordering::Release);
        lock(&self.gates).iter().for_each(|gate| gate.close());
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.edge.unanswered.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(STOP_PAUSE);
        }
    }

    /// Takes connections from the listener. Earlier gates go on with theirs.
    fn open_gate(&self, listener: &TcpListener) -> io::Result<()> {
        let gate = Gate::open(listener.try_clone()?, &self.edge)
            .map_err(|error| io::Error::other(format!("cannot serve on {}: {error}", self.address)))?;
        let mut gates = lock(&self.gates);
        gates.iter().for_each(|gate| gate.give_up());
        gates.push(gate);
        Ok(())
    }

    /// Forgets gates that nobody comes through any more. Dropping one connects to ourselves, which may take a while.
    fn sweep_gates(&self) {
        let mut gates = lock(&self.gates);
        let (deserted, kept) = gates.drain(..).partition::<Vec<_>, _>(|gate| gate.is_deserted());
        *gates = kept;
        drop(gates);
        if !deserted.is_empty() {
            deserted.iter().for_each(|gate| gate.close());
            self.edge.pool.submit(Box::new(move || drop(deserted)));
        }
    }

    fn gates(&self) -> usize {
        lock(&self.gates).len()
    }

    /// Whether connections are accepted at a gate.
    fn accepts(&self) -> bool {
        lock(&self.gates).iter().any(|gate| gate.accepts())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
