//! The acceptors of one listener.

use super::acceptor::{Acceptor, Handler};
use super::edge::Edge;
use crate::process::threads::lock;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// The acceptor that accepts connections, and earlier ones that still serve theirs.
pub(super) struct Acceptors {
    pub(super) edge: Arc<Edge>,
    handler: Arc<dyn Handler>,
    open: Mutex<Vec<Arc<Acceptor>>>,
    /// Where the listener listens.
    pub(super) address: SocketAddr,
}

impl Acceptors {
    pub(super) fn new(edge: Arc<Edge>, handler: Arc<dyn Handler>, address: SocketAddr) -> Acceptors {
        Acceptors { edge, handler, open: Mutex::default(), address }
    }

    /// Takes connections from the listener. Earlier acceptors go on with theirs.
    pub(super) fn open(&self, listener: &TcpListener) -> io::Result<()> {
        let acceptor = Acceptor::open(listener.try_clone()?, &self.edge, &self.handler)
            .map_err(|error| io::Error::other(format!("cannot serve on {}: {error}", self.address)))?;
        let mut acceptors = lock(&self.open);
        acceptors.iter().for_each(|acceptor| acceptor.give_up());
        acceptors.push(acceptor);
        Ok(())
    }

    /// Forgets acceptors that have no connections any more. Dropping one makes a connection to this node
    /// itself, so another thread does it.
    pub(super) fn sweep(&self) {
        let mut acceptors = lock(&self.open);
        let (unused, kept) = acceptors.drain(..).partition::<Vec<_>, _>(|acceptor| acceptor.is_unused());
        *acceptors = kept;
        drop(acceptors);
        if !unused.is_empty() {
            unused.iter().for_each(|acceptor| acceptor.close());
            self.edge.pool.submit(Box::new(move || drop(unused)));
        }
    }

    pub(super) fn number(&self) -> usize {
        lock(&self.open).len()
    }

    /// Whether the library accepts connections for one of them; see [`Acceptor::accepts`].
    pub(super) fn accept(&self) -> bool {
        lock(&self.open).iter().any(|acceptor| acceptor.accepts())
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        lock(&self.open).iter().for_each(|acceptor| acceptor.close());
    }
}
