//! Replicate calls, and single messages from masters that do not speak this protocol.

use super::lifecycle::Secondary;
use crate::http::{Exchange, Reply};
use crate::node::faults::failed_before;
use crate::node::ids::id_range;
use crate::node::logging::Step;
use crate::process::clock;
use crate::process::threads::lock;
use crate::protocol::follower::{self, Called, Event, ForeignMessage, ForeignRefusal};
use crate::protocol::{Acknowledgement, Call, Id, Refusal};
use crate::store::{StoreError, Trouble};
use crate::wire::address::NodeUrl;
use crate::wire::fault::Fail;
use crate::wire::node::{AcknowledgementBody, Envelope, RefusalBody, RefusalReason, Replicate};
use crate::wire::timing::Took;
use serde_json::json;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a call waits for memory for its body. Waiting costs less than a refusal, after which the master sends it
/// again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// A call that has begun to arrive, and of which the follower knows. It is abandoned if it does not arrive.
struct Arriving<'a> {
    secondary: &'a Secondary,
    has_arrived: bool,
}

impl<'a> Arriving<'a> {
    fn begin(secondary: &'a Secondary) -> Arriving<'a> {
        secondary.step(Event::Arriving);
        Arriving { secondary, has_arrived: false }
    }

    fn arrived(mut self) {
        self.has_arrived = true;
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if !self.has_arrived {
            self.secondary.step(Event::Abandoned);
        }
    }
}

impl Secondary {
    /// Answers `POST /replicate`.
    pub(super) fn receive(&self, exchange: &mut Exchange) -> Reply {
        let arrived = Instant::now();
        self.metrics.called();
        let arriving = Arriving::begin(self);
        let reply = exchange.read_body_within(ROOM_TIMEOUT).and_then(|body| {
            let (body, room) = body.into_parts();
            let replicate = Replicate::from_json(&body).map_err(|why| Reply::problem(400, &why))?;
            drop(body);
            match replicate {
                Replicate::Call(call) => Ok(self.receive_call(exchange, call.0, call.1, arrived, (arriving, room))),
                Replicate::Bare { id, message } => Ok(self.receive_foreign(id, message, arriving)),
            }
        });
        reply.unwrap_or_else(|reply| reply)
    }

    /// Takes a call. The memory of its entries is freed before the artificial delay.
    fn receive_call(
        &self,
        exchange: &Exchange,
        envelope: Envelope,
        call: Call,
        arrived: Instant,
        (arriving, room): (Arriving<'_>, impl Sized),
    ) -> Reply {
        let fault = if call.entries.is_empty() { None } else { self.faults.meet() };
        if let Some(fault) = fault {
            self.faults.sleep(fault.hold);
            if fault.fail == Some(Fail::Before) {
                return failed_before();
            }
        }
        let (after, through, messages) = (call.after, call.through, call.entries.len());
        let delay = self.settings.delay + fault.map_or(Duration::ZERO, |fault| fault.delay);
        log::debug!("a call of {}: ids after {after} up to {through}, decided {}", call.master, call.decided);
        let ticket = self.new_ticket();
        arriving.arrived();
        let called = Called { ticket, to: envelope.to, call, is_delayed: !delay.is_zero() };
        let (mut reply, failure) = self.drive(ticket, Event::Called(called));
        drop(room);
        let durable = arrived.elapsed();
        let has_failed_after = fault.is_some_and(|fault| fault.fail == Some(Fail::After));
        if matches!(reply, follower::Reply::Stored | follower::Reply::Acknowledged(_)) {
            self.learn_master(exchange, envelope.master_port);
        }
        if reply == follower::Reply::Stored {
            thread::sleep(delay);
            self.log.writes().tell(Step::Delayed, (after, through), Some(delay), || {
                format!("{} acknowledged after a delay of {} ms", id_range(after, through), delay.as_millis())
            });
            (reply, _) = self.drive(ticket, Event::DelayOver(ticket));
        }
        if let follower::Reply::Acknowledged(acknowledgement) = reply {
            if has_failed_after {
                return Reply::no_answer(500, "the messages were appended, but an injected fault hides that");
            }
            let delay = if messages > 0 { delay } else { Duration::ZERO };
            return self.acknowledge(acknowledgement, messages, (arrived, durable, delay));
        }
        self.refuse_call(exchange, reply, failure, (after, through))
    }

    fn acknowledge(
        &self,
        acknowledgement: Acknowledgement,
        messages: usize,
        (arrived, durable, delay): (Instant, Duration, Duration),
    ) -> Reply {
        let took = (messages > 0).then(|| {
            let total = arrived.elapsed();
            self.metrics.answered(total);
            Took { durable_us: microseconds(durable), delay_us: microseconds(delay), total_us: microseconds(total) }
        });
        Reply::json(200, &AcknowledgementBody::new(acknowledgement, took))
    }

    fn refuse_call(
        &self,
        exchange: &Exchange,
        reply: follower::Reply,
        failure: Option<StoreError>,
        (after, through): (Id, Id),
    ) -> Reply {
        let (error, reason) = match reply {
            follower::Reply::OtherIncarnation => {
                ("this call was meant for an earlier start of this node".to_owned(), RefusalReason::OtherIncarnation)
            }
            follower::Reply::Refused(refusal) => {
                if !matches!(refusal, Refusal::Gap { .. }) {
                    log::warn!("a call of {} was refused: this node {refusal}", exchange.client());
                }
                (format!("this node {refusal}"), RefusalReason::from(&refusal))
            }
            _ if after == through => return self.unable(failure, "the high watermark"),
            _ => return self.unable(failure, &id_range(after, through)),
        };
        Reply::json(409, &RefusalBody { error, reason, holds: self.view().status.last.get() })
    }

    /// The reply when the store failed.
    fn unable(&self, failure: Option<StoreError>, what: &str) -> Reply {
        let trouble = self.store.trouble();
        let has_no_room = failure.as_ref().map_or(matches!(trouble, Some(Trouble::NoRoom(_))), StoreError::is_no_room);
        let why = failure.map(|error| error.to_string()).or_else(|| trouble.map(|trouble| trouble.to_string()));
        let why = why.unwrap_or_else(|| "its store failed, and it begins anew with what it holds".to_owned());
        log::error!("{what} could not be stored: {why}");
        Reply::problem(if has_no_room { 507 } else { 500 }, &format!("this node could not store {what}: {why}"))
    }

    /// Takes the caller for the master, if none is configured.
    fn learn_master(&self, exchange: &Exchange, port: u16) {
        if !self.settings.master_urls.is_empty() {
            return;
        }
        let host = exchange.client_host().map(|ip| match ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        });
        if let Some(url) = host.and_then(|host| NodeUrl::new(&host, port).ok()) {
            *lock(&self.master) = Some(url);
        }
    }

    /// Takes a single message of a master that does not speak this protocol.
    fn receive_foreign(&self, id: Option<Id>, message: Arc<str>, arriving: Arriving<'_>) -> Reply {
        let ticket = self.new_ticket();
        arriving.arrived();
        let foreign = ForeignMessage { ticket, id, message, timestamp_ms: clock::now_ms() };
        let (reply, failure) = self.drive(ticket, Event::ForeignCalled(foreign));
        let why = match reply {
            follower::Reply::ForeignStored(stored) => return self.foreign_stored(id, stored),
            follower::Reply::ForeignRefused(ForeignRefusal::HasMaster(log_id)) => {
                format!("this node belongs to log {log_id} and takes messages from its master only")
            }
            follower::Reply::ForeignRefused(ForeignRefusal::Held(id)) => {
                format!("id {id} is held with another content, or was passed over")
            }
            follower::Reply::ForeignRefused(ForeignRefusal::TooFar { id, last }) => {
                format!("id {id} is too far from {last}, the last one held")
            }
            _ => return self.unable(failure, "the message"),
        };
        Reply::problem(409, &why)
    }

    fn foreign_stored(&self, id: Option<Id>, stored: Id) -> Reply {
        log::info!("id {stored} received from a master that does not speak this protocol");
        thread::sleep(self.settings.delay);
        let body = match id {
            Some(id) => json!({
                "status": "replicated",
                "message_id": id.get(),
                "server_id": self.settings.common.server_id,
                "total_messages": self.view().visible,
            }),
            None => json!({ "status": "ok" }),
        };
        Reply::json(200, &body)
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
