//! The id up to which the artificial delay is over.

use crate::protocol::{Epoch, Id};

/// The id up to which the artificial delay is over. Acknowledgements are cumulative, so a call without delay must not
/// acknowledge what another call still delays.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Released {
    through: Id,
    /// The epochs whose beginning dropped the end of the log, and the last id that each kept; also the epoch and the
    /// last id at the start. What calls of earlier epochs brought beyond that is gone.
    kept: Vec<(Epoch, Id)>,
}

impl Released {
    /// What is held at the start waits for nothing.
    pub(super) fn at_start(epoch: Epoch, last: Id) -> Released {
        Released { through: last, kept: vec![(epoch, last)] }
    }

    /// The id up to which nothing waits.
    pub(super) fn through(&self) -> Id {
        self.through
    }

    /// The delay of a call is over.
    pub(super) fn extend(&mut self, epoch: Epoch, through: Id) {
        let kept = self.kept.iter().filter(|(dropping, _)| *dropping > epoch).map(|&(_, last)| last);
        self.through = self.through.max(kept.fold(through, Id::min));
    }

    /// An epoch start has dropped the log from an id on.
    pub(super) fn dropped(&mut self, epoch: Epoch, from: Id) {
        self.through = self.through.min(from.previous());
        self.kept.push((epoch, from.previous()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
