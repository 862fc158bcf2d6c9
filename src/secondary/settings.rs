//! A secondary's configuration.

use crate::node::settings::CommonSettings;
use crate::wire::address::NodeUrl;
use std::time::Duration;

/// A secondary's configuration.
#[derive(Clone, Debug)]
pub(crate) struct SecondarySettings {
    pub(crate) common: CommonSettings,
    pub(crate) host: String,
    pub(crate) master_url: Option<NodeUrl>,
    /// Artificial delay before an acknowledgement.
    pub(crate) delay: Duration,
}
