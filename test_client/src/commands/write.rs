//! `test_client write`: what became of a write that was given a name.

use crate::api::{Client, Fate, Ids, KnownWrite, WriteIds};
use crate::exit::Exit;
use crate::output::{GOOD, STRONG, Screen, visible};
use std::io;

/// Asks the master for the write with this key.
pub(crate) fn run(client: &Client, screen: &mut Screen, key: &str) -> io::Result<Exit> {
    match client.write(key) {
        Ok(reply) => {
            screen.line(describe(&reply.value))?;
            screen.document(&reply.body)?;
            Ok(exit(reply.value.outcome))
        }
        Err(failure) => screen.fail(&failure),
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
        Fate::Committed => {
            let since = write.timestamp.as_deref().map_or_else(String::new, |time| format!(", {}", visible(time)));
            format!("{GOOD}Committed{GOOD:#} as {what}{since}.")
        }
        Fate::Pending => format!("Pending as {what}: it may still be refused. Ask again."),
    }
}

fn exit(outcome: Fate) -> Exit {
    match outcome {
        Fate::Committed => Exit::Success,
        Fate::Pending => Exit::Unknown,
    }
}
