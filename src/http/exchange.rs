//! One request and its one reply.
//!
//! A request whose body was not read is answered at once, and then the body is skipped for at most
//! [`Limits::body_timeout`](super::Limits): a client that sends before it reads gets its answer all the same. A body
//! that is too long for that leaks its connection; see [`unread`](super::unread).
//!
//! A client that does not read must not hold up others: the receiver lets another thread receive before it sends, a
//! reply whose client takes no more of it for now goes on elsewhere, and threads that do nothing else skip bodies.

use super::acceptor::Acceptor;
use super::admission::{self, Framing};
use super::arrived::Body;
use super::edge::{Edge, Figures};
use super::reply::{self, Headers, Reply};
use super::sending::{Sending, carry, date};
use super::unread::{count_leaked, must_leak, skip};
use crate::wire::escapes;
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::{HTTPVersion, Header, Request, Response};

/// Bodies up to this size have arrived with the head: the library reads them before it hands the request over.
pub(super) const BODY_READ_AHEAD: usize = 1_024;

/// How long before the library gives up a silent connection a reply says that it ends.
const LATE_MARGIN: Duration = Duration::from_millis(500);

/// Fewer replies than this are not worth another thread.
const REPLIES_PER_THREAD_MIN: usize = 16;

/// The method of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    /// GET, or HEAD: the same without a body.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// OPTIONS.
    Options,
    /// A method of HTTP that nothing here answers to.
    Other,
    /// Not a method of HTTP.
    Unknown,
}

/// A request that waits for its reply. It may be answered on any thread; if it is dropped instead, it answers 500.
pub(crate) struct Exchange {
    /// Present until it is answered.
    pub(super) request: Option<Request>,
    pub(super) framing: Framing,
    pub(super) body_consumed: bool,
    /// Something of the body was read.
    pub(super) body_begun: bool,
    /// A body that was read, and is to be read again.
    pub(super) body: Option<Body>,
    /// The longest body that is read.
    pub(super) body_bytes_max: usize,
    arrived: Instant,
    /// Headers that every reply to it has.
    pub(super) reply_headers: Headers,
    pub(super) acceptor: Arc<Acceptor>,
}

impl Exchange {
    pub(super) fn new(request: Request, framing: Framing, acceptor: Arc<Acceptor>) -> Exchange {
        let body_consumed = matches!(framing, Framing::Absent | Framing::Length(0));
        acceptor.answering();
        let body_bytes_max = acceptor.edge.limits.body_bytes_max;
        Exchange {
            request: Some(request),
            framing,
            body_consumed,
            body_begun: false,
            body: None,
            body_bytes_max,
            arrived: Instant::now(),
            reply_headers: Headers::default(),
            acceptor,
        }
    }

    fn request(&self) -> &Request {
        self.request.as_ref().expect("an exchange has its request until it is answered, and answering consumes it")
    }

    pub(crate) fn method(&self) -> Method {
        match self.request().method() {
            tiny_http::Method::Get | tiny_http::Method::Head => Method::Get,
            tiny_http::Method::Post => Method::Post,
            tiny_http::Method::Put => Method::Put,
            tiny_http::Method::Delete => Method::Delete,
            tiny_http::Method::Options => Method::Options,
            // One of HTTP that the library does not know.
            tiny_http::Method::NonStandard(name) if name.as_str() == "QUERY" => Method::Other,
            tiny_http::Method::NonStandard(_) => Method::Unknown,
            _ => Method::Other,
        }
    }

    /// What is asked for, as sent: path and query.
    pub(crate) fn target(&self) -> &str {
        let target = self.request().url();
        admission::split_target(target).map_or(target, |(_, path)| path)
    }

    /// The target before the question mark, decoded as far as [`escapes::normalise_path`] does.
    pub(crate) fn path(&self) -> Cow<'_, str> {
        let target = self.target();
        escapes::normalise_path(target.split_once('?').map_or(target, |(path, _)| path))
    }

    /// The host that the client asks for.
    pub(crate) fn host(&self) -> Option<&str> {
        let authority = admission::split_target(self.request().url()).and_then(|(authority, _)| authority);
        authority.or_else(|| self.header("Host"))
    }

    /// The value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let (_, value) = self.query_pairs().find(|(key, _)| *key == name)?;
        Some(escapes::decode_form(value).unwrap_or_else(|_| value.to_owned()))
    }

    /// The names of all query parameters.
    pub(crate) fn query_names(&self) -> impl Iterator<Item = &str> {
        self.query_pairs().map(|(key, _)| key)
    }

    fn query_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let query = self.target().split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The value of a header, of its first line if there are several.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.header_lines(name).next()
    }

    /// The values of all lines of a header.
    pub(crate) fn header_lines(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let lines = self.request().headers().iter().filter(move |header| header.field.equiv(name));
        lines.map(|header| header.value.as_str())
    }

    /// Adds a header to whatever the reply will be. Values come from this program, or were checked by it.
    pub(crate) fn add_reply_header(&mut self, name: &'static str, value: impl Display) {
        self.reply_headers.push(name, value);
    }

    /// The client that sent it: address and port.
    pub(crate) fn client(&self) -> String {
        client_name(self.client_address())
    }

    /// The host that sent it.
    pub(crate) fn client_host(&self) -> Option<std::net::IpAddr> {
        self.client_address().map(|address| address.ip())
    }

    pub(super) fn client_address(&self) -> Option<SocketAddr> {
        self.request().remote_addr().copied()
    }

    /// How busy the edge is.
    pub(crate) fn figures(&self) -> Figures {
        self.acceptor.edge.figures()
    }

    /// Whether a body that was cut off looks like a whole one: the library takes the end of the connection for the last
    /// chunk. Then only the content of the body can show it.
    pub(crate) fn body_may_be_cut_off(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Whether reading the body will not wait for the client.
    pub(super) fn body_is_here(&self) -> bool {
        match self.framing {
            Framing::Absent => true,
            Framing::Length(length) => {
                let is_read_ahead = length <= BODY_READ_AHEAD && self.header("Expect").is_none();
                length == 0 || (is_read_ahead && !admission::offers_upgrade(self.request()))
            }
            Framing::Chunked | Framing::Ambiguous => false,
        }
    }

    /// Bytes that the body is said to have; 0 if that is not said.
    pub(crate) fn declared_body_bytes(&self) -> usize {
        if let Framing::Length(length) = self.framing { length } else { 0 }
    }

    /// Answers. An error of the connection means that the client is gone, and is only logged.
    pub(crate) fn reply(mut self, reply: Reply) {
        self.send(reply);
    }

    /// Answers with what is made of the request.
    pub(crate) fn reply_with(self, answer: impl FnOnce(&Exchange) -> Reply) {
        let reply = answer(&self);
        self.reply(reply);
    }

    /// Answers, from another thread if sending may take long.
    pub(crate) fn reply_aside(self, reply: Reply) {
        match reply.body {
            reply::Body::Whole(_) => self.reply(reply),
            reply::Body::Streamed(_) => self.aside(move |exchange| exchange.reply(reply)),
        }
    }

    /// Answers later, on a thread that may block.
    pub(crate) fn aside(self, answer: impl FnOnce(Exchange) + Send + 'static) {
        let edge = Arc::clone(&self.acceptor.edge);
        edge.pool.submit(Box::new(move || answer(self)));
    }

    /// Answers many. Each core makes and sends a part of the replies.
    pub(crate) fn reply_to_all(mut answers: Vec<(Box<Exchange>, impl FnOnce() -> Reply + Send + 'static)>) {
        let Some((exchange, _)) = answers.first() else { return };
        let edge = Arc::clone(&exchange.acceptor.edge);
        let part = answers.len().div_ceil(edge.cores).max(REPLIES_PER_THREAD_MIN);
        while answers.len() > part {
            let others = answers.split_off(answers.len() - part);
            if let Err(job) = edge.pool.try_submit(Box::new(move || reply_to_each(others))) {
                job();
            }
        }
        reply_to_each(answers);
    }

    pub(super) fn body_is_done(&self) -> bool {
        self.body_consumed || self.body_is_here()
    }

    /// Whether only the head of a reply is wanted.
    pub(super) fn is_head(&self) -> bool {
        *self.request().method() == tiny_http::Method::Head
    }

    /// Gives the request away, to be answered.
    pub(super) fn depart(&mut self) -> Option<(Request, Departure)> {
        let ends = matches!(self.framing, Framing::Ambiguous | Framing::Chunked) || !self.body_is_done();
        let is_last = self.is_late() || admission::is_last(self.request());
        let request = self.request.take()?;
        let (acceptor, address) = (Arc::clone(&self.acceptor), request.remote_addr().copied());
        let edge = Arc::clone(&acceptor.edge);
        Some((request, Departure { edge, acceptor: Some(acceptor), address, ends, is_last, is_complete: false }))
    }

    /// Whether the library has given up to wait for the next request of the connection.
    fn is_late(&self) -> bool {
        self.arrived.elapsed() + LATE_MARGIN >= self.acceptor.edge.limits.silence()
    }

    fn send(&mut self, mut reply: Reply) {
        if reply.status >= 400 {
            let request = || {
                let method = self.request().method().as_str().escape_debug();
                format!("{method} {} of {}", self.target().escape_debug(), self.client())
            };
            self.acceptor.edge.limits.refusals.note(&reply, self.method() == Method::Get, request);
        }
        reply.headers.append(std::mem::take(&mut self.reply_headers));
        // The reply to a body that was not read cannot say in a way that every client understands that the connection
        // ends. So a body whose end does not take long to come is read first.
        let is_soon_read = match self.framing {
            Framing::Chunked => true,
            Framing::Ambiguous => self.request().body_length().is_none_or(|length| length <= BODY_READ_AHEAD),
            Framing::Absent | Framing::Length(_) => false,
        };
        let is_sent = self.header("Expect").is_none() && !admission::offers_upgrade(self.request());
        if is_soon_read && is_sent && !self.body_begun && self.acceptor.hand_over() && self.skip_body().is_err() {
            log::debug!("the body that {} sent could not be skipped", self.client());
        }
        let body_is_done = self.body_is_done();
        // A body of which nothing was read, and that the client sends in any case, can be skipped to its end.
        let may_go_on = !body_is_done
            && matches!(self.framing, Framing::Length(_))
            && !(self.body_begun || must_leak(self.request()) || self.header("Expect").is_some());
        // Such a body ends with the connection, so no other reply may follow it.
        let ends_it =
            *self.request().http_version() < HTTPVersion(1, 1) && matches!(reply.body, reply::Body::Streamed(_));
        let Some((request, mut departure)) = self.depart() else { return };
        departure.ends |= ends_it;
        let answer = move || match body_is_done {
            true => send(request, reply, departure),
            false => refuse_before_body(request, reply, may_go_on, departure),
        };
        if self.acceptor.hand_over() {
            answer();
        } else {
            self.acceptor.edge.senders.submit(Box::new(answer));
        }
    }
}

/// A client in words: its address and port.
pub(super) fn client_name(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "an unknown client".to_owned(), |address| address.to_string())
}

fn send(request: Request, reply: Reply, departure: Departure) {
    let edge = Arc::clone(departure.edge());
    match Sending::new(request, reply, departure.ends || departure.is_last) {
        Ok((sending, pieces)) => {
            carry(&edge, sending, pieces, |_, sent| departure.after(&sent.map(drop)));
        }
        Err(error) => departure.after(&Err(error)),
    }
}

/// Says that a request was answered, also when writing the answer panicked: then its connection ends, because after a
/// reply that was cut off nothing else may be sent.
pub(super) struct Departure {
    edge: Arc<Edge>,
    /// Where the request came in; none once a stream answers it.
    acceptor: Option<Arc<Acceptor>>,
    address: Option<SocketAddr>,
    /// Nothing that comes after the request may be served.
    ends: bool,
    /// The library reads nothing that comes after the request.
    is_last: bool,
    is_complete: bool,
}

impl Departure {
    pub(super) fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// The reply goes on for an unknown time, so the acceptor does not wait for it. Gives the address of the
    /// connection, which the stream has to leave in the end.
    pub(super) fn into_stream(mut self) -> (Arc<Edge>, Option<SocketAddr>) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.streams();
        }
        (Arc::clone(&self.edge), self.address)
    }

    /// The reply was sent, or could not be. By now nothing may hold the request any more.
    pub(super) fn after(mut self, sent: &io::Result<()>) {
        if let Err(error) = sent {
            log::debug!("a reply did not reach {:?}: {error}", self.address);
        }
        self.is_complete = sent.is_ok();
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.answered(self.address, self.ends || !self.is_complete);
        }
    }
}

fn reply_to_each(answers: Vec<(Box<Exchange>, impl FnOnce() -> Reply)>) {
    for (exchange, reply) in answers {
        exchange.reply_aside(reply());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.request.is_some() {
            self.send(Reply::json(
                500,
                &crate::wire::client::Problem {
                    error: "this node failed to answer; its log says why",
                    outcome: Some(crate::wire::client::Outcome::Unknown),
                },
            ));
        }
    }
}

/// Answers a request whose body was not read, and then skips the body: a client may send all of it before it reads its
/// answer. After a body that may be read to its end, another request may follow.
///
/// The only way to get at the writer without dropping the reader is to pretend an upgrade to another protocol: the
/// library writes the head then, with the headers that it would leave out, and nothing of the body.
fn refuse_before_body(request: Request, reply: Reply, may_go_on: bool, mut departure: Departure) {
    let edge = Arc::clone(departure.edge());
    let (is_head, must_leak) = (*request.method() == tiny_http::Method::Head, must_leak(&request));
    let declared = request.body_length();
    let closes = (departure.ends && !may_go_on) || departure.is_last;
    let (head, body) = match unread_reply(reply) {
        Ok(parts) => parts,
        Err(error) => return departure.after(&Err(error)),
    };
    let close = if closes { "\r\nConnection: close" } else { "" };
    let mut stream = request.upgrade(&format!("HTTP/1.1\r\nContent-Length: {}{close}", body.len()), head);
    let sent = stream.write_all(if is_head { &[] } else { &body }).and_then(|()| stream.flush());
    if must_leak {
        count_leaked(&edge.leaked);
        std::mem::forget(stream);
        return departure.after(&sent);
    }
    let timeout = edge.limits.body_timeout;
    edge.skippers.submit(Box::new(move || {
        // The reader of a request that offers to upgrade does not end with its body.
        let mut body = Read::take(&mut stream, declared.map_or(u64::MAX, |length| length as u64));
        let skipped = skip(&mut body, timeout);
        departure.ends = !may_go_on || declared != Some(skipped);
        drop(stream);
        departure.after(&sent);
    }));
}

/// The head and the body of a reply that the library writes.
fn unread_reply(reply: Reply) -> io::Result<(Response<io::Empty>, Vec<u8>)> {
    let reply::Body::Whole(body) = reply.body else {
        return Err(io::Error::other("a stream cannot answer a request whose body was not read"));
    };
    let mut head = Response::new(reply.status.into(), Vec::new(), io::empty(), None, None)
        .with_header(header("Content-Type", reply.content_type))
        .with_header(header("Server", "replicated-log"))
        .with_header(header("Date", &date().to_string()))
        .with_header(header("Cache-Control", reply::CACHE_CONTROL))
        .with_header(header("Vary", reply::VARY));
    for (name, value) in reply.headers.iter() {
        head.add_header(header(name, value));
    }
    Ok((head, body))
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("headers of replies are ASCII")
}
