//! Reading the body of a request, within the limits and the budget for bodies.

use super::admission::{self, Framing};
use super::arrived::Body;
use super::exchange::{BODY_READ_AHEAD, Exchange, client_name};
use super::reply::Reply;
use super::unread::SKIPPED_AT_ONCE;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;
/// What is taken from the budget for a body before more than that has arrived.
const RESERVED_BYTES: usize = 256 << 10;
/// How long a body that has begun to arrive waits for room for the rest, which other bodies free when they end.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

impl Exchange {
    /// Reads the body, if there is room for it.
    ///
    /// # Errors
    /// With the reply that says what is wrong with it: missing (411), too large (413), too slow (408), cut off (400); or
    /// that too much is being read already (503).
    pub(crate) fn read_body(&mut self) -> Result<Body, Reply> {
        self.read_body_within(Duration::ZERO)
    }

    /// The same, but waits so long for room.
    ///
    /// The whole body must find room before anything of it is read. What is taken then grows with what arrives: a
    /// client that declares a long body and sends nothing keeps little from others.
    ///
    /// # Errors
    /// As [`Exchange::read_body`].
    pub(crate) fn read_body_within(&mut self, timeout: Duration) -> Result<Body, Reply> {
        if let Some(body) = self.body.take() {
            return Ok(body);
        }
        let bodies = Arc::clone(&self.acceptor.edge.limits.bodies);
        let address = self.client_address();
        let no_room = || {
            let why = format!("there is no room for its body: {}", bodies.in_words("MAX_BODIES_BYTES"));
            log::warn!("a request of {} was refused: {why}", client_name(address));
            Reply::overloaded(&format!("{why}; try again in a second"))
        };
        let expected = if let Framing::Length(length) = self.framing { Some(length) } else { None };
        // What the library has read already is in memory anyway.
        let most = if self.body_is_here() { 0 } else { expected.unwrap_or(self.body_bytes_max) };
        let mut share = bodies.take_within(timeout, expected.map_or(RESERVED_BYTES, |_| most)).ok_or_else(no_room)?;
        share.shrink_to(most.min(RESERVED_BYTES));
        // The system gives the memory when something is written there, and a body that grows would be moved again and
        // again.
        let mut body = Vec::with_capacity(expected.unwrap_or(BODY_READ_AHEAD));
        let read = self.read_pieces(|reader, room| {
            let read = read_once(reader, room, &mut body)?;
            let (taken, arrived) = (share.bytes(), body.len().min(most));
            let more = arrived.max(taken * 2).min(most).saturating_sub(taken);
            let has_room = arrived <= taken || share.grow_within(ROOM_TIMEOUT, more);
            if has_room { Ok(read) } else { Err(io::ErrorKind::OutOfMemory.into()) }
        });
        match read {
            Err(Unread::NoRoom) => Err(no_room()),
            Err(Unread::Refused(reply)) => Err(reply),
            Ok(()) => Ok(Body::new(body, share)),
        }
    }

    /// Puts a body back, for another handler to read.
    pub(crate) fn put_back(&mut self, body: Body) {
        self.body = Some(body);
    }

    /// Whether there is no body.
    pub(crate) fn has_no_body(&self) -> bool {
        matches!(self.framing, Framing::Absent | Framing::Length(0))
    }

    /// Takes no longer body than this one, for a route with a lower limit than that of the node.
    ///
    /// # Errors
    /// With the reply that refuses a longer one, if the request says how long it is.
    pub(crate) fn limit_body(&mut self, bytes_max: usize) -> Result<(), Reply> {
        self.body_bytes_max = bytes_max.min(self.body_bytes_max);
        match self.framing {
            Framing::Length(length) if length > self.body_bytes_max => Err(admission::too_large(self.body_bytes_max)),
            _ => Ok(()),
        }
    }

    /// Reads the body, piece by piece, as far as it may go and as long as it may take. `read` is given how much is
    /// left.
    fn read_pieces(&mut self, mut read: impl FnMut(&mut dyn Read, usize) -> io::Result<usize>) -> Result<(), Unread> {
        let limits = &self.acceptor.edge.limits;
        let expected = match self.framing {
            Framing::Absent => {
                return Err(Reply::problem(411, "the request has no body; send one with a Content-Length").into());
            }
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Ambiguous => None,
        };
        let (bytes_max, deadline) = (self.body_bytes_max, Instant::now() + limits.body_timeout);
        let too_slow = || Reply::problem(408, "the body did not arrive in time");
        self.body_begun = true;
        let reader = self.request.as_mut().expect("not answered yet").as_reader();
        let mut arrived = 0;
        while expected.is_none_or(|length| arrived < length) {
            let room = expected.unwrap_or(bytes_max + 1).saturating_sub(arrived).min(READ_BYTES);
            match read(reader, room) {
                Ok(0) => break,
                Ok(bytes) => arrived += bytes,
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return Err(Unread::NoRoom),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(too_slow().into());
                }
                Err(error) => {
                    self.framing = Framing::Ambiguous;
                    return Err(Reply::problem(400, &format!("the body could not be read: {error}")).into());
                }
            }
            if arrived > bytes_max {
                return Err(admission::too_large(bytes_max).into());
            }
            if Instant::now() >= deadline {
                return Err(too_slow().into());
            }
        }
        self.body_consumed = true;
        match expected {
            Some(length) if length != arrived => {
                Err(Reply::problem(400, &format!("the body ended after {arrived} of {length} bytes")).into())
            }
            _ => Ok(()),
        }
    }

    /// Skips a body that no handler asked for, before the reply is sent.
    pub(super) fn skip_body(&mut self) -> Result<(), Reply> {
        if self.body_is_done() {
            return Ok(());
        }
        let mut piece = [0; SKIPPED_AT_ONCE];
        let skipped = self.read_pieces(|reader, room| reader.read(&mut piece[..room.min(SKIPPED_AT_ONCE)]));
        skipped.map_err(|unread| match unread {
            Unread::Refused(reply) => reply,
            Unread::NoRoom => Reply::overloaded("this node has no room for the body; try again in a second"),
        })
    }
}

/// Why a body was not read.
enum Unread {
    NoRoom,
    Refused(Reply),
}

impl From<Reply> for Unread {
    fn from(reply: Reply) -> Unread {
        Unread::Refused(reply)
    }
}

/// One `read` of at most so many bytes, appended to a vector.
fn read_once(reader: &mut dyn Read, room: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    let before = into.len();
    into.resize(before + room, 0);
    let read = reader.read(&mut into[before..]);
    into.truncate(before + read.as_ref().copied().unwrap_or(0));
    read
}
