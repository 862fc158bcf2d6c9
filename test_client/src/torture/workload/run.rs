//! What all clients of a run share.

use crate::api::{Address, Client};
use crate::history::Recorder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longest time that a client sleeps before it looks whether the run is over.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// A run.
pub(crate) struct Run {
    /// Clients of the nodes that are written to.
    pub(crate) writing: Vec<Client>,
    pub(crate) attempts: AtomicUsize,
    /// The fewest copies that a writer asks for.
    pub(crate) copies_min: u64,
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
    /// The clients of writers: of the master, or of each node if any may lead.
    pub(crate) fn writers(client: &Client, nodes: &[(String, Address)], of_all: bool) -> Vec<Client> {
        if of_all { nodes.iter().map(|(_, node)| client.at(node)).collect() } else { vec![client.clone()] }
    }

    /// The client for the next attempt at a write.
    pub(crate) fn writer(&self) -> &Client {
        &self.writing[self.attempts.fetch_add(1, Ordering::Relaxed) % self.writing.len()]
    }

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
