//! What a fault is: its class, what makes it, and how it is ended.

use crate::random::Random;
use std::str::FromStr;
use std::time::Duration;

/// Kinds of faults that are asked for by name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    Kill,
    Pause,
    Network,
    Disk,
    Clock,
    Api,
    Restart,
    Members,
}

impl Class {
    pub(crate) const ALL: [Class; 8] = [
        Class::Kill,
        Class::Pause,
        Class::Network,
        Class::Disk,
        Class::Clock,
        Class::Api,
        Class::Restart,
        Class::Members,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Class::Kill => "kill",
            Class::Pause => "pause",
            Class::Network => "network",
            Class::Disk => "disk",
            Class::Clock => "clock",
            Class::Api => "api",
            Class::Restart => "restart",
            Class::Members => "members",
        }
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(word: &str) -> Result<Class, String> {
        let words = || Class::ALL.map(Class::word).join(", ");
        let found = Class::ALL.into_iter().find(|class| class.word() == word);
        found.ok_or_else(|| format!("{word} is no class of faults; they are {}; or all, or none", words()))
    }
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

/// Ends a fault: undoes what it did, and says how often it met something, if that is known. An error says why a node is
/// not as it was.
pub(crate) type Undo = Box<dyn FnOnce() -> Result<Option<u64>, String> + Send>;

/// The classes of faults that can be made, and what makes them.
pub(crate) type Sources = Vec<(Class, Box<dyn FaultSource>)>;

/// What makes the faults of one class.
pub(crate) trait FaultSource: Send + Sync {
    /// Begins a fault at some of these nodes, at which there is none. An error says why it could not be begun; then
    /// nothing is to be undone.
    fn begin(&self, idle: &[usize], random: &mut Random) -> Result<ActiveFault, String>;
}

/// A time between two, in milliseconds.
pub(crate) fn between(random: &mut Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + random.below(most - least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_again() {
        for class in Class::ALL {
            assert_eq!(class.word().parse(), Ok(class));
        }
        assert!("flood".parse::<Class>().is_err());
    }
}
