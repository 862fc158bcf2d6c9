//! Up to where the artificial delay is over.

use crate::protocol::{Epoch, Id};

/// Up to where the artificial delay is over. Acknowledgements are cumulative, so a call that does not wait itself must not
/// acknowledge what another one is still waiting for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Released {
    /// The epoch in which the end of the log was dropped last.
    epoch: Epoch,
    through: Id,
}

impl Released {
    /// What is held at the start waits for nothing.
    pub(super) fn at_start(last: Id) -> Released {
        Released { epoch: Epoch::NONE, through: last }
    }

    /// The id up to which nothing waits.
    pub(super) fn through(&self) -> Id {
        self.through
    }

    /// The delay of a call of an epoch is over. A call of an epoch before the last drop says nothing.
    pub(super) fn extend(&mut self, epoch: Epoch, through: Id) {
        if epoch >= self.epoch {
            self.through = self.through.max(through);
        }
    }

    /// An epoch that begins dropped the log from an id on.
    pub(super) fn dropped(&mut self, epoch: Epoch, from: Id) {
        (self.epoch, self.through) = (epoch, self.through.min(from.previous()));
    }
}
