//! `--check-health`.

use super::failure::Failure;
use crate::cli::exit::EXIT_FAILED;
use crate::http;
use crate::node::settings::CommonSettings;
use crate::peer::Peers;
use crate::wire::address::NodeUrl;
use std::process::ExitCode;
use std::time::Duration;

/// The timeout for each part of the call.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Checks whether the node on this machine is alive. As the health check of a container, this needs no other program in
/// the image, and takes the port from the configuration of the node.
pub(in crate::cli) fn check_health(role: &str, settings: &CommonSettings) -> ExitCode {
    let alive = node(None, settings)
        .map_err(|_| "its address is not one that can be called".to_owned())
        .and_then(|node| Peers::new(TIMEOUT, TIMEOUT, None).live(&node).map_err(|error| format!("{node} {error}")));
    match alive {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: not alive: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// The node named on the command line, or else the one that this configuration describes.
pub(super) fn node(from: Option<&str>, settings: &CommonSettings) -> Result<NodeUrl, Failure> {
    let here = format!("http://{}", http::reachable(settings.listen));
    NodeUrl::parse(from.unwrap_or(&here)).map_err(Failure::Usage)
}
