//! The high watermark.

use super::{Base, Id};

/// What is shown: committed messages up to the high watermark, and how many they are.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Watermark {
    /// Every id up to this one is decided, and shown if it is committed.
    pub decided: Id,
    /// How many messages are shown, those included that are trimmed since.
    pub visible: u64,
}

impl Watermark {
    /// This one, or that of a log which ends with its base if that is later.
    #[must_use]
    pub fn not_before(self, base: Base) -> Watermark {
        if self.decided < base.id { Watermark { decided: base.id, visible: base.messages } } else { self }
    }
}
