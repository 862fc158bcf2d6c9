//! Connections that send a small request in one piece.
//!
//! `ureq` hands over the head of a request and its body one after the other, and each would be a call of the system and a
//! packet of its own, for which the other node has to wake up. Here the head waits for what follows: the body, or the
//! wish to read the answer.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Makes the connections of the connector before it send in one piece.
#[derive(Debug)]
pub(super) struct OnePiece;

impl<In: Transport> Connector<In> for OnePiece {
    type Out = Gathering<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, connection: Option<In>) -> Result<Option<Gathering<In>>, Error> {
        Ok(connection.map(|connection| Gathering { connection, head: Vec::new(), begins: true }))
    }
}

/// A connection that keeps the head of a request back for a moment.
#[derive(Debug)]
pub(super) struct Gathering<T> {
    connection: T,
    /// The head that waits.
    head: Vec<u8>,
    /// What is sent next is the head of a request.
    begins: bool,
}

impl<T: Transport> Gathering<T> {
    /// Sends the head, and as much of the output behind it.
    fn send_behind_head(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let head = std::mem::take(&mut self.head);
        let output = self.connection.buffers().output();
        if head.len() + amount <= output.len() {
            output.copy_within(..amount, head.len());
            output[..head.len()].copy_from_slice(&head);
            return self.connection.transmit_output(head.len() + amount, timeout);
        }
        let body = output[..amount].to_vec();
        output[..head.len()].copy_from_slice(&head);
        self.connection.transmit_output(head.len(), timeout)?;
        self.connection.buffers().output()[..amount].copy_from_slice(&body);
        self.connection.transmit_output(amount, timeout)
    }
}

impl<T: Transport> Transport for Gathering<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.begins {
            self.head.extend_from_slice(&self.connection.buffers().output()[..amount]);
            self.begins = false;
            return Ok(());
        }
        if self.head.is_empty() {
            return self.connection.transmit_output(amount, timeout);
        }
        self.send_behind_head(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.head.is_empty() {
            self.send_behind_head(0, timeout)?;
        }
        self.begins = true;
        self.connection.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.connection.is_open()
    }
}
