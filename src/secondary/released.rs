//! Up to where the artificial delay is over.

use crate::protocol::{Epoch, Id};

/// Up to where the artificial delay is over. Acknowledgements are cumulative, so one that waits for nothing itself must not
/// acknowledge what another one is still waiting for.
#[derive(Debug)]
pub(super) struct Released {
    /// The epoch in which the end of the log was dropped last.
    epoch: Epoch,
    pub(super) through: Id,
}

impl Released {
    /// What is held at the start waits for nothing.
    pub(super) fn at_start(last: Id) -> Released {
        Released { epoch: Epoch::NONE, through: last }
    }

    /// The delay of a call of an epoch is over. One of an epoch before the last drop says nothing.
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
