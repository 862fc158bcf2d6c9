//! Clients that write: with every option, and again under the same key until the outcome is known.

use super::run::Run;
use crate::api::{Copied, Failure, Kind};
use crate::api::{Copies, WriteOptions};
use crate::history::{Line, Outcome, Write};
use crate::random::Random;
use std::thread;
use std::time::Duration;

/// How long a master is asked to wait for nodes that are missing, in seconds.
const WAITS_S: [f64; 6] = [0.0, 0.0, 0.0, 0.3, 1.0, 3.0];
/// Pauses between attempts at the same write.
const RETRY_MS: (u64, u64) = (20, 300);

/// A write: one message, or a batch.
pub(crate) struct Wanted {
    pub(crate) client: String,
    pub(crate) texts: Vec<String>,
    pub(crate) options: WriteOptions,
}

/// Writes until the run ends. A write whose outcome is open is pursued beyond that.
pub(crate) fn write_until_the_end(run: &Run, number: u64, mut random: Random) {
    let client = format!("writer-{number}");
    let mean_ms = u64::try_from(run.write_every.as_millis()).unwrap_or(u64::MAX / 4);
    // Not all at once in the beginning.
    run.pause(Duration::from_millis(random.below(mean_ms + 1)));
    let mut count = 0;
    while !run.is_over() {
        let wanted = by_chance(run, &client, count, &mut random);
        count += 1;
        let outcome = pursue(run, &wanted, &mut random);
        if matches!(outcome, Outcome::Committed { .. }) && wanted.options.key.is_some() && random.one_in(4) {
            // The same answer again, if it is known.
            attempt(run, &wanted);
        }
        run.pause(Duration::from_millis(random.below(2 * mean_ms + 1)));
    }
}

fn by_chance(run: &Run, client: &str, number: u64, random: &mut Random) -> Wanted {
    let messages = if random.one_in(8) { 2 + random.below(4) } else { 1 };
    let decoration = random.one_of(&["", "", "", " with\na line break", " Ünïcödé 👩‍🚀", " \"quoted\" \\ and a tab\t"]);
    let texts = (0..messages).map(|part| format!("{} {client}-{number}/{part}{decoration}", run.tag)).collect();
    let nodes = run.nodes.len() as u64;
    let copies = match random.below(8) {
        0..=2 => None,
        3 | 4 => Some(Copies::All),
        5 => Some(Copies::Majority),
        _ => Some(Copies::Number((1 + random.below(nodes)).max(run.copies_min))),
    };
    let wait = random.one_in(2).then(|| Duration::from_secs_f64(random.one_of(&WAITS_S)));
    let key = random.one_in(2).then(|| format!("{}-{client}-{number}", run.tag.replace(' ', "-")));
    Wanted { client: client.to_owned(), texts, options: WriteOptions { copies, wait, key, after: None } }
}

/// Tries until the outcome is known, if the write has a key and there is time.
pub(crate) fn pursue(run: &Run, wanted: &Wanted, random: &mut Random) -> Outcome {
    let mut is_open = false;
    loop {
        let outcome = attempt(run, wanted);
        // What is refused for now says nothing of an earlier attempt.
        let is_definite = match outcome {
            Outcome::Committed { .. } => true,
            Outcome::Refused { status, .. } => !is_open || status == Some(502),
            Outcome::Unknown { .. } => false,
        };
        is_open |= matches!(outcome, Outcome::Unknown { .. });
        if is_definite || wanted.options.key.is_none() || run.is_too_late() {
            return outcome;
        }
        thread::sleep(Duration::from_millis(RETRY_MS.0 + random.below(RETRY_MS.1)));
    }
}

/// Makes one attempt, and records it.
pub(crate) fn attempt(run: &Run, wanted: &Wanted) -> Outcome {
    let Wanted { client, texts, options } = wanted;
    let call = run.recorder.now();
    let writer = run.writer();
    let outcome = match &texts[..] {
        [text] => writer.post(text, options).map_or_else(
            |failure| failed(&failure),
            |reply| committed(reply.value.message_id, &reply.value.copies, reply.status, reply.replayed),
        ),
        texts => {
            let posted = writer.post_batch(texts.iter().map(String::as_str), options);
            posted.map_or_else(
                |failure| failed(&failure),
                |reply| committed(reply.value.message_ids.first, &reply.value.copies, reply.status, reply.replayed),
            )
        }
    };
    let returned = run.recorder.now();
    run.recorder.note(&Line::Write(Write {
        client: client.clone(),
        call,
        returned,
        texts: texts.iter().map(|text| text.as_str().into()).collect(),
        w: options.copies.map(|copies| copies.to_string()),
        timeout: options.wait.map(|wait| wait.as_secs_f64()),
        key: options.key.clone(),
        outcome: outcome.clone(),
    }));
    outcome
}

fn committed(first: u64, copied: &Copied, status: u16, replayed: bool) -> Outcome {
    Outcome::Committed { first, copies: copied.replicated_to as u64 + 1, in_time: status == 201, replayed }
}

fn failed(failure: &Failure) -> Outcome {
    let why = failure.error.clone();
    match failure.kind {
        Kind::Unknown => Outcome::Unknown { gave_up: failure.gave_up, why },
        Kind::Refused => Outcome::Refused { status: failure.status, why },
        // Nothing was sent.
        Kind::Unreachable => Outcome::Refused { status: None, why },
    }
}
