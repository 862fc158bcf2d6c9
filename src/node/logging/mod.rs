//! Log lines: `TIME [LEVEL] NODE eEPOCH: what happened`, to the console and to a file that rotates.
//!
//! | File | What it does |
//! |---|---|
//! | [`queue`] | holds lines, up to a limit, until the writer thread has written them |
//! | [`folding`] | counts lines that come too often from one place in the code |
//! | [`writes`] | sums up the lines about single writes, second by second, when there are many |
//! | [`rotating_file`] | writes the log file, and rotates it |
//!
//! Logging never makes a node wait: a line goes into a queue, and one thread writes the queue. A full queue drops lines
//! and counts them. Control characters are escaped and long lines are cut, so no client can forge a line, or hide one
//! behind terminal sequences.

mod folding;
mod queue;
mod rotating_file;
mod writes;

use writes::SECOND;
pub(crate) use writes::{Step, WriteLines};

use crate::process::state_lock::before_io;
use crate::wire::timestamp::rfc3339;
use folding::Folding;
use log::{Level, LevelFilter, Log, Metadata, Record};
use queue::{Queue, Writer};
use rotating_file::RotatingFile;
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::panic;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Characters of a log line's text. A longer text is cut, and the line gives its length.
const LINE_CHARACTERS_MAX: usize = 1_000;
/// How long a stop, or a panic, waits until the lines before it are written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where and what to log.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// The node, as the lines name it.
    pub(crate) node: String,
    /// The log file.
    pub(crate) file: PathBuf,
    /// The least severe level that is logged.
    pub(crate) level: LevelFilter,
    /// Size at which the file is rotated.
    pub(crate) file_bytes_max: u64,
    /// Files kept, the current one included.
    pub(crate) files_max: usize,
}

/// The state of a node's log, beside its lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeLog {
    epoch: Arc<AtomicU64>,
    writes: Arc<WriteLines>,
    goes_on: bool,
}

impl NodeLog {
    /// Makes lines name this epoch from now on.
    pub(crate) fn set_epoch(&self, epoch: crate::protocol::Epoch) {
        self.epoch.store(epoch.get(), Ordering::Relaxed);
    }

    /// Whether the file had lines at the start, so this node has run before.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Where lines about single writes go.
    pub(crate) fn writes(&self) -> &Arc<WriteLines> {
        &self.writes
    }
}

/// Begins to log. Without a usable file, the log goes to the console only, with a warning.
pub(crate) fn start(settings: &LogSettings) -> NodeLog {
    let (file, trouble) = match RotatingFile::open(&settings.file, settings.file_bytes_max, settings.files_max) {
        Ok(file) => (Some(file), None),
        Err(error) => (None, Some(error)),
    };
    let mut config = ConfigBuilder::new();
    config
        // The library panics if the clock is beyond the year 9999, so `Lines` writes the time.
        .set_time_level(LevelFilter::Off)
        .set_level_padding(LevelPadding::Right)
        .set_target_level(LevelFilter::Error)
        .set_location_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off);
    let log = NodeLog { goes_on: file.as_ref().is_some_and(|file| !file.is_empty()), ..NodeLog::default() };
    let (queue, folding) = (Arc::new(Queue::default()), Arc::new(Folding::default()));
    let lines = Lines { queue: Arc::clone(&queue), line: Vec::new() };
    let logger = Logger {
        node: settings.node.clone(),
        epoch: Arc::clone(&log.epoch),
        level: settings.level,
        folding: Arc::clone(&folding),
        writes: Arc::clone(&log.writes),
        formatter: WriteLogger::new(settings.level, config.build(), lines),
        queue: Arc::clone(&queue),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(settings.level);
    }
    let writes = Arc::clone(&log.writes);
    let sums = move || {
        folding.tell(Duration::MAX);
        writes.tell_sums(SECOND);
    };
    if let Err(error) = Writer::new(queue, file).start(sums) {
        eprintln!("{}: cannot log: cannot start the log thread: {error}", settings.node);
    }
    log_panics();
    if let Some(error) = trouble {
        log::warn!("cannot write {}: {error}; logging to the console only", settings.file.display());
    }
    log
}

/// Reports panics in the log, because no operator may read the error output.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let text = panic.payload().downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.payload().downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        log::error!("the thread {} panicked at {place}: {why}", thread.name().unwrap_or("without a name"));
        log::logger().flush();
    }));
}

/// Names the node and the epoch in each line, and makes its text harmless.
struct Logger {
    node: String,
    epoch: Arc<AtomicU64>,
    level: LevelFilter,
    folding: Arc<Folding>,
    writes: Arc<WriteLines>,
    formatter: Box<WriteLogger<Lines>>,
    queue: Arc<Queue>,
}

impl Log for Logger {
    /// Libraries log warnings and errors only. `tiny_http` logs nothing, because the listener watchdog reports its
    /// failures.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_heard = match metadata.target().split("::").next() {
            Some("replicated_log") => true,
            Some("tiny_http") => false,
            _ => metadata.level() <= Level::Warn,
        };
        is_heard && metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        before_io("a line is logged");
        if !self.enabled(record.metadata()) || !self.folding.admit(record) {
            return;
        }
        let source = format!("{} e{}", self.node, self.epoch.load(Ordering::Relaxed));
        let text = harmless(&record.args().to_string());
        let metadata = Metadata::builder().level(record.level()).target(&source).build();
        self.formatter.log(&Record::builder().metadata(metadata).args(format_args!("{text}")).build());
    }

    /// Logs the counts so far, and waits until everything logged before is written, for [`FLUSH_TIMEOUT`] at most.
    fn flush(&self) {
        self.folding.tell(Duration::ZERO);
        self.writes.tell_sums(Duration::ZERO);
        self.queue.await_written(FLUSH_TIMEOUT);
    }
}

fn harmless(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for (count, character) in text.chars().enumerate() {
        if count == LINE_CHARACTERS_MAX {
            let _ = write!(line, "… ({} bytes in all)", text.len());
            break;
        }
        if character.is_control() || is_invisible(character) {
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Marks that change how the rest of a line is shown.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Gathers the dozen pieces in which the formatter writes a line, and puts the line with its time into the queue.
struct Lines {
    queue: Arc<Queue>,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.line.is_empty() {
            write!(self.line, "{} ", rfc3339(crate::process::clock::now_ms()))?;
        }
        self.line.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            self.queue.push(&self.line);
            self.line.clear();
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn text_cannot_forge_a_line() {
        assert_eq!(
            harmless("a\n2026-01-01 [ERROR] b\u{1b}[31m\u{202e}"),
            "a\\n2026-01-01 [ERROR] b\\u{1b}[31m\\u{202e}"
        );
        assert_eq!(harmless("grüße 🦀"), "grüße 🦀");
    }

    #[test]
    fn long_text_is_cut() {
        let line = harmless(&"x".repeat(5_000));
        assert!(line.len() < 1_100 && line.ends_with("(5000 bytes in all)"), "{line}");
    }
}
