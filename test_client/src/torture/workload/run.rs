//! What all clients of a run share.

use crate::api::{Address, Client};
use crate::history::Recorder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longest time that a client sleeps before it looks whether the run is over.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// A run.
pub(crate) struct Run {
    pub(crate) writing: Client,
    pub(crate) reading: Client,
    /// Name and address, the master first.
    pub(crate) nodes: Vec<(String, Address)>,
    /// What every text of the run begins with.
    pub(crate) tag: String,
    /// The first id of the run.
    pub(crate) first: u64,
    /// Mean time between two writes of one writer.
    pub(crate) write_every: Duration,
    pub(crate) recorder: Arc<Recorder>,
    /// Writers begin nothing new.
    pub(crate) over: Arc<AtomicBool>,
    /// Writers give up what is open.
    pub(crate) too_late: AtomicBool,
    /// Readers stop.
    pub(crate) quiet: AtomicBool,
}

impl Run {
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn is_too_late(&self) -> bool {
        self.too_late.load(Ordering::SeqCst)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    /// Sleeps, but not beyond the end of the run.
    pub(crate) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(SLEEP_MAX));
        }
        // Readers continue after that, more slowly.
        thread::sleep(pause.min(SLEEP_MAX));
    }
}
