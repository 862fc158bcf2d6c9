//! Whether a node can serve: `/readyz` for orchestrators, `/readyz?verbose` for people.

use crate::http::{Exchange, Reply};
use crate::process::threads;
use crate::store::{Store, Trouble};
use serde_json::json;
use std::fmt::Write;

/// A condition for readiness.
pub(crate) struct Check {
    name: &'static str,
    /// Why it does not hold.
    fault: Option<String>,
}

impl Check {
    pub(crate) fn new(name: &'static str, fault: Option<String>) -> Check {
        Check { name, fault }
    }

    /// Whether the log can be read. A full disk does not matter for that.
    pub(crate) fn store(store: &dyn Store) -> Check {
        let fault = store.trouble().filter(|trouble| matches!(trouble, Trouble::Failed(_)));
        Check::new("store", fault.map(|trouble| trouble.to_string()))
    }

    /// Whether every needed thread runs, and no panic has left a step half done.
    pub(crate) fn threads(half_done: Option<String>) -> Check {
        Check::new("threads", half_done.or_else(threads::lost))
    }

    pub(crate) fn not_stopping(is_stopping: bool) -> Check {
        Check::new("serving", is_stopping.then(|| "this node is stopping".to_owned()))
    }
}

/// Answers `GET /livez`.
pub(crate) fn alive() -> Reply {
    Reply::json(200, &json!({ "status": "alive" }))
}

/// Answers `GET /readyz`: 200 if every check passes. With `verbose`, the reply has a line for each check.
pub(crate) fn answer(exchange: &Exchange, checks: &[Check]) -> Reply {
    let fault = checks.iter().find_map(|check| check.fault.as_deref());
    if exchange.query("verbose").is_some() {
        let mut lines = String::new();
        for Check { name, fault } in checks {
            let _ = match fault {
                None => writeln!(lines, "[+]{name} ok"),
                Some(fault) => writeln!(lines, "[-]{name} failed: {fault}"),
            };
        }
        lines.push_str(if fault.is_none() { "ready\n" } else { "not ready\n" });
        return Reply::text("text/plain; charset=utf-8", lines).with_status(if fault.is_none() { 200 } else { 503 });
    }
    match fault {
        None => Reply::json(200, &json!({ "status": "ready" })),
        Some(fault) => Reply::overloaded(fault),
    }
}
