//! Lines that come too often from one place in the code are counted instead of written.
//!
//! A site in the code may write [`LINES_MAX`] lines in [`TIME_MIN`]. Further lines are counted, and at the end of that
//! time one line gives their number and the last of them. While the flood lasts the time doubles, up to [`TIME_MAX`],
//! so that it does not rotate all other lines out of the log file. Lines of level debug and trace are not counted,
//! because an operator who sets that level wants all of them.

use log::{Level, Record};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LINES_MAX: u64 = 20;
const TIME_MIN: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(60);
/// Lines of this target are not counted: the counts themselves, and what `writes` sums up.
pub(super) const NOT_COUNTED: &str = "replicated_log::counts";

#[derive(Default)]
pub(super) struct Folding(Mutex<HashMap<(&'static str, u32), Site>>);

struct Site {
    began: Instant,
    time: Duration,
    lines: u64,
    level: Level,
    /// The last line that was counted instead of written.
    last: String,
}

/// The counted lines of a site whose time is over.
#[derive(Debug, Eq, PartialEq)]
struct Sum {
    level: Level,
    lines: u64,
    seconds: u64,
    last: String,
}

impl Folding {
    /// Counts a line, and gives whether to write it.
    pub(super) fn admit(&self, record: &Record<'_>) -> bool {
        let is_counted = record.level() <= Level::Info && record.target() != NOT_COUNTED;
        let (Some(file), Some(line), true) = (record.file_static(), record.line(), is_counted) else { return true };
        self.admit_at(Instant::now(), (file, line), record.level(), || record.args().to_string())
    }

    fn admit_at(&self, now: Instant, at: (&'static str, u32), level: Level, text: impl FnOnce() -> String) -> bool {
        let is_one_of_few = {
            let mut sites = self.lock();
            let new = || Site { began: now, time: TIME_MIN, lines: 0, level, last: String::new() };
            let site = sites.entry(at).or_insert_with(new);
            if site.lines <= LINES_MAX && now.duration_since(site.began) >= site.time {
                *site = new();
            }
            site.lines += 1;
            site.lines <= LINES_MAX
        };
        if !is_one_of_few {
            // Formatted without the lock: any code may implement `Display`, and log in it.
            let text = text();
            if let Some(site) = self.lock().get_mut(&at) {
                site.last = text;
            }
        }
        is_one_of_few
    }

    /// Logs the counts of sites whose time is over, or has lasted for `at_most`.
    pub(super) fn tell(&self, at_most: Duration) {
        for Sum { level, lines, seconds, last } in self.ended(Instant::now(), at_most) {
            log::log!(target: NOT_COUNTED, level, "… {lines} more lines like this in {seconds} s, the last of them: {last}");
        }
    }

    fn ended(&self, now: Instant, at_most: Duration) -> Vec<Sum> {
        let mut sums = Vec::new();
        for site in self.lock().values_mut() {
            let passed = now.duration_since(site.began);
            if site.lines > LINES_MAX && passed >= site.time.min(at_most) {
                let (level, lines) = (site.level, site.lines - LINES_MAX);
                let last = std::mem::take(&mut site.last);
                sums.push(Sum { level, lines, seconds: passed.as_secs(), last });
                *site = Site { began: now, time: (site.time * 2).min(TIME_MAX), lines: 0, level, last: String::new() };
            }
        }
        sums
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, u32), Site>> {
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
        assert_eq!(folding.ended(at(0), TIME_MAX), []);
        let sum = |seconds, last: &str| Sum { level: Level::Warn, lines: 980, seconds, last: last.to_owned() };
        assert_eq!(folding.ended(at(1), TIME_MAX), [sum(1, "line 999")]);
        assert_eq!(flood(1), LINES_MAX);
        assert_eq!(folding.ended(at(2), TIME_MAX), [], "its time is two seconds now");
        assert_eq!(folding.ended(at(3), TIME_MAX), [sum(2, "line 999")]);
        assert!(folding.admit_at(at(3), ("file", 2), Level::Warn, String::new), "another site has lines of its own");
        assert_eq!(folding.ended(at(100), TIME_MAX), [], "nothing came since");
        assert_eq!(flood(100), LINES_MAX);
        assert_eq!(folding.ended(at(101), TIME_MAX).len(), 1, "after a rest its time is a second again");
    }
}
