//! One connection to a node, which never blocks: it sends a request, receives the answer, and so on. It connects by
//! itself, also after the node closed the connection.

use super::answer::Answer;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

pub(super) struct Connection {
    node: SocketAddr,
    token: Token,
    stream: Option<TcpStream>,
    phase: Phase,
    /// The node has closed its side.
    ended: bool,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// No request is under way.
    Idle,
    Connecting,
    /// So many bytes of the request are sent.
    Sending(usize),
    Receiving,
}

/// The progress of a request.
#[derive(Debug)]
pub(super) enum Progress {
    /// An event will come when it goes on.
    Pending,
    /// The answer has arrived.
    Answered,
    /// No answer will come.
    Failed(Failure),
}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection, so nothing was sent.
    NotConnected(String),
    /// The connection broke: the node may have executed the request.
    Broken(String),
}

impl Connection {
    /// A connection that opens with the first request, and keeps so many bytes of an answer's body.
    pub(super) fn new(node: SocketAddr, token: Token, body_kept_max: usize) -> Connection {
        let answer = Answer::new(body_kept_max);
        Connection { node, token, stream: None, phase: Phase::Idle, ended: false, answer }
    }

    /// The answer that has arrived.
    pub(super) fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// Sends a request, as far as it goes.
    pub(super) fn begin(&mut self, request: &[u8], registry: &Registry) -> Progress {
        self.answer.begin();
        let begun = if self.stream.is_some() {
            self.phase = Phase::Sending(0);
            self.send(request).map_err(broken)
        } else {
            self.phase = Phase::Connecting;
            self.connect(registry).map_err(not_connected)
        };
        self.progress(begun.map(|()| Progress::Pending))
    }

    /// Goes on after an event. The request is the same as before.
    pub(super) fn proceed(&mut self, event: &Event, request: &[u8], buffer: &mut [u8]) -> Progress {
        self.ended |= event.is_read_closed() || event.is_error();
        if self.phase == Phase::Idle {
            // No request is under way, so whatever the node sends means that it closes the connection.
            if event.is_readable() || self.ended {
                self.close();
            }
            return Progress::Pending;
        }
        let proceeded = self.go_on(event, request, buffer);
        self.progress(proceeded)
    }

    /// Closes the connection, with or without a request under way.
    pub(super) fn close(&mut self) {
        // Closing a socket removes its registration.
        self.stream = None;
        self.phase = Phase::Idle;
    }

    fn progress(&mut self, result: Result<Progress, Failure>) -> Progress {
        result.unwrap_or_else(|failure| {
            self.close();
            Progress::Failed(failure)
        })
    }

    fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.node)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.ended = false;
        Ok(())
    }

    fn go_on(&mut self, event: &Event, request: &[u8], buffer: &mut [u8]) -> Result<Progress, Failure> {
        if self.phase == Phase::Connecting && !self.is_connected().map_err(not_connected)? {
            return Ok(Progress::Pending);
        }
        // A node that refuses a long request may answer before it has all of it, and never read the rest.
        let sent = self.send(request);
        if sent.is_err() || event.is_readable() || self.ended {
            let progress = self.receive(buffer)?;
            if matches!(progress, Progress::Answered) {
                return Ok(progress);
            }
        }
        sent.map_err(broken)?;
        Ok(Progress::Pending)
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            // The event was for an earlier stream.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            peer => peer?,
        };
        stream.set_nodelay(true)?;
        self.phase = Phase::Sending(0);
        Ok(true)
    }

    /// Sends what the socket takes now, which may be all that is left.
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        while let (Phase::Sending(sent), Some(stream)) = (self.phase, &mut self.stream) {
            match stream.write(&request[sent..]) {
                Ok(length) if sent + length == request.len() => self.phase = Phase::Receiving,
                Ok(length) => self.phase = Phase::Sending(sent + length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Progress, Failure> {
        while let Some(stream) = &mut self.stream {
            let length = match stream.read(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(error)),
            };
            let taken = if length == 0 { self.answer.closed() } else { self.answer.take(&buffer[..length]) };
            taken.map_err(|garbage| Failure::Broken(garbage.to_owned()))?;
            if self.answer.is_complete() {
                // The rest of a request must not be taken for the next one, nor a second answer for its answer.
                let is_early = matches!(self.phase, Phase::Sending(_));
                self.phase = Phase::Idle;
                if is_early || self.ended || self.answer.closes() {
                    self.close();
                }
                return Ok(Progress::Answered);
            }
            if length < buffer.len() && !self.ended {
                // All is read, and an event will come when more arrives.
                break;
            }
        }
        Ok(Progress::Pending)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` gives values")]
fn broken(error: io::Error) -> Failure {
    Failure::Broken(error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` gives values")]
fn not_connected(error: io::Error) -> Failure {
    Failure::NotConnected(error.to_string())
}
