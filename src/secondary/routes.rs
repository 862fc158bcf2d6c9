//! Which request of a client, or of the master, goes where.

use super::Secondary;
use crate::http::{Exchange, Method, Reply, Service};
use crate::node::live::Watched;
use crate::node::metrics::{Gauges, flag};
use crate::node::readiness::{self, Check};
use crate::node::routing::{Resource, method_not_allowed, openapi, unknown_path};
use crate::node::status::{NodeStatus, budgets};
use crate::node::{backups, fingerprints, live, reading};
use crate::protocol::Id;
use crate::store::ReadLimit;
use crate::wire::fault::ActiveFault;
use crate::wire::node::{HoldingsBody, SlotsBody};
use crate::wire::timing::milliseconds;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A secondary, as `/health` shows it.
#[derive(Debug, Serialize)]
struct SecondaryStatus {
    #[serde(flatten)]
    node: NodeStatus,
    delay_ms: u64,
    log_id: Option<String>,
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
}

/// What one reply with a part of the log carries: even if every byte is escaped, the other side takes it.
const SLOTS_LIMIT: ReadLimit = ReadLimit { slots_max: 4_096, bytes_max: 1 << 20 };

/// A secondary behind the HTTP edge.
pub(crate) struct SecondaryService(pub(crate) Arc<Secondary>);

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
        let resource = Resource::of(&path);
        if let Err(refusal) = secondary.settings.common.access.admit(&exchange, resource) {
            return exchange.reply(refusal);
        }
        match (exchange.method(), resource) {
            (Method::Post, Resource::Replicate) => secondary.answer_node(exchange, Secondary::receive),
            (Method::Get, Resource::ReplicateState) => {
                secondary.answer_node(exchange, |secondary, _| secondary.report_holdings());
            }
            (Method::Get, Resource::ReplicateSlots) => {
                secondary.answer_node(exchange, |secondary, exchange| secondary.report_slots(exchange));
            }
            (Method::Get, Resource::Page) => exchange.reply(live::page()),
            (Method::Get, Resource::OpenApi) => exchange.reply(openapi()),
            (Method::Get, Resource::Live) => secondary.live.watch(exchange),
            (Method::Get, Resource::Messages) => reading::list(exchange, secondary),
            (Method::Get, Resource::Message(id)) => reading::one(exchange, &**secondary, id),
            (Method::Post, Resource::Messages) => {
                exchange.reply_with(|exchange| secondary.redirect(exchange, "only the master takes messages"));
            }
            (Method::Get, Resource::Trace(_)) => {
                let why = "only the master knows what happened to a write";
                exchange.reply_with(|exchange| secondary.redirect(exchange, why));
            }
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
            (Method::Get, Resource::Metrics) => exchange.reply_with(|exchange| secondary.figures(exchange)),
            (Method::Get, Resource::Livez) => exchange.reply(Reply::json(200, &json!({ "status": "alive" }))),
            (Method::Get, Resource::Readyz) => exchange.reply_with(|exchange| secondary.ready(exchange)),
            (Method::Get, Resource::SafeToStop) => exchange.reply_with(|exchange| match exchange.query("node") {
                None => secondary.safe_to_stop(),
                Some(_) => secondary.redirect(exchange, "only the master knows"),
            }),
            (Method::Get, Resource::Writable) => {
                exchange.reply_with(|exchange| secondary.redirect(exchange, "only the master takes messages"));
            }
            (_, Resource::Messages) => method_not_allowed(exchange, "GET, HEAD, POST"),
            (_, Resource::Replicate) => method_not_allowed(exchange, "POST"),
            (_, Resource::Faults) => method_not_allowed(exchange, "GET, HEAD, PUT, DELETE"),
            (
                _,
                Resource::Secondaries
                | Resource::Secondary(_)
                | Resource::SecondaryFaults(_)
                | Resource::Write(_)
                | Resource::Verify
                | Resource::ReplicateFate
                | Resource::Unknown,
            ) => {
                unknown_path(
                    exchange,
                    "/, /live, /openapi.json, /messages, /messages/ID, /replicate, /health, /metrics, /livez, /readyz and /safe-to-stop",
                );
            }
            _ => method_not_allowed(exchange, "GET, HEAD"),
        }
    }
}

impl Watched for Secondary {
    fn view(&self, _is_first: bool) -> Value {
        json!({ "status": self.status(), "faults": self.faults.is_enabled() })
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
        let mut body = HoldingsBody::new(server_id, &self.replica().holdings(), self.delay_ms(), unable);
        body.fault = self.faults.in_words();
        Reply::json(200, &body)
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
        milliseconds(self.settings.delay)
    }

    /// Sends a client to the master, with the path and the query that it asked for.
    fn redirect(&self, exchange: &Exchange, why: &str) -> Reply {
        match self.known_master() {
            Some(master) => {
                let location = format!("{master}{}", exchange.target());
                Reply::problem(307, &format!("{why}; ask {location}")).with_header("Location", location)
            }
            None => Reply::problem(503, &format!("{why}, and this node does not know it yet"))
                .with_header("Retry-After", "1"),
        }
    }

    /// Answers `GET /readyz`.
    fn ready(&self, exchange: &Exchange) -> Reply {
        let view = self.view();
        let up_to_date = view.admitted || view.holdings.foreign > 0;
        let behind = || "this node has not been brought up to date by its master yet".to_owned();
        let diverged = |id| format!("id {id} is held with another content than the master's");
        let checks = [
            Check::not_stopping(self.stopping.load(Ordering::Acquire)),
            Check::threads(None),
            Check::store(&*self.store),
            Check::new("same log as the master", view.holdings.diverged.map(diverged)),
            Check::new("caught up", (!up_to_date).then(behind)),
        ];
        readiness::answer(exchange, &checks)
    }

    /// Answers `GET /safe-to-stop`: only the master knows.
    fn safe_to_stop(&self) -> Reply {
        let unknown = |reason: String| Reply::json(503, &json!({ "safe": false, "reason": reason }));
        let Some(master) = self.known_master() else {
            return unknown("this node does not know its master, which would know".to_owned());
        };
        match self.peers.may_stop(&master, &self.settings.common.server_id) {
            Ok((status, body)) => Reply::json_text(status, body),
            Err(error) => unknown(format!("the master at {master}, which would know, {error}")),
        }
    }

    /// Answers `GET /metrics`.
    fn figures(&self, exchange: &Exchange) -> Reply {
        let status = self.status();
        let followers = self.reading.following.number();
        let gauges = Gauges::of_node(exchange, self.settings.common.data_dir.as_deref(), &status.node, followers);
        gauges.set("caught_up", "Whether its master counts on this node.", flag(status.caught_up));
        gauges.set("failed", "Whether this node cannot store messages.", flag(status.failure.is_some()));
        gauges.set("delay_seconds", "Artificial delay of this node.", status.delay_ms as f64 / 1_000.0);
        self.metrics.reply(&gauges)
    }

    fn status(&self) -> SecondaryStatus {
        let view = self.view();
        SecondaryStatus {
            node: NodeStatus {
                status: "healthy",
                role: "secondary",
                server_id: self.settings.common.server_id.clone(),
                message_count: view.visible,
                epoch: view.holdings.epoch.get(),
                last: view.holdings.last.get(),
                decided: view.holdings.decided.get(),
                pending: view.holdings.last.since(view.holdings.decided),
                uptime_s: self.started.elapsed().as_secs(),
                budgets: budgets(&self.settings.common.limits),
                warning: self.store.warning(),
            },
            delay_ms: self.delay_ms(),
            log_id: view.holdings.log_id.map(|log_id| log_id.to_string()),
            caught_up: view.admitted,
            early_calls: self.early_calls.load(Ordering::Relaxed),
            diverged: view.holdings.diverged.map(Id::get),
            master: self.known_master().map(|url| url.to_string()),
            failure: self.store.trouble().map(|trouble| trouble.to_string()),
            fault: self.faults.active(),
        }
    }
}
