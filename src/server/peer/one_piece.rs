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

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::unversioned::transport::LazyBuffers;

    /// A connection that notes what was sent, piece by piece.
    #[derive(Debug)]
    struct Notes {
        buffers: LazyBuffers,
        sent: Vec<String>,
    }

    impl Transport for Notes {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
            let piece = String::from_utf8_lossy(&self.buffers.output()[..amount]).into_owned();
            self.sent.push(piece);
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
            Ok(true)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    /// Sends these pieces as `ureq` does, and reads an answer after each request.
    fn sent(output_bytes: usize, requests: &[&[&str]]) -> Vec<String> {
        let connection = Notes { buffers: LazyBuffers::new(16, output_bytes), sent: Vec::new() };
        let mut gathering = Gathering { connection, head: Vec::new(), begins: true };
        for request in requests {
            for piece in *request {
                gathering.buffers().output()[..piece.len()].copy_from_slice(piece.as_bytes());
                gathering.transmit_output(piece.len(), NextTimeout::default()).unwrap();
            }
            gathering.await_input(NextTimeout::default()).unwrap();
        }
        gathering.connection.sent
    }

    #[test]
    fn a_request_goes_out_in_one_piece() {
        assert_eq!(sent(64, &[&["head1 ", "body1"], &["head2 ", "body2"]]), ["head1 body1", "head2 body2"]);
    }

    #[test]
    fn a_head_without_a_body_goes_out_when_the_answer_is_wanted() {
        assert_eq!(sent(64, &[&["head1"], &["head2"]]), ["head1", "head2"]);
    }

    #[test]
    fn what_does_not_fit_goes_out_as_it_comes() {
        assert_eq!(sent(8, &[&["head ", "12345678", "9"], &["h ", "b"]]), ["head ", "12345678", "9", "h b"]);
    }
}
