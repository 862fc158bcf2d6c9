//! One connection to a node, which never blocks: a request goes out, an answer comes in, and so on.
//!
//! It connects by itself, and again after the node closed the connection.

use super::response::AnswerReader;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// A connection.
pub(super) struct Connection {
    node: SocketAddr,
    token: Token,
    stream: Option<TcpStream>,
    doing: Doing,
    /// The node sends nothing after what has come.
    ended: bool,
    answer: AnswerReader,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doing {
    /// Waiting for a request of ours.
    Nothing,
    Connecting,
    /// So much of the request is sent.
    Sending(usize),
    Receiving,
}

/// How far a request is.
#[derive(Debug)]
pub(super) enum Progress {
    /// There will be an event when it goes on.
    Pending,
    /// The answer is there.
    Answered,
    /// There will be none.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection, so nothing was sent.
    NotConnected(String),
    /// It broke: what was asked for may have happened.
    Broken(String),
}

impl Connection {
    /// A connection that is made when it is needed, and keeps so much of an answer's body.
    pub(super) fn new(node: SocketAddr, token: Token, body_kept_max: usize) -> Connection {
        let answer = AnswerReader::new(body_kept_max);
        Connection { node, token, stream: None, doing: Doing::Nothing, ended: false, answer }
    }

    /// The answer that is there.
    pub(super) fn answer(&self) -> &AnswerReader {
        &self.answer
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.doing != Doing::Nothing
    }

    /// Sends a request, as far as it goes.
    pub(super) fn begin(&mut self, request: &[u8], registry: &Registry) -> Progress {
        self.answer.begin();
        if self.stream.is_some() {
            self.doing = Doing::Sending(0);
            return self.send_or_fail(request);
        }
        match self.connect(registry) {
            Ok(()) => {
                self.doing = Doing::Connecting;
                Progress::Pending
            }
            Err(error) => self.fail(Failure::NotConnected(error.to_string())),
        }
    }

    /// Goes on after an event. The request is the same as before.
    pub(super) fn proceed(&mut self, event: &Event, request: &[u8], buffer: &mut [u8]) -> Progress {
        self.ended |= event.is_read_closed() || event.is_error();
        match self.doing {
            Doing::Nothing => {
                // Nothing was asked, so whatever came means that the node gave the connection up.
                if event.is_readable() || self.ended {
                    self.close();
                }
                Progress::Pending
            }
            Doing::Connecting => self.finish_connecting(request),
            Doing::Sending(_) => self.send_and_listen(event, request, buffer),
            Doing::Receiving if event.is_readable() || self.ended => self.receive(buffer),
            Doing::Receiving => Progress::Pending,
        }
    }

    /// Gives up what is under way.
    pub(super) fn give_up(&mut self) {
        self.close();
    }

    fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.node)?;
        registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        self.ended = false;
        Ok(())
    }

    fn finish_connecting(&mut self, request: &[u8]) -> Progress {
        let Some(stream) = &self.stream else { return Progress::Pending };
        match stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return self.fail(Failure::NotConnected(error.to_string())),
        }
        match stream.peer_addr() {
            // An event of an earlier stream.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Progress::Pending,
            Err(error) => return self.fail(Failure::NotConnected(error.to_string())),
            Ok(_) => {}
        }
        if let Err(error) = stream.set_nodelay(true) {
            return self.fail(Failure::NotConnected(error.to_string()));
        }
        self.doing = Doing::Sending(0);
        self.send_or_fail(request)
    }

    /// Sends what can be sent now, which may be all that is left.
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        while let (Doing::Sending(sent), Some(stream)) = (self.doing, &mut self.stream) {
            match stream.write(&request[sent..]) {
                Ok(length) if sent + length == request.len() => self.doing = Doing::Receiving,
                Ok(length) => self.doing = Doing::Sending(sent + length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send_or_fail(&mut self, request: &[u8]) -> Progress {
        match self.send(request) {
            Ok(()) => Progress::Pending,
            Err(error) => self.fail(Failure::Broken(error.to_string())),
        }
    }

    /// Goes on sending. A node that refuses a long request may answer before it has all of it, and never read the rest.
    fn send_and_listen(&mut self, event: &Event, request: &[u8], buffer: &mut [u8]) -> Progress {
        let sent = self.send(request);
        let progress =
            if sent.is_err() || event.is_readable() || self.ended { self.receive(buffer) } else { Progress::Pending };
        match (progress, sent) {
            (Progress::Pending, Err(error)) => self.fail(Failure::Broken(error.to_string())),
            (progress, _) => progress,
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Progress {
        while let Some(stream) = &mut self.stream {
            let length = match stream.read(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.fail(Failure::Broken(error.to_string())),
            };
            let taken =
                if length == 0 { self.answer.closed().map(|()| 0) } else { self.answer.take(&buffer[..length]) };
            match taken {
                Err(garbage) => return self.fail(Failure::Broken(garbage.0.to_owned())),
                Ok(taken) if self.answer.is_complete() => {
                    let is_early = matches!(self.doing, Doing::Sending(_));
                    self.doing = Doing::Nothing;
                    // What nobody asked for may not become the next answer, nor the rest of a request the next one.
                    if is_early || self.ended || self.answer.closes() || taken < length {
                        self.close();
                    }
                    return Progress::Answered;
                }
                // Nothing is left, and there will be an event when more comes.
                Ok(_) if length < buffer.len() && !self.ended => break,
                Ok(_) => {}
            }
        }
        Progress::Pending
    }

    fn fail(&mut self, failure: Failure) -> Progress {
        self.close();
        Progress::Failed(failure)
    }

    fn close(&mut self) {
        // A socket that is closed is no longer registered.
        self.stream = None;
        self.doing = Doing::Nothing;
    }
}
