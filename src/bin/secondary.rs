//! A secondary: holds what its master sends, acknowledges it, and serves readers.

use clap::Parser;
use replicated_log::server::config::SecondaryFlags;
use std::process::ExitCode;

fn main() -> ExitCode {
    replicated_log::server::run::secondary(&SecondaryFlags::parse())
}
