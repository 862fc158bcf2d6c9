//! Carries out what the follower asks for.
//!
//! Each call, each reader and each answer of the master has a thread that waits for its reply. That thread also carries
//! out the effects of its job, so the thread that received a call stores it.

use super::lifecycle::Secondary;
use super::state::{Next, State};
use crate::node::ids::{id_range, id_ranges};
use crate::node::logging::Step;
use crate::process::random;
use crate::process::state_lock::StateGuard;
use crate::process::text::count;
use crate::protocol::follower::{Effect, Event, Freshness, News, Ready, Reply, Request};
use crate::protocol::{Candidacy, Change, Consistency, Epoch, Id, Incarnation, Slot, Ticket};
use crate::store::{self, StoreError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Condvar;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Secondary {
    /// Gives a request of a candidate to the follower, and waits for the reply.
    ///
    /// # Errors
    /// If it could not be stored.
    pub(crate) fn request(&self, request: Request) -> Result<Reply, String> {
        let ticket = self.new_ticket();
        match self.drive(ticket, Event::Requested(ticket, request)) {
            (Reply::Unable, failure) => Err(match failure {
                Some(error) => error.to_string(),
                None => "its store failed".to_owned(),
            }),
            (reply, _) => Ok(reply),
        }
    }

    pub(super) fn new_ticket(&self) -> Ticket {
        self.lock().new_ticket()
    }

    /// Gives an event to the follower, hands its effects and replies to their threads, and logs what has happened.
    pub(super) fn step(&self, event: Event) {
        let own = self.step_as(None, event);
        debug_assert_eq!(own, None);
    }

    /// As [`step`](Secondary::step), by the thread that holds this ticket: what it has to do next is given to it at
    /// once.
    fn step_as(&self, own: Option<Ticket>, event: Event) -> Option<Next> {
        let is_read = matches!(event, Event::Read { .. });
        let mut state = self.lock();
        let wake_at = state.follower.wake_at();
        let stepped = catch_unwind(AssertUnwindSafe(|| state.follower.step(self.now(), event)));
        // The panic hook has logged it. From now on every job fails, and this node is not ready.
        state.is_broken |= stepped.is_err();
        let is_broken = state.is_broken;
        let Ready { replies, reads, news, effect, ask, trim } = stepped.unwrap_or_default();
        let (mut own_next, mut has_calls, has_readers) = (None, false, !reads.is_empty());
        let replies = replies.into_iter().map(|(ticket, reply)| (ticket, Next::Return(reply)));
        for (ticket, next) in replies.chain(effect.map(|(ticket, effect)| (ticket, Next::CarryOut(effect)))) {
            if Some(ticket) == own {
                own_next = Some(next);
            } else {
                state.next.insert(ticket, next);
                has_calls = true;
            }
        }
        // A call that has become early waits with a timeout only once its thread was woken.
        let is_sooner = state.follower.wake_at().is_some_and(|at| wake_at.is_none_or(|before| at < before)) && !is_read;
        state.reads.extend(reads);
        state.question = ask.or(state.question);
        state.trim = trim.or(state.trim);
        let (decided, lineage) = (state.follower.decided(), state.follower.lineage());
        let log_id = lineage.map(|lineage| lineage.log_id);
        let epoch = lineage.map_or(Epoch::NONE, |lineage| lineage.history.latest());
        let is_more_shown = decided > std::mem::replace(&mut state.shown, decided);
        let is_new_epoch = epoch != std::mem::replace(&mut state.epoch, epoch);
        let is_new_log = log_id != std::mem::replace(&mut state.log_id, log_id);
        drop(state);
        if has_calls || is_sooner || is_broken {
            self.calls.notify_all();
        }
        if has_readers || is_broken {
            self.readers.notify_all();
        }
        if ask.is_some() {
            self.questions.notify_one();
        }
        if trim.is_some() {
            self.trims.notify_one();
        }
        if is_new_log {
            log_id.into_iter().for_each(|log_id| self.reading.following.is_of(log_id));
        }
        if is_new_epoch {
            self.log.set_epoch(epoch);
        }
        if is_more_shown {
            self.reading.following.show(decided);
        }
        news.into_iter().for_each(|news| self.report(&news));
        own_next
    }

    /// Gives an event that leads to a reply under this ticket to the follower, and carries out the effects of that job.
    /// Gives the reply, and why the store failed, if it did.
    pub(super) fn drive(&self, ticket: Ticket, event: Event) -> (Reply, Option<StoreError>) {
        let mut failure = None;
        let mut next = self.step_as(Some(ticket), event);
        loop {
            next = match next {
                Some(Next::Return(reply)) => return (reply, failure),
                Some(Next::CarryOut(effect)) => {
                    // The panic hook has logged it. The job must end, because other jobs wait for it.
                    let done = catch_unwind(AssertUnwindSafe(|| self.carry_out(effect)));
                    let panicked = || Err(StoreError::new("the thread that used it panicked; see the log file"));
                    let event = done.unwrap_or_else(|_| panicked()).unwrap_or_else(|error| {
                        failure.get_or_insert(error);
                        Event::StoreFailed
                    });
                    self.step_as(Some(ticket), event)
                }
                None => {
                    let mut state = self.lock();
                    if state.is_broken {
                        return (Reply::Unable, failure);
                    }
                    let handed_over = state.next.remove(&ticket);
                    if handed_over.is_none() && self.wait(state, &self.calls) {
                        self.step_as(Some(ticket), Event::Tick)
                    } else {
                        handed_over
                    }
                }
            };
        }
    }

    /// Waits until a reader may read what this node shows.
    pub(super) fn wait_to_read(&self, ticket: Ticket, consistency: Consistency) -> Freshness {
        self.step(Event::Read { ticket, consistency });
        loop {
            let mut state = self.lock();
            if state.is_broken {
                return Freshness::PossiblyStale;
            } else if let Some(freshness) = state.reads.remove(&ticket) {
                return freshness;
            } else if self.wait(state, &self.readers) {
                self.step(Event::Tick);
            }
        }
    }

    /// Waits until there may be something for this thread. Gives `true` if the follower's time came first.
    fn wait(&self, state: StateGuard<'_, State>, condition: &Condvar) -> bool {
        let Some(at) = state.follower.wake_at() else {
            drop(state.wait(condition));
            return false;
        };
        let left = at.since(self.now());
        if left.is_zero() {
            return true;
        }
        state.wait_timeout(condition, left).1
    }

    fn carry_out(&self, effect: Effect) -> Result<Event, StoreError> {
        let Some(_inside) = self.writes.enter() else {
            return Err(StoreError::new("this node has become the master"));
        };
        let is_recovery = effect == Effect::Recover;
        let incarnation = || Incarnation::new(random::bits_64());
        let done = store::carry_out(&*self.store, effect, incarnation, |change| {
            let began = Instant::now();
            self.store.change(change)?;
            if matches!(change, Change::Append(_)) {
                self.metrics.appended(began.elapsed());
            }
            self.log_change(change);
            Ok(())
        });
        if let Err(error) = &done
            && is_recovery
        {
            log::error!("what this node holds cannot be read: {error}");
        }
        done
    }

    fn log_change(&self, change: &Change) {
        match change {
            Change::BeginAt(base) => {
                let first = base.id.next();
                log::warn!("begins at id {first}: what was before is trimmed, and this node had not decided all of it");
            }
            Change::DropFrom(id) => {
                log::warn!("dropped the undecided ids from {id} on, which the log of a later master does not have");
            }
            Change::Enter(entered) => log::info!("epoch {} begins", entered.epoch),
            Change::TakeRoster(roster) => log::info!("{roster}"),
            Change::Append(slots) => {
                let messages = slots.iter().filter(|slot| matches!(slot, Slot::Entry(_))).count();
                let (first, last) = (slots[0].id(), slots[slots.len() - 1].id());
                let range = id_range(first.previous(), last);
                self.log.writes().tell(Step::Stored, (first.previous(), last), None, || {
                    format!("{range} received ({}) and stored, pending", count(messages, "message", "messages"))
                });
            }
            Change::Refuse(ids) => log::info!("{} refused by the master", id_ranges(ids)),
            Change::Restore(entries) => {
                let ids: Vec<Id> = entries.iter().map(|entry| entry.id).collect();
                log::warn!("{} pending again: no majority knew that they were refused", id_ranges(&ids));
            }
            Change::Promise(Candidacy { epoch, copy, .. }) => {
                log::info!("promised epoch {epoch} to the node that holds copy {copy}");
            }
        }
    }

    fn report(&self, news: &News) {
        match *news {
            News::Early { after, through, holds } => {
                self.early_calls.fetch_add(1, Ordering::Relaxed);
                let range = id_range(after, through);
                log::info!("{range} arrived early: this node holds the log up to id {holds}; waiting for the rest");
            }
            News::Decided { after, through, visible } => {
                self.log.writes().tell(Step::Decided, (after, through), None, || {
                    let visible = usize::try_from(visible).unwrap_or(usize::MAX);
                    let visible = count(visible, "message is", "messages are");
                    format!("{} decided; {visible} visible", id_range(after, through))
                });
            }
        }
    }
}
