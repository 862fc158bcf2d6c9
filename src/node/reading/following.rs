//! What comes later: followers, and readers who wait a while for a first message.
//!
//! A *follower* gets the log from where it says, and then every message as soon as it is visible, once each and in their
//! order. It is in one of two states:
//!
//! - it *reads history*: what is there is read from the store while it is sent, as for any other reader, on a thread that
//!   waits for this client alone;
//! - it is *live*: it has everything, and the [`broadcaster`](super::broadcaster) sends what comes, to all of those from one thread.
//!
//! A live follower whose connection is full goes back to history, from where it came to: no more than one part of the log
//! is kept in memory for it. When it has read nothing for the write time-out, it is dropped, and the log file says so; it
//! knows the id of its last message, and may come again. So a slow follower costs a thread, a live one costs none, and
//! neither holds up the others or a writer.
//!
//! What is shown here is what this node has decided, so it is never taken back; on a secondary it comes when the master
//! has told it, a few milliseconds later.

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
    /// Followers, and readers who wait, at the same time. Each costs a connection.
    pub(crate) followers_max: usize,
    /// After so long without a message something empty is sent: so both sides know that the other one is there.
    pub(crate) heartbeat: Duration,
}

/// What a follower asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The id that it has already; `None` for all that there are.
    pub(super) after: Option<Id>,
    pub(super) format: Format,
}

/// Those who wait for what comes. The nodes tell it how far the log is visible.
pub(crate) struct Following {
    store: Arc<dyn Store>,
    /// Of followers and those who wait.
    permits: Arc<Semaphore>,
    heartbeat: Duration,
    state: Mutex<State>,
    /// There is more to show, somebody has come, or it is over.
    news: Condvar,
    broadcaster: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
pub(super) struct State {
    /// The high watermark: what is visible.
    pub(super) decided: Id,
    /// Followers who have come live since the broadcaster last looked.
    pub(super) arrivals: Vec<Live>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) stopping: bool,
}

/// Somebody who gets every message.
pub(super) struct Follower {
    client: String,
    pub(super) format: Format,
    /// It was sent everything up to this id.
    pub(super) after: Id,
    following: Arc<Following>,
    _place: Permit,
}

/// A follower who has everything, as far as we know.
pub(super) struct Live {
    pub(super) stream: Stream,
    pub(super) follower: Follower,
    /// When it was last sent anything.
    pub(super) sent_at: Instant,
}

impl Live {
    /// It is slow: it reads on from the store.
    pub(super) fn send_back(self) {
        self.stream.go_on(self.follower, Follower::came_to_the_end);
    }
}

/// A reader who waits for a first message.
pub(super) struct Waiting {
    pub(super) from: Id,
    pub(super) until: Instant,
    exchange: Exchange,
    show: Box<dyn FnOnce(Exchange) + Send>,
    _place: Permit,
}

impl Waiting {
    /// Shows what there is.
    pub(super) fn end(self) {
        self.exchange.aside(self.show);
    }
}

impl Following {
    /// Begins with a log that is visible up to an id. What comes later is sent by the broadcaster that is given to it.
    pub(super) fn new(store: &Arc<dyn Store>, limits: FollowLimits, decided: Id) -> Arc<Following> {
        let state = State { decided, ..State::default() };
        let (store, state, news) = (Arc::clone(store), Mutex::new(state), Condvar::new());
        let (permits, heartbeat) = (Semaphore::new(limits.followers_max), limits.heartbeat);
        Arc::new(Following { store, permits, heartbeat, state, news, broadcaster: Mutex::default() })
    }

    /// From now on it has a broadcaster, whose end [`Following::stop`] awaits.
    pub(super) fn is_fed_by(&self, broadcaster: JoinHandle<()>) {
        *self.broadcaster.lock().unwrap_or_else(PoisonError::into_inner) = Some(broadcaster);
    }

    /// The log is visible up to an id. Costs nothing to speak of: writers wait for it.
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

    /// Sends what there is, and ends all that is followed: the clients see a proper end.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.news.notify_one();
        let broadcaster = self.broadcaster.lock().unwrap_or_else(PoisonError::into_inner).take();
        if broadcaster.is_some_and(|broadcaster| broadcaster.join().is_err()) {
            log::error!("the thread that feeds followers panicked; the log file says where");
        }
    }

    /// How many follow, or wait.
    pub(crate) fn number(&self) -> usize {
        self.permits.taken()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news, or until a moment.
    pub(super) fn await_news<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let timeout = until.saturating_duration_since(Instant::now());
                self.news.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// How far the log is visible; `None` when it is not to be shown any more.
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

    /// Sends what there is, and then what comes.
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

    /// Lets a reader wait for a message from an id on.
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
    /// From now on the broadcaster sends what comes.
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
