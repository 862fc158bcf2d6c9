//! The master: takes messages, sends them to every secondary, and answers when all hold them.

use clap::Parser;
use replicated_log::server::config::MasterFlags;
use std::process::ExitCode;

fn main() -> ExitCode {
    replicated_log::server::run::master(&MasterFlags::parse())
}
