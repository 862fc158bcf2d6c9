//! The thread that sends new messages to live followers, and replies to readers that wait.
//!
//! It reads new messages once, formats them once per format, and sends them to every live follower. Then it pauses for
//! a part of the time that this took, so that a thousand followers never need a whole core, and for at least [`REST`], so
//! that a stream of writes goes out in parts of many messages.

use super::following::{Following, Live, Waiting};
use super::format::Format;
use super::part::Part;
use crate::process::threads;
use crate::protocol::Id;
use crate::store::StoreError;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The shortest pause after something was sent.
const REST: Duration = Duration::from_millis(2);
/// The longest pause after something was sent.
const REST_MAX: Duration = Duration::from_millis(50);
/// The time for which something was sent, divided by the pause after it.
const SENDING_TO_REST: u32 = 4;
/// After so many slow followers in one pass, the remaining ones read history, each on a thread of its own.
const STALLS_MAX: usize = 4;
/// A live follower that is further behind than so many ids reads history.
const BEHIND_MAX: u64 = 1_000;

pub(super) struct Broadcaster {
    following: Arc<Following>,
    live: Vec<Live>,
}

/// The work of one pass.
struct Work {
    /// The high watermark.
    decided: Id,
    /// Readers whose wait has ended, because of a message or their timeout.
    due: Vec<Waiting>,
    /// The node stops: this pass is the last one.
    is_the_last: bool,
}

impl Broadcaster {
    /// Starts the thread. It ends with [`Following::stop`].
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start(following: &Arc<Following>) -> io::Result<()> {
        let broadcaster = Broadcaster { following: Arc::clone(following), live: Vec::new() };
        following.is_fed_by(threads::start_needed("broadcaster", move || broadcaster.run())?);
        Ok(())
    }

    fn run(mut self) {
        loop {
            let Work { decided, due, is_the_last } = self.await_work();
            let began = Instant::now();
            due.into_iter().for_each(Waiting::end);
            let fed = catch_unwind(AssertUnwindSafe(|| self.feed(decided)));
            let fed = fed.unwrap_or_else(|_| Err(StoreError::new("that panicked; the log says where")));
            let fed = fed.unwrap_or_else(|error| {
                log::error!("cannot read the log: {error}; the followers are disconnected");
                self.live.clear();
                false
            });
            if is_the_last {
                return self.live.into_iter().for_each(|live| live.stream.end());
            }
            if fed {
                thread::sleep((began.elapsed() / SENDING_TO_REST).clamp(REST, REST_MAX));
            }
            self.beat();
        }
    }

    /// Waits until there is something to do.
    fn await_work(&mut self) -> Work {
        let heartbeat = self.following.heartbeat();
        let mut state = self.following.lock();
        loop {
            self.live.append(&mut state.arrivals);
            let (decided, is_the_last, now) = (state.decided, state.stopping, Instant::now());
            let is_over = |waiting: &mut Waiting| is_the_last || waiting.from <= decided || waiting.until <= now;
            let due: Vec<Waiting> = state.waiting.extract_if(.., is_over).collect();
            let next_beat = self.live.iter().map(|live| live.beat_at(heartbeat)).min();
            let somebody_lacks = self.live.iter().any(|live| live.follower.after < decided);
            if is_the_last || somebody_lacks || !due.is_empty() || next_beat.is_some_and(|beat| beat <= now) {
                return Work { decided, due, is_the_last };
            }
            let until = state.waiting.iter().map(|waiting| waiting.until).chain(next_beat).min();
            state = self.following.await_news(state, until);
        }
    }

    /// Sends each follower what it lacks. Gives whether there was anything.
    fn feed(&mut self, decided: Id) -> Result<bool, StoreError> {
        let mut fed = false;
        let oldest = Id::new(decided.get().saturating_sub(BEHIND_MAX));
        let far_behind = |live: &mut Live| live.follower.after < oldest;
        self.live.extract_if(.., far_behind).for_each(Live::send_back);
        while let Some(after) = self.live.iter().map(|live| live.follower.after).min().filter(|&after| after < decided)
        {
            let is_wanted = |format: &Format| self.live.iter().any(|live| live.follower.format == *format);
            let formats = Format::ALL.into_iter().filter(is_wanted);
            let part = Part::read(self.following.store(), after, decided, self.following.log_id(), formats)?;
            self.send(|live| {
                let text = part.after(live.follower.after, live.follower.format).to_vec();
                live.follower.after = live.follower.after.max(part.through);
                live.expects_echo = false;
                text
            });
            fed = true;
        }
        Ok(fed)
    }

    /// Sends a heartbeat to each follower that got nothing for the heartbeat interval. A follower that has reached more
    /// than this node shows came when this node could not know whether its position exists: its stream ends, and the
    /// node judges that position when the client comes again.
    fn beat(&mut self) {
        let (heartbeat, now) = (self.following.heartbeat(), Instant::now());
        let decided = self.following.lock().decided;
        let is_ahead = |live: &mut Live| live.beat_at(heartbeat) <= now && live.follower.after > decided;
        self.live.extract_if(.., is_ahead).for_each(|live| live.stream.end());
        self.send(|live| {
            if live.beat_at(heartbeat) > now {
                return Vec::new();
            }
            live.expects_echo = !live.expects_echo;
            live.follower.format.heartbeat()
        });
    }

    /// Sends each live follower a text. A follower whose connection is full reads history, and one whose connection
    /// broke is dropped.
    fn send(&mut self, text: impl Fn(&mut Live) -> Vec<u8>) {
        let mut stalls = 0;
        for mut live in std::mem::take(&mut self.live) {
            if stalls >= STALLS_MAX {
                live.send_back();
                continue;
            }
            let text = text(&mut live);
            if text.is_empty() {
                self.live.push(live);
                continue;
            }
            live.sent_at = Instant::now();
            match live.stream.send(text) {
                Ok(true) => self.live.push(live),
                Ok(false) => {
                    stalls += 1;
                    live.send_back();
                }
                Err(error) => live.follower.is_gone(&error),
            }
        }
    }
}
