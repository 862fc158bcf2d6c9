//! Followers, and readers that wait for a first message.
//!
//! A *follower* gets the log after an id, and then every message as soon as it is visible, once each and in order. It
//! is in one of two states:
//!
//! - It *reads history*: a thread of its own reads the store and sends to this client alone.
//! - It is *live*: it has everything, and the [`broadcaster`](super::broadcaster) sends new messages to all live
//!   followers from one thread.
//!
//! A live follower whose connection is full reads history again, from the last id that it was sent, so the node keeps
//! at most one part of the log in memory for it. A follower that reads nothing for the write timeout is dropped, and
//! the log says so. Its client knows the id of its last message, and can follow again from there. So a slow follower
//! costs a thread, a live one none, and neither delays other followers or writes.
//!
//! Followers get decided messages only, so no message is ever taken back. A secondary shows a message when the master's
//! next call carries the high watermark, a few milliseconds after the master shows it.

use super::format::Format;
use super::part::Part;
use crate::http::{Exchange, Reply, Source, Stream};
use crate::node::semaphore::{Permit, Semaphore};
use crate::protocol::Id;
use crate::store::Store;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The named limits of following.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowLimits {
    /// The most followers and waiting readers at the same time. Each costs a connection.
    pub(crate) followers_max: usize,
    /// After so long without a message the node sends an empty line or event, so that each side notices if the other is
    /// gone.
    pub(crate) heartbeat: Duration,
}

/// What a follower asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The last id that it has. `None` means the newest one.
    pub(super) after: Option<Id>,
    pub(super) format: Format,
}

/// The followers and the waiting readers of a node. Its role reports the high watermark with [`Following::show`].
pub(crate) struct Following {
    store: Arc<dyn Store>,
    /// The permits of followers and waiting readers.
    permits: Arc<Semaphore>,
    heartbeat: Duration,
    state: Mutex<State>,
    /// The high watermark has risen, a follower or reader was added, or the node stops.
    news: Condvar,
    broadcaster: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
pub(super) struct State {
    /// The high watermark: what is visible.
    pub(super) decided: Id,
    /// Followers that have become live since the broadcaster's last pass.
    pub(super) arrivals: Vec<Live>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) stopping: bool,
}

/// A client that gets every message.
pub(super) struct Follower {
    client: String,
    pub(super) format: Format,
    /// The last id that it was sent.
    pub(super) after: Id,
    following: Arc<Following>,
    _place: Permit,
}

/// A follower that was sent everything.
pub(super) struct Live {
    pub(super) stream: Stream,
    pub(super) follower: Follower,
    /// When it was last sent anything.
    pub(super) sent_at: Instant,
}

impl Live {
    /// Makes a slow follower read history.
    pub(super) fn send_back(self) {
        self.stream.go_on(self.follower, Follower::came_to_the_end);
    }
}

/// A reader that waits for a first message.
pub(super) struct Waiting {
    pub(super) from: Id,
    pub(super) until: Instant,
    exchange: Exchange,
    show: Box<dyn FnOnce(Exchange) + Send>,
    _place: Permit,
}

impl Waiting {
    /// Replies with what there is.
    pub(super) fn end(self) {
        self.exchange.aside(self.show);
    }
}

impl Following {
    /// For a log with this high watermark. It needs a broadcaster, see [`Following::is_fed_by`].
    pub(super) fn new(store: &Arc<dyn Store>, limits: FollowLimits, decided: Id) -> Arc<Following> {
        let state = State { decided, ..State::default() };
        let (store, state, news) = (Arc::clone(store), Mutex::new(state), Condvar::new());
        let (permits, heartbeat) = (Semaphore::new(limits.followers_max), limits.heartbeat);
        Arc::new(Following { store, permits, heartbeat, state, news, broadcaster: Mutex::default() })
    }

    /// Takes the thread of the broadcaster, whose end [`Following::stop`] awaits.
    pub(super) fn is_fed_by(&self, broadcaster: JoinHandle<()>) {
        *self.broadcaster.lock().unwrap_or_else(PoisonError::into_inner) = Some(broadcaster);
    }

    /// Reports the high watermark. This does not block, because writes wait for it.
    pub(crate) fn show(&self, decided: Id) {
        let mut state = self.lock();
        if decided > state.decided {
            state.decided = decided;
            drop(state);
            if self.permits.taken() > 0 {
                self.news.notify_one();
            }
        }
    }

    /// Sends what there is, and then ends each stream, so that its client sees a complete reply.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.news.notify_one();
        let broadcaster = self.broadcaster.lock().unwrap_or_else(PoisonError::into_inner).take();
        if broadcaster.is_some_and(|broadcaster| broadcaster.join().is_err()) {
            log::error!("the broadcaster thread panicked; the log says where");
        }
    }

    /// The number of followers and waiting readers.
    pub(crate) fn number(&self) -> usize {
        self.permits.taken()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news, or until `until`.
    pub(super) fn await_news<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let timeout = until.saturating_duration_since(Instant::now());
                self.news.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// The high watermark, or `None` if the node stops.
    fn shown(&self) -> Option<Id> {
        let state = self.lock();
        (!state.stopping).then_some(state.decided)
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    fn take_place(&self, state: &State) -> Result<Permit, Reply> {
        if state.stopping {
            return Err(Reply::no_answer(503, "this node is stopping"));
        }
        self.permits.take().ok_or_else(|| {
            let sentence = format!(
                "this node has {} followers, as many as it takes; follow another node, or try again later",
                self.permits.taken()
            );
            Reply::no_answer(503, &sentence).with_header("Retry-After", "10")
        })
    }

    /// Makes the client of a request a follower.
    pub(super) fn follow(self: &Arc<Following>, exchange: Exchange, wanted: Wanted) {
        let place = self.take_place(&self.lock());
        let place = match place {
            Ok(place) => place,
            Err(refusal) => return exchange.reply(refusal),
        };
        let follower = Follower {
            client: exchange.client(),
            format: wanted.format,
            after: wanted.after.unwrap_or_else(|| self.lock().decided),
            following: Arc::clone(self),
            _place: place,
        };
        log::info!("{} follows the log after id {}", follower.client, follower.after);
        let head = Reply::stream_head(wanted.format.content_type());
        let preamble = wanted.format.preamble(follower.after);
        exchange.stream(head, preamble, follower, Follower::came_to_the_end);
    }

    /// Makes a reader wait until `from` is visible, or for `timeout`, and then calls `show`.
    pub(super) fn wait(
        self: &Arc<Following>,
        exchange: Exchange,
        from: Id,
        timeout: Duration,
        show: Box<dyn FnOnce(Exchange) + Send>,
    ) {
        let mut state = self.lock();
        match self.take_place(&state) {
            Ok(place) => {
                let until = Instant::now() + timeout;
                state.waiting.push(Waiting { from, until, exchange, show, _place: place });
                drop(state);
                self.news.notify_one();
            }
            Err(refusal) => {
                drop(state);
                exchange.reply(refusal);
            }
        }
    }
}

impl Source for Follower {
    /// History.
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let following = &self.following;
        let Some(decided) = following.shown() else { return Ok(None) };
        if self.after >= decided {
            return Ok(None);
        }
        let part = Part::read(following.store(), self.after, decided, [self.format]).map_err(io::Error::other)?;
        let text = part.after(self.after, self.format).to_vec();
        self.after = part.through;
        Ok(Some(text))
    }
}

impl Follower {
    /// Makes a follower that has read all of history live.
    fn came_to_the_end(self, stream: io::Result<Stream>) {
        match stream {
            Ok(stream) => {
                let following = Arc::clone(&self.following);
                let mut state = following.lock();
                if state.stopping {
                    drop(state);
                    return stream.end();
                }
                state.arrivals.push(Live { stream, follower: self, sent_at: Instant::now() });
                drop(state);
                following.news.notify_one();
            }
            Err(error) => self.is_gone(&error),
        }
    }

    pub(super) fn is_gone(&self, error: &io::Error) {
        log::info!("{} does not follow the log any more, after id {}: {error}", self.client, self.after);
    }
}
