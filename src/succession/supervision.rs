//! What a node notices by itself: that a later master leads, or that it may lead again.
//!
//! The node that led last is the one that its own roster names as the master. When it starts, it asks for promises as any
//! candidate does, and goes on asking until it leads, or until another node does. It never competes with a later epoch
//! that it hears of: the node that leads there calls it.

use super::candidate::How;
use super::roles::{Role, Roles};
use super::survey::{Other, Survey, survey};
use crate::process::threads;
use crate::secondary::Secondary;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often a node looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a node that led last leaves the lead to others that have promises.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it waits after a failed candidacy of its own, doubled after each one in a row.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The maximum of that wait.
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Roles {
    /// Starts the thread that looks.
    pub(super) fn supervise(self: &Arc<Roles>) -> Result<(), String> {
        let roles = Arc::clone(self);
        threads::start_needed("succession", move || roles.keep_looking()).map(drop).map_err(|error| error.to_string())
    }

    fn keep_looking(&self) {
        let (mut pause, mut said) = (PAUSE_MIN, String::new());
        let mut tries_since: Option<Instant> = None;
        while !self.stopping.load(Ordering::Acquire) {
            let looked = match self.role() {
                Role::Leading(master) if master.is_overtaken() && self.promotes() => {
                    self.step_down(&master, "a later master leads")
                }
                Role::Following(secondary) if secondary.is_retired() => self.follow_again(&secondary),
                Role::Following(secondary) if secondary.led_last() => {
                    let is_silent = tries_since.get_or_insert_with(Instant::now).elapsed() >= SILENCE;
                    let how = if is_silent { How::AfterSilence } else { How::ByItself };
                    self.stand(how).map(drop).inspect_err(|_| self.register(&secondary))
                }
                _ => Ok(()),
            };
            match looked {
                Ok(()) => {
                    (pause, tries_since) = (PAUSE_MIN, None);
                    thread::sleep(LOOK_EVERY);
                }
                Err(why) => {
                    if said != why {
                        log::warn!("{why}");
                        said = why;
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Registers with the node that leads now, if there is one: it may have been removed while it was away.
    fn register(&self, secondary: &Secondary) {
        let status = secondary.view().status;
        let Some(lineage) = status.lineage else { return };
        let Survey { others, states, .. } = survey(&lineage, status.copy, &self.hasty_peers);
        let leads = |other: &&Other| matches!(&states[&other.copy], Ok(state) if state.leads);
        let Some(leader) = others.iter().find(leads) else { return };
        match self.peers.register(&leader.url, &secondary.registration()) {
            Ok(_) => log::info!("registered with {} at {}, which leads now", leader.name, leader.url),
            Err(error) => log::warn!("not registered with {} at {}: it {error}", leader.name, leader.url),
        }
    }
}
