//! The measurements of one thread in one second: its requests, and its own cost.

use super::stats::Stats;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::mem;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The requests of the writers, and those of the readers.
#[derive(Clone, Debug)]
pub(super) struct BothStats {
    pub(super) writes: Stats,
    pub(super) reads: Stats,
}

impl BothStats {
    pub(super) fn new() -> BothStats {
        BothStats { writes: Stats::new(), reads: Stats::new() }
    }

    pub(super) fn merge(&mut self, other: &BothStats) {
        self.writes.merge(&other.writes);
        self.reads.merge(&other.reads);
    }
}

/// One second of one thread, or the part of it that was measured.
pub(super) struct Interval {
    /// Seconds since the beginning of the warm-up.
    pub(super) number: u64,
    pub(super) thread: u64,
    pub(super) stats: BothStats,
    pub(super) cost: Cost,
}

/// The cost of a thread over a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) length: Duration,
    /// Time on a core.
    pub(super) cpu: Duration,
    /// Time not spent waiting for the nodes.
    pub(super) busy: Duration,
    /// Time in which the thread was ready to run, and all cores were taken.
    pub(super) without_core: Duration,
}

/// Measures the current second.
pub(super) struct Meter {
    pub(super) thread: u64,
    number: u64,
    pub(super) second_began: Duration,
    pub(super) stats: BothStats,
    busy: Duration,
    woke: Duration,
    cpu_before: Duration,
    without_core_before: Duration,
}

impl Meter {
    /// Begins with the first second, on the thread that is measured. All times are counted from the beginning of the
    /// run.
    pub(super) fn start(thread: u64, now: Duration) -> Meter {
        Meter {
            thread,
            number: 0,
            second_began: Duration::ZERO,
            stats: BothStats::new(),
            busy: Duration::ZERO,
            woke: now,
            cpu_before: own_cpu(),
            without_core_before: without_core(),
        }
    }

    /// When the second is over.
    pub(super) fn next_second(&self) -> Duration {
        SECOND * u32::try_from(self.number + 1).unwrap_or(u32::MAX)
    }

    /// Records that the thread begins to wait for the nodes.
    pub(super) fn sleep(&mut self, now: Duration) {
        self.busy += now.saturating_sub(self.woke);
        self.woke = now;
    }

    /// Records that the thread has waited.
    pub(super) fn wake(&mut self, now: Duration) {
        self.woke = now;
    }

    /// Closes the interval that ended at `end`, and begins the next one. The thread noticed that end at `now`.
    pub(super) fn turn(&mut self, end: Duration, now: Duration) -> Interval {
        self.sleep(now);
        let (cpu, without_core) = (own_cpu(), without_core());
        let cost = Cost {
            length: end.saturating_sub(self.second_began),
            cpu: cpu.saturating_sub(mem::replace(&mut self.cpu_before, cpu)),
            busy: mem::take(&mut self.busy),
            without_core: without_core.saturating_sub(mem::replace(&mut self.without_core_before, without_core)),
        };
        let stats = mem::replace(&mut self.stats, BothStats::new());
        let interval = Interval { number: self.number, thread: self.thread, stats, cost };
        self.number += 1;
        self.second_began = end;
        interval
    }
}

/// How long this thread was on a core.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How long this thread waited for a core. Only Linux reports it; elsewhere it is zero.
fn without_core() -> Duration {
    let known = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    known.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse().ok()).map_or(Duration::ZERO, Duration::from_nanos)
}
