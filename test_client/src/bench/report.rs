//! The report for a person, during the run and at its end, and the document for scripts.

use super::load::Plan;
use super::options::Options;
use super::stats::{LATENCY_NAMES, Latency, P99, RequestOutcome, Stats};
use super::summary::{Figures, Second, Summary, per_second};
use crate::output::{self, BAD, DIM, GOOD, STRONG, Terminal, count, visible};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io;
use std::time::Duration;

/// One second of the run in a line.
pub(super) fn progress(second: &Second) -> String {
    let mut line = if second.begins < 0 { "warming up".to_owned() } else { format!("second {}", second.begins + 1) };
    for (figures, what) in [(&second.writes, "messages"), (&second.reads, "pages")] {
        let Some(latency) = figures.latency else { continue };
        line += &format!(" · {} {what}/s, p99 {}", grouped(figures.per_second), Time(latency[P99]));
    }
    let failed = second.writes.failed + second.reads.failed;
    if failed > 0 {
        line += &format!(" · {} failed", grouped(failed as f64));
    }
    line
}

/// The table, and everything that qualifies it.
pub(super) fn show(terminal: &mut Terminal, plan: &Plan, summary: &Summary) -> io::Result<()> {
    let options = &plan.options;
    terminal.line(headline(options, summary))?;
    terminal.gap()?;
    let columns = ["a second", "p50", "p90", "p99", "p99.9", "max", "mean"];
    terminal.line(format_args!("{DIM}{}{DIM:#}", row("", &columns.map(str::to_owned))))?;
    let sides =
        [(&summary.total.writes, "messages", options.writers), (&summary.total.reads, "pages", options.readers)];
    for (side, what, clients) in sides {
        if clients > 0 {
            let rate = grouped(per_second(side.done, summary.measured));
            let times = side
                .latency()
                .map_or_else(|| ["–"; 6].map(str::to_owned), |times| times.map(|time| Time(time).to_string()));
            terminal.line(row(what, &[vec![rate], times.to_vec()].concat()))?;
        }
    }
    terminal.gap()?;
    for (side, what, clients) in sides {
        if clients > 0 {
            show_outcomes(terminal, side, what, options)?;
        }
    }
    let page_bytes = per_second(summary.total.reads.bytes, summary.measured);
    if page_bytes > 0.0 {
        terminal.line(format_args!("  {:.1} MB of pages a second", page_bytes / 1e6))?;
    }
    show_rest(terminal, options, summary)?;
    show_checks(terminal, options, summary)?;
    show_own_share(terminal, summary)
}

fn headline(options: &Options, summary: &Summary) -> String {
    let writers = count(options.writers, "writer", "writers");
    let posts = match options.batch {
        1 => format!("messages of {} bytes", grouped(f64::from(options.size))),
        batch => format!("batches of {batch} messages of {} bytes", grouped(f64::from(options.size))),
    };
    let writing = match options.rate {
        Some(rate) => format!("{} {posts} a second on schedule over {writers} (open loop)", grouped(rate)),
        None => format!("{writers}, {posts}, one after the other (closed loop)"),
    };
    let reading = format!("{}, pages of {}", count(options.readers, "reader", "readers"), options.page);
    let both = match (options.writers, options.readers) {
        (_, 0) => writing,
        (0, _) => reading,
        _ => format!("{writing}; {reading}"),
    };
    let early = if summary.measured < Duration::from_secs(options.seconds) { ", ended early" } else { "" };
    format!("{STRONG}{both}; {:.1} s measured{early}{STRONG:#}", summary.measured.as_secs_f64())
}

fn row(what: &str, cells: &[String]) -> String {
    cells.iter().fold(format!("  {what:<10}"), |line, cell| format!("{line}{cell:>10}"))
}

fn show_outcomes(terminal: &mut Terminal, side: &Stats, what: &str, options: &Options) -> io::Result<()> {
    let requests = match what {
        "messages" if options.batch > 1 => "batches",
        what => what,
    };
    for (outcome, count) in &side.outcomes {
        let colour = if outcome.is_success() { GOOD } else { BAD };
        let number = grouped(count.requests as f64);
        let why = count.explanation.as_ref().map_or_else(String::new, |why| format!("  {}", visible(why)));
        let meaning = meaning(*outcome);
        terminal.line(format_args!("  {colour}{number:>12}{colour:#} {requests:<8}  {meaning}{DIM}{why}{DIM:#}"))?;
    }
    Ok(())
}

fn meaning(outcome: RequestOutcome) -> String {
    match outcome {
        RequestOutcome::Status(200) => "200".to_owned(),
        RequestOutcome::Status(201) => "201, committed".to_owned(),
        RequestOutcome::Status(202) => "202, committed with fewer copies".to_owned(),
        RequestOutcome::Status(status) if outcome.is_refusal() => format!("{status}, refused"),
        RequestOutcome::Status(status) => format!("{status}, unknown outcome"),
        RequestOutcome::Broken => "connection broken, unknown outcome".to_owned(),
        RequestOutcome::TimedOut => "no answer in time, unknown outcome".to_owned(),
        RequestOutcome::NotConnected => "not sent, no connection".to_owned(),
    }
}

/// Requests that no percentile contains.
fn show_rest(terminal: &mut Terminal, options: &Options, summary: &Summary) -> io::Result<()> {
    let rest = &summary.rest;
    if rest.unanswered > 0 {
        let requests = count(rest.unanswered, "request was", "requests were");
        let oldest = Time(u64::try_from(rest.oldest.as_micros()).unwrap_or(u64::MAX));
        terminal.line(format_args!(
            "  {BAD}{requests} not answered{BAD:#} when it ended, the oldest after {oldest}: the figures leave them out"
        ))?;
    }
    if rest.queued > 0 {
        let behind = summary.fell_behind(options.posts_per_second());
        let number = grouped(rest.queued as f64);
        let posts = if rest.queued == 1 { "post that was due" } else { "posts that were due" };
        let advice = if behind { ": the rate is more than the cluster, or so many writers, can do" } else { "" };
        terminal.line(format_args!("  {number} {posts} still waited for a connection at the end{advice}"))?;
    }
    Ok(())
}

fn show_checks(terminal: &mut Terminal, options: &Options, summary: &Summary) -> io::Result<()> {
    let ids = &summary.rest.ids;
    for violation in ids.violations() {
        terminal.mark(false, visible(violation))?;
    }
    if options.writers > 0 && ids.violations().is_empty() && ids.count() > 0 {
        let number = grouped(ids.count() as f64);
        terminal.mark(
            true,
            format_args!("{number} ids, with those of the warm-up: each once, rising on every connection"),
        )?;
    }
    Ok(())
}

fn show_own_share(terminal: &mut Terminal, summary: &Summary) -> io::Result<()> {
    let (cpu, waited) = (percent(summary.cpu_share()), percent(summary.without_core_share()));
    terminal.line(format_args!(
        "  test_client used {cpu:.0} % of one core, and waited for one {waited:.0} % of the time"
    ))?;
    if summary.is_bottleneck() {
        let (why, advice) = if summary.lacks_cores() {
            ("All cores were busy, and test_client had to wait for one", "Give it a machine of its own")
        } else {
            ("A thread of test_client was busy all the time", "Give it more --threads")
        };
        terminal.line(format_args!("  {BAD}{why}:{BAD:#} the figures are a lower bound. {advice}"))?;
    }
    Ok(())
}

/// Everything, for scripts.
pub(super) fn document(plan: &Plan, summary: &Summary) -> Value {
    let options = &plan.options;
    let (total, ids) = (&summary.total, &summary.rest.ids);
    json!({
        "master": plan.master.address.to_string(),
        "run": plan.tag,
        "options": options.document(),
        "measured_seconds": summary.measured.as_secs_f64(),
        "ended_early": summary.measured < Duration::from_secs(options.seconds),
        "writes": (options.writers > 0).then(|| side_document(&total.writes, "messages", summary)),
        "reads": (options.readers > 0).then(|| side_document(&total.reads, "pages", summary)),
        "seconds": summary.seconds.iter().map(second_document).collect::<Vec<_>>(),
        "unanswered": { "requests": summary.rest.unanswered, "oldest_ms": summary.rest.oldest.as_secs_f64() * 1e3 },
        "still_in_line": summary.rest.queued,
        "checks": { "acknowledged_ids": ids.count(), "violations": ids.violations() },
        "client": {
            "cpu_percent": percent(summary.cpu_share()),
            "busiest_thread_percent": percent(summary.busiest_share()),
            "without_core_percent": percent(summary.without_core_share()),
            "is_bottleneck": summary.is_bottleneck(),
        },
    })
}

fn side_document(side: &Stats, what: &str, summary: &Summary) -> Value {
    let counts = side.outcomes.iter().map(|(outcome, count)| (outcome.to_string(), json!(count.requests)));
    let explained = side.outcomes.iter().filter_map(|(outcome, count)| Some((outcome, count.explanation.as_ref()?)));
    let explanations = explained.map(|(outcome, why)| (outcome.to_string(), json!(why)));
    let mut document = json!({
        "per_second": rounded(per_second(side.done, summary.measured)),
        "outcomes": counts.collect::<Map<_, _>>(),
        "first_explanations": explanations.collect::<Map<_, _>>(),
        "latency_ms": latency_document(side.latency()),
        "answer_bytes": side.bytes,
    });
    document[what] = side.done.into();
    document
}

fn second_document(second: &Second) -> Value {
    let figures = |figures: &Figures| {
        let latency = latency_document(figures.latency);
        json!({ "per_second": rounded(figures.per_second), "failed": figures.failed, "latency_ms": latency })
    };
    json!({
        "begins": second.begins, "length": second.length.as_secs_f64(), "writes": figures(&second.writes),
        "reads": figures(&second.reads),
    })
}

/// Milliseconds by name.
fn latency_document(latency: Option<Latency>) -> Option<Map<String, Value>> {
    let milliseconds = latency?.map(|micros| json!(micros as f64 / 1e3));
    Some(LATENCY_NAMES.map(str::to_owned).into_iter().zip(milliseconds).collect())
}

fn percent(share: f64) -> f64 {
    rounded(share * 100.0)
}

/// Rounds to a tenth: the rest is noise.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// A number with its thousands set apart, `21,034`, or a small one with a decimal, `3.5`.
pub(super) fn grouped(number: f64) -> String {
    if number < 100.0 && (number - number.round()).abs() > 0.05 {
        return format!("{number:.1}");
    }
    output::grouped(format_args!("{:.0}", number.max(0.0)))
}

/// Microseconds, shown with three digits or so.
pub(super) struct Time(pub(super) u64);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 as f64 / 1e3;
        match self.0 {
            0..10_000 => write!(formatter, "{ms:.2} ms"),
            10_000..100_000 => write!(formatter, "{ms:.1} ms"),
            100_000..10_000_000 => write!(formatter, "{ms:.0} ms"),
            _ => write!(formatter, "{:.1} s", ms / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        for (number, shown) in
            [(0.0, "0"), (3.46, "3.5"), (3.0, "3"), (999.6, "1,000"), (21_034.2, "21,034"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(grouped(number), shown);
        }
        for (micros, shown) in
            [(70, "0.07 ms"), (2934, "2.93 ms"), (29_340, "29.3 ms"), (293_400, "293 ms"), (61_000_000, "61.0 s")]
        {
            assert_eq!(Time(micros).to_string(), shown);
        }
    }
}
