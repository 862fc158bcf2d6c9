//! A secondary that knows its master registers itself there, and keeps doing so, because a master may restart, or start
//! later.

use super::lifecycle::Secondary;
use crate::process::random;
use crate::process::threads::{self, lock};
use crate::wire::client::Registration;
use crate::wire::hexadecimal::{CopyIdText, IncarnationText};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// How long the secondary waits after a failed registration, doubled after each failure in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The maximum of that wait.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a registered secondary registers again.
const RENEW_EVERY: Duration = Duration::from_secs(2);

impl Secondary {
    pub(super) fn start_registering(self: &Arc<Secondary>) {
        if self.settings.master_urls.is_empty() {
            return;
        }
        let secondary = Arc::clone(self);
        let started = threads::start_needed("registration", move || secondary.keep_registered());
        if let Err(error) = started {
            log::error!("this node cannot register itself with its master: {error}");
        }
    }

    /// What this node says of itself to a master.
    pub(crate) fn registration(&self) -> Registration {
        let status = self.view().status;
        Registration {
            url: self.url.to_string(),
            server_id: Some(self.settings.common.server_id.clone()),
            copy: Some(CopyIdText(status.copy)),
            incarnation: Some(IncarnationText(status.incarnation)),
        }
    }

    fn keep_registered(&self) {
        let mut backoff = BACKOFF_MIN;
        let mut last_said = None;
        let (mut configured, mut has_failed) = (self.settings.master_urls.iter().cycle(), false);
        while !self.stopping.load(Ordering::Acquire) {
            // The address that the roster has may be an old one.
            let known = self.master_of_roster().filter(|_| !has_failed);
            let Some(master) = known.or_else(|| configured.next().cloned()) else { return };
            let (pause, said) = match self.peers.register(&master, &self.registration()) {
                Ok(master) => {
                    (backoff, has_failed) = (BACKOFF_MIN, false);
                    *lock(&self.master) = Some(master.clone());
                    (RENEW_EVERY, format!("registered with the master at {master} as {}", self.url))
                }
                Err(error) => {
                    has_failed = !has_failed;
                    let pause = backoff + Duration::from_millis(random::below(backoff.as_millis() as u64 / 2));
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    (pause, format!("not registered with the master at {master}, trying again: {error}"))
                }
            };
            if last_said.as_ref() != Some(&said) {
                log::info!("{said}");
                last_said = Some(said);
            }
            thread::sleep(pause);
        }
    }
}
