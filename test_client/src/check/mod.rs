//! `test_client check`, and the verdict of `torture`: whether a history can be that of a cluster that keeps its promises.
//!
//! It shares no code with the nodes, and knows of them only what the history says. Whatever the nodes did, it comes to
//! one of two ends: the history is explained by a run of a correct cluster, or something in it cannot be, and is told.
//!
//! The promises, and where they are looked after:
//!
//! | Promise | Violations | Where |
//! |---|---|---|
//! | a 201 is kept, at its id, with its text | lost, changed | `writes`, `contents` |
//! | a refusal is kept | shown anywhere, at any time | `contents` |
//! | one order | ids that differ between nodes or do not ascend, gaps, duplicates, texts from nowhere, torn batches | `contents`, `writes`, `record` |
//! | in real time | a lower id than what was there before it was sent | `reach` |
//! | what a node showed, it keeps showing | shows less than before | `reach`, `contents` |
//! | a read shows what every node had acknowledged | stale, and does not say so | `reach` |
//! | a strong read shows what anybody was told | stale | `reach` |
//! | a key writes once | answers that contradict each other | `fates` |
//! | after every fault it comes back | it does not | the last line of the history |
//!
//! `fates` concludes what became of each write, `record` elects the log that all else is compared with. Then replies
//! are slices of that log (`contents`), which reach far enough (`reach`); why that is all there is to check, the prose of
//! these two says.
//!
//! Caveats. A batch is not required to become visible as a whole; only to be there as a whole, and in one piece, in the
//! end. How long anything took is not judged. What is lost after the run, nobody sees.

mod contents;
mod fates;
mod findings;
mod reach;
mod record;
mod report;
mod summary;
mod timeline;
mod wording;
mod writes;

#[cfg(test)]
mod planted;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod twin;

use crate::exit::Exit;
use crate::history::{self, History, How, Text};
use crate::output::{Screen, visible};
use contents::{Contents, Showing};
use fates::Fates;
use findings::{Finding, Findings, Kind, Promise};
use record::Record;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use summary::Summary;
use wording::Wording;

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
    findings: Findings,
    /// How many things were checked for each promise.
    checked: [(Promise, u64); Promise::ALL.len()],
    summary: Summary,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.findings.total() == 0
    }

    /// The exit code that says so.
    pub(crate) fn exit(&self) -> Exit {
        if self.is_good() { Exit::Success } else { Exit::Broken }
    }
}

/// Judges a file, and says what came of it.
pub(crate) fn run(screen: &mut Screen, options: &Options) -> io::Result<Exit> {
    let (exit, document) = judge_file(screen, &options.file, options.plot.as_deref())?;
    screen.document(document.to_string().as_bytes())?;
    Ok(exit)
}

/// Judges a file, tells a person the verdict, and draws the run if there is a place for that. Gives the verdict for a
/// script.
pub(crate) fn judge_file(screen: &mut Screen, file: &Path, plot: Option<&Path>) -> io::Result<(Exit, Value)> {
    let history = match history::read(file) {
        Ok(history) => history,
        Err(damage) => return Ok(refuse(screen, &damage.to_string())),
    };
    // Before the verdict, which no drawing is worth to be lost for.
    let drawn = plot.map(|plot| (plot, File::create(plot)));
    if let Some((plot, Err(error))) = drawn {
        return Ok(refuse(screen, &no_plot(plot, &error)));
    }
    let verdict = judge(&history);
    report::show(screen, &history, &verdict)?;
    if let Some((plot, Ok(mut drawing))) = drawn
        && let Err(error) = drawing.write_all(timeline::svg(&history, &verdict).as_bytes())
    {
        screen.complain(visible(&no_plot(plot, &error)));
    }
    Ok((verdict.exit(), report::document(&history, &verdict)))
}

fn no_plot(plot: &Path, error: &io::Error) -> String {
    format!("the plot cannot be written to {}: {error}", plot.display())
}

fn refuse(screen: &mut Screen, why: &str) -> (Exit, Value) {
    screen.complain(visible(why));
    (Exit::Usage, json!({ "error": why, "exit_code": Exit::Usage.code() }))
}

/// Judges a history.
pub(crate) fn judge(history: &History) -> Verdict {
    let mut findings = Findings::default();
    let wording = Wording(history);
    let fates = Fates::gather(history, &wording, &mut findings);
    let record = Record::build(history, &fates);
    let explained = writes::check(&fates, &record, &wording, &mut findings);
    record.check_duplicates(&wording, &mut findings);
    let mut contents = Contents::new(history, &fates, &record, &wording, &mut findings, explained);
    for (line, shown) in &history.finals {
        let (node, at, entries) = (shown.node, history.end.at, &shown.entries[..]);
        contents.check(&Showing {
            node,
            line: *line,
            at,
            from: history.header.first,
            limit: None,
            entries,
            is_final: true,
        });
    }
    let replies = reach::replies(history, |line, read| {
        let (node, at, entries) = (read.node, read.returned, &read.entries[..]);
        contents.check(&Showing { node, line, at, from: read.from, limit: read.limit, entries, is_final: false })
    });
    let compared = contents.compared;
    let applied = reach::check(&fates, &record, &replies, &wording, &mut findings);
    check_end(history, &mut findings);
    let summary = Summary::of(history, &fates, &record, &replies);
    let checked = Promise::ALL.map(|promise| {
        let number = match promise {
            // Whether anything is missing, only the logs in the end tell.
            Promise::Kept if !record.is_final => 0,
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
    Verdict { findings, checked, summary }
}

fn check_end(history: &History, findings: &mut Findings) {
    if let Some(why) = &history.end.not_back {
        let sentence = format!("the cluster did not come back: {why}");
        let (at, lines) = (history.end.at, vec![history.end.lines]);
        findings.add(Finding { kind: Kind::NotBack, node: None, at, lines, sentence });
    }
}
