//! A whole cluster on this machine, with one command.

use clap::Parser;
use replicated_log::cluster::{self, ClusterFlags};
use std::process::ExitCode;

fn main() -> ExitCode {
    cluster::run(&ClusterFlags::parse())
}
