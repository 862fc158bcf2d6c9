//! How a reign begins.
//!
//! The master raises its epoch at every start, durably, before the first entry of that reign. Before that it asks the
//! secondaries that it can reach what they hold: entries of its latest epoch beyond its own end may be all that is left of
//! a last batch that its own disk lost. It takes those over, as pending. Nobody decided them, so that promises nothing.

use crate::node::ids::id_range;
use crate::peer::{PeerError, Peers};
use crate::process::random;
use crate::protocol::{Epoch, EpochHistory, Id, Incarnation, Ledger, LogId, Slot};
use crate::store::{Identity, Store, StoreError};
use crate::wire::address::NodeUrl;

/// Begins a reign on what the store holds; on an empty one, a new log.
pub(super) fn begin(store: &dyn Store, peers: &Peers, secondaries: &[NodeUrl]) -> Result<Ledger, StoreError> {
    let known = store.identity()?;
    if known.is_none() && store.last() > Id::ZERO {
        return Err(StoreError::new("the data directory holds messages of another master, as a secondary's"));
    }
    if let Some(known) = &known {
        take_over(store, peers, secondaries, known);
    }
    let (log_id, mut history, members) = match known {
        Some(known) => (known.log_id, known.history, known.members),
        None => (LogId::new(random::bits_128()), EpochHistory::default(), Vec::new()),
    };
    let (last, master) = (store.last(), Incarnation::new(random::bits_64()));
    history.begin(history.latest().next(), last.next(), master);
    store.set_identity(&Identity { log_id, master, history: history.clone(), members })?;
    let ledger = Ledger::begin(log_id, master, history, store.found_log()?);
    announce(&ledger);
    Ok(ledger)
}

fn announce(ledger: &Ledger) {
    let (log_id, epoch, last, decided) = (ledger.log_id(), ledger.epoch(), ledger.last(), ledger.decided());
    if epoch == Epoch::NONE.next() {
        log::info!("log {log_id} begins, in epoch {epoch}");
    } else {
        log::info!("log {log_id} goes on in epoch {epoch}: it has ids up to {last}, decided up to {decided}");
    }
    if ledger.open() > 0 {
        log::info!(
            "{} have no fate on record; they may have been acknowledged and are replicated again",
            id_range(decided, last)
        );
    }
}

/// Takes over what secondaries hold of the latest epoch beyond the end of the store.
fn take_over(store: &dyn Store, peers: &Peers, secondaries: &[NodeUrl], known: &Identity) {
    let answers = crossbeam::thread::scope(|scope| {
        let asked: Vec<_> = secondaries.iter().map(|url| scope.spawn(move |_| (url, peers.state(url)))).collect();
        asked.into_iter().filter_map(|asked| asked.join().ok()).collect::<Vec<_>>()
    })
    .unwrap_or_default();
    for (url, answer) in answers {
        let Ok(holdings) = answer.map(|body| body.holdings()) else { continue };
        if holdings.continues(known.log_id, &known.history, store.last()) {
            log::warn!(
                "{} are taken over from {url}: they are of this master's latest epoch, and missing here",
                id_range(store.last(), holdings.last)
            );
            if let Err(error) = copy_from(store, peers, url, holdings.last) {
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
        let more = peers.slots(url, last)?;
        if more.is_empty() {
            return Err(PeerError::Misunderstood(format!("gave its log only up to id {last}, and had said {through}")));
        }
        slots.extend(more);
    }
    // It may have been given more since it was asked: where that ends, a write may be cut.
    slots.retain(|slot| slot.id() <= through);
    store.append(&slots).map_err(|error| PeerError::Misunderstood(error.to_string()))
}
