//! Requests that were refused: how many, by status, and a log line for each. A shipper whose every request is refused
//! would be invisible otherwise. Lines that come too often are counted instead of written, as all are.

use super::reply::{Body, Reply};
use crate::process::threads::lock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The requests that a node has refused since its start, by the status of the reply.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<u16, u64>>);

impl Refusals {
    /// The number of refused requests, by status.
    pub(crate) fn counts(&self) -> BTreeMap<u16, u64> {
        lock(&self.0).clone()
    }

    /// Notes an error that answers a request. `request` describes the request for the log.
    pub(super) fn note(&self, reply: &Reply, is_read: bool, request: impl FnOnce() -> String) {
        *lock(&self.0).entry(reply.status).or_default() += 1;
        // That something is not there is a usual answer, and what a node cannot do is logged where that is known.
        let is_usual = reply.status == 404 && is_read;
        if reply.status < 500 && !is_usual {
            log::info!("{} was refused with {}: {}", request(), reply.status, sentence(&reply.body));
        }
    }
}

fn sentence(body: &Body) -> String {
    let Body::Whole(body) = body else { return String::new() };
    let body: Option<Value> = serde_json::from_slice(body).ok();
    body.and_then(|body| body.get("error")?.as_str().map(str::to_owned)).unwrap_or_default()
}
