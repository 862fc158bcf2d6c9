//! The subcommands that ask, show and post: one file for each.

use crate::api::Failure;
use crate::exit::Exit;
use crate::output::Terminal;
use serde_json::json;
use std::io;

pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod post;
pub(crate) mod status;
pub(crate) mod tail;
pub(crate) mod trace;
pub(crate) mod write;

/// Ends a command whose call failed, for a person or for a script, and gives the exit code.
fn fail(terminal: &mut Terminal, failure: &Failure) -> io::Result<Exit> {
    terminal.complain(failure);
    terminal.document(json!(failure).to_string().as_bytes())?;
    Ok(failure.kind.exit())
}
