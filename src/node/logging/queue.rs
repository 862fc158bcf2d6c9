//! The queue of lines, and the one thread that writes them.
//!
//! The queue holds the lines as bytes, and the writer takes all of them at once. A file or a console that blocks delays
//! the writer alone. A full queue drops lines, and the writer then writes how many.

use super::rotating_file::RotatingFile;
use crate::process::clock;
use crate::process::console::Console;
use crate::process::threads;
use crate::wire::timestamp::rfc3339;
use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of lines that wait for the writer: some seconds of the busiest log.
const QUEUE_BYTES_MAX: usize = 2 << 20;
/// Bytes of lines that wait for a console that blocks.
const CONSOLE_BYTES_MAX: usize = 256 << 10;
/// How long a write to the console waits.
const CONSOLE_TIMEOUT: Duration = Duration::from_millis(20);
/// The writer's pause after a batch. The lines that come meanwhile cost no wake-up of their own.
const REST: Duration = Duration::from_millis(5);
/// How often the writer logs counts and sums, and tries a console that blocked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    came: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    /// Batches that the writer has taken.
    taken: u64,
    /// Batches that the writer has written.
    written: u64,
    /// The writer waits for lines.
    is_idle: bool,
    /// A stop, or a panic, waits until everything is written.
    is_awaited: bool,
}

impl Queue {
    /// Adds a line, with its end, or counts it if there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines.len() + line.len() > QUEUE_BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        if std::mem::take(&mut state.is_idle) {
            drop(state);
            self.came.notify_one();
        }
    }

    /// Waits until everything that is in the queue now is written.
    pub(super) fn await_written(&self, timeout: Duration) {
        let mut state = self.lock();
        let wanted = state.taken + u64::from(!state.lines.is_empty());
        state.is_awaited = true;
        self.came.notify_one();
        let waited = self.written.wait_timeout_while(state, timeout, |state| state.written < wanted);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_awaited = false;
    }

    /// Takes all lines, and gives how many were dropped. Waits up to [`LOOK_EVERY`] for lines if there are none.
    fn take(&self, into: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        if state.lines.is_empty() {
            state.is_idle = true;
            let is_empty = |state: &mut State| state.lines.is_empty() && !state.is_awaited;
            let waited = self.came.wait_timeout_while(state, LOOK_EVERY, is_empty);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_idle = false;
        }
        std::mem::swap(&mut state.lines, into);
        state.taken += u64::from(!into.is_empty());
        std::mem::take(&mut state.dropped)
    }

    /// Notes that all that was taken is written.
    fn done(&self) {
        let mut state = self.lock();
        state.written = state.taken;
        drop(state);
        self.written.notify_all();
    }

    /// Waits for [`REST`], unless a stop or a panic waits for the lines.
    fn rest(&self) {
        let waited = self.came.wait_timeout_while(self.lock(), REST, |state| !state.is_awaited);
        drop(waited);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines to the file and to the console.
pub(super) struct Writer {
    queue: Arc<Queue>,
    file: Option<RotatingFile>,
    console: Console,
    is_terminal: bool,
    /// Lines that the console has not taken yet.
    for_console: Vec<u8>,
    /// How many lines the console did not get, because too many were waiting for it.
    not_shown: u64,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, file: Option<RotatingFile>) -> Writer {
        let (console, is_terminal) = (Console::stdout(), io::stdout().is_terminal());
        Writer { queue, file, console, is_terminal, for_console: Vec::new(), not_shown: 0 }
    }

    /// Starts the thread, which lives as long as the process. `sums` logs counts and sums.
    pub(super) fn start(mut self, sums: impl Fn() + Send + 'static) -> io::Result<()> {
        let work = move || {
            let mut lines = Vec::new();
            let mut looked = Instant::now();
            loop {
                let dropped = self.queue.take(&mut lines);
                // A panic loses this batch, and not the log.
                let _ = catch_unwind(AssertUnwindSafe(|| self.write(&lines, dropped)));
                lines.clear();
                self.queue.done();
                if looked.elapsed() >= LOOK_EVERY {
                    looked = Instant::now();
                    let _ = catch_unwind(AssertUnwindSafe(&sums));
                }
                self.queue.rest();
            }
        };
        threads::start_needed("log", work).map(drop)
    }

    fn write(&mut self, lines: &[u8], dropped: u64) {
        let mut lines = std::borrow::Cow::Borrowed(lines);
        if dropped > 0 {
            let told = format!(
                "{} [WARN ] {dropped} log lines were dropped here: the log thread could not keep up\n",
                rfc3339(clock::now_ms())
            );
            lines.to_mut().extend_from_slice(told.as_bytes());
        }
        if let Some(file) = &mut self.file {
            // A full disk loses log lines. The node goes on.
            let _ = file.write_lines(&lines);
        }
        self.show(&lines);
    }

    fn show(&mut self, lines: &[u8]) {
        if self.for_console.len() > CONSOLE_BYTES_MAX {
            self.not_shown += count(lines);
        } else if self.is_terminal {
            paint(lines, &mut self.for_console);
        } else {
            self.for_console.extend_from_slice(lines);
        }
        let taken = self.console.write(&self.for_console, CONSOLE_TIMEOUT);
        self.for_console.drain(..taken);
        if self.for_console.is_empty() && self.not_shown > 0 {
            let not_shown = std::mem::take(&mut self.not_shown);
            let told = format!(
                "{} [WARN ] {not_shown} log lines were not shown here: this output was blocked\n",
                rfc3339(clock::now_ms())
            );
            self.for_console.extend_from_slice(told.as_bytes());
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Gives warnings and errors a colour.
fn paint(lines: &[u8], into: &mut Vec<u8>) {
    const LEVEL: std::ops::Range<usize> = 25..32;
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let paint: &[u8] = match line.get(LEVEL) {
            Some(b"[ERROR]") => b"\x1b[31m",
            Some(b"[WARN ]") => b"\x1b[33m",
            _ => {
                into.extend_from_slice(line);
                continue;
            }
        };
        for part in [&line[..LEVEL.start], paint, &line[LEVEL], b"\x1b[0m", &line[LEVEL.end..]] {
            into.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_lines_and_counts_them() {
        let queue = Queue::default();
        let line = vec![b'x'; QUEUE_BYTES_MAX / 4];
        (0..6).for_each(|_| queue.push(&line));
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken), 2);
        assert_eq!(taken.len(), QUEUE_BYTES_MAX);
        queue.push(b"again\n");
        assert_eq!(queue.take(&mut Vec::new()), 0);
    }

    #[test]
    fn who_waits_for_a_writer_that_hangs_does_not_wait_for_ever() {
        let queue = Queue::default();
        queue.push(b"a line\n");
        queue.await_written(Duration::from_millis(10));
        let mut taken = Vec::new();
        queue.take(&mut taken);
        queue.done();
        queue.await_written(Duration::from_secs(3_600));
    }

    #[test]
    fn warnings_and_errors_have_a_colour() {
        let mut painted = Vec::new();
        paint(b"2026-11-22T04:36:43.976Z [ERROR] a: b\n2026-11-22T04:36:43.976Z [INFO ] a: b\n", &mut painted);
        let expected =
            "2026-11-22T04:36:43.976Z \u{1b}[31m[ERROR]\u{1b}[0m a: b\n2026-11-22T04:36:43.976Z [INFO ] a: b\n";
        assert_eq!(String::from_utf8(painted).unwrap(), expected);
    }
}
