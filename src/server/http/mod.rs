//! The HTTP edge: the only room that knows `tiny_http`.
//!
//! The server of that library reads requests on a thread per connection and queues them; one thread, the *receiver*,
//! takes them from the queue in their order and examines each head ([`admission`]). What never blocks it serves at once.
//! Before anything else it hands the queue over to another thread of the [`pool`], and serves the request itself: a
//! request changes threads no more often than it must (the pattern *leader/followers*: Schmidt et al., 2000). A request
//! may be answered from any thread, so a writer whose message waits for a slow secondary occupies none.
//!
//! What the library leaves open is closed here, as far as that can be done from outside:
//!
//! - **Smuggling.** A request whose length is ambiguous ends its connection: what follows it there is not acted on.
//!   [`connections`] lets one request of a connection in at a time, so nothing overtakes the examination.
//! - **Slow clients.** Whoever waits for a client is not the receiver any more; it is bounded in time, and costs one
//!   thread of a pool at most. Silent connections end after [`Limits::silence`].
//! - **Bodies that are declared and never sent.** They are answered from their declared length, and skipped by threads
//!   that serve nobody else; see [`exchange`].
//! - **Deaf listeners.** The [`caretaker`] asks the server for a sign of life over a fresh connection four times a
//!   second, which also keeps `accept` from timing out and wakes connections that the library's thread pool forgot, and
//!   puts a new server on the same listener when it gets none.
//!
//! Caveats, which only another server library or a proxy in front can remove: a head, or the size of a chunk, is read
//! without a bound on its length; a client that sends one of them byte by byte keeps a connection for as long as it
//! likes; a request line with `HTTP/2.0` or `HTTP/3.0` costs one thread and two descriptors for good; so does a declared
//! body of more than [`exchange::DRAIN_BYTES_MAX`]; and a connection that is to end stays open until it has been silent
//! for a while, unless the client closes it. `README.md` says so, too.

mod admission;
mod caretaker;
mod connections;
mod exchange;
mod listener;
mod pool;
mod reply;

pub(crate) use exchange::{Exchange, Method};
pub(crate) use listener::{bind, raise_descriptor_limit, reachable};
pub(crate) use reply::{Pieces, Reply};

use caretaker::Caretaker;
use connections::{Admission, Connections, ENDED_MEMORY};
use pool::Pool;
use std::cell::RefCell;
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

/// The named limits of the edge, with their reasons.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request's body.
    pub(crate) body_bytes_max: usize,
    /// Bytes of a request target, path and query: no call of ours needs more.
    pub(crate) target_bytes_max: usize,
    /// Header lines of a request, and their bytes.
    pub(crate) headers_max: usize,
    /// Bytes of all header lines together.
    pub(crate) head_bytes_max: usize,
    /// Threads that receive, read bodies, wait for disks and peers, and write replies; as many that send the receiver's
    /// replies when all of those are busy; and as many that skip bodies nobody wants.
    pub(crate) threads_max: usize,
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
            target_bytes_max: 2 << 10,
            headers_max: 64,
            head_bytes_max: 16 << 10,
            threads_max: 1_024,
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

/// What every thread of the edge shares.
struct Edge {
    service: Arc<dyn Service>,
    connections: Connections,
    /// Receives, and runs the service.
    pool: Pool,
    /// Sends the replies of a receiver that finds nobody to take its place.
    senders: Pool,
    /// Refuses requests whose body was not read, and skips it.
    skippers: Pool,
    limits: Limits,
    /// As many threads send replies that are given at once.
    cores: usize,
    stopping: AtomicBool,
    /// Requests that are not answered yet.
    unanswered: AtomicUsize,
    /// Requests that could not be dropped, see [`exchange`].
    buried: AtomicU64,
}

/// A running server. It serves until [`Server::stop`].
pub(crate) struct Server {
    edge: Arc<Edge>,
    listeners: Arc<Mutex<Vec<Arc<tiny_http::Server>>>>,
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
            stopping: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
            buried: AtomicU64::new(0),
        });
        let server = Server { edge, listeners: Arc::new(Mutex::new(Vec::new())), address };
        server.listen(listener.try_clone()?)?;
        Caretaker::start(server.handle(), listener);
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and lets those that are being answered go on for a moment.
    pub(crate) fn stop(&self) {
        self.edge.stopping.store(true, Ordering::Release);
        for server in lock(&self.listeners).iter() {
            server.unblock();
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.edge.unanswered.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(STOP_PAUSE);
        }
    }

    fn handle(&self) -> Server {
        Server { edge: Arc::clone(&self.edge), listeners: Arc::clone(&self.listeners), address: self.address }
    }

    /// Puts a `tiny_http` server on the listener, and a receiver behind it. Earlier ones go on with their connections.
    fn listen(&self, listener: TcpListener) -> io::Result<()> {
        let server = tiny_http::Server::from_listener(listener, None)
            .map(Arc::new)
            .map_err(|error| io::Error::other(format!("cannot serve on {}: {error}", self.address)))?;
        lock(&self.listeners).push(Arc::clone(&server));
        let edge = Arc::clone(&self.edge);
        let receives = self.edge.pool.try_submit(Box::new(move || edge.receive(&server)));
        receives.map_err(|_| io::Error::other("no thread could be started that receives requests"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The server whose queue this thread empties: everybody waits for it.
    static RECEIVES_FROM: RefCell<Option<Arc<tiny_http::Server>>> = const { RefCell::new(None) };
}

impl Edge {
    /// Takes requests from the queue until another thread does.
    fn receive(self: &Arc<Edge>, server: &Arc<tiny_http::Server>) {
        RECEIVES_FROM.set(Some(Arc::clone(server)));
        while !self.stopping.load(Ordering::Acquire) && RECEIVES_FROM.with_borrow(Option::is_some) {
            match server.recv() {
                Ok(request) => self.arrive(request),
                Err(error) if self.stopping.load(Ordering::Acquire) => log::debug!("the receiver ends: {error}"),
                Err(error) => log::error!("the listener failed ({error}); a new one will take its place"),
            }
        }
        RECEIVES_FROM.take();
    }

    /// If this thread is the receiver, lets another be. `false` if there is none: then this thread must not block.
    fn hand_over(self: &Arc<Edge>) -> bool {
        let Some(server) = RECEIVES_FROM.take() else { return true };
        let (edge, queue) = (Arc::clone(self), Arc::clone(&server));
        let taken = self.pool.try_submit(Box::new(move || edge.receive(&queue))).is_ok();
        if !taken {
            RECEIVES_FROM.set(Some(server));
        }
        taken
    }

    /// A request was read. It waits if an earlier one of its connection is not answered yet.
    fn arrive(self: &Arc<Edge>, request: tiny_http::Request) {
        match self.connections.enter(request.remote_addr().copied(), request) {
            Admission::Now(request) => self.dispatch(request),
            Admission::Later => {}
            Admission::Never(request) => self.discard(request),
            Admission::TooSoon(request) => {
                let reply = Reply::overloaded("the connection from your address and port was ended; connect again");
                Exchange::new(request, admission::Framing::Ambiguous, Arc::clone(self)).reply(reply);
            }
        }
    }

    fn dispatch(self: &Arc<Edge>, request: tiny_http::Request) {
        let exchange = match admission::examine(&request, &self.limits) {
            Ok(framing) => Exchange::new(request, framing, Arc::clone(self)),
            Err(rejection) => {
                return Exchange::new(request, admission::Framing::Ambiguous, Arc::clone(self)).reply(rejection);
            }
        };
        let body_is_here = exchange.body_is_here();
        if body_is_here && self.service.is_prompt(&exchange) {
            return self.serve(exchange);
        }
        if self.hand_over() {
            return self.serve_after_body(exchange);
        }
        if body_is_here {
            return exchange.reply(Reply::overloaded(&format!(
                "this node is answering {} other requests; try again in a moment",
                self.limits.threads_max
            )));
        }
        let edge = Arc::clone(self);
        self.pool.submit(Box::new(move || edge.serve_after_body(exchange)));
    }

    /// Readers send no body as a rule. One that does has it out of the way first: a long reply may follow.
    fn serve_after_body(&self, mut exchange: Exchange) {
        if exchange.method() == Method::Get
            && let Err(refusal) = exchange.skip_body()
        {
            return exchange.reply(refusal);
        }
        self.serve(exchange);
    }

    /// Runs the service. If it panics, the exchange is dropped on the way out, which answers 500.
    fn serve(&self, exchange: Exchange) {
        let service = &self.service;
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.call(exchange))).is_err() {
            log::error!("a request made this node panic; it was answered with 500, and the node goes on");
        }
    }

    /// A request was answered: the next one of its connection may come in, unless the connection has ended.
    fn answered(self: &Arc<Edge>, address: Option<SocketAddr>, ends: bool) {
        let (next, dropped) = self.connections.leave(address, ends);
        for request in dropped {
            self.discard(request);
        }
        if let Some(request) = next {
            let edge = Arc::clone(self);
            self.pool.submit(Box::new(move || edge.dispatch(request)));
        }
    }

    fn discard(self: &Arc<Edge>, request: tiny_http::Request) {
        if exchange::has_rest(&request) {
            let edge = Arc::clone(self);
            self.skippers.submit(Box::new(move || exchange::discard(request, &edge.buried)));
        } else {
            exchange::discard(request, &self.buried);
        }
    }
}
