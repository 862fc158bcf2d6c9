//! How far a long work is, on a terminal.

use crate::protocol::Id;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shorter work needs no progress, and longer work not more often than this.
const EVERY: Duration = Duration::from_secs(1);

/// One line, written again and again.
pub(super) struct Progress {
    verb: &'static str,
    last: Id,
    shown_at: Instant,
    shown: bool,
}

impl Progress {
    /// `verb` says what is done with ids, such as "checked".
    pub(super) fn new(verb: &'static str, last: Id) -> Progress {
        Progress { verb, last, shown_at: Instant::now(), shown: false }
    }

    /// The work has reached an id.
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
