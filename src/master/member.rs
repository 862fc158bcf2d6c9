//! A secondary, as the master knows it beside its leader: where it is, and what it said of itself.

use crate::node::metrics::MasterMetrics;
use crate::process::clock;
use crate::protocol::{Dispatch, Id};
use crate::wire::address::NodeUrl;
use crossbeam::channel::Sender;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A secondary, as the master knows it.
pub(super) struct Member {
    /// Given when it was registered, or learned from it; until then its host and port.
    pub(super) name: Arc<str>,
    pub(super) url: NodeUrl,
    /// Other addresses under which the same node was registered.
    pub(super) aliases: Vec<NodeUrl>,
    /// Its latest condition, in a few words.
    pub(super) detail: String,
    /// When `detail` changed: milliseconds since 1970.
    pub(super) since_ms: u64,
    /// Its artificial delay, in milliseconds.
    pub(super) delay_ms: u64,
    /// Whether its disk is full, as it last reported.
    pub(super) is_full: bool,
    /// The fault that is injected into it, as it last reported.
    pub(super) fault: Option<String>,
    /// When its health changed: milliseconds since 1970.
    pub(super) health_since_ms: u64,
    /// Calls that have not returned.
    pub(super) flights: Vec<Flight>,
    /// When its catch-up began.
    pub(super) since: Instant,
    /// When the log last reported the progress of its catch-up.
    pub(super) reported: Instant,
    pub(super) said: Said,
    pub(super) origin: Origin,
    /// It is on record, and known after a restart.
    pub(super) recorded: bool,
    pub(super) jobs: Sender<Job>,
}

/// What the log said of a secondary lately, so that one that comes and goes does not fill the log with the same lines.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<String, Repeated>);

#[derive(Debug)]
struct Repeated {
    since: Instant,
    times: u64,
}

impl Said {
    /// The line to write, if it is one of the first few of its kind in a minute. After the minute one more follows,
    /// with the number of those that were left out.
    pub(super) fn once_more(&mut self, now: Instant, kind: &str, line: String) -> Option<String> {
        const LINES_MAX: u64 = 3;
        const TIME: Duration = Duration::from_secs(60);
        const KINDS_MAX: usize = 32;
        if self.0.len() >= KINDS_MAX && !self.0.contains_key(kind) {
            self.0.clear();
        }
        let repeated = self.0.entry(kind.to_owned()).or_insert(Repeated { since: now, times: 0 });
        let untold = repeated.times.saturating_sub(LINES_MAX);
        if now.duration_since(repeated.since) >= TIME {
            *repeated = Repeated { since: now, times: 0 };
        }
        repeated.times += 1;
        match repeated.times {
            1 if untold > 0 => Some(format!("{line} (and {untold} times more in the last minute)")),
            times => (times <= LINES_MAX).then_some(line),
        }
    }
}

/// What the thread of a secondary has to do.
pub(super) enum Job {
    /// Ask it for its state.
    Probe,
    /// Make a catch-up call and its follow-ups.
    Call(Dispatch),
}

/// How a master came to know a secondary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// From `SECONDARIES`. It is not put on record, so that an operator removes it by changing that setting.
    Configured,
    /// By `POST /secondaries`. It is on record until it is removed, so that a restarted master acknowledges no write
    /// without it.
    Registered,
}

impl Member {
    pub(super) fn set_detail(&mut self, detail: String) {
        if self.detail != detail {
            self.detail = detail;
            self.since_ms = clock::now_ms();
        }
    }

    /// Renames it, and drops the figures under its old name. Gives whether it had another one.
    pub(super) fn rename(&mut self, name: &str, metrics: &MasterMetrics) -> bool {
        let is_new = *self.name != *name;
        if is_new {
            metrics.forget(&self.name);
            self.name = name.into();
        }
        is_new
    }

    /// Its health has changed.
    pub(super) fn health_changed(&mut self) {
        self.health_since_ms = clock::now_ms();
    }

    /// It is at another address from now on.
    pub(super) fn move_to(&mut self, url: NodeUrl) {
        self.aliases.retain(|alias| *alias != url);
        self.url = url;
    }

    pub(super) fn is_at(&self, url: &NodeUrl) -> bool {
        self.url == *url || self.aliases.contains(url)
    }
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flight {
    pub(super) after: Id,
    pub(super) through: Id,
    pub(super) sent: Instant,
}

impl Flight {
    pub(super) fn carries(&self, id: Id) -> bool {
        self.after < id && id <= self.through
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_comes_again_and_again_is_counted() {
        let (mut said, start) = (Said::default(), Instant::now());
        let mut say =
            |seconds: u64| said.once_more(start + Duration::from_secs(seconds), "lost", format!("lost at {seconds}"));
        let written: Vec<String> = (0..100).filter_map(&mut say).collect();
        let expected = ["lost at 0", "lost at 1", "lost at 2", "lost at 60 (and 57 times more in the last minute)"];
        assert_eq!(written[..4], expected);
        assert_eq!(written.len(), 6, "{written:?}");
        assert_eq!(said.once_more(start, "found", "found".to_owned()).as_deref(), Some("found"));
    }
}
