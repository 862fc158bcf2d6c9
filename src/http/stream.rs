//! Replies whose end is not known when they begin.
//!
//! Such a reply begins as others do, piece by piece, from a [`Source`]. When that has no more for now, the caller gets
//! the [`Stream`], and sends what comes later, or goes on with a source. A stream that is dropped without
//! [`Stream::end`] is cut off: its client sees that something is missing.

use super::edge::Edge;
use super::exchange::Exchange;
use super::reply::{Pieces, Reply, Source};
use super::sending::{Sending, carry, wait_and_carry};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A reply that goes on. Its connection ends with it, and until then no other request of it is served. So the stream
/// does not need the acceptor at which its request came in.
pub(crate) struct Stream {
    sending: Sending,
    line: Line,
}

/// The connection of a stream.
struct Line {
    edge: Arc<Edge>,
    address: Option<SocketAddr>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.edge.leave(self.address, true);
    }
}

impl Exchange {
    /// Answers with a stream: a text first, and then what the source has. `then` is called
    /// when all of that was sent, or the client does not take it.
    pub(crate) fn stream<S: Source>(
        mut self,
        mut head: Reply,
        text: Vec<u8>,
        source: S,
        then: impl FnOnce(S, io::Result<Stream>) + Send + 'static,
    ) {
        if self.is_head() {
            return self.reply(head);
        }
        head.headers.append(std::mem::take(&mut self.reply_headers));
        let Some((request, departure)) = self.depart() else { return };
        let (edge, address) = departure.into_stream();
        let line = Line { edge: Arc::clone(&edge), address };
        match Sending::new(request, head, true) {
            Ok((mut sending, _)) => {
                sending.stay_open();
                sending.push(text);
                carry(&edge, sending, source, |source, sent| {
                    then(source, sent.map(|sending| Stream { sending, line }));
                });
            }
            Err(error) => then(source, Err(error)),
        }
    }
}

impl Stream {
    /// Sends a text, and what of earlier ones was not taken. `false` if the client takes no more for now; what is left
    /// is kept.
    pub(crate) fn send(&mut self, text: Vec<u8>) -> io::Result<bool> {
        self.sending.push(text);
        self.sending.advance(&mut None::<Pieces>)
    }

    /// Sends what is left and what the source has, on a thread that only does this.
    pub(crate) fn go_on<S: Source>(self, source: S, then: impl FnOnce(S, io::Result<Stream>) + Send + 'static) {
        let Stream { sending, line } = self;
        let edge = Arc::clone(&line.edge);
        wait_and_carry(&edge, sending, source, |source, sent| {
            then(source, sent.map(|sending| Stream { sending, line }));
        });
    }

    /// Ends it properly, if the client takes that.
    pub(crate) fn end(mut self) {
        self.sending.end();
        if let Err(error) = self.sending.advance(&mut None::<Pieces>) {
            log::debug!("the end of a stream did not reach {:?}: {error}", self.line.address);
        }
    }
}
