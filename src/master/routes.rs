//! Which request of a client, or of a secondary, goes where.

use super::intake::KEY_HEADER;
use super::{Master, State};
use crate::http::{Exchange, Method, Reply, Service};
use crate::node::reading::{Consistency, Log, Reading, Snapshot, not_sure};
use crate::node::routing::{Resource, method_not_allowed, openapi, unknown_path};
use crate::node::{backups, fingerprints, live, reading};
use crate::protocol::{Fate, Id};
use crate::wire::node::FateBody;
use serde_json::json;
use std::sync::Arc;

/// The most refusals that one answer about fates names; a secondary that far behind is caught up by its keeper.
const REFUSALS_MAX: usize = 100_000;

/// A master behind the HTTP edge.
pub(crate) struct MasterService(pub(crate) Arc<Master>);

impl Service for MasterService {
    fn is_prompt(&self, exchange: &Exchange) -> bool {
        match (exchange.method(), Resource::of(exchange.path())) {
            // One with a key may have to read the log.
            (Method::Post, Resource::Messages) => exchange.header(KEY_HEADER).is_none() && !self.0.faults.is_active(),
            (Method::Get, Resource::Livez) => true,
            _ => false,
        }
    }

    fn call(&self, exchange: Exchange) {
        let master = &self.0;
        let path = exchange.path().to_owned();
        let resource = Resource::of(&path);
        if let Err(refusal) = master.settings.common.access.admit(&exchange, resource) {
            return exchange.reply(refusal);
        }
        match (exchange.method(), resource) {
            (Method::Post, Resource::Messages) => master.post(exchange),
            (Method::Get, Resource::Page) => exchange.reply(live::page()),
            (Method::Get, Resource::OpenApi) => exchange.reply(openapi()),
            (Method::Get, Resource::Live) => master.live.watch(exchange),
            (Method::Get, Resource::Messages) => reading::list(exchange, master),
            (Method::Get, Resource::Message(id)) => reading::one(exchange, &**master, id),
            (Method::Get, Resource::Trace(id)) => exchange.reply(master.trace(id)),
            (Method::Get, Resource::Backup) => {
                let (decided, server_id) = (master.lock().noted.decided, &master.settings.common.server_id);
                exchange.reply(backups::backup(&master.store, server_id, decided));
            }
            (Method::Get, Resource::Fingerprint) => {
                let decided = master.lock().noted.decided;
                exchange.reply_with(|exchange| fingerprints::answer(exchange, &*master.store, decided));
            }
            (Method::Get, Resource::Write(key)) => exchange.reply(master.known_write(key)),
            (Method::Get, Resource::Verify) => exchange.reply(master.verify()),
            (Method::Get, Resource::Health) => exchange.reply(Reply::json(200, &master.status())),
            (Method::Get, Resource::Metrics) => exchange.reply_with(|exchange| master.figures(exchange)),
            (Method::Get, Resource::Livez) => exchange.reply(Reply::json(200, &json!({ "status": "alive" }))),
            (Method::Get, Resource::Readyz) => exchange.reply_with(|exchange| master.ready(exchange)),
            (Method::Get, Resource::SafeToStop) => exchange.reply_with(|exchange| master.safe_to_stop(exchange)),
            (Method::Get, Resource::Writable) => exchange.reply_with(|exchange| master.writable(exchange)),
            (Method::Post, Resource::Secondaries) => {
                master.faults.answer_node(exchange, |exchange| master.register(exchange));
            }
            (Method::Get, Resource::Secondaries) => {
                let secondaries = master.lock().secondaries();
                exchange.reply(Reply::json(200, &json!({ "secondaries": secondaries })));
            }
            (Method::Delete, Resource::Secondary(name)) => master.remove(exchange, name),
            (Method::Put | Method::Delete, Resource::SecondaryFaults(name)) => master.disturb(exchange, name),
            (Method::Get, Resource::ReplicateFate) => {
                master.faults.answer_node(exchange, |exchange| master.fate(exchange));
            }
            (Method::Get | Method::Put | Method::Delete, Resource::Faults) => master.faults.answer(exchange),
            (_, Resource::Messages | Resource::Secondaries) => method_not_allowed(exchange, "GET, HEAD, POST"),
            (_, Resource::Secondary(_)) => method_not_allowed(exchange, "DELETE"),
            (_, Resource::SecondaryFaults(_)) => method_not_allowed(exchange, "PUT, DELETE"),
            (_, Resource::Faults) => method_not_allowed(exchange, "GET, HEAD, PUT, DELETE"),
            (_, Resource::Replicate | Resource::ReplicateState | Resource::ReplicateSlots | Resource::Unknown) => {
                unknown_path(
                    exchange,
                    "/, /live, /openapi.json, /messages, /messages/ID, /messages/ID/trace, /writes/KEY, /secondaries, /verify, /backup, /fingerprint, /health, /metrics, /livez, /readyz, /safe-to-stop and /writable",
                );
            }
            _ => method_not_allowed(exchange, "GET, HEAD"),
        }
    }
}

impl Log for Master {
    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn snapshot(&self, consistency: Consistency) -> Result<Snapshot, Reply> {
        let state = self.lock();
        let snapshot = self.snapshot_of(&state);
        if consistency != Consistency::Strong {
            return Ok(snapshot);
        }
        if let Some(reason) = &state.halted {
            return Err(not_sure(&format!("this master may not be the latest: {reason}")));
        }
        if snapshot.possibly_stale {
            return Err(not_sure("messages from before this master was started may still become visible"));
        }
        Ok(snapshot)
    }
}

impl Master {
    /// Answers a secondary that has a reader and pending entries: what is decided, and what was refused.
    fn fate(&self, exchange: &Exchange) -> Reply {
        let Some(after) = exchange.query("after").and_then(|after| after.parse().ok()).map(Id::new) else {
            return Reply::no_answer(400, "the parameter after must be an id");
        };
        let fate = {
            let State { ledger, noted, halted, .. } = &*self.lock();
            Fate {
                log_id: ledger.log_id(),
                epoch: ledger.epoch(),
                master: ledger.incarnation(),
                decided: noted.decided,
                refused: Vec::new(),
                sure: halted.is_none() && !ledger.has_doubt(),
            }
        };
        match self.store.refused(after, fate.decided) {
            Ok(refused) if refused.len() <= REFUSALS_MAX => {
                Reply::json(200, &FateBody::from(&Fate { refused, ..fate }))
            }
            Ok(_) => Reply::overloaded("too much was decided since; catch up first"),
            Err(error) => Reply::no_answer(500, &format!("the log cannot be read: {error}")),
        }
    }
}
