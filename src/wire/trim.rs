//! `POST /trim`: a request to drop the beginning of the log.

use super::read_object;
use crate::protocol::Id;
use serde::Deserialize;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trim {
    /// The first id that has to stay.
    pub before: Id,
    /// Whether to say only what would go.
    pub dry_run: bool,
    /// Whether secondaries that are away hold nothing up: they begin anew when they are back.
    pub leave_behind: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrimBody {
    before: u64,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    leave_behind: bool,
}

impl Trim {
    /// Reads a body.
    ///
    /// # Errors
    /// With a sentence for the client.
    pub fn from_json(body: &[u8]) -> Result<Trim, String> {
        let TrimBody { before, dry_run, leave_behind } = read_object(body)
            .map_err(|why| format!("the body does not say what to trim, such as {{\"before\": 1000}}: {why}"))?;
        if before == 0 {
            return Err("before is 0; ids begin at 1".to_owned());
        }
        Ok(Trim { before: Id::new(before), dry_run, leave_behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_first_id_that_stays() {
        let asked = |body: &str| Trim::from_json(body.as_bytes());
        let plain = Trim { before: Id::new(7), dry_run: false, leave_behind: false };
        assert_eq!(asked(r#"{"before": 7}"#), Ok(plain));
        assert_eq!(asked(r#"{"before": 7, "dry_run": true}"#), Ok(Trim { dry_run: true, ..plain }));
        for wrong in ["{}", "7", r#"{"before": 0}"#, r#"{"before": -1}"#, r#"{"before": 7, "dry": true}"#] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
