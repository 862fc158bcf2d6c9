//! What may be typed, and the text that teaches it.

use crate::address::Address;
use anstream::ColorChoice;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use std::time::Duration;

/// Longest wait that may be asked for, in seconds. Nobody waits longer than an hour on purpose.
const TIMEOUT_SECONDS_MAX: u64 = 3600;

/// Demonstrates and uses a replicated log: one master, N secondaries, every acknowledgement awaited.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = "Examples and exit codes: test_client --help", after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Address of the master
    #[arg(long, global = true, value_name = "URL", env = "MASTER_URL", default_value = "http://localhost:5000")]
    pub(crate) master: Address,

    /// How long to wait for a node's answer. A post waits for the slowest secondary, so be patient
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECONDS_MAX))]
    timeout: u64,

    /// For scripts: print one JSON document and nothing else
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours; auto means on a terminal
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = color_parser())]
    pub(crate) color: ColorChoice,
}

impl Args {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell the whole story: write, watch the master wait, compare every node, provoke a failure, recover
    ///
    /// Appends four messages to the log (three with --no-failure). To provoke the failure, it registers a secondary
    /// that does not exist under the name demo-absent, and removes it again. If the demonstration is killed in
    /// between, the master refuses every message until the next demonstration, or you, remove it.
    Demo {
        /// Leave out the failure, and with it everything that needs a change of the cluster
        #[arg(long)]
        no_failure: bool,
    },
    /// Append one message and show how long each secondary took
    Post {
        /// The message. `-` reads it from the standard input, without a final line break. Put `--` before a text
        /// that begins with a hyphen
        text: String,
    },
    /// List the messages that a node shows
    Get {
        /// Address of the node; the master if left out
        url: Option<Address>,
    },
    /// Ask the master, and every secondary that it knows, how they are
    Health,
}

fn color_parser() -> impl TypedValueParser<Value = ColorChoice> {
    PossibleValuesParser::new(["auto", "always", "never"]).map(|when| match when.as_str() {
        "always" => ColorChoice::Always,
        "never" => ColorChoice::Never,
        _ => ColorChoice::Auto,
    })
}

const AFTER_HELP: &str = "\
Examples:
  test_client demo                              the whole story, step by step
  test_client demo --no-failure                 the same, leaving the cluster as it is
  test_client post \"Hello World\"                append a message
  date | test_client post -                     append what another program says
  test_client get                               what the master shows
  test_client get http://localhost:5001         what a secondary shows
  test_client --json get | jq .total            for scripts
  MASTER_URL=http://10.0.0.7:5000 test_client health

A secondary whose name resolves only inside the cluster (http://secondary-1:5001) is asked on the
master's host, at the same port, where a compose file publishes it.

Exit codes:
  0  success
  1  the cluster refused: the message is not in the log and never will be, so retry freely
  2  wrong usage
  3  a node could not be reached, or what answered is not a node; a message did not arrive
  4  outcome unknown: a message was sent, then the connection broke or time ran out; look, then retry
  5  the demonstration found something that must not be";
