//! The master: takes messages, sends them to every secondary, and answers when all hold them.

use clap::Parser;
use replicated_log::cli::settings::MasterFlags;
use std::process::ExitCode;

fn main() -> ExitCode {
    replicated_log::cli::run::master(&MasterFlags::parse())
}
