//! What every thread of the edge shares.

use super::census::Census;
use super::connections::{Connections, ENDED_MEMORY};
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
    /// Connections that found no room, since the start.
    pub(crate) refused: u64,
    /// Requests that are not answered yet.
    pub(crate) unanswered: usize,
}

/// What every thread of the edge shares.
pub(super) struct Edge {
    pub(super) connections: Connections,
    /// Receives, and runs the service.
    pub(super) pool: Pool,
    /// Sends what clients are slow to take, and the replies of a receiver that finds nobody to take its place.
    pub(super) senders: Pool,
    /// Refuses requests whose body was not read, and skips it.
    pub(super) skippers: Pool,
    pub(super) limits: Limits,
    /// As many threads send replies that are given at once.
    pub(super) cores: usize,
    pub(super) census: Census,
    pub(super) started: Instant,
    pub(super) stopping: AtomicBool,
    /// Requests that could not be dropped, see [`unread`].
    pub(super) buried: AtomicU64,
    /// Connections that were told that there is no room.
    pub(super) refused: AtomicU64,
    /// Requests that are not answered yet, at any gate.
    pub(super) unanswered: AtomicUsize,
}

impl Edge {
    /// Of a listener on a port.
    pub(super) fn new(port: u16, limits: Limits) -> Edge {
        Edge {
            connections: Connections::new(ENDED_MEMORY),
            pool: Pool::new("http", limits.threads_max),
            senders: Pool::new("sender", limits.threads_max),
            skippers: Pool::new("skipper", limits.threads_max),
            limits,
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            census: Census::of(port),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            buried: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
        }
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            connections: self.census.connections(),
            refused: self.refused.load(Ordering::Relaxed),
            unanswered: self.unanswered.load(Ordering::Relaxed),
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
            self.skippers.submit(Box::new(move || unread::discard(request, &edge.buried)));
        } else {
            unread::discard(request, &self.buried);
        }
    }

    pub(super) fn age_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
