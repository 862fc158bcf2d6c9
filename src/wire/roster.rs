//! The voters of a log as JSON.

use super::address::NodeUrl;
use super::hexadecimal::CopyIdText;
use super::server_id;
use crate::protocol::{Contact, CopyId, Epoch, Promotion, Roster, RosterNumber, Voters};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// Where the nodes are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<ContactBody>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ContactBody {
    copy: CopyIdText,
    name: Arc<str>,
    url: Arc<str>,
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
            nodes: roster.contacts().iter().map(ContactBody::from).collect(),
        }
    }
}

impl From<RosterBody> for Roster {
    fn from(body: RosterBody) -> Roster {
        let number = RosterNumber { epoch: Epoch::new(body.epoch), sequence: body.sequence };
        // What is no name or no address does not come onto a disk.
        let is_valid = |body: &ContactBody| server_id::parse(&body.name).is_ok() && NodeUrl::parse(&body.url).is_ok();
        let nodes = body.nodes.into_iter().filter(is_valid);
        let contacts = nodes.map(|ContactBody { copy, name, url }| (copy.0, Contact { name, url }));
        let roster = Roster::new(number, body.master.0, body.voters.into());
        roster.changing_from(body.before.map(Voters::from)).with_contacts(contacts.collect())
    }
}

impl From<(&CopyId, &Contact)> for ContactBody {
    fn from((&copy, contact): (&CopyId, &Contact)) -> ContactBody {
        let Contact { name, url } = contact.clone();
        ContactBody { copy: CopyIdText(copy), name, url }
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
