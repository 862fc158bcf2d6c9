//! Who tells the person what is done and seen, and keeps it for the verdict and for scripts.

use crate::exit::Exit;
use crate::output::{BAD, DIM, GOOD, NO_TICK, STRONG, Terminal, count, visible};
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::path::PathBuf;

/// Tells and keeps.
pub(crate) struct Reporter<'a> {
    pub(crate) terminal: &'a mut Terminal,
    pub(crate) report: Report,
}

/// Everything that was seen.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether nothing was seen that must not be, and every step was told to its end.
    pub(crate) held: bool,
    /// The exit code.
    pub(crate) exit_code: u8,
    /// Whether the nodes were started for this run.
    pub(crate) own_cluster: bool,
    /// Name and address of every node, the master first.
    pub(crate) nodes: Vec<Value>,
    /// Why it ended early.
    pub(crate) stopped: Option<String>,
    pub(crate) steps: Vec<Step>,
    /// Where the logs of the nodes are, if they were kept.
    pub(crate) logs: Option<PathBuf>,
}

/// One step, and what was seen in it.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) verdict: Verdict,
    /// Why it was left out, or not shown.
    pub(crate) reason: Option<String>,
    pub(crate) findings: Vec<Finding>,
}

/// What is to be thought of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All that was looked for was found.
    Held,
    /// Something was found that must not be.
    Broken,
    /// Nothing broken was found, but what was to be shown did not happen this time.
    NotShown,
    /// It was not tried.
    LeftOut,
    /// It was not told to its end.
    Unfinished,
}

/// One thing that was looked for.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) held: bool,
    /// What was seen, in a sentence.
    pub(crate) seen: String,
}

impl Reporter<'_> {
    /// Begins a step. It is unfinished until its end is told.
    pub(crate) fn begin(&mut self, title: &str) -> io::Result<()> {
        self.report.steps.push(Step {
            title: title.to_owned(),
            verdict: Verdict::Unfinished,
            reason: None,
            findings: Vec::new(),
        });
        self.terminal.gap()?;
        self.terminal.line(format_args!("{STRONG}{}. {title}{STRONG:#}", self.report.steps.len()))
    }

    /// The step has come to its end.
    pub(crate) fn end(&mut self) {
        let Some(step) = self.report.steps.last_mut() else { return };
        if step.findings.iter().any(|finding| !finding.held) {
            step.verdict = Verdict::Broken;
        } else if step.verdict == Verdict::Unfinished {
            step.verdict = Verdict::Held;
        }
    }

    /// A step that is not tried.
    pub(crate) fn leave_out(&mut self, title: &str, why: &str) -> io::Result<()> {
        self.begin(title)?;
        self.mark_unproven(Verdict::LeftOut, &format!("Left out: {why}."))
    }

    /// The step did not show what it was for.
    pub(crate) fn not_shown(&mut self, why: &str) -> io::Result<()> {
        self.mark_unproven(Verdict::NotShown, why)
    }

    fn mark_unproven(&mut self, verdict: Verdict, sentence: &str) -> io::Result<()> {
        if let Some(step) = self.report.steps.last_mut() {
            step.verdict = verdict;
            step.reason = Some(sentence.to_owned());
        }
        self.terminal.line(format_args!("  {NO_TICK} {sentence}"))
    }

    /// What is done now.
    pub(crate) fn say(&mut self, sentence: &str) -> io::Result<()> {
        self.terminal.line(format_args!("  {sentence}"))
    }

    /// What was seen: as it must be, or not.
    pub(crate) fn find(&mut self, finding: Result<String, String>) -> io::Result<()> {
        let held = finding.is_ok();
        let seen = finding.unwrap_or_else(|wrong| wrong);
        match held {
            true => self.terminal.mark(true, visible(&seen))?,
            false => self.terminal.mark(false, format_args!("{BAD}{}{BAD:#}", visible(&seen)))?,
        }
        if let Some(step) = self.report.steps.last_mut() {
            step.findings.push(Finding { held, seen });
        }
        Ok(())
    }

    /// How many things were found that must not be.
    fn broken(&self) -> usize {
        self.report.steps.iter().flat_map(|step| &step.findings).filter(|finding| !finding.held).count()
    }

    /// Settles the verdict. What must not be outweighs whatever ended the run.
    pub(crate) fn settle(&mut self, stopped: Option<(Exit, String)>) -> Exit {
        let (stop, sentence) = stopped.unzip();
        let exit = if self.broken() > 0 { Exit::Broken } else { stop.unwrap_or(Exit::Success) };
        self.report.stopped = sentence;
        self.report.exit_code = exit.code();
        self.report.held = exit == Exit::Success;
        exit
    }

    /// The end of the story.
    pub(crate) fn show_verdict(&mut self, exit: Exit) -> io::Result<()> {
        self.terminal.gap()?;
        for step in self.report.steps.iter().filter(|step| step.reason.is_some()) {
            let what = if step.verdict == Verdict::LeftOut { "Left out" } else { "Not shown" };
            self.terminal.line(format_args!("{DIM}{what}: {}.{DIM:#}", step.title))?;
        }
        if let Some(stopped) = &self.report.stopped {
            self.terminal.line(format_args!("{BAD}Stopped:{BAD:#} {stopped}."))?;
        }
        if let Some(logs) = &self.report.logs {
            self.terminal.line(format_args!("The logs of the nodes are in {}", logs.display()))?;
        }
        let unproven = self.report.steps.iter().any(|step| step.reason.is_some());
        match exit {
            Exit::Success if unproven => self.terminal.line(format_args!("{GOOD}What was tried held.{GOOD:#}")),
            Exit::Success => self.terminal.line(format_args!("{GOOD}Everything held.{GOOD:#}")),
            Exit::Broken => {
                let broken = count(self.broken(), "thing did", "things did");
                self.terminal.line(format_args!("{BAD}{broken} not hold.{BAD:#}"))
            }
            _ => self.terminal.line("The acceptance was not played to its end."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(findings: &[bool], stopped: Option<Exit>) -> (Exit, Verdict) {
        let mut terminal = Terminal::new(true);
        let mut reporter = Reporter { terminal: &mut terminal, report: Report::default() };
        reporter.begin("a step").unwrap();
        for held in findings {
            reporter.find(if *held { Ok(String::new()) } else { Err(String::new()) }).unwrap();
        }
        if stopped.is_none() {
            reporter.end();
        }
        let exit = reporter.settle(stopped.map(|exit| (exit, String::new())));
        (exit, reporter.report.steps[0].verdict)
    }

    #[test]
    fn what_must_not_be_outweighs_the_rest() {
        assert_eq!(verdict(&[true, true], None), (Exit::Success, Verdict::Held));
        assert_eq!(verdict(&[true, false], None), (Exit::Broken, Verdict::Broken));
        assert_eq!(verdict(&[true], Some(Exit::Unreachable)), (Exit::Unreachable, Verdict::Unfinished));
        assert_eq!(verdict(&[false], Some(Exit::Unreachable)), (Exit::Broken, Verdict::Unfinished));
    }

    #[test]
    fn what_is_left_out_is_not_broken() {
        let mut terminal = Terminal::new(true);
        let mut reporter = Reporter { terminal: &mut terminal, report: Report::default() };
        reporter.leave_out("a step", "there are no faults").unwrap();
        reporter.end();
        assert_eq!(reporter.settle(None), Exit::Success);
        assert_eq!(reporter.report.steps[0].verdict, Verdict::LeftOut);
    }
}
