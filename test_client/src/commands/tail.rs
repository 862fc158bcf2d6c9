//! `test_client tail`: a node's log as it grows.
//!
//! When the connection breaks, or the node restarts, the client asks again from the id after the last message, so
//! nothing is missing and nothing comes twice.

use crate::api::Address;
use crate::api::{Client, Kind, Message};
use crate::exit::Exit;
use crate::output::{DIM, Terminal, visible};
use clap::Args;
use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

/// The pause before the client asks again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Which messages to show.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address of the node [default: the master]
    url: Option<Address>,
    /// Begin with this id
    #[arg(long, value_name = "ID", conflicts_with = "last")]
    from: Option<u64>,
    /// Begin with the latest so many messages
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 10)]
    last: u64,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// Shows messages as they become visible, until Ctrl-C.
pub(crate) fn run(client: &Client, terminal: &mut Terminal, options: &Options) -> io::Result<Exit> {
    let node = options.url.as_ref().unwrap_or(client.master());
    let begin = match options.from {
        Some(from) => Ok(from),
        // Refused messages have ids, too, so these may be fewer messages.
        None => client.health(node).map(|health| (health.value.decided + 1).saturating_sub(options.last)),
    };
    let mut next = match begin {
        Ok(begin) => begin.max(1),
        Err(failure) => return failure.report(terminal),
    };
    let (mut left, mut pause) = (options.count.unwrap_or(u64::MAX), PAUSE_MIN);
    while left > 0 {
        let failure = match client.follow(node, next) {
            Ok(lines) => {
                let before = next;
                let why = show(terminal, lines, &mut next, &mut left)?;
                if next > before {
                    pause = PAUSE_MIN;
                }
                why
            }
            Err(failure) if failure.kind != Kind::Unreachable => {
                terminal.complain(&failure);
                return Ok(failure.kind.exit());
            }
            Err(failure) => failure.to_string(),
        };
        if left > 0 {
            terminal.complain(format_args!("{failure}; asking again from id {next}"));
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    Ok(Exit::Success)
}

/// Shows messages until the stream ends. Returns why it ended.
fn show(terminal: &mut Terminal, lines: impl BufRead, next: &mut u64, left: &mut u64) -> io::Result<String> {
    for line in lines.lines() {
        let line = match line {
            Ok(line) if line.is_empty() => continue,
            Ok(line) => line,
            Err(error) => return Ok(format!("the connection broke: {error}")),
        };
        let Ok(message) = serde_json::from_str::<Message>(&line) else {
            return Ok("a line of the stream is no message".to_owned());
        };
        *next = message.id + 1;
        *left -= 1;
        let (time, text) = (visible(&message.timestamp), visible(&message.message));
        terminal.line(format_args!("{:>6}  {DIM}{time:<24}{DIM:#}  {text}", message.id))?;
        terminal.document(line.as_bytes())?;
        if *left == 0 {
            break;
        }
    }
    Ok("the node ended the stream".to_owned())
}
