//! The secondaries of this master: who they are, and how they come and go.

use super::heartbeat::Health;
use super::timeline::Flight;
use super::{Master, State};
use crate::http::{Exchange, Method, Reply};
use crate::node::metrics::MasterMetrics;
use crate::peer::PeerError;
use crate::process::clock;
use crate::protocol::MemberId;
use crate::store::{Identity, KnownMember, Store, StoreError};
use crate::wire::address::NodeUrl;
use crate::wire::client::Registration;
use crate::wire::server_id;
use crossbeam::channel::{Receiver, Sender, bounded};
use serde_json::json;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Secondaries of one master. Each costs a thread, and one more in every round.
const MEMBERS_MAX: usize = 64;

/// A secondary, as the master knows it.
pub(super) struct Member {
    /// Given when it was registered, or learned from it; until then its host and port.
    pub(super) name: Arc<str>,
    pub(super) url: NodeUrl,
    /// What was last heard of it, in a few words.
    pub(super) detail: String,
    /// When that changed: milliseconds since 1970.
    pub(super) since_ms: u64,
    /// Its artificial delay, in milliseconds.
    pub(super) delay_ms: u64,
    /// What it does wrong because somebody asked for that, as it last said.
    pub(super) fault: Option<String>,
    pub(super) health: Health,
    /// Replicate calls of this turn that have not returned.
    pub(super) calls: usize,
    /// All calls that have not returned, also of earlier turns.
    pub(super) flights: Vec<Flight>,
    /// One of them carries nothing but news.
    pub(super) being_told: bool,
    origin: Origin,
    /// It is on record, and known after a restart.
    recorded: bool,
    poke: Sender<()>,
}

/// Where a master knows a secondary from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// `SECONDARIES`: whoever changes that means it, so it is not put on record.
    Configured,
    /// `POST /secondaries`: on record until it is removed. A write must not be acknowledged without a secondary only
    /// because the master was started again.
    Registered,
}

/// A secondary that a master begins with.
pub(super) struct FirstMember {
    pub(super) url: NodeUrl,
    name: Option<String>,
    origin: Origin,
}

impl Member {
    pub(super) fn set_detail(&mut self, detail: String) {
        if self.detail != detail {
            self.detail = detail;
            self.since_ms = clock::now_ms();
        }
    }

    /// It is called so from now on; figures under another name are not its own any more.
    pub(super) fn rename(&mut self, name: &str, metrics: &MasterMetrics) {
        if *self.name != *name {
            metrics.forget(&self.name);
            self.name = name.into();
        }
    }

    /// It answered a question about its state.
    pub(super) fn answered(&mut self) {
        if self.health.answered() {
            log::info!("{} ({}) is healthy", self.name, self.url);
        }
    }

    /// It did not answer, or not as it should.
    pub(super) fn missed(&mut self, error: &PeerError) {
        if self.health.missed() {
            log::warn!("{} ({}) is {}: {error}", self.name, self.url, self.health.level().name());
        }
    }

    /// Makes its keeper look after it now.
    pub(super) fn poke(&self) {
        // A keeper that has a poke waiting needs no second one.
        let _ = self.poke.try_send(());
    }
}

/// Why a secondary was not registered.
enum Objection {
    Invalid(String),
    Forbidden(String),
    Conflict(String),
    Failed(String),
}

/// The secondaries at a start: those that were registered before, and those of the configuration.
pub(super) fn at_start(store: &dyn Store, configured: &[NodeUrl]) -> Result<Vec<FirstMember>, StoreError> {
    let known = store.identity()?.map(|identity| identity.members).unwrap_or_default();
    let configured_member = |url: &NodeUrl| FirstMember { url: url.clone(), name: None, origin: Origin::Configured };
    let on_record = |url: &&NodeUrl| known.iter().any(|member| member.url == url.to_string());
    let mut members: Vec<FirstMember> =
        configured.iter().filter(|url| !on_record(url)).map(configured_member).collect();
    for KnownMember { url, name } in known.iter().cloned() {
        match NodeUrl::parse(&url) {
            Ok(url) => members.push(FirstMember { url, name: Some(name), origin: Origin::Registered }),
            Err(why) => log::error!("a secondary on record is left out: {why}"),
        }
    }
    Ok(members)
}

impl Master {
    /// Puts the registered secondaries on record, so that they are known after a restart.
    pub(super) fn remember_members(&self) -> Result<(), String> {
        let _one_at_a_time = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |member: &Member| KnownMember { url: member.url.to_string(), name: member.name.to_string() };
        let registered = |member: &&Member| member.origin == Origin::Registered;
        let members = self.lock().members.values().filter(registered).map(known).collect();
        let identity = self.store.identity().map_err(|error| error.to_string())?;
        let identity = identity.map(|identity| Identity { members, ..identity });
        let kept = identity.as_ref().map_or(Ok(()), |identity| self.store.set_identity(identity));
        kept.map_err(|error| error.to_string())?;
        let recorded = identity.map(|identity| identity.members).unwrap_or_default();
        for member in self.lock().members.values_mut() {
            member.recorded |= recorded.iter().any(|known| known.url == member.url.to_string());
        }
        Ok(())
    }

    /// Adds a secondary and starts its keeper.
    pub(super) fn add_member(self: &Arc<Master>, first: FirstMember) {
        let (member, pokes) = self.lock().enlist(first, self.settings.heartbeat);
        self.keep(member, pokes);
    }

    /// Answers `POST /secondaries`. To register again is harmless, and wakes the keeper.
    pub(super) fn register(self: &Arc<Master>, exchange: &mut Exchange) -> Reply {
        exchange.read_body().map_or_else(
            |reply| reply,
            |body| match self.try_register(&body, exchange.client_host()) {
                Ok(()) => {
                    let total = self.lock().members.len();
                    Reply::json(200, &json!({ "status": "registered", "total_secondaries": total }))
                }
                Err(Objection::Invalid(why)) => Reply::problem(400, &why),
                Err(Objection::Forbidden(why)) => Reply::problem(403, &why),
                Err(Objection::Conflict(why)) => Reply::problem(409, &why),
                Err(Objection::Failed(why)) => Reply::problem(503, &why),
            },
        )
    }

    fn try_register(self: &Arc<Master>, body: &[u8], client: Option<IpAddr>) -> Result<(), Objection> {
        let registration = Registration::from_json(body).map_err(Objection::Invalid)?;
        let url = NodeUrl::parse(&registration.url).map_err(Objection::Invalid)?;
        let name = registration.server_id.as_deref().map(server_id::parse).transpose().map_err(Objection::Invalid)?;
        self.settings.common.access.admit_registration(client, &url).map_err(Objection::Forbidden)?;
        if self.is_self(&url) {
            return Err(Objection::Invalid(format!("{url} is this master itself; register a secondary")));
        }
        let mut state = self.lock();
        if let Some(name) = &name
            && let Some(other) = state.members.values().find(|member| *member.name == **name && member.url != url)
        {
            return Err(Objection::Conflict(format!("the name {name} is in use at {}; choose another", other.url)));
        }
        if let Some(member) = state.members.values_mut().find(|member| member.url == url) {
            if let Some(name) = name {
                member.rename(&name, &self.metrics);
            }
            member.poke();
            let recorded = member.recorded || member.origin == Origin::Configured;
            drop(state);
            return if recorded { Ok(()) } else { self.remember_members().map_err(Objection::Failed) };
        }
        if state.members.len() >= MEMBERS_MAX {
            return Err(Objection::Conflict(format!(
                "there are {MEMBERS_MAX} secondaries already, as many as one master takes"
            )));
        }
        let (member, pokes) =
            state.enlist(FirstMember { url, name, origin: Origin::Registered }, self.settings.heartbeat);
        drop(state);
        self.keep(member, pokes);
        self.remember_members().map_err(Objection::Failed)
    }

    /// Answers `PUT` and `DELETE /secondaries/NAME/faults`: asks a secondary for a fault, as the page of this master does.
    pub(super) fn disturb(&self, mut exchange: Exchange, name: &str) {
        let node = self.lock().members.values().find(|member| *member.name == *name).map(|member| member.url.clone());
        let reply = match node {
            _ if !self.faults.is_enabled() => {
                Reply::problem(403, "this master asks for no faults; start it with ENABLE_FAULTS=1")
            }
            None => Reply::not_found("there is no secondary of that name; GET /secondaries lists them"),
            Some(node) => {
                let fault = match exchange.method() {
                    Method::Put => exchange.read_body().map(Some),
                    _ => Ok(None),
                };
                fault.map_or_else(|reply| reply, |fault| self.ask_for_fault(&node, fault.as_deref()))
            }
        };
        exchange.reply(reply);
    }

    fn ask_for_fault(&self, node: &NodeUrl, fault: Option<&[u8]>) -> Reply {
        match self.peers.disturb(node, fault) {
            Ok((status, body)) => Reply::json_text(status, body),
            Err(error) => Reply::no_answer(502, &format!("the secondary at {node} {error}")),
        }
    }

    fn is_self(&self, url: &NodeUrl) -> bool {
        let local = url.host() == "localhost" || url.host().parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let bound = url.host().parse().is_ok_and(|ip: std::net::IpAddr| ip == self.settings.common.listen.ip());
        url.port() == self.port && (local || bound)
    }

    /// Answers `DELETE /secondaries/NAME`: from now on "every secondary" means the others.
    pub(super) fn remove(&self, exchange: Exchange, name: &str) {
        let mut state = self.lock();
        let found = state.members.iter().find(|(_, member)| *member.name == *name).map(|(&id, _)| id);
        let Some(id) = found else {
            drop(state);
            exchange.reply(Reply::not_found("there is no secondary of that name; GET /secondaries lists them"));
            return;
        };
        let told = self.take_leave(state, id);
        state = self.lock();
        if let Some(member) = state.members.remove(&id) {
            log::warn!("{} ({}) was removed; writes no longer wait for it", member.name, member.url);
            member.poke();
            self.metrics.forget(name);
        }
        state.traces.forget(id);
        let total = state.members.len();
        let effects = state.ledger.leave(id);
        self.carry_out(state, effects);
        if let Err(why) = self.remember_members() {
            exchange.reply(Reply::problem(503, &why));
            return;
        }
        exchange.reply(Reply::json(200, &json!({ "status": "removed", "total_secondaries": total, "told": told })));
    }
}

impl State {
    /// Gives a secondary its number, and what its keeper is poked with.
    fn enlist(&mut self, first: FirstMember, heartbeat: Duration) -> (MemberId, Receiver<()>) {
        let FirstMember { url, name, origin } = first;
        self.members_numbered += 1;
        let member = MemberId::new(self.members_numbered);
        let (poke, pokes) = bounded(1);
        let name: Arc<str> = name.unwrap_or_else(|| format!("{}:{}", url.host(), url.port())).into();
        log::info!("{name} ({url}) is registered; it takes part once it has caught up");
        let detail = "not heard of yet".to_owned();
        let since_ms = clock::now_ms();
        let (delay_ms, health, calls, being_told, recorded) = (0, Health::unknown(heartbeat), 0, false, false);
        self.members.insert(
            member,
            Member {
                name,
                url,
                detail,
                since_ms,
                delay_ms,
                fault: None,
                health,
                calls,
                flights: Vec::new(),
                being_told,
                origin,
                recorded,
                poke,
            },
        );
        self.ledger.join(member);
        (member, pokes)
    }

    /// Another member that turned out to be the same node: two addresses of one node must not count as two copies.
    pub(super) fn twin_of(&self, member: MemberId, name: &str) -> Option<&Member> {
        self.members.iter().find(|(id, other)| **id != member && *other.name == *name).map(|(_, other)| other)
    }
}
