//! `test_client trim`: drops the beginning of the log.

use crate::api::{Client, TrimRequest, Trimmed};
use crate::exit::Exit;
use crate::output::{STRONG, Terminal, count, visible};
use std::io;

/// Trims the log, or says what that would drop.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, request: TrimRequest) -> io::Result<Exit> {
    let reply = match client.trim(request) {
        Ok(reply) => reply,
        Err(failure) => return failure.report(terminal),
    };
    terminal.document(&reply.body)?;
    let Trimmed { begins, messages, dry_run, held_up_by, why } = reply.value;
    let (would, begin) = if dry_run { ("would be ", "would begin") } else { ("", "begins") };
    let dropped = count(messages, "message", "messages");
    terminal.line(format_args!("{dropped} {would}dropped; the log {begin} with id {STRONG}{begins}{STRONG:#}."))?;
    if let Some(why) = why {
        let names = if held_up_by.is_empty() { String::new() } else { format!(" ({})", held_up_by.join(", ")) };
        terminal.line(format_args!("No more than that: {}{}.", visible(&why), visible(&names)))?;
    }
    Ok(Exit::Success)
}
