//! The gates of one listener.

use super::edge::Edge;
use super::gate::{Gate, Handler};
use crate::process::threads::lock;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// Gates that requests come in through.
pub(super) struct Gates {
    pub(super) edge: Arc<Edge>,
    handler: Arc<dyn Handler>,
    /// One accepts connections; the others still serve theirs.
    open: Mutex<Vec<Arc<Gate>>>,
    /// Where the listener listens.
    pub(super) address: SocketAddr,
}

impl Gates {
    pub(super) fn new(edge: Arc<Edge>, handler: Arc<dyn Handler>, address: SocketAddr) -> Gates {
        Gates { edge, handler, open: Mutex::default(), address }
    }

    /// Takes connections from the listener. Earlier gates go on with theirs.
    pub(super) fn open(&self, listener: &TcpListener) -> io::Result<()> {
        let gate = Gate::open(listener.try_clone()?, &self.edge, &self.handler)
            .map_err(|error| io::Error::other(format!("cannot serve on {}: {error}", self.address)))?;
        let mut gates = lock(&self.open);
        gates.iter().for_each(|gate| gate.give_up());
        gates.push(gate);
        Ok(())
    }

    /// Forgets gates that nobody comes through any more. Dropping one connects to ourselves, which may take a while.
    pub(super) fn sweep(&self) {
        let mut gates = lock(&self.open);
        let (deserted, kept) = gates.drain(..).partition::<Vec<_>, _>(|gate| gate.is_deserted());
        *gates = kept;
        drop(gates);
        if !deserted.is_empty() {
            deserted.iter().for_each(|gate| gate.close());
            self.edge.pool.submit(Box::new(move || drop(deserted)));
        }
    }

    pub(super) fn number(&self) -> usize {
        lock(&self.open).len()
    }

    /// Whether connections are accepted at a gate.
    pub(super) fn accepts(&self) -> bool {
        lock(&self.open).iter().any(|gate| gate.accepts())
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        lock(&self.open).iter().for_each(|gate| gate.close());
    }
}
