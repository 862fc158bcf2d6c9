//! One request and its one reply.
//!
//! A request whose body was not read is answered by the library itself: it reads the rest of such a body when the
//! request is dropped, so the reply has to go out before that, and only the library can do it in this order.
//!
//! Dropping a request with a declared body of a terabyte makes the library allocate a terabyte. Such a request is
//! answered and then *buried*: kept for ever, with the thread and the descriptors of its connection. They are counted.
//!
//! Nobody should pay for a client that does not read: the receiver lets another receive before it sends, a reply whose
//! client takes no more of it for a moment goes on elsewhere, and a body that was not read is skipped by threads that do
//! nothing else.

use super::admission::{self, Framing};
use super::gate::Gate;
use super::reply::{Body, Reply};
use super::sending::Sending;
use super::stream::carry;
use super::{Edge, Figures};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tiny_http::{Header, Request, Response};

/// An unread body up to this size is read and thrown away by the library; beyond, its request is buried.
pub(super) const DRAIN_BYTES_MAX: usize = 64 << 20;

/// Bodies up to this size have arrived with the head: the library reads them before it hands the request over.
const BODY_READ_AHEAD: usize = 1_024;

const READ_BYTES: usize = 64 << 10;

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
    /// A method of HTTP that nothing here answers to.
    Other,
    /// Not a method of HTTP.
    Unknown,
}

/// A request that waits for its reply. It may be answered on any thread; if it is dropped instead, it answers 500.
pub(crate) struct Exchange {
    /// Present until it is answered.
    request: Option<Request>,
    framing: Framing,
    body_consumed: bool,
    gate: Arc<Gate>,
}

impl Exchange {
    pub(super) fn new(request: Request, framing: Framing, gate: Arc<Gate>) -> Exchange {
        let body_consumed = matches!(framing, Framing::Absent | Framing::Length(0));
        gate.answering();
        Exchange { request: Some(request), framing, body_consumed, gate }
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
            // One of HTTP that the library does not know.
            tiny_http::Method::NonStandard(name) if name.as_str() == "QUERY" => Method::Other,
            tiny_http::Method::NonStandard(_) => Method::Unknown,
            _ => Method::Other,
        }
    }

    /// The target before the question mark, as sent: it is never decoded.
    pub(crate) fn path(&self) -> &str {
        let target = self.request().url();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The value of a query parameter, as sent.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.request().url().split_once('?')?;
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The names of all query parameters.
    pub(crate) fn query_names(&self) -> impl Iterator<Item = &str> {
        let query = self.request().url().split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key))
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        let header = self.request().headers().iter().find(|header| header.field.equiv(name))?;
        Some(header.value.as_str())
    }

    /// Who sent it: address and port.
    pub(crate) fn client(&self) -> String {
        self.request().remote_addr().map_or_else(|| "an unknown client".to_owned(), ToString::to_string)
    }

    /// The host that sent it.
    pub(crate) fn client_host(&self) -> Option<std::net::IpAddr> {
        self.request().remote_addr().map(SocketAddr::ip)
    }

    /// How busy the edge is.
    pub(crate) fn figures(&self) -> Figures {
        self.gate.edge.figures()
    }

    /// Whether a body that was cut off looks like a whole one: the library takes the end of the connection for the last
    /// chunk. What the body says must tell then.
    pub(crate) fn body_may_be_cut_off(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Whether reading the body will not wait for the client.
    pub(super) fn body_is_here(&self) -> bool {
        match self.framing {
            Framing::Absent => true,
            Framing::Length(length) => length <= BODY_READ_AHEAD && self.header("Expect").is_none(),
            Framing::Chunked | Framing::Ambiguous => false,
        }
    }

    /// Reads the body.
    ///
    /// # Errors
    /// With the reply that says what is wrong with it: missing (411), too large (413), too slow (408), cut off (400).
    pub(crate) fn read_body(&mut self) -> Result<Vec<u8>, Reply> {
        let limits = &self.gate.edge.limits;
        let expected = match self.framing {
            Framing::Absent => {
                return Err(Reply::problem(411, "the request has no body; send one with a Content-Length"));
            }
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Ambiguous => None,
        };
        let deadline = Instant::now() + limits.body_timeout;
        let bytes_max = limits.body_bytes_max;
        let too_slow = || Reply::problem(408, "the body did not arrive in time");
        let mut body = Vec::with_capacity(expected.unwrap_or(BODY_READ_AHEAD).min(READ_BYTES));
        let reader = self.request.as_mut().expect("not answered yet").as_reader();
        while expected.is_none_or(|length| body.len() < length) {
            let room = expected.unwrap_or(bytes_max + 1).saturating_sub(body.len()).min(READ_BYTES);
            match reader.take(room as u64).read_to_end_once(&mut body) {
                Ok(0) => break,
                Ok(_) if body.len() > bytes_max => return Err(admission::too_large(bytes_max)),
                Ok(_) if Instant::now() >= deadline => return Err(too_slow()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(too_slow());
                }
                Err(error) => {
                    self.framing = Framing::Ambiguous;
                    return Err(Reply::problem(400, &format!("the body could not be read: {error}")));
                }
            }
        }
        self.body_consumed = true;
        match expected {
            Some(length) if length != body.len() => {
                Err(Reply::problem(400, &format!("the body ended after {} of {length} bytes", body.len())))
            }
            _ => Ok(body),
        }
    }

    /// Answers. Errors of the connection are the client's: it is gone.
    pub(crate) fn reply(mut self, reply: Reply) {
        self.send(reply);
    }

    /// Answers with what is made of the request.
    pub(crate) fn reply_with(self, answer: impl FnOnce(&Exchange) -> Reply) {
        let reply = answer(&self);
        self.reply(reply);
    }

    /// Answers from a thread that nobody waits for, if sending may take long.
    pub(crate) fn reply_aside(self, reply: Reply) {
        match reply.body {
            Body::Whole(_) => self.reply(reply),
            Body::Streamed(_) => self.aside(move |exchange| exchange.reply(reply)),
        }
    }

    /// Answers later, on a thread that may block.
    pub(crate) fn aside(self, answer: impl FnOnce(Exchange) + Send + 'static) {
        let edge = Arc::clone(&self.gate.edge);
        edge.pool.submit(Box::new(move || answer(self)));
    }

    /// Answers many. Each core sends a part, and puts it into words.
    pub(crate) fn reply_to_all(mut answers: Vec<(Exchange, impl FnOnce() -> Reply + Send + 'static)>) {
        let Some((exchange, _)) = answers.first() else { return };
        let edge = Arc::clone(&exchange.gate.edge);
        let part = answers.len().div_ceil(edge.cores).max(REPLIES_PER_THREAD_MIN);
        while answers.len() > part {
            let others = answers.split_off(answers.len() - part);
            if let Err(job) = edge.pool.try_submit(Box::new(move || reply_to_each(others))) {
                job();
            }
        }
        reply_to_each(answers);
    }

    /// Reads a body that nobody asked for, so that it is out of the way of the reply.
    pub(super) fn skip_body(&mut self) -> Result<(), Reply> {
        if self.body_is_done() { Ok(()) } else { self.read_body().map(|_| ()) }
    }

    fn body_is_done(&self) -> bool {
        self.body_consumed || self.body_is_here()
    }

    /// Whether only the head of a reply is wanted.
    pub(super) fn is_head(&self) -> bool {
        *self.request().method() == tiny_http::Method::Head
    }

    /// Gives the request away, to be answered.
    pub(super) fn depart(&mut self) -> Option<(Request, Departure)> {
        let ends = matches!(self.framing, Framing::Ambiguous | Framing::Chunked) || !self.body_is_done();
        let request = self.request.take()?;
        let (gate, address) = (Arc::clone(&self.gate), request.remote_addr().copied());
        let edge = Arc::clone(&gate.edge);
        Some((request, Departure { edge, gate: Some(gate), address, ends, is_complete: false }))
    }

    fn send(&mut self, reply: Reply) {
        let body_is_done = self.body_is_done();
        let Some((request, departure)) = self.depart() else { return };
        let edge = &self.gate.edge;
        if !body_is_done {
            let skip = move || {
                let sent = reply_unread(request, reply, &departure.edge().buried);
                departure.after(&sent);
            };
            edge.skippers.submit(Box::new(skip));
        } else if self.gate.hand_over() {
            send(request, reply, departure);
        } else {
            edge.senders.submit(Box::new(move || send(request, reply, departure)));
        }
    }
}

fn send(request: Request, reply: Reply, departure: Departure) {
    let edge = Arc::clone(departure.edge());
    match Sending::new(request, reply, departure.ends) {
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
    /// Where the request came in; none once somebody else has to say that it was answered.
    gate: Option<Arc<Gate>>,
    address: Option<SocketAddr>,
    ends: bool,
    is_complete: bool,
}

impl Departure {
    pub(super) fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// The reply goes on for an unknown time: the gate does not wait for it. Gives whose connection it is, which has to be
    /// left in the end.
    pub(super) fn into_stream(mut self) -> (Arc<Edge>, Option<SocketAddr>) {
        if let Some(gate) = self.gate.take() {
            gate.streams();
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
        if let Some(gate) = &self.gate {
            gate.answered(self.address, self.ends || !self.is_complete);
        }
    }
}

fn reply_to_each(answers: Vec<(Exchange, impl FnOnce() -> Reply)>) {
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

/// One `read`, appended to a vector.
trait ReadOnce {
    fn read_to_end_once(self, into: &mut Vec<u8>) -> io::Result<usize>;
}

impl<R: Read> ReadOnce for io::Take<R> {
    fn read_to_end_once(mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        into.resize(before + usize::try_from(self.limit()).unwrap_or(READ_BYTES), 0);
        let read = self.read(&mut into[before..]);
        into.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }
}

/// Answers a request whose body was not read, and ends its connection. Returns when the client has sent the rest of
/// the body, or stopped sending.
fn reply_unread(request: Request, reply: Reply, buried: &AtomicU64) -> io::Result<()> {
    let Body::Whole(body) = reply.body else {
        return Err(io::Error::other("a stream cannot answer a request whose body was not read"));
    };
    let mut head = Response::new(reply.status.into(), Vec::new(), io::empty(), None, None)
        .with_header(header("Content-Type", reply.content_type));
    for (name, value) in &reply.headers {
        head.add_header(header(name, value));
    }
    if must_bury(&request) {
        count_buried(buried);
        return reply_and_bury(request, head, &body);
    }
    let length = body.len();
    // The library neither lets us set this header nor heeds it; it only prevents a client from waiting in vain.
    let head = head.with_header(header("Server", "replicated-log\r\nConnection: close"));
    request.respond(head.with_data(io::Cursor::new(body), Some(length)))
}

/// The only way to get at the writer without dropping the reader is to pretend an upgrade to another protocol: the
/// library writes the head then, with the headers that it would leave out, and nothing of the body.
fn reply_and_bury(request: Request, head: Response<io::Empty>, body: &[u8]) -> io::Result<()> {
    let is_head = *request.method() == tiny_http::Method::Head;
    let more_headers = format!("HTTP/1.1\r\nContent-Length: {}\r\nConnection: close", body.len());
    let mut stream = request.upgrade(&more_headers, head);
    let sent = if is_head { stream.flush() } else { stream.write_all(body).and_then(|()| stream.flush()) };
    std::mem::forget(stream);
    sent
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("headers of replies are ASCII")
}

fn must_bury(request: &Request) -> bool {
    request.body_length().is_some_and(|length| length > DRAIN_BYTES_MAX)
}

fn count_buried(buried: &AtomicU64) {
    let count = buried.fetch_add(1, Ordering::Relaxed) + 1;
    log::error!("a request declared a body that cannot be skipped; its connection is kept for good ({count} so far)");
}

/// Forgets a request that must not be answered. This waits for the rest of its body: see [`has_rest`].
pub(super) fn discard(request: Request, buried: &AtomicU64) {
    if must_bury(&request) {
        count_buried(buried);
        std::mem::forget(request);
    } else {
        drop(request.into_writer());
    }
}

/// Whether the library reads on when this request is dropped.
pub(super) fn has_rest(request: &Request) -> bool {
    request.body_length().is_some_and(|length| length > 0)
}
