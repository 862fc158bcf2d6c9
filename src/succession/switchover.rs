//! Handing over: the master lets a secondary lead from now on.
//!
//! 1. New posts wait. The node does not refuse them.
//! 2. What is open gets its outcome, and the secondary holds everything.
//! 3. The secondary asks for promises, this node's among them: then this node leads no more.
//! 4. The posts go on, to the role that this node has then: a secondary passes them on to the new master.
//!
//! If the secondary does not come to lead, the posts go on here: this node still leads, or asks for promises again.

use super::roles::{Role, Roles};
use crate::http::Reply;
use crate::master::Master;
use crate::peer::Peers;
use crate::process::threads::try_lock;
use crate::wire::address::NodeUrl;
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a switchover waits for what is open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the secondary may take to lead.
const PROMOTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the master looks whether anything is open.
const LOOK_EVERY: Duration = Duration::from_millis(1);

impl Roles {
    /// Hands over to a secondary: to the one with this name, or to the one that holds the most.
    pub(super) fn switch_over(&self, to: Option<&str>) -> Reply {
        let master = match self.role() {
            Role::Leading(master) => master,
            Role::Following(_) => {
                return Reply::problem(409, &format!("{} does not lead; ask the master to hand over", self.name()));
            }
        };
        if !self.promotes() {
            let why = "promotion is off for this log; start the master with PROMOTION=on, so that its secondaries vote";
            return Reply::problem(409, why);
        }
        let (name, url) = match master.successor(to) {
            Ok(successor) => successor,
            Err(why) => return Reply::problem(409, &why),
        };
        let Some(_handing_over) = try_lock(&self.handing_over) else {
            return Reply::problem(409, &format!("{} is handing over already", self.name()));
        };
        log::info!("posts wait: this node is to hand over to {name}");
        let began = Instant::now();
        self.intake.pause(|| hand_over(&self.peers, &master, (&name, &url), began))
    }
}

/// Hands over while posts wait.
fn hand_over(peers: &Peers, master: &Arc<Master>, (name, url): (&str, &NodeUrl), began: Instant) -> Reply {
    if let Err(why) = drain(master, name) {
        return Reply::problem(409, &why);
    }
    log::info!("handing over to {name} ({url})");
    match peers.promote(url, PROMOTION_TIMEOUT) {
        Ok((200, body)) => {
            let mut elected: Value = serde_json::from_slice(&body).unwrap_or_default();
            let pause_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if let Some(fields) = elected.as_object_mut() {
                fields.insert("pause_ms".to_owned(), json!(pause_ms));
            }
            log::info!("{name} leads now; posts waited {pause_ms} ms");
            Reply::json(200, &elected)
        }
        Ok((status, body)) => {
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            let why = said["error"].as_str().map_or_else(|| format!("it answered {status}"), str::to_owned);
            Reply::problem(409, &format!("{name} does not lead: {why}"))
        }
        Err(error) => Reply::problem(
            409,
            &format!("{name} does not lead, as far as is known: it {error}. GET /leader on each node tells"),
        ),
    }
}

/// Waits until nothing is open, and the secondary holds everything.
fn drain(master: &Arc<Master>, to: &str) -> Result<(), String> {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    loop {
        if let Some(why) = master.why_halted() {
            return Err(format!("this node cannot hand over: {why}"));
        }
        match master.is_drained(to) {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() >= deadline => {
                return Err(format!("{why} after {} s; nothing was handed over", DRAIN_TIMEOUT.as_secs()));
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}
