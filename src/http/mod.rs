//! The HTTP edge: the only room that knows `tiny_http`.
//!
//! The server of that library reads requests on a thread per connection and queues them. An [`acceptor`] takes them
//! from the queue: one thread at a time receives them in their order, examines each head ([`admission`]), and serves
//! the request, or lets another thread receive before it does what may block. A request may be answered from any
//! thread, so a writer whose message waits for a slow secondary occupies none.
//!
//! The library leaves problems open that this room solves, as far as that is possible from outside:
//!
//! - **Smuggling.** A request whose length is ambiguous ends its connection: what follows it there is not acted on.
//!   [`connections`] lets one request of a connection in at a time, so nothing overtakes the examination.
//! - **Slow clients.** A thread that waits for a client does not receive meanwhile. The wait is bounded in time and
//!   costs one thread of a pool. A client that does not read its reply has a thread that only waits for it; see
//!   [`sending`]. Silent connections end after [`Limits::silence`].
//! - **Bodies that are declared and never sent.** They are answered from their declared length, and threads that do
//!   nothing else skip them; see [`unread`].
//! - **Memory.** What all clients together send, or do not read, is bounded: [`Limits::bodies`] and [`Limits::unread`]
//!   are budgets, and [`listener`] bounds what the system keeps of a body that is not read yet.
//! - **Lost listeners.** The [`watchdog`] probes the server, which also keeps `accept` from timing out, frees threads
//!   for connections that the library's thread pool forgot, and starts another acceptor when the accept loop has ended.
//! - **Too many connections.** The connection [`limiter`] answers 503 to new ones before descriptors run out.
//!
//! Caveats, which only another server library or a proxy in front can remove: a head, or the size of a chunk, is read
//! without a bound on its length; a client that sends one of them byte by byte keeps a connection for as long as it
//! likes; a request line with `HTTP/2.0` or `HTTP/3.0` leaks one thread and two descriptors; so does a declared body of
//! more than [`unread::SKIPPED_BYTES_MAX`]; an expectation other than `100-continue` is answered with 417 before, or
//! amid, the replies to earlier requests of its connection; and a connection that is to end stays open until the client
//! closes it, or has been silent for [`Limits::silence`]. The user's documentation lists them, too.

mod acceptor;
mod acceptors;
mod admission;
mod arrived;
mod body;
mod connections;
mod descriptors;
mod edge;
mod exchange;
mod limiter;
mod limits;
mod listener;
mod pool;
mod refusals;
mod reply;
mod sending;
mod server;
mod service;
mod stream;
mod unread;
mod watchdog;

pub(crate) use arrived::Body;
pub(crate) use edge::Figures;
pub(crate) use exchange::{Exchange, Method};
pub(crate) use limits::Limits;
pub(crate) use listener::{bind, raise_descriptor_limit, reachable};
pub(crate) use reply::{Pieces, Reply, Source};
pub(crate) use server::Server;
pub(crate) use service::Service;
pub(crate) use stream::Stream;
