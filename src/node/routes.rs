//! The route table: every path and method of the API, on both kinds of node.
//!
//! To add a route:
//!
//! 1. Add a row to [`ROUTES`], and its endpoint to [`NodeEndpoint`] if every node serves it, to [`MasterEndpoint`] if
//!    only the master does, to [`SecondaryEndpoint`] if only a secondary does, to [`SuccessionEndpoint`] if it is about
//!    which node leads.
//! 2. Handle the endpoint in `src/master/routes.rs`, `src/secondary/routes.rs`, or both, or in `src/succession/routes.rs`:
//!    they do not compile without it.
//! 3. Describe the route in `openapi.json` and `docs/api.md`. The tests of this file fail until both agree with the
//!    table.
//!
//! The access check, the redirection to the master, and the replies 404 and 405 follow from the row.

use super::access::{Access, Guard};
use crate::http::{Exchange, Method, Reply};
use crate::wire::escapes;
use Endpoint::{Master, Node, Secondary, Succession};
use Guard::{Client, Cluster, Open};
use OnSecondary::{Absent, Forward, Redirect};
use {MasterEndpoint::*, NodeEndpoint::*, SecondaryEndpoint::*, SuccessionEndpoint::*};

/// Method, path, guard, endpoint, and a summary for the documents. The methods of one path follow each other, as
/// `Allow` is to list them.
static ROUTES: &[Route] = &[
    route(GET, "/messages", Client, Node(Messages), "List the log or a part of it, or follow it"),
    route(POST, "/messages", Client, Master(PostMessage, Forward), "Append one message, or several"),
    route(GET, "/messages/{id}", Client, Node(Message), "Read one message"),
    route(GET, "/messages/{id}/trace", Client, Master(Trace, Redirect), "Show where the time of a write went"),
    route(GET, "/writes/{key}", Client, Master(Write, Redirect), "Show the outcome of a write by its idempotency key"),
    route(GET, "/secondaries", Client, Master(Secondaries, Redirect), "List the secondaries and the state of each"),
    route(
        POST,
        "/secondaries",
        Cluster,
        Master(Register, Redirect),
        "Register a secondary; repeating this is harmless",
    ),
    route(DELETE, "/secondaries/{name}", Cluster, Master(Remove, Absent), "Remove a secondary"),
    route(POST, "/trim", Cluster, Master(Trim, Redirect), "Drop the beginning of the log"),
    route(GET, "/verify", Client, Master(Verify, Absent), "Compare the logs of all nodes"),
    route(GET, "/backup", Client, Node(Backup), "Download the log as lines of JSON, with its fingerprint at the end"),
    route(GET, "/fingerprint", Client, Node(Fingerprint), "Compute the fingerprint of a part of the log"),
    route(GET, "/", Client, Node(Page), "Show the page of this node in a browser"),
    route(GET, "/live", Client, Node(Live), "Stream what the page shows, as server-sent events"),
    route(GET, "/openapi.json", Client, Node(OpenApi), "Describe this API for programs (OpenAPI 3.1)"),
    route(GET, "/health", Client, Node(Health), "Show state and counts, and on the master every secondary"),
    route(GET, "/metrics", Client, Node(Metrics), "Export metrics for Prometheus"),
    route(GET, "/livez", Open, Node(Livez), "Check whether the process is alive"),
    route(GET, "/readyz", Open, Node(Readyz), "Check whether this node can serve"),
    route(GET, "/safe-to-stop", Client, Node(SafeToStop), "Check whether a node may be stopped now"),
    route(GET, "/writable", Client, Master(Writable, Redirect), "Check whether a message would be taken now"),
    route(PUT, "/secondaries/{name}/faults", Cluster, Master(SecondaryFaults, Absent), "Set a secondary's fault"),
    route(DELETE, "/secondaries/{name}/faults", Cluster, Master(SecondaryFaults, Absent), "End a secondary's fault"),
    route(GET, "/faults", Client, Node(Faults), "Show this node's fault"),
    route(PUT, "/faults", Cluster, Node(Faults), "Set this node's fault"),
    route(DELETE, "/faults", Cluster, Node(Faults), "End this node's fault"),
    route(POST, "/replicate", Cluster, Secondary(Replicate), "Replicate entries to a secondary"),
    route(GET, "/replicate/state", Cluster, Secondary(State), "Report what a secondary holds"),
    route(GET, "/replicate/slots", Cluster, Secondary(Slots), "Read the slots of a secondary after an id"),
    route(
        GET,
        "/replicate/decisions",
        Cluster,
        Master(Decisions, Absent),
        "Read what the master has decided after an id",
    ),
    route(GET, "/leader", Client, Succession(Leader), "Check whether this node leads"),
    route(GET, "/promotion", Client, Succession(Preview), "Show what a promotion of this node would find"),
    route(POST, "/promotion", Cluster, Succession(Promote), "Promote this node: let it lead"),
    route(POST, "/switchover", Cluster, Succession(SwitchOver), "Hand over to a secondary, which leads from then on"),
    route(POST, "/rejoin", Cluster, Succession(Rejoin), "Put aside what the master does not have, and follow it"),
    route(POST, "/replicate/promise", Cluster, Succession(Promise), "Promise an epoch to a candidate"),
];

/// The methods that routes have, and how `Allow` names them.
const GET: (Method, &str) = (Method::Get, "GET, HEAD");
const POST: (Method, &str) = (Method::Post, "POST");
const PUT: (Method, &str) = (Method::Put, "PUT");
const DELETE: (Method, &str) = (Method::Delete, "DELETE");

/// One path and method of the API.
struct Route {
    method: Method,
    /// The method as `Allow` names it.
    allow: &'static str,
    /// The path. `{name}` stands for one non-empty part.
    path: &'static str,
    /// The bytes of the path before `{name}`, and after it, if it has such a part. Every request is compared with every
    /// route.
    fixed_bytes: Option<(usize, usize)>,
    guard: Guard,
    endpoint: Endpoint,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests compare openapi.json and docs/api.md with it"))]
    summary: &'static str,
}

/// What answers a route, and on which nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    /// Every node serves it.
    Node(NodeEndpoint),
    /// The master serves it.
    Master(MasterEndpoint, OnSecondary),
    /// A secondary serves it, and the master does not have it.
    Secondary(SecondaryEndpoint),
    /// Every node serves it, and it may change which node leads.
    Succession(SuccessionEndpoint),
}

/// How a secondary answers a route that only the master serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnSecondary {
    /// It does not have the route: 404.
    Absent,
    /// It sends its client to the master: 307.
    Redirect,
    /// It passes the request on to the master, or redirects its client if it is configured to.
    Forward,
}

/// What every node serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NodeEndpoint {
    Backup,
    Faults,
    Fingerprint,
    Health,
    Live,
    Livez,
    Message,
    Messages,
    Metrics,
    OpenApi,
    Page,
    Readyz,
    SafeToStop,
}

/// What every node serves about which of them leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SuccessionEndpoint {
    Leader,
    Preview,
    Promise,
    Promote,
    SwitchOver,
    Rejoin,
}

/// What only the master serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MasterEndpoint {
    Decisions,
    PostMessage,
    Register,
    Remove,
    Secondaries,
    SecondaryFaults,
    Trace,
    Trim,
    Verify,
    Writable,
    Write,
}

/// What only a secondary serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SecondaryEndpoint {
    Replicate,
    Slots,
    State,
}

/// The role of a node, which decides what it serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Master,
    Secondary,
}

const fn route(
    (method, allow): (Method, &'static str),
    path: &'static str,
    guard: Guard,
    endpoint: Endpoint,
    summary: &'static str,
) -> Route {
    Route { method, allow, path, fixed_bytes: around_parameter(path.as_bytes()), guard, endpoint, summary }
}

const fn around_parameter(path: &[u8]) -> Option<(usize, usize)> {
    let (mut begin, mut end) = (0, path.len());
    while begin < path.len() && path[begin] != b'{' {
        begin += 1;
    }
    while end > begin && path[end - 1] != b'}' {
        end -= 1;
    }
    if begin < end { Some((begin, path.len() - end)) } else { None }
}

impl Route {
    /// The part of a path that stands for `{name}`, or `""` for a route without one. `None` if the path is another
    /// route's.
    fn parameter<'path>(&self, path: &'path str) -> Option<&'path str> {
        let Some((before, after)) = self.fixed_bytes else { return (path == self.path).then_some("") };
        let (before, after) = (&self.path[..before], &self.path[self.path.len() - after..]);
        let part = path.strip_prefix(before)?.strip_suffix(after)?;
        (!part.is_empty() && !part.contains('/')).then_some(part)
    }

    /// Whether a node of this role serves the route or redirects its client.
    fn is_on(&self, role: Role) -> bool {
        match self.endpoint {
            Node(_) | Succession(_) | Master(_, Redirect | Forward) => true,
            Master(_, Absent) => role == Role::Master,
            Secondary(_) => role == Role::Secondary,
        }
    }
}

/// The routes of a path, on all nodes, with the parameter in it.
fn at(path: &str) -> impl Iterator<Item = (&'static Route, &str)> {
    ROUTES.iter().filter_map(move |route| Some((route, route.parameter(path)?)))
}

/// The route of a method and a path, on all nodes, with the parameter in the path.
fn find(method: Method, path: &str) -> Option<(&'static Route, &str)> {
    let mut of_method = ROUTES.iter().filter(|route| route.method == method);
    of_method.find_map(|route| Some((route, route.parameter(path)?)))
}

/// The endpoint that a request names, whether or not [`admit`] lets it in.
pub(crate) fn endpoint(exchange: &Exchange) -> Option<Endpoint> {
    find(exchange.method(), &exchange.path()).map(|(route, _)| route.endpoint)
}

/// Checks whether a request may use a route. Gives its endpoint, which may be one of another role, and the parameter in
/// its path.
///
/// # Errors
/// With the reply that refuses the request: its client may not use the route, or the path or the method does not exist.
/// A client learns that a path lacks a method only if it may use one of the methods that the path has.
pub(crate) fn admit(exchange: &mut Exchange, access: &Access, role: Role) -> Result<(Endpoint, String), Reply> {
    if exchange.header("Origin").is_some() {
        let allowed = allowed(&exchange.path(), role);
        access.origins.mark(exchange, &allowed);
    }
    let path = exchange.path();
    if exchange.method() == Method::Options && (path == "*" || at(&path).any(|(route, _)| route.is_on(role))) {
        return Err(Reply::empty().with_header("Allow", allowed(&path, role)));
    }
    let found = find(exchange.method(), &path);
    let guard = match found {
        Some((route, _)) => route.guard,
        None => at(&path).map(|(route, _)| route.guard).min().unwrap_or(Open),
    };
    access.admit(exchange, guard)?;
    check_query(exchange)?;
    found
        .map(|(route, parameter)| (route.endpoint, escapes::decode_part(parameter)))
        .ok_or_else(|| refuse(exchange, role))
}

/// The reply to a request for a path (404) or a method of a path (405) that a node of this role does not have, or for a
/// method that HTTP does not have (501).
pub(crate) fn refuse(exchange: &Exchange, role: Role) -> Reply {
    if exchange.method() == Method::Unknown {
        return Reply::problem(501, "that is not a method of HTTP");
    }
    let path = exchange.path();
    if !at(&path).any(|(route, _)| route.is_on(role)) {
        let mut paths: Vec<&str> = ROUTES.iter().filter(|route| route.is_on(role)).map(|route| route.path).collect();
        paths.dedup();
        return Reply::not_found(&format!("{} is not here; this node has {}", path.escape_debug(), paths.join(", ")));
    }
    let allowed = allowed(&path, role);
    Reply::problem(405, &format!("{path} answers to {allowed}")).with_header("Allow", allowed)
}

/// The methods that a path has on a node of this role, as `Allow` lists them. `*` stands for all paths.
fn allowed(path: &str, role: Role) -> String {
    let routes = ROUTES.iter().filter(|route| route.is_on(role) && (path == "*" || route.parameter(path).is_some()));
    let mut methods: Vec<&str> = routes.map(|route| route.allow).chain(["OPTIONS"]).collect();
    if path == "*" {
        methods.sort_unstable();
        methods.dedup();
    }
    methods.join(", ")
}

/// Refuses a parameter that is given twice: one of the two would be ignored.
fn check_query(exchange: &Exchange) -> Result<(), Reply> {
    let names: Vec<&str> = exchange.query_names().collect();
    let repeated = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    repeated.map_or(Ok(()), |(_, name)| {
        Err(Reply::problem(400, &format!("the parameter {} is given more than once", name.escape_debug())))
    })
}

/// Answers `GET /openapi.json`: the same document on both kinds of node.
pub(crate) fn openapi() -> Reply {
    Reply::json_text(200, include_bytes!("openapi.json").to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    impl Route {
        fn name(&self) -> String {
            let method = self.allow.split(',').next().unwrap_or_default();
            format!("{method} {}", self.path)
        }
    }

    #[test]
    fn a_parameter_is_one_part_of_a_path() {
        let found = |path| at(path).map(|(route, parameter)| (route.path, parameter)).next();
        assert_eq!(found("/messages/7"), Some(("/messages/{id}", "7")));
        assert_eq!(found("/messages/7/trace"), Some(("/messages/{id}/trace", "7")));
        assert_eq!(found("/messages/trace"), Some(("/messages/{id}", "trace")));
        for path in ["", "//", "/messages/", "/messages//trace", "/messages/7/8", "/messages/7/trace/", "/Messages"] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn routes_of_one_path_follow_each_other_and_have_different_methods() {
        let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        paths.dedup();
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len(), "{paths:?}");
        let names: BTreeSet<String> = ROUTES.iter().map(Route::name).collect();
        assert_eq!(names.len(), ROUTES.len(), "{names:?}");
    }

    #[test]
    fn openapi_json_describes_exactly_these_routes() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let mut described = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                described.push((format!("{} {path}", method.to_uppercase()), operation["summary"].as_str().unwrap()));
            }
        }
        let mut routes: Vec<_> = ROUTES.iter().map(|route| (route.name(), route.summary)).collect();
        described.sort_unstable();
        routes.sort_unstable();
        assert_eq!(described, routes);
        for route in ROUTES {
            let method = route.name().split(' ').next().unwrap().to_lowercase();
            let operation = &document["paths"][route.path][method];
            let is_open = operation["security"] == json!([]);
            assert_eq!(is_open, route.guard == Open, "security of {}", route.name());
            let redirects = matches!(route.endpoint, Master(_, Redirect | Forward) | Node(SafeToStop));
            assert_eq!(!operation["responses"]["307"].is_null(), redirects, "307 of {}", route.name());
            let is_everywhere = [Role::Master, Role::Secondary].into_iter().all(|role| route.is_on(role));
            assert!(is_everywhere || !operation["responses"]["404"].is_null(), "404 of {}", route.name());
        }
    }

    #[test]
    fn api_md_lists_and_describes_exactly_these_routes() {
        let page = include_str!("../../docs/api.md");
        let table = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
        let row = |route: &Route| {
            let nodes = match route.endpoint {
                Node(_) | Succession(_) => "every node",
                Master(_, Absent) => "the master",
                Master(_, Redirect) => "the master; a secondary redirects",
                Master(_, Forward) => "the master; a secondary passes it on",
                Secondary(_) => "a secondary",
            };
            let token = match route.guard {
                Open => "none",
                Client => "client",
                Cluster => "cluster",
            };
            format!("| `{}` | {nodes} | {token} | {} |", route.name(), route.summary)
        };
        assert_eq!(rows, ROUTES.iter().map(row).collect::<Vec<_>>());
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(headings, ROUTES.iter().map(|route| format!("`{}`", route.name())).collect::<Vec<_>>());
    }
}
