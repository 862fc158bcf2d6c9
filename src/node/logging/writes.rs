//! Lines about single writes.
//!
//! Under load there would be thousands of them a second. So only [`LINES_MAX`] are written in a second, and the others
//! are summed up for each [`Step`] at its end. At level debug all of them are written.

use super::folding::NOT_COUNTED;
use crate::node::ids::id_range;
use crate::process::text::count;
use crate::protocol::Id;
use log::{Level, log_enabled};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines in a second: four lone writes to two secondaries.
const LINES_MAX: usize = 20;
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A step on the way of a write.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    /// The master has it, and sends it to the secondaries.
    Received,
    /// A secondary has it in its store.
    Stored,
    /// This secondary has acknowledged it.
    Acknowledged(Arc<str>),
    /// A secondary has waited its artificial delay.
    Delayed,
    /// It is in the log.
    Committed,
    /// A secondary shows it.
    Decided,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Received => formatter.write_str("received"),
            Step::Stored => formatter.write_str("stored, pending"),
            Step::Acknowledged(name) => write!(formatter, "acknowledged by {name}"),
            Step::Delayed => formatter.write_str("acknowledged after the artificial delay"),
            Step::Committed => formatter.write_str("committed"),
            Step::Decided => formatter.write_str("decided"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct WriteLines(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the current second began.
    began: Option<Instant>,
    lines: usize,
    sums: BTreeMap<Step, Sum>,
}

/// What happened in a step during a second.
#[derive(Debug)]
struct Sum {
    after: Id,
    through: Id,
    /// The number of rounds, or calls.
    times: u64,
    longest: Option<Duration>,
}

impl WriteLines {
    /// Logs that the ids after `after` up to `through` took a step, and how long that took, if it was measured.
    ///
    /// `line` is called only if the line is written.
    pub(crate) fn tell(
        &self,
        step: Step,
        (after, through): (Id, Id),
        took: Option<Duration>,
        line: impl FnOnce() -> String,
    ) {
        if !log_enabled!(Level::Info) {
            return;
        }
        if log_enabled!(Level::Debug) || self.may_write(Instant::now(), step, (after, through), took) {
            log::info!(target: NOT_COUNTED, "{}", line());
        }
    }

    fn may_write(&self, now: Instant, step: Step, (after, through): (Id, Id), took: Option<Duration>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.sums.is_empty() && state.began.is_none_or(|began| now.duration_since(began) >= SECOND) {
            (state.began, state.lines) = (Some(now), 0);
        }
        if state.lines < LINES_MAX {
            state.lines += 1;
            return true;
        }
        let new = Sum { after, through, times: 0, longest: None };
        let sum = state.sums.entry(step).or_insert(new);
        sum.after = sum.after.min(after);
        sum.through = sum.through.max(through);
        sum.times += 1;
        sum.longest = sum.longest.max(took);
        false
    }

    /// Logs the sums, if they cover at least this time.
    pub(super) fn tell_sums(&self, at_least: Duration) {
        for line in self.ended(Instant::now(), at_least) {
            log::info!(target: NOT_COUNTED, "{line}");
        }
    }

    fn ended(&self, now: Instant, at_least: Duration) -> Vec<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(passed) = state.began.map(|began| now.duration_since(began)).filter(|passed| *passed >= at_least)
        else {
            return Vec::new();
        };
        state.began = Some(now);
        // Under load, only sums are written.
        if state.sums.is_empty() {
            state.lines = 0;
        }
        let sums = std::mem::take(&mut state.sums);
        drop(state);
        sums.into_iter().map(|(step, sum)| sum.line(&step, passed)).collect()
    }
}

impl Sum {
    fn line(&self, step: &Step, passed: Duration) -> String {
        let mut line = format!(
            "{} {step}, {} in {:.1} s",
            id_range(self.after, self.through),
            count(usize::try_from(self.times).unwrap_or(usize::MAX), "time", "times"),
            passed.as_secs_f64()
        );
        if let Some(longest) = self.longest {
            let _ = write!(line, ", after {} ms at most", longest.as_millis());
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_are_written_and_many_are_summed_up() {
        let (lines, began) = (WriteLines::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        let tell = |ms, id: u64| {
            let (ids, took) = ((Id::new(id - 1), Id::new(id)), Some(Duration::from_millis(id)));
            lines.may_write(at(ms), Step::Committed, ids, took)
        };
        assert!((1..=20).all(|id| tell(0, id)));
        assert_eq!(lines.ended(at(1_000), SECOND), Vec::<String>::new());
        assert!((21..=40).all(|id| tell(1_000, id)), "a new second");
        assert!((41..=90).all(|id| !tell(1_500, id)));
        let sums = lines.ended(at(2_000), SECOND);
        assert_eq!(sums, ["ids 41–90 committed, 50 times in 1.0 s, after 90 ms at most"]);
        assert!(!tell(2_100, 91), "the load goes on");
        assert_eq!(lines.ended(at(3_000), SECOND), ["id 91 committed, 1 time in 1.0 s, after 91 ms at most"]);
        assert_eq!(lines.ended(at(4_000), SECOND), Vec::<String>::new());
        assert!(tell(4_000, 92), "it is over");
        assert!((93..=111).all(|id| tell(4_000, id)) && !tell(4_000, 112));
        assert_eq!(lines.ended(at(4_100), Duration::ZERO).len(), 1, "a stop waits for no second");
    }
}
