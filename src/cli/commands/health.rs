//! `--check-health`.

use super::failure::Failure;
use crate::cli::exit::EXIT_FAILED;
use crate::http;
use crate::node::settings::CommonSettings;
use crate::peer::Peers;
use crate::wire::address::NodeUrl;
use std::process::ExitCode;
use std::time::Duration;

/// Bounds the sending; [`Peers`] bounds the rest of a short call itself.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the node that listens here whether it is alive. A container uses it as its health check: it needs no other
/// program in the image, and finds the port in the same way as the node.
pub(in crate::cli) fn check_health(role: &str, settings: &CommonSettings) -> ExitCode {
    let alive = node(None, settings)
        .map_err(|_| "the address cannot be asked".to_owned())
        .and_then(|node| Peers::new(TIMEOUT, TIMEOUT, None).live(&node).map_err(|error| format!("{node} {error}")));
    match alive {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: not alive: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// The node that is named, or the one that this configuration describes.
pub(super) fn node(from: Option<&str>, settings: &CommonSettings) -> Result<NodeUrl, Failure> {
    let here = format!("http://{}", http::reachable(settings.listen));
    NodeUrl::parse(from.unwrap_or(&here)).map_err(Failure::Usage)
}
