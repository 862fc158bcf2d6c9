//! After the faults: whether the cluster comes back, and what every node shows then.

use super::run::Run;
use super::writers::{Wanted, attempt};
use crate::api::Message;
use crate::api::{Copies, WriteOptions};
use crate::history::{Final, Line, Outcome, Text};
use crate::wait::poll_for;
use std::io::BufRead;
use std::time::{Duration, Instant};

/// How long the master is asked to try to write the last message, before it is asked again.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Waits until the cluster takes a message for all nodes and every node shows it; then records their logs. Gives why
/// it did not come back, if it did not.
pub(crate) fn come_back(run: &Run, limit: Duration) -> Option<String> {
    let begun = Instant::now();
    let last = match write_the_last(run, limit) {
        Ok(id) => id,
        Err(why) => return Some(why),
    };
    for node in 0..run.nodes.len() {
        let left = limit.saturating_sub(begun.elapsed());
        if let Err(why) = write_down(run, node, last, left) {
            return Some(why);
        }
    }
    None
}

/// A message that every node has to have.
fn write_the_last(run: &Run, limit: Duration) -> Result<u64, String> {
    let begun = Instant::now();
    let key = Some(format!("{}-the-end", run.tag.replace(' ', "-")));
    let wanted = Wanted {
        client: "last".to_owned(),
        texts: vec![format!("{} the end", run.tag)],
        options: WriteOptions { copies: Some(Copies::All), wait: Some(LAST_WAIT), key, after: None },
    };
    let enough = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
    let why = match poll_for(limit, || attempt(run, &wanted), enough) {
        Outcome::Committed { first, .. } => return Ok(first),
        Outcome::Refused { why, .. } | Outcome::Unknown { why, .. } => why,
    };
    let seconds = begun.elapsed().as_secs();
    Err(format!("{seconds} s after the last fault it takes no message for all nodes: {why}"))
}

/// Records the whole log of a node, once it knows the last message.
fn write_down(run: &Run, node: usize, last: u64, limit: Duration) -> Result<(), String> {
    let (name, address) = &run.nodes[node];
    let ask = || run.reading.health(address).map(|reply| reply.value.decided.max(reply.value.last));
    match poll_for(limit, ask, |decided| decided.as_ref().is_ok_and(|decided| *decided >= last)) {
        Ok(decided) if decided >= last => {}
        Ok(decided) => return Err(format!("{name} knows of ids up to {decided}, and not of {last}")),
        Err(failure) => return Err(format!("{name} does not answer: {failure}")),
    }
    let lines = run.reading.export(address, run.first).map_err(|failure| format!("{name} gives no log: {failure}"))?;
    let entries: Result<Vec<(u64, Text)>, String> = lines
        .lines()
        .map(|line| {
            let line = line.map_err(|error| error.to_string())?;
            let message: Message = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            Ok((message.id, message.message.into()))
        })
        .collect();
    let entries = entries.map_err(|error| format!("the log of {name} was cut off: {error}"))?;
    run.recorder.note(&Line::Final(Final { node, entries }));
    Ok(())
}
