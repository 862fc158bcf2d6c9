//! The settings that both roles have.

use super::access::Access;
use super::logging::LogSettings;
use super::reading::FollowLimits;
use crate::http::Limits;
use crate::wire::client::View;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings that both roles have.
#[derive(Clone, Debug)]
pub(crate) struct CommonSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) server_id: String,
    /// The data directory, or `None` if the log is kept in memory only.
    pub(crate) data_dir: Option<PathBuf>,
    /// Memory for pages of the database.
    pub(crate) cache_bytes: usize,
    pub(crate) log: LogSettings,
    pub(crate) view: View,
    pub(crate) limits: Limits,
    pub(crate) follow: FollowLimits,
    pub(crate) access: Access,
    /// Whether clients can inject faults.
    pub(crate) faults_enabled: bool,
}
