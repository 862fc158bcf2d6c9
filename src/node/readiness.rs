//! Whether a node can serve: what orchestrators ask with `/readyz`, and people with `/readyz?verbose`.

use crate::http::{Exchange, Reply};
use crate::process::threads;
use crate::store::{Store, Trouble};
use serde_json::json;
use std::fmt::Write;

/// One thing that a node needs to be ready.
pub(crate) struct Check {
    name: &'static str,
    /// What is wrong with it.
    fault: Option<String>,
}

impl Check {
    pub(crate) fn new(name: &'static str, fault: Option<String>) -> Check {
        Check { name, fault }
    }

    /// Its log can be read. A disk without room does not count: it is read all the same.
    pub(crate) fn store(store: &dyn Store) -> Check {
        let fault = store.trouble().filter(|trouble| matches!(trouble, Trouble::Failed(_)));
        Check::new("store", fault.map(|trouble| trouble.to_string()))
    }

    /// Every thread that it needs is there, and none has left anything half done.
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

/// Answers `GET /readyz`: 200 if nothing is wrong. With `verbose`, a line for each check.
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
