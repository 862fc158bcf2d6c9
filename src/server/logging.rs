//! Log lines: `TIME [LEVEL] NODE eEPOCH: what happened`, to the console and to a file that rotates.
//!
//! Clients' text never gets into a line as it is: control characters are escaped and long lines are cut, so nobody can
//! forge a line, or hide one behind terminal sequences.

use super::rotating_file::RotatingFile;
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{
    ColorChoice, CombinedLogger, ConfigBuilder, LevelPadding, SharedLogger, TermLogger, TerminalMode, WriteLogger,
};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use time::format_description::FormatItem;
use time::macros::format_description;

/// Characters of a log line's text. What is longer is cut and says so.
const LINE_CHARACTERS_MAX: usize = 1_000;

const MILLISECONDS: &[FormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Where and what to log.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// The node, as the lines name it.
    pub(crate) node: String,
    /// The file, if lines are kept in one.
    pub(crate) file: PathBuf,
    /// The least severe level that is logged.
    pub(crate) level: LevelFilter,
    /// Size at which a file is put aside.
    pub(crate) file_bytes_max: u64,
    /// Files kept, the current one included.
    pub(crate) files_max: usize,
}

/// The epoch that log lines name; a node sets it when it learns of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct EpochOfLog(Arc<AtomicU64>);

impl EpochOfLog {
    /// From now on lines name this epoch.
    pub(crate) fn set(&self, epoch: crate::replication::Epoch) {
        self.0.store(epoch.get(), Ordering::Relaxed);
    }
}

/// Begins to log. If the file cannot be used, the console alone is, and a warning says so.
pub(crate) fn start(settings: &LogSettings) -> EpochOfLog {
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_custom(MILLISECONDS)
        .set_level_padding(LevelPadding::Right)
        .set_target_level(LevelFilter::Error)
        .set_location_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off);
    let config = config.build();
    let is_terminal = io::stdout().is_terminal();
    let (file, trouble) = match RotatingFile::open(&settings.file, settings.file_bytes_max, settings.files_max) {
        Ok(file) => (Some(file), None),
        Err(error) => (None, Some(error)),
    };
    let mut sinks: Vec<Box<dyn SharedLogger>> = Vec::new();
    if is_terminal {
        sinks.push(TermLogger::new(settings.level, config.clone(), TerminalMode::Stdout, ColorChoice::Auto));
    }
    sinks.push(WriteLogger::new(settings.level, config, LineByLine { console: !is_terminal, file, line: Vec::new() }));
    let epoch = EpochOfLog::default();
    let log = NodeLog {
        node: settings.node.clone(),
        epoch: epoch.clone(),
        level: settings.level,
        sinks: *CombinedLogger::new(sinks),
    };
    if log::set_boxed_logger(Box::new(log)).is_ok() {
        log::set_max_level(settings.level);
    }
    if let Some(error) = trouble {
        log::warn!("cannot write {}: {error}; logging to the console only", settings.file.display());
    }
    epoch
}

/// Names the node and the epoch in each line, and makes its text harmless.
struct NodeLog {
    node: String,
    epoch: EpochOfLog,
    level: LevelFilter,
    sinks: CombinedLogger,
}

impl Log for NodeLog {
    /// Libraries speak only when something is wrong with them; when it is `tiny_http`, the caretaker does.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_heard = match metadata.target().split("::").next() {
            Some("replicated_log") => true,
            Some("tiny_http") => false,
            _ => metadata.level() <= Level::Warn,
        };
        is_heard && metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let source = format!("{} e{}", self.node, self.epoch.0.load(Ordering::Relaxed));
            let text = harmless(&record.args().to_string());
            let metadata = Metadata::builder().level(record.level()).target(&source).build();
            self.sinks.log(&Record::builder().metadata(metadata).args(format_args!("{text}")).build());
        }
    }

    fn flush(&self) {
        self.sinks.flush();
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

/// Hands whole lines to the console and to a file, each with one call of the system: the logger writes a line in a dozen
/// pieces.
struct LineByLine {
    /// Whether the console gets them, too. Without it, and as it is: on a terminal another logger adds colours.
    console: bool,
    file: Option<RotatingFile>,
    line: Vec<u8>,
}

impl LineByLine {
    fn write_line(&mut self) -> io::Result<()> {
        let shown = if self.console { io::stdout().write_all(&self.line) } else { Ok(()) };
        let kept = self.file.as_mut().map_or(Ok(()), |file| file.write_all(&self.line).and_then(|()| file.flush()));
        shown.and(kept)
    }
}

impl Write for LineByLine {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            let written = self.write_line();
            self.line.clear();
            written?;
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), RotatingFile::flush)
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
