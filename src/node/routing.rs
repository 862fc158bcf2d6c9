//! The paths of the API, the same on both kinds of node, and who may use them.

use crate::http::{Exchange, Method, Reply};

/// Who may use something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guard {
    /// Everybody.
    Open,
    /// Who has one of the tokens.
    Client,
    /// Who has the token of the cluster.
    Cluster,
}

/// What a path names. Paths are compared as sent: nothing in them is decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resource<'a> {
    /// `/`
    Page,
    /// `/live`
    Live,
    /// `/openapi.json`
    OpenApi,
    /// `/messages`
    Messages,
    /// `/messages/ID`
    Message(&'a str),
    /// `/messages/ID/trace`
    Trace(&'a str),
    /// `/secondaries`
    Secondaries,
    /// `/secondaries/NAME`
    Secondary(&'a str),
    /// `/secondaries/NAME/faults`
    SecondaryFaults(&'a str),
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
    /// `/metrics`
    Metrics,
    /// `/livez`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/safe-to-stop`
    SafeToStop,
    /// `/writable`
    Writable,
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
    pub(crate) fn of(path: &str) -> Resource<'_> {
        match path {
            "/" => Resource::Page,
            "/live" => Resource::Live,
            "/openapi.json" => Resource::OpenApi,
            "/messages" => Resource::Messages,
            "/secondaries" => Resource::Secondaries,
            "/backup" => Resource::Backup,
            "/fingerprint" => Resource::Fingerprint,
            "/verify" => Resource::Verify,
            "/health" => Resource::Health,
            "/metrics" => Resource::Metrics,
            "/livez" => Resource::Livez,
            "/readyz" => Resource::Readyz,
            "/safe-to-stop" => Resource::SafeToStop,
            "/writable" => Resource::Writable,
            "/faults" => Resource::Faults,
            "/replicate" => Resource::Replicate,
            "/replicate/state" => Resource::ReplicateState,
            "/replicate/slots" => Resource::ReplicateSlots,
            "/replicate/fate" => Resource::ReplicateFate,
            _ => {
                // What lies between two parts of a path, if that is one part.
                let between = |parent, end| {
                    let part: Option<&str> = path.strip_prefix(parent).and_then(|rest| rest.strip_suffix(end));
                    part.filter(|part| !part.is_empty() && !part.contains('/'))
                };
                between("/messages/", "")
                    .map(Resource::Message)
                    .or_else(|| between("/messages/", "/trace").map(Resource::Trace))
                    .or_else(|| between("/secondaries/", "").map(Resource::Secondary))
                    .or_else(|| between("/secondaries/", "/faults").map(Resource::SecondaryFaults))
                    .or_else(|| between("/writes/", "").map(Resource::Write))
                    .unwrap_or(Resource::Unknown)
            }
        }
    }
}

impl Resource<'_> {
    /// Who may use it.
    pub(crate) fn guard(self, method: Method) -> Guard {
        match (self, method) {
            (Resource::Livez | Resource::Readyz | Resource::Unknown, _) => Guard::Open,
            (
                Resource::Replicate
                | Resource::ReplicateState
                | Resource::ReplicateSlots
                | Resource::ReplicateFate
                | Resource::SecondaryFaults(_),
                _,
            )
            | (
                Resource::Secondary(_) | Resource::Secondaries | Resource::Faults,
                Method::Post | Method::Put | Method::Delete,
            ) => Guard::Cluster,
            _ => Guard::Client,
        }
    }
}

/// Answers `GET /openapi.json`: all that clients may ask, on both kinds of node.
pub(crate) fn openapi() -> Reply {
    Reply::json_text(200, include_bytes!("openapi.json").to_vec())
}

/// Refuses a method that HTTP knows and this path does not, or that HTTP does not know.
pub(crate) fn method_not_allowed(exchange: Exchange, allowed: &'static str) {
    let reply = if exchange.method() == Method::Unknown {
        Reply::problem(501, "that is not a method of HTTP")
    } else {
        Reply::problem(405, &format!("{} answers to {allowed}", exchange.path())).with_header("Allow", allowed)
    };
    exchange.reply(reply);
}

/// Refuses a path that this node does not have.
pub(crate) fn unknown_path(exchange: Exchange, known: &str) {
    let reply = if exchange.method() == Method::Unknown {
        Reply::problem(501, "that is not a method of HTTP")
    } else {
        Reply::not_found(&format!("{} is not here; this node has {known}", exchange.path().escape_debug()))
    };
    exchange.reply(reply);
}
