//! The epochs of a log, who votes on it, and promises, as JSON.

use super::hexadecimal::{CopyIdText, IncarnationText, LogIdText};
use super::roster::RosterBody;
use crate::protocol::{Candidacy, Epoch, EpochEntry, EpochHistory, Id, Lineage, Roster};
use serde::{Deserialize, Serialize};

/// An epoch as JSON: epoch, first id, and the start of the master's process.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct EpochEntryBody(u64, u64, IncarnationText);

/// Writes a table of epochs.
pub(super) fn epochs_of(history: &EpochHistory) -> Vec<EpochEntryBody> {
    let body = |entry: &EpochEntry| EpochEntryBody(entry.epoch.get(), entry.start.get(), IncarnationText(entry.master));
    history.entries().iter().map(body).collect()
}

/// No master starts so often. A node that entered such an epoch would refuse every later call of its master.
pub(super) const EPOCHS_MAX: u64 = 1 << 62;

/// Reads a table of epochs, or `None` if it is not valid.
pub(super) fn history_of(entries: &[EpochEntryBody]) -> Option<EpochHistory> {
    let entry = |&EpochEntryBody(epoch, start, master): &EpochEntryBody| {
        (epoch < EPOCHS_MAX).then(|| EpochEntry { epoch: Epoch::new(epoch), start: Id::new(start), master: master.0 })
    };
    EpochHistory::new(entries.iter().map(entry).collect::<Option<_>>()?)
}

/// A candidacy: epoch, copy and incarnation of [`Candidacy`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidacyBody {
    epoch: u64,
    copy: CopyIdText,
    master: IncarnationText,
}

impl From<Candidacy> for CandidacyBody {
    fn from(Candidacy { epoch, copy, master }: Candidacy) -> CandidacyBody {
        CandidacyBody { epoch: epoch.get(), copy: CopyIdText(copy), master: IncarnationText(master) }
    }
}

impl From<CandidacyBody> for Candidacy {
    fn from(body: CandidacyBody) -> Candidacy {
        Candidacy { epoch: Epoch::new(body.epoch), copy: body.copy.0, master: body.master.0 }
    }
}

/// What [`Lineage`] says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineageBody {
    log_id: LogIdText,
    history: Vec<EpochEntryBody>,
    roster: RosterBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promised: Option<CandidacyBody>,
}

impl From<&Lineage> for LineageBody {
    fn from(lineage: &Lineage) -> LineageBody {
        LineageBody {
            log_id: LogIdText(lineage.log_id),
            history: epochs_of(&lineage.history),
            roster: RosterBody::from(&lineage.roster),
            promised: lineage.promised.map(CandidacyBody::from),
        }
    }
}

impl LineageBody {
    /// The lineage, or `None` if its epochs go back.
    pub(super) fn into_lineage(self) -> Option<Lineage> {
        Some(Lineage {
            log_id: self.log_id.0,
            history: history_of(&self.history)?,
            roster: Roster::from(self.roster),
            promised: self.promised.map(Candidacy::from),
        })
    }
}
