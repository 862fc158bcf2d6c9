//! `test_client check`, and the verdict of `torture`: whether a history can be that of a cluster that keeps its
//! promises.
//!
//! It shares no code with the nodes, and knows of them only what the history says. A history has one of two
//! verdicts: a run of a correct cluster explains it, or it contains something that no such run can contain, which is
//! reported.
//!
//! The promises, and where they are checked:
//!
//! | Promise | Violations | Where |
//! |---|---|---|
//! | a 201 is kept, at its id, with its text | lost, changed | `writes`, `contents` |
//! | a 201 has the copies that were asked for | short | `operations` |
//! | a refusal is kept | shown anywhere, at any time | `contents` |
//! | one order | ids that differ between nodes or do not ascend, gaps, duplicates, texts from nowhere, torn batches | `contents`, `writes`, `reference` |
//! | in real time | a lower id than what was there before it was sent | `recency` |
//! | what a node showed, it keeps showing | shows less than before | `recency`, `contents` |
//! | a read shows what every node had acknowledged | stale, and does not say so | `recency` |
//! | a strong read shows all that was acknowledged or shown before | stale | `recency` |
//! | a key writes once | answers that contradict each other | `operations` |
//! | after every fault it comes back | it does not | the last line of the history |
//!
//! `operations` concludes what became of each write, `reference` elects the log that all else is compared with. Then
//! replies are slices of that log (`contents`), which reach far enough (`recency`); why that is all there is to check,
//! the prose of these two says.
//!
//! Caveats. A batch is not required to become visible as a whole; only to be there as a whole, and in one piece, in the
//! end. How long anything took is not judged. What is lost after the run stays unseen.

mod contents;
mod judge;
mod operations;
mod recency;
mod reference;
mod report;
mod summary;
mod timeline;
mod violations;
mod writes;

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod generator;
#[cfg(test)]
mod planted;

use crate::exit::Exit;
use crate::history;
use crate::output::{Terminal, visible};
use judge::judge;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What to judge.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The history, as `torture --history FILE` wrote it
    file: PathBuf,
    /// Draw the run into this file, as SVG: faults, writes, latency, violations
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Judges a file, and says what came of it.
pub(crate) fn run(terminal: &mut Terminal, options: &Options) -> io::Result<Exit> {
    let (exit, document) = judge_file(terminal, &options.file, options.plot.as_deref())?;
    terminal.document(document.to_string().as_bytes())?;
    Ok(exit)
}

/// Judges a file, prints the verdict, and draws the run if there is a file for that. Gives the verdict for a
/// script.
pub(crate) fn judge_file(terminal: &mut Terminal, file: &Path, plot: Option<&Path>) -> io::Result<(Exit, Value)> {
    let history = match history::read(file) {
        Ok(history) => history,
        Err(damage) => return Ok(refuse(terminal, &damage)),
    };
    // Opened before the verdict, so that the verdict is the last thing that is printed.
    let drawn = plot.map(|plot| (plot, File::create(plot)));
    if let Some((plot, Err(error))) = drawn {
        return Ok(refuse(terminal, &no_plot(plot, &error)));
    }
    let verdict = judge(&history);
    report::show(terminal, &history, &verdict)?;
    if let Some((plot, Ok(mut drawing))) = drawn
        && let Err(error) = drawing.write_all(timeline::svg(&history, &verdict).as_bytes())
    {
        terminal.complain(visible(&no_plot(plot, &error)));
    }
    Ok((verdict.exit(), report::document(&history, &verdict)))
}

fn no_plot(plot: &Path, error: &io::Error) -> String {
    format!("the plot cannot be written to {}: {error}", plot.display())
}

fn refuse(terminal: &mut Terminal, why: &str) -> (Exit, Value) {
    terminal.complain(visible(why));
    (Exit::Usage, json!({ "error": why, "exit_code": Exit::Usage.code() }))
}
