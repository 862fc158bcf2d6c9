//! The commands of the programs beside serving: they check, save and restore a log.
//!
//! | File | Command |
//! |---|---|
//! | [`command`] | the commands on a command line |
//! | [`health`] | `--check-health`: checks whether the node on this machine is alive |
//! | [`verify`] | `verify`: reads and checks a whole data directory |
//! | [`backup`] | `backup`: saves the log of a running node |
//! | [`restore`] | `restore`: creates a data directory from a backup, or from a running node |
//! | [`discard`] | `discard`: moves a secondary's copy aside, so that the master sends everything again |
//! | [`directory`], [`failure`], [`progress`] | what they share: the data directory, failures, the progress |

mod backup;
mod command;
mod directory;
mod discard;
mod failure;
mod health;
mod progress;
mod restore;
mod verify;

pub(super) use command::{MasterCommand, SecondaryCommand};
pub(super) use health::check_health;

use super::exit::{EXIT_FAILED, EXIT_USAGE};
use crate::node::settings::CommonSettings;
use crate::peer::Peers;
use failure::Failure;
use health::node;
use std::path::Path;
use std::process::ExitCode;

/// Runs a command of the master's program.
pub(super) fn of_master(command: &MasterCommand, settings: &CommonSettings) -> ExitCode {
    let done = match command {
        MasterCommand::Verify => data_directory(settings).and_then(verify::verify),
        MasterCommand::Backup { file, from } => {
            node(from.as_deref(), settings).and_then(|node| backup::save(&peers(settings), &node, file))
        }
        MasterCommand::Restore { source } => {
            data_directory(settings).and_then(|to| restore::restore(source, &peers(settings), to))
        }
    };
    end("master", done)
}

/// Runs a command of a secondary's program.
pub(super) fn of_secondary(command: &SecondaryCommand, settings: &CommonSettings) -> ExitCode {
    let done = match command {
        SecondaryCommand::Verify => data_directory(settings).and_then(verify::verify),
        SecondaryCommand::Discard => data_directory(settings).and_then(discard::discard),
    };
    end("secondary", done)
}

fn data_directory(settings: &CommonSettings) -> Result<&Path, Failure> {
    let nothing = || Failure::Usage("there is no data directory, because DATA_DIR is \"memory\"".to_owned());
    settings.data_dir.as_deref().ok_or_else(nothing)
}

fn peers(settings: &CommonSettings) -> Peers {
    Peers::new(backup::TIMEOUT, backup::TIMEOUT, settings.access.own())
}

fn end(role: &str, done: Result<String, Failure>) -> ExitCode {
    let (why, code) = match done {
        Ok(sentence) => {
            println!("{sentence}");
            return ExitCode::SUCCESS;
        }
        Err(Failure::Usage(why)) => (why, EXIT_USAGE),
        Err(Failure::Failed(why)) => (why, EXIT_FAILED),
    };
    eprintln!("{role}: {why}");
    ExitCode::from(code)
}
