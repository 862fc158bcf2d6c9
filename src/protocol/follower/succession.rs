//! Promises to candidates, and how a node that has enough of them prepares to lead.

use super::ready::{Reply, Request};
use super::replica::{Change, EnteredEpoch, Lineage, Replica, Revision};
use crate::protocol::{
    Adoption, Base, Beginning, Candidacy, Entry, Epoch, Id, NotPromised, Promise, PromiseRequest, Slot,
};
use std::sync::Arc;

/// What a request that is granted changes, and the reply to it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Granted {
    pub(super) reply: Reply,
    /// The epoch that is promised then.
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
}

impl Replica {
    /// Whether a request is granted, and what has to be stored for it.
    ///
    /// # Errors
    /// If another candidate or master came before.
    pub(super) fn grant(&self, request: Request) -> Result<(Granted, Vec<Change>), NotPromised> {
        match request {
            Request::Promise(request) => self.promise(&request),
            Request::Adopt(adoption) => self.adopt(adoption),
            Request::Begin(candidacy, beginning) => self.begin(candidacy, &beginning),
        }
    }

    /// The latest promise that this node gave.
    pub(super) fn promised(&self) -> Option<Candidacy> {
        self.lineage.as_ref().and_then(|lineage| lineage.promised)
    }

    fn lineage(&self) -> Result<&Arc<Lineage>, NotPromised> {
        if let Some(id) = self.diverged {
            return Err(NotPromised::Diverged(id));
        }
        self.lineage.as_ref().ok_or(NotPromised::OtherLog(None))
    }

    /// A candidate asks for a promise. It gets the same one again if it asks again.
    fn promise(&self, request: &PromiseRequest) -> Result<(Granted, Vec<Change>), NotPromised> {
        let lineage = self.lineage()?;
        let candidacy = request.candidacy;
        if lineage.log_id != request.log_id {
            return Err(NotPromised::OtherLog(Some(lineage.log_id)));
        }
        if lineage.history.latest() >= candidacy.epoch {
            return Err(NotPromised::Entered(lineage.history.latest()));
        }
        if let Some(other) = lineage.promised.filter(|&other| other.epoch >= candidacy.epoch && other != candidacy) {
            return Err(NotPromised::Promised(other));
        }
        let promise = Promise {
            history: lineage.history.clone(),
            base: Base::default(),
            last: self.last,
            decided: self.decided,
            refused: self.refused.iter().copied().filter(|&id| id > request.after).collect(),
            roster: lineage.roster.clone(),
        };
        let promised = Lineage { promised: Some(candidacy), ..(**lineage).clone() };
        Ok((granted(Reply::Promised(promise), candidacy, self.revised(promised)), vec![Change::Promise(candidacy)]))
    }

    /// The promise that a candidate gave itself, which must still hold.
    fn standing_of(&self, candidacy: Candidacy) -> Result<&Arc<Lineage>, NotPromised> {
        let lineage = self.lineage()?;
        match lineage.promised {
            Some(own) if own == candidacy && lineage.history.latest() < candidacy.epoch => Ok(lineage),
            Some(own) if own == candidacy => Err(NotPromised::Entered(lineage.history.latest())),
            Some(other) => Err(NotPromised::Promised(other)),
            None => Err(NotPromised::OtherLog(Some(lineage.log_id))),
        }
    }

    /// Copies the best log. Its epochs are stored before its entries: without them the entries would count as
    /// some of an earlier epoch.
    fn adopt(&self, adoption: Adoption) -> Result<(Granted, Vec<Change>), NotPromised> {
        let Adoption { candidacy, history, roster, base, slots } = adoption;
        let base = base.filter(|base| base.id > self.decided);
        let lineage = self.standing_of(candidacy)?;
        let fork = lineage.history.fork(&history);
        let kept = fork.map_or(self.last, |from| self.last.min(from.previous()));
        let kept = base.map_or(kept, |base| kept.max(base.id));
        let (held, append): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(|slot| slot.id() <= kept);
        let mut restore: Vec<Arc<Entry>> = Vec::new();
        let mut refuse = Vec::new();
        for slot in held {
            match slot {
                Slot::Entry(entry) if self.refused.contains(&entry.id) => restore.push(entry),
                Slot::Refused(id) if id > self.decided && !self.refused.contains(&id) => refuse.push(id),
                _ => {}
            }
        }
        let drop_from = fork.filter(|&from| self.last >= from);
        let adopted = Lineage { history, roster, ..(**lineage).clone() };
        let enter = (adopted != **lineage).then(|| entered(&adopted));
        let refused_beyond = append.iter().filter(|slot| matches!(slot, Slot::Refused(_))).map(Slot::id);
        let revision = Revision {
            drop_from,
            last: append.last().map_or(kept, Slot::id),
            refused: refuse.iter().copied().chain(refused_beyond).collect(),
            restored: restore.iter().map(|entry| entry.id).collect(),
            base,
            ..self.revised(adopted)
        };
        let changes = Change::in_order(drop_from, restore, refuse, enter, base, append);
        Ok((granted(Reply::Adopted, candidacy, revision), changes))
    }

    /// Begins the epoch. The refusals that other voters know are stored before: an opening carries them.
    fn begin(&self, candidacy: Candidacy, beginning: &Beginning) -> Result<(Granted, Vec<Change>), NotPromised> {
        let lineage = self.standing_of(candidacy)?;
        let Candidacy { epoch, copy, master } = candidacy;
        let is_new = |id: &Id| *id > self.decided && *id <= self.last && !self.refused.contains(id);
        let refuse: Vec<Id> = beginning.refused.iter().copied().filter(is_new).collect();
        let mut history = lineage.history.clone();
        history.begin(epoch, self.last.next(), master);
        let begun = Lineage { history, roster: beginning.roster.led_by(copy, epoch), ..(**lineage).clone() };
        let enter = Some(entered(&begun));
        let revision = Revision { refused: refuse.clone(), ..self.revised(begun) };
        Ok((
            granted(Reply::Begun, candidacy, revision),
            Change::in_order(None, Vec::new(), refuse, enter, None, Vec::new()),
        ))
    }

    /// A revision of nothing but the lineage.
    fn revised(&self, lineage: Lineage) -> Revision {
        let lineage = Some(Arc::new(lineage));
        Revision { drop_from: None, last: self.last, refused: Vec::new(), base: None, restored: Vec::new(), lineage }
    }
}

fn granted(reply: Reply, candidacy: Candidacy, revision: Revision) -> Granted {
    Granted { reply, epoch: candidacy.epoch, revision }
}

/// The latest epoch of a lineage, as a change.
fn entered(lineage: &Lineage) -> EnteredEpoch {
    let latest = lineage.history.entries().last().copied().expect("a log has an epoch");
    EnteredEpoch {
        log_id: lineage.log_id,
        epoch: latest.epoch,
        master: latest.master,
        begins: latest.start,
        history: Some(lineage.history.clone()),
        roster: Some(lineage.roster.clone()),
    }
}
