//! Clients that read: what is new, parts, the whole log, in every consistency; and one per node that follows its log.

use super::run::Run;
use crate::api::Message;
use crate::history::{Line, Read, ReadMode};
use crate::random::Random;
use std::io::BufRead;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Between two reads of one reader, at most, in milliseconds.
const PAUSE_MS: u64 = 60;
/// After a failure, so that a node that is away does not fill the history.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Messages of a part.
const PART_MAX: u64 = 40;

/// Reads a node until the run ends.
pub(crate) fn read_until_the_end(run: &Run, node: usize, number: u64, mut random: Random) {
    let client = format!("reader-{node}-{number}");
    let mut seen = run.first;
    while !run.is_quiet() {
        let how = random.one_of(&[ReadMode::Usual, ReadMode::Usual, ReadMode::Strong, ReadMode::Prefix]);
        let (from, limit) = match random.below(40) {
            0 => (run.first, None),
            1..=8 => (run.first + random.below(seen - run.first + 1), Some(1 + random.below(PART_MAX))),
            // The last one that was seen has to come again.
            _ => (seen, None),
        };
        let read = read(run, &client, node, how, from, limit);
        if read.failed.is_some() {
            run.pause(AFTER_FAILURE);
        }
        seen = read.entries.last().map_or(seen, |(id, _)| seen.max(*id));
        run.recorder.note(&Line::Read(read));
        run.pause(Duration::from_millis(random.below(PAUSE_MS)));
    }
}

fn read(run: &Run, client: &str, node: usize, how: ReadMode, from: u64, limit: Option<u64>) -> Read {
    let consistency = match how {
        ReadMode::Usual | ReadMode::Follow => None,
        ReadMode::Strong | ReadMode::Prefix => Some(how.word()),
    };
    let call = run.recorder.now();
    let answer = run.reading.page(&run.nodes[node].1, from, limit, consistency);
    let (stale, failed, entries) = match answer {
        Ok(reply) => {
            let entries =
                reply.value.messages.into_iter().map(|message| (message.id, message.message.into())).collect();
            (reply.value.possibly_stale, None, entries)
        }
        Err(failure) => (false, Some(failure.error), Vec::new()),
    };
    let returned = run.recorder.now();
    Read { client: client.to_owned(), call, returned, node, how, from, limit, stale, failed, entries }
}

/// Follows a node for as long as the run records anything. It may wait for a node that is silent longer than the
/// run lasts, so the run does not wait for it.
pub(crate) fn follow(run: &Arc<Run>, node: usize) {
    let mut from = run.first;
    while !run.is_quiet() {
        let call = run.recorder.now();
        if let Ok(lines) = run.reading.follow(&run.nodes[node].1, from) {
            take_lines(run, node, call, lines, &mut from);
        }
        thread::sleep(AFTER_FAILURE);
    }
}

/// Records messages until something else arrives.
fn take_lines(run: &Run, node: usize, call: u64, lines: impl BufRead, from: &mut u64) {
    for line in lines.lines().map_while(Result::ok).filter(|line| !line.is_empty()) {
        let Ok(Message { id, message, .. }) = serde_json::from_str(&line) else { return };
        let entries = vec![(id, message.into())];
        let client = format!("follower-{node}");
        let (how, returned) = (ReadMode::Follow, run.recorder.now());
        let read =
            Read { client, call, returned, node, how, from: *from, limit: None, stale: false, failed: None, entries };
        run.recorder.note(&Line::Read(read));
        *from = (*from).max(id + 1);
    }
}
