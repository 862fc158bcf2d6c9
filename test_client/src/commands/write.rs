//! `test_client write`: the outcome of a write that has a key.

use crate::api::{Client, Ids, KnownWrite, WriteIds, WriteOutcome};
use crate::exit::Exit;
use crate::output::{GOOD, STRONG, Terminal, visible};
use std::io;

/// Asks the master for the write with this key.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, key: &str) -> io::Result<Exit> {
    match client.write(key) {
        Ok(reply) => {
            terminal.line(describe(&reply.value))?;
            terminal.document(&reply.body)?;
            Ok(exit(reply.value.outcome))
        }
        Err(failure) => failure.report(terminal),
    }
}

fn describe(write: &KnownWrite) -> String {
    let what = match write.ids {
        WriteIds::One { message_id } => format!("message {STRONG}{message_id}{STRONG:#}"),
        WriteIds::Batch { message_ids: Ids { first, last } } => {
            format!("messages {STRONG}{first}{STRONG:#} to {STRONG}{last}{STRONG:#}")
        }
    };
    match write.outcome {
        WriteOutcome::Committed => {
            let since = write.timestamp.as_deref().map_or_else(String::new, |time| format!(", {}", visible(time)));
            format!("{GOOD}Committed{GOOD:#} as {what}{since}.")
        }
        WriteOutcome::Pending => format!("Pending as {what}: it may still be refused. Ask again."),
    }
}

fn exit(outcome: WriteOutcome) -> Exit {
    match outcome {
        WriteOutcome::Committed => Exit::Success,
        WriteOutcome::Pending => Exit::Unknown,
    }
}
