//! A run as a chart: faults in a lane for each node, acknowledged messages a second, latency, and marks for what was
//! refused, what is unknown, and violations.

use super::judge::Verdict;
use crate::history::{History, Micros, Outcome, Write};
use crate::output::{Axis, Series, Svg};

const WIDTH: f64 = 900.0;
/// Left and right end of lanes and panels.
const TIME: (f64, f64) = (110.0, 880.0);
const TOP: f64 = 44.0;
const LANE: f64 = 26.0;
const PANEL: f64 = 120.0;
/// Room above and below a panel, for its legend and its ticks.
const GAP: f64 = 56.0;
const MARKS: f64 = 16.0;
/// The most points of a line, and the least time between two, in microseconds.
const POINTS_MAX: u64 = 200;
const BUCKET_MIN: Micros = 250_000;

/// Classes of faults, each with a colour below.
const CLASSES: [&str; 8] = ["kill", "pause", "network", "disk", "clock", "api", "restart", "members"];

const STYLE: &str = "
  .lane { fill: currentColor; opacity: .05 } .fault { opacity: .75 } .fault-name { fill: #ffffff; font-size: 10px }
  .kill { fill: #cf222e } .pause { fill: #8250df } .network { fill: #bc4c00 } .disk { fill: #7d4e00 }
  .clock { fill: #0a7ea4 } .api { fill: #57606a } .restart { fill: #bf3989 } .members { fill: #1a7f37 }
  .refused { stroke: #9a6700 } .unknown { stroke: #57606a } .violation { stroke: #cf222e; stroke-width: 2 }
";

/// The chart as an SVG document.
pub(super) fn svg(history: &History, verdict: &Verdict) -> String {
    let rate_top = TOP + LANE * history.header.nodes.len() as f64 + 30.0;
    let latency_top = rate_top + PANEL + GAP;
    let marks = latency_top + PANEL + 36.0;
    let mut svg = Svg::new((WIDTH, marks + 3.0 * MARKS + 20.0), STYLE);
    let held = if verdict.is_good() { "every promise held" } else { "a promise was broken" };
    let title = format!("{} operations, seed {}: {held}", verdict.summary.operations, history.header.seed);
    svg.text("title", (TIME.0, 22.0), &title);
    let time = Axis::linear(in_seconds(history.end.at.max(1)), TIME);
    draw_lanes(&mut svg, &time, history);
    let (rate, latency) = lines(history);
    for (top, line) in [(rate_top, rate), (latency_top, latency)] {
        let lines = [line];
        let axis = Axis::linear_for(&lines, (top + PANEL, top));
        svg.panel(&time, &axis, |value| value.to_string(), &lines);
    }
    let returned = |wanted: fn(&Outcome) -> bool| {
        let writes = history.writes.iter().filter(move |(_, write)| wanted(&write.outcome));
        writes.map(|(_, write)| write.returned).collect()
    };
    let violations: Vec<Micros> = verdict.violations.kept().iter().map(|violation| violation.at).collect();
    let rows: [(&str, Vec<Micros>); 3] = [
        ("refused", returned(|outcome| matches!(outcome, Outcome::Refused { .. }))),
        ("unknown", returned(|outcome| matches!(outcome, Outcome::Unknown { .. }))),
        ("violation", violations),
    ];
    for (number, (class, times)) in rows.into_iter().enumerate() {
        draw_marks(&mut svg, &time, marks + MARKS * number as f64, class, &times);
    }
    svg.text("quiet", (TIME.0, marks + 3.0 * MARKS + 12.0), "seconds");
    svg.finish()
}

fn in_seconds(at: Micros) -> f64 {
    at as f64 / 1e6
}

/// Acknowledged messages a second, and their mean latency in milliseconds, over time.
fn lines(history: &History) -> (Series, Series) {
    let bucket = (history.end.at / POINTS_MAX).max(BUCKET_MIN);
    let number = usize::try_from(history.end.at / bucket).unwrap_or(0) + 1;
    let mut buckets: Vec<Vec<&Write>> = vec![Vec::new(); number];
    for (_, write) in &history.writes {
        if let Outcome::Committed { replayed: false, .. } = write.outcome {
            buckets[usize::try_from(write.returned / bucket).unwrap_or(0).min(number - 1)].push(write);
        }
    }
    let (mut rate, mut latency) = (Vec::new(), Vec::new());
    for (number, writes) in buckets.iter().enumerate() {
        let middle = (number as f64 + 0.5) * in_seconds(bucket);
        let messages: usize = writes.iter().map(|write| write.texts.len()).sum();
        rate.push((middle, messages as f64 / in_seconds(bucket)));
        if !writes.is_empty() {
            let waited: Micros = writes.iter().map(|write| write.returned - write.call).sum();
            latency.push((middle, waited as f64 / writes.len() as f64 / 1e3));
        }
    }
    let line = |name, points| Series { class: "w", name, points };
    (line("messages a second", rate), line("mean latency, ms", latency))
}

/// A lane for each node with its faults, and the classes that there were.
fn draw_lanes(svg: &mut Svg, time: &Axis, history: &History) {
    let height = LANE - 4.0;
    for (number, node) in history.header.nodes.iter().enumerate() {
        let y = TOP + LANE * number as f64;
        svg.rectangle("lane", (TIME.0, y), (TIME.1 - TIME.0, height), "");
        svg.text("", (8.0, y + 15.0), node);
        for (_, fault) in history.faults.iter().filter(|(_, fault)| fault.nodes.contains(&number)) {
            let (begin, end) = (time.place(in_seconds(fault.begin)), time.place(in_seconds(fault.end)));
            let class = CLASSES.iter().find(|class| **class == fault.class).unwrap_or(&"api");
            let width = (end - begin).max(2.0);
            svg.rectangle(&format!("fault {class}"), (begin, y), (width, height), &fault.what);
            if width > 6.0 * class.len() as f64 + 4.0 {
                svg.text("fault-name", (begin + 3.0, y + 14.0), class);
            }
        }
    }
    let mut x = TIME.1;
    for class in CLASSES.iter().rev() {
        if history.faults.iter().any(|(_, fault)| fault.class == **class) {
            x -= 8.0 * class.len() as f64 + 22.0;
            svg.rectangle(&format!("fault {class}"), (x, 12.0), (11.0, 11.0), "");
            svg.text("", (x + 15.0, 22.0), class);
        }
    }
}

fn draw_marks(svg: &mut Svg, time: &Axis, top: f64, class: &str, times: &[Micros]) {
    svg.text("", (8.0, top + 12.0), class);
    let mut last = f64::NEG_INFINITY;
    for at in times {
        let x = time.place(in_seconds(*at));
        // A mark that would lie on the last one shows nothing new.
        if (x - last).abs() >= 0.5 {
            svg.line(class, (x, top + 2.0), (x, top + MARKS - 2.0));
            last = x;
        }
    }
}
