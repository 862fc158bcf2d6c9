//! Lines that come too often from one place in the code are counted instead of written.
//!
//! A place may write [`LINES_MAX`] lines in a second. What comes beyond is counted, and told with the last of these lines
//! when its time is over. A place that goes on like that is given longer times, up to [`TIME_MAX`]: so a log file that
//! rotates still holds the line that matters. Lines for debugging are not counted: who asks for them wants all.

use log::{Level, Record};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LINES_MAX: u64 = 20;
const TIME_MIN: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(60);
/// Lines of this target are not counted: what tells the counts, and what is summed up elsewhere.
pub(super) const NOT_COUNTED: &str = "replicated_log::counts";

#[derive(Default)]
pub(super) struct Folding(Mutex<HashMap<(&'static str, u32), Place>>);

struct Place {
    began: Instant,
    time: Duration,
    lines: u64,
    level: Level,
    /// The last one that was only counted.
    last: String,
}

/// What is to be told of a place whose time is over.
#[derive(Debug, Eq, PartialEq)]
struct Sum {
    level: Level,
    lines: u64,
    seconds: u64,
    last: String,
}

impl Folding {
    /// Whether a line is to be written.
    pub(super) fn admit(&self, record: &Record<'_>) -> bool {
        let is_counted = record.level() <= Level::Info && record.target() != NOT_COUNTED;
        let (Some(file), Some(line), true) = (record.file_static(), record.line(), is_counted) else { return true };
        self.admit_at(Instant::now(), (file, line), record.level(), || record.args().to_string())
    }

    fn admit_at(&self, now: Instant, at: (&'static str, u32), level: Level, text: impl FnOnce() -> String) -> bool {
        let mut places = self.lock();
        let new = || Place { began: now, time: TIME_MIN, lines: 0, level, last: String::new() };
        let place = places.entry(at).or_insert_with(new);
        if place.lines <= LINES_MAX && now.duration_since(place.began) >= place.time {
            *place = new();
        }
        place.lines += 1;
        if place.lines > LINES_MAX {
            place.last = text();
        }
        place.lines <= LINES_MAX
    }

    /// Logs what was only counted, of places whose time is over.
    pub(super) fn tell_ended(&self) {
        for Sum { level, lines, seconds, last } in self.ended(Instant::now()) {
            log::log!(target: NOT_COUNTED, level, "… {lines} more lines like this in {seconds} s, the last of them: {last}");
        }
    }

    fn ended(&self, now: Instant) -> Vec<Sum> {
        let mut sums = Vec::new();
        for place in self.lock().values_mut() {
            let passed = now.duration_since(place.began);
            if place.lines > LINES_MAX && passed >= place.time {
                let (level, lines) = (place.level, place.lines - LINES_MAX);
                let last = std::mem::take(&mut place.last);
                sums.push(Sum { level, lines, seconds: passed.as_secs(), last });
                // If it goes on, a few lines in a longer time say enough.
                *place =
                    Place { began: now, time: (place.time * 2).min(TIME_MAX), lines: 0, level, last: String::new() };
            }
        }
        sums
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, u32), Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_for_longer_and_longer_and_ends() {
        let (folding, began) = (Folding::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let flood = |seconds| {
            let lines = (0..1_000)
                .filter(|number| folding.admit_at(at(seconds), ("file", 1), Level::Warn, || format!("line {number}")));
            lines.count() as u64
        };
        assert_eq!(flood(0), LINES_MAX);
        assert_eq!(folding.ended(at(0)), []);
        let sum = |seconds, last: &str| Sum { level: Level::Warn, lines: 980, seconds, last: last.to_owned() };
        assert_eq!(folding.ended(at(1)), [sum(1, "line 999")]);
        assert_eq!(flood(1), LINES_MAX);
        assert_eq!(folding.ended(at(2)), [], "its time is two seconds now");
        assert_eq!(folding.ended(at(3)), [sum(2, "line 999")]);
        assert!(folding.admit_at(at(3), ("file", 2), Level::Warn, String::new), "another place has lines of its own");
        assert_eq!(folding.ended(at(100)), [], "nothing came since");
        assert_eq!(flood(100), LINES_MAX);
        assert_eq!(folding.ended(at(101)).len(), 1, "after a rest its time is a second again");
    }
}
