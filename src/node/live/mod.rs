//! The page at `/`, and the stream of views behind it.
//!
//! `GET /live` sends *views* of the node as server-sent events: one at once, and another whenever something has
//! changed, at most one per [`TICK`]. A view has the status that `/health` shows, and on a master also the latest
//! writes with their traces, and the number of writes in each of the last seconds. Of an undecided write, the master
//! shows the id and the times, never the text.
//!
//! One thread makes the views for all pages, and only while a page is open. A slow page misses views, but never gets
//! half of one. The node ends the stream of a page that does not take a view within the write timeout.

mod latency_window;
mod page;

pub(crate) use latency_window::LatencyWindow;
pub(crate) use page::page;

use crate::http::{Exchange, Pieces, Reply, Stream};
use crate::node::semaphore::{Permit, Semaphore};
use crate::process::threads;
use serde_json::Value;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a view is made.
const TICK: Duration = Duration::from_millis(100);
/// Without a change, the node sends a view this often, so that the page can tell a silent node from a dead one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// The most pages that can be open at the same time.
const WATCHERS_MAX: usize = 100;

/// A node that can be watched.
pub(crate) trait Watched: Send + Sync {
    /// The current view. The first one of a page contains more.
    fn view(&self, is_first: bool) -> Value;
}

/// The open pages of a node.
pub(crate) struct Live {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    /// A page was opened, or the node stops.
    news: Condvar,
    /// How long a page may take for a view.
    timeout: Duration,
}

#[derive(Default)]
struct State {
    arrivals: Vec<Watcher>,
    stopping: bool,
}

/// An open page.
struct Watcher {
    stream: Stream,
    /// Since when it has not taken the last view. Until it has, it gets no other.
    slow_since: Option<Instant>,
    _place: Permit,
}

impl Live {
    pub(crate) fn new(timeout: Duration) -> Arc<Live> {
        let (state, news) = (Mutex::default(), Condvar::new());
        Arc::new(Live { permits: Semaphore::new(WATCHERS_MAX), state, news, timeout })
    }

    /// Starts the thread that makes views. It ends when the node is dropped, or with [`Live::stop`].
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start(self: &Arc<Live>, node: &Arc<impl Watched + 'static>) -> io::Result<()> {
        let (live, node) = (Arc::clone(self), Arc::downgrade(node));
        let show = move || {
            let mut watchers = Watchers { streams: Vec::new(), shown: None, timeout: live.timeout };
            while let Some(arrivals) = live.await_watchers(&watchers) {
                let Some(node) = node.upgrade() else { break };
                if catch_unwind(AssertUnwindSafe(|| watchers.show(&*node, arrivals))).is_err() {
                    log::error!("cannot make a view of this node: that panicked; the open pages are disconnected");
                    watchers.streams.clear();
                }
                drop(node);
                thread::sleep(TICK);
            }
            watchers.streams.into_iter().for_each(|watcher| watcher.stream.end());
        };
        threads::start_needed("live", show).map(drop)
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.news.notify_one();
    }

    /// Answers `GET /live`.
    pub(crate) fn watch(self: &Arc<Live>, exchange: Exchange) {
        let Some(place) = self.permits.take().filter(|_| !self.lock().stopping) else {
            let sentence = format!(
                "this node is stopping, or has {WATCHERS_MAX} open pages, as many as it takes; try again later"
            );
            return exchange.reply(Reply::no_answer(503, &sentence).with_header("Retry-After", "10"));
        };
        let live = Arc::clone(self);
        let head = Reply::stream_head("text/event-stream");
        exchange.stream(head, b"retry: 1000\n\n".to_vec(), None::<Pieces>, move |_, stream| {
            let Ok(stream) = stream else { return };
            let mut state = live.lock();
            if state.stopping {
                drop(state);
                return stream.end();
            }
            state.arrivals.push(Watcher { stream, slow_since: None, _place: place });
            drop(state);
            live.news.notify_one();
        });
    }

    /// Waits until a page is open. Gives the pages opened since the last call, or `None` if the node stops.
    fn await_watchers(&self, watchers: &Watchers) -> Option<Vec<Watcher>> {
        let mut state = self.lock();
        while !state.stopping && state.arrivals.is_empty() && watchers.streams.is_empty() {
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.stopping).then(|| std::mem::take(&mut state.arrivals))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open pages, as the thread that makes views knows them.
struct Watchers {
    streams: Vec<Watcher>,
    shown: Option<(Value, Instant)>,
    timeout: Duration,
}

impl Watchers {
    fn show(&mut self, node: &dyn Watched, mut arrivals: Vec<Watcher>) {
        if !arrivals.is_empty() {
            let first = event(&node.view(true));
            arrivals.retain_mut(|watcher| watcher.send(&first, self.timeout));
            self.streams.append(&mut arrivals);
        }
        let view = node.view(false);
        let is_old = |(shown, at): &(Value, Instant)| *shown != view || at.elapsed() >= SIGN_OF_LIFE;
        let text = if self.shown.as_ref().is_none_or(is_old) { event(&view) } else { Vec::new() };
        self.streams.retain_mut(|watcher| watcher.send(&text, self.timeout));
        if !text.is_empty() {
            self.shown = Some((view, Instant::now()));
        }
    }
}

impl Watcher {
    /// Sends a view, unless the page has not taken the one before. Gives `false` if the page took too long, or is
    /// closed.
    fn send(&mut self, text: &[u8], timeout: Duration) -> bool {
        let text = if self.slow_since.is_some() { &[] } else { text };
        if text.is_empty() && self.slow_since.is_none() {
            return true;
        }
        match self.stream.send(text.to_vec()) {
            Ok(true) => self.slow_since = None,
            Ok(false) => {
                let since = *self.slow_since.get_or_insert_with(Instant::now);
                return since.elapsed() < timeout;
            }
            Err(_) => return false,
        }
        true
    }
}

fn event(view: &Value) -> Vec<u8> {
    format!("data: {view}\n\n").into_bytes()
}
