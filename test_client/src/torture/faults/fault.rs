//! What a fault is: its class, what makes it, and how it is ended.

use crate::random::Random;
use clap::ValueEnum;
use std::time::Duration;

/// Classes of faults, which are asked for by name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Class {
    Kill,
    Pause,
    Network,
    Disk,
    Clock,
    Api,
    Restart,
    Members,
    Failover,
}

impl Class {
    pub(crate) fn word(self) -> String {
        word(&self)
    }
}

/// What a value is called on the command line.
pub(crate) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().to_owned()
}

/// A fault that has begun.
pub(crate) struct ActiveFault {
    /// What it is, in a few words.
    pub(crate) what: String,
    /// The nodes that it concerns. No other fault concerns them at the same time.
    pub(crate) nodes: Vec<usize>,
    pub(crate) lasts: Duration,
    pub(crate) undo: Undo,
}

/// Ends a fault: undoes what it did, and gives how often it met something, if that is known. An error says why a node
/// could not be restored.
pub(crate) type Undo = Box<dyn FnOnce() -> Result<Option<u64>, String> + Send>;

/// The classes of faults that can be made, and what makes them.
pub(crate) type Sources = Vec<(Class, Box<dyn FaultSource>)>;

/// What makes the faults of one class.
pub(crate) trait FaultSource: Send + Sync {
    /// Begins a fault at some of these nodes, which have none. An error says why it could not begin; then there is
    /// nothing to undo.
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String>;
}

/// A time between two, in milliseconds.
pub(crate) fn between(random: &mut Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + random.below(most - least))
}
