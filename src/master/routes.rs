//! What the master does for each endpoint of the route table, [`routes`].

use super::posts::KEY_HEADER;
use super::shared::Master;
use crate::http::{Exchange, Reply, Service};
use crate::node::reading::{Log, Reading, Snapshot, not_sure};
use crate::node::routes::{self, Endpoint, MasterEndpoint, NodeEndpoint, Role};
use crate::node::{backups, fingerprints, live, readiness, reading};
use crate::protocol::{Consistency, Decisions, Id};
use crate::wire::node::DecisionsBody;
use serde_json::json;
use std::sync::Arc;

/// The most refusals that one answer about decisions names. A secondary that lacks more gets them by calls.
const REFUSALS_MAX: usize = 100_000;

/// A master behind the HTTP edge.
pub(crate) struct MasterService(pub(crate) Arc<Master>);

impl Service for MasterService {
    fn is_prompt(&self, exchange: &Exchange) -> bool {
        match routes::endpoint(exchange) {
            // A post with a key, or with a condition, may have to read the log.
            Some(Endpoint::Master(MasterEndpoint::PostMessage, _)) => {
                let reads = exchange.header(KEY_HEADER).is_some() || exchange.header("If-Match").is_some();
                !reads && !self.0.faults.is_active()
            }
            Some(Endpoint::Node(NodeEndpoint::Livez)) => true,
            _ => false,
        }
    }

    fn call(&self, mut exchange: Exchange) {
        let master = &self.0;
        match routes::admit(&mut exchange, &master.settings.common.access, Role::Master) {
            Ok((Endpoint::Node(endpoint), parameter)) => master.serve_as_node(endpoint, exchange, &parameter),
            Ok((Endpoint::Master(endpoint, _), parameter)) => master.serve_as_master(endpoint, exchange, &parameter),
            Ok((Endpoint::Secondary(_) | Endpoint::Succession(_), _)) => {
                exchange.reply_with(|exchange| routes::refuse(exchange, Role::Master));
            }
            Err(refusal) => exchange.reply(refusal),
        }
    }
}

impl Log for Master {
    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn snapshot(self: &Arc<Master>, consistency: Consistency) -> Result<Snapshot, Reply> {
        let state = self.lock();
        let snapshot = self.snapshot_of(&state);
        if consistency != Consistency::Strong {
            return Ok(snapshot);
        }
        if let Some(reason) = &state.why_halted {
            return Err(not_sure(&format!("this master may not be the latest: {reason}")));
        }
        if snapshot.possibly_stale {
            return Err(not_sure("messages from before this master was started may still become visible"));
        }
        drop(state);
        self.confirm().map_err(|why| not_sure(&why))?;
        Ok(snapshot)
    }
}

impl Master {
    fn serve_as_node(self: &Arc<Master>, endpoint: NodeEndpoint, exchange: Exchange, parameter: &str) {
        match endpoint {
            NodeEndpoint::Page => exchange.reply(live::page()),
            NodeEndpoint::OpenApi => exchange.reply(routes::openapi()),
            NodeEndpoint::Live => self.live.watch(exchange),
            NodeEndpoint::Messages => reading::list(exchange, self),
            NodeEndpoint::Message => reading::one(exchange, self, parameter),
            NodeEndpoint::Backup => {
                let (decided, server_id) = (self.lock().leader.shown().decided, &self.settings.common.server_id);
                exchange.reply(backups::backup(&self.store, server_id, decided));
            }
            NodeEndpoint::Fingerprint => {
                let decided = self.lock().leader.shown().decided;
                exchange.reply_with(|exchange| fingerprints::answer(exchange, &*self.store, decided));
            }
            NodeEndpoint::Health => exchange.reply(Reply::json(200, &self.status())),
            NodeEndpoint::Metrics => exchange.reply_with(|exchange| self.figures(exchange)),
            NodeEndpoint::Livez => exchange.reply(readiness::alive()),
            NodeEndpoint::Readyz => exchange.reply_with(|exchange| self.ready(exchange)),
            NodeEndpoint::SafeToStop => exchange.reply_with(|exchange| self.safe_to_stop(exchange)),
            NodeEndpoint::Faults => self.faults.answer(exchange),
        }
    }

    fn serve_as_master(self: &Arc<Master>, endpoint: MasterEndpoint, exchange: Exchange, parameter: &str) {
        match endpoint {
            MasterEndpoint::PostMessage => self.post(exchange),
            MasterEndpoint::Trace => exchange.reply(self.trace(parameter)),
            MasterEndpoint::Write => exchange.reply(self.known_write(parameter)),
            MasterEndpoint::Verify => exchange.reply(self.verify()),
            MasterEndpoint::Trim => self.trim_by_hand(exchange),
            MasterEndpoint::Writable => exchange.reply_with(|exchange| self.writable(exchange)),
            MasterEndpoint::Secondaries => {
                let secondaries = self.lock().secondaries();
                exchange.reply(Reply::json(200, &json!({ "secondaries": secondaries })));
            }
            MasterEndpoint::Register => self.faults.answer_node(exchange, |exchange| self.register(exchange)),
            MasterEndpoint::Remove => self.remove(exchange, parameter),
            MasterEndpoint::SecondaryFaults => self.inject_fault(exchange, parameter),
            MasterEndpoint::Decisions => self.faults.answer_node(exchange, |exchange| self.decisions(exchange)),
        }
    }

    /// Answers a secondary that has a reader and pending entries: what is decided, and what was refused.
    fn decisions(self: &Arc<Master>, exchange: &Exchange) -> Reply {
        let Some(after) = exchange.query("after").and_then(|after| after.parse().ok()).map(Id::new) else {
            return Reply::no_answer(400, "the parameter after must be an id");
        };
        let (decisions, base) = {
            let state = self.lock();
            (state.leader.decisions(after), state.leader.base())
        };
        if let Err(why) = self.confirm() {
            return Reply::overloaded(&why);
        }
        match self.store.refused(after, decisions.decided) {
            Ok(refused) if refused.len() <= REFUSALS_MAX => {
                Reply::json(200, &DecisionsBody::from(&Decisions { refused, ..decisions }).with_base(base))
            }
            Ok(_) => Reply::overloaded("too much was decided since; catch up first"),
            Err(error) if error.is_trimmed() => Reply::overloaded(&error.to_string()),
            Err(error) => Reply::no_answer(500, &format!("the log cannot be read: {error}")),
        }
    }
}
