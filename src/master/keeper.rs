//! One thread per secondary that repairs what rounds cannot: it asks a lost secondary for its state, brings it up to
//! date, admits it to the rounds, and from then on makes sure that it is still the same process.

use super::Master;
use super::delivery::{CALL_LIMIT, is_overtaken};
use crate::peer::PeerError;
use crate::process::random;
use crate::process::threads;
use crate::protocol::{Epoch, Id, LogId, MemberId, Refusal, Standing};
use crate::wire::node::HoldingsBody;
use crate::wire::server_id;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A secondary that does not answer is asked again after this time, doubled each time,
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A secondary that has everything waits for writes in flight that do not count on it.
const ADMISSION_PAUSE: Duration = Duration::from_millis(20);
/// How often a long catch-up is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

impl Master {
    pub(super) fn keep(self: &Arc<Master>, member: MemberId, pokes: Receiver<()>) {
        let master = Arc::clone(self);
        let heartbeat = master.settings.heartbeat;
        let keeper = move || Keeper { master, member, pokes, heartbeat, backoff: BACKOFF_MIN }.run();
        if let Err(error) = threads::start_needed("keeper", keeper) {
            log::error!("a secondary has no keeper and cannot take part: {error}");
        }
    }
}

/// What a master says that began a log although a secondary holds one: it may have lost its own.
fn began_anew(own: LogId, holds: LogId, last: Id) -> String {
    format!(
        "belongs to another log, {holds}, and has ids up to {last}; but this master found its data directory empty and began the new log {own}. \
         If the master has lost its data, stop it, and make it anew from the secondary with \"master restore\"; if the \
         secondary was left from another cluster, stop that and run \"secondary discard\""
    )
}

struct Keeper {
    master: Arc<Master>,
    member: MemberId,
    pokes: Receiver<()>,
    /// How often it asks a secondary that takes part.
    heartbeat: Duration,
    backoff: Duration,
}

impl Keeper {
    fn run(&mut self) {
        while let Some(standing) = self.standing() {
            let pause = match standing {
                Standing::Unreachable => self.ask(),
                Standing::CatchingUp => self.catch_up(),
                Standing::InSync => self.check(),
            };
            if !pause.is_zero() && self.pokes.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Its part in the rounds; `None` once it was removed.
    fn standing(&self) -> Option<Standing> {
        let state = self.master.lock();
        state.ledger.member(self.member).map(|view| view.standing)
    }

    /// Asks a lost secondary for its state. Gives the time until the next step.
    fn ask(&mut self) -> Duration {
        match self.state_of_secondary().and_then(|state| self.welcome(&state)) {
            Ok(()) => {
                self.backoff = BACKOFF_MIN;
                Duration::ZERO
            }
            Err(error) => {
                self.note(&error);
                self.master.halt_if_overtaken(&error, self.member);
                let jitter = random::below(self.backoff.as_millis() as u64 / 2);
                let pause = self.backoff + Duration::from_millis(jitter);
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                pause
            }
        }
    }

    fn state_of_secondary(&self) -> Result<HoldingsBody, PeerError> {
        let url = self.master.lock().members.get(&self.member).map(|member| member.url.clone());
        let asked = url.map_or(Err(PeerError::Restarted), |url| self.master.peers.state(&url));
        let answer = asked.and_then(|mut body| body.unable.take().map_or(Ok(body), |why| Err(PeerError::Unable(why))));
        if let Some(member) = self.master.lock().members.get_mut(&self.member) {
            member.fault = answer.as_ref().ok().and_then(|body| body.fault.clone());
            match &answer {
                Ok(_) => member.answered(),
                Err(error) => member.missed(error),
            }
        }
        answer
    }

    /// Takes note of what a secondary holds, and lets it begin to catch up if it may take part.
    fn welcome(&self, body: &HoldingsBody) -> Result<(), PeerError> {
        let holdings = body.holdings();
        server_id::parse(&body.server_id).map_err(PeerError::Misunderstood)?;
        let mut state = self.master.lock();
        if let Some(twin) = state.twin_of(self.member, &body.server_id) {
            return Err(PeerError::Misunderstood(format!(
                "calls itself {}, as the secondary at {} does; give each node a name of its own, and each one address",
                body.server_id, twin.url
            )));
        }
        if let Some(member) = state.members.get_mut(&self.member) {
            member.rename(&body.server_id, &self.master.metrics);
            member.delay_ms = body.delay_ms;
        }
        let before = state.ledger.member(self.member);
        let effects = state.ledger.reported(self.member, &holdings).map_err(|refusal| match refusal {
            Refusal::OtherLog { holds } if state.ledger.epoch() == Epoch::NONE.next() && holdings.last > Id::ZERO => {
                PeerError::Misunderstood(began_anew(state.ledger.log_id(), holds, holdings.last))
            }
            other => PeerError::Refused(other),
        })?;
        if let Some(before) = before
            && holdings.last < before.durable
        {
            let how =
                if before.incarnation == Some(holdings.incarnation) { "" } else { " before it was started again" };
            log::error!(
                "{} holds the log up to id {}, but had acknowledged {}{how}: its disk has lost that, and it is sent again",
                body.server_id,
                holdings.last,
                before.durable
            );
        }
        let holds = state.ledger.member(self.member).map(|view| view.durable);
        state.note_acknowledgement(self.member, Id::ZERO, holds.unwrap_or_default(), None);
        if let Some(member) = state.members.get_mut(&self.member) {
            // Calls of earlier turns may hang for long; they stand in nobody's way.
            (member.calls, member.being_told) = (0, false);
            member.set_detail("answers; is being brought up to date".to_owned());
        }
        self.master.carry_out(state, effects);
        Ok(())
    }

    /// Sends what is missing, in batches, until the secondary can be admitted.
    fn catch_up(&mut self) -> Duration {
        let began = Instant::now();
        let mut reported = began;
        let mut first_id = None;
        loop {
            let mut state = self.master.lock();
            let Some(dispatch) = state.ledger.dispatch_catch_up(self.member, CALL_LIMIT.slots_max as u64) else {
                return Duration::ZERO;
            };
            let (last, first_id) = (state.ledger.last(), *first_id.get_or_insert(dispatch.after));
            let Some(member) = state.members.get_mut(&self.member) else { return Duration::ZERO };
            member.set_detail(format!("is catching up: has {} of {last}", dispatch.after));
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                log::info!("{} is catching up: has {} of {last} ids", member.name, dispatch.after);
            }
            drop(state);
            if let Err(error) = self.master.deliver(&dispatch, None) {
                self.master.lose(dispatch.member, dispatch.turn, &error);
                return BACKOFF_MIN;
            }
            if self.admit(first_id, began) {
                return self.heartbeat;
            }
            if dispatch.through == dispatch.after {
                return ADMISSION_PAUSE;
            }
        }
    }

    fn admit(&self, first_id: Id, began: Instant) -> bool {
        let mut state = self.master.lock();
        if !state.ledger.admit(self.member) {
            return false;
        }
        let epoch = state.ledger.epoch();
        let durable = state.ledger.member(self.member).map(|view| view.durable);
        let sent = durable.unwrap_or_default().since(first_id);
        if let Some(member) = state.members.get_mut(&self.member) {
            member.set_detail("takes part".to_owned());
            let after = began.elapsed().as_millis();
            log::info!("{} takes part in epoch {epoch}; it was sent {sent} ids it lacked, in {after} ms", member.name);
        }
        self.master.unlock_and_wake(state);
        true
    }

    /// Makes sure that a secondary which takes part is alive, and still the process that it was.
    fn check(&mut self) -> Duration {
        let answer = self.state_of_secondary();
        let state = self.master.lock();
        let view = state.ledger.member(self.member);
        let Some(view) = view else { return self.heartbeat };
        let checked = answer.and_then(|body| {
            let holdings = body.holdings();
            if Some(holdings.incarnation) != view.incarnation {
                return Err(PeerError::Restarted);
            }
            state.ledger.may_take_part(&holdings).map_err(PeerError::Refused)
        });
        drop(state);
        match checked {
            Ok(()) => self.heartbeat,
            Err(error) => {
                self.master.lose(self.member, view.turn, &error);
                if is_overtaken(&error) { self.heartbeat } else { Duration::ZERO }
            }
        }
    }

    /// Keeps in mind, and tells once, what is wrong with a secondary.
    fn note(&self, error: &PeerError) {
        let mut state = self.master.lock();
        if let Some(member) = state.members.get_mut(&self.member) {
            let detail = error.to_string();
            if member.detail != detail {
                log::error!("{} ({}) cannot take part: {detail}", member.name, member.url);
                member.set_detail(detail);
            }
        }
    }
}
