//! Coming back after a fork: a node that has shown messages which the log of a later master does not have.
//!
//! Such a node led, or followed, while it was cut off, and drops nothing by itself: what it has shown was acknowledged,
//! with fewer copies than a promotion keeps. When an operator says so, it puts what comes after the fork into a rollback file,
//! sets its high watermark back, and drops the rest. If its process ends in between, the master that calls it then has it
//! drop the rest.

use super::roles::{Role, Roles};
use super::survey::{Other, Survey, survey};
use crate::http::Reply;
use crate::process::threads::{lock, try_lock};
use crate::protocol::{Epoch, EpochHistory, Id, Lineage, Slot, Watermark};
use crate::store::{Store, StoreError, walk};
use serde_json::json;

/// The node that leads, and the epochs of its log.
struct Leads {
    name: String,
    history: EpochHistory,
}

impl Roles {
    /// Puts aside what the log of the node that leads does not have, if that is permitted.
    pub(super) fn rejoin(&self, may_put_aside: bool) -> Reply {
        let Some(_standing) = try_lock(&self.standing) else {
            return Reply::problem(409, &format!("{} is trying to lead; try again in a second", self.name()));
        };
        // Other nodes wait for this one while its role changes, so it asks them before.
        let leader = match self.find_later_leader() {
            Ok(leader) => leader,
            Err(why) => return Reply::problem(409, &why),
        };
        let _changing = lock(&self.changing);
        let Role::Following(secondary) = self.role() else {
            return Reply::problem(409, &format!("{} leads; there is nothing to put aside", self.name()));
        };
        let (last, name) = (secondary.view().status.last, self.name());
        let from = match self.fork_from(&leader) {
            Ok(from) if may_put_aside => from,
            Ok(from) => {
                let leader = leader.name;
                return Reply::problem(
                    409,
                    &format!(
                        "{name} has shown messages that the log of {leader} does not have: ids {from} to {last} differ. To \
                         put them into a file in its data directory, and let it follow {leader}, say \
                         {{\"put_aside\": true}} (test_client rejoin --put-aside)"
                    ),
                );
            }
            Err(why) => return Reply::problem(409, &why),
        };
        secondary.retire();
        // Until then, another candidate may have had this node's promise, or another master may have called it.
        let put_aside = self.fork_from(&leader).map(|from| put_aside(&*self.store, from));
        if let Err(why) = self.follow_anew() {
            return Reply::no_answer(500, &why);
        }
        match put_aside {
            Ok(Ok(messages)) => {
                let leader = leader.name;
                log::warn!("{messages} messages were put aside, from id {from} on; this node follows {leader}");
                let directory = self.settings.leading.common.data_dir.as_deref().map(|path| path.display().to_string());
                let put_aside = json!({ "messages": messages, "from": from.get(), "to": last.get() });
                Reply::json(200, &json!({ "leader": leader, "put_aside": put_aside, "directory": directory }))
            }
            Ok(Err(error)) => Reply::no_answer(if error.is_no_room() { 507 } else { 500 }, &error.to_string()),
            Err(why) => Reply::problem(409, &why),
        }
    }

    fn lineage(&self) -> Result<Lineage, String> {
        let known = self.store.identity().map_err(|error| error.to_string())?;
        Ok(known.ok_or("this node belongs to no log yet")?.lineage)
    }

    /// The node that leads in an epoch after those that this node knows of. A master that does not know of such an epoch is
    /// none any more.
    fn find_later_leader(&self) -> Result<Leads, String> {
        let lineage = self.lineage()?;
        let Survey { others, states, .. } = survey(&lineage, self.store.copy_id(), &self.peers);
        let leads = |other: &Other| -> Option<Leads> {
            let state = states[&other.copy].as_ref().ok().filter(|state| state.leads)?;
            let theirs = state.status.lineage.as_ref().filter(|theirs| theirs.log_id == lineage.log_id)?;
            Some(Leads { name: other.name.to_string(), history: theirs.history.clone() })
        };
        let later = others.iter().filter_map(leads).max_by_key(|leader| leader.history.latest());
        later.filter(|leader| is_later(leader, &lineage)).ok_or_else(no_later_leader)
    }

    /// Where this node's log differs from that of the node that leads, below its own high watermark.
    fn fork_from(&self, leader: &Leads) -> Result<Id, String> {
        let lineage = self.lineage()?;
        if !is_later(leader, &lineage) {
            return Err(no_later_leader());
        }
        match lineage.history.fork(&leader.history) {
            Some(from) if from <= self.store.watermark().decided => Ok(from),
            _ => Err(format!(
                "{} has shown nothing that {} does not have; it follows by itself",
                self.name(),
                leader.name
            )),
        }
    }
}

fn is_later(leader: &Leads, lineage: &Lineage) -> bool {
    let promised = lineage.promised.map_or(Epoch::NONE, |promised| promised.epoch);
    leader.history.latest() > lineage.history.latest() && leader.history.latest() >= promised
}

fn no_later_leader() -> String {
    "no node answers that leads in a later epoch than this one knows of".to_owned()
}

/// Puts everything aside from an id on. Gives how many messages that were.
fn put_aside(store: &dyn Store, from: Id) -> Result<u64, StoreError> {
    let Watermark { decided, visible } = store.watermark();
    let (mut messages, mut shown) = (0, 0);
    walk(store, from.previous(), store.last(), |slot| {
        if let Slot::Entry(entry) = slot {
            messages += 1;
            shown += u64::from(entry.id <= decided);
        }
        Ok::<(), StoreError>(())
    })?;
    store.put_aside(from, Watermark { decided: from.previous(), visible: visible - shown })?;
    Ok(messages)
}
