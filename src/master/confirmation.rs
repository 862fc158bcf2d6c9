//! Whether this master still leads, for a reader that must not miss what was acknowledged elsewhere.
//!
//! If another node may lead, a master that is cut off does not notice that one does. So before it answers a strong read, or
//! a secondary that asks what is decided, it asks the voters: while a majority has promised no later epoch, no other node
//! has begun one, and what this master shows is all that was acknowledged before it asked. This is the read index of the
//! Raft thesis (Ongaro, 2014, section 6.4), and needs no clock.

use super::shared::Master;
use crate::protocol::{CopyId, MemberView, ReplicaStatus, ReplicationState};
use crossbeam::channel::unbounded;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

impl Master {
    /// Asks the voters whether this master still leads. It does without asking if no other node may.
    ///
    /// # Errors
    /// With a sentence, if too few of them say so.
    pub(super) fn confirm(self: &Arc<Master>) -> Result<(), String> {
        let state = self.lock();
        let roster = state.leader.roster().clone();
        if !roster.allows_promotion() {
            return Ok(());
        }
        let (log_id, epoch, incarnation) = (state.leader.log_id(), state.leader.epoch(), state.leader.incarnation());
        let voter = |view: MemberView| {
            let copy = view.copy.filter(|copy| roster.is_voter(*copy) && view.state == ReplicationState::InSync)?;
            Some((copy, state.members.get(&view.member)?.url.clone()))
        };
        let voters: Vec<_> = state.leader.members().filter_map(voter).collect();
        drop(state);
        let follows = move |status: &ReplicaStatus| {
            let promised = status.lineage.as_ref().and_then(|lineage| lineage.promised);
            let is_free = promised.is_none_or(|promised| promised.epoch <= epoch);
            status.epoch == epoch && status.master == Some(incarnation) && is_free
        };
        let (answers, answered) = unbounded();
        for (copy, url) in voters {
            let (master, answers) = (Arc::clone(self), answers.clone());
            let ask = move || {
                let status = master.peers.state_in(&url, log_id, epoch).map(|body| body.status());
                // No thread waits for the last of them.
                let _ = answers.send(status.is_ok_and(|status| follows(&status)).then_some(copy));
            };
            thread::Builder::new().name("confirmation".to_owned()).spawn(ask).map_err(|error| error.to_string())?;
        }
        drop(answers);
        let mut confirmed: BTreeSet<CopyId> = BTreeSet::new();
        while !roster.is_majority(|copy| confirmed.contains(&copy)) {
            match answered.recv() {
                Ok(copy) => confirmed.extend(copy),
                Err(_) => return Err("too few voters confirm that this node still leads".to_owned()),
            }
        }
        Ok(())
    }
}
