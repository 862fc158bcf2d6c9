//! What a master knows when it is to hand over.

use super::shared::Master;
use crate::protocol::{Epoch, LogId, ReplicationState};
use crate::wire::address::NodeUrl;

impl Master {
    /// The log that this master serves, and its epoch.
    pub(crate) fn log_and_epoch(&self) -> (LogId, Epoch) {
        let state = self.lock();
        (state.leader.log_id(), state.leader.epoch())
    }

    /// Whether it takes no more writes until a restart, because its store failed or a later master may write.
    pub(crate) fn is_halted(&self) -> bool {
        self.lock().leader.is_halted()
    }

    /// Why it takes no more writes until a restart, if so.
    pub(crate) fn why_halted(&self) -> Option<String> {
        let state = self.lock();
        state.leader.is_halted().then(|| state.why_halted.clone().unwrap_or_default())
    }

    /// The secondary to hand over to: the one with this name, or the voter in sync that holds the most.
    ///
    /// # Errors
    /// With a sentence if there is none.
    pub(crate) fn successor(&self, name: Option<&str>) -> Result<(String, NodeUrl), String> {
        let state = self.lock();
        let roster = state.leader.roster();
        if roster.is_changing() {
            return Err("the voters are changing right now; try again in a second".to_owned());
        }
        let named = |member: &str| name.is_none_or(|name| name == member);
        let mut candidates: Vec<_> = state.members.iter().filter(|(_, member)| named(&member.name)).collect();
        if let (Some(name), true) = (name, candidates.is_empty()) {
            return Err(format!("there is no secondary of the name {name}; GET /secondaries lists them"));
        }
        candidates.retain(|(id, _)| {
            let view = state.leader.member(**id);
            view.is_some_and(|view| {
                view.state == ReplicationState::InSync && view.copy.is_some_and(|copy| roster.may_lead(copy))
            })
        });
        let matched = |id| state.leader.member(id).map(|view| view.matched);
        let best = candidates.into_iter().max_by_key(|(id, _)| matched(**id));
        best.map(|(_, member)| (member.name.to_string(), member.url.clone())).ok_or_else(|| match name {
            Some(name) => format!("{name} is no voter that is in sync, so it cannot lead"),
            None => "no secondary is a voter that is in sync, so none can lead".to_owned(),
        })
    }

    /// Whether nothing is open, and a secondary holds everything.
    ///
    /// # Errors
    /// With what is missing.
    pub(crate) fn is_drained(&self, name: &str) -> Result<(), String> {
        let state = self.lock();
        let leader = &state.leader;
        if leader.open() > 0 || leader.decided() < leader.last() || leader.shown().decided < leader.last() {
            return Err(format!("{} messages are still open", leader.open()));
        }
        let member = state.members.iter().find(|(_, member)| &*member.name == name);
        let view = member.and_then(|(&id, _)| leader.member(id));
        match view {
            Some(view) if view.matched == leader.last() && view.known_decided == leader.decided() => Ok(()),
            Some(view) => Err(format!("{name} holds the log up to id {} of {}", view.matched, leader.last())),
            None => Err(format!("{name} is no secondary any more")),
        }
    }
}
