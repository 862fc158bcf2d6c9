//! When the next post is due, and when its latency begins to count.
//!
//! Times are counted from the beginning of the run. Callers pass them in.

use std::time::Duration;

/// When the posts of one thread are due.
#[derive(Clone, Debug)]
pub(super) enum Schedule {
    /// Closed loop: whenever a connection is free.
    Free,
    /// Open loop: one after each interval, even if the earlier ones have no answer yet.
    Fixed {
        /// Posts a second of the whole run.
        rate: f64,
        /// Only every `stride`-th post is this thread's.
        stride: u64,
        /// The number of the next post.
        next: u64,
    },
}

impl Schedule {
    /// The share of one of several threads in a rate of posts a second.
    pub(super) fn fixed(rate: f64, thread: u64, threads: u64) -> Schedule {
        Schedule::Fixed { rate, stride: threads, next: thread }
    }

    /// When the next post is due, or `None` if it only needs a free connection.
    pub(super) fn due(&self) -> Option<Duration> {
        match *self {
            Schedule::Free => None,
            Schedule::Fixed { rate, next, .. } => Some(Duration::from_secs_f64(next as f64 / rate)),
        }
    }

    /// Takes the next post if it is due. Returns the time from which its latency counts: when it should have been sent,
    /// so that the wait for a free connection is part of it.
    pub(super) fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.due().unwrap_or(now);
        if due > now {
            return None;
        }
        if let Schedule::Fixed { stride, next, .. } = self {
            *next += *stride;
        }
        Some(due)
    }

    /// How many posts were due before now and were not taken.
    pub(super) fn queued(&self, now: Duration) -> u64 {
        match *self {
            Schedule::Free => 0,
            Schedule::Fixed { rate, stride, next } => {
                let due_before = (now.as_secs_f64() * rate).ceil() as u64;
                due_before.saturating_sub(next).div_ceil(stride)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_free_schedule_counts_from_now() {
        let mut schedule = Schedule::Free;
        assert_eq!((schedule.due(), schedule.take(ms(7)), schedule.queued(ms(9))), (None, Some(ms(7)), 0));
    }

    #[test]
    fn threads_share_a_rate() {
        let mut threads = [Schedule::fixed(100.0, 0, 2), Schedule::fixed(100.0, 1, 2)];
        let mut times: Vec<Duration> = Vec::new();
        for schedule in &mut threads {
            times.extend(std::iter::from_fn(|| schedule.take(ms(45))));
        }
        times.sort();
        assert_eq!(times, [ms(0), ms(10), ms(20), ms(30), ms(40)]);
        assert_eq!(threads.map(|schedule| schedule.due().unwrap()), [ms(60), ms(50)]);
    }

    /// One connection, answers after 50 ms, a message every 20 ms: each waits 30 ms longer than the one before.
    #[test]
    fn the_wait_in_the_queue_counts() {
        let mut schedule = Schedule::fixed(50.0, 0, 1);
        let mut now = ms(0);
        let mut latencies = Vec::new();
        for _ in 0..4 {
            let counted_from = schedule.take(now).expect("the connection is slower than the schedule");
            now += ms(50);
            latencies.push(now - counted_from);
        }
        assert_eq!(latencies, [ms(50), ms(80), ms(110), ms(140)]);
        assert_eq!(schedule.queued(now), 6, "due at 80, 100, …, 180");
        assert_eq!(Schedule::fixed(50.0, 0, 1).take(ms(0)), Some(ms(0)));
    }

    #[test]
    fn nothing_is_sent_early() {
        let mut schedule = Schedule::fixed(1000.0, 0, 1);
        assert_eq!(schedule.take(ms(0)), Some(ms(0)));
        assert_eq!(schedule.take(Duration::from_micros(999)), None);
        assert_eq!((schedule.queued(ms(1)), schedule.queued(Duration::from_micros(1001))), (0, 1));
        assert_eq!(schedule.take(ms(5)), Some(ms(1)));
    }
}
