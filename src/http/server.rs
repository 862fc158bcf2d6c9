//! The server: from a listener to requests that are answered.

use super::acceptors::Acceptors;
use super::edge::Edge;
use super::limits::Limits;
use super::service::{Examiner, Service};
use super::watchdog::{self, Watchdog};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How long a stop waits for replies that are on their way.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it looks for them.
const STOP_PAUSE: Duration = Duration::from_millis(1);

/// A running server. It serves until [`Server::stop`].
pub(crate) struct Server {
    acceptors: Arc<Acceptors>,
}

impl Server {
    /// Begins to serve on a listener made by [`bind`](super::bind).
    ///
    /// # Errors
    /// If the system starts no thread for it.
    pub(crate) fn start(listener: TcpListener, limits: Limits, service: Arc<dyn Service>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let edge = Arc::new(Edge::new(limits, watchdog::DESCRIPTORS));
        let acceptors = Arc::new(Acceptors::new(edge, Arc::new(Examiner { service }), address));
        acceptors.open(&listener)?;
        Watchdog::start(Arc::clone(&acceptors), listener)?;
        Ok(Server { acceptors })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.acceptors.address
    }

    /// Takes no more requests, and lets those that are being answered go on for at most [`STOP_TIMEOUT`].
    pub(crate) fn stop(&self) {
        let edge = &self.acceptors.edge;
        edge.stopping.store(true, Ordering::Release);
        self.acceptors.close();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while edge.unanswered.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(STOP_PAUSE);
        }
    }
}
