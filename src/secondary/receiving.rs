//! Replicate calls: from a master of ours, and single messages from masters that are not.

use super::lifecycle::Secondary;
use super::released::Released;
use crate::http::{Exchange, Reply};
use crate::node::faults::failed_before;
use crate::node::ids::{id_range, id_ranges};
use crate::node::logging::Step;
use crate::process::clock;
use crate::process::random;
use crate::process::text::count;
use crate::process::threads::lock;
use crate::protocol::{
    Accepted, Acknowledgement, Call, Change, Entry, Epoch, Id, Incarnation, Refusal, Replica, Slot, Watermark,
};
use crate::store::StoreError;
use crate::wire::address::NodeUrl;
use crate::wire::fault::Fail;
use crate::wire::node::{AcknowledgementBody, Envelope, RefusalBody, RefusalReason, Replicate};
use crate::wire::timing::Took;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a call waits for an earlier one that is still under way,
const GAP_PATIENCE: Duration = Duration::from_millis(500);
/// and how long while others are being read: a long one takes its time, and to send it again in parts takes more.
const READING_PATIENCE: Duration = Duration::from_secs(5);

/// How long a call waits for room to read it: a call that is refused costs more than one that is late.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);

/// What is kept of a call once it is stored.
#[derive(Clone, Copy)]
struct Carried {
    epoch: Epoch,
    after: Id,
    through: Id,
    messages: usize,
}

/// Counts as one as long as it is kept.
struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    fn one_of(number: &AtomicUsize) -> Counted<'_> {
        number.fetch_add(1, Ordering::AcqRel);
        Counted(number)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a call was not acknowledged.
enum Failure {
    /// It was meant for an earlier start of this node.
    Outdated,
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

impl Secondary {
    /// Answers `POST /replicate`.
    pub(super) fn receive(&self, exchange: &mut Exchange) -> Reply {
        let arrived = Instant::now();
        self.metrics.called();
        let reading = Counted::one_of(&self.calls_being_read);
        let reply = exchange.read_body_within(ROOM_PATIENCE).and_then(|body| {
            let (body, room) = body.into_parts();
            let replicate = Replicate::from_json(&body).map_err(|why| Reply::problem(400, &why))?;
            drop(body);
            match replicate {
                Replicate::Call(call) => Ok(self.receive_call(exchange, call.0, call.1, arrived, (room, reading))),
                Replicate::Bare { id, message } => Ok(self.receive_bare(id, message)),
            }
        });
        reply.unwrap_or_else(|reply| reply)
    }

    /// Takes a call. Its entries, and the room that they take, are given up before the artificial delay.
    fn receive_call(
        &self,
        exchange: &Exchange,
        envelope: Envelope,
        call: Call,
        arrived: Instant,
        room: impl Sized,
    ) -> Reply {
        let fault = if call.entries.is_empty() { None } else { self.faults.meet() };
        if let Some(fault) = fault {
            self.faults.sleep(fault.hold);
            if fault.fail == Some(Fail::Before) {
                return failed_before();
            }
        }
        let accepted = self.accept_in_order(envelope.to, &call);
        let carried =
            Carried { epoch: call.epoch, after: call.after, through: call.through, messages: call.entries.len() };
        drop((call, room));
        match accepted {
            Ok(acknowledgement) => {
                let durable = arrived.elapsed();
                self.learn_master(exchange, envelope.master_port);
                if fault.is_some_and(|fault| fault.fail == Some(Fail::After)) {
                    return Reply::no_answer(500, "it was appended, but somebody asked this node to fail");
                }
                let delay = self.settings.delay + fault.map_or(Duration::ZERO, |fault| fault.delay);
                let acknowledgement = self.acknowledge_late(carried, acknowledgement, delay);
                let took = (carried.messages > 0).then(|| {
                    let total = arrived.elapsed();
                    self.metrics.answered(total);
                    Took {
                        durable_us: microseconds(durable),
                        delay_us: microseconds(delay),
                        total_us: microseconds(total),
                    }
                });
                Reply::json(200, &AcknowledgementBody::new(acknowledgement, took))
            }
            Err(Failure::Outdated) => {
                let error = "this call was meant for an earlier start of this node".to_owned();
                self.refuse_call(error, RefusalReason::OtherIncarnation)
            }
            Err(Failure::Refused(refusal)) => {
                if !matches!(refusal, Refusal::Gap { .. }) {
                    log::warn!("a call of {} was refused: this node {refusal}", exchange.client());
                }
                self.refuse_call(format!("this node {refusal}"), RefusalReason::from(&refusal))
            }
            Err(Failure::Store(error)) => {
                log::error!("{} could not be stored: {error}", id_range(carried.after, carried.through));
                let status = if error.is_no_room() { 507 } else { 500 };
                Reply::problem(status, &format!("this node could not store the call: {error}"))
            }
        }
    }

    fn refuse_call(&self, error: String, reason: RefusalReason) -> Reply {
        Reply::json(409, &RefusalBody { error, reason, holds: self.view().status.last.get() })
    }

    /// Waits the artificial delay before an acknowledgement. A call without messages is answered at once, and does not
    /// acknowledge what another one is still waiting for: acknowledgements are cumulative.
    fn acknowledge_late(&self, call: Carried, acknowledgement: Acknowledgement, delay: Duration) -> Acknowledgement {
        if call.messages > 0 {
            if !delay.is_zero() {
                thread::sleep(delay);
                self.log.writes().tell(Step::Delayed, (call.after, call.through), Some(delay), || {
                    let range = id_range(call.after, call.through);
                    format!("{range} acknowledged after a delay of {} ms", delay.as_millis())
                });
            }
            self.released().extend(call.epoch, acknowledgement.durable);
            return acknowledgement;
        }
        let mut released = self.released();
        if released.through >= call.after {
            released.extend(call.epoch, call.through);
        }
        Acknowledgement { durable: released.through.min(acknowledgement.durable), ..acknowledgement }
    }

    fn released(&self) -> MutexGuard<'_, Released> {
        lock(&self.released)
    }

    /// Accepts a call; waits a moment for an earlier one if that is missing.
    fn accept_in_order(&self, to: Incarnation, call: &Call) -> Result<Acknowledgement, Failure> {
        let arrived = Instant::now();
        let mut early = None;
        loop {
            let accepted = self.accept(to, call);
            let Err(Failure::Refused(Refusal::Gap { holds })) = accepted else { return accepted };
            early.get_or_insert_with(|| {
                if !call.entries.is_empty() {
                    self.early_calls.fetch_add(1, Ordering::Relaxed);
                    let range = id_range(call.after, call.through);
                    log::info!("{range} arrived early: this node holds the log up to id {holds}; waiting for the rest");
                }
                Counted::one_of(&self.calls_that_are_early)
            });
            let others_are_read =
                || self.calls_being_read.load(Ordering::Acquire) > self.calls_that_are_early.load(Ordering::Acquire);
            let patience = || if others_are_read() { READING_PATIENCE } else { GAP_PATIENCE };
            while !self.wait_beyond(holds, call.after, Instant::now() + GAP_PATIENCE / 10) {
                if arrived.elapsed() > patience() {
                    return accepted;
                }
            }
        }
    }

    /// Waits until more is held than `holds`; `false` if the deadline came first.
    fn wait_beyond(&self, holds: Id, wanted: Id, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let short = |replica: &mut Replica| replica.last() <= holds && replica.last() < wanted;
        let waited = self.grew.wait_timeout_while(self.replica(), left, short);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Accepts a call. If the store fails on the way, it may hold a part of it: the replica begins anew with what it holds,
    /// as after a restart.
    fn accept(&self, to: Incarnation, call: &Call) -> Result<Acknowledgement, Failure> {
        let _writer = self.write_lock();
        if to != self.replica().status().incarnation {
            return Err(Failure::Outdated);
        }
        let accepted = self.store_call(call);
        if matches!(accepted, Err(Failure::Store(_)))
            && let Ok(found) = self.store.found()
        {
            *self.replica() = Replica::recovered(Incarnation::new(random::bits_64()), found);
        }
        accepted
    }

    /// Examines, stores, and publishes a call, in this order, and only then acknowledges it.
    fn store_call(&self, call: &Call) -> Result<Acknowledgement, Failure> {
        let accepted = self.examine(call)?.map_err(Failure::Refused)?;
        for change in accepted.changes() {
            let began = Instant::now();
            self.store.change(change)?;
            match change {
                Change::Append(_) => self.metrics.appended(began.elapsed()),
                Change::DropFrom(id) => self.released().dropped(call.epoch, id),
                Change::Enter(_) | Change::Refuse(_) => {}
            }
            self.log_change(change);
        }
        log::debug!(
            "a call of {}: ids after {} up to {}, decided {}",
            call.master,
            call.after,
            call.through,
            call.decided
        );
        let acknowledgement = self.publish(|replica| replica.applied(&accepted))?;
        self.log.set_epoch(call.epoch);
        self.grew.notify_all();
        Ok(acknowledgement)
    }

    /// Examines a call, on a copy of the replica: it may read the store, and no reader waits for that.
    fn examine(&self, call: &Call) -> Result<Result<Accepted, Refusal>, StoreError> {
        let mut replica = self.replica().clone();
        let examined = replica.examine(call, |id| self.store.get(id))?;
        if let Err(Refusal::Diverged { .. }) = examined {
            *self.replica() = replica;
        }
        Ok(examined)
    }

    /// Takes a step of the replica that may show more than before, and notes what is shown before anybody sees it: what
    /// a reader saw is still there after a kill -9. Whoever calls this holds the writer's lock, so the replica does not
    /// change meanwhile, and no reader waits for the disk.
    pub(super) fn publish<T>(&self, step: impl FnOnce(&mut Replica) -> T) -> Result<T, StoreError> {
        let mut next = self.replica().clone();
        let before = next.decided();
        let done = step(&mut next);
        let view = next.view();
        self.store.note_watermark(Watermark { decided: view.status.decided, visible: view.visible })?;
        *self.replica() = next;
        let (decided, visible) = (view.status.decided, view.visible);
        self.reading.following.show(decided);
        if decided > before {
            self.log.writes().tell(Step::Decided, (before, decided), None, || {
                format!("{} decided; {} visible", id_range(before, decided), count_messages(visible))
            });
        }
        Ok(done)
    }

    /// Remembers where the caller can be asked, if nobody configured it.
    fn learn_master(&self, exchange: &Exchange, port: u16) {
        if self.settings.master_url.is_some() {
            return;
        }
        let host = exchange.client_host().map(|ip| match ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        });
        if let Some(url) = host.and_then(|host| NodeUrl::new(&host, port).ok()) {
            *self.master.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
        }
    }

    /// Takes a single message of a master that is not ours. It is visible at once: such a master knows no fates.
    fn receive_bare(&self, id: Option<Id>, message: Arc<str>) -> Reply {
        let reply = self.store_bare(id, message);
        if reply.status() == 200 {
            thread::sleep(self.settings.delay);
        }
        reply
    }

    fn store_bare(&self, id: Option<Id>, message: Arc<str>) -> Reply {
        let _writer = self.write_lock();
        let status = self.replica().status();
        if let Some(log_id) = status.log_id {
            return Reply::problem(
                409,
                &format!("this node belongs to log {log_id} and takes messages from its master only"),
            );
        }
        let with_id = id.is_some();
        let id = id.unwrap_or_else(|| status.last.next());
        let stored =
            if id <= status.last { self.again(id, &message) } else { self.append_bare(status.last, id, message) };
        let visible = self.view().visible;
        match stored {
            Err(reply) => reply,
            Ok(()) if with_id => Reply::json(
                200,
                &json!({
                    "status": "replicated",
                    "message_id": id.get(),
                    "server_id": self.settings.common.server_id,
                    "total_messages": visible,
                }),
            ),
            Ok(()) => Reply::json(200, &json!({ "status": "ok" })),
        }
    }

    /// A message that is held already may be sent again.
    fn again(&self, id: Id, message: &str) -> Result<(), Reply> {
        match self.store.get(id) {
            Ok(Some(Slot::Entry(entry))) if *entry.message == *message => Ok(()),
            Ok(_) => Err(Reply::problem(409, &format!("id {id} is held with another content, or was passed over"))),
            Err(error) => Err(Reply::problem(500, &format!("id {id} cannot be read: {error}"))),
        }
    }

    fn append_bare(&self, last: Id, id: Id, message: Arc<str>) -> Result<(), Reply> {
        const PASSED_OVER_MAX: u64 = 10_000;
        if id.since(last) > PASSED_OVER_MAX {
            return Err(Reply::problem(409, &format!("id {id} is too far from {last}, the last one held")));
        }
        let entry = Entry { id, epoch: Epoch::NONE, timestamp_ms: clock::now_ms(), message, key: None };
        let mut slots: Vec<Slot> = last.until(id.previous()).map(Slot::Refused).collect();
        slots.push(Slot::Entry(Arc::new(entry)));
        self.store
            .append(&slots)
            .map_err(|error| Reply::problem(500, &format!("the message could not be stored: {error}")))?;
        self.publish(|replica| replica.foreign_stored(id))
            .map_err(|error| Reply::problem(500, &format!("the message could not be stored: {error}")))?;
        log::info!("id {id} received from a master that is not ours");
        Ok(())
    }

    fn log_change(&self, change: Change<'_>) {
        match change {
            Change::DropFrom(id) => {
                log::warn!("dropped the undecided ids from {id} on; nobody was told that they were written");
            }
            Change::Enter(entrance) => log::info!("epoch {} begins", entrance.epoch),
            Change::Append(slots) => {
                let messages = slots.iter().filter(|slot| matches!(slot, Slot::Entry(_))).count();
                let (first, last) = (slots[0].id(), slots[slots.len() - 1].id());
                let range = id_range(first.previous(), last);
                self.log.writes().tell(Step::Stored, (first.previous(), last), None, || {
                    format!("{range} received ({}) and stored, pending", count(messages, "message", "messages"))
                });
            }
            Change::Refuse(ids) => log::info!("{} refused by the master", id_ranges(ids)),
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn count_messages(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "message is", "messages are")
}
