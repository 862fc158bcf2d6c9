//! Choices by chance that a seed repeats.

#![allow(dead_code, reason = "each test file uses its part of this")]

use std::time::{SystemTime, UNIX_EPOCH};

/// A number from the environment.
pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// The seed that a variable gives, or a new one.
pub(crate) fn seed(name: &str) -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    variable(name).unwrap_or(clock)
}

/// A small generator of random numbers (Marsaglia's xorshift).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Begins with a seed. Any will do.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}
