//! Which epoch began where.

use super::{Epoch, Id, Incarnation};

/// One epoch of a master.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EpochEntry {
    /// Its number.
    pub epoch: Epoch,
    /// The first id that was written in it.
    pub start: Id,
    /// The start of the master's process. Two masters that go on from copies of one log give the same numbers to their
    /// epochs; this tells them apart.
    pub master: Incarnation,
}

/// The table of epochs. A later one may begin before an earlier one, when the master lost the end of its log.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct EpochHistory {
    entries: Vec<EpochEntry>,
}

impl EpochHistory {
    /// A history as it was stored, oldest first; `None` if its epochs do not ascend.
    #[must_use]
    pub fn new(entries: Vec<EpochEntry>) -> Option<EpochHistory> {
        let ascending = entries.windows(2).all(|pair| pair[0].epoch < pair[1].epoch);
        let begins = entries.first().is_none_or(|entry| entry.epoch > Epoch::NONE);
        (ascending && begins).then_some(EpochHistory { entries })
    }

    /// Adds an epoch that begins at `start`.
    ///
    /// # Panics
    /// If the epoch is not later than the latest one.
    pub fn begin(&mut self, epoch: Epoch, start: Id, master: Incarnation) {
        assert!(epoch > self.latest(), "epoch {epoch} from id {start} after epoch {}", self.latest());
        self.entries.push(EpochEntry { epoch, start, master });
    }

    /// The table of a node that enters an epoch, which begins at `start` as far as the node knows. If the call carried
    /// the whole table, and that ends with the epoch, the node takes that.
    #[must_use]
    pub fn entering(self, known: Option<&EpochHistory>, epoch: Epoch, start: Id, master: Incarnation) -> EpochHistory {
        let is_of_it = |known: &&EpochHistory| known.latest() == epoch && known.master_of(epoch) == Some(master);
        let mut history = known.filter(is_of_it).cloned().unwrap_or(self);
        if epoch > history.latest() {
            history.begin(epoch, start, master);
        }
        history
    }

    /// The latest epoch, or [`Epoch::NONE`].
    #[must_use]
    pub fn latest(&self) -> Epoch {
        self.entries.last().map_or(Epoch::NONE, |entry| entry.epoch)
    }

    /// The start of the master's process in an epoch.
    #[must_use]
    pub fn master_of(&self, epoch: Epoch) -> Option<Incarnation> {
        self.entries.iter().find(|entry| entry.epoch == epoch).map(|entry| entry.master)
    }

    /// The lowest id at which an epoch after `epoch` began: from there on, what a node knows only from `epoch` and
    /// before may be overtaken. `None` if there is no later one.
    #[must_use]
    pub fn overtaken_from(&self, epoch: Epoch) -> Option<Id> {
        self.entries.iter().filter(|entry| entry.epoch > epoch).map(|entry| entry.start).min()
    }

    /// The latest epoch of which a log that ends at `last` holds everything that it began with: the log is *grounded* in
    /// it. A node that has only entered a later epoch may still lack what was acknowledged before that.
    #[must_use]
    pub fn grounded(&self, last: Id) -> Epoch {
        let begun = self.entries.iter().rev().find(|entry| entry.start <= last.next());
        begun.map_or(Epoch::NONE, |entry| entry.epoch)
    }

    /// The first id from which on this table and another one may stand for different entries: the lowest beginning of an
    /// epoch that only one of them has. `None` if they have the same epochs, each with the same master.
    ///
    /// Numbers alone do not tell: two masters that do not know of each other give the same ones.
    #[must_use]
    pub fn fork(&self, other: &EpochHistory) -> Option<Id> {
        let lacks = |table: &EpochHistory, entry: &EpochEntry| table.master_of(entry.epoch) != Some(entry.master);
        let own = self.entries.iter().filter(|entry| lacks(other, entry));
        own.chain(other.entries.iter().filter(|entry| lacks(self, entry))).map(|entry| entry.start).min()
    }

    /// The table, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(starts: &[(u64, u64)]) -> Option<EpochHistory> {
        let epoch = |&(epoch, start): &(u64, u64)| EpochEntry {
            epoch: Epoch::new(epoch),
            start: Id::new(start),
            master: Incarnation::new(100 + epoch),
        };
        EpochHistory::new(starts.iter().map(epoch).collect())
    }

    #[test]
    fn later_epochs_decide_what_is_overtaken() {
        let history = history(&[(1, 1), (2, 10), (3, 20)]).unwrap();
        assert_eq!(history.overtaken_from(Epoch::NONE), Some(Id::new(1)));
        assert_eq!(history.overtaken_from(Epoch::new(1)), Some(Id::new(10)), "a node that missed epoch 2");
        assert_eq!(history.overtaken_from(Epoch::new(3)), None);
        assert_eq!(history.latest(), Epoch::new(3));
        assert_eq!(history.master_of(Epoch::new(2)), Some(Incarnation::new(102)));
        assert_eq!(history.master_of(Epoch::new(4)), None);
    }

    #[test]
    fn an_epoch_that_begins_earlier_overtakes_more() {
        let history = history(&[(1, 1), (2, 10), (3, 7)]).unwrap();
        assert_eq!(history.overtaken_from(Epoch::new(1)), Some(Id::new(7)));
    }

    #[test]
    fn a_log_is_grounded_in_the_latest_epoch_whose_beginning_it_holds() {
        let history = history(&[(1, 1), (2, 10), (4, 20)]).unwrap();
        for (last, grounded) in [(0, 1), (8, 1), (9, 2), (18, 2), (19, 4), (30, 4)] {
            assert_eq!(history.grounded(Id::new(last)), Epoch::new(grounded), "a log up to {last}");
        }
        assert_eq!(EpochHistory::default().grounded(Id::new(5)), Epoch::NONE);
    }

    #[test]
    fn tables_fork_where_an_epoch_of_one_began() {
        let known = |starts: &[(u64, u64)]| history(starts).unwrap();
        let common = known(&[(1, 1), (2, 10)]);
        assert_eq!(common.fork(&common), None);
        assert_eq!(common.fork(&known(&[(1, 1)])), Some(Id::new(10)));
        assert_eq!(known(&[(1, 1)]).fork(&common), Some(Id::new(10)));
        let mut others = common.clone();
        others.begin(Epoch::new(3), Id::new(14), Incarnation::new(7));
        assert_eq!(known(&[(1, 1), (2, 10), (3, 12)]).fork(&others), Some(Id::new(12)), "another master's epoch 3");
    }

    #[test]
    fn a_table_that_goes_back_is_not_ours() {
        for starts in [&[(2, 1), (1, 1)][..], &[(1, 1), (1, 2)], &[(0, 1)]] {
            assert_eq!(history(starts), None, "{starts:?}");
        }
    }
}
