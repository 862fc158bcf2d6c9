//! Where a log begins, once its beginning was trimmed.
//!
//! A log that grows for years has to lose its beginning. To *trim* a log up to an id is to drop every slot up to it, and
//! to keep what they were together: their [`Base`]. A node never reads, sends or compares what is at or below its base
//! again.
//!
//! - **The master decides** ([`Leader::trimmable`](super::Leader::trimmable)), and only about ids that are shown, that
//!   every secondary in sync has decided as well, and that a majority of the voters has decided if promotion is on. So
//!   every later leader has decided them, too, and no epoch overtakes them. Its own base is durable before a call names
//!   it.
//! - **A secondary that has decided as much** trims its own log beside its service. It compares the fingerprint of what it
//!   drops with that of the base: if the two differ, it drops nothing and takes no more part.
//! - **A secondary that has not** was away for longer than its master waits. The messages and refusals that it lacks are
//!   gone, so it *begins at the base*: everything up to there counts as decided, and its own slots up to there are dropped
//!   unseen. What it holds beyond stays: that may be counted copies.
//! - **A candidate** that finds a voter with a later base than its own high watermark begins there, too, even if its own
//!   log is the best: that voter dropped the refusals which the candidate lacks.
//! - **Bases differ** between nodes, and no promise depends on them. Fingerprints of whole logs stay comparable, because a
//!   base continues the chain.
//!
//! The newest message is never trimmed, and no write is trimmed in part or while its client waits.

use super::{Fingerprint, Id, Slot};

/// What was trimmed of a log.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Base {
    /// The last id that was trimmed; 0 if none was.
    pub id: Id,
    /// The fingerprint of the log up to it.
    pub fingerprint: Fingerprint,
    /// How many messages up to it were not refused.
    pub messages: u64,
}

impl Base {
    /// How many of these messages are left, those included that are trimmed.
    #[must_use]
    pub fn left_of(&self, messages: u64) -> u64 {
        messages.saturating_sub(self.messages)
    }

    /// The base of a log that is trimmed up to this slot, which follows it.
    pub fn extend(&mut self, slot: &Slot) {
        self.id = slot.id();
        self.fingerprint.extend(slot);
        self.messages += u64::from(matches!(slot, Slot::Entry(_)));
    }
}
