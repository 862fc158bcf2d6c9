//! The secondaries of this master: registration, merging and removal.

use super::effects::Context;
use super::member::{Job, Member, Origin, Said};
use super::shared::Master;
use super::state::State;
use crate::http::{Exchange, Method, Reply};
use crate::process::clock;
use crate::process::state_lock::StateGuard;
use crate::process::threads::{self, lock};
use crate::protocol::{Contact, CopyId, Event, Incarnation, MemberId, ReplicationState, RosterChange};
use crate::store::{Identity, KnownMember, Store, StoreError};
use crate::wire::address::NodeUrl;
use crate::wire::client::Registration;
use crate::wire::server_id;
use crossbeam::channel::{Receiver, unbounded};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Secondaries of one master. Each costs a thread, and one more in every round.
const MEMBERS_MAX: usize = 64;

/// How often a master looks whether a node that was removed until it is back answers.
const RETURN_PAUSE: Duration = Duration::from_millis(500);
/// How long a removal waits until enough nodes know that the secondary votes no more.
const DEMOTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it looks.
const DEMOTION_PAUSE: Duration = Duration::from_millis(2);

/// A secondary that a master begins with.
pub(super) struct FirstMember {
    pub(super) url: NodeUrl,
    name: Option<String>,
    /// The copy of the log that it held last, if that is on record.
    copy: Option<CopyId>,
    origin: Origin,
}

/// Why a secondary was not registered.
enum RegistrationError {
    Invalid(String),
    Forbidden(String),
    Conflict(String),
    Failed(String),
}

/// The secondaries at a start: the nodes of the roster, the registered ones on record, and those of the configuration.
pub(super) fn at_start(store: &dyn Store, configured: &[NodeUrl]) -> Result<Vec<FirstMember>, StoreError> {
    let known = store.identity()?;
    let contacts = known.iter().flat_map(|identity| identity.lineage.roster.contacts());
    let others = contacts.filter(|(copy, _)| **copy != store.copy_id());
    let of_roster = others.map(|(&copy, contact)| (contact.url.to_string(), contact.name.to_string(), Some(copy)));
    let of_record = known.iter().flat_map(|identity| &identity.members);
    let of_record = of_record.map(|KnownMember { url, name }| (url.clone(), name.clone(), None));
    let mut members: Vec<FirstMember> = Vec::new();
    for (url, name, copy) in of_roster.chain(of_record) {
        match NodeUrl::parse(&url) {
            Ok(url) if members.iter().any(|member| member.url == url) => {}
            Ok(url) => members.push(FirstMember { url, name: Some(name), copy, origin: Origin::Registered }),
            Err(why) => log::error!("a secondary on record is left out: {why}"),
        }
    }
    let is_new = |url: &&NodeUrl| members.iter().all(|member| member.url != **url);
    let configured_member =
        |url: &NodeUrl| FirstMember { url: url.clone(), name: None, copy: None, origin: Origin::Configured };
    let configured: Vec<FirstMember> = configured.iter().filter(is_new).map(configured_member).collect();
    Ok(configured.into_iter().chain(members).collect())
}

impl Master {
    /// Puts the registered secondaries on record, so that they are known after a restart.
    pub(super) fn remember_members(&self) -> Result<(), String> {
        // What the next role writes must not be overwritten by what this one has read.
        let Some(_inside) = self.writes.enter() else { return Err("this node leads no more".to_owned()) };
        let _one_at_a_time = lock(&self.record);
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

    /// Where the nodes of the log are, this one included.
    pub(super) fn contacts(&self, state: &State) -> BTreeMap<CopyId, Contact> {
        let contact = |(&id, member): (&MemberId, &Member)| {
            let copy = state.leader.member(id)?.copy?;
            Some((copy, Contact { name: Arc::clone(&member.name), url: member.url.to_string().into() }))
        };
        let own = Contact { name: Arc::clone(&self.name), url: self.url.to_string().into() };
        state.members.iter().filter_map(contact).chain([(self.store.copy_id(), own)]).collect()
    }

    /// Whether the roster has another name or address for this node.
    pub(super) fn has_moved(&self) -> bool {
        let state = self.lock();
        let copy = self.store.copy_id();
        self.contacts(&state).get(&copy) != state.leader.roster().contacts().get(&copy)
    }

    /// Adds a secondary and starts its thread, unless there is one at that address.
    pub(super) fn add_member(self: &Arc<Master>, first: FirstMember) {
        let mut state = self.lock();
        if state.is_retired || state.known_as(&first.url, None).is_some() {
            return;
        }
        let copy = first.copy;
        let (member, jobs) = state.enlist(first);
        let ready = state.leader.step(self.now(), Event::Joined(member, copy));
        let Member { name, url, .. } = &state.members[&member];
        let registered = format!("{name} ({url}) is registered; it takes part once it has caught up");
        let effects = self.finish_step(state, ready, Context::default());
        log::info!("{registered}");
        self.start_replicator(member, jobs);
        self.perform(effects);
    }

    /// Answers `POST /secondaries`. Registering again is harmless. The master probes a process that registers for the
    /// first time at once.
    pub(super) fn register(self: &Arc<Master>, exchange: &mut Exchange) -> Reply {
        exchange.read_body().map_or_else(
            |reply| reply,
            |body| match self.try_register(&body, exchange.client_host()) {
                Ok(()) => {
                    let total = self.lock().members.len();
                    Reply::json(200, &json!({ "status": "registered", "total_secondaries": total }))
                }
                Err(RegistrationError::Invalid(why)) => Reply::problem(400, &why),
                Err(RegistrationError::Forbidden(why)) => Reply::problem(403, &why),
                Err(RegistrationError::Conflict(why)) => Reply::problem(409, &why),
                Err(RegistrationError::Failed(why)) => Reply::problem(503, &why),
            },
        )
    }

    fn try_register(self: &Arc<Master>, body: &[u8], client: Option<IpAddr>) -> Result<(), RegistrationError> {
        let registration = Registration::from_json(body).map_err(RegistrationError::Invalid)?;
        let url = NodeUrl::parse(&registration.url).map_err(RegistrationError::Invalid)?;
        let name =
            registration.server_id.as_deref().map(server_id::parse).transpose().map_err(RegistrationError::Invalid)?;
        self.settings.common.access.admit_registration(client, &url).map_err(RegistrationError::Forbidden)?;
        if self.is_self(&url) {
            return Err(RegistrationError::Invalid(format!("{url} is this master itself; register a secondary")));
        }
        let copy = registration.copy.map(|text| text.0);
        let state = self.lock();
        let known = state.known_as(&url, copy);
        if let Some(name) = &name
            && let Some((_, other)) =
                state.members.iter().find(|(id, other)| *other.name == **name && Some(**id) != known)
        {
            return Err(RegistrationError::Conflict(format!(
                "the name {name} is in use at {}; choose another",
                other.url
            )));
        }
        if let Some(id) = known {
            return self.register_again(state, id, &url, name, registration.incarnation.map(|text| text.0));
        }
        if state.members.len() >= MEMBERS_MAX {
            return Err(RegistrationError::Conflict(format!(
                "there are {MEMBERS_MAX} secondaries already, as many as one master takes"
            )));
        }
        drop(state);
        self.add_member(FirstMember { url, name, copy: None, origin: Origin::Registered });
        self.remember_members().map_err(RegistrationError::Failed)
    }

    fn register_again(
        &self,
        mut state: StateGuard<'_, State>,
        id: MemberId,
        url: &NodeUrl,
        name: Option<String>,
        incarnation: Option<Incarnation>,
    ) -> Result<(), RegistrationError> {
        let is_away = state.is_away(id);
        let Some(member) = state.members.get_mut(&id) else { return Ok(()) };
        if let Some(name) = name {
            member.rename(&name, &self.metrics);
        }
        let is_new_address = !member.is_at(url);
        let has_moved = is_away && member.url != *url;
        let (known_name, known_url) = (Arc::clone(&member.name), member.url.clone());
        if has_moved {
            member.move_to(url.clone());
        } else if is_new_address {
            member.aliases.push(url.clone());
        }
        let is_recorded = (member.recorded || member.origin == Origin::Configured) && !has_moved;
        let ready = incarnation.map(|incarnation| state.leader.step(self.now(), Event::Started(id, incarnation)));
        match ready {
            Some(ready) => {
                let effects = self.finish_step(state, ready, Context::default());
                self.perform(effects);
            }
            None => drop(state),
        }
        if has_moved {
            log::info!("{known_name} has moved from {known_url} to {url}");
            self.step(Event::Renamed, Context::default());
        } else if is_new_address {
            log::info!("{url} is the same copy of the log as {known_name} ({known_url}); it is one secondary");
        }
        if is_recorded { Ok(()) } else { self.remember_members().map_err(RegistrationError::Failed) }
    }

    /// Two members turned out to be one copy: the first is known under the second from now on, which is where the first is
    /// if it does not answer elsewhere. Gives a line for the log.
    pub(super) fn merge(&self, state: &mut State, member: MemberId, twin: MemberId) -> Option<String> {
        let gone = state.members.remove(&member)?;
        state.traces.forget(member);
        let has_moved = state.is_away(twin);
        let kept = state.members.get_mut(&twin)?;
        if kept.origin == Origin::Configured && gone.origin == Origin::Registered {
            kept.rename(&gone.name, &self.metrics);
        }
        if has_moved {
            let line = format!("{} has moved from {} to {}", kept.name, kept.url, gone.url);
            kept.move_to(gone.url);
            return Some(line);
        }
        kept.aliases.push(gone.url.clone());
        Some(format!(
            "{} is the same copy of the log as {} ({}); it is one secondary from now on. If it is another process, on a copy \
             of that one's data directory, stop it and run \"secondary discard\"",
            gone.url, kept.name, kept.url
        ))
    }

    /// Answers `PUT` and `DELETE /secondaries/NAME/faults`: passes a fault on to a secondary, for the page of this
    /// master.
    pub(super) fn inject_fault(&self, mut exchange: Exchange, name: &str) {
        let node = self.lock().members.values().find(|member| *member.name == *name).map(|member| member.url.clone());
        let reply = match node {
            _ if !self.faults.is_enabled() => {
                Reply::problem(403, "this master passes no faults on; start it with ENABLE_FAULTS=1")
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
        match self.peers.inject_fault(node, fault) {
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
        let state = self.lock();
        let found = state.members.iter().find(|(_, member)| *member.name == *name).map(|(&id, _)| id);
        drop(state);
        let Some(id) = found else {
            exchange.reply(Reply::not_found("there is no secondary of that name; GET /secondaries lists them"));
            return;
        };
        match self.remove_member(id, name) {
            Ok((total, notified)) => exchange.reply(Reply::json(
                200,
                &json!({ "status": "removed", "total_secondaries": total, "notified": notified }),
            )),
            Err(why) => exchange.reply(Reply::problem(503, &why)),
        }
    }

    /// Removes the secondary of this name, if there is one, until it answers again. It is one of those that are `absent`.
    ///
    /// # Errors
    /// With a sentence if it goes on voting, or if that could not be put on record.
    pub(crate) fn remove_until_back(self: &Arc<Master>, name: &str, absent: &[String]) -> Result<(), String> {
        let state = self.lock();
        let Some((&id, member)) = state.members.iter().find(|(_, member)| *member.name == *name) else { return Ok(()) };
        let url = member.url.clone();
        if !state.may_come_to_leave(id, absent) {
            return Err(format!(
                "{name} votes, and too few of the other voters answer that would have to know that it is to vote no more; of \
                 two voters, the one to be removed has to answer. Remove it when they do"
            ));
        }
        drop(state);
        self.remove_member(id, name)?;
        let (master, name) = (Arc::clone(self), name.to_owned());
        let wait = move || {
            while !master.is_ending() {
                if master.lock().known_as(&url, None).is_some() {
                    return;
                }
                if master.peers.state(&url).is_ok() {
                    let (name, origin) = (Some(name), Origin::Registered);
                    master.add_member(FirstMember { url, name, copy: None, origin });
                    return master.remember_members().unwrap_or_else(|why| log::error!("{why}"));
                }
                thread::sleep(RETURN_PAUSE);
            }
        };
        threads::start_needed("return", wait).map(drop).map_err(|error| error.to_string())
    }

    /// Removes a secondary, which stops voting first. Gives how many are left, and whether it knows.
    fn remove_member(&self, id: MemberId, name: &str) -> Result<(usize, bool), String> {
        self.demote(id, name)?;
        let notified = self.tell_removal(id);
        let mut state = self.lock();
        let removed = state.members.remove(&id);
        state.traces.forget(id);
        let total = state.members.len();
        let ready = state.leader.step(self.now(), Event::Left(id));
        let effects = self.finish_step(state, ready, Context::default());
        self.perform(effects);
        if let Some(member) = removed {
            log::warn!("{} ({}) was removed; writes no longer wait for it", member.name, member.url);
            self.metrics.forget(name);
        }
        self.remember_members()?;
        Ok((total, notified))
    }

    /// Lets a secondary vote no more, so that it can be removed.
    fn demote(&self, id: MemberId, name: &str) -> Result<(), String> {
        let votes = || {
            let state = self.lock();
            let copy = state.leader.member(id).and_then(|view| view.copy);
            let roster = state.leader.roster();
            roster.allows_promotion() && copy.is_some_and(|copy| roster.is_voter(copy))
        };
        if !votes() {
            return Ok(());
        }
        self.step(Event::Demoting(id), Context::default());
        let deadline = Instant::now() + DEMOTION_TIMEOUT;
        while votes() {
            if self.is_ending() {
                return Err(format!("{name} was not removed: this node leads no more, or stops"));
            }
            if Instant::now() >= deadline {
                self.step(Event::Keeping(id), Context::default());
                return Err(format!(
                    "{name} was not removed: too few of the other voters know within {} s that it is to vote no more. Try \
                     again when they answer; of two voters, the one to be removed has to answer",
                    DEMOTION_TIMEOUT.as_secs()
                ));
            }
            thread::sleep(DEMOTION_PAUSE);
        }
        Ok(())
    }
}

impl State {
    /// Gives a secondary its number, and its thread the receiver of its jobs.
    fn enlist(&mut self, first: FirstMember) -> (MemberId, Receiver<Job>) {
        let FirstMember { url, name, origin, .. } = first;
        self.members_numbered += 1;
        let id = MemberId::new(self.members_numbered);
        let (jobs, received) = unbounded();
        let name: Arc<str> = name.unwrap_or_else(|| format!("{}:{}", url.host(), url.port())).into();
        let (now, now_ms) = (Instant::now(), clock::now_ms());
        let member = Member {
            name,
            url,
            aliases: Vec::new(),
            detail: "not heard of yet".to_owned(),
            since_ms: now_ms,
            delay_ms: 0,
            is_full: false,
            fault: None,
            health_since_ms: now_ms,
            flights: Vec::new(),
            since: now,
            reported: now,
            said: Said::default(),
            origin,
            recorded: false,
            jobs,
        };
        self.members.insert(id, member);
        (id, received)
    }

    /// Whether a secondary can come to vote no more while the nodes with these names are absent.
    fn may_come_to_leave(&self, id: MemberId, absent: &[String]) -> bool {
        let Some(copy) = self.leader.member(id).and_then(|view| view.copy) else { return true };
        let answers = |copy| {
            let member = self.leader.member_with(copy).and_then(|id| self.members.get(&id));
            member.is_some_and(|member| !absent.contains(&member.name.to_string()))
        };
        let without = self.leader.roster().changed(RosterChange::Remove(copy));
        without.is_none_or(|roster| roster.is_in_effect(answers, answers))
    }

    /// Gives the thread of a secondary something to do.
    pub(super) fn hand_over(&mut self, member: MemberId, job: Job) {
        if let Some(member) = self.members.get(&member) {
            // A thread that could not be started was logged, and makes this master unready.
            let _ = member.jobs.send(job);
        }
    }

    /// Sets what is known of a secondary, in words.
    pub(super) fn describe(&mut self, member: MemberId, detail: String) {
        if let Some(member) = self.members.get_mut(&member) {
            member.set_detail(detail);
            member.since = Instant::now();
        }
    }

    /// Whether a secondary does not answer, as far as is known.
    fn is_away(&self, id: MemberId) -> bool {
        self.leader.member(id).is_some_and(|view| view.state == ReplicationState::Unreachable)
    }

    /// The member that is the same copy of the log, or the one at an address. A copy that is known under several addresses
    /// may have left all but the first to another node.
    fn known_as(&self, url: &NodeUrl, copy: Option<CopyId>) -> Option<MemberId> {
        let holds = |id: MemberId| self.leader.member(id).and_then(|view| view.copy);
        let is_other = |id| copy.is_some() && holds(id).is_some() && holds(id) != copy;
        let is_at = |id: MemberId, member: &Member| member.url == *url || member.aliases.contains(url) && !is_other(id);
        let same = copy.and_then(|copy| self.leader.member_with(copy));
        same.or_else(|| self.members.iter().find(|(id, member)| is_at(**id, member)).map(|(&id, _)| id))
    }

    /// Another member of the same name that is another copy.
    pub(super) fn namesake_of(&self, member: MemberId, name: &str, copy: CopyId) -> Option<&Member> {
        let same_copy = self.leader.member_with(copy);
        let is_namesake =
            |id: &MemberId, other: &Member| *id != member && Some(*id) != same_copy && *other.name == *name;
        self.members.iter().find(|(id, other)| is_namesake(id, other)).map(|(_, other)| other)
    }
}
