//! A node that tries to lead: it asks for promises, copies the best log, and begins an epoch.

use super::roles::{Role, Roles};
use super::survey::{Answers, Other, State, Survey, survey, unanswered};
use crate::node::ids::id_range;
use crate::peer::{Peers, Promised, ask_each};
use crate::process::random;
use crate::process::threads::try_lock;
use crate::protocol::follower::{Reply, Request};
use crate::protocol::{
    Beginning, Candidacy, CopyId, Epoch, Id, Incarnation, Lineage, NotPromised, Promise, PromiseRequest, ReplicaStatus,
    Roster, Slot, Standing, standing, standing_by_force,
};
use crate::secondary::Secondary;
use crate::store::{ReadLimit, Store, StoreError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How often a candidate tries a later epoch because another candidate has a promise for this one.
const ATTEMPTS_MAX: u32 = 5;
/// The longest pause before that: two candidates must not go on hindering each other.
const JITTER_MS: u64 = 200;
/// The most ids that a candidate copies. It keeps them in memory meanwhile.
const COPIED_MAX: u64 = 100_000;
/// What a forced promotion keeps, for people.
const FORCED: &str = "every message acknowledged by all nodes, this one among them, is kept; one acknowledged with fewer \
                      copies may be lost, and one that was refused may be shown";
/// How much of its own log a candidate reads at a time.
const READ_LIMIT: ReadLimit = ReadLimit { slots_max: 10_000, bytes_max: 4 << 20 };

/// Why a node tries to lead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// It led last. It does not compete with anybody: a promise to another node may mean that this one is about to lead.
    ByItself,
    /// The same, after no node has led for so long that such a promise has come to nothing.
    AfterSilence,
    /// An operator asks for it. The master must not answer any more.
    Asked,
    /// The same, although a majority may be lost: the promises of those that answer are enough.
    Forced,
    /// The master hands over.
    HandedOver,
}

impl How {
    fn is_by_itself(self) -> bool {
        matches!(self, How::ByItself | How::AfterSilence)
    }
}

/// A node that leads now, and what became of the log.
#[derive(Debug, Serialize)]
pub(super) struct Elected {
    leader: String,
    epoch: u64,
    /// Messages whose outcome is not known yet: they are replicated again, and none of them is refused.
    in_doubt: u64,
    /// Ids above the high watermark that are refused.
    refused: Vec<u64>,
    /// The node whose log was copied, if it was not this one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_from: Option<String>,
    /// The nodes that have promised.
    with: Vec<String>,
    /// The nodes that did not, and why.
    pub(super) without: BTreeMap<String, String>,
    /// Of these, the nodes that did not answer.
    #[serde(skip)]
    pub(super) absent: Vec<String>,
    /// Of these, the nodes that were removed because they did not answer: writes for all do not wait for them.
    pub(super) removed: Vec<String>,
    /// Why others of them were not removed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) not_removed: BTreeMap<String, String>,
    /// What is kept, in a sentence.
    kept: String,
}

/// The promises that a candidate has, and why it has no others.
struct Consent {
    promises: BTreeMap<CopyId, Promise>,
    without: BTreeMap<String, String>,
    /// The nodes that did not answer.
    absent: Vec<String>,
    /// The latest epoch that another candidate or master came first to.
    later: Option<Epoch>,
}

impl Roles {
    /// Tries to lead.
    ///
    /// # Errors
    /// With a sentence that says why this node does not lead.
    pub(super) fn stand(&self, how: How) -> Result<Elected, String> {
        let Some(_standing) = try_lock(&self.standing) else {
            return Err(format!("{} is trying to lead already", self.name()));
        };
        // Who is not asked with patience might be taken for lost.
        let first_peers = if how == How::Forced { &self.peers } else { &self.hasty_peers };
        let (mut beyond, mut peers) = (Epoch::NONE, first_peers);
        for attempt in 1.. {
            let secondary = match self.role() {
                Role::Following(secondary) => secondary,
                Role::Leading(_) => return Err(format!("{} leads already", self.name())),
            };
            match self.try_to_lead(&secondary, how, beyond, peers) {
                Ok(elected) => return Ok(elected),
                Err(Failed::Overtaken(epoch, _)) if attempt < ATTEMPTS_MAX && !how.is_by_itself() => {
                    beyond = epoch;
                    thread::sleep(Duration::from_millis(random::below(JITTER_MS)));
                }
                // A node that is only slow is asked with more patience.
                Err(Failed::TooFew(_)) if attempt == 1 && !how.is_by_itself() => peers = &self.peers,
                Err(Failed::Overtaken(_, why) | Failed::TooFew(why) | Failed::For(why)) => return Err(why),
            }
        }
        unreachable!("the attempts end")
    }

    fn try_to_lead(
        &self,
        secondary: &Arc<Secondary>,
        how: How,
        beyond: Epoch,
        peers: &Peers,
    ) -> Result<Elected, Failed> {
        let status = secondary.view().status;
        let lineage = self.lineage_to_lead(&status)?;
        let Survey { roster, others, states } = survey(&lineage, status.copy, peers);
        let candidacy = self.candidacy(&lineage, &others, &states, how, beyond)?;
        // A promise that comes to nothing would stand in the way of others.
        let answers = |copy| copy == status.copy || matches!(states.get(&copy), Some(Ok(_)));
        if how != How::Forced && !roster.is_promise_quorum(answers) {
            return Err(Failed::TooFew(self.too_few(&roster, answers, &unanswered(&others, &states))));
        }
        let request = PromiseRequest { log_id: lineage.log_id, candidacy, after: status.decided };
        let own = self.own_promise(secondary, &request)?;
        let reachable: Vec<&Other> = others.iter().filter(|other| states[&other.copy].is_ok()).collect();
        let asked = ask_each(&reachable, |other| self.peers.promise(&other.url, &request));
        let answers = reachable.into_iter().map(|other| other.copy).zip(asked).collect();
        let consent = gather(&others, &states, answers, (status.copy, own));
        let mut stands = standing(status.copy, &consent.promises);
        let is_forced = how == How::Forced && stands == Standing::TooFew;
        if is_forced {
            self.check_lost(&others, &states, &consent)?;
            stands = standing_by_force(status.copy, &consent.promises);
        }
        let beginning = match stands {
            Standing::Leads(beginning) => beginning,
            Standing::TooFew => {
                let why = self.too_few(&roster, |copy| consent.promises.contains_key(&copy), &consent.without);
                return Err(match consent.later {
                    Some(epoch) => Failed::Overtaken(epoch, why),
                    None => Failed::TooFew(why),
                });
            }
            Standing::NoVoter => return Err(self.cannot("it does not vote; only a voter leads").into()),
            Standing::Forked(from) => {
                let why = format!(
                    "it has shown messages from id {from} on that the other nodes do not have: it was cut off while another \
                     node led. Promote another node; then POST /rejoin here puts those messages aside"
                );
                return Err(self.cannot(&why).into());
            }
        };
        self.begin(secondary, &others, (candidacy, is_forced), &consent, beginning)
    }

    /// Whether every voter that has not promised is lost, as far as this node can tell: it does not answer.
    fn check_lost(&self, others: &[Other], states: &Answers<State>, consent: &Consent) -> Result<(), Failed> {
        let answers = |other: &&Other| states[&other.copy].is_ok() && !consent.promises.contains_key(&other.copy);
        let Some(other) = others.iter().find(answers) else { return Ok(()) };
        let reason = consent.without.get(&*other.name).map_or("no reason", String::as_str);
        let why = self.cannot(&format!("{} answers, and did not promise: {reason}. Try again", other.name));
        Err(match consent.later {
            Some(epoch) => Failed::Overtaken(epoch, why),
            None => Failed::For(why),
        })
    }

    /// What this node knows of its log, if it may lead there.
    fn lineage_to_lead(&self, status: &ReplicaStatus) -> Result<Arc<Lineage>, String> {
        let lineage = status.lineage.clone().ok_or_else(|| self.cannot("it belongs to no log yet"))?;
        if !lineage.roster.allows_promotion() {
            return Err(self.cannot(
                "promotion is off for this log. Start its master with PROMOTION=on; as soon as its log says that this node \
                 votes, this node can be promoted",
            ));
        }
        Ok(lineage)
    }

    /// The epoch that this node asks for: later than all that anybody knows of, or again the one that it has promised
    /// itself.
    fn candidacy(
        &self,
        lineage: &Lineage,
        others: &[Other],
        states: &Answers<State>,
        how: How,
        beyond: Epoch,
    ) -> Result<Candidacy, Failed> {
        let (copy, latest) = (self.store.copy_id(), lineage.history.latest());
        let mut taken = beyond.max(latest);
        for other in others {
            let Some(Ok(State { status, leads })) = states.get(&other.copy) else { continue };
            if status.log_id != Some(lineage.log_id) {
                continue;
            }
            if *leads && how != How::HandedOver && status.epoch >= latest {
                let why = format!(
                    "{} leads in epoch {}, and answers. Let it hand over with POST /switchover there, or stop it",
                    other.name, status.epoch
                );
                return Err(self.cannot(&why).into());
            }
            if status.epoch > latest && how.is_by_itself() {
                let why = format!("{} knows of epoch {}, in which another node led", other.name, status.epoch);
                return Err(self.cannot(&why).into());
            }
            let promised = status.lineage.as_ref().and_then(|lineage| lineage.promised);
            let by_another = promised.filter(|promised| promised.copy != copy).map(|promised| promised.epoch);
            if how == How::ByItself && by_another > Some(latest) {
                return Err(self.cannot(&format!("{} has just promised an epoch to another node", other.name)).into());
            }
            taken = taken.max(status.epoch).max(by_another.unwrap_or(Epoch::NONE));
        }
        let candidate = |epoch| Candidacy { epoch, copy, master: Incarnation::new(random::bits_64()) };
        let promised = lineage.promised.map_or(Epoch::NONE, |promised| promised.epoch);
        if how == How::Forced {
            return Ok(candidate(taken.max(promised).without_promises()));
        }
        match lineage.promised {
            Some(own) if own.copy == copy && own.epoch > taken => Ok(own),
            Some(other) if other.copy != copy && other.epoch > latest && how == How::ByItself => {
                Err(self.cannot("it has just promised an epoch to another node").into())
            }
            _ => Ok(candidate(taken.max(promised).next())),
        }
    }

    fn own_promise(&self, secondary: &Secondary, request: &PromiseRequest) -> Result<Promise, Failed> {
        match self.promise(secondary, request)? {
            Ok(promise) => Ok(promise),
            Err(why) => Err(self.cannot(&format!("it {why}")).into()),
        }
    }

    /// The answer of a secondary of this process to a candidate. A promise names the refused ids up to the high watermark,
    /// too.
    pub(super) fn promise(
        &self,
        secondary: &Secondary,
        request: &PromiseRequest,
    ) -> Result<Result<Promise, NotPromised>, String> {
        match secondary.request(Request::Promise(*request))? {
            Reply::Promised(mut promise) => {
                promise.base = self.store.base();
                let after = request.after.max(promise.base.id);
                let refused = self.store.refused(after, promise.decided).map_err(|error| error.to_string())?;
                promise.refused.extend(refused);
                Ok(Ok(promise))
            }
            Reply::NotPromised(why) => Ok(Err(why)),
            other => Err(format!("a request for a promise was answered with {other:?}")),
        }
    }

    /// Copies the best log, begins the epoch, and leads.
    fn begin(
        &self,
        secondary: &Arc<Secondary>,
        others: &[Other],
        (candidacy, is_forced): (Candidacy, bool),
        consent: &Consent,
        mut beginning: Beginning,
    ) -> Result<Elected, Failed> {
        let decided = beginning.adopts_after(secondary.view().status.decided);
        let is_held = beginning.is_held_by(candidacy.copy);
        let holder = others.iter().find(|other| other.copy == beginning.best);
        let slots = match holder {
            None => read_all(&*self.store, decided).map_err(|error| error.to_string())?,
            Some(holder) => {
                let epoch = consent.promises[&holder.copy].history.latest();
                self.copy_from(holder, (candidacy, epoch), (decided, beginning.last))?
            }
        };
        beginning.make_writes_whole(&slots);
        if !is_held {
            let adoption = beginning.adoption(candidacy, &consent.promises[&beginning.best], slots);
            self.ask_itself(secondary, Request::Adopt(adoption))?;
        }
        if is_forced {
            beginning = beginning.by_force(|copy| consent.promises.contains_key(&copy));
        }
        let refused: Vec<u64> = beginning.refused.iter().filter(|id| **id > decided).map(|id| id.get()).collect();
        let quorum = consent.promises.keys().filter(|copy| beginning.roster.is_voter(**copy)).count();
        let (last, voters) = (beginning.last, beginning.roster.voters().number());
        self.ask_itself(secondary, Request::Begin(candidacy, beginning))?;
        self.lead(secondary)?;
        let names = |other: &&Other| consent.promises.contains_key(&other.copy);
        let with = others.iter().filter(names).map(|other| other.name.to_string());
        log::info!("{} leads in epoch {}: {quorum} of {voters} voters have promised it", self.name(), candidacy.epoch);
        Ok(Elected {
            leader: self.name().to_owned(),
            epoch: candidacy.epoch.get(),
            in_doubt: last.since(decided) - refused.len() as u64,
            refused,
            copied_from: holder.map(|holder| holder.name.to_string()),
            with: with.chain([self.name().to_owned()]).collect(),
            without: consent.without.clone(),
            absent: consent.absent.clone(),
            removed: Vec::new(),
            not_removed: BTreeMap::new(),
            kept: if is_forced { FORCED.to_owned() } else { kept(quorum, voters) },
        })
    }

    /// Gives a request to the secondary of this process that has to be granted for it to lead.
    fn ask_itself(&self, secondary: &Secondary, request: Request) -> Result<(), Failed> {
        match secondary.request(request)? {
            Reply::NotPromised(why) => Err(self.cannot(&format!("it {why}")).into()),
            _ => Ok(()),
        }
    }

    /// Reads the best log, from a node that keeps its promise, and enters no epoch, meanwhile.
    fn copy_from(
        &self,
        holder: &Other,
        (candidacy, epoch): (Candidacy, Epoch),
        (after, through): (Id, Id),
    ) -> Result<Vec<Slot>, Failed> {
        if through.since(after) > COPIED_MAX {
            let ids = id_range(after, through);
            let why = format!("it lacks {ids}, which {} holds: promote that one", holder.name);
            return Err(self.cannot(&why).into());
        }
        let mut slots: Vec<Slot> = Vec::new();
        loop {
            let last = slots.last().map_or(after, Slot::id);
            if last >= through {
                break;
            }
            let failed =
                |why: String| Failed::from(self.cannot(&format!("{}, whose log it needs, {why}", holder.name)));
            let body = self.peers.slots(&holder.url, last).map_err(|error| failed(error.to_string()))?;
            if body.promised() != Some(candidacy) || body.epoch() != epoch {
                return Err(failed("has promised an epoch to another node, or entered one, since".to_owned()));
            }
            let more = body.into_slots();
            if more.is_empty() {
                return Err(failed(format!("gave its log only up to id {last}, and had said {through}")));
            }
            slots.extend(more);
        }
        slots.retain(|slot| slot.id() <= through);
        Ok(slots)
    }

    /// Why this node does not lead, if only these copies promise it the epoch.
    fn too_few(
        &self,
        roster: &Roster,
        promises: impl Fn(CopyId) -> bool,
        without: &BTreeMap<String, String>,
    ) -> String {
        let voters = roster.voters().number();
        let needed = if promises(roster.master()) { voters / 2 + 1 } else { voters.div_ceil(2) };
        let missing: Vec<String> = without.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        self.cannot(&format!(
            "{} of {voters} voters promise it the epoch, and {needed} are needed; {}",
            roster.voters().iter().filter(|&copy| promises(copy)).count(),
            missing.join("; ")
        ))
    }

    fn cannot(&self, why: &str) -> String {
        format!("{} cannot lead: {why}", self.name())
    }
}

/// Why a candidate does not lead.
enum Failed {
    /// Another candidate or master came first, up to this epoch.
    Overtaken(Epoch, String),
    /// Too few nodes have answered.
    TooFew(String),
    For(String),
}

impl From<String> for Failed {
    fn from(why: String) -> Failed {
        Failed::For(why)
    }
}

/// What became of the question for a promise.
fn gather(
    others: &[Other],
    states: &Answers<State>,
    mut answers: Answers<Promised>,
    own: (CopyId, Promise),
) -> Consent {
    let mut consent = Consent { promises: [own].into(), without: BTreeMap::new(), absent: Vec::new(), later: None };
    for other in others {
        let why = match (answers.remove(&other.copy), &states[&other.copy]) {
            (Some(Ok(Ok((copy, promise)))), _) => {
                consent.promises.insert(copy, promise);
                continue;
            }
            (Some(Ok(Err(why))), _) => {
                let later = match why {
                    NotPromised::Promised(Candidacy { epoch, .. }) | NotPromised::Entered(epoch) => Some(epoch),
                    NotPromised::OtherLog(_) | NotPromised::Diverged(_) => None,
                };
                consent.later = consent.later.max(later);
                why.to_string()
            }
            (Some(Err(error)), _) => {
                consent.absent.push(other.name.to_string());
                error.to_string()
            }
            (None, Err(error)) => {
                consent.absent.push(other.name.to_string());
                error.to_string()
            }
            (None, Ok(_)) => "was not asked".to_owned(),
        };
        consent.without.insert(other.name.to_string(), why);
    }
    consent
}

/// The slots of a store after an id.
fn read_all(store: &dyn Store, after: Id) -> Result<Vec<Slot>, StoreError> {
    let mut slots: Vec<Slot> = Vec::new();
    loop {
        let last = slots.last().map_or(after, Slot::id);
        let more = store.read(last, Id::MAX, READ_LIMIT)?;
        if more.is_empty() {
            return Ok(slots);
        }
        slots.extend(more);
    }
}

/// What a promotion keeps, for people.
fn kept(promising: usize, voters: usize) -> String {
    let fewest = (voters + 1).saturating_sub(promising);
    let copies = if fewest <= 1 { "1 copy".to_owned() } else { format!("{fewest} copies") };
    format!(
        "every message acknowledged with {copies} or more is kept, and so is every refusal; one acknowledged with fewer is \
         kept if it was copied in time"
    )
}
