//! The options of a run, and their limits.

use crate::api::Address;
use crate::api::{Copies, SECONDS_MAX, WriteOptions, parse_wait};
use crate::numbers::number_within;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Most connections. Each takes a file descriptor here and at a node.
const CONNECTIONS_MAX: u64 = 4096;

/// The lowest and the highest rate, in messages a second. No node reaches the highest.
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 10_000_000.0;

/// The shortest and the longest text, and the most texts of a batch. A text begins with a counter. A master's own
/// limits are lower or the same, and its refusal names them.
const SIZE_BYTES: RangeInclusive<i64> = COUNTER_DIGITS as i64..=64 * 1024 * 1024;
const BATCH_MAX: i64 = 10_000;

/// Digits that every text begins with, so that no two messages of a run are the same.
pub(super) const COUNTER_DIGITS: usize = 12;

/// Memory for the requests: every writer has its own.
const REQUESTS_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Messages of the longest page that a node gives.
const PAGE_MAX: u64 = 10_000;

/// The options of a run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections that post. Each posts the next message when the last one was answered (closed loop)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(0..=CONNECTIONS_MAX))]
    pub(super) writers: u64,

    /// Post so many messages a second, on schedule, over these connections (open loop). The latency counts from the
    /// scheduled time, so the wait for a free connection is part of it
    #[arg(long, value_name = "MESSAGES", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,

    /// Connections that read random pages beside the writers, each the next page when the last one has arrived
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=CONNECTIONS_MAX))]
    pub(super) readers: u64,

    /// A node to read from [default: the master]. Given several times, the readers are distributed over the nodes
    #[arg(long, value_name = "URL")]
    pub(super) read_from: Vec<Address>,

    /// Messages of a page
    #[arg(long, value_name = "MESSAGES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=PAGE_MAX))]
    pub(super) page: u64,

    /// Length of a message's text. No two texts are the same
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(SIZE_BYTES))]
    pub(super) size: u32,

    /// Messages of a post: more than one are posted as a list
    #[arg(long, value_name = "MESSAGES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX))]
    pub(super) batch: u32,

    /// How many nodes must have a message, the master included: a number from 1, `majority` or `all` [default: the
    /// master's WRITE_CONCERN]
    #[arg(long = "w", value_name = "COPIES")]
    pub(super) copies: Option<Copies>,

    /// How long the master waits for nodes that are missing before it refuses; fractions are allowed
    #[arg(long, value_name = "SECONDS", value_parser = parse_wait)]
    pub(super) wait: Option<Duration>,

    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    pub(super) seconds: u64,

    /// How long to run before the measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=SECONDS_MAX))]
    pub(super) warm_up: u64,

    /// Threads of this program. One drives hundreds of connections; the report says when that was not enough
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(super) threads: u64,

    /// Draw throughput and latency over time into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
}

impl Options {
    /// Checks combinations of options.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.writers + self.readers == 0 {
            return Err("without writers and readers there is nothing to measure");
        }
        if self.rate.is_some() && self.writers == 0 {
            return Err("--rate is for writers, and there are none");
        }
        if !self.read_from.is_empty() && self.readers == 0 {
            return Err("--read-from is for readers; say how many with --readers");
        }
        if u64::from(self.size) * u64::from(self.batch) * self.writers > REQUESTS_BYTES_MAX {
            return Err("the posts of all writers together are more than 1 GiB: ask for fewer, or smaller ones");
        }
        Ok(())
    }

    /// The write options of every post.
    pub(super) fn write_options(&self) -> WriteOptions {
        WriteOptions { copies: self.copies, wait: self.wait, ..WriteOptions::default() }
    }

    /// Posts a second of a schedule, if there is one.
    pub(super) fn posts_per_second(&self) -> Option<f64> {
        self.rate.map(|rate| rate / f64::from(self.batch))
    }

    /// The options for scripts.
    pub(super) fn document(&self) -> Value {
        json!({
            "writers": self.writers, "loop": if self.rate.is_some() { "open" } else { "closed" }, "rate": self.rate,
            "readers": self.readers, "read_from": self.read_from.iter().map(Address::to_string).collect::<Vec<_>>(),
            "page": self.page, "size": self.size, "batch": self.batch, "w": self.copies.map(Value::from),
            "wait": self.wait.map(|wait| wait.as_secs_f64()), "seconds": self.seconds, "warm_up": self.warm_up,
            "threads": self.threads,
        })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    number_within(text, RATE_MIN..=RATE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        options: Options,
    }

    impl Options {
        /// The options of a command line.
        pub(in super::super) fn of(arguments: &[&str]) -> Options {
            Typed::parse_from([&["bench"], arguments].concat()).options
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |arguments: &[&str]| Options::of(arguments).check();
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--writers", "0", "--readers", "1", "--read-from", "localhost:5001"]), Ok(()));
        assert!(check(&["--writers", "0"]).is_err());
        assert!(check(&["--writers", "0", "--readers", "1", "--rate", "10"]).is_err());
        assert!(check(&["--read-from", "localhost:5001"]).is_err());
        assert!(check(&["--size", "1000000", "--batch", "1000"]).is_err());
        for wrong in [["--rate", "0"], ["--rate", "NaN"], ["--size", "11"], ["--batch", "0"], ["--w", "0"]] {
            assert!(Typed::try_parse_from([&["bench"], &wrong[..]].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_rate_of_messages_is_one_of_batches() {
        assert_eq!(Options::of(&["--rate", "1000", "--batch", "50"]).posts_per_second(), Some(20.0));
        assert_eq!(Options::of(&[]).posts_per_second(), None);
    }
}
