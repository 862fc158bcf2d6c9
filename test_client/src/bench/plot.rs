//! Throughput and latency over time, drawn as SVG: by hand, because two panels with axes are less than what a plotting
//! library brings along, and can follow the reader's light or dark theme.

use super::options::Options;
use super::report::grouped;
use super::summary::{Figures, Second, Summary};
use super::tally::Latency;
use std::fmt::Write;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;

/// Top and bottom of the panels.
const THROUGHPUT: (f64, f64) = (70.0, 260.0);
const LATENCY: (f64, f64) = (320.0, 510.0);

/// Colours for light and dark; the lines differ by dashes, too.
const STYLE: &str = "
  svg { color: #24292f; font: 13px system-ui, sans-serif } .paper { fill: #ffffff }
  text { fill: currentColor } .quiet { opacity: .7 } .title { font-weight: 600 }
  .grid { stroke: currentColor; opacity: .15 }
  polyline { fill: none; stroke-width: 2; stroke-linejoin: round } circle { stroke: none }
  .w { stroke: #0969da; fill: #0969da } .w9 { stroke: #cf222e; fill: #cf222e }
  .r { stroke: #1a7f37; fill: #1a7f37 } .r9 { stroke: #9a6700; fill: #9a6700 }
  .r, .r9 { stroke-dasharray: 6 4 }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6edf3 } .paper { fill: #161b22 }
    .w { stroke: #58a6ff; fill: #58a6ff } .w9 { stroke: #ff7b72; fill: #ff7b72 }
    .r { stroke: #3fb950; fill: #3fb950 } .r9 { stroke: #d29922; fill: #d29922 }
  }
  polyline.w, polyline.w9, polyline.r, polyline.r9 { fill: none }
";

/// A line of a panel.
struct Line {
    class: &'static str,
    name: &'static str,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// A value for every second that has one, at the middle of it.
    fn of(summary: &Summary, class: &'static str, name: &'static str, value: impl Fn(&Second) -> Option<f64>) -> Line {
        let middle = |second: &Second| second.begins as f64 + second.length.as_secs_f64() / 2.0;
        let points = summary.seconds.iter().filter_map(|second| Some((middle(second), value(second)?))).collect();
        Line { class, name, points }
    }
}

/// The drawing.
pub(super) fn svg(options: &Options, summary: &Summary) -> String {
    let writes = |value: fn(&Figures) -> Option<f64>| move |second: &Second| value(&second.writes);
    let reads = |value: fn(&Figures) -> Option<f64>| move |second: &Second| value(&second.reads);
    let rate: fn(&Figures) -> Option<f64> = |figures| Some(figures.per_second);
    let p50: fn(&Figures) -> Option<f64> = |figures| figures.latency.map(|Latency { p50, .. }| p50 as f64);
    let p99: fn(&Figures) -> Option<f64> = |figures| figures.latency.map(|Latency { p99, .. }| p99 as f64);
    let (mut throughput, mut latency) = (Vec::new(), Vec::new());
    if options.writers > 0 {
        throughput.push(Line::of(summary, "w", "messages a second", writes(rate)));
        latency.push(Line::of(summary, "w", "writes p50", writes(p50)));
        latency.push(Line::of(summary, "w9", "writes p99", writes(p99)));
    }
    if options.readers > 0 {
        throughput.push(Line::of(summary, "r", "pages a second", reads(rate)));
        latency.push(Line::of(summary, "r", "reads p50", reads(p50)));
        latency.push(Line::of(summary, "r9", "reads p99", reads(p99)));
    }
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\">\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
    );
    text(&mut drawing, LEFT, 26.0, "title", &title(options));
    let time = Axis::linear(summary.measured.as_secs_f64(), LEFT, WIDTH - RIGHT);
    panel(&mut drawing, &time, THROUGHPUT, Axis::linear, grouped, &throughput);
    panel(&mut drawing, &time, LATENCY, |_, bottom, top| latency_axis(&latency, bottom, top), micros, &latency);
    text(&mut drawing, LEFT, HEIGHT - 12.0, "quiet", "seconds");
    drawing.push_str("</svg>\n");
    drawing
}

fn title(options: &Options) -> String {
    let how = options.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{} a second", grouped(rate)));
    format!("{} writers ({how}), {} readers, {} bytes", options.writers, options.readers, grouped(options.size as f64))
}

fn micros(value: f64) -> String {
    if value < 1e6 { format!("{} ms", value / 1e3) } else { format!("{} s", value / 1e6) }
}

fn panel(
    drawing: &mut String,
    time: &Axis,
    (top, bottom): (f64, f64),
    axis: impl Fn(f64, f64, f64) -> Axis,
    label: impl Fn(f64) -> String,
    lines: &[Line],
) {
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let axis = axis(values.fold(0.0, f64::max), bottom, top);
    for &tick in &axis.ticks {
        let (y, right) = (axis.place(tick), WIDTH - RIGHT);
        rule(drawing, (LEFT, y), (right, y));
        let (x, y) = (LEFT - 8.0, y + 4.0);
        let _ = writeln!(drawing, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", label(tick));
    }
    for &tick in &time.ticks {
        let (x, y) = (time.place(tick), bottom + 18.0);
        rule(drawing, (x, top), (x, bottom));
        let _ = writeln!(drawing, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{tick}</text>");
    }
    for (number, line) in lines.iter().enumerate() {
        let place = |(x, y): &(f64, f64)| (time.place(*x), axis.place(*y));
        let points: Vec<String> = line.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let class = line.class;
        let _ = writeln!(drawing, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        for (x, y) in line.points.iter().filter(|_| line.points.len() < 60).map(place) {
            let _ = writeln!(drawing, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
        }
        let (x, y) = (LEFT + 170.0 * number as f64, top - 14.0);
        let (end, middle) = (x + 24.0, y - 4.0);
        let _ = writeln!(drawing, "<polyline class=\"{class}\" points=\"{x},{middle} {end},{middle}\"/>");
        text(drawing, x + 30.0, y, "", line.name);
    }
}

fn rule(drawing: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(drawing, "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

fn text(drawing: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(drawing, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

/// From values to places on the paper.
struct Axis {
    ticks: Vec<f64>,
    /// Value and place of both ends.
    from: (f64, f64),
    to: (f64, f64),
    is_logarithmic: bool,
}

impl Axis {
    /// From zero to a round number that is not less than the greatest value.
    fn linear(greatest: f64, from: f64, to: f64) -> Axis {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let decade = 10f64.powf((greatest / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| greatest / step <= 5.0);
        let step = step.unwrap_or(greatest);
        let steps = (greatest / step - 1e-9).ceil();
        let ticks = (0..=steps as u32).map(|number| (f64::from(number) * step * 1e6).round() / 1e6).collect();
        Axis { ticks, from: (0.0, from), to: (steps * step, to), is_logarithmic: false }
    }

    /// Powers of ten around the values: what is usual and what is rare differ by orders of magnitude.
    fn logarithmic(least: f64, greatest: f64, from: f64, to: f64) -> Axis {
        let low = least.max(1.0).log10().floor();
        let high = greatest.max(1.0).log10().ceil().max(low + 1.0);
        let factors: &[f64] = if high - low <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = (low as i32..high as i32).flat_map(|decade| factors.iter().map(move |f| f * 10f64.powi(decade)));
        let (low, high) = (10f64.powf(low), 10f64.powf(high));
        Axis { ticks: decades.chain([high]).collect(), from: (low, from), to: (high, to), is_logarithmic: true }
    }

    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.max(1.0).log10() } else { value };
        let (low, high) = (scale(self.from.0), scale(self.to.0));
        self.from.1 + (scale(value) - low) / (high - low) * (self.to.1 - self.from.1)
    }
}

/// The axis that all latencies have a place on.
fn latency_axis(lines: &[Line], bottom: f64, top: f64) -> Axis {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let least = values().fold(f64::INFINITY, f64::min);
    if least.is_finite() {
        Axis::logarithmic(least, values().fold(0.0, f64::max), bottom, top)
    } else {
        Axis::logarithmic(1000.0, 10_000.0, bottom, top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks() {
        assert_eq!(Axis::linear(10.0, 0.0, 1.0).ticks, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Axis::linear(21_034.0, 0.0, 1.0).ticks, [0.0, 5e3, 1e4, 1.5e4, 2e4, 2.5e4]);
        assert_eq!(Axis::linear(0.3, 0.0, 1.0).ticks, [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(Axis::linear(0.0, 0.0, 1.0).ticks.last(), Some(&1.0));
        assert_eq!(Axis::logarithmic(2900.0, 6300.0, 0.0, 1.0).ticks, [1e3, 2e3, 5e3, 1e4]);
        assert_eq!(Axis::logarithmic(70.0, 2e6, 0.0, 1.0).ticks, [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn values_have_their_place() {
        let axis = Axis::linear(10.0, 100.0, 0.0);
        assert_eq!([0.0, 5.0, 10.0].map(|value| axis.place(value)), [100.0, 50.0, 0.0]);
        let axis = Axis::logarithmic(10.0, 1000.0, 200.0, 0.0);
        assert_eq!([10.0, 100.0, 1000.0].map(|value| axis.place(value).round()), [200.0, 100.0, 0.0]);
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        let drawing = svg(&Options::of(&["--readers", "1"]), &Summary::new(1, 0));
        assert!(drawing.starts_with("<svg") && drawing.ends_with("</svg>\n") && !drawing.contains("NaN"), "{drawing}");
    }
}
