//! `test_client post`: append one message, or the lines of the standard input together.

use crate::api::WriteOptions;
use crate::api::{Client, Copied, Failure, Kind, Posted, PostedBatch, Reply, SecondaryReport};
use crate::exit::Exit;
use crate::output::{Bar, DIM, GOOD, NO_TICK, STRONG, Terminal, count, tick, visible};
use crate::wait::milliseconds_since;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::time::Instant;

/// The longest text that is read from the standard input. A node's own limit is lower, and its refusal names it. This
/// one only keeps an endless input from filling the memory.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Appends a text, or the standard input if it is `-`.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, text: &str, options: &WriteOptions) -> io::Result<Exit> {
    let message = match text {
        "-" => match from_input() {
            Ok(message) => without_line_break(&message).to_owned(),
            Err(why) => return terminal.refuse(&why),
        },
        text => text.to_owned(),
    };
    let begun = Instant::now();
    match client.post(&message, options) {
        Ok(reply) => {
            let Posted { message_id, copies } = &reply.value;
            let what = format!("message {STRONG}{message_id}{STRONG:#}");
            show(terminal, &what, copies, &reply, milliseconds_since(begun))
        }
        Err(failure) => fail(terminal, &failure, options),
    }
}

/// Appends every line of the standard input as a message of its own: all of them, or none.
pub(crate) fn run_lines(
    client: &Client,
    terminal: &mut Terminal,
    text: Option<&str>,
    options: &WriteOptions,
) -> io::Result<Exit> {
    if text.is_some_and(|text| text != "-") {
        return terminal.refuse("with --lines the messages are the lines of the standard input; leave the text out");
    }
    let input = match from_input() {
        Ok(input) if input.is_empty() => return terminal.refuse("the standard input is empty, so there is no message"),
        Ok(input) => input,
        Err(why) => return terminal.refuse(&why),
    };
    let begun = Instant::now();
    match client.post_batch(input.lines(), options) {
        Ok(reply) => {
            let PostedBatch { message_ids, count: messages, copies } = &reply.value;
            let messages = count(*messages, "message", "messages");
            let (first, last) = (message_ids.first, message_ids.last);
            let what = format!("{messages}, {STRONG}{first}{STRONG:#} to {STRONG}{last}{STRONG:#}");
            show(terminal, &what, copies, &reply, milliseconds_since(begun))
        }
        Err(failure) => fail(terminal, &failure, options),
    }
}

fn from_input() -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read the standard input: {error}"))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(format!("the standard input has more than {} MiB", INPUT_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| format!("the standard input is not UTF-8 text: {error}"))
}

fn without_line_break(text: &str) -> &str {
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    line.unwrap_or(text)
}

fn show<T>(terminal: &mut Terminal, what: &str, copies: &Copied, reply: &Reply<T>, waited_ms: u64) -> io::Result<Exit> {
    terminal.line(describe(what, copies, reply))?;
    terminal.bars(&bars(copies, waited_ms))?;
    terminal.document(&document(reply))?;
    Ok(Exit::Success)
}

fn describe<T>(what: &str, copies: &Copied, reply: &Reply<T>) -> String {
    let secondaries = count(copies.replicated_to, "secondary", "secondaries");
    let done = if reply.replayed { "Written before" } else { "Appended" };
    let held = format!("{GOOD}{done}{GOOD:#} as {what}, held by {secondaries} as well");
    match (reply.status, copies.w) {
        (202, Some(w)) => {
            format!("{held}: fewer copies than the {w} that were asked for when its time was over. The others follow.")
        }
        (202, None) => format!("{held}: fewer copies than were asked for when its time was over. The others follow."),
        _ if reply.replayed => format!("{held}. Nothing was appended now."),
        _ => format!("{held}."),
    }
}

/// The body of the reply, with the header that marks the repeated answer to an earlier post.
fn document<T>(reply: &Reply<T>) -> Vec<u8> {
    let Ok(Value::Object(mut document)) = serde_json::from_slice(&reply.body) else {
        return reply.body.clone();
    };
    if !reply.replayed {
        return reply.body.clone();
    }
    document.insert("replayed".to_owned(), true.into());
    Value::Object(document).to_string().into_bytes()
}

fn fail(terminal: &mut Terminal, failure: &Failure, options: &WriteOptions) -> io::Result<Exit> {
    terminal.complain(failure);
    show_secondaries(terminal, failure)?;
    terminal.complain(advice(failure, options));
    let mut document = json!(failure);
    document["outcome"] = json!(if failure.kind == Kind::Unknown { "unknown" } else { "not_appended" });
    terminal.document(document.to_string().as_bytes())?;
    Ok(failure.kind.exit())
}

/// What the user may conclude from a failure, and do next.
fn advice(failure: &Failure, options: &WriteOptions) -> String {
    match (failure.kind, failure.status, &options.key) {
        (Kind::Unknown, _, Some(key)) => {
            format!(
                "It is unknown whether it was appended. Ask with `test_client write {key}`, or post it again with --key {key}."
            )
        }
        (Kind::Unknown, _, None) => {
            "It is unknown whether the message was appended. Look with `test_client get` before you retry.".to_owned()
        }
        (_, Some(412), _) => {
            "Nothing was appended: another message was first. Read it with `test_client get`, and decide again."
                .to_owned()
        }
        (_, Some(422), _) => "Nothing was appended: the key belongs to another message. Choose another key.".to_owned(),
        _ => "Nothing was appended.".to_owned(),
    }
}

/// A bar for every acknowledgement, and one for the whole wait.
pub(crate) fn bars(copies: &Copied, waited_ms: u64) -> Vec<Bar> {
    let acks = copies.acks.iter().map(|ack| Bar { label: visible(&ack.server_id), ms: ack.ms });
    acks.chain([Bar { label: "you waited".to_owned(), ms: waited_ms }]).collect()
}

/// Shows each secondary's part in a message that was not committed, if the master reports it. The master sends a
/// message that has no id to no secondary, so none failed to acknowledge it.
pub(crate) fn show_secondaries(terminal: &mut Terminal, failure: &Failure) -> io::Result<()> {
    let widest = |text: fn(&SecondaryReport) -> &str| {
        failure.secondaries.iter().map(|part| visible(text(part)).chars().count()).max().unwrap_or(0)
    };
    let (names, details) = (widest(|part| &part.server_id), widest(|part| &part.detail));
    for part in &failure.secondaries {
        let (name, detail, url) = (visible(&part.server_id), visible(&part.detail), visible(&part.url));
        let asked = part.acknowledged || failure.had_an_id();
        let mark = if asked { tick(part.acknowledged) } else { NO_TICK.to_owned() };
        terminal.line(format_args!("    {mark} {name:<names$}  {detail:<details$}  {DIM}{url}{DIM:#}"))?;
    }
    Ok(())
}
