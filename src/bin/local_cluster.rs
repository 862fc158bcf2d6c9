//! A whole cluster on this machine, with one command.

use clap::Parser;
use replicated_log::cli::local_cluster::{self, ClusterFlags};
use std::process::ExitCode;

fn main() -> ExitCode {
    local_cluster::run(&ClusterFlags::parse())
}
