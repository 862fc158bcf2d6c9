//! How a reply gets to its client.
//!
//! Replies are written by ourselves, head and body in one piece, because the library sends them in two and does not let
//! a server say `Connection: close`.
//!
//! A client that does not read must not hold up others. So a write waits for room for [`WRITE_WAIT_MAX`] only, and a
//! [`Sending`] remembers how far it came: a thread with other work leaves the rest to a thread that only waits for this
//! client. That does not happen to a client that reads one reply before it sends the next request, unless its reply is
//! long.

use super::edge::Edge;
use super::reply::{Body, CACHE_CONTROL, Pieces, Reply, Source, VARY, reason};
use crate::process::budget::Share;
use httpdate::HttpDate;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tiny_http::{HTTPVersion, Request};

/// How long one write waits for a client. The system rounds it up to a few milliseconds: enough for a client that reads
/// on.
pub(super) const WRITE_WAIT_MAX: Duration = Duration::from_millis(1);
/// How long a thread that waits for a slow client sleeps before the next write. The pause doubles each time
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_millis(80);

/// No head has more bytes than this, its own headers apart.
const HEAD_BYTES_MAX: usize = 224;

/// A reply on its way.
pub(super) struct Sending {
    writer: Box<dyn Write + Send>,
    /// What is to be sent next.
    texts: VecDeque<Vec<u8>>,
    /// Bytes of the first text that have been sent.
    sent: usize,
    /// Bytes sent in all.
    total: u64,
    is_chunked: bool,
    /// Nothing comes after the texts.
    is_ended: bool,
    /// It does not end when its source has no more.
    stays_open: bool,
}

impl Sending {
    /// A reply to a request whose body has been read, and what its body consists of. `closes` says that its connection
    /// ends with it.
    pub(super) fn new(request: Request, reply: Reply, closes: bool) -> io::Result<(Sending, Option<Pieces>)> {
        let is_head = *request.method() == tiny_http::Method::Head;
        let is_chunked = *request.http_version() >= HTTPVersion(1, 1);
        let connection = match reply.body {
            _ if closes => Some("close"),
            // A client of HTTP/1.0 that keeps connections reads to the end of one that does not say the same.
            Body::Whole(_) if !is_chunked => Some("keep-alive"),
            _ => None,
        };
        let texts = VecDeque::from([first_bytes(&reply, connection, is_head, is_chunked)?]);
        let pieces = match reply.body {
            Body::Streamed(pieces) if !is_head => Some(pieces),
            _ => None,
        };
        let (writer, is_ended) = (request.into_writer(), pieces.is_none());
        Ok((Sending { writer, texts, sent: 0, total: 0, is_chunked, is_ended, stays_open: false }, pieces))
    }

    /// From now on it ends only with [`Sending::end`].
    pub(super) fn stay_open(&mut self) {
        self.stays_open = true;
    }

    /// Sends this next.
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        if piece.is_empty() {
            // An empty chunk would be the last one.
        } else if self.is_chunked {
            self.texts.extend(chunk(piece));
        } else {
            self.texts.push_back(piece);
        }
    }

    /// Nothing comes after this.
    pub(super) fn end(&mut self) {
        self.is_ended = true;
        if self.is_chunked {
            self.texts.push_back(b"0\r\n\r\n".to_vec());
        }
    }

    /// Bytes that the client has not taken yet.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.texts.iter().map(Vec::len).sum::<usize>() - self.sent
    }

    /// Sends what there is and what the source has. `false` if the client takes no more for now.
    pub(super) fn advance(&mut self, source: &mut impl Source) -> io::Result<bool> {
        match self.write_on(source) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends everything, unless the client takes nothing for so long. `share` is what the unsent bytes take from the
    /// budget.
    fn finish(&mut self, source: &mut impl Source, timeout: Duration, share: &mut Share) -> io::Result<()> {
        let (mut since, mut total, mut pause) = (Instant::now(), self.total, PAUSE_MIN);
        while !self.advance(source)? {
            if !share.resize(self.unsent_bytes()) {
                return Err(no_room_for_unread());
            }
            if self.total > total {
                (since, total, pause) = (Instant::now(), self.total, PAUSE_MIN);
            } else if since.elapsed() > timeout {
                let why = format!("the client has read nothing for {} s", timeout.as_secs_f64());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    fn write_on(&mut self, source: &mut impl Source) -> io::Result<()> {
        loop {
            self.write_texts()?;
            if self.is_ended {
                return self.writer.flush();
            }
            match source.next_piece()? {
                Some(piece) => self.push(piece),
                None if self.stays_open => return self.writer.flush(),
                None => self.end(),
            }
        }
    }

    fn write_texts(&mut self) -> io::Result<()> {
        while let Some(text) = self.texts.front() {
            if self.sent < text.len() {
                let sent = self.writer.write(&text[self.sent..])?;
                if sent == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.sent += sent;
                self.total += sent as u64;
                if self.sent < text.len() {
                    // It has waited for room already.
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            } else {
                self.texts.pop_front();
                self.sent = 0;
            }
        }
        Ok(())
    }
}

/// Sends what there is, and calls `done` with the outcome. If the client takes no more for now, a thread that only
/// waits for this client does the rest.
pub(super) fn carry<S: Source>(
    edge: &Arc<Edge>,
    mut sending: Sending,
    mut source: S,
    done: impl FnOnce(S, io::Result<Sending>) + Send + 'static,
) {
    match sending.advance(&mut source) {
        Ok(true) => done(source, Ok(sending)),
        Ok(false) => wait_and_carry(edge, sending, source, done),
        Err(error) => done(source, Err(error)),
    }
}

/// The same, for a client that takes no more already.
pub(super) fn wait_and_carry<S: Source>(
    edge: &Arc<Edge>,
    mut sending: Sending,
    mut source: S,
    done: impl FnOnce(S, io::Result<Sending>) + Send + 'static,
) {
    let timeout = edge.limits.write_timeout;
    let Some(mut share) = edge.limits.unread.take(sending.unsent_bytes()) else {
        return done(source, Err(no_room_for_unread()));
    };
    edge.senders.submit(Box::new(move || {
        let sent = sending.finish(&mut source, timeout, &mut share);
        drop(share);
        done(source, sent.map(|()| sending));
    }));
}

/// Why a reply is cut off when its client does not read on.
fn no_room_for_unread() -> io::Error {
    let why = "the client does not read on, and this node has no room for more unread replies";
    io::Error::new(io::ErrorKind::OutOfMemory, why)
}

/// A chunk (RFC 9112, section 7.1). A client of HTTP/1.0 gets the bare bytes, and reads to the end of the connection.
fn chunk(piece: Vec<u8>) -> [Vec<u8>; 3] {
    [format!("{:x}\r\n", piece.len()).into_bytes(), piece, b"\r\n".to_vec()]
}

/// Adds texts. To format all of a head as one takes several times as long.
fn add(bytes: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| bytes.extend_from_slice(text.as_bytes()));
}

/// What is sent first: the head, and with it the body if it is there as a whole.
fn first_bytes(reply: &Reply, connection: Option<&str>, is_head: bool, is_chunked: bool) -> io::Result<Vec<u8>> {
    let headers = reply.headers.as_text();
    let mut bytes = Vec::with_capacity(HEAD_BYTES_MAX + headers.len() + reply.body.bytes_at_once());
    write!(bytes, "HTTP/1.1 {} ", reply.status)?;
    add(&mut bytes, &[reason(reply.status), "\r\nDate: "]);
    write!(bytes, "{}", date())?;
    add(&mut bytes, &["\r\nCache-Control: ", CACHE_CONTROL, "\r\nVary: ", VARY, "\r\n"]);
    if !reply.content_type.is_empty() {
        add(&mut bytes, &["Content-Type: ", reply.content_type, "\r\n"]);
    }
    add(&mut bytes, &[headers]);
    if let Some(connection) = connection {
        add(&mut bytes, &["Connection: ", connection, "\r\n"]);
    }
    match &reply.body {
        // Such a reply has no content, and no length either (RFC 9110, section 8.6).
        Body::Whole(_) if reply.status == 204 => bytes.extend_from_slice(b"\r\n"),
        Body::Whole(body) => {
            write!(bytes, "Content-Length: {}\r\n\r\n", body.len())?;
            if !is_head {
                bytes.extend_from_slice(body);
            }
        }
        Body::Streamed(_) if is_chunked => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n"),
        Body::Streamed(_) => bytes.extend_from_slice(b"\r\n"),
    }
    Ok(bytes)
}

/// Now, as replies tell it. The calendar of HTTP begins in 1970 and ends with the year 9999.
pub(super) fn date() -> HttpDate {
    const SECONDS_MAX: u64 = 253_402_300_799;
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS_MAX);
    HttpDate::from(SystemTime::now().clamp(SystemTime::UNIX_EPOCH, last))
}

/// The bytes of a whole reply to no request, for a connection that ends with it.
pub(super) fn whole(reply: &Reply) -> io::Result<Vec<u8>> {
    first_bytes(reply, Some("close"), false, false)
}
