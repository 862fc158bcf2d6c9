//! What may be typed, and the text that teaches it.

use crate::api::Address;
use crate::api::Credentials;
use crate::api::{SECONDS_MAX, WriteOptions, parse_key};
use crate::bench::Options;
use crate::check;
use crate::commands::{export, tail};
use crate::numbers::number_within;
use crate::torture;
use anstream::ColorChoice;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::time::Duration;

/// Where a master listens by default.
const DEFAULT_MASTER: &str = "http://localhost:5000";

/// Demonstrates, uses, measures and tests a replicated log: one master, N secondaries, every acknowledgement awaited.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = "Examples and exit codes: test_client --help", after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Address of the master [default: http://localhost:5000]. Without it, `acceptance` and `torture` start nodes of
    /// their own; with it, `torture` needs --cluster given or compose
    #[arg(long, global = true, value_name = "URL", env = "MASTER_URL")]
    pub(crate) master: Option<Address>,

    /// How long to wait for a node's answer. A post waits for the slowest secondary. With --wait, the client waits
    /// at least ten seconds longer than that
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    timeout: u64,

    /// Token for guarded nodes: that of clients, or that of the cluster for commands that change it, as `demo` and
    /// `acceptance` do. Prefer the variable: other users can read command lines
    #[arg(long, global = true, value_name = "TOKEN", env = "CLIENT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<Credentials>,

    /// Print one JSON document for scripts, and nothing else
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours; auto means on a terminal
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = color_parser())]
    pub(crate) color: ColorChoice,
}

impl Args {
    /// The master of the command line, or the default.
    pub(crate) fn master(&self) -> Address {
        let default = || DEFAULT_MASTER.parse().expect("the default is an address");
        self.master.clone().unwrap_or_else(default)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a replicated log does: write, wait, compare every node, provoke a failure, recover
    ///
    /// Appends four messages to the log (three with --no-failure). To provoke the failure, it registers a secondary
    /// that does not exist under the name demo-absent, and removes it again. If the demonstration is killed in
    /// between, the master refuses every message until the next demonstration, or you, remove it.
    Demo {
        /// Leave out the failure, and with it everything that changes the cluster
        #[arg(long)]
        no_failure: bool,
    },
    /// Play the exercise's acceptance against real nodes, and report for every step whether it held
    ///
    /// Without --master it starts a master and two secondaries of its own in a temporary directory. The programs
    /// `master` and `secondary` must be beside this one, or on PATH.
    ///
    /// A cluster that is given with --master needs two secondaries or more, all of them in sync. --down and --up take
    /// the last one away and bring it back; if its node was started with ENABLE_FAULTS=1, a fault can cut it off
    /// instead. Steps that need faults are left out where no node accepts them.
    Acceptance {
        /// Shell command that takes the last secondary away, such as 'docker compose pause secondary-2'
        #[arg(long, value_name = "COMMAND", requires = "up")]
        down: Option<String>,
        /// Shell command that brings it back, such as 'docker compose unpause secondary-2'
        #[arg(long, value_name = "COMMAND", requires = "down")]
        up: Option<String>,
    },
    /// Load a cluster, and measure its throughput and latency
    ///
    /// Closed loop, unless --rate is given: each writer posts its next message when the last one was answered. This
    /// measures what the cluster can do for so many writers. When it stalls, the writers stall with it, and the
    /// percentiles understate the stall. Open loop, with --rate: messages are due on schedule, and latency counts from
    /// the scheduled time, so stalls and queues count in full.
    ///
    /// The messages stay in the log. Percentiles are those of successes; everything else is counted by its kind. The
    /// bench reports how much of a core it used itself, and warns when it was busy all the time: then the figures are a
    /// lower bound. Ctrl-C ends it early and still reports what was measured; a second Ctrl-C ends it at once.
    #[command(after_long_help = BENCH_HELP)]
    Bench(Options),
    /// Write and read while everything fails, and check from what clients saw that every promise was kept
    ///
    /// Starts a master and two secondaries of its own, unless --cluster says otherwise, writes with every option, reads
    /// every node in every consistency, and makes nodes, networks, disks and clocks fail meanwhile. Then all faults
    /// end, the cluster has to come back, and an independent checker judges the history of requests and replies. The
    /// messages stay in the log.
    ///
    /// Ctrl-C ends it early and still judges; a second Ctrl-C ends it at once. It undoes its changes in any case.
    #[command(after_long_help = TORTURE_HELP)]
    Torture(torture::Options),
    /// Judge the history of a `torture` again: whether every promise was kept
    ///
    /// Reads the file and nothing else, and shares no code with the nodes. Exit codes: 0 every promise held; 2 the
    /// file is no whole history, or the plot cannot be written; 5 a promise was broken.
    ///
    /// Terms in its report, and in that of `torture`. *Usual*: a read that names no consistency. *With news*: the reply
    /// showed an id that this node had not shown before; only such a read can prove a node wrong. *Failed*: no answer,
    /// or a refusal for now, which is allowed. *Met something*: while the fault lasted, a client was refused, waited
    /// more than 250 ms, got no answer, or read what may be stale.
    Check(check::Options),
    /// Append one message and show how long each secondary took
    Post {
        /// The message. `-` reads it from the standard input, without a final line break. Put `--` before a text
        /// that begins with a hyphen
        #[arg(required_unless_present = "lines")]
        text: Option<String>,
        /// Append every line of the standard input as a message of its own: all of them, or none
        #[arg(long)]
        lines: bool,
        #[command(flatten)]
        options: WriteOptions,
    },
    /// Ask what became of a write that was posted with --key
    ///
    /// Exit code 0: committed. 1: no message has this key. 4: it is pending, so ask again.
    Write {
        /// The key
        #[arg(value_parser = parse_key)]
        key: String,
    },
    /// List the messages that a node shows
    Get {
        /// Address of the node [default: the master]
        url: Option<Address>,
    },
    /// Show a node's messages as they become visible, until Ctrl-C
    ///
    /// If the connection breaks, or the node restarts, it continues after the last message: nothing is missing and
    /// nothing comes twice. With --json, each message is a line of JSON.
    Tail(tail::Options),
    /// Write what a node shows into a file, one message a line
    Export(export::ExportOptions),
    /// Append the messages of a file, in batches; run again, it writes nothing twice
    Import(export::ImportOptions),
    /// Show where the time of a write went: when each copy was sent, received, on disk and acknowledged
    Trace {
        /// The id of a message
        id: u64,
    },
    /// List the secondaries that the master knows, and how far each is
    Secondaries,
    /// Show the health of the master, and of every secondary that it lists
    Health,
    /// Show the health of all nodes, and how far each secondary is, in a table that refreshes
    Status {
        /// Seconds between two refreshes
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_every)]
        every: f64,
    },
    /// Show which node leads
    ///
    /// Exit code 3: none of the nodes that were asked leads.
    Nodes {
        /// Addresses of nodes [default: the master, and the node that it names]
        urls: Vec<Address>,
    },
    /// Let a node lead because the master is gone
    ///
    /// Needs a log with promotion (PROMOTION=on at its master), and the token of the cluster if there is one. The node
    /// asks the others for a promise; more than half of all nodes have to answer, itself included. Nodes that do not
    /// answer are removed until they are back, so that writes for all nodes go on.
    Promote {
        /// Address of the node that is to lead
        url: Address,
        /// Keep the nodes that do not answer: writes for all nodes wait for them
        #[arg(long)]
        keep: bool,
        /// Let it lead with the promises of those nodes that answer, however few, because the others are lost for good:
        /// messages that were not acknowledged by all nodes may be lost, and refused ones be shown
        #[arg(long)]
        force: bool,
    },
    /// Let a node follow again that has shown messages which the master does not have
    ///
    /// Such a node was cut off while another one came to lead. Without --put-aside, this only says which messages those
    /// are.
    Rejoin {
        /// Address of the node
        url: Address,
        /// Put them into a file in its data directory, and drop them from its log
        #[arg(long)]
        put_aside: bool,
    },
    /// Let the master hand over to a secondary, while posts wait for some milliseconds
    Switchover {
        /// Name of the secondary [default: the one that holds the most]
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
    },
    /// Drop the beginning of the log on every node
    ///
    /// The newest message always stays, and so does what a secondary lacks that takes part. Needs the token of the cluster
    /// if there is one. What is dropped is gone: take a backup before.
    Trim {
        /// The first id that has to stay
        #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        before: u64,
        /// Only say what would be dropped
        #[arg(long)]
        dry_run: bool,
        /// Drop also what secondaries lack that are away: they begin anew, at the beginning that there is then
        #[arg(long)]
        leave_behind: bool,
    },
    /// Print a completion script for bash, zsh, fish, elvish or powershell
    ///
    /// For bash: test_client completions bash > ~/.local/share/bash-completion/completions/test_client
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn parse_every(text: &str) -> Result<f64, String> {
    number_within(text, 0.1..=3_600.0)
}

fn color_parser() -> impl TypedValueParser<Value = ColorChoice> {
    PossibleValuesParser::new(["auto", "always", "never"]).map(|when| match when.as_str() {
        "always" => ColorChoice::Always,
        "never" => ColorChoice::Never,
        _ => ColorChoice::Auto,
    })
}

const BENCH_HELP: &str = "\
Examples:
  test_client bench --writers 64                     what 64 writers get
  test_client bench --writers 64 --rate 5000         latency at 5,000 messages a second
  test_client bench --writers 16 --readers 4 --read-from http://localhost:5001
  test_client bench --writers 0 --readers 8 --page 1000
  test_client bench --writers 8 --batch 100 --w 1 --seconds 60 --plot bench.svg
  test_client --json bench --seconds 5 | jq .writes.latency_ms.p99

Exit codes: 0 it was measured; 1 every message was refused; 2 wrong usage; 3 the master, or a node to
read from, cannot be reached; 4 no message was acknowledged, and some may have been appended; 5 an id
was acknowledged twice, or out of order.";

const TORTURE_HELP: &str = "\
Examples:
  test_client torture                                own nodes, all faults that can be made, 30 s
  test_client torture --faults kill,pause --seconds 120 --plot torture.svg
  test_client torture --cluster compose              the docker compose project of this directory
  test_client torture --cluster given --master http://localhost:5000 --faults none
  test_client torture --history run.ndjson           keep the history
  test_client check run.ndjson                       judge it again

Exit codes: 0 every promise held; 2 wrong usage, or a class of faults that was asked for by name
cannot be made; 3 the cluster cannot be reached or started; 5 a promise was broken, or the cluster did
not come back.";

const AFTER_HELP: &str = "\
Examples:
  test_client demo                              what a replicated log does, step by step
  test_client demo --no-failure                 the same, leaving the cluster as it is
  test_client acceptance                        the exercise's acceptance, on nodes of its own
  test_client acceptance --master URL           the same, on nodes that run (see acceptance --help)
  test_client post \"Hello World\"                append a message
  date | test_client post -                     append what another program prints
  test_client post --lines < FILE               append every line, all or none
  test_client post --w 2 --wait 5 \"two will do\" wait up to 5 s for two copies
  test_client post --key order-4711 \"once\"      append it once, even if this runs again
  test_client write order-4711                  what became of it
  test_client post --after 7 \"the eighth\"       append only if 7 is the newest id
  test_client bench --writers 64                how fast it is (see bench --help)
  test_client torture                           whether it keeps its promises while everything fails
  test_client check run.ndjson                  judge such a run again
  test_client get                               what the master shows
  test_client get http://localhost:5001         what a secondary shows
  test_client tail http://localhost:5001        what it shows, as it grows
  test_client export log.ndjson                 all of it, as a file
  test_client import log.ndjson                 such a file into a log; repeating it is harmless
  test_client trace 7                           where the time of message 7 went
  test_client status                            all nodes, refreshed every second
  test_client nodes                             which node leads
  test_client switchover                        let a secondary lead, before the master is stopped
  test_client promote http://localhost:5001     let it lead because the master is gone
  test_client --json get | jq .total            for scripts
  MASTER_URL=http://10.0.0.7:5000 test_client health

If the name of a secondary resolves only inside the cluster (http://secondary-1:5001), the client asks
the master's host at the same port, where a compose file publishes it.

Exit codes:
  0  success; also a message that has fewer copies than asked for when its time is over (202)
  1  the cluster refused: the message is not in the log and never will be, so retry freely
  2  wrong usage
  3  a node could not be reached, or what answered is not a node; a message did not arrive
  4  outcome unknown: a message was sent, then the connection broke or time ran out. Look, then retry
  5  the demonstration, the acceptance, the bench, torture or a check found a violation
  128 plus the number of a signal: the signal stopped the acceptance, which undid its changes";
