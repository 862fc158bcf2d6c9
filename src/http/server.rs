//! The server: from a listener to requests that are answered.

use super::caretaker::Caretaker;
use super::edge::Edge;
use super::gates::Gates;
use super::limits::Limits;
use super::service::{Examiner, Service};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How long a stop waits for replies that are on their way,
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// and how often it looks for them.
const STOP_PAUSE: Duration = Duration::from_millis(1);

/// A running server. It serves until [`Server::stop`].
pub(crate) struct Server {
    gates: Arc<Gates>,
}

impl Server {
    /// Begins to serve on a listener made by [`bind`](super::bind).
    pub(crate) fn start(listener: TcpListener, limits: Limits, service: Arc<dyn Service>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let edge = Arc::new(Edge::new(address.port(), limits));
        let gates = Arc::new(Gates::new(edge, Arc::new(Examiner { service }), address));
        gates.open(&listener)?;
        Caretaker::start(Arc::clone(&gates), listener);
        Ok(Server { gates })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gates.address
    }

    /// Takes no more requests, and lets those that are being answered go on for a moment.
    pub(crate) fn stop(&self) {
        let edge = &self.gates.edge;
        edge.stopping.store(true, Ordering::Release);
        self.gates.close();
        let deadline = Instant::now() + STOP_PATIENCE;
        while edge.unanswered.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(STOP_PAUSE);
        }
    }
}
