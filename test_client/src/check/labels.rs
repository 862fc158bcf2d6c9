//! How things are named in sentences.

use crate::history::{History, Micros, Text};
use crate::output::visible;

/// Longest piece of a text that is shown.
const CHARACTERS_MAX: usize = 60;

/// Names for what a history speaks of by numbers.
pub(super) struct Labels<'a>(pub(super) &'a History);

impl Labels<'_> {
    /// A text in quotation marks, on one line, shortened.
    pub(super) fn text(&self, text: Text) -> String {
        let text = self.0.texts.text(text);
        let piece: String = text.chars().take(CHARACTERS_MAX).collect();
        let rest = if piece.len() < text.len() { "…" } else { "" };
        format!("\"{}{rest}\"", visible(&piece).replace('"', "\\\""))
    }

    pub(super) fn node(&self, node: usize) -> String {
        visible(&self.0.header.nodes[node])
    }

    pub(super) fn time(&self, at: Micros) -> String {
        format!("{:.3} s", at as f64 / 1e6)
    }
}
