//! Carries out what a [`Follower`](crate::protocol::Follower) asks its store for.

use super::{Store, StoreError};
use crate::protocol::follower::{Effect, Event};
use crate::protocol::{Change, Incarnation};

/// Carries out an effect, each change by `change`, in the order given. Gives what the follower has to know then; after an
/// error that is [`Event::StoreFailed`]. A recovery begins a new `incarnation`.
///
/// # Errors
/// If the store fails. It may hold a part of the changes.
pub fn carry_out(
    store: &dyn Store,
    effect: Effect,
    incarnation: impl FnOnce() -> Incarnation,
    mut change: impl FnMut(&Change) -> Result<(), StoreError>,
) -> Result<Event, StoreError> {
    match effect {
        Effect::LookUp(ids) => {
            let base = store.base().id;
            let held = ids.into_iter().filter(|&id| id > base).filter_map(|id| store.get(id).transpose());
            Ok(Event::LookedUp(held.collect::<Result<_, _>>()?))
        }
        Effect::Store(changes) => {
            changes.iter().try_for_each(&mut change)?;
            Ok(Event::Stored)
        }
        Effect::Note(watermark) => {
            store.note_watermark(watermark)?;
            Ok(Event::WatermarkNoted)
        }
        Effect::Recover => Ok(Event::Recovered(incarnation(), store.found()?)),
    }
}
