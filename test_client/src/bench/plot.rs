//! Throughput and latency over time as a chart.

use super::options::Options;
use super::report::grouped;
use super::stats::{P50, P99};
use super::summary::{Figures, Second, Summary};
use crate::output::{Axis, Series, Svg};

const SIZE: (f64, f64) = (820.0, 560.0);
/// Left and right end of both panels, and the bottom and top of each.
const TIME: (f64, f64) = (80.0, 800.0);
const THROUGHPUT: (f64, f64) = (260.0, 70.0);
const LATENCY: (f64, f64) = (510.0, 320.0);

/// The chart as an SVG document.
pub(super) fn svg(options: &Options, summary: &Summary) -> String {
    let (mut throughput, mut latency) = (Vec::new(), Vec::new());
    let mut add = |side: fn(&Second) -> &Figures, classes: [&'static str; 2], names: [&'static str; 3]| {
        let percentile = |index: usize| move |figures: &Figures| figures.latency.map(|latency| latency[index] as f64);
        throughput.push(line(summary, classes[0], names[0], |second| Some(side(second).per_second)));
        latency.push(line(summary, classes[0], names[1], |second| percentile(P50)(side(second))));
        latency.push(line(summary, classes[1], names[2], |second| percentile(P99)(side(second))));
    };
    if options.writers > 0 {
        add(|second| &second.writes, ["w", "w9"], ["messages a second", "writes p50", "writes p99"]);
    }
    if options.readers > 0 {
        add(|second| &second.reads, ["r", "r9"], ["pages a second", "reads p50", "reads p99"]);
    }
    let mut svg = Svg::new(SIZE, "");
    svg.text("title", (TIME.0, 26.0), &title(options));
    let time = Axis::linear(summary.measured.as_secs_f64(), TIME);
    svg.panel(&time, &Axis::linear_for(&throughput, THROUGHPUT), grouped, &throughput);
    svg.panel(&time, &Axis::logarithmic_for(&latency, LATENCY), micros, &latency);
    svg.text("quiet", (TIME.0, SIZE.1 - 12.0), "seconds");
    svg.finish()
}

/// A value for every second that has one, at the middle of it.
fn line(summary: &Summary, class: &'static str, name: &'static str, value: impl Fn(&Second) -> Option<f64>) -> Series {
    let middle = |second: &Second| second.begins as f64 + second.length.as_secs_f64() / 2.0;
    let points = summary.seconds.iter().filter_map(|second| Some((middle(second), value(second)?))).collect();
    Series { class, name, points }
}

fn title(options: &Options) -> String {
    let how = options.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{} a second", grouped(rate)));
    let size = grouped(f64::from(options.size));
    format!("{} writers ({how}), {} readers, {size} bytes", options.writers, options.readers)
}

fn micros(value: f64) -> String {
    if value < 1e6 { format!("{} ms", value / 1e3) } else { format!("{} s", value / 1e6) }
}
