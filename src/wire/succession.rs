//! What a candidate and the voters say to each other.
//!
//! | Request | From, to | Reply |
//! |---|---|---|
//! | `POST /replicate/promise` with [`PromiseRequestBody`] | candidate, voter | 200 [`PromiseBody`], 409 [`NotPromisedBody`] |
//! | `GET /replicate/slots?after=ID` | candidate, the voter with the best log | 200 [`SlotsBody`](super::node::SlotsBody) |

use super::base::{BaseBody, base_of, body_of};
use super::hexadecimal::{CopyIdText, LogIdText};
use super::lineage::{CandidacyBody, EPOCHS_MAX, EpochEntryBody, epochs_of, history_of};
use super::read_object;
use super::roster::RosterBody;
use crate::protocol::{Candidacy, CopyId, Epoch, Id, NotPromised, Promise, PromiseRequest, Roster};
use serde::{Deserialize, Serialize};

/// A candidate's question.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromiseRequestBody {
    log_id: LogIdText,
    candidacy: CandidacyBody,
    after: u64,
}

impl From<&PromiseRequest> for PromiseRequestBody {
    fn from(request: &PromiseRequest) -> PromiseRequestBody {
        PromiseRequestBody {
            log_id: LogIdText(request.log_id),
            candidacy: request.candidacy.into(),
            after: request.after.get(),
        }
    }
}

impl PromiseRequestBody {
    /// Reads a body.
    ///
    /// # Errors
    /// With a sentence for the sender.
    pub fn from_json(body: &[u8]) -> Result<PromiseRequest, String> {
        let body: PromiseRequestBody =
            read_object(body).map_err(|error| format!("the body asks for no promise: {error}"))?;
        let candidacy = Candidacy::from(body.candidacy);
        if candidacy.epoch.get() >= EPOCHS_MAX {
            return Err(format!("epoch {} is not valid: epochs are below {EPOCHS_MAX}", candidacy.epoch));
        }
        Ok(PromiseRequest { log_id: body.log_id.0, candidacy, after: Id::new(body.after) })
    }
}

/// A voter's promise.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromiseBody {
    copy: CopyIdText,
    history: Vec<EpochEntryBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<BaseBody>,
    last: u64,
    decided: u64,
    refused: Vec<u64>,
    roster: RosterBody,
}

impl PromiseBody {
    /// The promise of the node that holds this copy.
    #[must_use]
    pub fn new(copy: CopyId, promise: &Promise) -> PromiseBody {
        PromiseBody {
            copy: CopyIdText(copy),
            history: epochs_of(&promise.history),
            base: body_of(promise.base),
            last: promise.last.get(),
            decided: promise.decided.get(),
            refused: promise.refused.iter().map(|id| id.get()).collect(),
            roster: RosterBody::from(&promise.roster),
        }
    }

    /// Whose promise it is, and the promise. `None` if its epochs go back, or its base is not valid.
    #[must_use]
    pub fn into_promise(self) -> Option<(CopyId, Promise)> {
        let promise = Promise {
            history: history_of(&self.history)?,
            base: base_of(self.base).ok()?,
            last: Id::new(self.last),
            decided: Id::new(self.decided),
            refused: self.refused.into_iter().map(Id::new).collect(),
            roster: Roster::from(self.roster),
        };
        Some((self.copy.0, promise))
    }
}

/// A voter's refusal to promise.
#[derive(Debug, Deserialize, Serialize)]
pub struct NotPromisedBody {
    /// The reason, for people.
    pub error: String,
    /// The reason, for the candidate.
    #[serde(flatten)]
    reason: NotPromisedReason,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
enum NotPromisedReason {
    OtherLog { log_id: Option<LogIdText> },
    Promised { candidacy: CandidacyBody },
    Entered { epoch: u64 },
    Diverged { id: u64 },
}

impl From<&NotPromised> for NotPromisedBody {
    fn from(why: &NotPromised) -> NotPromisedBody {
        let reason = match *why {
            NotPromised::OtherLog(log_id) => NotPromisedReason::OtherLog { log_id: log_id.map(LogIdText) },
            NotPromised::Promised(other) => NotPromisedReason::Promised { candidacy: other.into() },
            NotPromised::Entered(epoch) => NotPromisedReason::Entered { epoch: epoch.get() },
            NotPromised::Diverged(id) => NotPromisedReason::Diverged { id: id.get() },
        };
        NotPromisedBody { error: format!("this node {why}"), reason }
    }
}

impl From<NotPromisedBody> for NotPromised {
    fn from(body: NotPromisedBody) -> NotPromised {
        match body.reason {
            NotPromisedReason::OtherLog { log_id } => NotPromised::OtherLog(log_id.map(|text| text.0)),
            NotPromisedReason::Promised { candidacy } => NotPromised::Promised(candidacy.into()),
            NotPromisedReason::Entered { epoch } => NotPromised::Entered(Epoch::new(epoch)),
            NotPromisedReason::Diverged { id } => NotPromised::Diverged(Id::new(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        Base, Contact, EpochEntry, EpochHistory, Fingerprint, Incarnation, LogId, Promotion, RosterNumber, Voters,
    };

    const CANDIDACY: Candidacy =
        Candidacy { epoch: Epoch::new(7), copy: CopyId::new(u64::MAX), master: Incarnation::new(u64::MAX - 1) };

    #[test]
    fn a_question_arrives_as_it_was_sent() {
        let request = PromiseRequest { log_id: LogId::new(5), candidacy: CANDIDACY, after: Id::new(9) };
        let json = serde_json::to_vec(&PromiseRequestBody::from(&request)).unwrap();
        assert_eq!(PromiseRequestBody::from_json(&json), Ok(request));
        let late = PromiseRequest { candidacy: Candidacy { epoch: Epoch::new(u64::MAX), ..CANDIDACY }, ..request };
        let json = serde_json::to_vec(&PromiseRequestBody::from(&late)).unwrap();
        assert!(PromiseRequestBody::from_json(&json).unwrap_err().contains("not valid"));
    }

    #[test]
    fn a_promise_arrives_as_it_was_given() {
        let entry = EpochEntry { epoch: Epoch::new(2), start: Id::new(3), master: Incarnation::new(9) };
        let voters = Voters::new(Promotion::On, [CopyId::new(1), CopyId::new(2)]);
        let contact = Contact { name: "secondary-1".into(), url: "http://localhost:5001".into() };
        let number = RosterNumber { epoch: Epoch::new(2), sequence: 4 };
        let promise = Promise {
            history: EpochHistory::new(vec![entry]).unwrap(),
            base: Base { id: Id::new(3), fingerprint: Fingerprint::of_bytes(b"a log"), messages: 2 },
            last: Id::new(8),
            decided: Id::new(6),
            refused: [Id::new(7)].into(),
            roster: Roster::new(number, CopyId::new(1), voters).with_contacts([(CopyId::new(2), contact)].into()),
        };
        let json = serde_json::to_string(&PromiseBody::new(CopyId::new(2), &promise)).unwrap();
        let arrived: PromiseBody = serde_json::from_str(&json).unwrap();
        assert_eq!(arrived.into_promise(), Some((CopyId::new(2), promise)));
    }

    #[test]
    fn every_reason_arrives_as_it_was_sent() {
        for why in [
            NotPromised::OtherLog(None),
            NotPromised::OtherLog(Some(LogId::new(3))),
            NotPromised::Promised(CANDIDACY),
            NotPromised::Entered(Epoch::new(2)),
            NotPromised::Diverged(Id::new(4)),
        ] {
            let json = serde_json::to_string(&NotPromisedBody::from(&why)).unwrap();
            let arrived: NotPromisedBody = serde_json::from_str(&json).unwrap();
            assert_eq!(NotPromised::from(arrived), why, "{json}");
        }
    }
}
