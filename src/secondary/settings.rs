//! A secondary's configuration.

use crate::node::settings::CommonSettings;
use crate::wire::address::NodeUrl;
use std::time::Duration;

/// A secondary's configuration.
#[derive(Clone, Debug)]
pub(crate) struct SecondarySettings {
    pub(crate) common: CommonSettings,
    pub(crate) host: String,
    /// Where it registers, until it knows which node leads.
    pub(crate) master_urls: Vec<NodeUrl>,
    /// Whether it passes posts on to the master. Otherwise it redirects their clients.
    pub(crate) forward: bool,
    /// Where clients reach the master, for redirects; where this node reaches it otherwise.
    pub(crate) public_url: Option<String>,
    /// Artificial delay before an acknowledgement.
    pub(crate) delay: Duration,
}
