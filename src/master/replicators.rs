//! A thread for each secondary that asks it for its state and brings it up to date, as the leader wants it.

use super::calls::failure_of;
use super::effects::Context;
use super::member::Job;
use super::shared::Master;
use crate::peer::PeerError;
use crate::process::threads;
use crate::protocol::{Epoch, Event, Id, MemberId, Refusal, ReplicaStatus};
use crate::wire::server_id;
use crossbeam::channel::Receiver;
use std::sync::Arc;

impl Master {
    /// Starts the thread of a secondary.
    pub(super) fn start_replicator(self: &Arc<Master>, member: MemberId, jobs: Receiver<Job>) {
        let master = Arc::clone(self);
        // The thread ends when the member is removed, and with it the sender of jobs.
        let run = move || jobs.iter().for_each(|job| master.do_job(member, job));
        if let Err(error) = threads::start_needed("replicator", run) {
            let name = self.lock().name_of(member);
            log::error!("cannot start the replication thread of {name}: {error}; restart this master");
        }
    }

    fn do_job(&self, member: MemberId, job: Job) {
        match job {
            Job::Call(dispatch) => self.call_through(dispatch, None),
            Job::Probe => {
                let (report, why) = match self.ask(member) {
                    Ok(status) => {
                        let why = self.why_another_log(&status);
                        (Ok(status), why)
                    }
                    Err(error) => (Err(failure_of(&error)), Some(error.to_string())),
                };
                self.step(Event::Reported { member, report }, Context { why, ..Context::default() });
            }
        }
    }

    /// Asks a secondary what it holds, and records what it says of itself.
    fn ask(&self, member: MemberId) -> Result<ReplicaStatus, PeerError> {
        let url = self.address_of(member).ok_or(PeerError::Restarted)?;
        let (log_id, epoch) = self.log_and_epoch();
        let answer = self.peers.state_in(&url, log_id, epoch);
        let mut state = self.lock();
        let said = answer.as_ref().ok();
        if let Some(member) = state.members.get_mut(&member) {
            member.fault = said.and_then(|body| body.fault.clone());
            member.is_full = said.is_some_and(|body| body.full);
        }
        let mut body = answer?;
        if let Some(why) = body.unable.take() {
            return Err(PeerError::Unable(why));
        }
        let name = server_id::parse(&body.server_id).map_err(PeerError::Misunderstood)?;
        let status = body.status();
        if let Some(twin) = state.namesake_of(member, &name, status.copy) {
            return Err(PeerError::Misunderstood(format!(
                "calls itself {name}, as the secondary at {} does; give each node a name of its own",
                twin.url
            )));
        }
        let mut is_renamed = false;
        if let Some(member) = state.members.get_mut(&member) {
            is_renamed = member.rename(&name, &self.metrics);
            member.delay_ms = body.delay_ms;
        }
        drop(state);
        if is_renamed {
            self.step(Event::Renamed, Context::default());
        }
        Ok(status)
    }

    /// What a master reports that began a log while a secondary holds another one: the master may have lost its own.
    fn why_another_log(&self, status: &ReplicaStatus) -> Option<String> {
        let state = self.lock();
        let Err(Refusal::OtherLog { holds }) = state.leader.may_take_part(status) else { return None };
        let (own, last) = (state.leader.log_id(), status.last);
        (state.leader.epoch() == Epoch::NONE.next() && last > Id::ZERO).then(|| {
            format!(
                "belongs to another log, {holds}, and has ids up to {last}; but this master found its data directory empty \
                 and began the new log {own}. If the master has lost its data, stop it, and make it anew from the secondary \
                 with \"master restore\"; if the secondary was left from another cluster, stop that and run \
                 \"secondary discard\""
            )
        })
    }
}
