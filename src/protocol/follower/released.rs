//! The id up to which the artificial delay is over.

use crate::protocol::{Epoch, Id};

/// The id up to which the artificial delay is over. Acknowledgements are cumulative, so a call without delay must not
/// acknowledge what another call still delays.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Released {
    /// The epoch in which the end of the log was dropped last, or the one at the start.
    epoch: Epoch,
    through: Id,
}

impl Released {
    /// What is held at the start waits for nothing, and a call from before does not count.
    pub(super) fn at_start(epoch: Epoch, last: Id) -> Released {
        Released { epoch, through: last }
    }

    /// The id up to which nothing waits.
    pub(super) fn through(&self) -> Id {
        self.through
    }

    /// The delay of a call is over. That of a call from an epoch before the last drop does not count.
    pub(super) fn extend(&mut self, epoch: Epoch, through: Id) {
        if epoch >= self.epoch {
            self.through = self.through.max(through);
        }
    }

    /// An epoch start has dropped the log from an id on.
    pub(super) fn dropped(&mut self, epoch: Epoch, from: Id) {
        (self.epoch, self.through) = (epoch, self.through.min(from.previous()));
    }
}
