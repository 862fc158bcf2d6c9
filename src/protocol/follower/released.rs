//! The id up to which the artificial delay is over.

use crate::protocol::{Epoch, Id};
use std::collections::BTreeMap;

/// The id up to which the artificial delay is over. Acknowledgements are cumulative, so a call without delay must not
/// acknowledge what another call still delays.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Released {
    through: Id,
    /// The epochs whose beginning dropped the end of the log, and the last id that each kept; also the epoch and the
    /// last id at the start. What calls of earlier epochs brought beyond that is gone.
    kept: Vec<(Epoch, Id)>,
    /// What calls without a delay brought while an earlier one was delayed: the id before each, and its last.
    behind: BTreeMap<Id, Id>,
}

impl Released {
    /// What is held at the start waits for nothing.
    pub(super) fn at_start(epoch: Epoch, last: Id) -> Released {
        Released { through: last, kept: vec![(epoch, last)], behind: BTreeMap::new() }
    }

    /// The id up to which nothing waits.
    pub(super) fn through(&self) -> Id {
        self.through
    }

    /// The delay of a call is over.
    pub(super) fn extend(&mut self, epoch: Epoch, through: Id) {
        let kept = self.kept.iter().filter(|(dropping, _)| *dropping > epoch).map(|&(_, last)| last);
        self.reach(kept.fold(through, Id::min));
    }

    /// A call without a delay brought the ids after `after` up to `through`: they wait only for what is before them.
    pub(super) fn pass(&mut self, after: Id, through: Id) {
        if after <= self.through {
            return self.reach(through);
        }
        let known = self.behind.entry(after).or_default();
        *known = through.max(*known);
    }

    fn reach(&mut self, through: Id) {
        self.through = self.through.max(through);
        while let Some(next) = self.behind.first_entry().filter(|next| *next.key() <= self.through) {
            self.through = self.through.max(next.remove());
        }
    }

    /// An epoch start has dropped the log from an id on.
    pub(super) fn dropped(&mut self, epoch: Epoch, from: Id) {
        self.through = self.through.min(from.previous());
        self.behind.split_off(&from.previous());
        self.behind.values_mut().for_each(|through| *through = from.previous().min(*through));
        self.kept.push((epoch, from.previous()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_without_a_delay_waits_for_what_is_before_it() {
        let mut released = Released::at_start(Epoch::new(1), Id::new(3));
        released.pass(Id::new(5), Id::new(6));
        released.pass(Id::new(6), Id::new(8));
        assert_eq!(released.through(), Id::new(3), "4 and 5 are delayed");
        released.extend(Epoch::new(1), Id::new(5));
        assert_eq!(released.through(), Id::new(8));
        released.pass(Id::new(9), Id::new(12));
        released.dropped(Epoch::new(2), Id::new(11));
        released.extend(Epoch::new(2), Id::new(9));
        assert_eq!(released.through(), Id::new(10), "11 and 12 are gone");
    }

    #[test]
    fn a_delay_that_ends_after_a_drop_releases_what_was_kept() {
        let mut released = Released::at_start(Epoch::new(1), Id::new(3));
        released.dropped(Epoch::new(2), Id::new(5));
        assert_eq!(released.through(), Id::new(3));
        released.extend(Epoch::new(1), Id::new(7));
        assert_eq!(released.through(), Id::new(4), "5 to 7 are gone");
        released.extend(Epoch::new(2), Id::new(6));
        assert_eq!(released.through(), Id::new(6));
        released.dropped(Epoch::new(3), Id::new(9));
        released.extend(Epoch::new(1), Id::new(8));
        assert_eq!(released.through(), Id::new(6), "7 and 8 came anew in epoch 2");
    }
}
