//! What the programs do beside serving: check, save and restore a log.
//!
//! | File | Command |
//! |---|---|
//! | [`health`] | `--check-health`: is the node alive that runs here? |
//! | [`verify`] | `verify`: reads and checks a whole data directory |
//! | [`backup`] | `backup`: saves the log of a running node |
//! | [`restore`] | `restore`: makes a data directory from a backup, or from a running node |
//! | [`discard`] | `discard`: puts a secondary's copy aside, so that it fetches everything again |

mod backup;
mod discard;
mod health;
mod progress;
mod restore;
mod verify;

pub(crate) use health::check_health;

use crate::cli::run::{EXIT_FAILED, EXIT_USAGE};
use crate::cli::settings::CommonSettings;
use crate::http;
use crate::peer::Peers;
use crate::store::Claim;
use crate::wire::address::NodeUrl;
use clap::Subcommand;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a master's program can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum MasterCommand {
    /// Read and check the whole data directory, and say what is in it or what is wrong.
    Verify,
    /// Save the log of a running node to a file. It goes on meanwhile.
    Backup {
        /// The file to make.
        file: PathBuf,
        /// The node to ask; a secondary will do. [default: the one that this configuration describes]
        #[arg(long, value_name = "URL")]
        from: Option<String>,
    },
    /// Make the data directory from a backup, or from a secondary that runs.
    Restore {
        /// A file that `backup` made, or the address of a secondary, such as http://localhost:5001.
        source: String,
    },
}

/// What a secondary's program can do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum SecondaryCommand {
    /// Read and check the whole data directory, and say what is in it or what is wrong.
    Verify,
    /// Put the copy in the data directory aside: at its next start the node fetches everything again from its master.
    Discard,
}

/// How a command ends that did not do what it should.
enum Failure {
    /// It was asked in vain: nothing was tried.
    Usage(String),
    /// It was tried, and something is wrong.
    Failed(String),
}

impl Failure {
    fn failed(why: impl Display) -> Failure {
        Failure::Failed(why.to_string())
    }
}

/// Does what a master's program was asked for.
pub(crate) fn of_master(command: &MasterCommand, settings: &CommonSettings) -> ExitCode {
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

/// Does what a secondary's program was asked for.
pub(crate) fn of_secondary(command: &SecondaryCommand, settings: &CommonSettings) -> ExitCode {
    let done = match command {
        SecondaryCommand::Verify => data_directory(settings).and_then(verify::verify),
        SecondaryCommand::Discard => data_directory(settings).and_then(discard::discard),
    };
    end("secondary", done)
}

fn data_directory(settings: &CommonSettings) -> Result<&Path, Failure> {
    let nothing = || Failure::Usage("nothing is kept with DATA_DIR=memory".to_owned());
    settings.data_dir.as_deref().ok_or_else(nothing)
}

/// Takes a data directory for this process.
fn claim(directory: &Path) -> Result<Claim, Failure> {
    Claim::take(directory).map_err(|error| Failure::Usage(error.to_string()))
}

/// Takes a data directory that must hold a log already.
fn claim_log(directory: &Path) -> Result<Claim, Failure> {
    check_log(directory)?;
    claim(directory)
}

/// There must be a log in a directory already. Nothing is made there.
fn check_log(directory: &Path) -> Result<(), Failure> {
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", directory.display())));
    }
    if !Claim::holds_log(directory) {
        return Err(Failure::Usage(format!("there is no log in {}", directory.display())));
    }
    Ok(())
}

fn peers(settings: &CommonSettings) -> Peers {
    Peers::new(backup::TIMEOUT, backup::TIMEOUT, settings.access.own())
}

fn node(from: Option<&str>, settings: &CommonSettings) -> Result<NodeUrl, Failure> {
    let here = format!("http://{}", http::reachable(settings.listen));
    NodeUrl::parse(from.unwrap_or(&here)).map_err(Failure::Usage)
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
