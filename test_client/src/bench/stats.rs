//! Statistics of requests: how they ended, and how long the successful ones took.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Latencies are kept in microseconds, up to an hour, to three digits.
const LATENCY_US_MAX: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// The longest explanation of a failure that is kept.
const EXPLANATION_CHARACTERS_MAX: usize = 200;

/// Percentiles, maximum and mean of latencies in microseconds, in the order of [`LATENCY_NAMES`].
pub(super) type Latency = [u64; 6];
pub(super) const LATENCY_NAMES: [&str; 6] = ["p50", "p90", "p99", "p99_9", "max", "mean"];
pub(super) const P50: usize = 0;
pub(super) const P99: usize = 2;

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum RequestOutcome {
    Status(u16),
    /// The connection broke, or the answer was invalid: the node may have executed the request.
    Broken,
    /// No answer came in time: the node may have executed the request.
    TimedOut,
    /// No connection was made, so nothing was sent.
    NotConnected,
}

impl RequestOutcome {
    /// Whether the node executed the request.
    pub(super) fn is_success(self) -> bool {
        matches!(self, RequestOutcome::Status(200..=299))
    }

    /// Whether the node did not execute the request, and never will.
    pub(super) fn is_refusal(self) -> bool {
        matches!(self, RequestOutcome::Status(300..=407 | 409..=499 | 502 | 503) | RequestOutcome::NotConnected)
    }
}

impl fmt::Display for RequestOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestOutcome::Status(status) => status.fmt(formatter),
            RequestOutcome::Broken => formatter.write_str("broken"),
            RequestOutcome::TimedOut => formatter.write_str("timed_out"),
            RequestOutcome::NotConnected => formatter.write_str("not_connected"),
        }
    }
}

/// How many requests ended in one way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Count {
    pub(super) requests: u64,
    /// The explanation of the first failure of this kind.
    pub(super) explanation: Option<String>,
}

/// The requests of the writers, or of the readers.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    /// Latencies of the successes alone: quick refusals would make them look better.
    latencies: Histogram<u32>,
    pub(super) outcomes: BTreeMap<RequestOutcome, Count>,
    /// Messages that were committed, or pages that were read.
    pub(super) done: u64,
    /// Bytes of the answers.
    pub(super) bytes: u64,
}

impl Stats {
    pub(super) fn new() -> Stats {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS).expect("the bounds are in order");
        Stats { latencies, outcomes: BTreeMap::new(), done: 0, bytes: 0 }
    }

    /// Counts a successful request.
    pub(super) fn succeed(&mut self, status: u16, done: u64, bytes: u64, latency: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.outcomes.entry(RequestOutcome::Status(status)).or_default().requests += 1;
        self.done += done;
        self.bytes += bytes;
    }

    /// Counts a request that failed. `explain` is called only for the first of its kind.
    pub(super) fn fail(&mut self, outcome: RequestOutcome, explain: impl FnOnce() -> String) {
        let count = self.outcomes.entry(outcome).or_default();
        count.requests += 1;
        count.explanation.get_or_insert_with(|| explain().chars().take(EXPLANATION_CHARACTERS_MAX).collect());
    }

    pub(super) fn merge(&mut self, other: &Stats) {
        self.latencies.add(&other.latencies).expect("the bounds are the same");
        for (&outcome, count) in &other.outcomes {
            let ours = self.outcomes.entry(outcome).or_default();
            ours.requests += count.requests;
            ours.explanation = ours.explanation.take().or_else(|| count.explanation.clone());
        }
        self.done += other.done;
        self.bytes += other.bytes;
    }

    /// How many requests ended in a way.
    pub(super) fn ended(&self, how: impl Fn(RequestOutcome) -> bool) -> u64 {
        self.outcomes.iter().filter(|(outcome, _)| how(**outcome)).map(|(_, count)| count.requests).sum()
    }

    /// The latency of the successes, if there were any.
    pub(super) fn latency(&self) -> Option<Latency> {
        let [p50, p90, p99, p99_9] = [0.5, 0.9, 0.99, 0.999].map(|share| self.latencies.value_at_quantile(share));
        let (max, mean) = (self.latencies.max(), self.latencies.mean().round() as u64);
        (!self.latencies.is_empty()).then_some([p50, p90, p99, p99_9, max, mean])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_add_up_and_percentiles_are_of_the_successes() {
        let (mut one, mut two) = (Stats::new(), Stats::new());
        assert_eq!(one.latency(), None);
        for ms in 1..=500 {
            one.succeed(201, 2, 10, Duration::from_millis(ms));
            two.succeed(202, 2, 10, Duration::from_millis(500 + ms));
        }
        two.fail(RequestOutcome::Status(503), || "read-only".to_owned());
        two.fail(RequestOutcome::Status(503), || unreachable!("only the first is explained"));
        two.fail(RequestOutcome::Broken, || "x".repeat(1000));
        one.merge(&two);
        for (is, should) in one.latency().unwrap().into_iter().zip([500, 900, 990, 999, 1000, 500]) {
            assert!(is.abs_diff(should * 1000) <= should + 500, "{is} µs, not {should} ms");
        }
        assert_eq!((one.done, one.bytes), (2000, 10_000));
        assert_eq!(
            (one.ended(RequestOutcome::is_success), one.ended(RequestOutcome::is_refusal), one.ended(|_| true)),
            (1000, 2, 1003)
        );
        let refused = &one.outcomes[&RequestOutcome::Status(503)];
        assert_eq!((refused.requests, refused.explanation.as_deref()), (2, Some("read-only")));
        assert_eq!(
            one.outcomes[&RequestOutcome::Broken].explanation.as_ref().unwrap().len(),
            EXPLANATION_CHARACTERS_MAX
        );
        one.succeed(201, 1, 0, Duration::MAX);
        assert!(one.latency().unwrap()[4] >= LATENCY_US_MAX - LATENCY_US_MAX / 1000, "beyond an hour is an hour");
    }

    #[test]
    fn an_unknown_outcome_is_no_refusal() {
        for unknown in [
            RequestOutcome::Status(500),
            RequestOutcome::Status(504),
            RequestOutcome::Status(408),
            RequestOutcome::Broken,
            RequestOutcome::TimedOut,
        ] {
            assert!(!unknown.is_refusal() && !unknown.is_success(), "{unknown}");
        }
        assert!(RequestOutcome::NotConnected.is_refusal() && RequestOutcome::Status(202).is_success());
    }
}
