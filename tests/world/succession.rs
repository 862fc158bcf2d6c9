//! How a node comes to lead after another one: it stands as a candidate, collects promises, copies the best log, and
//! begins its epoch. A node that leads and learns of a later epoch follows from then on.

use super::World;
use super::disk::{EVERYTHING, IoResult, SimulatedDisk};
use super::following::Following;
use super::leading::contact;
use super::node::{MASTER, Node, Role};
use super::planted_bugs::PlantedBug;
use super::wire::{Content, Packet};
use replicated_log::protocol::follower::{Event, Reply, Request};
use replicated_log::protocol::{
    Beginning, Candidacy, Change, CopyId, Epoch, EpochHistory, Follower, Id, Incarnation, Lineage, LogId, Promise,
    PromiseRequest, Promotion, ReplicaStatus, Roster, RosterNumber, Standing, Voters, standing,
};
use replicated_log::store::Identity;
use std::collections::{BTreeMap, BTreeSet};

/// A node that wants to lead, and the promises that it has.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Candidate {
    candidacy: Candidacy,
    promises: BTreeMap<CopyId, Promise>,
    /// What it begins with, once its promises are enough. Later promises change nothing any more.
    beginning: Option<Beginning>,
    /// Its log is the best one.
    has_best_log: bool,
}

impl Candidate {
    /// Whether the best log is another one, and has to be copied.
    pub(super) fn may_adopt(&self) -> bool {
        self.beginning.is_some() && !self.has_best_log
    }

    /// Whether nothing is missing.
    pub(super) fn may_begin(&self) -> bool {
        self.beginning.is_some() && self.has_best_log
    }
}

impl<P: SimulatedDisk> World<P> {
    /// Makes every node of a new world a voter that may be promoted.
    pub(crate) fn allow_promotion(&mut self, copy: impl Fn(Node) -> CopyId) {
        self.begin_with(Voters::new(Promotion::On, self.nodes().map(copy)));
    }

    /// Lets a new world begin with these voters, which masters change as their nodes come and go.
    pub(crate) fn begin_with(&mut self, voters: Voters) {
        self.voters = Some(voters);
        self.checker.joins(MASTER);
    }

    /// Starts a node. In a new world the first node leads, and every other one has met it. Later a node leads only if
    /// it stands and gets its promises.
    pub(super) fn start_voter(&mut self, node: Node) {
        let store = self.nodes[node.0].disk.store();
        let leads_again = self.planted == Some(PlantedBug::RestartWithoutPromises);
        match store.identity().expect("readable") {
            // It lost its disk, and joins again as another copy.
            None if self.nodes[node.0].starts > 0 || self.nodes[node.0].has_lost_disk => {}
            None => {
                let lineage = self.first_lineage();
                store.set_identity(&Identity { lineage: lineage.clone(), members: Vec::new() }).expect("writable");
                if node == MASTER {
                    return self.lead(node, lineage);
                }
            }
            Some(known) if leads_again && known.lineage.roster.master() == store.copy_id() => {
                return self.start_leading(node, |_| false);
            }
            Some(_) => {}
        }
        self.start_following(node);
    }

    fn first_lineage(&self) -> Lineage {
        let (epoch, master) = (Epoch::new(1), Incarnation::new(1));
        let mut history = EpochHistory::default();
        history.begin(epoch, Id::new(1), master);
        let voters = self.voters.clone().unwrap_or_default();
        let leads = self.nodes[MASTER.0].disk.store().copy_id();
        let contacts = self.nodes().map(|node| (self.nodes[node.0].disk.store().copy_id(), contact(node))).collect();
        let roster = Roster::new(RosterNumber { epoch, sequence: 0 }, leads, voters).with_contacts(contacts);
        Lineage { log_id: LogId::new(1), history, roster, promised: None }
    }

    /// A node stands as a candidate for the epoch after all that it knows of, and asks every other node for a promise.
    pub(crate) fn stand(&mut self, node: Node) {
        let Some(request) = self.candidacy_of(node) else { return };
        let Some(Reply::Promised(own)) = self.ask(node, &request) else { return };
        let PromiseRequest { candidacy, .. } = request;
        let promises = BTreeMap::from([(candidacy.copy, own)]);
        let candidate = Candidate { candidacy, promises, beginning: None, has_best_log: false };
        if let Some(following) = self.nodes[node.0].following_mut() {
            following.candidate = Some(candidate);
        }
        for member in self.nodes().filter(|&member| member != node) {
            self.send(Packet { number: 0, master: node, member, content: Content::Ask(request) });
        }
        self.judge(node);
        self.observe();
    }

    /// The epoch for which a node may stand, if it follows.
    pub(crate) fn next_epoch(&self, node: Node) -> Option<Epoch> {
        let lineage = self.status(node)?.lineage?;
        let promised = lineage.promised.map_or(Epoch::NONE, |promised| promised.epoch);
        Some(lineage.history.latest().max(promised).next())
    }

    fn candidacy_of(&mut self, node: Node) -> Option<PromiseRequest> {
        let (status, epoch) = (self.status(node)?, self.next_epoch(node)?);
        let log_id = status.log_id?;
        let master = self.new_incarnation(node, false);
        let candidacy = Candidacy { epoch, copy: status.copy, master };
        Some(PromiseRequest { log_id, candidacy, after: status.decided })
    }

    /// Asks a node for a promise. One that leads stops first.
    fn ask(&mut self, node: Node, request: &PromiseRequest) -> Option<Reply> {
        let epoch = request.candidacy.epoch;
        if self.planted != Some(PlantedBug::LeadsOnAfterPromise) {
            self.step_down_for(node, epoch);
        } else if self.nodes[node.0].leading().is_some_and(|leading| leading.leader.epoch() < epoch) {
            return self.promise_of_leader(node, request);
        }
        let before = self.nodes[node.0].disk.store().identity().expect("readable");
        let mut reply = self.request(node, Request::Promise(*request));
        let store = self.nodes[node.0].disk.store();
        if let Some(Reply::Promised(promise)) = &mut reply {
            promise.base = store.base();
            let after = request.after.max(promise.base.id);
            promise.refused.extend(store.refused(after, promise.decided).expect("readable"));
            if self.planted == Some(PlantedBug::PromiseNotDurable) {
                store.set_identity(&before.expect("a log")).expect("writable");
            }
        }
        reply
    }

    /// What a leader answers that goes on leading.
    fn promise_of_leader(&mut self, node: Node, request: &PromiseRequest) -> Option<Reply> {
        let store = self.nodes[node.0].disk.store();
        let found = store.found().expect("readable");
        let lineage = found.lineage?;
        if lineage.promised.is_some_and(|promised| promised.epoch >= request.candidacy.epoch) {
            return None;
        }
        let refused =
            store.refused(request.after.max(found.base.id), found.last).expect("readable").into_iter().collect();
        store.change(&Change::Promise(request.candidacy)).expect("writable");
        let (history, roster) = (lineage.history, lineage.roster);
        Some(Reply::Promised(Promise {
            history,
            base: found.base,
            last: found.last,
            decided: found.decided,
            refused,
            roster,
        }))
    }

    /// Gives a request to a follower, which answers it at once.
    fn request(&mut self, node: Node, request: Request) -> Option<Reply> {
        let ticket = self.nodes[node.0].following().map(Following::new_ticket)?;
        let replies = self.drive(node, Event::Requested(ticket, request), IoResult::Good, usize::MAX)?;
        replies.into_iter().find(|(replied, _)| *replied == ticket).map(|(_, reply)| reply)
    }

    /// A candidate's question has arrived.
    pub(super) fn hear_candidate(&mut self, packet: &Packet, request: &PromiseRequest) {
        let Some(Reply::Promised(promise)) = self.ask(packet.member, request) else { return };
        let copy = self.passes_for(self.nodes[packet.member.0].disk.store().copy_id());
        let content = Content::Promised(request.candidacy, copy, Box::new(promise));
        self.send(Packet { content, ..packet.clone() });
    }

    /// A promise has arrived.
    pub(super) fn hear_promise(&mut self, node: Node, candidacy: Candidacy, copy: CopyId, promise: Promise) {
        if let Some(candidate) = self.candidate_mut(node).filter(|candidate| candidate.candidacy == candidacy) {
            candidate.promises.insert(copy, promise);
            self.judge(node);
        }
    }

    /// Looks whether the promises of a candidate are enough.
    fn judge(&mut self, node: Node) {
        let planted = self.planted;
        let Some(candidate) = self.candidate(node) else { return };
        if candidate.beginning.is_some() {
            return;
        }
        let own = candidate.candidacy.copy;
        let promises = candidate.promises.clone();
        let judged = match planted {
            Some(planted) => planted.distort(promises),
            None => promises,
        };
        match standing(own, &judged) {
            Standing::Leads(mut beginning) => {
                if planted == Some(PlantedBug::RefusalsOfOthersIgnored) {
                    beginning.refused = candidate.promises[&beginning.best].refused.clone();
                }
                if let Some(best) = planted.and_then(|planted| planted.best_log(&candidate.promises)) {
                    (beginning.best, beginning.last) = (best, candidate.promises[&best].last);
                }
                if planted == Some(PlantedBug::BaseOfVoterIgnored) {
                    beginning.base = None;
                }
                if beginning.is_held_by(own) && planted != Some(PlantedBug::CutWriteKept) {
                    let place = &self.nodes[node.0];
                    let after = place.following().map_or(Id::ZERO, |following| following.follower.decided());
                    let slots = place.disk.store().read(after, Id::MAX, EVERYTHING).expect("readable");
                    beginning.make_writes_whole(&slots);
                }
                if let Some(candidate) = self.candidate_mut(node) {
                    candidate.has_best_log = beginning.is_held_by(own);
                    candidate.beginning = Some(beginning);
                }
            }
            Standing::Forked(id) => {
                let sentence = format!("forked: {node:?} has shown what a majority does not have, from {id} on");
                self.checker.is_left_out(sentence);
            }
            Standing::TooFew | Standing::NoVoter => {}
        }
    }

    /// A candidate copies the best log, from a node that still keeps its promise.
    pub(super) fn adopt(&mut self, node: Node) {
        let Some(candidate) = self.candidate(node) else { return };
        let Candidate { candidacy, promises, beginning: Some(mut beginning), .. } = candidate else { return };
        let best = beginning.best;
        let holder = self.nodes().find(|other| self.nodes[other.0].disk.store().copy_id() == best);
        let keeps = |holder: &Node| {
            let lineage = self.status(*holder).and_then(|status| status.lineage);
            lineage.is_some_and(|lineage| lineage.promised == Some(candidacy))
        };
        let is_volatile = self.planted == Some(PlantedBug::PromiseNotDurable);
        let Some(holder) = holder.filter(|holder| keeps(holder) || is_volatile) else {
            return self.give_up_standing(node);
        };
        let decided = self.status(node).map_or(Id::ZERO, |status| status.decided);
        // A holder that has trimmed more since does not give what was asked for.
        let read = self.nodes[holder.0].disk.store().read(beginning.adopts_after(decided), Id::MAX, EVERYTHING);
        let Ok(slots) = read else { return self.give_up_standing(node) };
        if self.planted != Some(PlantedBug::CutWriteKept) {
            beginning.make_writes_whole(&slots);
        }
        let adoption = match self.planted {
            Some(PlantedBug::RefusalLostByCopying) => {
                Beginning { refused: BTreeSet::new(), ..beginning.clone() }.adoption(candidacy, &promises[&best], slots)
            }
            _ => beginning.adoption(candidacy, &promises[&best], slots),
        };
        match self.request(node, Request::Adopt(adoption)) {
            Some(Reply::Adopted) => {
                if let Some(candidate) = self.candidate_mut(node) {
                    (candidate.has_best_log, candidate.beginning) = (true, Some(beginning));
                }
            }
            _ => self.give_up_standing(node),
        }
    }

    /// A candidate begins its epoch, and leads.
    pub(super) fn begin_epoch(&mut self, node: Node) {
        let Some(Candidate { candidacy, beginning: Some(beginning), .. }) = self.candidate(node) else { return };
        match self.request(node, Request::Begin(candidacy, beginning)) {
            Some(Reply::Begun) => {
                self.nodes[node.0].role = None;
                self.stops_following(node);
                self.checker.killed(node);
                self.checker.begins(candidacy.epoch, candidacy.master);
                let known = self.nodes[node.0].disk.store().identity().expect("readable").expect("a log");
                let contacts = known.lineage.roster.contacts();
                let is_known =
                    |other: &Node| *other != node && contacts.values().any(|known| *known == contact(*other));
                self.nodes[node.0].recorded = self.nodes().filter(is_known).collect();
                for other in self.nodes() {
                    let is_member = other == node || self.nodes[node.0].recorded.contains(&other);
                    self.checker.is_member(other, is_member);
                }
                self.lead(node, known.lineage);
            }
            _ => self.give_up_standing(node),
        }
    }

    fn candidate(&self, node: Node) -> Option<Candidate> {
        self.nodes[node.0].following()?.candidate.clone()
    }

    fn candidate_mut(&mut self, node: Node) -> Option<&mut Candidate> {
        self.nodes[node.0].following_mut()?.candidate.as_mut()
    }

    fn give_up_standing(&mut self, node: Node) {
        if let Some(following) = self.nodes[node.0].following_mut() {
            following.candidate = None;
        }
    }

    /// A node that leads in an earlier epoch follows from now on. What its disk was writing is not written.
    pub(super) fn step_down_for(&mut self, node: Node, epoch: Epoch) {
        if self.nodes[node.0].leading().is_some_and(|leading| leading.leader.epoch() < epoch) {
            self.step_down(node);
        }
    }

    /// A node that leads follows from now on.
    pub(super) fn step_down(&mut self, node: Node) {
        let Some(Role::Leading(_)) = &self.nodes[node.0].role else { return };
        self.nodes[node.0].role = None;
        self.stops_leading(node);
        self.checker.killed(node);
        self.start_following(node);
    }

    /// What a node reports to a master of an epoch.
    pub(super) fn report(&mut self, node: Node, asks: Epoch) -> Option<ReplicaStatus> {
        if self.promotes() {
            self.step_down_for(node, asks);
        }
        match &self.nodes[node.0].role {
            Some(Role::Leading(leading)) if self.promotes() => {
                let found = self.nodes[node.0].disk.store().found().expect("readable");
                Some(Follower::begin(self.follower_settings, leading.leader.incarnation(), found).status())
            }
            _ => self.status(node).map(|status| ReplicaStatus { copy: self.passes_for(status.copy), ..status }),
        }
    }

    /// The copy for which a node passes, which is its own without a planted bug.
    fn passes_for(&self, copy: CopyId) -> CopyId {
        self.planted.map_or(copy, |planted| planted.passes_for(copy))
    }
}
