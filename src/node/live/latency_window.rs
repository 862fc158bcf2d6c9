//! How many writes there were in each of the last seconds, and how long they took.

use serde::Serialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Five minutes.
const SECONDS_KEPT: usize = 300;
/// Latencies are counted in classes, sixteen to each doubling, up to an hour. The error is a thirtieth at most.
const CLASSES: usize = 512;

/// The last seconds.
#[derive(Debug)]
pub(crate) struct LatencyWindow {
    began: Instant,
    /// The seconds in which a write ended, in order.
    seconds: VecDeque<Second>,
}

#[derive(Clone, Debug)]
struct Second {
    /// The number of the second since `began`.
    number: u64,
    committed: u32,
    refused: u32,
    classes: Box<[u32; CLASSES]>,
}

/// A second, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SecondTold {
    /// Seconds since the node was started.
    t: u64,
    committed: u32,
    refused: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
}

impl Default for LatencyWindow {
    fn default() -> LatencyWindow {
        LatencyWindow { began: Instant::now(), seconds: VecDeque::new() }
    }
}

impl LatencyWindow {
    /// Counts a write that ended at `now` and took `took`.
    pub(crate) fn count(&mut self, is_committed: bool, now: Instant, took: Duration) {
        let number = now.saturating_duration_since(self.began).as_secs();
        if self.seconds.back().is_none_or(|second| second.number < number) {
            if self.seconds.len() == SECONDS_KEPT {
                self.seconds.pop_front();
            }
            self.seconds.push_back(Second { number, committed: 0, refused: 0, classes: Box::new([0; CLASSES]) });
        }
        let Some(second) = self.seconds.back_mut() else { return };
        *(if is_committed { &mut second.committed } else { &mut second.refused }) += 1;
        second.classes[class(took)] += 1;
    }

    /// Those of the last seconds in which a write ended.
    pub(crate) fn last(&self, seconds: u64) -> Vec<SecondTold> {
        let from = self.now().saturating_sub(seconds);
        self.seconds.iter().filter(|second| second.number >= from).map(Second::tell).collect()
    }

    /// Seconds since the node was started.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

impl Second {
    fn tell(&self) -> SecondTold {
        let (p50_ms, p99_ms) = (self.quantile(0.5), self.quantile(0.99));
        SecondTold { t: self.number, committed: self.committed, refused: self.refused, p50_ms, p99_ms }
    }

    fn quantile(&self, share: f64) -> Option<f64> {
        let total: u32 = self.classes.iter().sum();
        let rank = (f64::from(total) * share).ceil() as u32;
        let mut seen = 0;
        let class = self.classes.iter().position(|&count| {
            seen += count;
            seen >= rank.max(1)
        })?;
        Some(middle_ms(class))
    }
}

/// The class of a latency: the place of its highest bit, and the four bits below.
fn class(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(16);
    let doublings = us.ilog2();
    let part = (us >> (doublings - 4)) & 15;
    ((doublings as usize - 4) * 16 + part as usize).min(CLASSES - 1)
}

/// A latency in the middle of a class.
fn middle_ms(class: usize) -> f64 {
    let (doublings, part) = (class / 16 + 4, class % 16);
    let middle = 2_f64.powi(doublings as i32) * (1.0 + (part as f64 + 0.5) / 16.0);
    (middle / 10.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_within_a_thirtieth() {
        for us in [16, 50, 70, 100, 999, 302_000, 1_000, 2_000_000, 30_000_000, 3_000_000_000] {
            let told = middle_ms(class(Duration::from_micros(us))) * 1_000.0;
            let error = (told - us as f64).abs() / us as f64;
            assert!(error < 1.0 / 30.0 || (told - us as f64).abs() <= 10.0, "{us} is told as {told}");
        }
    }

    #[test]
    fn each_second_has_its_own_figures_and_the_oldest_are_forgotten() {
        let mut pace = LatencyWindow::default();
        let began = pace.began;
        for second in 0..SECONDS_KEPT as u64 + 10 {
            for _ in 0..99 {
                pace.count(true, began + Duration::from_secs(second), Duration::from_millis(1));
            }
            pace.count(false, began + Duration::from_secs(second), Duration::from_secs(1));
        }
        let told: Vec<SecondTold> = pace.seconds.iter().map(Second::tell).collect();
        assert_eq!((told.len(), told[0].t), (SECONDS_KEPT, 10));
        assert_eq!((told[0].committed, told[0].refused), (99, 1));
        assert!(told[0].p50_ms.is_some_and(|ms| (0.8..1.3).contains(&ms)), "{told:?}");
        assert!(told[0].p99_ms.is_some_and(|ms| ms < 2.0));
    }
}
