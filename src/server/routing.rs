//! The paths of the API, the same on both kinds of node.

use super::http::{Exchange, Method, Reply};

/// What a path names. Paths are compared as sent: nothing in them is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resource<'a> {
    /// `/messages`
    Messages,
    /// `/messages/ID`
    Message(&'a str),
    /// `/secondaries`
    Secondaries,
    /// `/secondaries/NAME`
    Secondary(&'a str),
    /// `/writes/KEY`
    Write(&'a str),
    /// `/backup`
    Backup,
    /// `/fingerprint`
    Fingerprint,
    /// `/verify`
    Verify,
    /// `/health`
    Health,
    /// `/livez`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/faults`
    Faults,
    /// `/replicate`
    Replicate,
    /// `/replicate/state`
    ReplicateState,
    /// `/replicate/slots`
    ReplicateSlots,
    /// `/replicate/fate`
    ReplicateFate,
    /// Anything else.
    Unknown,
}

impl Resource<'_> {
    pub(super) fn of(path: &str) -> Resource<'_> {
        match path {
            "/messages" => Resource::Messages,
            "/secondaries" => Resource::Secondaries,
            "/backup" => Resource::Backup,
            "/fingerprint" => Resource::Fingerprint,
            "/verify" => Resource::Verify,
            "/health" => Resource::Health,
            "/livez" => Resource::Livez,
            "/readyz" => Resource::Readyz,
            "/faults" => Resource::Faults,
            "/replicate" => Resource::Replicate,
            "/replicate/state" => Resource::ReplicateState,
            "/replicate/slots" => Resource::ReplicateSlots,
            "/replicate/fate" => Resource::ReplicateFate,
            _ => {
                let below = |parent| path.strip_prefix(parent).filter(|rest| !rest.is_empty() && !rest.contains('/'));
                below("/messages/")
                    .map(Resource::Message)
                    .or_else(|| below("/secondaries/").map(Resource::Secondary))
                    .or_else(|| below("/writes/").map(Resource::Write))
                    .unwrap_or(Resource::Unknown)
            }
        }
    }
}

/// Refuses a method that HTTP knows and this path does not, or that HTTP does not know.
pub(super) fn method_not_allowed(exchange: Exchange, allowed: &'static str) {
    let reply = if exchange.method() == Method::Unknown {
        Reply::problem(501, "that is not a method of HTTP")
    } else {
        Reply::problem(405, &format!("{} answers to {allowed}", exchange.path())).with_header("Allow", allowed)
    };
    exchange.reply(reply);
}

/// Refuses a path that this node does not have.
pub(super) fn unknown_path(exchange: Exchange, known: &str) {
    let reply = if exchange.method() == Method::Unknown {
        Reply::problem(501, "that is not a method of HTTP")
    } else {
        Reply::not_found(&format!("{} is not here; this node has {known}", exchange.path().escape_debug()))
    };
    exchange.reply(reply);
}
