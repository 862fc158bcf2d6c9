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
//! A follower that is so slow that what it lacks is trimmed gets an event that says so, and goes on from the beginning of
//! the log; one that gets lines is disconnected.
//!
//! Followers get decided messages only, so no message is ever taken back. A secondary shows a message when the master's
//! next call carries the high watermark, a few milliseconds after the master shows it.

use super::format::Format;
use super::part::Part;
use super::snapshot::Misplaced;
use crate::http::{Exchange, Pieces, Reply, Source, Stream};
use crate::node::semaphore::{Permit, Semaphore};
use crate::protocol::{Epoch, Id, LogId, Slot};
use crate::store::Store;
use crate::wire::position::Position;
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

/// How long after a heartbeat a second one comes.
const ECHO_INTERVAL: Duration = Duration::from_millis(500);

/// After what a follower wants the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// After nothing: from its beginning.
    Nothing,
    /// After the position that it has reached.
    Position(Position),
    /// After the newest message.
    Newest,
}

/// What a follower asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) after: After,
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
    /// The log, once this node knows it.
    log_id: Option<LogId>,
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
    /// Whether that was a heartbeat that another one follows soon.
    pub(super) expects_echo: bool,
}

impl Live {
    /// When it is due for a heartbeat, if there is no message. A client that has left answers the first one with a reset,
    /// which the next one meets: so two come shortly after each other.
    pub(super) fn beat_at(&self, heartbeat: Duration) -> Instant {
        self.sent_at + if self.expects_echo { heartbeat.min(ECHO_INTERVAL) } else { heartbeat }
    }

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
    /// For a log, if it is known, with this high watermark. It needs a broadcaster, see [`Following::is_fed_by`].
    pub(super) fn new(
        store: &Arc<dyn Store>,
        limits: FollowLimits,
        log_id: Option<LogId>,
        decided: Id,
    ) -> Arc<Following> {
        let state = State { decided, log_id, ..State::default() };
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

    /// Says which log this is.
    pub(crate) fn is_of(&self, log_id: LogId) {
        self.lock().log_id = Some(log_id);
    }

    pub(super) fn log_id(&self) -> Option<LogId> {
        self.lock().log_id
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

    /// # Errors
    /// With the reason in a sentence.
    fn take_place(&self, state: &State) -> Result<Permit, String> {
        if state.stopping {
            return Err("this node is stopping".to_owned());
        }
        self.permits.take().ok_or_else(|| {
            format!(
                "this node has {} followers, as many as it takes; follow another node, or try again later",
                self.permits.taken()
            )
        })
    }

    /// Makes the client of a request a follower. `misplaced` says why it cannot go on from its position, if so: then it gets
    /// the log from its beginning.
    pub(super) fn follow(
        self: &Arc<Following>,
        exchange: Exchange,
        wanted: Wanted,
        misplaced: Option<&Misplaced>,
        head: Reply,
    ) {
        let place = self.take_place(&self.lock());
        let place = match (place, wanted.format) {
            (Ok(place), _) => place,
            (Err(why), Format::Events(_)) => {
                let text = Format::no_room(&why);
                return exchange.stream(head, text, None::<Pieces>, |_, stream| {
                    let _ = stream.map(Stream::end);
                });
            }
            (Err(why), Format::Lines(_)) => return exchange.reply(no_place(&why)),
        };
        let base = self.store.base().id;
        let begin = Position { id: base, of: None };
        let end = Position { id: self.lock().decided, of: None };
        let after = match wanted.after {
            After::Position(reached) if misplaced.is_none() => reached,
            After::Position(_) | After::Nothing => begin,
            After::Newest => end,
        };
        let follower = Follower {
            client: exchange.client(),
            format: wanted.format,
            after: after.id,
            following: Arc::clone(self),
            _place: place,
        };
        log::info!("{} follows the log after id {}", follower.client, follower.after);
        let mut text = misplaced.map_or_else(Vec::new, |because| match because.is_trimmed {
            true => Format::trimmed(&because.why, base.next()),
            false => Format::reset(&because.why),
        });
        let located = if after.of.is_some() || after.id > end.id { after } else { self.located(after.id) };
        text.extend(wanted.format.preamble(located, base.next()));
        exchange.stream(head, text, follower, Follower::came_to_the_end);
    }

    /// An id as a position in this log.
    fn located(&self, id: Id) -> Position {
        let epoch = match self.store.get(id) {
            Ok(Some(Slot::Entry(entry))) => entry.epoch,
            _ => Epoch::NONE,
        };
        Position { id, of: self.log_id().map(|log_id| (epoch, log_id)) }
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
            Err(why) => {
                drop(state);
                exchange.reply(no_place(&why));
            }
        }
    }
}

/// The reply to a reader for whom there is no place.
fn no_place(why: &str) -> Reply {
    Reply::no_answer(503, why).with_header("Retry-After", "10")
}

impl Source for Follower {
    /// History.
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let following = &self.following;
        let Some(decided) = following.shown() else { return Ok(None) };
        if self.after >= decided {
            return Ok(None);
        }
        let part = match Part::read(following.store(), self.after, decided, following.log_id(), [self.format]) {
            Ok(part) => part,
            Err(error) if error.is_trimmed() && matches!(self.format, Format::Events(_)) => {
                let base = following.store().base().id;
                self.after = base;
                return Ok(Some(Format::trimmed(&error.to_string(), base.next())));
            }
            // The client sees that the reply is not complete, and gets 410 when it comes again.
            Err(error) => return Err(io::Error::other(error)),
        };
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
                state.arrivals.push(Live { stream, follower: self, sent_at: Instant::now(), expects_echo: false });
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
