//! The calls between master and secondaries.
//!
//! | Request | From, to | Reply |
//! |---|---|---|
//! | `POST /replicate` with a call | master, secondary | 200 [`AcknowledgementBody`], or 409 [`RefusalBody`] |
//! | `POST /replicate` with a bare message | a foreign master, secondary | 200, or 409 if the secondary belongs to a log |
//! | `GET /replicate/state` | master, secondary | 200 [`StatusBody`] |
//! | `GET /replicate/slots?after=ID` | master that begins an epoch, or a candidate, secondary | 200 [`SlotsBody`] |
//! | `GET /replicate/decisions?after=ID` | secondary, master | 200 [`DecisionsBody`] |
//! | `GET /fingerprint?after=ID&through=ID` | master, secondary | 200 [`FingerprintBody`] |
//! | `POST /secondaries` | secondary, master | 200, see [`super::client::Registration`] |

use super::base::{BaseBody, base_of, body_of};
use super::batch::{MESSAGES_MAX, WRITE_BYTES_CEILING};
use super::client::text;
use super::hexadecimal::{CopyIdText, IncarnationText, LogIdText};
use super::lineage::{CandidacyBody, EPOCHS_MAX, EpochEntryBody, LineageBody, epochs_of, history_of};
use super::roster::RosterBody;
use super::timing::Took;
use super::{is_default, read_object, shared_text};
use crate::protocol::{
    Acknowledgement, Base, Call, Candidacy, Decisions, Entry, Epoch, EpochStart, Fingerprint, Id, Incarnation, LogId,
    Refusal, ReplicaStatus, Roster, Slot, WritePart,
};
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;

/// The most bytes of a replicate call: the largest write with each byte escaped as `\u0000`, and the id, epoch, time
/// and key of each message of the largest batch.
pub const CALL_BYTES_MAX: usize = 6 * WRITE_BYTES_CEILING + MESSAGES_MAX * 320 + (1 << 20);

/// An entry as JSON.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryBody {
    id: u64,
    epoch: u64,
    timestamp_ms: u64,
    #[serde(deserialize_with = "shared_text")]
    message: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Arc<str>>,
    /// Which part of a write it is, from 0, and how many there are; left out for a message that was posted alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<(u32, u32)>,
}

impl From<&Entry> for EntryBody {
    fn from(entry: &Entry) -> EntryBody {
        EntryBody {
            id: entry.id.get(),
            epoch: entry.epoch.get(),
            timestamp_ms: entry.timestamp_ms,
            message: Arc::clone(&entry.message),
            key: entry.key.clone(),
            part: (entry.part != WritePart::WHOLE).then_some((entry.part.index, entry.part.of)),
        }
    }
}

impl From<EntryBody> for Entry {
    fn from(body: EntryBody) -> Entry {
        Entry {
            id: Id::new(body.id),
            epoch: Epoch::new(body.epoch),
            timestamp_ms: body.timestamp_ms,
            message: body.message,
            key: body.key,
            part: body.part.map_or(WritePart::WHOLE, |(index, of)| WritePart { index, of }),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EpochStartBody {
    since: u64,
    overtaken_from: u64,
}

/// What a call has beside the protocol's [`Call`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The incarnation of the secondary that the call is meant for. Another one refuses it, and the master asks for its
    /// state.
    pub to: Incarnation,
    /// The port of the master, so that a secondary without `MASTER_URL` can ask it.
    pub master_port: u16,
}

/// The entries of a call as JSON, written once and sent to every secondary.
#[derive(Clone, Debug)]
pub struct EntriesText(Arc<Vec<u8>>);

/// Approximate size of an entry's JSON without its text. Memory is reserved with it, so that writing moves nothing.
const ENTRY_BYTES_EXPECTED: usize = 96;

impl EntriesText {
    /// Writes entries.
    #[must_use]
    pub fn new(entries: &[Arc<Entry>]) -> EntriesText {
        let bytes = entries.iter().map(|entry| entry.message.len() + ENTRY_BYTES_EXPECTED).sum();
        let mut json = Vec::with_capacity(bytes);
        let bodies = entries.iter().map(|entry| EntryBody::from(&**entry));
        let written = serde_json::Serializer::new(&mut json).collect_seq(bodies);
        written.expect("strings and numbers always serialise into memory");
        EntriesText(Arc::new(json))
    }
}

/// A call as JSON. Calls to several secondaries share the text of their entries.
#[derive(Clone, Debug)]
pub struct CallText {
    /// Everything before the entries.
    head: Vec<u8>,
    entries: EntriesText,
}

impl CallText {
    /// The parts, which follow each other.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, &self.entries.0, b"}"]
    }

    /// The length of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// The parts as one text.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

#[derive(Serialize)]
struct CallHeadBody {
    log_id: LogIdText,
    epoch: u64,
    master: IncarnationText,
    master_port: u16,
    to: IncarnationText,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch_start: Option<EpochStartBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<EpochEntryBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roster: Option<RosterBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<BaseBody>,
    after: u64,
    through: u64,
    decided: u64,
    session: u64,
    admitted: bool,
    refused: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restored: Vec<EntryBody>,
}

/// Writes a call. It takes the entries from `entries`, and ignores those in `call`.
#[must_use]
pub fn write_call(envelope: Envelope, call: &Call, entries: &EntriesText) -> CallText {
    let body = CallHeadBody {
        log_id: LogIdText(call.log_id),
        epoch: call.epoch.get(),
        master: IncarnationText(call.master),
        master_port: envelope.master_port,
        to: IncarnationText(envelope.to),
        epoch_start: call.epoch_start.map(|epoch_start| EpochStartBody {
            since: epoch_start.since.get(),
            overtaken_from: epoch_start.overtaken_from.get(),
        }),
        history: call.history.as_ref().map(epochs_of),
        roster: call.roster.as_ref().map(RosterBody::from),
        base: call.base.and_then(body_of),
        after: call.after.get(),
        through: call.through.get(),
        decided: call.decided.get(),
        session: call.session,
        admitted: call.admitted,
        refused: call.refused.iter().map(|id| id.get()).collect(),
        restored: call.restored.iter().map(|entry| EntryBody::from(&**entry)).collect(),
    };
    let mut head = serde_json::to_vec(&body).expect("strings and numbers always serialise into memory");
    let end_of_object = head.pop();
    debug_assert_eq!(end_of_object, Some(b'}'), "it comes after the entries");
    head.extend_from_slice(b",\"entries\":");
    CallText { head, entries: entries.clone() }
}

/// The body of a `POST /replicate`.
#[derive(Debug)]
pub enum Replicate {
    /// A call of this protocol.
    Call(Box<(Envelope, Call)>),
    /// One message of another implementation's master, with an id or without.
    Bare {
        /// The id that the other master gave.
        id: Option<Id>,
        /// The text.
        message: Arc<str>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicateFields {
    log_id: Option<LogIdText>,
    epoch: Option<u64>,
    master: Option<IncarnationText>,
    master_port: Option<u16>,
    to: Option<IncarnationText>,
    epoch_start: Option<EpochStartBody>,
    history: Option<Vec<EpochEntryBody>>,
    roster: Option<RosterBody>,
    base: Option<BaseBody>,
    after: Option<u64>,
    through: Option<u64>,
    decided: Option<u64>,
    #[serde(default)]
    session: u64,
    #[serde(default)]
    admitted: bool,
    #[serde(default)]
    refused: Vec<u64>,
    #[serde(default)]
    restored: Vec<EntryBody>,
    #[serde(default)]
    entries: Vec<EntryBody>,
    id: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    message: Option<Arc<str>>,
    #[serde(default, deserialize_with = "text")]
    msg: Option<Arc<str>>,
    /// The other master's timestamp has a format of its own, so this node uses the time at which it received the
    /// message.
    #[serde(default, rename = "timestamp")]
    _timestamp: serde::de::IgnoredAny,
}

impl Replicate {
    /// Reads a body.
    ///
    /// # Errors
    /// With a sentence for the sender.
    pub fn from_json(body: &[u8]) -> Result<Replicate, String> {
        let fields: ReplicateFields =
            read_object(body).map_err(|error| format!("the body is not a replicate call: {error}"))?;
        if fields.log_id.is_some() { fields.into_call() } else { fields.into_bare() }
    }
}

impl ReplicateFields {
    fn into_call(self) -> Result<Replicate, String> {
        let missing = |name: &str| format!("the replicate call lacks \"{name}\"");
        let envelope = Envelope {
            to: self.to.ok_or_else(|| missing("to"))?.0,
            master_port: self.master_port.ok_or_else(|| missing("master_port"))?,
        };
        let epoch = self.epoch.ok_or_else(|| missing("epoch"))?;
        if epoch >= EPOCHS_MAX {
            return Err(format!("epoch {epoch} is not valid: epochs are below {EPOCHS_MAX}"));
        }
        let call = Call {
            log_id: self.log_id.ok_or_else(|| missing("log_id"))?.0,
            epoch: Epoch::new(epoch),
            master: self.master.ok_or_else(|| missing("master"))?.0,
            epoch_start: self.epoch_start.map(|epoch_start| EpochStart {
                since: Epoch::new(epoch_start.since),
                overtaken_from: Id::new(epoch_start.overtaken_from),
            }),
            history: match self.history {
                Some(entries) => Some(history_of(&entries).ok_or("the call has a history whose epochs go back")?),
                None => None,
            },
            roster: self.roster.map(Roster::from),
            base: match self.base {
                Some(body) => {
                    Some(base_of(Some(body)).map_err(|why| format!("the replicate call cannot be read: {why}"))?)
                }
                None => None,
            },
            after: Id::new(self.after.ok_or_else(|| missing("after"))?),
            through: Id::new(self.through.ok_or_else(|| missing("through"))?),
            entries: self.entries.into_iter().map(|body| Arc::new(body.into())).collect(),
            restored: self.restored.into_iter().map(|body| Arc::new(body.into())).collect(),
            refused: self.refused.into_iter().map(Id::new).collect(),
            decided: Id::new(self.decided.ok_or_else(|| missing("decided"))?),
            session: self.session,
            admitted: self.admitted,
        };
        Ok(Replicate::Call(Box::new((envelope, call))))
    }

    fn into_bare(self) -> Result<Replicate, String> {
        match (self.message, self.msg) {
            (Some(message), None) => match self.id {
                Some(0) => Err("the id is 0; ids begin at 1".to_owned()),
                Some(id) => Ok(Replicate::Bare { id: Some(Id::new(id)), message }),
                None => Err("the message has no \"id\"".to_owned()),
            },
            (None, Some(message)) => Ok(Replicate::Bare { id: None, message }),
            _ => Err("the body is neither a call of a master (with \"log_id\") nor a single \"message\" or \"msg\""
                .to_owned()),
        }
    }
}

/// A secondary's 200 to a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct AcknowledgementBody {
    incarnation: IncarnationText,
    durable: u64,
    decided: u64,
    session: u64,
    admitted: bool,
    /// How long a call with messages took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took: Option<Took>,
}

impl AcknowledgementBody {
    /// The body of an acknowledgement.
    #[must_use]
    pub fn new(acknowledgement: Acknowledgement, took: Option<Took>) -> AcknowledgementBody {
        AcknowledgementBody {
            incarnation: IncarnationText(acknowledgement.incarnation),
            durable: acknowledgement.durable.get(),
            decided: acknowledgement.decided.get(),
            session: acknowledgement.session,
            admitted: acknowledgement.admitted,
            took,
        }
    }

    /// How long the secondary took, for a call with messages.
    #[must_use]
    pub fn took(&self) -> Option<Took> {
        self.took
    }
}

impl From<&AcknowledgementBody> for Acknowledgement {
    fn from(body: &AcknowledgementBody) -> Acknowledgement {
        Acknowledgement {
            incarnation: body.incarnation.0,
            durable: Id::new(body.durable),
            decided: Id::new(body.decided),
            session: body.session,
            admitted: body.admitted,
        }
    }
}

/// A secondary's 409 to a call.
#[derive(Debug, Deserialize, Serialize)]
pub struct RefusalBody {
    /// The reason, for people.
    pub error: String,
    /// The reason, for the master.
    #[serde(flatten)]
    pub reason: RefusalReason,
    /// The last id that this secondary holds.
    pub holds: u64,
}

/// Why a call was refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[allow(missing_docs, reason = "the fields are those of protocol::Refusal")]
pub enum RefusalReason {
    Gap {
        last: u64,
    },
    OtherLog {
        log_id: LogIdText,
    },
    Fenced {
        epoch: u64,
    },
    OtherMaster {
        epoch: u64,
    },
    EpochStartMismatch {
        epoch: u64,
    },
    MasterBehind {
        decided: u64,
        begins: u64,
    },
    Forked {
        decided: u64,
        from: u64,
    },
    Diverged {
        id: u64,
    },
    Foreign {
        messages: u64,
    },
    Malformed {
        why: String,
    },
    /// The call was meant for an earlier incarnation of the secondary.
    OtherIncarnation,
}

impl From<&Refusal> for RefusalReason {
    fn from(refusal: &Refusal) -> RefusalReason {
        match refusal {
            Refusal::Gap { holds } => RefusalReason::Gap { last: holds.get() },
            Refusal::OtherLog { holds } => RefusalReason::OtherLog { log_id: LogIdText(*holds) },
            Refusal::Fenced { epoch } => RefusalReason::Fenced { epoch: epoch.get() },
            Refusal::OtherMaster { epoch } => RefusalReason::OtherMaster { epoch: epoch.get() },
            Refusal::EpochStartMismatch { epoch } => RefusalReason::EpochStartMismatch { epoch: epoch.get() },
            Refusal::MasterBehind { decided, begins } => {
                RefusalReason::MasterBehind { decided: decided.get(), begins: begins.get() }
            }
            Refusal::Forked { decided, from } => RefusalReason::Forked { decided: decided.get(), from: from.get() },
            Refusal::Diverged { id } => RefusalReason::Diverged { id: id.get() },
            Refusal::Foreign { messages } => RefusalReason::Foreign { messages: *messages },
            Refusal::Malformed(why) => RefusalReason::Malformed { why: why.clone() },
        }
    }
}

impl RefusalReason {
    /// The refusal as the protocol knows it. `None` for a call to an earlier incarnation, after which the master asks
    /// for the state.
    #[must_use]
    pub fn into_refusal(self) -> Option<Refusal> {
        Some(match self {
            RefusalReason::Gap { last } => Refusal::Gap { holds: Id::new(last) },
            RefusalReason::OtherLog { log_id } => Refusal::OtherLog { holds: log_id.0 },
            RefusalReason::Fenced { epoch } => Refusal::Fenced { epoch: Epoch::new(epoch) },
            RefusalReason::OtherMaster { epoch } => Refusal::OtherMaster { epoch: Epoch::new(epoch) },
            RefusalReason::EpochStartMismatch { epoch } => Refusal::EpochStartMismatch { epoch: Epoch::new(epoch) },
            RefusalReason::MasterBehind { decided, begins } => {
                Refusal::MasterBehind { decided: Id::new(decided), begins: Id::new(begins) }
            }
            RefusalReason::Forked { decided, from } => {
                Refusal::Forked { decided: Id::new(decided), from: Id::new(from) }
            }
            RefusalReason::Diverged { id } => Refusal::Diverged { id: Id::new(id) },
            RefusalReason::Foreign { messages } => Refusal::Foreign { messages },
            RefusalReason::Malformed { why } => Refusal::Malformed(why),
            RefusalReason::OtherIncarnation => return None,
        })
    }
}

/// A secondary's state.
#[derive(Debug, Deserialize, Serialize)]
pub struct StatusBody {
    /// Its name.
    pub server_id: String,
    copy: CopyIdText,
    incarnation: IncarnationText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_id: Option<LogIdText>,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<IncarnationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineage: Option<LineageBody>,
    /// The id up to which its log is trimmed.
    #[serde(default, skip_serializing_if = "is_default")]
    base: u64,
    last: u64,
    decided: u64,
    /// Refused ids above `decided`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<u64>,
    #[serde(default)]
    foreign: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    diverged: Option<u64>,
    /// Its artificial delay before an acknowledgement, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// Why it cannot store messages, or `None` if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unable: Option<String>,
    /// Whether that is because its disk is full.
    #[serde(default, skip_serializing_if = "is_default")]
    pub full: bool,
    /// The injected fault, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether the node leads: then another one may not take its place without asking it.
    #[serde(default)]
    pub leads: bool,
}

impl StatusBody {
    /// Describes a node.
    #[must_use]
    pub fn new(server_id: String, status: &ReplicaStatus, delay_ms: u64, unable: Option<String>) -> StatusBody {
        StatusBody {
            server_id,
            copy: CopyIdText(status.copy),
            incarnation: IncarnationText(status.incarnation),
            log_id: status.log_id.map(LogIdText),
            epoch: status.epoch.get(),
            master: status.master.map(IncarnationText),
            lineage: status.lineage.as_deref().map(LineageBody::from),
            base: status.base.get(),
            last: status.last.get(),
            decided: status.decided.get(),
            refused: status.refused.iter().map(|id| id.get()).collect(),
            foreign: status.foreign,
            diverged: status.diverged.map(Id::get),
            delay_ms,
            unable,
            full: false,
            fault: None,
            leads: false,
        }
    }

    /// What it holds.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            incarnation: self.incarnation.0,
            copy: self.copy.0,
            log_id: self.log_id.map(|text| text.0),
            epoch: Epoch::new(self.epoch),
            master: self.master.map(|text| text.0),
            base: Id::new(self.base),
            last: Id::new(self.last),
            decided: Id::new(self.decided),
            foreign: self.foreign,
            diverged: self.diverged.map(Id::new),
            lineage: self.lineage.clone().and_then(LineageBody::into_lineage).map(Arc::new),
            refused: self.refused.iter().copied().map(Id::new).collect(),
        }
    }
}

/// A part of a log: every id after `after` in the request, up to `through`, is in `entries` or in `refused`.
#[derive(Debug, Deserialize, Serialize)]
pub struct SlotsBody {
    /// The latest epoch that the node has entered.
    epoch: u64,
    through: u64,
    entries: Vec<EntryBody>,
    refused: Vec<u64>,
    /// The latest promise that the node gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promised: Option<CandidacyBody>,
}

impl SlotsBody {
    /// Describes slots, and the latest epoch and promise of the node that holds them.
    #[must_use]
    pub fn new(after: Id, slots: &[Slot], epoch: Epoch, promised: Option<Candidacy>) -> SlotsBody {
        let mut body = SlotsBody {
            epoch: epoch.get(),
            through: slots.last().map_or(after, Slot::id).get(),
            entries: Vec::with_capacity(slots.len()),
            refused: Vec::new(),
            promised: promised.map(CandidacyBody::from),
        };
        for slot in slots {
            match slot {
                Slot::Entry(entry) => body.entries.push(EntryBody::from(&**entry)),
                Slot::Refused(id) => body.refused.push(id.get()),
            }
        }
        body
    }

    /// The latest epoch that the node has entered.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch)
    }

    /// The latest promise that the node gave.
    #[must_use]
    pub fn promised(&self) -> Option<Candidacy> {
        self.promised.map(Candidacy::from)
    }

    /// The slots, in order.
    #[must_use]
    pub fn into_slots(self) -> Vec<Slot> {
        let entries = self.entries.into_iter().map(|body| Slot::Entry(Arc::new(body.into())));
        let mut slots: Vec<Slot> =
            entries.chain(self.refused.into_iter().map(|id| Slot::Refused(Id::new(id)))).collect();
        slots.sort_by_key(Slot::id);
        slots
    }
}

/// A node's fingerprint of a part of its log.
#[derive(Debug, Deserialize, Serialize)]
pub struct FingerprintBody {
    log_id: LogIdText,
    after: u64,
    through: u64,
    /// 64 hexadecimal digits.
    pub fingerprint: String,
}

impl FingerprintBody {
    /// The fingerprint of the slots after `after` up to `through`.
    #[must_use]
    pub fn new(log_id: LogId, after: Id, through: Id, fingerprint: Fingerprint) -> FingerprintBody {
        FingerprintBody {
            log_id: LogIdText(log_id),
            after: after.get(),
            through: through.get(),
            fingerprint: fingerprint.to_string(),
        }
    }

    /// The fingerprint, if it is of this part of this log.
    #[must_use]
    pub fn of(&self, log_id: LogId, after: Id, through: Id) -> Option<Fingerprint> {
        let same = self.log_id.0 == log_id && self.after == after.get() && self.through == through.get();
        Fingerprint::parse(&self.fingerprint).filter(|_| same)
    }
}

/// The master's answer to a secondary that has pending entries and a reader.
#[derive(Debug, Deserialize, Serialize)]
pub struct DecisionsBody {
    log_id: LogIdText,
    epoch: u64,
    master: IncarnationText,
    decided: u64,
    refused: Vec<u64>,
    sure: bool,
    /// What is trimmed of the master's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<BaseBody>,
}

impl DecisionsBody {
    /// What is trimmed of the log of the master.
    ///
    /// # Errors
    /// If it is no base.
    pub fn base(&self) -> Result<(LogId, Base), String> {
        base_of(self.base.clone()).map(|base| (self.log_id.0, base))
    }

    /// The same answer with what is trimmed of the master's log.
    #[must_use]
    pub fn with_base(self, base: Base) -> DecisionsBody {
        DecisionsBody { base: body_of(base), ..self }
    }
}

impl From<&Decisions> for DecisionsBody {
    fn from(decisions: &Decisions) -> DecisionsBody {
        DecisionsBody {
            log_id: LogIdText(decisions.log_id),
            epoch: decisions.epoch.get(),
            master: IncarnationText(decisions.master),
            decided: decisions.decided.get(),
            refused: decisions.refused.iter().map(|id| id.get()).collect(),
            sure: decisions.sure,
            base: None,
        }
    }
}

impl From<DecisionsBody> for Decisions {
    fn from(body: DecisionsBody) -> Decisions {
        Decisions {
            log_id: body.log_id.0,
            epoch: Epoch::new(body.epoch),
            master: body.master.0,
            decided: Id::new(body.decided),
            refused: body.refused.into_iter().map(Id::new).collect(),
            sure: body.sure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Base, CopyId, EpochEntry, EpochHistory, RosterChange};

    fn call() -> Call {
        let entry = |id, message: &str| {
            Arc::new(Entry {
                id: Id::new(id),
                epoch: Epoch::new(2),
                timestamp_ms: 7,
                message: message.into(),
                key: None,
                part: WritePart { index: id as u32 % 3, of: 3 },
            })
        };
        Call {
            log_id: LogId::new(u128::MAX - 5),
            epoch: Epoch::new(2),
            master: Incarnation::new(u64::MAX - 1),
            epoch_start: Some(EpochStart { since: Epoch::new(1), overtaken_from: Id::new(3) }),
            history: EpochHistory::new(vec![EpochEntry {
                epoch: Epoch::new(2),
                start: Id::new(3),
                master: Incarnation::new(9),
            }]),
            roster: Roster::fixed(CopyId::new(u64::MAX), Epoch::new(2)).changed(RosterChange::Add(CopyId::new(3))),
            base: Some(Base { id: Id::new(2), fingerprint: Fingerprint::of_bytes(b"a log"), messages: 1 }),
            after: Id::new(2),
            through: Id::new(5),
            entries: vec![entry(3, "three\n"), entry(5, "🦀")],
            restored: vec![entry(1, "one")],
            refused: vec![Id::new(4)],
            decided: Id::new(2),
            session: 3,
            admitted: true,
        }
    }

    #[test]
    fn a_call_arrives_as_it_was_sent() {
        let call = call();
        let envelope = Envelope { to: Incarnation::new(42), master_port: 5000 };
        let written = write_call(envelope, &call, &EntriesText::new(&call.entries)).to_vec();
        let Replicate::Call(arrived) = Replicate::from_json(&written).unwrap() else { panic!("not a call") };
        assert_eq!(*arrived, (envelope, call));
    }

    #[test]
    fn every_refusal_arrives_as_it_was_sent() {
        for refusal in [
            Refusal::Gap { holds: Id::new(7) },
            Refusal::OtherLog { holds: LogId::new(1) },
            Refusal::Fenced { epoch: Epoch::new(9) },
            Refusal::EpochStartMismatch { epoch: Epoch::new(1) },
            Refusal::MasterBehind { decided: Id::new(4), begins: Id::new(2) },
            Refusal::OtherMaster { epoch: Epoch::new(2) },
            Refusal::Forked { decided: Id::new(4), from: Id::new(2) },
            Refusal::Diverged { id: Id::new(3) },
            Refusal::Foreign { messages: 2 },
            Refusal::Malformed("why".to_owned()),
        ] {
            let body = RefusalBody { error: refusal.to_string(), reason: RefusalReason::from(&refusal), holds: 0 };
            let json = serde_json::to_string(&body).unwrap();
            let arrived: RefusalBody = serde_json::from_str(&json).unwrap();
            assert_eq!(arrived.reason.into_refusal(), Some(refusal), "{json}");
        }
    }

    #[test]
    fn bare_messages_come_in_both_dialects() {
        let read = |json: &str| Replicate::from_json(json.as_bytes());
        let with_timestamp = r#"{"id":3,"message":"hi","timestamp":"2024-01-01T00:00:00"}"#;
        assert!(matches!(read(with_timestamp), Ok(Replicate::Bare { id: Some(id), .. }) if id == Id::new(3)));
        assert!(matches!(read(r#"{"msg":"hi"}"#), Ok(Replicate::Bare { id: None, .. })));
        for bad in [r#"{}"#, r#"{"id":0,"message":"hi"}"#, r#"{"message":"hi"}"#, r#"{"id":1,"message":"a","msg":"b"}"#]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
