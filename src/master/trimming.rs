//! Trims the log: by itself, as far as the settings let messages go, and by hand (`POST /trim`).
//!
//! Either way the leader says how far ([`Leader::trimmable`](crate::protocol::Leader::trimmable)), the store makes the base
//! durable, and then the leader knows of it and tells the secondaries. The store deletes the slots later, in small steps.

use super::effects::Context;
use super::retention::Present;
use super::shared::Master;
use crate::http::{Exchange, Reply};
use crate::process::clock;
use crate::process::text::{count, messages};
use crate::process::threads::{self, lock};
use crate::protocol::{Base, Event, Id};
use crate::store::{StoreError, Trouble, base_at, end_of_writes};
use crate::wire::trim::Trim;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often the settings are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often the log of this node says how much was trimmed.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The reply to a `POST /trim`.
#[derive(Debug, Serialize)]
struct Trimmed {
    /// The first id of the log, or what it would be.
    begins: u64,
    /// How many messages went, or would go.
    messages: u64,
    /// Whether this was only asked.
    dry_run: bool,
    /// Secondaries that hold back the rest of what was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held_up_by: Vec<String>,
    /// Why less goes than was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Master {
    /// Starts the thread that trims the log, if the settings do not keep everything.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start_trimming(self: &Arc<Master>) -> Result<(), String> {
        if !self.settings.retention.is_limited() {
            return Ok(());
        }
        let master = Arc::clone(self);
        let started = threads::start_needed("trimming", move || master.keep_trimming());
        started.map(drop).map_err(|error| error.to_string())
    }

    fn keep_trimming(&self) {
        let (mut told, mut failed) = (Instant::now(), false);
        let mut before = self.store.base();
        loop {
            thread::sleep(EVERY);
            if self.is_ending() {
                return;
            }
            let done = self.trim_by_settings();
            if let Err(error) = &done
                && !failed
            {
                log::warn!("the log could not be trimmed: {error}; this is tried again every second");
            }
            failed = done.is_err();
            let base = self.store.base();
            if told.elapsed() >= TOLD_EVERY && base.id > before.id {
                let gone = messages(base.messages - before.messages);
                log::info!(
                    "trimmed {gone} within {} s: the log begins with id {}",
                    told.elapsed().as_secs(),
                    base.id.next()
                );
                (told, before) = (Instant::now(), base);
            }
        }
    }

    /// Trims what the settings let go.
    fn trim_by_settings(&self) -> Result<(), StoreError> {
        let mut horizon = lock(&self.horizon);
        let present = self.present()?;
        let retention = &self.settings.retention;
        let trimmable = |regardless| self.lock().leader.trimmable(Id::MAX, regardless);
        // The log can be cut exactly where a secondary that is away holds that up.
        for limit in [trimmable(Id::ZERO), trimmable(Id::MAX)] {
            while horizon.advance(&*self.store, limit, retention, &present)? {
                if self.is_ending() {
                    return Ok(());
                }
            }
        }
        // A disk that is full waits for no node that is away, whichever node it is of.
        let is_full = matches!(self.store.trouble(), Some(Trouble::NoRoom(_)))
            || self.lock().members.values().any(|member| member.is_full);
        let regardless = if is_full { horizon.end() } else { horizon.regardless(retention, &present) };
        let through = self.lock().leader.trimmable(horizon.end(), regardless);
        if let Some(base) = horizon.base_up_to(through) {
            self.trim(base)?;
            horizon.trimmed(base);
        }
        self.bytes_held_up.store(horizon.bytes(), Ordering::Relaxed);
        Ok(())
    }

    fn present(&self) -> Result<Present, StoreError> {
        let bytes = match self.settings.retention.bytes {
            Some(_) => Some(self.store.size()?).filter(|size| !size.is_reclaiming).map(|size| size.bytes - size.free),
            None => None,
        };
        Ok(Present { messages: self.lock().leader.shown().visible, bytes, now_ms: clock::now_ms() })
    }

    /// Cuts the log, durably. Nothing else does so meanwhile, because `horizon` is locked.
    fn trim(&self, base: Base) -> Result<(), StoreError> {
        let Some(_inside) = self.writes.enter() else { return Ok(()) };
        self.store.trim(base)?;
        self.step(Event::Trimmed(base), Context::default());
        Ok(())
    }

    /// Answers `POST /trim`.
    pub(super) fn trim_by_hand(&self, mut exchange: Exchange) {
        let request =
            exchange.read_body().and_then(|body| Trim::from_json(&body).map_err(|why| Reply::problem(400, &why)));
        let reply = request.and_then(|request| self.trim_as_asked(request)).map(|trimmed| Reply::json(200, &trimmed));
        exchange.reply(reply.unwrap_or_else(|refusal| refusal));
    }

    fn trim_as_asked(&self, request: Trim) -> Result<Trimmed, Reply> {
        let Trim { before, dry_run, leave_behind } = request;
        let asked = before.previous();
        let horizon = lock(&self.horizon);
        let begun = self.store.base();
        let through = self.lock().leader.trimmable(asked, if leave_behind { asked } else { Id::ZERO });
        let base = end_of_writes(&*self.store, through).and_then(|id| base_at(&*self.store, id));
        let base = base.map_err(|error| Reply::problem(503, &format!("the log cannot be read: {error}")))?;
        if base.id > begun.id && !dry_run {
            self.trim(base).map_err(|error| Reply::problem(503, &format!("nothing was trimmed: {error}")))?;
            let gone = messages(base.messages - begun.messages);
            log::info!("trimmed {gone} by hand: the log begins with id {}", base.id.next());
        }
        drop(horizon);
        let (held_up_by, why) =
            if base.id < asked { self.why_not_more(asked, leave_behind) } else { Default::default() };
        let (begins, messages) = (base.id.next().get(), base.messages - begun.messages);
        Ok(Trimmed { begins, messages, dry_run, held_up_by, why })
    }

    /// Who holds up the trimming up to an id, and why no more of it goes.
    fn why_not_more(&self, asked: Id, leave_behind: bool) -> (Vec<String>, Option<String>) {
        let state = self.lock();
        let shown = state.leader.shown().decided;
        let name = |id| state.members.get(&id).map(|member| member.name.to_string());
        let waits_for: Vec<String> = state.leader.trimming_waits_for(asked.min(shown)).filter_map(name).collect();
        let why = if asked >= shown {
            format!("ids up to {shown} are decided, and the newest message always stays")
        } else if waits_for.is_empty() {
            "a write is trimmed as a whole, and not while its client waits for copies".to_owned()
        } else {
            let advice = if leave_behind { "" } else { "; with \"leave_behind\" those that are away begin anew" };
            format!("{} not decided all of it{advice}", count(waits_for.len(), "secondary has", "secondaries have"))
        };
        (waits_for, Some(why))
    }
}
