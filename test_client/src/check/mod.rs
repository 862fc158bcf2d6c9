//! `test_client check`, and the verdict of `torture`: whether a history can be that of a cluster that keeps its promises.
//!
//! It shares no code with the nodes, and knows of them only what the history says. Whatever the nodes did, it comes to
//! one of two ends: the history is explained by a run of a correct cluster, or something in it cannot be, and is reported.
//!
//! The promises, and where they are looked after:
//!
//! | Promise | Violations | Where |
//! |---|---|---|
//! | a 201 is kept, at its id, with its text | lost, changed | `writes`, `contents` |
//! | a refusal is kept | shown anywhere, at any time | `contents` |
//! | one order | ids that differ between nodes or do not ascend, gaps, duplicates, texts from nowhere, torn batches | `contents`, `writes`, `reference` |
//! | in real time | a lower id than what was there before it was sent | `reach` |
//! | what a node showed, it keeps showing | shows less than before | `reach`, `contents` |
//! | a read shows what every node had acknowledged | stale, and does not say so | `reach` |
//! | a strong read shows what anybody was told | stale | `reach` |
//! | a key writes once | answers that contradict each other | `operations` |
//! | after every fault it comes back | it does not | the last line of the history |
//!
//! `operations` concludes what became of each write, `reference` elects the log that all else is compared with. Then replies
//! are slices of that log (`contents`), which reach far enough (`reach`); why that is all there is to check, the prose of
//! these two says.
//!
//! Caveats. A batch is not required to become visible as a whole; only to be there as a whole, and in one piece, in the
//! end. How long anything took is not judged. What is lost after the run, nobody sees.

mod contents;
mod labels;
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
use crate::history::{self, History, ReadMode, Text};
use crate::output::{Terminal, visible};
use contents::{Contents, Observation};
use labels::Labels;
use operations::Operations;
use reference::ReferenceLog;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use summary::Summary;
use violations::{Kind, Promise, Violation, Violations};

/// What is judged, and what is made of it.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The history, as `torture --history FILE` wrote it
    file: PathBuf,
    /// Draw the run into this file, as SVG: faults, writes, latency, violations
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What came of it.
pub(crate) struct Verdict {
    violations: Violations,
    /// How many things were checked for each promise.
    checked: [(Promise, u64); Promise::ALL.len()],
    summary: Summary,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.violations.total() == 0
    }

    /// The exit code that says so.
    pub(crate) fn exit(&self) -> Exit {
        if self.is_good() { Exit::Success } else { Exit::Broken }
    }
}

/// Judges a file, and says what came of it.
pub(crate) fn run(terminal: &mut Terminal, options: &Options) -> io::Result<Exit> {
    let (exit, document) = judge_file(terminal, &options.file, options.plot.as_deref())?;
    terminal.document(document.to_string().as_bytes())?;
    Ok(exit)
}

/// Judges a file, tells a person the verdict, and draws the run if there is a place for that. Gives the verdict for a
/// script.
pub(crate) fn judge_file(terminal: &mut Terminal, file: &Path, plot: Option<&Path>) -> io::Result<(Exit, Value)> {
    let history = match history::read(file) {
        Ok(history) => history,
        Err(damage) => return Ok(refuse(terminal, &damage.to_string())),
    };
    // Before the verdict, which no drawing is worth to be lost for.
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

/// Judges a history.
pub(crate) fn judge(history: &History) -> Verdict {
    let mut violations = Violations::default();
    let labels = Labels(history);
    let operations = Operations::gather(history, &labels, &mut violations);
    let reference = ReferenceLog::build(history, &operations);
    let explained = writes::check(&operations, &reference, &labels, &mut violations);
    reference.check_duplicates(&labels, &mut violations);
    let mut contents = Contents::new(history, &operations, &reference, &labels, &mut violations, explained);
    for (line, shown) in &history.finals {
        let (node, at, entries) = (shown.node, history.end.at, &shown.entries[..]);
        contents.check(&Observation {
            node,
            line: *line,
            at,
            from: history.header.first,
            limit: None,
            entries,
            is_final: true,
        });
    }
    let replies = recency::replies(history, |line, read| {
        let (node, at, entries) = (read.node, read.returned, &read.entries[..]);
        contents.check(&Observation { node, line, at, from: read.from, limit: read.limit, entries, is_final: false })
    });
    let compared = contents.compared;
    let applied = recency::check(&operations, &reference, &replies, &labels, &mut violations);
    check_end(history, &mut violations);
    let summary = Summary::of(history, &operations, &reference, &replies);
    let checked = Promise::ALL.map(|promise| {
        let number = match promise {
            // Whether anything is missing, only the logs in the end tell.
            Promise::Kept if !reference.is_final => 0,
            Promise::Kept => summary.acknowledged,
            Promise::Refused => summary.refused,
            Promise::OneOrder => compared,
            Promise::Grows => applied.grows,
            Promise::Current => applied.current,
            Promise::Strong => applied.strong,
            Promise::Keys => summary.repeated,
            Promise::Back => 1,
        };
        (promise, number)
    });
    Verdict { violations, checked, summary }
}

fn check_end(history: &History, violations: &mut Violations) {
    if let Some(why) = &history.end.not_back {
        let sentence = format!("the cluster did not come back: {why}");
        let (at, lines) = (history.end.at, vec![history.end.lines]);
        violations.add(Violation { kind: Kind::NotBack, node: None, at, lines, sentence });
    }
}
