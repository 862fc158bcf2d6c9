//! Charts over time as SVG, written by hand: panels with two axes take less code than a plotting library, and the
//! drawing follows the light or dark theme of the reader.

use std::fmt;
use std::fmt::Write;

/// The style of all charts. The lines of a panel differ by dashes as well as by colour.
const STYLE: &str = "
  svg { color: #24292f; font: 12px system-ui, sans-serif } .paper { fill: #ffffff }
  text { fill: currentColor } .quiet { opacity: .7 } .title { font-weight: 600 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: currentColor; opacity: .15 }
  polyline { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
  .w { stroke: #0969da } .w9 { stroke: #cf222e } .r { stroke: #1a7f37 } .r9 { stroke: #9a6700 }
  .r, .r9 { stroke-dasharray: 6 4 }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6edf3 } .paper { fill: #161b22 }
    .w { stroke: #58a6ff } .w9 { stroke: #ff7b72 } .r { stroke: #3fb950 } .r9 { stroke: #d29922 }
  }
";

/// A position, or a size.
type Pair = (f64, f64);

/// A drawing under construction.
pub(crate) struct Svg(String);

impl Svg {
    /// An empty drawing, with styles beside the common ones.
    pub(crate) fn new((width, height): Pair, style: &str) -> Svg {
        let mut svg = Svg(String::new());
        svg.element(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<style>{STYLE}{style}</style>"
        ));
        svg.rectangle("paper", (0.0, 0.0), (width, height), "");
        svg
    }

    /// The whole document.
    pub(crate) fn finish(mut self) -> String {
        self.element(format_args!("</svg>"));
        self.0
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): Pair, text: &str) {
        self.element(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text)));
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): Pair, (x2, y2): Pair) {
        self.element(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// A rectangle; the title is what a pointer over it shows.
    pub(crate) fn rectangle(&mut self, class: &str, (x, y): Pair, (width, height): Pair, title: &str) {
        let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
        self.element(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">{title}</rect>"
        ));
    }

    /// Lines between two axes, with a legend above them.
    pub(crate) fn panel(&mut self, x: &Axis, y: &Axis, label: impl Fn(f64) -> String, lines: &[Series]) {
        let ((left, right), (bottom, top)) = (x.places(), y.places());
        for &tick in &y.ticks {
            let place = y.place(tick);
            self.line("grid", (left, place), (right, place));
            self.text("end", (left - 8.0, place + 4.0), &label(tick));
        }
        for &tick in &x.ticks {
            let place = x.place(tick);
            self.line("grid", (place, top), (place, bottom));
            self.text("middle", (place, bottom + 18.0), &tick.to_string());
        }
        for (number, line) in lines.iter().enumerate() {
            let places: Vec<Pair> = line.points.iter().map(|(at, value)| (x.place(*at), y.place(*value))).collect();
            self.polyline(line.class, &places);
            let (left, middle) = (left + 170.0 * number as f64, top - 14.0);
            self.polyline(line.class, &[(left, middle), (left + 24.0, middle)]);
            self.text("", (left + 30.0, middle + 4.0), line.name);
        }
    }

    fn polyline(&mut self, class: &str, places: &[Pair]) {
        // The first point occurs twice, so that a line of one point is a dot.
        let points: Vec<String> =
            places.first().into_iter().chain(places).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.element(format_args!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" ")));
    }

    fn element(&mut self, element: fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes everything");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A line of a panel: its name, and its points as values of both axes.
pub(crate) struct Series {
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Maps values to positions.
pub(crate) struct Axis {
    ticks: Vec<f64>,
    /// Value and position of both ends.
    from: Pair,
    to: Pair,
    is_logarithmic: bool,
}

impl Axis {
    /// An axis from zero to a round number that is not less than the greatest value.
    pub(crate) fn linear(greatest: f64, (from, to): Pair) -> Axis {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let decade = 10f64.powf((greatest / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| greatest / step <= 5.0);
        let step = step.unwrap_or(greatest);
        let steps = (greatest / step - 1e-9).ceil();
        let ticks = (0..=steps as u32).map(|number| (f64::from(number) * step * 1e6).round() / 1e6).collect();
        Axis { ticks, from: (0.0, from), to: (steps * step, to), is_logarithmic: false }
    }

    /// An axis from zero for all values of some lines.
    pub(crate) fn linear_for(lines: &[Series], places: Pair) -> Axis {
        Axis::linear(values(lines).fold(0.0, f64::max), places)
    }

    /// Powers of ten around all values of some lines: usual and rare latencies differ by orders of magnitude.
    pub(crate) fn logarithmic_for(lines: &[Series], places: Pair) -> Axis {
        let least = values(lines).fold(f64::INFINITY, f64::min);
        let greatest = values(lines).fold(0.0, f64::max);
        if least.is_finite() { Axis::logarithmic(least, greatest, places) } else { Axis::logarithmic(1e3, 1e4, places) }
    }

    fn logarithmic(least: f64, greatest: f64, (from, to): Pair) -> Axis {
        let low = least.max(1.0).log10().floor();
        let high = greatest.max(1.0).log10().ceil().max(low + 1.0);
        let factors: &[f64] = if high - low <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = (low as i32..high as i32).flat_map(|decade| factors.iter().map(move |f| f * 10f64.powi(decade)));
        let (low, high) = (10f64.powf(low), 10f64.powf(high));
        Axis { ticks: decades.chain([high]).collect(), from: (low, from), to: (high, to), is_logarithmic: true }
    }

    /// The position of a value.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.max(1.0).log10() } else { value };
        let (low, high) = (scale(self.from.0), scale(self.to.0));
        self.from.1 + (scale(value) - low) / (high - low) * (self.to.1 - self.from.1)
    }

    fn places(&self) -> Pair {
        (self.from.1, self.to.1)
    }
}

fn values(lines: &[Series]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks() {
        let linear = |greatest| Axis::linear(greatest, (0.0, 1.0)).ticks;
        assert_eq!(linear(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear(21_034.0), [0.0, 5e3, 1e4, 1.5e4, 2e4, 2.5e4]);
        assert_eq!(linear(0.3), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(linear(0.0).last(), Some(&1.0));
        let logarithmic = |least, greatest| Axis::logarithmic(least, greatest, (0.0, 1.0)).ticks;
        assert_eq!(logarithmic(2900.0, 6300.0), [1e3, 2e3, 5e3, 1e4]);
        assert_eq!(logarithmic(70.0, 2e6), [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn values_have_their_place() {
        let axis = Axis::linear(10.0, (100.0, 0.0));
        assert_eq!([0.0, 5.0, 10.0].map(|value| axis.place(value)), [100.0, 50.0, 0.0]);
        let axis = Axis::logarithmic(10.0, 1000.0, (200.0, 0.0));
        assert_eq!([10.0, 100.0, 1000.0].map(|value| axis.place(value).round()), [200.0, 100.0, 0.0]);
    }
}
