//! The voters of a log as JSON.

use super::hexadecimal::CopyIdText;
use crate::protocol::{CopyId, Epoch, Promotion, Roster, RosterNumber, Voters};
use serde::{Deserialize, Serialize};

/// A roster. Its numbers and copies are those of [`Roster`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RosterBody {
    epoch: u64,
    sequence: u64,
    master: CopyIdText,
    voters: VotersBody,
    /// The voters before a change that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<VotersBody>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct VotersBody {
    /// Whether one of them may be promoted.
    promotion: bool,
    copies: Vec<CopyIdText>,
}

impl From<&Roster> for RosterBody {
    fn from(roster: &Roster) -> RosterBody {
        let RosterNumber { epoch, sequence } = roster.number();
        RosterBody {
            epoch: epoch.get(),
            sequence,
            master: CopyIdText(roster.master()),
            voters: roster.voters().into(),
            before: roster.before().map(VotersBody::from),
        }
    }
}

impl From<RosterBody> for Roster {
    fn from(body: RosterBody) -> Roster {
        let number = RosterNumber { epoch: Epoch::new(body.epoch), sequence: body.sequence };
        Roster::new(number, body.master.0, body.voters.into()).changing_from(body.before.map(Voters::from))
    }
}

impl From<&Voters> for VotersBody {
    fn from(voters: &Voters) -> VotersBody {
        let copies = voters.iter().map(CopyIdText).collect();
        VotersBody { promotion: voters.promotion() == Promotion::On, copies }
    }
}

impl From<VotersBody> for Voters {
    fn from(body: VotersBody) -> Voters {
        let promotion = if body.promotion { Promotion::On } else { Promotion::Off };
        Voters::new(promotion, body.copies.into_iter().map(|CopyIdText(copy): CopyIdText| -> CopyId { copy }))
    }
}
