//! A secondary: holds what its master sends, acknowledges it, and serves readers.

use clap::Parser;
use replicated_log::cli::settings::SecondaryFlags;
use std::process::ExitCode;

fn main() -> ExitCode {
    replicated_log::cli::run::secondary(&SecondaryFlags::parse())
}
