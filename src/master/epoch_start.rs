//! How an epoch begins.
//!
//! The master raises its epoch at every start, durably, before the first entry of that epoch. Before that it asks the
//! secondaries that it can reach what they hold: entries of its latest epoch beyond its own end may be all that is left
//! of a last batch that its own disk lost. It takes those over as pending. They are undecided, so that promises
//! nothing.
//!
//! A master that was restored from a backup does not know that other nodes may lead. If one of them does, it begins
//! nothing. Otherwise its epoch is far beyond those that they can have begun by promises meanwhile.

use crate::node::ids::id_range;
use crate::peer::{PeerError, Peers, ask_each};
use crate::process::random;
use crate::protocol::{
    Candidacy, Epoch, EpochHistory, Id, Incarnation, Leader, LeaderSettings, Lineage, LogId, ReplicaStatus, Roster,
    Slot,
};
use crate::store::{Identity, Store, StoreError};
use crate::wire::address::NodeUrl;
use crate::wire::node::StatusBody;

/// What a secondary says of itself.
struct State {
    name: String,
    status: ReplicaStatus,
    leads: bool,
}

/// Begins an epoch on what the store holds; on an empty one, a new log.
pub(super) fn begin(
    store: &dyn Store,
    peers: &Peers,
    secondaries: &[NodeUrl],
    settings: LeaderSettings,
) -> Result<Leader, StoreError> {
    let known = store.identity()?;
    if known.is_none() && store.last() > Id::ZERO {
        return Err(StoreError::new("the data directory holds messages of another master, as a secondary's"));
    }
    let states = match &known {
        Some(known) => states_of(secondaries, peers, known.lineage.log_id),
        None => Vec::new(),
    };
    if let Some(known) = &known {
        why_not_alone(&states).map_or(Ok(()), |why| Err(StoreError::new(why)))?;
        take_over(store, peers, &states, known);
    }
    let (log_id, mut history, promised, members) = match known {
        Some(Identity { lineage, members }) => (lineage.log_id, lineage.history, lineage.promised, members),
        None => (LogId::new(random::bits_128()), EpochHistory::default(), None, Vec::new()),
    };
    let (last, master) = (store.last(), Incarnation::new(random::bits_64()));
    history.begin(next_epoch(&history, promised, &states), last.next(), master);
    let roster = Roster::fixed(store.copy_id(), history.latest());
    let lineage = Lineage { log_id, history, roster, promised };
    store.set_identity(&Identity { lineage, members })?;
    lead(store, settings)
}

/// What the secondaries hold that answer, and belong to this log.
fn states_of<'a>(secondaries: &'a [NodeUrl], peers: &Peers, log_id: LogId) -> Vec<(&'a NodeUrl, State)> {
    let answers = ask_each(secondaries, |url| peers.state_in(url, log_id, Epoch::NONE));
    let state = |body: StatusBody| State { leads: body.leads, name: body.server_id.clone(), status: body.status() };
    let states = secondaries.iter().zip(answers).filter_map(|(url, answer)| Some((url, state(answer.ok()?))));
    states.filter(|(_, state)| state.status.log_id == Some(log_id)).collect()
}

/// Why this node must not begin an epoch: another node leads.
fn why_not_alone(states: &[(&NodeUrl, State)]) -> Option<String> {
    let (url, State { name, status, .. }) = states.iter().find(|(_, state)| state.leads)?;
    Some(format!(
        "{name} at {url} leads this log, in epoch {}. To let this node follow it, start it with an empty data directory. To \
         go on with this directory instead, stop {name} first: what it took and this directory lacks is lost",
        status.epoch
    ))
}

/// The epoch after all that this node and the secondaries know of. Where other nodes may lead, it is one that they cannot
/// begin without this node.
fn next_epoch(history: &EpochHistory, promised: Option<Candidacy>, states: &[(&NodeUrl, State)]) -> Epoch {
    let lineages = || states.iter().filter_map(|(_, state)| state.status.lineage.as_ref());
    let promises = promised.into_iter().chain(lineages().filter_map(|lineage| lineage.promised));
    let entered = states.iter().map(|(_, state)| state.status.epoch);
    let latest = promises.map(|promised| promised.epoch).chain(entered).fold(history.latest(), Epoch::max);
    let others_may_lead = lineages().any(|lineage| lineage.roster.allows_promotion());
    if others_may_lead { latest.without_promises() } else { latest.next() }
}

/// Leads in the latest epoch of the store, which this node has begun.
pub(super) fn lead(store: &dyn Store, settings: LeaderSettings) -> Result<Leader, StoreError> {
    let known = store.identity()?.ok_or_else(|| StoreError::new("the data directory belongs to no log"))?;
    let Lineage { log_id, history, roster, promised } = known.lineage;
    if promised.is_some_and(|promised| promised.epoch > history.latest()) {
        return Err(StoreError::new("this node has promised a later epoch to another one"));
    }
    let begun = history.master_of(history.latest()).filter(|_| roster.master() == store.copy_id());
    let master = begun.ok_or_else(|| StoreError::new("another node leads in the latest epoch"))?;
    let (found, keyed_writes) = (store.found_log()?, store.keyed_writes(settings.keys_max)?);
    let leader = Leader::begin(settings, log_id, master, history, roster, found, keyed_writes);
    announce(&leader);
    Ok(leader)
}

fn announce(leader: &Leader) {
    let (log_id, epoch, last, decided) = (leader.log_id(), leader.epoch(), leader.last(), leader.decided());
    if epoch == Epoch::NONE.next() {
        log::info!("log {log_id} begins, in epoch {epoch}");
    } else {
        log::info!("log {log_id} goes on in epoch {epoch}: it has ids up to {last}, decided up to {decided}");
    }
    if leader.open() > 0 {
        log::info!(
            "{} are undecided; they may have been acknowledged and are replicated again",
            id_range(decided, last)
        );
    }
}

/// Takes over what secondaries hold of the latest epoch beyond the end of the store.
fn take_over(store: &dyn Store, peers: &Peers, states: &[(&NodeUrl, State)], known: &Identity) {
    for (url, State { status, .. }) in states {
        if status.continues(known.lineage.log_id, &known.lineage.history, store.last()) {
            log::warn!(
                "{} are taken over from {url}: they are of this master's latest epoch, and missing here",
                id_range(store.last(), status.last)
            );
            if let Err(error) = copy_from(store, peers, url, status.last) {
                log::warn!("nothing is taken over from {url}: it {error}");
            }
        }
    }
}

/// Copies all of it or nothing: a write of several messages must not be divided.
fn copy_from(store: &dyn Store, peers: &Peers, url: &NodeUrl, through: Id) -> Result<(), PeerError> {
    let mut slots: Vec<Slot> = Vec::new();
    loop {
        let last = slots.last().map_or(store.last(), Slot::id);
        if last >= through {
            break;
        }
        let more = peers.slots(url, last)?.into_slots();
        if more.is_empty() {
            return Err(PeerError::Misunderstood(format!("gave its log only up to id {last}, and had said {through}")));
        }
        slots.extend(more);
    }
    // The secondary may have received more since it reported, and that may end within a write.
    slots.retain(|slot| slot.id() <= through);
    store.append(&slots).map_err(|error| PeerError::Misunderstood(error.to_string()))
}
