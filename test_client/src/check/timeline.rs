//! A run as a picture, as SVG drawn by hand like that of `bench`: faults in a lane for each node, acknowledged messages
//! a second, latency, and ticks for what was refused, what is unknown, and what must not be.

use super::{History, Verdict};
use crate::history::{Micros, Outcome};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const LANE: f64 = 26.0;
const PANEL: f64 = 120.0;
const TICKS: f64 = 16.0;
/// The most points of a line.
const POINTS_MAX: u64 = 200;

/// Classes of faults, each with its colour.
const CLASSES: [&str; 8] = ["kill", "pause", "network", "disk", "clock", "api", "restart", "members"];

/// Colours for light and dark.
const STYLE: &str = "
  svg { color: #24292f; font: 12px system-ui, sans-serif } .paper { fill: #ffffff }
  text { fill: currentColor } .quiet { opacity: .7 } .title { font-weight: 600 }
  .grid { stroke: currentColor; opacity: .15 } .lane { fill: currentColor; opacity: .05 }
  polyline { fill: none; stroke: #0969da; stroke-width: 2; stroke-linejoin: round }
  .fault { opacity: .75 } .fault-name { fill: #ffffff; font-size: 10px }
  .kill { fill: #cf222e } .pause { fill: #8250df } .network { fill: #bc4c00 } .disk { fill: #7d4e00 }
  .clock { fill: #0a7ea4 } .api { fill: #57606a } .restart { fill: #bf3989 } .members { fill: #1a7f37 }
  .refused { stroke: #9a6700 } .unknown { stroke: #57606a } .violation { stroke: #cf222e; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6edf3 } .paper { fill: #161b22 } polyline { stroke: #58a6ff }
    .refused { stroke: #d29922 } .unknown { stroke: #8b949e } .violation { stroke: #ff7b72 }
  }
";

/// The drawing.
pub(super) fn svg(history: &History, verdict: &Verdict) -> String {
    let panels = TOP + LANE * history.header.nodes.len() as f64 + 40.0;
    let ticks = panels + 2.0 * (PANEL + 40.0);
    let height = ticks + 3.0 * TICKS + 50.0;
    let mut paper = Paper { out: String::new(), end: history.end.at.max(1) };
    let _ = write!(
        paper.out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
    );
    let held = if verdict.is_good() { "every promise held" } else { "a promise was broken" };
    let title = format!("{} operations, seed {}: {held}", verdict.summary.operations, history.header.seed);
    paper.text(LEFT, 22.0, "title", &title);
    paper.time_axis(ticks + 3.0 * TICKS);
    paper.legend(history);
    paper.lanes(history);
    let (rate, latency) = lines(history);
    paper.panel(panels, "messages/s", &rate);
    paper.panel(panels + PANEL + 40.0, "latency, ms", &latency);
    let returned = |wanted: fn(&Outcome) -> bool| {
        let writes = history.writes.iter().filter(move |(_, write)| wanted(&write.outcome));
        writes.map(|(_, write)| write.returned)
    };
    paper.ticks(ticks, "refused", returned(|outcome| matches!(outcome, Outcome::Refused { .. })));
    paper.ticks(ticks + TICKS, "unknown", returned(|outcome| matches!(outcome, Outcome::Unknown { .. })));
    paper.ticks(ticks + 2.0 * TICKS, "violation", verdict.violations.kept().iter().map(|violation| violation.at));
    paper.out.push_str("</svg>\n");
    paper.out
}

/// Times in microseconds, and values.
type Points = Vec<(f64, f64)>;

/// Acknowledged messages a second, and their mean latency in milliseconds, over time.
fn lines(history: &History) -> (Points, Points) {
    let bucket = (history.end.at / POINTS_MAX).max(250_000);
    let buckets = usize::try_from(history.end.at / bucket).unwrap_or(0) + 1;
    let mut sums = vec![(0u64, 0u64, 0u64); buckets];
    for (_, write) in &history.writes {
        let index = usize::try_from(write.returned / bucket).unwrap_or(0).min(buckets - 1);
        if let Outcome::Committed { replayed: false, .. } = write.outcome {
            let (messages, writes, micros) = &mut sums[index];
            *messages += write.texts.len() as u64;
            *writes += 1;
            *micros += write.returned - write.call;
        }
    }
    let middle = |index: usize| (index as f64 + 0.5) * bucket as f64;
    let rate = sums.iter().enumerate().map(|(index, sum)| (middle(index), sum.0 as f64 * 1e6 / bucket as f64));
    let with_writes = sums.iter().enumerate().filter(|(_, sum)| sum.1 > 0);
    let latency = with_writes.map(|(index, sum)| (middle(index), sum.2 as f64 / sum.1 as f64 / 1e3));
    (rate.collect(), latency.collect())
}

struct Paper {
    out: String,
    end: Micros,
}

impl Paper {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at / self.end as f64).min(1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ =
            writeln!(self.out, "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
    }

    /// A mark every second, or every ten seconds, and so on.
    fn time_axis(&mut self, bottom: f64) {
        let seconds = self.end as f64 / 1e6;
        let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let step = steps.into_iter().find(|step| seconds / step <= 15.0).unwrap_or(36_000.0);
        let mut second = 0.0;
        while second <= seconds {
            let x = self.x(second * 1e6);
            self.line("grid", (x, TOP - 8.0), (x, bottom));
            self.text(x - 4.0, bottom + 16.0, "", &format!("{second}"));
            second += step;
        }
        self.text(LEFT, bottom + 34.0, "quiet", "seconds");
    }

    /// The classes that there were, with their colours.
    fn legend(&mut self, history: &History) {
        let mut x = WIDTH - RIGHT;
        for class in CLASSES.iter().rev() {
            if history.faults.iter().any(|(_, fault)| fault.class == **class) {
                x -= 8.0 * class.len() as f64 + 22.0;
                let _ = writeln!(
                    self.out,
                    "<rect class=\"fault {class}\" x=\"{x:.1}\" y=\"12\" width=\"11\" height=\"11\"/>"
                );
                self.text(x + 15.0, 22.0, "", class);
            }
        }
    }

    fn lanes(&mut self, history: &History) {
        for (number, node) in history.header.nodes.iter().enumerate() {
            let y = TOP + LANE * number as f64;
            let (width, height) = (WIDTH - LEFT - RIGHT, LANE - 4.0);
            let _ = writeln!(
                self.out,
                "<rect class=\"lane\" x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
            );
            self.text(8.0, y + 15.0, "", node);
            for (_, fault) in history.faults.iter().filter(|(_, fault)| fault.nodes.contains(&number)) {
                let (begin, end) = (self.x(fault.begin as f64), self.x(fault.end as f64));
                let width = (end - begin).max(2.0);
                let class = CLASSES.iter().find(|class| **class == fault.class).unwrap_or(&"api");
                let what = fault.what.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let _ = writeln!(
                    self.out,
                    "<rect class=\"fault {class}\" x=\"{begin:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\">\
                     <title>{what}</title></rect>"
                );
                if width > 6.0 * class.len() as f64 + 4.0 {
                    self.text(begin + 3.0, y + 14.0, "fault-name", class);
                }
            }
        }
    }

    fn panel(&mut self, top: f64, name: &str, points: &[(f64, f64)]) {
        let greatest = points.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        let bottom = top + PANEL;
        for part in [0.0, 0.5, 1.0] {
            let y = bottom - part * PANEL;
            self.line("grid", (LEFT, y), (WIDTH - RIGHT, y));
            let (x, y, value) = (LEFT - 8.0, y + 4.0, part * greatest);
            let _ = writeln!(self.out, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.0}</text>");
        }
        self.text(8.0, top - 12.0, "quiet", name);
        let place = |(at, value): &(f64, f64)| format!("{:.1},{:.1}", self.x(*at), bottom - value / greatest * PANEL);
        let places: Vec<String> = points.iter().map(place).collect();
        let _ = writeln!(self.out, "<polyline points=\"{}\"/>", places.join(" "));
    }

    fn ticks(&mut self, top: f64, class: &str, times: impl Iterator<Item = Micros>) {
        self.text(8.0, top + 12.0, "", class);
        let mut last = f64::NEG_INFINITY;
        for time in times {
            let x = self.x(time as f64);
            // What would lie on the last one adds nothing.
            if (x - last).abs() >= 0.5 {
                self.line(class, (x, top + 2.0), (x, top + TICKS - 2.0));
                last = x;
            }
        }
    }
}
