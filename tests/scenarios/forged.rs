//! Calls that no leader has sent, as a script describes them.

use replicated_log::protocol::{Call, Entry, Epoch, EpochStart, Id, Incarnation, Leader, LogId, WritePart};
use std::error::Error;
use std::sync::Arc;

/// An empty call of a leader, with the named parts changed: see `tests/scenarios/README.md`.
pub(crate) fn forged_call(leader: &Leader, parts: &[(String, String)]) -> Result<Call, Box<dyn Error>> {
    let mut call = Call {
        log_id: leader.log_id(),
        epoch: leader.epoch(),
        master: leader.incarnation(),
        epoch_start: None,
        history: None,
        roster: None,
        base: None,
        after: Id::ZERO,
        through: Id::ZERO,
        entries: Vec::new(),
        restored: Vec::new(),
        refused: Vec::new(),
        decided: leader.shown().decided,
        session: 0,
        admitted: false,
    };
    let epoch_start = EpochStart { since: call.epoch, overtaken_from: leader.last().next() };
    let mut through = None;
    for (key, value) in parts {
        let number = || value.parse::<u64>();
        match key.as_str() {
            "log" => call.log_id = LogId::new(value.parse()?),
            "epoch" => call.epoch = Epoch::new(number()?),
            "master" => call.master = Incarnation::new(number()?),
            "since" => call.epoch_start.get_or_insert(epoch_start).since = Epoch::new(number()?),
            "overtaken" => call.epoch_start.get_or_insert(epoch_start).overtaken_from = Id::new(number()?),
            "after" => call.after = Id::new(number()?),
            "through" => through = Some(Id::new(number()?)),
            "decided" => call.decided = Id::new(number()?),
            id if value == "refused" => call.refused.push(Id::new(id.parse()?)),
            id => {
                let (id, epoch, message) = (Id::new(id.parse()?), call.epoch, value.as_str().into());
                call.entries.push(Arc::new(Entry {
                    id,
                    epoch,
                    timestamp_ms: 0,
                    message,
                    key: None,
                    part: WritePart::WHOLE,
                }));
            }
        }
    }
    let ends = call.entries.iter().map(|entry| entry.id).chain(call.refused.iter().copied());
    call.through = through.unwrap_or_else(|| ends.fold(call.after, Id::max));
    Ok(call)
}
