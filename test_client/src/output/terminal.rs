//! The terminal: lines, marks and bars for a person, or one JSON document for a script.

use super::text::visible;
use crate::exit::Exit;
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::fmt::Display;
use std::io::{self, Write};

/// The style of success.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// The style of failure.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// The style of details.
pub(crate) const DIM: Style = Style::new().dimmed();
/// The style of what matters most.
pub(crate) const STRONG: Style = Style::new().bold();
/// The style of bars.
const BAR: Style = AnsiColor::Cyan.on_default();

/// The length of the longest bar in character cells.
const BAR_CELLS: u64 = 30;

/// Where a command writes: sentences for a person, or one JSON document for a script.
pub(crate) struct Terminal {
    out: Box<dyn Write>,
    json: bool,
}

impl Terminal {
    pub(crate) fn new(json: bool) -> Terminal {
        let out: Box<dyn Write> = if json { Box::new(io::sink()) } else { Box::new(AutoStream::auto(io::stdout())) };
        Terminal { out, json }
    }

    /// Prints the document for a script. With a script as reader, nothing else prints.
    pub(crate) fn document(&self, json: &[u8]) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(json.trim_ascii_end())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// One line.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) -> io::Result<()> {
        self.line("")
    }

    /// A line marked as good or bad.
    pub(crate) fn mark(&mut self, good: bool, text: impl Display) -> io::Result<()> {
        self.line(format_args!("  {} {text}", tick(good)))
    }

    /// Prints a failure of the whole command to stderr, because stdout may be a file.
    pub(crate) fn complain(&mut self, text: impl Display) {
        if !self.json {
            anstream::eprintln!("{BAD}test_client:{BAD:#} {text}");
        }
    }

    /// Ends the command with a sentence for a person or a script, and returns the exit code.
    pub(crate) fn give_up(&mut self, exit: Exit, why: &str) -> io::Result<Exit> {
        self.complain(visible(why));
        self.document(json!({ "error": why, "exit_code": exit.code() }).to_string().as_bytes())?;
        Ok(exit)
    }

    /// Refuses the command before anything is sent.
    pub(crate) fn refuse(&mut self, why: &str) -> io::Result<Exit> {
        self.give_up(Exit::Usage, why)
    }

    /// Draws durations as bars, the longest at full width.
    pub(crate) fn bars(&mut self, rows: &[Bar]) -> io::Result<()> {
        let width = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        let longest = rows.iter().map(|row| row.ms).max().unwrap_or(0);
        for Bar { label, ms } in rows {
            let bar = bar(*ms, longest);
            let room = BAR_CELLS as usize;
            self.line(format_args!("    {label:<width$}  {BAR}{bar:<room$}{BAR:#}  {ms:>5} ms"))?;
        }
        Ok(())
    }
}

/// One row of [`Terminal::bars`].
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) ms: u64,
}

/// The mark for what is neither success nor failure.
pub(crate) const NO_TICK: &str = "·";

/// A coloured mark.
pub(crate) fn tick(good: bool) -> String {
    if good { format!("{GOOD}✓{GOOD:#}") } else { format!("{BAD}✗{BAD:#}") }
}

/// `ms` as a bar, to an eighth of a cell.
fn bar(ms: u64, longest: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = ms.saturating_mul(BAR_CELLS * 8).checked_div(longest).unwrap_or(0);
    let (whole, part) = (eighths / 8, eighths % 8);
    format!("{}{}", "█".repeat(whole as usize), EIGHTHS[part as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion() {
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(0, 2000), "");
        assert_eq!(bar(2000, 2000), "█".repeat(30));
        assert_eq!(bar(1000, 2000), "█".repeat(15));
        assert_eq!(bar(1, 240), "▏");
    }
}
