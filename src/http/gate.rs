//! How requests come in.
//!
//! A gate is a server of the library, and the thread that takes requests from its queue: the *receiver*. There is one at
//! a time, because requests of one connection must be examined in their order. What never blocks it serves at once.
//! Before anything else it lets another thread of the pool receive, and serves the request itself: so a request changes
//! threads no more often than it must. This is the pattern *leader/followers* (Schmidt et al., 2000).
//!
//! The library cannot be told to stop accepting, and to begin again. So there may be several gates, of which the newest
//! accepts. An older one serves the connections that it has until the last is gone.

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
    fn handle(&self, gate: &Arc<Gate>, request: tiny_http::Request);

    /// Refuses a request that comes from where a connection has just been ended.
    fn refuse(&self, gate: &Arc<Gate>, request: tiny_http::Request);
}

pub(super) struct Gate {
    pub(super) edge: Arc<Edge>,
    handler: Arc<dyn Handler>,
    server: tiny_http::Server,
    /// Requests that came in here and are not answered yet.
    unanswered: AtomicUsize,
    /// Whether the library still accepts connections.
    accepts: AtomicBool,
    /// When the latest came in, in milliseconds since the edge was made.
    heard: AtomicU64,
    is_closed: AtomicBool,
}

thread_local! {
    /// The gate at which this thread receives: everybody waits for it.
    static RECEIVES_AT: RefCell<Option<Arc<Gate>>> = const { RefCell::new(None) };
}

impl Gate {
    /// Accepts connections, and serves their requests.
    pub(super) fn open(
        listener: TcpListener,
        edge: &Arc<Edge>,
        handler: &Arc<dyn Handler>,
    ) -> Result<Arc<Gate>, Box<dyn Error + Send + Sync>> {
        let gate = Arc::new(Gate {
            edge: Arc::clone(edge),
            handler: Arc::clone(handler),
            server: tiny_http::Server::from_listener(listener, None)?,
            unanswered: AtomicUsize::new(0),
            accepts: AtomicBool::new(true),
            heard: AtomicU64::new(edge.age_ms()),
            is_closed: AtomicBool::new(false),
        });
        edge.pool.widen();
        let receiver = Arc::clone(&gate);
        let receives = edge.pool.try_submit(Box::new(move || receiver.receive()));
        receives.map_err(|_| "no thread could be started that receives requests")?;
        Ok(gate)
    }

    /// Takes no more requests from the queue.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.server.unblock();
    }

    /// The library does not accept connections here any more, or another gate does in its place.
    pub(super) fn give_up(&self) {
        self.accepts.store(false, Ordering::Release);
    }

    /// Whether the library still accepts connections here.
    pub(super) fn accepts(&self) -> bool {
        self.accepts.load(Ordering::Acquire)
    }

    /// Whether a request that came in here is not answered yet.
    pub(super) fn is_answering(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) > 0
    }

    /// Whether it has no connections any more, and gets none: every one that is silent for so long ends, unless its
    /// request is being answered. (A client that sends a head byte by byte is forgotten all the same.)
    pub(super) fn is_deserted(&self) -> bool {
        if self.accepts() {
            return false;
        }
        let silent = Duration::from_millis(self.edge.age_ms().saturating_sub(self.heard.load(Ordering::Relaxed)));
        !self.is_answering() && silent > self.edge.limits.silence() * 2
    }

    /// Takes requests from the queue until another thread does.
    fn receive(self: &Arc<Gate>) {
        RECEIVES_AT.set(Some(Arc::clone(self)));
        while !self.is_closed.load(Ordering::Acquire) && RECEIVES_AT.with_borrow(Option::is_some) {
            match self.server.recv() {
                Ok(request) => self.arrive(request),
                Err(_) if self.is_closed.load(Ordering::Acquire) => break,
                Err(error) => {
                    log::debug!("nothing is accepted at this gate any more: {error}");
                    self.give_up();
                }
            }
        }
        RECEIVES_AT.take();
    }

    /// If this thread receives, lets another do it. `false` if there is none: then this thread must not block.
    pub(super) fn hand_over(&self) -> bool {
        let Some(gate) = RECEIVES_AT.take() else { return true };
        let receiver = Arc::clone(&gate);
        let taken = self.edge.pool.try_submit(Box::new(move || receiver.receive())).is_ok();
        if !taken {
            RECEIVES_AT.set(Some(gate));
        }
        taken
    }

    /// A request was read. It waits if an earlier one of its connection is not answered yet.
    fn arrive(self: &Arc<Gate>, request: tiny_http::Request) {
        self.heard.store(self.edge.age_ms(), Ordering::Relaxed);
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

    /// A request is answered by a stream, which does not need this gate.
    pub(super) fn streams(&self) {
        self.unanswered.fetch_sub(1, Ordering::Release);
    }

    /// A request was answered: the next one of its connection may come in, unless the connection has ended.
    pub(super) fn answered(self: &Arc<Gate>, address: Option<SocketAddr>, ends: bool) {
        if let Some(request) = self.edge.leave(address, ends) {
            let gate = Arc::clone(self);
            self.edge.pool.submit(Box::new(move || gate.handler.handle(&gate, request)));
        }
        self.heard.store(self.edge.age_ms(), Ordering::Relaxed);
        self.unanswered.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.edge.pool.narrow();
    }
}
