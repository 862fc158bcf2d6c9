//! The HTTP edge: the only room that knows `tiny_http`.
//!
//! The server of that library reads requests on a thread per connection and queues them; from there they come in through
//! a [`gate`]: one thread takes them from the queue in their order, examines each head ([`admission`]), and serves it, or
//! lets another thread take over before it does what may block. A request may be answered from any thread, so a writer
//! whose message waits for a slow secondary occupies none.
//!
//! What the library leaves open is closed here, as far as that can be done from outside:
//!
//! - **Smuggling.** A request whose length is ambiguous ends its connection: what follows it there is not acted on.
//!   [`connections`] lets one request of a connection in at a time, so nothing overtakes the examination.
//! - **Slow clients.** Whoever waits for a client is not the receiver any more; it is bounded in time, and costs one
//!   thread of a pool at most. A client that does not read its reply has a thread wait for it that does nothing else;
//!   see [`sending`]. Silent connections end after [`Limits::silence`].
//! - **Bodies that are declared and never sent.** They are answered from their declared length, and skipped by threads
//!   that serve nobody else; see [`unread`].
//! - **Memory.** What a client sends and does not read is bounded in sum: [`Limits::bodies`] and [`Limits::unread`] are
//!   budgets, and what the system keeps of a body that is not read yet is bounded by [`listener`].
//! - **Deaf listeners.** The [`caretaker`] asks the server for a sign of life over a fresh connection four times a
//!   second, which also keeps `accept` from timing out and wakes connections that the library's thread pool forgot, and
//!   puts a new server on the same listener when it gets none.
//! - **Too many connections.** The [`door`] closes before descriptors run out: who comes then is told 503.
//!
//! Caveats, which only another server library or a proxy in front can remove: a head, or the size of a chunk, is read
//! without a bound on its length; a client that sends one of them byte by byte keeps a connection for as long as it
//! likes; a request line with `HTTP/2.0` or `HTTP/3.0` costs one thread and two descriptors for good; so does a declared
//! body of more than [`unread::DRAIN_BYTES_MAX`]; an expectation other than `100-continue` is answered with 417 before,
//! or amid, the replies to earlier requests of its connection; and a connection that is to end stays open until it has been
//! silent for a while, unless the client closes it. `README.md` says so, too.

mod admission;
mod caretaker;
mod census;
mod connections;
mod door;
mod edge;
mod exchange;
mod gate;
mod gates;
mod limits;
mod listener;
mod pool;
mod reply;
mod sending;
mod server;
mod service;
mod stream;
mod unread;

pub(crate) use edge::Figures;
pub(crate) use exchange::{Exchange, Method};
pub(crate) use limits::Limits;
pub(crate) use listener::{bind, raise_descriptor_limit, reachable};
pub(crate) use reply::{Pieces, Reply, Source};
pub(crate) use server::Server;
pub(crate) use service::Service;
pub(crate) use stream::Stream;
