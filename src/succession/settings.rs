//! What a node is configured with, whichever its role.

use crate::master::MasterSettings;
use crate::process::budget::Budget;
use crate::secondary::SecondarySettings;
use crate::wire::node::CALL_BYTES_MAX;

/// What a node is configured with, whichever its role.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub(crate) leading: MasterSettings,
    pub(crate) following: SecondarySettings,
}

impl NodeSettings {
    /// Makes room for the calls of a master: a node that leads may come to follow one.
    pub(crate) fn take_calls(&mut self) {
        let limits = &mut self.leading.common.limits;
        limits.body_bytes_max = CALL_BYTES_MAX;
        let bytes_max = Budget::least_for(CALL_BYTES_MAX).max(limits.bodies.figures().bytes_max);
        limits.bodies = Budget::new(bytes_max);
        self.following.common.limits = limits.clone();
    }
}
