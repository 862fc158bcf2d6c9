//! Which reign began where.

use super::{Epoch, Id};

/// The table of epochs: each with the first id that was written in it. A later epoch may begin before an earlier one,
/// when the master lost the end of its log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EpochHistory {
    starts: Vec<(Epoch, Id)>,
}

impl EpochHistory {
    /// A history read back from where it was kept, oldest first.
    ///
    /// # Panics
    /// If epochs go back: such a table was never written by us.
    #[must_use]
    pub fn new(starts: Vec<(Epoch, Id)>) -> EpochHistory {
        let mut history = EpochHistory::default();
        for (epoch, start) in starts {
            history.begin(epoch, start);
        }
        history
    }

    /// Adds a reign that begins at `start`.
    ///
    /// # Panics
    /// If the epoch is not later than the latest one.
    pub fn begin(&mut self, epoch: Epoch, start: Id) {
        assert!(epoch > self.latest(), "epoch {epoch} from id {start} after epoch {}", self.latest());
        self.starts.push((epoch, start));
    }

    /// The latest epoch, or [`Epoch::NONE`].
    #[must_use]
    pub fn latest(&self) -> Epoch {
        self.starts.last().map_or(Epoch::NONE, |&(epoch, _)| epoch)
    }

    /// The lowest id at which an epoch after `epoch` began: from there on, what a node knows only from `epoch` and before
    /// may be overtaken. `None` if there is no later one.
    #[must_use]
    pub fn overtaken_from(&self, epoch: Epoch) -> Option<Id> {
        self.starts.iter().filter(|&&(later, _)| later > epoch).map(|&(_, start)| start).min()
    }

    /// The table, oldest first.
    #[must_use]
    pub fn starts(&self) -> &[(Epoch, Id)] {
        &self.starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_epochs_decide_what_is_overtaken() {
        let history = EpochHistory::new(vec![
            (Epoch::new(1), Id::new(1)),
            (Epoch::new(2), Id::new(10)),
            (Epoch::new(3), Id::new(20)),
        ]);
        assert_eq!(history.overtaken_from(Epoch::NONE), Some(Id::new(1)));
        assert_eq!(history.overtaken_from(Epoch::new(1)), Some(Id::new(10)), "a node that slept through epoch 2");
        assert_eq!(history.overtaken_from(Epoch::new(3)), None);
        assert_eq!(history.latest(), Epoch::new(3));
    }

    #[test]
    fn an_epoch_that_begins_earlier_overtakes_more() {
        let history = EpochHistory::new(vec![
            (Epoch::new(1), Id::new(1)),
            (Epoch::new(2), Id::new(10)),
            (Epoch::new(3), Id::new(7)),
        ]);
        assert_eq!(history.overtaken_from(Epoch::new(1)), Some(Id::new(7)));
    }
}
