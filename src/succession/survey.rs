//! What the other nodes of a log say of themselves, as a candidate, or a node that looks for one that leads, asks them.

use crate::peer::{PeerError, Peers, ask_each};
use crate::protocol::{Contact, CopyId, Epoch, Lineage, ReplicaStatus, Roster};
use crate::wire::address::NodeUrl;
use crate::wire::node::StatusBody;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Another node of the log.
pub(super) struct Other {
    pub(super) copy: CopyId,
    pub(super) name: Arc<str>,
    pub(super) url: NodeUrl,
}

/// What other nodes answered to a question, each with its copy.
pub(super) type Answers<T> = BTreeMap<CopyId, Result<T, PeerError>>;

/// What a node says of itself.
pub(super) struct State {
    pub(super) status: ReplicaStatus,
    pub(super) leads: bool,
}

/// The nodes of a log, and what they say of themselves.
pub(super) struct Survey {
    /// The latest roster that any of them knows.
    pub(super) roster: Roster,
    pub(super) others: Vec<Other>,
    pub(super) states: Answers<State>,
}

/// The other nodes of a log, as its roster names them, in the order of their names.
fn others_of(roster: &Roster, own: CopyId) -> Vec<Other> {
    let other = |(&copy, contact): (&CopyId, &Contact)| match NodeUrl::parse(&contact.url) {
        Ok(url) => Some(Other { copy, name: Arc::clone(&contact.name), url }),
        Err(why) => {
            log::error!("{} is left out: {why}", contact.name);
            None
        }
    };
    let mut others: Vec<Other> = roster.contacts().iter().filter(|(copy, _)| **copy != own).filter_map(other).collect();
    others.sort_by(|one, other| one.name.cmp(&other.name));
    others
}

/// Asks the other nodes of a log what they hold, as a candidate does. If one of them knows a later roster, that says which
/// nodes there are.
pub(super) fn survey(lineage: &Lineage, own: CopyId, peers: &Peers) -> Survey {
    let mut roster = lineage.roster.clone();
    loop {
        let others = others_of(&roster, own);
        let asked = ask_each(&others, |other| peers.state_in(&other.url, lineage.log_id, Epoch::NONE));
        let state = |body: StatusBody| State { leads: body.leads, status: body.status() };
        let states: Answers<State> =
            others.iter().zip(asked).map(|(other, asked)| (other.copy, asked.map(state))).collect();
        let known = states.values().flatten().filter_map(|state| state.status.lineage.as_ref());
        let of_this_log = known.filter(|known| known.log_id == lineage.log_id).map(|known| &known.roster);
        match of_this_log.max_by_key(|roster| roster.number()) {
            Some(later) if later.number() > roster.number() => roster = later.clone(),
            _ => return Survey { roster, others, states },
        }
    }
}

/// The nodes that did not answer, and why.
pub(super) fn unanswered(others: &[Other], states: &Answers<State>) -> BTreeMap<String, String> {
    let why = |other: &Other| Some((other.name.to_string(), states[&other.copy].as_ref().err()?.to_string()));
    others.iter().filter_map(why).collect()
}
