//! Brings one secondary what it lacks.

use super::rounds::Round;
use super::timeline::{CallMade, Flight};
use super::{Master, State};
use crate::node::ids::id_range;
use crate::node::logging::Step;
use crate::peer::PeerError;
use crate::protocol::{Dispatch, Id, MemberId, MemberView, Refusal, Slot, Standing};
use crate::store::{ReadLimit, StoreError};
use crate::wire::address::NodeUrl;
use crate::wire::node::{CallText, EntriesText, Envelope, write_call};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

/// How much one call carries when it is read from the store.
pub(super) const CALL_LIMIT: ReadLimit = ReadLimit { slots_max: 4_096, bytes_max: 1 << 20 };

/// A secondary that lacks an earlier call is sent it so often; each time it must have got further.
const RESENDS_MAX: usize = 3;

impl Master {
    /// Sends a secondary its part of a round. If that fails, the secondary leaves the rounds.
    pub(super) fn deliver_round(&self, dispatch: &Dispatch, round: &Round) {
        if let Err(error) = self.deliver(dispatch, Some(round)) {
            self.lose(dispatch.member, dispatch.turn, &error);
        }
    }

    /// Sends everything from `dispatch.after` through `dispatch.through`, in as many calls as it takes, and reports each
    /// acknowledgement to the ledger.
    pub(super) fn deliver(&self, dispatch: &Dispatch, round: Option<&Round>) -> Result<(), PeerError> {
        let Some(node) = self.address_of(dispatch) else { return Err(PeerError::Restarted) };
        let mut after = dispatch.after;
        let mut resends = 0;
        loop {
            let attempts = 1 + resends as u32;
            let (through, sent) = self.deliver_call(dispatch, round, after, attempts, &node);
            match sent {
                Ok(()) => after = through,
                Err(PeerError::Refused(Refusal::Gap { holds })) if holds < after && resends < RESENDS_MAX => {
                    log::info!("{node} holds the log only up to id {holds}; sent again from there");
                    after = holds;
                    resends += 1;
                }
                Err(error) => return Err(error),
            }
            if after >= dispatch.through {
                return Ok(());
            }
        }
    }

    fn deliver_call(
        &self,
        dispatch: &Dispatch,
        round: Option<&Round>,
        after: Id,
        attempts: u32,
        node: &NodeUrl,
    ) -> (Id, Result<(), PeerError>) {
        let shared = round.filter(|round| round.after == after);
        let from_store;
        let (through, text) = match shared {
            Some(round) => (dispatch.through, &round.text),
            None => match self.read_call(dispatch, round, after) {
                Ok((through, text)) => {
                    from_store = text;
                    (through, &from_store)
                }
                Err(error) => return (after, Err(error)),
            },
        };
        (through, self.call(dispatch, node, (after, through), text, attempts))
    }

    /// Reads from the store what a secondary lacks, up to where the round's own entries begin.
    fn read_call(&self, dispatch: &Dispatch, round: Option<&Round>, after: Id) -> Result<(Id, EntriesText), PeerError> {
        let through = round.map_or(dispatch.through, |round| round.after.min(dispatch.through));
        let slots = self
            .wait_for_store(through)
            .and_then(|()| self.store.read(after, through, CALL_LIMIT))
            .map_err(|error| own_log_failed(&error))?;
        let through = slots.last().map_or(after, Slot::id);
        let entries: Vec<_> = slots.into_iter().filter_map(Slot::into_entry).collect();
        Ok((through, EntriesText::new(&entries)))
    }

    fn call(
        &self,
        dispatch: &Dispatch,
        node: &NodeUrl,
        (after, through): (Id, Id),
        text: &EntriesText,
        attempts: u32,
    ) -> Result<(), PeerError> {
        let sent = Instant::now();
        let flight = Flight { after, through, sent };
        let answer = self.peers.replicate(node, &self.write(dispatch, flight, text)?);
        let mut state = self.lock();
        state.landed(dispatch.member, flight);
        let (acknowledgement, took) = answer?;
        let before = state.durable_of(dispatch);
        let (counted, effects) = state.ledger.acknowledged(dispatch.member, acknowledgement);
        if !counted {
            return Err(PeerError::Restarted);
        }
        let call = CallMade { sent, took, attempts };
        state.note_acknowledgement(dispatch.member, before, acknowledgement.durable, Some(call));
        let name = state.name_of(dispatch);
        let took = sent.elapsed();
        if through > after {
            self.metrics.acknowledged(&name, took);
            let step = Step::Acknowledged(Arc::clone(&name));
            // While the state is locked, which waits for nothing: so that it comes before the commit that follows from it.
            self.log.writes().tell(step, (after, through), Some(took), || {
                format!("{} acknowledged by {name} after {} ms", id_range(after, through), took.as_millis())
            });
        }
        self.carry_out(state, effects);
        Ok(())
    }

    fn write(&self, dispatch: &Dispatch, flight: Flight, entries: &EntriesText) -> Result<CallText, PeerError> {
        let Flight { after, through, .. } = flight;
        let refused = self.store.refused(dispatch.told.min(after), through).map_err(|error| own_log_failed(&error))?;
        let envelope = Envelope { to: dispatch.incarnation, master_port: self.port };
        let mut state = self.lock();
        if let Some(member) = state.members.get_mut(&dispatch.member) {
            member.flights.push(flight);
        }
        let call = state.ledger.call(dispatch, (after, through), Vec::new(), refused);
        drop(state);
        Ok(write_call(envelope, &call, entries))
    }

    fn address_of(&self, dispatch: &Dispatch) -> Option<NodeUrl> {
        self.lock().members.get(&dispatch.member).map(|member| member.url.clone())
    }

    /// Tells a secondary that it is about to be removed. Gives whether it knows; one that was started anew is not admitted
    /// anyway.
    pub(super) fn take_leave(&self, mut state: MutexGuard<'_, State>, id: MemberId) -> bool {
        let farewell = state.ledger.dismiss(id);
        let Some(node) = state.members.get(&id).map(|member| member.url.clone()) else { return false };
        drop(state);
        let farewell = farewell.ok_or_else(|| PeerError::Unanswered("has not answered yet".to_owned()));
        let told = farewell.and_then(|farewell| {
            let flight = Flight { after: farewell.after, through: farewell.through, sent: Instant::now() };
            self.peers.tell(&node, &self.write(&farewell, flight, &EntriesText::new(&[]))?)
        });
        match told {
            Ok(()) | Err(PeerError::Restarted) => true,
            Err(error) => {
                log::warn!(
                    "{node} could not be told that it is removed: it {error}; stop it, or its readers see old messages"
                );
                false
            }
        }
    }

    /// A secondary did not acknowledge, or cannot: it leaves the rounds, and its keeper looks after it. What concerns an
    /// earlier turn says nothing about this one: a call to a node that was cut off may fail long after it came back.
    pub(super) fn lose(&self, id: MemberId, turn: u64, error: &PeerError) {
        let mut state = self.lock();
        let current = state.ledger.member(id);
        let takes_part = |view: &MemberView| view.turn == turn && view.standing != Standing::Unreachable;
        let Some(current) = current.filter(takes_part) else { return };
        if let Some(member) = state.members.get_mut(&id) {
            member.set_detail(error.to_string());
            log::warn!("{} ({}) leaves the rounds: {error}", member.name, member.url);
            if error.is_silence() {
                member.missed(error);
            }
            member.poke();
        }
        state.note_loss(id, current.durable, &error.to_string());
        if is_overtaken(error) {
            drop(state);
            self.halt_if_overtaken(error, id);
            return;
        }
        let effects = state.ledger.lost(id);
        self.carry_out(state, effects);
    }

    /// Stops writing if a secondary knows better who may write. What is in flight then is not refused: its fate is not
    /// this master's to decide any more.
    pub(super) fn halt_if_overtaken(&self, error: &PeerError, member: MemberId) {
        if is_overtaken(error) {
            let name = self.lock().members.get(&member).map_or_else(String::new, |member| member.name.to_string());
            self.halt(&format!("{name} {error}"));
        }
    }
}

/// Whether a secondary knows better who may write.
pub(super) fn is_overtaken(error: &PeerError) -> bool {
    matches!(
        error,
        PeerError::Refused(Refusal::Fenced { .. } | Refusal::MasterBehind { .. } | Refusal::OtherReign { .. })
    )
}

impl State {
    /// A call has returned.
    fn landed(&mut self, member: MemberId, flight: Flight) {
        if let Some(member) = self.members.get_mut(&member)
            && let Some(place) = member.flights.iter().position(|other| *other == flight)
        {
            member.flights.swap_remove(place);
        }
    }

    fn durable_of(&self, dispatch: &Dispatch) -> Id {
        self.ledger.member(dispatch.member).map_or(Id::ZERO, |view| view.durable)
    }

    fn name_of(&self, dispatch: &Dispatch) -> Arc<str> {
        self.members
            .get(&dispatch.member)
            .map_or_else(|| "a removed secondary".into(), |member| Arc::clone(&member.name))
    }
}

fn own_log_failed(error: &StoreError) -> PeerError {
    PeerError::Misunderstood(format!("the master cannot read its own log: {error}"))
}
