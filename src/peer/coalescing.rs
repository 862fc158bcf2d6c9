//! Connections that need few system calls.
//!
//! A call between nodes is short, and every message waits for it. This transport changes three habits of `ureq`:
//!
//! - `ureq` sends the head and the body of a request separately, each with a system call and a packet that wakes the
//!   other node. Here the head waits until the body follows, or until `ureq` reads the answer.
//! - `ureq` sets the socket's timeout anew whenever the remaining time has changed. Here timeouts are rounded up by up
//!   to a thirtieth, so that they change less often.
//! - `ureq` checks an idle connection both when it keeps it and when it takes it. Here only the second check is made.

use std::time::Duration;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport, time};

/// How many values a timeout can have between a power of two and the next.
const STEPS: u64 = 32;

/// Wraps the connections of the connector before it.
#[derive(Debug)]
pub(super) struct CoalescingConnector;

impl<In: Transport> Connector<In> for CoalescingConnector {
    type Out = Coalescing<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, connection: Option<In>) -> Result<Option<Coalescing<In>>, Error> {
        Ok(connection.map(Coalescing::new))
    }
}

/// A connection that sends the head of a request together with its body.
#[derive(Debug)]
pub(super) struct Coalescing<T> {
    connection: T,
    /// The head that waits.
    head: Vec<u8>,
    /// Whether the next output is the head of a request.
    begins: bool,
    /// Whether it was read from since the last check whether it is open.
    is_in_use: bool,
}

impl<T: Transport> Coalescing<T> {
    fn new(connection: T) -> Coalescing<T> {
        Coalescing { connection, head: Vec::new(), begins: true, is_in_use: false }
    }

    /// Sends the head, and `amount` bytes of the output after it.
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

impl<T: Transport> Transport for Coalescing<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.connection.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = rounded_up(timeout);
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
        let timeout = rounded_up(timeout);
        if !self.head.is_empty() {
            self.send_behind_head(0, timeout)?;
        }
        self.begins = true;
        self.is_in_use = true;
        self.connection.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        std::mem::take(&mut self.is_in_use) || self.connection.is_open()
    }
}

/// The same timeout, up to a thirtieth longer.
fn rounded_up(timeout: NextTimeout) -> NextTimeout {
    let time::Duration::Exact(after) = timeout.after else { return timeout };
    let nanoseconds = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    let step = (1 << nanoseconds.checked_ilog2().unwrap_or(0)) / STEPS;
    let rounded = nanoseconds.checked_next_multiple_of(step.max(1)).unwrap_or(u64::MAX);
    NextTimeout { after: time::Duration::Exact(Duration::from_nanos(rounded)), ..timeout }
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
        let mut coalescing = Coalescing::new(connection);
        for request in requests {
            for piece in *request {
                coalescing.buffers().output()[..piece.len()].copy_from_slice(piece.as_bytes());
                coalescing.transmit_output(piece.len(), NextTimeout::default()).unwrap();
            }
            coalescing.await_input(NextTimeout::default()).unwrap();
        }
        coalescing.connection.sent
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

    #[test]
    fn a_timeout_that_is_counted_down_stays_the_same_for_a_while() {
        let rounded = |after| {
            let timeout = NextTimeout { after: time::Duration::Exact(after), ..NextTimeout::default() };
            *rounded_up(timeout).after
        };
        assert_eq!(rounded(Duration::from_millis(29_990)), rounded(Duration::from_millis(29_999)));
        for after in [0, 1, 31, 32, 33, 10_000_000, 1_999_999_999, 30_000_000_000].map(Duration::from_nanos) {
            assert!(rounded(after) >= after && rounded(after) <= after + after / 30, "{after:?}: {:?}", rounded(after));
        }
        assert_eq!(rounded_up(NextTimeout::default()), NextTimeout::default(), "never is never");
    }
}
