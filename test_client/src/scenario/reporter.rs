//! Prints what a scenario does and finds, step by step, and keeps it for the verdict and for scripts.

use crate::exit::Exit;
use crate::output::{BAD, DIM, GOOD, NO_TICK, STRONG, Terminal, count, visible};
use serde::Serialize;
use std::io;

/// Reports a scenario during its run.
pub(crate) struct Reporter<'a> {
    pub(crate) terminal: &'a mut Terminal,
    pub(crate) steps: Vec<Step>,
}

/// One step, and its findings.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    title: String,
    verdict: StepVerdict,
    /// Why the step was left out, or tested nothing.
    reason: Option<String>,
    findings: Vec<Finding>,
}

/// The verdict on a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum StepVerdict {
    /// All of its checks held.
    Held,
    /// A check failed.
    Broken,
    /// No check failed, but the event that the step tests did not happen this time.
    NotShown,
    /// The step was left out.
    LeftOut,
    /// The step ended before its last check.
    Unfinished,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    held: bool,
    /// The finding, in a sentence.
    seen: String,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(terminal: &'a mut Terminal) -> Reporter<'a> {
        Reporter { terminal, steps: Vec::new() }
    }

    /// Begins a step. It is unfinished until [`Reporter::end`].
    pub(crate) fn begin(&mut self, title: &str) -> io::Result<()> {
        let title = title.to_owned();
        self.terminal.gap()?;
        self.terminal.line(format_args!("{STRONG}{}. {title}{STRONG:#}", self.steps.len() + 1))?;
        self.steps.push(Step { title, verdict: StepVerdict::Unfinished, reason: None, findings: Vec::new() });
        Ok(())
    }

    /// Ends the step.
    pub(crate) fn end(&mut self) {
        let Some(step) = self.steps.last_mut() else { return };
        if step.findings.iter().any(|finding| !finding.held) {
            step.verdict = StepVerdict::Broken;
        } else if step.verdict == StepVerdict::Unfinished {
            step.verdict = StepVerdict::Held;
        }
    }

    /// Reports a step that is left out.
    pub(crate) fn leave_out(&mut self, title: &str, why: &str) -> io::Result<()> {
        self.begin(title)?;
        self.mark_unproven(StepVerdict::LeftOut, &format!("Left out: {why}."))
    }

    /// Reports that the step did not test its subject.
    pub(crate) fn not_shown(&mut self, why: &str) -> io::Result<()> {
        self.mark_unproven(StepVerdict::NotShown, why)
    }

    fn mark_unproven(&mut self, verdict: StepVerdict, sentence: &str) -> io::Result<()> {
        if let Some(step) = self.steps.last_mut() {
            step.verdict = verdict;
            step.reason = Some(sentence.to_owned());
        }
        self.terminal.line(format_args!("  {NO_TICK} {sentence}"))
    }

    /// Prints a line.
    pub(crate) fn say(&mut self, sentence: &str) -> io::Result<()> {
        self.terminal.line(format_args!("  {sentence}"))
    }

    /// Reports a finding: success or a violation.
    pub(crate) fn find(&mut self, finding: Result<String, String>) -> io::Result<()> {
        let held = finding.is_ok();
        let (Ok(seen) | Err(seen)) = finding;
        match held {
            true => self.terminal.mark(true, visible(&seen))?,
            false => self.terminal.mark(false, format_args!("{BAD}{}{BAD:#}", visible(&seen)))?,
        }
        if let Some(step) = self.steps.last_mut() {
            step.findings.push(Finding { held, seen });
        }
        Ok(())
    }

    /// The violations that were found, each once.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut violations: Vec<String> = Vec::new();
        for finding in self.steps.iter().flat_map(|step| &step.findings).filter(|finding| !finding.held) {
            if !violations.contains(&finding.seen) {
                violations.push(finding.seen.clone());
            }
        }
        violations
    }

    /// The exit code: a violation outweighs the reason for which the scenario stopped.
    pub(crate) fn exit(&self, stopped: Option<Exit>) -> Exit {
        if self.violations().is_empty() { stopped.unwrap_or(Exit::Success) } else { Exit::Broken }
    }

    /// Ends the scenario: prints what is unproven, why it stopped early if it did, the notes, and the verdict.
    pub(crate) fn show_verdict(&mut self, exit: Exit, stopped: Option<&str>, notes: &[String]) -> io::Result<()> {
        self.terminal.gap()?;
        let unproven: Vec<&Step> = self.steps.iter().filter(|step| step.reason.is_some()).collect();
        for step in &unproven {
            let what = if step.verdict == StepVerdict::LeftOut { "Left out" } else { "Not shown" };
            self.terminal.line(format_args!("{DIM}{what}: {}.{DIM:#}", step.title))?;
        }
        for note in notes {
            self.terminal.line(note)?;
        }
        if let Some(stopped) = stopped {
            self.terminal.line(format_args!("{BAD}Stopped:{BAD:#} {stopped}."))?;
        }
        let violations = self.violations();
        for violation in &violations {
            self.terminal.line(format_args!("{BAD}Broken:{BAD:#} {}.", visible(violation)))?;
        }
        match exit {
            Exit::Success if unproven.is_empty() => self.terminal.line(format_args!("{GOOD}Everything held.{GOOD:#}")),
            Exit::Success => self.terminal.line(format_args!("{GOOD}Every promise that was tested held.{GOOD:#}")),
            Exit::Broken => {
                let broken = count(violations.len(), "thing did", "things did");
                self.terminal.line(format_args!("{BAD}{broken} not hold.{BAD:#}"))
            }
            _ if stopped.is_some() => self.terminal.line("The run stopped before its end."),
            _ => self.terminal.line("Every promise that was tested held, but not all could be tested."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(findings: &[bool], stopped: Option<Exit>) -> (Exit, StepVerdict) {
        let mut terminal = Terminal::new(true);
        let mut reporter = Reporter::new(&mut terminal);
        reporter.begin("a step").unwrap();
        for held in findings {
            reporter.find(if *held { Ok(String::new()) } else { Err(String::new()) }).unwrap();
        }
        if stopped.is_none() {
            reporter.end();
        }
        (reporter.exit(stopped), reporter.steps[0].verdict)
    }

    #[test]
    fn a_violation_outweighs_the_rest() {
        assert_eq!(verdict(&[true, true], None), (Exit::Success, StepVerdict::Held));
        assert_eq!(verdict(&[true, false], None), (Exit::Broken, StepVerdict::Broken));
        assert_eq!(verdict(&[true], Some(Exit::Unreachable)), (Exit::Unreachable, StepVerdict::Unfinished));
        assert_eq!(verdict(&[false], Some(Exit::Unreachable)), (Exit::Broken, StepVerdict::Unfinished));
    }

    #[test]
    fn what_is_left_out_is_not_broken() {
        let mut terminal = Terminal::new(true);
        let mut reporter = Reporter::new(&mut terminal);
        reporter.leave_out("a step", "there are no faults").unwrap();
        reporter.end();
        assert_eq!((reporter.exit(None), reporter.steps[0].verdict), (Exit::Success, StepVerdict::LeftOut));
    }
}
