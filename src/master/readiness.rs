//! What orchestrators ask a master: is it ready, can it write, may a node be stopped?

use super::shared::Master;
use super::state::State;
use crate::http::{Exchange, Reply};
use crate::node::readiness::{self, Check};
use crate::protocol::{Health, MemberId, ReplicationState};
use serde_json::json;

impl Master {
    /// Answers `GET /readyz`. A master that takes no writes for now is ready: it serves readers, and tells clients why
    /// it rejects their writes.
    pub(super) fn ready(&self, exchange: &Exchange) -> Reply {
        let state = self.lock();
        let checks = [
            Check::not_stopping(state.is_stopping),
            Check::threads(self.why_poisoned()),
            Check::store(&*self.store),
            Check::new("may write", state.why_halted.clone()),
        ];
        drop(state);
        readiness::answer(exchange, &checks)
    }

    /// Answers `GET /safe-to-stop`, of this master, or with `?node=NAME` of a secondary.
    ///
    /// It is safe to stop the master if every acknowledged message stays on other healthy nodes, on all of them. It is
    /// safe to stop a secondary if every acknowledged message stays on other healthy nodes, and enough of them remain
    /// for the master to take writes. Messages for all nodes are refused meanwhile, as their write concern demands.
    pub(super) fn safe_to_stop(&self, exchange: &Exchange) -> Reply {
        if let Some(other) = exchange.query_names().find(|name| *name != "node") {
            let sentence = format!("\"{}\" is not a parameter of /safe-to-stop; there is node", other.escape_debug());
            return Reply::no_answer(400, &sentence);
        }
        let state = self.lock();
        let node = exchange.query("node").filter(|name| **name != *self.name);
        let stopped = match &node {
            None => None,
            Some(name) => match state.members.iter().find(|(_, member)| *member.name == **name) {
                Some((&id, _)) => Some(id),
                None => {
                    return Reply::not_found("there is no secondary of that name; GET /secondaries lists them");
                }
            },
        };
        match state.why_not_to_stop(stopped) {
            Some(reason) => {
                let body = json!({ "safe": false, "reason": reason });
                Reply::json(503, &body).with_header("Retry-After", "1")
            }
            None => {
                let meanwhile = match node {
                    None if state.leader.roster().allows_promotion() => {
                        "nothing can be written until this master is back, or another node is promoted; POST /switchover \
                         lets another node lead first"
                            .to_owned()
                    }
                    None => {
                        "nothing can be written until this master is back; every secondary serves readers".to_owned()
                    }
                    Some(name) => format!("messages for all nodes are refused until {name} is back"),
                };
                Reply::json(200, &json!({ "safe": true, "meanwhile": meanwhile }))
            }
        }
    }
}

impl State {
    /// Why a node should not be stopped now: the master, or a secondary.
    fn why_not_to_stop(&self, stopped: Option<MemberId>) -> Option<String> {
        if let Some(reason) = &self.why_halted {
            return Some(format!("this master takes no writes any more: {reason}"));
        }
        if stopped.is_none() && self.leader.has_doubt() {
            return Some("messages from before this master was started are not on every node yet".to_owned());
        }
        let is_well = |id: MemberId| {
            let view = self.leader.member(id);
            view.is_some_and(|view| view.state == ReplicationState::InSync && view.health == Health::Healthy)
        };
        let mut others = self.members.iter().filter(|&(&id, _)| Some(id) != stopped);
        if let Some((&id, member)) = others.find(|(id, _)| !is_well(**id)) {
            return Some(format!("{} is not well: {}", member.name, self.detail_of(id, member)));
        }
        let needed = self.leader.quorum();
        let left = self.leader.nodes() - usize::from(stopped.is_some());
        (stopped.is_some() && left < needed)
            .then(|| format!("{left} nodes would be left, and without {needed} no writes are taken"))
    }
}
