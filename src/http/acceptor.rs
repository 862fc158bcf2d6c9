//! How requests come in.
//!
//! An acceptor is a server of the library, and the thread that takes requests from its queue: the *receiver*. There is
//! one at a time, because requests of one connection must be examined in their order. It serves what never blocks at
//! once. Before anything else it lets another thread of the pool receive, and serves the request itself: so a request
//! changes threads no more often than it must. This is the pattern *leader/followers* (Schmidt et al., 2000).
//!
//! The library's accept loop cannot be stopped and started again. So there may be several acceptors, of which the
//! newest accepts connections. An earlier one serves the connections that it has until the last has ended.

use super::admission;
use super::connections::Admission;
use super::edge::Edge;
use std::cell::RefCell;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What is done with the requests that come in.
pub(super) trait Handler: Send + Sync {
    /// Answers a request, now or later.
    fn handle(&self, acceptor: &Arc<Acceptor>, request: tiny_http::Request);

    /// Refuses a request from an address and port whose connection this node has just ended.
    fn refuse(&self, acceptor: &Arc<Acceptor>, request: tiny_http::Request);
}

pub(super) struct Acceptor {
    pub(super) edge: Arc<Edge>,
    handler: Arc<dyn Handler>,
    server: tiny_http::Server,
    /// Requests that came in here and are not answered yet, streams apart.
    unanswered: AtomicUsize,
    /// Whether the library accepts connections; see [`Acceptor::accepts`].
    accepts: AtomicBool,
    /// When the latest request came in or was answered, in milliseconds since the edge was made.
    latest_ms: AtomicU64,
    is_closed: AtomicBool,
}

thread_local! {
    /// The acceptor for which this thread receives: no other thread takes its requests meanwhile.
    static RECEIVES_FOR: RefCell<Option<Arc<Acceptor>>> = const { RefCell::new(None) };
}

impl Acceptor {
    /// Accepts connections, and serves their requests.
    pub(super) fn open(
        listener: TcpListener,
        edge: &Arc<Edge>,
        handler: &Arc<dyn Handler>,
    ) -> Result<Arc<Acceptor>, Box<dyn Error + Send + Sync>> {
        let acceptor = Arc::new(Acceptor {
            edge: Arc::clone(edge),
            handler: Arc::clone(handler),
            server: tiny_http::Server::from_listener(listener, None)?,
            unanswered: AtomicUsize::new(0),
            accepts: AtomicBool::new(true),
            latest_ms: AtomicU64::new(edge.age_ms()),
            is_closed: AtomicBool::new(false),
        });
        edge.pool.widen();
        let receiver = Arc::clone(&acceptor);
        let receives = edge.pool.try_submit(Box::new(move || receiver.receive()));
        receives.map_err(|_| "no thread could be started that receives requests")?;
        Ok(acceptor)
    }

    /// Takes no more requests from the queue.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.server.unblock();
    }

    /// The library does not accept connections here any more, or another acceptor takes its place.
    pub(super) fn give_up(&self) {
        self.accepts.store(false, Ordering::Release);
    }

    /// Whether the library accepts connections here. It reports an error of `accept`, but not a panic.
    pub(super) fn accepts(&self) -> bool {
        self.accepts.load(Ordering::Acquire)
    }

    /// Whether it has no connections any more, and gets none. The library does not report it, but a connection that was
    /// silent for so long ends, unless its request is being answered. A client that sends a head byte by byte loses its
    /// connection.
    pub(super) fn is_unused(&self) -> bool {
        if self.accepts() {
            return false;
        }
        let silent = Duration::from_millis(self.edge.age_ms().saturating_sub(self.latest_ms.load(Ordering::Relaxed)));
        self.unanswered.load(Ordering::Acquire) == 0 && silent > self.edge.limits.silence() * 2
    }

    /// Takes requests from the queue until another thread does.
    fn receive(self: &Arc<Acceptor>) {
        RECEIVES_FOR.set(Some(Arc::clone(self)));
        while !self.is_closed.load(Ordering::Acquire) && RECEIVES_FOR.with_borrow(Option::is_some) {
            match self.server.recv() {
                Ok(request) => self.arrive(request),
                Err(_) if self.is_closed.load(Ordering::Acquire) => break,
                Err(error) => {
                    log::debug!("the library accepts no more connections for this acceptor: {error}");
                    self.give_up();
                }
            }
        }
        RECEIVES_FOR.take();
    }

    /// If this thread receives, lets another do it. `false` if none is free: then this thread must not block.
    pub(super) fn hand_over(&self) -> bool {
        let Some(acceptor) = RECEIVES_FOR.take() else { return true };
        let receiver = Arc::clone(&acceptor);
        let taken = self.edge.pool.try_submit(Box::new(move || receiver.receive())).is_ok();
        if !taken {
            RECEIVES_FOR.set(Some(acceptor));
        }
        taken
    }

    /// A request came in. It waits if an earlier one of its connection is not answered yet.
    fn arrive(self: &Arc<Acceptor>, request: tiny_http::Request) {
        self.latest_ms.store(self.edge.age_ms(), Ordering::Relaxed);
        let may_wait = admission::is_short(&request, &self.edge.limits);
        match self.edge.connections.enter(request.remote_addr().copied(), request, may_wait) {
            Admission::Now(request) => self.handler.handle(self, request),
            Admission::Later => {}
            Admission::Never(request) => self.edge.discard(request),
            Admission::TooSoon(request) => self.handler.refuse(self, request),
        }
    }

    /// A request is going to be answered.
    pub(super) fn answering(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.edge.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is answered by a stream, which does not need this acceptor.
    pub(super) fn streams(&self) {
        self.unanswered.fetch_sub(1, Ordering::Release);
    }

    /// A request was answered: the next one of its connection may come in, unless the connection has ended.
    pub(super) fn answered(self: &Arc<Acceptor>, address: Option<SocketAddr>, ends: bool) {
        if let Some(request) = self.edge.leave(address, ends) {
            let acceptor = Arc::clone(self);
            self.edge.pool.submit(Box::new(move || acceptor.handler.handle(&acceptor, request)));
        }
        self.latest_ms.store(self.edge.age_ms(), Ordering::Relaxed);
        self.unanswered.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.edge.pool.narrow();
    }
}
