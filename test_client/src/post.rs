//! `test_client post`: append one message.

use crate::api::{Client, Failure, Kind, Posted, SecondaryReport};
use crate::exit::Exit;
use crate::screen::{Bar, DIM, GOOD, NO_TICK, STRONG, Screen, count, tick, visible};
use serde_json::json;
use std::io::{self, Read};
use std::time::Instant;

/// Longest text taken from the standard input. A node's own limit is lower, and its refusal says more; this one only
/// keeps an endless input from filling the memory.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Appends a text, or the standard input if it is `-`.
pub(crate) fn run(client: &Client, screen: &mut Screen, text: &str) -> io::Result<Exit> {
    let message = match text {
        "-" => match from_input() {
            Ok(message) => message,
            Err(why) => {
                screen.complain(&why);
                screen.document(json!({ "error": why }).to_string().as_bytes())?;
                return Ok(Exit::Usage);
            }
        },
        text => text.to_owned(),
    };
    let begun = Instant::now();
    match client.post(&message) {
        Ok(reply) => {
            show(screen, &reply.value, milliseconds_since(begun))?;
            screen.document(&reply.body)?;
            Ok(Exit::Success)
        }
        Err(failure) => fail(screen, &failure),
    }
}

fn from_input() -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read the standard input: {error}"))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(format!("the standard input has more than {} MiB", INPUT_BYTES_MAX >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|error| format!("the standard input is not UTF-8 text: {error}"))?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

fn show(screen: &mut Screen, posted: &Posted, waited_ms: u64) -> io::Result<()> {
    let secondaries = count(posted.replicated_to, "secondary", "secondaries");
    let id = posted.message_id;
    screen.line(format_args!(
        "{GOOD}Appended{GOOD:#} as message {STRONG}{id}{STRONG:#}, held by {secondaries} as well."
    ))?;
    screen.bars(&bars(posted, waited_ms))
}

fn fail(screen: &mut Screen, failure: &Failure) -> io::Result<Exit> {
    screen.complain(failure);
    show_secondaries(screen, failure)?;
    screen.complain(match failure.kind {
        Kind::Unreachable | Kind::Refused => "Nothing was appended.",
        Kind::Unknown => "Whether the message was appended is not known; look with `test_client get` before you retry.",
    });
    let mut document = json!(failure);
    document["outcome"] = json!(if failure.kind == Kind::Unknown { "unknown" } else { "not_appended" });
    screen.document(document.to_string().as_bytes())?;
    Ok(failure.kind.exit())
}

/// Every acknowledgement, and the wait that they add up to.
pub(crate) fn bars(posted: &Posted, waited_ms: u64) -> Vec<Bar> {
    let acks = posted.acks.iter().map(|ack| Bar { label: visible(&ack.server_id), ms: ack.ms });
    acks.chain([Bar { label: "you waited".to_owned(), ms: waited_ms }]).collect()
}

/// Each secondary's part in a message that was not committed, if the master told. A message that was refused before it
/// had an id was sent to nobody, so nobody is to blame for not acknowledging it.
pub(crate) fn show_secondaries(screen: &mut Screen, failure: &Failure) -> io::Result<()> {
    let widest = |text: fn(&SecondaryReport) -> &str| {
        failure.secondaries.iter().map(|part| visible(text(part)).chars().count()).max().unwrap_or(0)
    };
    let (names, details) = (widest(|part| &part.server_id), widest(|part| &part.detail));
    for part in &failure.secondaries {
        let (name, detail, url) = (visible(&part.server_id), visible(&part.detail), visible(&part.url));
        let asked = part.acknowledged || failure.message_id.is_some();
        let mark = if asked { tick(part.acknowledged) } else { NO_TICK.to_owned() };
        screen.line(format_args!("    {mark} {name:<names$}  {detail:<details$}  {DIM}{url}{DIM:#}"))?;
    }
    Ok(())
}

/// How long ago, in whole milliseconds.
pub(crate) fn milliseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
