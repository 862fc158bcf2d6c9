//! An injected fault, for demonstrations and tests: the body of `PUT /faults`.

use super::{is_default, read_object};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest duration of a fault, in seconds.
const LASTS_MAX_S: f64 = 3_600.0;
/// The duration of a fault without `for`, in seconds.
const LASTS_DEFAULT_S: f64 = 60.0;

/// Whether a node appends before it answers with an error.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// Nothing is appended.
    Before,
    /// The message is appended, although the answer is an error.
    After,
}

/// Which traffic between this node and other nodes is lost. A cut in one direction loses the answers that travel there,
/// too.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// What others send.
    In,
    /// What this node sends.
    Out,
    /// All of it.
    Both,
}

impl Cut {
    /// Whether what others send is lost.
    #[must_use]
    pub fn is_deaf(self) -> bool {
        self != Cut::Out
    }

    /// Whether what this node sends is lost.
    #[must_use]
    pub fn is_mute(self) -> bool {
        self != Cut::In
    }
}

/// A fault, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// How long a call that appends waits before the node handles it.
    pub hold: Duration,
    /// How long its acknowledgement waits, in addition to the configured delay of the node.
    pub delay: Duration,
    /// Whether the node answers it with an error.
    pub fail: Option<Fail>,
    /// Which traffic is lost.
    pub cut: Option<Cut>,
    /// The fault ends after so many calls that append.
    pub calls: Option<u64>,
    /// The fault ends after this time.
    pub lasts: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultFields {
    hold: Option<f64>,
    delay: Option<f64>,
    fail: Option<Fail>,
    cut: Option<Cut>,
    calls: Option<u64>,
    #[serde(rename = "for")]
    lasts: Option<f64>,
}

impl Fault {
    /// Reads a JSON body.
    ///
    /// # Errors
    /// With a sentence for the client.
    pub fn from_json(body: &[u8]) -> Result<Fault, String> {
        let fields: FaultFields = read_object(body).map_err(|error| format!("the body is not a fault: {error}"))?;
        let fault = Fault {
            hold: seconds("hold", fields.hold.unwrap_or(0.0))?,
            delay: seconds("delay", fields.delay.unwrap_or(0.0))?,
            fail: fields.fail,
            cut: fields.cut,
            calls: fields.calls,
            lasts: seconds("for", fields.lasts.unwrap_or(LASTS_DEFAULT_S))?,
        };
        let harmless = fault.hold.is_zero() && fault.delay.is_zero() && fault.fail.is_none() && fault.cut.is_none();
        if harmless {
            return Err("the fault does nothing; give it \"hold\", \"delay\", \"fail\" or \"cut\"".to_owned());
        }
        if fault.calls == Some(0) || fault.lasts.is_zero() {
            return Err("the fault ends before it begins; \"calls\" and \"for\" must be more than 0".to_owned());
        }
        if fault.calls.is_some() && fault.cut.is_some() {
            return Err(
                "\"calls\" counts calls that arrive, which a cut does not let happen; send one of them".to_owned()
            );
        }
        Ok(fault)
    }
}

fn seconds(name: &str, given: f64) -> Result<Duration, String> {
    if (0.0..=LASTS_MAX_S).contains(&given) {
        return Ok(Duration::from_secs_f64(given));
    }
    Err(format!("\"{name}\" is {given}; it must be a number of seconds from 0 to {LASTS_MAX_S}"))
}

/// The reply to `GET /faults`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FaultReport {
    /// Whether clients can inject faults.
    pub enabled: bool,
    /// The current fault.
    pub active: Option<ActiveFault>,
    /// How often the latest fault had an effect.
    pub hits: u64,
}

/// A current fault.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ActiveFault {
    /// See [`Fault::hold`], in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub hold: f64,
    /// See [`Fault::delay`], in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub delay: f64,
    /// See [`Fault::fail`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fail>,
    /// See [`Fault::cut`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// The number of calls that it still applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Milliseconds until it ends at the latest.
    pub ends_in_ms: u64,
}

impl ActiveFault {
    /// A fault that ends after `left`.
    #[must_use]
    pub fn new(fault: &Fault, left: Duration) -> ActiveFault {
        ActiveFault {
            hold: fault.hold.as_secs_f64(),
            delay: fault.delay.as_secs_f64(),
            fail: fault.fail,
            cut: fault.cut,
            calls: fault.calls,
            ends_in_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read() {
        let fault = Fault::from_json(br#"{"delay":1.5,"fail":"after","calls":2,"for":30}"#).unwrap();
        let (delay, lasts) = (Duration::from_millis(1_500), Duration::from_secs(30));
        let expected = Fault { hold: Duration::ZERO, delay, fail: Some(Fail::After), cut: None, calls: Some(2), lasts };
        assert_eq!(fault, expected);
        let cut = Fault::from_json(br#"{"cut":"in"}"#).unwrap();
        assert_eq!((cut.cut, cut.lasts), (Some(Cut::In), Duration::from_secs(60)));
        assert!(Cut::In.is_deaf() && !Cut::In.is_mute() && Cut::Both.is_deaf() && Cut::Both.is_mute());
    }

    #[test]
    fn a_fault_that_makes_no_sense_is_refused() {
        for wrong in [
            "{}",
            r#"{"for":3}"#,
            r#"{"delay":-1}"#,
            r#"{"delay":1e9}"#,
            r#"{"delay":"1"}"#,
            r#"{"delay":1,"for":3601}"#,
            r#"{"delay":1,"for":0}"#,
            r#"{"delay":1,"calls":0}"#,
            r#"{"fail":"maybe"}"#,
            r#"{"cut":"both","calls":1}"#,
            r#"{"explode":true}"#,
            "[]",
        ] {
            assert!(Fault::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
