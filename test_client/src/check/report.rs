//! The verdict, for a person and for a script.

use super::judge::Verdict;
use super::summary::{FaultCounts, ReadCounts, Summary};
use super::violations::{PROMISES, Promise};
use crate::history::{History, ReadMode};
use crate::output::{BAD, DIM, GOOD, NO_TICK, STRONG, Terminal, count, grouped, tick, visible};
use serde_json::{Map, Value, json};
use std::io;

/// The whole verdict.
pub(super) fn show(terminal: &mut Terminal, history: &History, verdict: &Verdict) -> io::Result<()> {
    show_promises(terminal, verdict)?;
    show_findings(terminal, verdict)?;
    show_writes(terminal, &verdict.summary)?;
    show_reads(terminal, history, &verdict.summary)?;
    show_faults(terminal, &verdict.summary)?;
    for what in &verdict.summary.not_judged {
        terminal.line(format_args!("  {DIM}not judged:{DIM:#} {}", visible(what)))?;
    }
    terminal.gap()?;
    let (operations, seed) = (grouped(verdict.summary.operations), history.header.seed);
    if verdict.is_good() && verdict.summary.acknowledged == 0 {
        terminal.line(format_args!(
            "{BAD}Nothing was acknowledged{BAD:#}, so nothing was proved: {operations} operations, seed {seed}."
        ))
    } else if verdict.is_good() {
        terminal.line(format_args!(
            "{GOOD}Every promise held{GOOD:#}: {operations} operations in {:.1} s, seed {seed}.",
            verdict.summary.seconds
        ))
    } else {
        let violations = violated(verdict.violations.total());
        terminal.line(format_args!(
            "{BAD}A promise was broken{BAD:#}: {violations} in {operations} operations, seed {seed}."
        ))
    }
}

fn violated(violations: u64) -> String {
    if violations == 1 { "1 violation".to_owned() } else { format!("{} violations", grouped(violations)) }
}

fn show_promises(terminal: &mut Terminal, verdict: &Verdict) -> io::Result<()> {
    terminal.line(format_args!("{STRONG}The promises{STRONG:#}"))?;
    for ((promise, _, words, what), checked) in PROMISES.into_iter().zip(verdict.checked) {
        let violations = verdict.violations.count(promise);
        let said = match violations {
            0 if checked == 0 => "nothing to judge".to_owned(),
            0 if promise == Promise::Back => "it did".to_owned(),
            0 => format!("{} {what}, no violation", grouped(checked)),
            _ if promise == Promise::Back => "it did not".to_owned(),
            _ => format!("{} {what}, {}", grouped(checked), violated(violations)),
        };
        let mark = if violations == 0 && checked == 0 { NO_TICK.to_owned() } else { tick(violations == 0) };
        terminal.line(format_args!("  {mark} {words:<38} {said}"))?;
    }
    terminal.gap()
}

fn show_findings(terminal: &mut Terminal, verdict: &Verdict) -> io::Result<()> {
    let kept = verdict.violations.kept();
    if kept.is_empty() {
        return Ok(());
    }
    terminal.line(format_args!("{STRONG}Violations{STRONG:#}"))?;
    for violation in kept {
        let lines: Vec<String> = violation.lines.iter().map(usize::to_string).collect();
        let lines = match lines[..] {
            [] => String::new(),
            [_] => format!(" (line {})", lines[0]),
            _ => format!(" (lines {})", lines.join(", ")),
        };
        terminal.mark(false, format_args!("{}{lines}", violation.sentence))?;
    }
    let more = verdict.violations.total() - kept.len() as u64;
    if more > 0 {
        terminal.line(format_args!("    and {} more like these", grouped(more)))?;
    }
    terminal.gap()
}

fn show_writes(terminal: &mut Terminal, summary: &Summary) -> io::Result<()> {
    terminal.line(format_args!("{STRONG}How sure that is{STRONG:#}"))?;
    terminal.line(format_args!(
        "  messages   {} acknowledged, {} refused, {} unknown ({} of them in the log); {}; {}",
        grouped(summary.acknowledged),
        grouped(summary.refused),
        grouped(summary.unknown),
        grouped(summary.unknown_in_log),
        count(summary.batches, "batch", "batches"),
        count(summary.unknown_attempts, "attempt without an answer", "attempts without an answer"),
    ))
}

fn show_reads(terminal: &mut Terminal, history: &History, summary: &Summary) -> io::Result<()> {
    for (node, of_node) in history.header.nodes.iter().zip(&summary.reads) {
        let parts: Vec<String> = ReadMode::ALL
            .into_iter()
            .filter_map(|how| of_node.get(how.word()).map(|reads| (how, reads)))
            .map(|(how, reads)| describe_reads(how, reads))
            .collect();
        terminal.line(format_args!("  reads      {}: {}", visible(node), parts.join("; ")))?;
    }
    Ok(())
}

fn describe_reads(how: ReadMode, reads: &ReadCounts) -> String {
    let mut said = format!("{} {}, {} with news", grouped(reads.answered), how.word(), grouped(reads.with_news));
    if reads.stale > 0 {
        said += &format!(", {} said they may be stale", grouped(reads.stale));
    }
    if reads.failed > 0 {
        said += &format!(", {} failed", grouped(reads.failed));
    }
    said
}

fn show_faults(terminal: &mut Terminal, summary: &Summary) -> io::Result<()> {
    let parts: Vec<String> = summary.faults.iter().map(|(class, faults)| describe_faults(class, faults)).collect();
    if parts.is_empty() {
        return Ok(());
    }
    terminal.line(format_args!("  faults     {}", parts.join("; ")))
}

fn describe_faults(class: &str, faults: &FaultCounts) -> String {
    format!("{} {} ({} met something)", faults.count, visible(class), faults.met)
}

/// The verdict for a script.
pub(super) fn document(history: &History, verdict: &Verdict) -> Value {
    let summary = &verdict.summary;
    let promises = PROMISES.into_iter().zip(verdict.checked).map(|((promise, name, ..), checked)| {
        (name.to_owned(), json!({ "checked": checked, "violations": verdict.violations.count(promise) }))
    });
    let reads = history.header.nodes.iter().zip(&summary.reads).map(|(node, of_node)| (node.clone(), json!(of_node)));
    json!({
        "held": verdict.is_good(),
        "exit_code": verdict.exit().code(),
        "seed": history.header.seed,
        "seconds": summary.seconds,
        "operations": summary.operations,
        "promises": promises.collect::<Map<_, _>>(),
        "violations": verdict.violations.kept(),
        "messages": {
            "acknowledged": summary.acknowledged, "refused": summary.refused, "unknown": summary.unknown,
            "unknown_in_log": summary.unknown_in_log, "in_log": summary.in_log, "foreign": summary.foreign,
            "batches": summary.batches,
        },
        "reads": reads.collect::<Map<_, _>>(),
        "faults": summary.faults,
        "not_judged": summary.not_judged,
    })
}
