//! The progress of a long command, on a terminal.

use crate::protocol::Id;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the progress is shown, first after this time.
const EVERY: Duration = Duration::from_secs(1);

/// A line that shows the progress, and overwrites itself.
pub(super) struct Progress {
    verb: &'static str,
    last: Id,
    shown_at: Instant,
    shown: bool,
}

impl Progress {
    /// `verb` says what the command does with ids, such as "checked".
    pub(super) fn new(verb: &'static str, last: Id) -> Progress {
        Progress { verb, last, shown_at: Instant::now(), shown: false }
    }

    /// Reports that the command has reached an id.
    pub(super) fn show(&mut self, reached: Id) {
        if self.shown_at.elapsed() > EVERY && io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r{} {reached} of {} ids", self.verb, self.last);
            self.shown = true;
            self.shown_at = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = writeln!(io::stderr());
        }
    }
}
