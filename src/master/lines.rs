//! Lines for the log, in the order in which things happened, although nothing is logged while the state is locked.

use crate::node::ids::id_range;
use crate::node::logging::{NodeLog, Step};
use crate::process::threads::lock;
use crate::protocol::Id;
use crate::wire::timing::milliseconds;
use log::Level;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

/// A line about a step of writes, of which there may be thousands.
pub(super) struct WriteLine {
    pub(super) step: Step,
    pub(super) ids: (Id, Id),
    pub(super) took: Option<Duration>,
    pub(super) ranges: Vec<(Id, Id)>,
    /// What happened, if the step does not say it all.
    pub(super) words: Option<&'static str>,
}

/// Lines that wait to be logged, in the order in which things happened.
#[derive(Default)]
pub(super) struct Lines {
    waiting: Mutex<VecDeque<LogLine>>,
    /// Held while they are written.
    order: Mutex<()>,
}

pub(super) enum LogLine {
    Plain(Level, String),
    Write(WriteLine),
}

impl Lines {
    /// Takes lines; the caller still has the state locked, which gives them their order.
    pub(super) fn extend(&self, lines: Vec<LogLine>) {
        lock(&self.waiting).extend(lines);
    }

    /// Writes the lines that wait. The caller must hold no lock that other threads wait for.
    pub(super) fn write(&self, log: &NodeLog) {
        let _in_order = lock(&self.order);
        loop {
            let line = lock(&self.waiting).pop_front();
            match line {
                Some(LogLine::Plain(level, line)) => log::log!(level, "{line}"),
                Some(LogLine::Write(line)) => line.write(log),
                None => return,
            }
        }
    }
}

impl WriteLine {
    fn write(self, log: &NodeLog) {
        let WriteLine { step, ids, took, ranges, words } = self;
        let what = words.map_or_else(|| step.to_string(), str::to_owned);
        log.writes().tell(step, ids, took, || {
            let ranges: Vec<String> = ranges.iter().map(|&(first, last)| id_range(first.previous(), last)).collect();
            let mut text = format!("{} {what}", ranges.join(", "));
            if let Some(took) = took {
                text.push_str(&format!(" after {} ms", milliseconds(took)));
            }
            text
        });
    }
}
