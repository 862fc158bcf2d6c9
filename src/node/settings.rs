//! What both kinds of node need to run.

use super::access::Access;
use super::logging::LogSettings;
use super::reading::FollowLimits;
use crate::http::Limits;
use crate::wire::client::View;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What both kinds of node need to run.
#[derive(Clone, Debug)]
pub(crate) struct CommonSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) server_id: String,
    /// Where the data lies; none if nothing is kept.
    pub(crate) data_dir: Option<PathBuf>,
    /// Memory for pages of the database.
    pub(crate) cache_bytes: usize,
    pub(crate) log: LogSettings,
    pub(crate) view: View,
    pub(crate) limits: Limits,
    pub(crate) follow: FollowLimits,
    pub(crate) access: Access,
    /// Whether faults can be asked for.
    pub(crate) faults_enabled: bool,
}
