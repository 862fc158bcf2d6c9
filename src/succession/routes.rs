//! Passes requests to the role of a node, and answers those about which node leads.

use super::candidate::{Elected, How};
use super::roles::{Role, Roles, not_appended};
use super::survey::{Other, State, Survey, survey};
use crate::http::{Exchange, Method, Reply, Service};
use crate::node::routes::{self, Endpoint, MasterEndpoint, SecondaryEndpoint, SuccessionEndpoint};
use crate::process::threads::lock;
use crate::protocol::{Epoch, Follower, FollowerSettings, Incarnation, LogId, NotPromised, PromiseRequest};
use crate::wire::node::StatusBody;
use crate::wire::succession::{NotPromisedBody, PromiseBody, PromiseRequestBody};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// A node behind the HTTP edge, whichever its role.
pub(crate) struct RoleService(pub(crate) Arc<Roles>);

impl Service for RoleService {
    fn is_prompt(&self, exchange: &Exchange) -> bool {
        // A call is the most frequent request, and always waits for the disk.
        exchange.target() != "/replicate" && self.0.settled_role().is_some_and(|role| role.is_prompt(exchange))
    }

    fn call(&self, exchange: Exchange) {
        // The two requests that a write consists of, without a look at the table.
        match (exchange.method(), exchange.target()) {
            (Method::Post, "/messages") => return self.0.post(exchange),
            (Method::Post, "/replicate") => return self.0.role().call(exchange),
            _ => {}
        }
        match routes::endpoint(&exchange) {
            Some(Endpoint::Succession(_)) => self.0.serve(exchange),
            Some(Endpoint::Secondary(SecondaryEndpoint::State)) if exchange.query("epoch").is_some() => {
                self.0.report(exchange);
            }
            Some(Endpoint::Master(MasterEndpoint::PostMessage, _)) => self.0.post(exchange),
            _ => self.0.role().call(exchange),
        }
    }
}

/// How many posts that waited are passed on at a time.
const POSTED_AGAIN_MAX: usize = 64;

/// The body of `POST /switchover`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchoverBody {
    to: Option<String>,
}

/// The body of `POST /promotion`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromotionBody {
    /// Nodes that do not answer stay registered, so that writes for all wait for them.
    #[serde(default)]
    keep: bool,
    /// The promises of those that answer are enough, however few.
    #[serde(default)]
    force: bool,
    /// The master asks for it, and leads no more once it is asked for its promise.
    #[serde(default)]
    handed_over: bool,
}

/// The body of `POST /rejoin`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RejoinBody {
    /// This node may put aside what it has shown, and drop it from its log.
    #[serde(default)]
    put_aside: bool,
}

impl Roles {
    /// Passes a post on to the role. A secondary waits for the master, so that it needs a thread which may: if the role has
    /// changed since the edge asked whether the post is prompt, this one may not.
    fn post(&self, exchange: Exchange) {
        match self.role() {
            role @ Role::Leading(_) => role.call(exchange),
            role @ Role::Following(_) => exchange.aside(move |exchange| role.call(exchange)),
        }
    }

    /// Passes posts on that a master could not take, because it handed over, or leads no more. A few at a time: a secondary
    /// passes only so many on at once.
    pub(super) fn post_again(&self, exchanges: Vec<Exchange>) {
        let role = self.role();
        if self.stopping.load(Ordering::Acquire) {
            return not_appended(exchanges, "this node is stopping");
        }
        let is_over = match &role {
            Role::Leading(master) => master.is_retired(),
            Role::Following(secondary) => secondary.is_retired(),
        };
        if is_over {
            return not_appended(exchanges, "this node has no role right now, as its log says");
        }
        // The last one is taken first.
        let waiting: Arc<Mutex<Vec<Exchange>>> = Arc::new(Mutex::new(exchanges.into_iter().rev().collect()));
        for _ in 0..POSTED_AGAIN_MAX {
            let Some(first) = lock(&waiting).pop() else { return };
            let (role, waiting) = (role.clone(), Arc::clone(&waiting));
            first.aside(move |first| {
                let mut next = Some(first);
                while let Some(exchange) = next {
                    role.call(exchange);
                    next = lock(&waiting).pop();
                }
            });
        }
    }

    fn role_in_table(&self) -> routes::Role {
        match self.role() {
            Role::Leading(_) => routes::Role::Master,
            Role::Following(_) => routes::Role::Secondary,
        }
    }

    fn serve(&self, mut exchange: Exchange) {
        let access = &self.settings.leading.common.access;
        let endpoint = match routes::admit(&mut exchange, access, self.role_in_table()) {
            Ok((Endpoint::Succession(endpoint), _)) => endpoint,
            Ok(_) => return exchange.reply_with(|exchange| routes::refuse(exchange, self.role_in_table())),
            Err(refusal) => return exchange.reply(refusal),
        };
        let reply = match endpoint {
            SuccessionEndpoint::Leader => self.leader(),
            SuccessionEndpoint::Preview => self.preview(),
            SuccessionEndpoint::Promise => {
                return self.faults.answer_node(exchange, |exchange| self.answer_candidate(exchange));
            }
            SuccessionEndpoint::Promote => answer(&mut exchange, |body| self.promote(&body)),
            SuccessionEndpoint::SwitchOver => {
                answer(&mut exchange, |SwitchoverBody { to }| self.switch_over(to.as_deref()))
            }
            SuccessionEndpoint::Rejoin => answer(&mut exchange, |RejoinBody { put_aside }| self.rejoin(put_aside)),
        };
        exchange.reply(reply);
    }

    /// Answers `POST /promotion`.
    fn promote(&self, body: &PromotionBody) -> Reply {
        let how = match body {
            PromotionBody { handed_over: true, .. } => How::HandedOver,
            PromotionBody { force: true, .. } => How::Forced,
            _ => How::Asked,
        };
        match self.stand(how) {
            Ok(elected) if body.keep || body.handed_over => Reply::json(200, &elected),
            Ok(elected) => Reply::json(200, &self.remove_absent(elected)),
            Err(why) => Reply::problem(409, &why),
        }
    }

    /// Removes the nodes that did not answer the candidate, so that writes for all nodes do not wait for them. Each
    /// registers again when it is back.
    fn remove_absent(&self, mut elected: Elected) -> Elected {
        let Role::Leading(master) = self.role() else { return elected };
        for name in &elected.absent {
            match master.remove_until_back(name, &elected.absent) {
                Ok(()) => elected.removed.push(name.clone()),
                Err(why) => {
                    elected.not_removed.insert(name.clone(), why);
                }
            }
        }
        elected
    }

    /// Answers `GET /leader`.
    fn leader(&self) -> Reply {
        let name = self.name();
        match self.role() {
            Role::Leading(master) => {
                let (_, epoch) = master.log_and_epoch();
                let status = if master.is_halted() { 503 } else { 200 };
                Reply::json(status, &json!({ "leads": status == 200, "server_id": name, "epoch": epoch.get() }))
            }
            Role::Following(secondary) => {
                let lineage = secondary.view().status.lineage;
                let contact = lineage.as_ref().and_then(|lineage| {
                    let roster = &lineage.roster;
                    roster.contacts().get(&roster.master())
                });
                let epoch = lineage.as_ref().map_or(0, |lineage| lineage.history.latest().get());
                let known = contact.map(|contact| json!({ "server_id": &*contact.name, "url": &*contact.url }));
                Reply::json(503, &json!({ "leads": false, "server_id": name, "epoch": epoch, "led_last": known }))
            }
        }
    }

    /// Answers `GET /promotion`.
    fn preview(&self) -> Reply {
        let Role::Following(secondary) = self.role() else {
            return Reply::problem(409, &format!("{} leads already", self.name()));
        };
        let status = secondary.view().status;
        let Some(lineage) = status.lineage.clone().filter(|lineage| lineage.roster.allows_promotion()) else {
            return Reply::problem(409, &format!("{} cannot lead: promotion is off for this log", self.name()));
        };
        let Survey { roster, others, states } = survey(&lineage, status.copy, &self.peers);
        let answers = |copy| copy == status.copy || matches!(states.get(&copy), Some(Ok(_)));
        let node = |other: &Other| {
            let answer = match &states[&other.copy] {
                Ok(State { status, leads }) => {
                    json!({ "epoch": status.epoch.get(), "last": status.last.get(), "leads": leads })
                }
                Err(error) => json!({ "error": error.to_string() }),
            };
            json!({ "server_id": &*other.name, "url": other.url.to_string(), "votes": roster.is_voter(other.copy), "answers": answer })
        };
        let may_lead = roster.may_lead(status.copy) && roster.is_promise_quorum(answers);
        let nodes: Vec<Value> = others.iter().map(node).collect();
        Reply::json(
            200,
            &json!({
                "server_id": self.name(),
                "would_lead": may_lead,
                "epoch": status.epoch.get(),
                "last": status.last.get(),
                "voters": roster.voters().number(),
                "others": nodes,
            }),
        )
    }

    /// Answers `POST /replicate/promise`. A master that promises leads no more.
    fn answer_candidate(&self, exchange: &mut Exchange) -> Reply {
        let request = exchange
            .read_body()
            .and_then(|body| PromiseRequestBody::from_json(&body).map_err(|why| Reply::problem(400, &why)));
        match request {
            Ok(request) => self.promise_as_any_role(&request),
            Err(refusal) => refusal,
        }
    }

    fn promise_as_any_role(&self, request: &PromiseRequest) -> Reply {
        let epoch = request.candidacy.epoch;
        let why = format!("it promises epoch {epoch} to the node that holds copy {}", request.candidacy.copy);
        let promised = match self.yield_to(request.log_id, epoch, &why) {
            Ok(Role::Following(secondary)) => self.promise(&secondary, request),
            Ok(Role::Leading(master)) => Ok(Err(match master.log_and_epoch() {
                (log_id, _) if log_id != request.log_id => NotPromised::OtherLog(Some(log_id)),
                (_, epoch) => NotPromised::Entered(epoch),
            })),
            Err(why) => Err(why),
        };
        match promised {
            Ok(Ok(promise)) => Reply::json(200, &PromiseBody::new(self.store.copy_id(), &promise)),
            Ok(Err(why)) => Reply::json(409, &NotPromisedBody::from(&why)),
            Err(why) => Reply::no_answer(500, &why),
        }
    }

    /// Answers `GET /replicate/state` to a master of an epoch, or to a candidate.
    fn report(&self, mut exchange: Exchange) {
        let role = self.role();
        if matches!(role, Role::Following(_)) || !self.promotes() {
            return role.call(exchange);
        }
        let access = &self.settings.leading.common.access;
        if let Err(refusal) = routes::admit(&mut exchange, access, routes::Role::Secondary) {
            return exchange.reply(refusal);
        }
        let log_id = exchange.query("log").and_then(|text| LogId::parse(&text));
        let epoch = exchange.query("epoch").and_then(|text| text.parse().ok()).map(Epoch::new);
        let Some((log_id, epoch)) = log_id.zip(epoch) else {
            return exchange.reply(Reply::no_answer(400, "the parameters log and epoch must be those of a master"));
        };
        match self.yield_to(log_id, epoch, &format!("another node leads in epoch {epoch}")) {
            Ok(role @ Role::Following(_)) => role.call(exchange),
            Ok(Role::Leading(_)) => self.faults.answer_node(exchange, |_| self.report_as_master()),
            Err(why) => exchange.reply(Reply::no_answer(500, &why)),
        }
    }

    /// What a master says of its copy.
    fn report_as_master(&self) -> Reply {
        let found = match self.store.found() {
            Ok(found) => found,
            Err(error) => return Reply::no_answer(500, &error.to_string()),
        };
        let master = found.lineage.as_ref().and_then(|lineage| lineage.history.master_of(lineage.history.latest()));
        let status =
            Follower::begin(FollowerSettings::default(), master.unwrap_or(Incarnation::new(0)), found).status();
        let mut body = StatusBody::new(self.name().to_owned(), &status, 0, None);
        body.leads = true;
        Reply::json(200, &body)
    }
}

/// Answers a request whose body is JSON.
fn answer<T: for<'de> Deserialize<'de> + Default>(exchange: &mut Exchange, answer: impl FnOnce(T) -> Reply) -> Reply {
    body(exchange).map_or_else(|refusal| refusal, answer)
}

/// Reads a body of JSON; nothing, if there is none.
fn body<T: for<'de> Deserialize<'de> + Default>(exchange: &mut Exchange) -> Result<T, Reply> {
    if exchange.has_no_body() {
        return Ok(T::default());
    }
    let body = exchange.read_body()?;
    crate::wire::read_object(&body).map_err(|why| Reply::problem(400, &format!("the body is wrong: {why}")))
}
