//! What a secondary does for each endpoint of the route table, [`routes`].

use super::lifecycle::Secondary;
use crate::http::{Exchange, Method, Reply, Service};
use crate::node::live::Watched;
use crate::node::metrics::{Gauges, flag};
use crate::node::readiness::{self, Check};
use crate::node::routes::{self, Endpoint, NodeEndpoint, OnSecondary, Role, SecondaryEndpoint};
use crate::node::status::{Health, NodeStatus, budgets, refused_requests};
use crate::node::{backups, fingerprints, live, reading};
use crate::process::threads;
use crate::protocol::{Epoch, Id};
use crate::store::{ReadLimit, Trouble};
use crate::wire::fault::ActiveFault;
use crate::wire::node::{SlotsBody, StatusBody};
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
    /// Why it cannot store messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// The fault that is injected into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<ActiveFault>,
}

/// The most that one reply with a part of the log carries. The other node takes it even if every byte is escaped.
const SLOTS_LIMIT: ReadLimit = ReadLimit { slots_max: 4_096, bytes_max: 1 << 20 };

/// A secondary behind the HTTP edge.
pub(crate) struct SecondaryService(pub(crate) Arc<Secondary>);

impl Service for SecondaryService {
    fn is_prompt(&self, exchange: &Exchange) -> bool {
        let is_prompt = match routes::endpoint(exchange) {
            Some(Endpoint::Node(endpoint)) => endpoint == NodeEndpoint::Livez,
            Some(Endpoint::Secondary(endpoint)) => endpoint == SecondaryEndpoint::State,
            _ => false,
        };
        is_prompt && !self.0.faults.is_active()
    }

    fn call(&self, mut exchange: Exchange) {
        let secondary = &self.0;
        match routes::admit(&mut exchange, &secondary.settings.common.access, Role::Secondary) {
            Ok((Endpoint::Node(endpoint), parameter)) => secondary.serve_as_node(endpoint, exchange, &parameter),
            Ok((Endpoint::Secondary(endpoint), _)) => secondary.serve_as_secondary(endpoint, exchange),
            Ok((Endpoint::Master(_, OnSecondary::Forward), _)) if secondary.settings.forward => {
                let master = secondary.await_master();
                if master.is_none() && secondary.is_retired() {
                    return secondary.intake.give_back(exchange);
                }
                let reply = secondary.forward(&mut exchange, master);
                exchange.reply_aside(reply);
            }
            Ok((Endpoint::Master(_, OnSecondary::Redirect | OnSecondary::Forward), _)) => {
                exchange.reply_with(|exchange| secondary.redirect(exchange));
            }
            Ok((Endpoint::Master(_, OnSecondary::Absent) | Endpoint::Succession(_), _)) => {
                exchange.reply_with(|exchange| routes::refuse(exchange, Role::Secondary));
            }
            Err(refusal) => exchange.reply(refusal),
        }
    }
}

impl Watched for Secondary {
    fn view(&self, _is_first: bool) -> Value {
        json!({ "status": self.status(), "faults": self.faults.is_enabled() })
    }
}

impl Secondary {
    fn serve_as_node(self: &Arc<Secondary>, endpoint: NodeEndpoint, exchange: Exchange, parameter: &str) {
        match endpoint {
            NodeEndpoint::Page => exchange.reply(live::page()),
            NodeEndpoint::OpenApi => exchange.reply(routes::openapi()),
            NodeEndpoint::Live => self.live.watch(exchange),
            NodeEndpoint::Messages => reading::list(exchange, self),
            NodeEndpoint::Message => reading::one(exchange, self, parameter),
            NodeEndpoint::Backup => {
                let (decided, server_id) = (self.view().status.decided, &self.settings.common.server_id);
                exchange.reply(backups::backup(&self.store, server_id, decided));
            }
            NodeEndpoint::Fingerprint => self.answer_node(exchange, |secondary, exchange| {
                let decided = secondary.view().status.decided;
                fingerprints::answer(exchange, &*secondary.store, decided)
            }),
            NodeEndpoint::Health => exchange.reply(Reply::json(200, &self.status())),
            NodeEndpoint::Metrics => exchange.reply_with(|exchange| self.figures(exchange)),
            NodeEndpoint::Livez => exchange.reply(readiness::alive()),
            NodeEndpoint::Readyz => exchange.reply_with(|exchange| self.ready(exchange)),
            NodeEndpoint::SafeToStop => exchange.reply_with(|exchange| match exchange.query("node") {
                None => self.safe_to_stop(),
                Some(_) => self.redirect(exchange),
            }),
            NodeEndpoint::Faults => self.faults.answer(exchange),
        }
    }

    fn serve_as_secondary(&self, endpoint: SecondaryEndpoint, exchange: Exchange) {
        self.answer_node(exchange, |secondary, exchange| match endpoint {
            SecondaryEndpoint::Replicate => secondary.receive(exchange),
            SecondaryEndpoint::State => secondary.report_status(exchange),
            SecondaryEndpoint::Slots => secondary.report_slots(exchange),
        });
    }

    /// Answers a call of another node. A stop waits for it, up to its timeout.
    fn answer_node(&self, exchange: Exchange, answer: impl FnOnce(&Secondary, &mut Exchange) -> Reply) {
        self.calls_in_flight.fetch_add(1, Ordering::AcqRel);
        self.faults.answer_node(exchange, |exchange| answer(self, exchange));
        self.calls_in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Answers `GET /replicate/state`.
    fn report_status(&self, exchange: &Exchange) -> Reply {
        let server_id = self.settings.common.server_id.clone();
        let trouble = self.store.trouble();
        let is_full = matches!(trouble, Some(Trouble::NoRoom(_)));
        let unable = trouble.map(|trouble| trouble.to_string());
        let mut status = self.view().status;
        // The master of the epoch that this node has entered knows its epochs.
        let asks = exchange.query("epoch").and_then(|epoch| epoch.parse().ok()).map(Epoch::new);
        let promised = self.lock().follower.promised().map_or(Epoch::NONE, |promised| promised.epoch);
        if asks == Some(status.epoch) && promised <= status.epoch {
            status.lineage = None;
        }
        let mut body = StatusBody::new(server_id, &status, self.delay_ms(), unable);
        body.full = is_full;
        body.fault = self.faults.in_words();
        Reply::json(200, &body)
    }

    /// Gives a master that begins an epoch what it may lack.
    fn report_slots(&self, exchange: &Exchange) -> Reply {
        let Some(after) = exchange.query("after").and_then(|after| after.parse().ok()).map(Id::new) else {
            return Reply::no_answer(400, "the parameter after must be an id");
        };
        match self.store.read(after, Id::MAX, SLOTS_LIMIT) {
            // An epoch and a promise that stand now stood while the slots were read.
            Ok(slots) => {
                let state = self.lock();
                let (epoch, promised) = (state.follower.status().epoch, state.follower.promised());
                drop(state);
                Reply::json(200, &SlotsBody::new(after, &slots, epoch, promised))
            }
            Err(error) if error.is_trimmed() => Reply::no_answer(410, &error.to_string()),
            Err(error) => Reply::no_answer(500, &error.to_string()),
        }
    }

    fn delay_ms(&self) -> u64 {
        milliseconds(self.settings.delay)
    }

    /// Redirects a client to the master, with its path and query.
    fn redirect(&self, exchange: &Exchange) -> Reply {
        let why = "only the master answers this";
        let is_a_node = exchange.method() == Method::Post && &*exchange.path() == "/secondaries";
        let is_configured = !is_a_node && !self.may_be_led_by_another();
        let for_clients = self.settings.public_url.clone().filter(|_| is_configured);
        match for_clients.or_else(|| self.known_master().map(|url| url.to_string())) {
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
        let up_to_date = view.admitted || view.status.foreign > 0;
        let behind = || "this node has not caught up with its master yet".to_owned();
        let diverged = |id| format!("id {id} is held with another content than the master's");
        let checks = [
            Check::not_stopping(self.stopping.load(Ordering::Acquire)),
            Check::threads(self.why_broken()),
            Check::store(&*self.store),
            Check::new("same log as the master", view.status.diverged.map(diverged)),
            Check::new("caught up", (!up_to_date).then(behind)),
        ];
        readiness::answer(exchange, &checks)
    }

    /// Answers `GET /safe-to-stop` with the answer of the master.
    fn safe_to_stop(&self) -> Reply {
        let unknown = |reason: String| Reply::json(503, &json!({ "safe": false, "reason": reason }));
        let Some(master) = self.known_master() else {
            return unknown("this node does not know its master, and only a master can tell".to_owned());
        };
        match self.peers.may_stop(&master, &self.settings.common.server_id) {
            Ok((status, body)) => Reply::json_text(status, body),
            Err(error) => unknown(format!("only the master at {master} can tell, and it {error}")),
        }
    }

    /// Answers `GET /metrics`.
    fn figures(&self, exchange: &Exchange) -> Reply {
        let status = self.status();
        let followers = self.reading.following.number();
        let gauges = Gauges::of_node(exchange, self.settings.common.data_dir.as_deref(), &status.node, followers);
        gauges.leads(false);
        gauges.set("caught_up", "Whether its master counts on this node.", flag(status.caught_up));
        gauges.set("failed", "Whether this node cannot store messages.", flag(status.failure.is_some()));
        gauges.set("delay_seconds", "Artificial delay of this node.", status.delay_ms as f64 / 1_000.0);
        self.metrics.reply(&gauges)
    }

    fn status(&self) -> SecondaryStatus {
        let view = self.view();
        let (trouble, warning) = (self.store.trouble(), self.store.warning());
        let (base, size) = (self.store.base(), self.store.size().unwrap_or_default());
        let lost = self.why_broken().or_else(threads::lost);
        let diverged = view.status.diverged.map(|id| format!("id {id} is held with another content than the master's"));
        let has_failed = matches!(trouble, Some(Trouble::Failed(_))) || lost.is_some() || diverged.is_some();
        let mut reasons: Vec<String> = trouble.iter().map(ToString::to_string).chain(lost).chain(diverged).collect();
        let is_up_to_date = view.admitted || view.status.foreign > 0;
        reasons.extend((!is_up_to_date).then(|| "it has not caught up with its master yet".to_owned()));
        reasons.extend(warning.iter().cloned());
        SecondaryStatus {
            node: NodeStatus {
                status: Health::of(has_failed, &reasons),
                reasons,
                role: "secondary",
                server_id: self.settings.common.server_id.clone(),
                message_count: base.left_of(view.visible),
                epoch: view.status.epoch.get(),
                begins: base.id.next().get(),
                last: view.status.last.get(),
                decided: view.status.decided.get(),
                database_bytes: size.bytes,
                free_bytes: size.free,
                pending: view.status.last.since(view.status.decided),
                uptime_s: self.started.elapsed().as_secs(),
                budgets: budgets(&self.settings.common.limits),
                refused_requests: refused_requests(&self.settings.common.limits),
                warning,
            },
            delay_ms: self.delay_ms(),
            log_id: view.status.log_id.map(|log_id| log_id.to_string()),
            caught_up: view.admitted,
            early_calls: self.early_calls.load(Ordering::Relaxed),
            diverged: view.status.diverged.map(Id::get),
            master: self.known_master().map(|url| url.to_string()),
            failure: trouble.map(|trouble| trouble.to_string()),
            fault: self.faults.active(),
        }
    }
}
