//! One call to a secondary: what it carries, and what came of it.

use super::effects::Context;
use super::member::Flight;
use super::shared::Master;
use super::state::State;
use super::timeline::CallMade;
use crate::peer::PeerError;
use crate::protocol::{Acknowledgement, CallFailure, Dispatch, Event, Id, MemberId, Slot};
use crate::store::{ReadLimit, StoreError};
use crate::wire::address::NodeUrl;
use crate::wire::node::{CallText, EntriesText, Envelope, write_call};
use std::time::Instant;

/// How much one call carries when it is read from the store.
pub(super) const CALL_LIMIT: ReadLimit = ReadLimit { slots_max: 4_096, bytes_max: 1 << 20 };

/// The entries of a round as JSON, made once for all secondaries that get the same.
pub(super) struct SharedText {
    pub(super) after: Id,
    pub(super) text: EntriesText,
}

impl Master {
    /// Makes a call and its follow-ups, until the secondary has all that the dispatch is for.
    pub(super) fn call_through(&self, dispatch: Dispatch, shared: Option<&SharedText>) {
        let mut next = Some(dispatch);
        while let Some(dispatch) = next {
            let (event, context) = self.call(dispatch, shared);
            let mut effects = self.begin_step(event, context);
            next = effects.calls.pop();
            self.perform(effects);
        }
    }

    /// Makes one call, and gives what came of it.
    fn call(&self, dispatch: Dispatch, shared: Option<&SharedText>) -> (Event, Context) {
        match self.try_call(&dispatch, shared) {
            Ok((sent, acknowledgement, call)) => {
                let context = Context { call: (sent > dispatch.after).then_some(call), ..Context::default() };
                (Event::Acknowledged { dispatch, sent, acknowledgement }, context)
            }
            Err(error) => {
                (Event::CallFailed { dispatch, failure: failure_of(&error) }, Context::failed(error.to_string()))
            }
        }
    }

    fn try_call(
        &self,
        dispatch: &Dispatch,
        shared: Option<&SharedText>,
    ) -> Result<(Id, Acknowledgement, CallMade), PeerError> {
        let node = self.address_of(dispatch.member).ok_or(PeerError::Restarted)?;
        let from_store;
        let (through, text) = match shared.filter(|shared| !dispatch.is_from_store() && shared.after == dispatch.after)
        {
            Some(shared) => (dispatch.carries, &shared.text),
            None => {
                let (through, text) = self.read_carried(dispatch)?;
                from_store = text;
                (through, &from_store)
            }
        };
        let flight = Flight { after: dispatch.after, through, sent: Instant::now() };
        let call = self.write(dispatch, flight, text)?;
        let answer = self.peers.replicate(&node, &call);
        self.lock().landed(dispatch.member, flight);
        let (acknowledgement, took) = answer?;
        Ok((through, acknowledgement, CallMade { sent: flight.sent, took, attempts: 1 + dispatch.resends }))
    }

    /// What a call carries that does not share the entries of a round.
    fn read_carried(&self, dispatch: &Dispatch) -> Result<(Id, EntriesText), PeerError> {
        if !dispatch.is_from_store() {
            return Ok((dispatch.carries, EntriesText::new(&dispatch.entries)));
        }
        let slots = self.store.read(dispatch.after, dispatch.carries, CALL_LIMIT);
        let slots = slots.map_err(|error| own_log_failed(&error))?;
        let through = slots.last().map_or(dispatch.after, Slot::id);
        let entries: Vec<_> = slots.into_iter().filter_map(Slot::into_entry).collect();
        Ok((through, EntriesText::new(&entries)))
    }

    fn write(&self, dispatch: &Dispatch, flight: Flight, entries: &EntriesText) -> Result<CallText, PeerError> {
        let Flight { after, through, .. } = flight;
        let refused = self.store.refused(dispatch.known_decided.min(after), through);
        let refused = refused.map_err(|error| own_log_failed(&error))?;
        let restored = self.store.entries(&dispatch.restores).map_err(|error| own_log_failed(&error))?;
        let envelope = Envelope { to: dispatch.incarnation, master_port: self.port };
        let mut state = self.lock();
        if let Some(member) = state.members.get_mut(&dispatch.member) {
            member.flights.push(flight);
        }
        let call = state.leader.call(dispatch, through, Vec::new(), refused, restored);
        drop(state);
        Ok(write_call(envelope, &call, entries))
    }

    pub(super) fn address_of(&self, member: MemberId) -> Option<NodeUrl> {
        self.lock().members.get(&member).map(|member| member.url.clone())
    }

    /// Sends a secondary its removal notice. Gives whether it arrived, or is not needed because the process has started
    /// anew and is not admitted.
    pub(super) fn tell_removal(&self, member: MemberId) -> bool {
        let mut effects = self.begin_step(Event::Leaving(member), Context::default());
        let notice = effects.calls.pop().ok_or_else(|| PeerError::Unanswered("has not answered yet".to_owned()));
        self.perform(effects);
        let Some(node) = self.address_of(member) else { return false };
        let told = notice.and_then(|notice| {
            let flight = Flight { after: notice.after, through: notice.carries, sent: Instant::now() };
            self.peers.tell(&node, &self.write(&notice, flight, &EntriesText::new(&[]))?)
        });
        match told {
            Ok(()) | Err(PeerError::Restarted) => true,
            Err(error) => {
                log::warn!(
                    "the removal notice did not reach {node}: it {error}; stop that node, or its readers may get an \
                     older state"
                );
                false
            }
        }
    }
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
}

/// What the failure of a call means to the leader.
pub(super) fn failure_of(error: &PeerError) -> CallFailure {
    match error {
        PeerError::Refused(refusal) => CallFailure::Refused(refusal.clone()),
        PeerError::Restarted => CallFailure::Restarted,
        PeerError::Unanswered(_) | PeerError::Misunderstood(_) => CallFailure::Silent,
        PeerError::Unable(_) => CallFailure::Failed,
    }
}

fn own_log_failed(error: &StoreError) -> PeerError {
    PeerError::Unable(format!("the master cannot read its own log: {error}"))
}
