//! Fractional numbers on the command line, and their bounds.

use std::ops::RangeInclusive;

/// Reads a number within bounds. The error names the bounds, and follows the name of the option.
pub(crate) fn number_within(text: &str, bounds: RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| format!("it must be a number from {} to {}", bounds.start(), bounds.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept() {
        assert_eq!(number_within("0.25", 0.0..=3600.0), Ok(0.25));
        for wrong in ["-1", "3601", "NaN", "inf", "soon", ""] {
            let error = number_within(wrong, 0.0..=3600.0).unwrap_err();
            assert_eq!(error, "it must be a number from 0 to 3600", "{wrong}");
        }
    }
}
