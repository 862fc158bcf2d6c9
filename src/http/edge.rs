//! What every thread of the edge shares.

use super::connections::{Connections, ENDED_MEMORY};
use super::descriptors::ConnectionCount;
use super::limits::Limits;
use super::pool::Pool;
use super::unread;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// How busy the edge is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Open connections, about.
    pub(crate) connections: usize,
    /// Connections that were refused because there were too many, since the start.
    pub(crate) refused: u64,
    /// Requests that are not answered yet.
    pub(crate) unanswered: usize,
}

/// What every thread of the edge shares.
pub(super) struct Edge {
    pub(super) connections: Connections,
    /// Receives, and runs the service.
    pub(super) pool: Pool,
    /// Sends what clients are slow to take, and the replies of a receiver when no thread is free to receive in its
    /// place.
    pub(super) senders: Pool,
    /// Refuses requests whose body was not read, and skips it.
    pub(super) skippers: Pool,
    pub(super) limits: Limits,
    /// As many threads share the replies that are given at once.
    pub(super) cores: usize,
    connection_count: ConnectionCount,
    pub(super) started: Instant,
    pub(super) stopping: AtomicBool,
    /// Requests that are never dropped; see [`unread`].
    pub(super) leaked: AtomicU64,
    /// Connections that the limiter has refused.
    pub(super) refused: AtomicU64,
    /// Requests that are not answered yet, of all acceptors, streams included.
    pub(super) unanswered: AtomicUsize,
}

impl Edge {
    /// Of a server that opens so many descriptors itself.
    pub(super) fn new(limits: Limits, own_descriptors: usize) -> Edge {
        Edge {
            connections: Connections::new(ENDED_MEMORY),
            pool: Pool::new("http", limits.threads_max),
            senders: Pool::new("sender", limits.threads_max),
            skippers: Pool::new("skipper", limits.threads_max),
            limits,
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            connection_count: ConnectionCount::start(own_descriptors),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            leaked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        Figures {
            // Each request that is being answered has a connection of its own.
            connections: self.connection_count.connections().max(unanswered),
            refused: self.refused.load(Ordering::Relaxed),
            unanswered,
        }
    }

    /// A request was answered. Gives the next one of its connection, if that goes on.
    pub(super) fn leave(self: &Arc<Edge>, address: Option<SocketAddr>, ends: bool) -> Option<tiny_http::Request> {
        let (next, dropped) = self.connections.leave(address, ends);
        dropped.into_iter().for_each(|request| self.discard(request));
        self.unanswered.fetch_sub(1, Ordering::Release);
        next
    }

    /// Forgets a request that is not to be answered.
    pub(super) fn discard(self: &Arc<Edge>, request: tiny_http::Request) {
        if unread::has_rest(&request) {
            let edge = Arc::clone(self);
            self.skippers.submit(Box::new(move || unread::discard(request, &edge.leaked)));
        } else {
            unread::discard(request, &self.leaked);
        }
    }

    pub(super) fn age_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
