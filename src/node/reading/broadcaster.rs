//! The thread that brings what comes to those who wait for it.
//!
//! It reads what is new once, writes it once in each format, and sends it to every live follower. Then it rests: as long
//! as that took, so that a thousand followers leave half a core to the writers at least, and [`REST`] in any case, so that
//! a stream of writes is sent in parts of many messages.

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

/// The pause after something was sent: people do not notice it.
const REST: Duration = Duration::from_millis(2);
/// The longest pause, however long it took.
const REST_MAX: Duration = Duration::from_millis(50);
/// After so many slow followers in one go the others are fed by threads that wait for nobody else.
const STALLS_MAX: usize = 4;
/// A live follower who is further behind than so many ids reads history.
const BEHIND_MAX: u64 = 1_000;

pub(super) struct Broadcaster {
    following: Arc<Following>,
    live: Vec<Live>,
}

/// What there is to do.
struct Work {
    /// How far the log is visible.
    decided: Id,
    /// Those who have waited long enough, or for whom something has come.
    due: Vec<Waiting>,
    /// Nothing is shown after this.
    is_the_last: bool,
}

impl Broadcaster {
    /// Starts it. It ends when the following stops.
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
            let fed = fed.unwrap_or_else(|_| Err(StoreError::new("that panicked; the log file says where")));
            let fed = fed.unwrap_or_else(|error| {
                log::error!("followers are sent away: the log cannot be read: {error}");
                self.live.clear();
                false
            });
            if is_the_last {
                return self.live.into_iter().for_each(|live| live.stream.end());
            }
            if fed {
                thread::sleep(began.elapsed().clamp(REST, REST_MAX));
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
            let next_beat = self.live.iter().map(|live| live.sent_at + heartbeat).min();
            let somebody_lacks = self.live.iter().any(|live| live.follower.after < decided);
            if is_the_last || somebody_lacks || !due.is_empty() || next_beat.is_some_and(|beat| beat <= now) {
                return Work { decided, due, is_the_last };
            }
            let until = state.waiting.iter().map(|waiting| waiting.until).chain(next_beat).min();
            state = self.following.await_news(state, until);
        }
    }

    /// Sends everybody what they lack. `false` if that was nothing.
    fn feed(&mut self, decided: Id) -> Result<bool, StoreError> {
        let mut fed = false;
        let oldest = Id::new(decided.get().saturating_sub(BEHIND_MAX));
        let far_behind = |live: &mut Live| live.follower.after < oldest;
        self.live.extract_if(.., far_behind).for_each(Live::send_back);
        while let Some(after) = self.live.iter().map(|live| live.follower.after).min().filter(|&after| after < decided)
        {
            let is_wanted = |format: &Format| self.live.iter().any(|live| live.follower.format == *format);
            let part = Part::read(self.following.store(), after, decided, Format::ALL.into_iter().filter(is_wanted))?;
            self.send(|live| {
                let text = part.after(live.follower.after, live.follower.format).to_vec();
                live.follower.after = live.follower.after.max(part.through);
                text
            });
            fed = true;
        }
        Ok(fed)
    }

    /// Sends something empty to whom nothing was sent for a while.
    fn beat(&mut self) {
        let (heartbeat, now) = (self.following.heartbeat(), Instant::now());
        self.send(|live| if live.sent_at + heartbeat <= now { live.follower.format.heartbeat() } else { Vec::new() });
    }

    /// Sends each live follower a text. Who takes no more of it for a moment reads on from the store; who is gone is
    /// forgotten.
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
