//! The high watermark.

use super::Id;

/// What is shown: committed messages up to the high watermark, and how many they are.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Watermark {
    /// Every id up to this one is decided, and shown if it is committed.
    pub decided: Id,
    /// How many messages are shown.
    pub visible: u64,
}
