//! A body that has arrived.

use crate::process::budget::Share;
use std::ops::Deref;

/// The body of a request. As long as it is kept, its bytes are taken from the budget for bodies.
pub(crate) struct Body {
    bytes: Vec<u8>,
    _share: Share,
}

impl Body {
    pub(super) fn new(bytes: Vec<u8>, share: Share) -> Body {
        Body { bytes, _share: share }
    }

    /// Gives the bytes, and what keeps their place in the budget.
    pub(crate) fn into_parts(self) -> (Vec<u8>, impl Sized) {
        (self.bytes, self._share)
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
