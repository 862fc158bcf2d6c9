//! Which request of a client, or of the master, goes where.

use super::Secondary;
use crate::replication::Id;
use crate::server::http::{Exchange, Method, Reply, Service};
use crate::server::routing::{Resource, method_not_allowed, unknown_path};
use crate::server::{backups, fingerprints, reading};
use crate::store::{ReadLimit, Trouble};
use crate::wire::fault::ActiveFault;
use crate::wire::node::{HoldingsBody, SlotsBody};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A secondary, as `/health` shows it.
#[derive(Debug, Serialize)]
struct SecondaryStatus {
    status: &'static str,
    role: &'static str,
    server_id: String,
    message_count: u64,
    delay_ms: u64,
    log_id: Option<String>,
    epoch: u64,
    last: u64,
    decided: u64,
    pending: u64,
    caught_up: bool,
    /// Replicate calls that came before an earlier one, and waited for it.
    early_calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    diverged: Option<u64>,
    master: Option<String>,
    /// Why no messages are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// What it does wrong because somebody asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<ActiveFault>,
    uptime_s: u64,
}

/// What one reply with a part of the log carries: even if every byte is escaped, the other side takes it.
const SLOTS_LIMIT: ReadLimit = ReadLimit { slots_max: 4_096, bytes_max: 1 << 20 };

/// A secondary behind the HTTP edge.
pub(in crate::server) struct SecondaryService(pub(in crate::server) Arc<Secondary>);

impl Service for SecondaryService {
    fn is_prompt(&self, exchange: &Exchange) -> bool {
        matches!(
            (exchange.method(), Resource::of(exchange.path())),
            (Method::Get, Resource::Livez | Resource::ReplicateState)
        ) && !self.0.faults.is_active()
    }

    fn call(&self, exchange: Exchange) {
        let secondary = &self.0;
        let path = exchange.path().to_owned();
        match (exchange.method(), Resource::of(&path)) {
            (Method::Post, Resource::Replicate) => secondary.answer_node(exchange, Secondary::receive),
            (Method::Get, Resource::ReplicateState) => {
                secondary.answer_node(exchange, |secondary, _| secondary.report_holdings());
            }
            (Method::Get, Resource::ReplicateSlots) => {
                secondary.answer_node(exchange, |secondary, exchange| secondary.report_slots(exchange));
            }
            (Method::Get, Resource::Messages) => {
                let snapshot = |consistency| secondary.snapshot(consistency);
                reading::list(exchange, &secondary.store, snapshot, secondary.settings.common.view);
            }
            (Method::Get, Resource::Message(id)) => {
                reading::one(exchange, &secondary.store, |consistency| secondary.snapshot(consistency), id);
            }
            (Method::Post, Resource::Messages) => exchange.reply(secondary.redirect()),
            (Method::Get, Resource::Backup) => {
                let (decided, server_id) = (secondary.replica().decided(), &secondary.settings.common.server_id);
                exchange.reply(backups::backup(&secondary.store, server_id, decided));
            }
            (Method::Get, Resource::Fingerprint) => secondary.answer_node(exchange, |secondary, exchange| {
                let decided = secondary.replica().decided();
                fingerprints::answer(exchange, &*secondary.store, decided)
            }),
            (Method::Get | Method::Put | Method::Delete, Resource::Faults) => secondary.faults.answer(exchange),
            (Method::Get, Resource::Health) => exchange.reply(Reply::json(200, &secondary.status())),
            (Method::Get, Resource::Livez) => exchange.reply(Reply::json(200, &json!({ "status": "alive" }))),
            (Method::Get, Resource::Readyz) => exchange.reply(secondary.ready()),
            (_, Resource::Messages) => method_not_allowed(exchange, "GET, HEAD, POST"),
            (_, Resource::Replicate) => method_not_allowed(exchange, "POST"),
            (_, Resource::Faults) => method_not_allowed(exchange, "GET, HEAD, PUT, DELETE"),
            (_, Resource::Secondaries | Resource::Secondary(_) | Resource::ReplicateFate | Resource::Unknown) => {
                unknown_path(exchange, "/messages, /messages/ID, /replicate, /health, /livez and /readyz");
            }
            _ => method_not_allowed(exchange, "GET, HEAD"),
        }
    }
}

impl Secondary {
    /// Answers a call of another node. A stop waits a while for it.
    fn answer_node(&self, exchange: Exchange, answer: impl FnOnce(&Secondary, &mut Exchange) -> Reply) {
        self.calls_in_flight.fetch_add(1, Ordering::AcqRel);
        self.faults.answer_node(exchange, |exchange| answer(self, exchange));
        self.calls_in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    fn report_holdings(&self) -> Reply {
        let server_id = self.settings.common.server_id.clone();
        let unable = self.store.trouble().map(|trouble| trouble.to_string());
        Reply::json(200, &HoldingsBody::new(server_id, &self.replica().holdings(), self.delay_ms(), unable))
    }

    /// Gives a master that begins a reign what it may lack.
    fn report_slots(&self, exchange: &Exchange) -> Reply {
        let Some(after) = exchange.query("after").and_then(|after| after.parse().ok()).map(Id::new) else {
            return Reply::no_answer(400, "the parameter after must be an id");
        };
        match self.store.read(after, Id::MAX, SLOTS_LIMIT) {
            Ok(slots) => Reply::json(200, &SlotsBody::new(after, &slots)),
            Err(error) => Reply::no_answer(500, &error.to_string()),
        }
    }

    fn delay_ms(&self) -> u64 {
        u64::try_from(self.settings.delay.as_millis()).unwrap_or(u64::MAX)
    }

    /// Only the master takes messages.
    fn redirect(&self) -> Reply {
        match self.known_master() {
            Some(master) => Reply::problem(307, &format!("only the master takes messages; post to {master}/messages"))
                .with_header("Location", format!("{master}/messages")),
            None => Reply::problem(503, "only the master takes messages, and this node does not know it yet")
                .with_header("Retry-After", "1"),
        }
    }

    fn ready(&self) -> Reply {
        if let Some(trouble @ Trouble::Failed(_)) = self.store.trouble() {
            return Reply::no_answer(503, &trouble.to_string());
        }
        let view = self.view();
        if view.admitted || view.holdings.foreign > 0 {
            Reply::json(200, &json!({ "status": "ready" }))
        } else {
            Reply::overloaded("this node has not been brought up to date by its master yet")
        }
    }

    fn status(&self) -> SecondaryStatus {
        let view = self.view();
        SecondaryStatus {
            status: "healthy",
            role: "secondary",
            server_id: self.settings.common.server_id.clone(),
            message_count: view.visible,
            delay_ms: self.delay_ms(),
            log_id: view.holdings.log_id.map(|log_id| log_id.to_string()),
            epoch: view.holdings.epoch.get(),
            last: view.holdings.last.get(),
            decided: view.holdings.decided.get(),
            pending: view.holdings.last.since(view.holdings.decided),
            caught_up: view.admitted,
            early_calls: self.early_calls.load(Ordering::Relaxed),
            diverged: view.holdings.diverged.map(Id::get),
            master: self.known_master().map(|url| url.to_string()),
            failure: self.store.trouble().map(|trouble| trouble.to_string()),
            fault: self.faults.active(),
            uptime_s: self.started.elapsed().as_secs(),
        }
    }
}
