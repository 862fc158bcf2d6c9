//! Coming back after a fork: a node that has shown messages which the log of a later master does not have.
//!
//! Such a node led, or followed, while it was cut off, and drops nothing by itself: what it has shown was acknowledged,
//! with fewer copies than a promotion keeps. When an operator says so, it sets its high watermark back to the fork, and puts
//! what comes after that aside, in a rollback file. If its process ends in between, the master that calls it then has it
//! drop the rest, in the same way.

use super::roles::{Role, Roles};
use super::survey::{Other, Survey, survey};
use crate::http::Reply;
use crate::process::threads::lock;
use crate::protocol::{EpochHistory, Id, Slot, Watermark};
use crate::store::{Store, StoreError, walk};
use serde_json::json;

/// The node that leads, and where this one's log differs from its.
struct Fork {
    leader: String,
    from: Id,
}

impl Roles {
    /// Puts aside what the log of the node that leads does not have, if that is permitted.
    pub(super) fn rejoin(&self, may_put_aside: bool) -> Reply {
        let _changing = lock(&self.changing);
        let Role::Following(secondary) = self.role() else {
            return Reply::problem(409, &format!("{} leads; there is nothing to put aside", self.name()));
        };
        let Fork { leader, from } = match self.fork() {
            Ok(fork) => fork,
            Err(why) => return Reply::problem(409, &why),
        };
        let (last, name) = (secondary.view().status.last, self.name());
        if !may_put_aside {
            return Reply::problem(
                409,
                &format!(
                    "{name} has shown messages that the log of {leader} does not have: ids {from} to {last} differ. To put \
                     them into a file in its data directory, and let it follow {leader}, say {{\"put_aside\": true}} \
                     (test_client rejoin --put-aside)"
                ),
            );
        }
        secondary.retire();
        let put_aside = put_aside(&*self.store, from);
        if let Err(why) = self.follow_anew() {
            return Reply::no_answer(500, &why);
        }
        match put_aside {
            Ok(messages) => {
                log::warn!("{messages} messages were put aside, from id {from} on; this node follows {leader}");
                let directory = self.settings.leading.common.data_dir.as_deref().map(|path| path.display().to_string());
                let put_aside = json!({ "messages": messages, "from": from.get(), "to": last.get() });
                Reply::json(200, &json!({ "leader": leader, "put_aside": put_aside, "directory": directory }))
            }
            Err(error) => Reply::no_answer(if error.is_no_room() { 507 } else { 500 }, &error.to_string()),
        }
    }

    /// Where this node's log differs from that of the node that leads, below its own high watermark.
    fn fork(&self) -> Result<Fork, String> {
        let known = self.store.identity().map_err(|error| error.to_string())?;
        let lineage = known.ok_or("this node belongs to no log yet")?.lineage;
        let Survey { others, states, .. } = survey(&lineage, self.store.copy_id(), &self.peers);
        // A master that does not know of this node's latest epoch is none any more.
        let leads_later = |other: &Other| -> Option<(String, EpochHistory)> {
            let state = states[&other.copy].as_ref().ok().filter(|state| state.leads)?;
            let theirs = state.status.lineage.as_ref().filter(|theirs| theirs.log_id == lineage.log_id)?;
            (theirs.history.latest() > lineage.history.latest())
                .then(|| (other.name.to_string(), theirs.history.clone()))
        };
        let leader = others.iter().filter_map(leads_later).max_by_key(|(_, history)| history.latest());
        let (leader, history) = leader.ok_or("no node answers that leads in a later epoch than this one knows")?;
        match lineage.history.fork(&history) {
            Some(from) if from <= self.store.watermark().decided => Ok(Fork { leader, from }),
            _ => Err(format!("{} has shown nothing that {leader} does not have; it follows by itself", self.name())),
        }
    }
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
    store.note_watermark(Watermark { decided: from.previous(), visible: visible - shown })?;
    store.drop_from(from)?;
    Ok(messages)
}
