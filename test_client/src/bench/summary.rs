//! The measurements of all threads together: second by second, and in total.

use super::load::Rest;
use super::meter::{BothStats, Cost, Interval};
use super::stats::{Latency, RequestOutcome, Stats};
use std::collections::BTreeMap;
use std::time::Duration;

/// A thread that is busy for a greater share of the time may delay answers and limit the figures.
const BUSY_MAX: f64 = 0.8;

/// A queue of as many posts as are due in this time is no short stall.
const QUEUE_SECONDS_MAX: f64 = 0.5;

/// All results of a run.
pub(super) struct Summary {
    pub(super) total: BothStats,
    /// The length of the measured time.
    pub(super) measured: Duration,
    pub(super) seconds: Vec<Second>,
    /// The cost of each thread in the measured time.
    threads: Vec<Cost>,
    pub(super) rest: Rest,
    /// Intervals of the second that some threads have not reported yet.
    open: BTreeMap<u64, (usize, Second, BothStats)>,
    warm_up: u64,
}

/// One second of all threads, or the part of it that was measured.
#[derive(Clone, Debug)]
pub(super) struct Second {
    /// From the beginning of the measured time: negative in the warm-up.
    pub(super) begins: i64,
    pub(super) length: Duration,
    pub(super) writes: Figures,
    pub(super) reads: Figures,
}

/// The writers or the readers in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Messages, or pages.
    pub(super) per_second: f64,
    pub(super) latency: Option<Latency>,
    pub(super) failed: u64,
}

impl Figures {
    fn of(side: &Stats, length: Duration) -> Figures {
        Figures {
            per_second: per_second(side.done, length),
            latency: side.latency(),
            failed: side.ended(|outcome| !outcome.is_success()),
        }
    }
}

/// The rate of so many in this time.
pub(super) fn per_second(number: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { number as f64 / time.as_secs_f64() }
}

impl Summary {
    /// An empty summary for so many threads, after a warm-up of so many seconds.
    pub(super) fn new(threads: u64, warm_up: u64) -> Summary {
        let threads = vec![Cost::default(); usize::try_from(threads).unwrap_or(usize::MAX)];
        Summary {
            total: BothStats::new(),
            measured: Duration::ZERO,
            seconds: Vec::new(),
            threads,
            rest: Rest::default(),
            open: BTreeMap::new(),
            warm_up,
        }
    }

    /// Takes an interval of a thread. Returns the second if it is complete now.
    pub(super) fn take(&mut self, interval: &Interval) -> Option<Second> {
        if interval.number >= self.warm_up {
            self.total.merge(&interval.stats);
            let thread = &mut self.threads[usize::try_from(interval.thread).expect("a number of a thread")];
            thread.length += interval.cost.length;
            thread.cpu += interval.cost.cpu;
            thread.busy += interval.cost.busy;
            thread.without_core += interval.cost.without_core;
        }
        let begins = interval.number.cast_signed() - self.warm_up.cast_signed();
        let none = Figures::default();
        let second = Second { begins, length: Duration::ZERO, writes: none, reads: none };
        let (reported, second, stats) =
            self.open.entry(interval.number).or_insert_with(|| (0, second, BothStats::new()));
        *reported += 1;
        second.length = second.length.max(interval.cost.length);
        stats.merge(&interval.stats);
        if *reported < self.threads.len() {
            return None;
        }
        let (_, mut second, stats) = self.open.remove(&interval.number)?;
        second.writes = Figures::of(&stats.writes, second.length);
        second.reads = Figures::of(&stats.reads, second.length);
        if second.begins >= 0 {
            self.measured += second.length;
            self.seconds.push(second.clone());
        }
        Some(second)
    }

    /// Takes the rests of all threads at their end.
    pub(super) fn finish(&mut self, rests: impl IntoIterator<Item = Rest>) {
        for rest in rests {
            self.rest.ids.merge(rest.ids);
            self.rest.unanswered += rest.unanswered;
            self.rest.oldest = self.rest.oldest.max(rest.oldest);
            self.rest.queued += rest.queued;
        }
        self.rest.ids.find_duplicates();
    }

    /// The share of a core that all threads used, 1.0 being one whole core.
    pub(super) fn cpu_share(&self) -> f64 {
        self.threads.iter().map(|thread| share(thread.cpu, thread.length)).sum()
    }

    /// How busy the busiest thread was, 1.0 being all the time.
    pub(super) fn busiest_share(&self) -> f64 {
        self.greatest(|thread| thread.busy)
    }

    /// The share of the time in which the worst-off thread was ready to run, and had no core.
    pub(super) fn without_core_share(&self) -> f64 {
        self.greatest(|thread| thread.without_core)
    }

    /// Whether this program may have limited the figures: a thread worked, or waited for a core, instead of waiting for
    /// the nodes.
    pub(super) fn is_bottleneck(&self) -> bool {
        self.busiest_share().max(self.greatest(|thread| thread.cpu + thread.without_core)) > BUSY_MAX
    }

    /// Whether threads wait for a core more than they work: then more threads are no help.
    pub(super) fn lacks_cores(&self) -> bool {
        self.without_core_share() > self.greatest(|thread| thread.cpu)
    }

    fn greatest(&self, time: impl Fn(&Cost) -> Duration) -> f64 {
        self.threads.iter().map(|thread| share(time(thread), thread.length)).fold(0.0, f64::max)
    }

    /// Whether a rate of so many posts a second was too high for the cluster.
    pub(super) fn fell_behind(&self, posts_per_second: Option<f64>) -> bool {
        posts_per_second.is_some_and(|rate| self.rest.queued as f64 > rate * QUEUE_SECONDS_MAX)
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

/// The verdict on the requests of the writers, or of the readers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RequestsVerdict {
    /// A request succeeded, or there were none.
    Done,
    /// Every request was refused.
    AllRefused,
    /// No connection could be made.
    NotConnected,
    /// No request is known to have succeeded, and some may have.
    AllUnknown,
}

impl RequestsVerdict {
    /// The verdict on requests, of which so many have no answer.
    pub(super) fn of(side: &Stats, unanswered: u64) -> RequestsVerdict {
        let ended = side.ended(|_| true);
        match () {
            () if side.ended(RequestOutcome::is_success) > 0 || ended + unanswered == 0 => RequestsVerdict::Done,
            () if ended == 0 || side.ended(RequestOutcome::is_refusal) < ended => RequestsVerdict::AllUnknown,
            () if side.ended(|outcome| outcome == RequestOutcome::NotConnected) == ended => {
                RequestsVerdict::NotConnected
            }
            () => RequestsVerdict::AllRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::P50;
    use super::*;

    fn interval(number: u64, thread: u64, messages: u64) -> Interval {
        let mut stats = BothStats::new();
        (0..messages).for_each(|_| stats.writes.succeed(201, 1, 0, Duration::from_millis(number + 1)));
        let ms = Duration::from_millis;
        let busy = ms(if thread == 1 { 850 } else { 400 });
        let cost = Cost { length: ms(1000), cpu: ms(310), busy, without_core: ms(50) };
        Interval { number, thread, stats, cost }
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let mut summary = Summary::new(2, 1);
        assert!(summary.take(&interval(0, 0, 1000)).is_none(), "the other thread is not so far");
        assert!(summary.take(&interval(1, 0, 10)).is_none());
        let second = summary.take(&interval(0, 1, 1000)).unwrap();
        assert_eq!((second.begins, second.writes.per_second), (-1, 2000.0));
        let second = summary.take(&interval(1, 1, 20)).unwrap();
        assert_eq!((second.begins, second.writes.per_second), (0, 30.0));
        assert_eq!(
            (summary.total.writes.done, summary.measured, summary.seconds.len()),
            (30, Duration::from_secs(1), 1)
        );
        assert_eq!(summary.total.writes.latency().unwrap()[P50], 2000);
        assert!((summary.cpu_share() - 0.62).abs() < 1e-9);
        assert!((summary.busiest_share() - 0.85).abs() < 1e-9 && summary.is_bottleneck() && !summary.lacks_cores());
    }

    #[test]
    fn a_part_of_a_second_counts_as_such() {
        let mut summary = Summary::new(1, 0);
        let mut half = interval(0, 0, 50);
        half.cost.length = Duration::from_millis(500);
        let second = summary.take(&half).unwrap();
        assert_eq!((second.writes.per_second, summary.measured), (100.0, Duration::from_millis(500)));
    }

    #[test]
    fn the_verdict_is_bad_only_if_nothing_succeeded() {
        let side = |outcomes: &[RequestOutcome]| {
            let mut side = Stats::new();
            for &outcome in outcomes {
                match outcome {
                    RequestOutcome::Status(status @ 200..=299) => side.succeed(status, 1, 0, Duration::ZERO),
                    outcome => side.fail(outcome, String::new),
                }
            }
            side
        };
        use RequestOutcome::{Broken, NotConnected, Status};
        assert_eq!(RequestsVerdict::of(&side(&[]), 0), RequestsVerdict::Done);
        assert_eq!(RequestsVerdict::of(&side(&[]), 3), RequestsVerdict::AllUnknown);
        assert_eq!(RequestsVerdict::of(&side(&[Status(503), Status(202), Broken]), 0), RequestsVerdict::Done);
        assert_eq!(
            RequestsVerdict::of(&side(&[Status(503), Status(502), NotConnected]), 0),
            RequestsVerdict::AllRefused
        );
        assert_eq!(RequestsVerdict::of(&side(&[NotConnected]), 0), RequestsVerdict::NotConnected);
        assert_eq!(RequestsVerdict::of(&side(&[Status(503), Status(504)]), 0), RequestsVerdict::AllUnknown);
        assert_eq!(RequestsVerdict::of(&side(&[Status(503), Broken]), 0), RequestsVerdict::AllUnknown);
    }
}
