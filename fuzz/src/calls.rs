//! A sequence of events for a replica: calls that a master might send, and some that none should, answers about
//! decisions, messages of other masters, restarts.

use super::choices::Choices;
use super::node::Node;
use replicated_log::protocol::{
    Base, Call, Decisions, Entry, Epoch, EpochEntry, EpochHistory, EpochStart, Fingerprint, Id, Incarnation, LogId,
    Slot, WritePart,
};
use replicated_log::wire::node::Envelope;
use std::sync::Arc;

/// Longer sequences find nothing that shorter ones do not.
const STEPS_MAX: usize = 64;

/// Runs the sequence that the bytes choose. See `node.rs` for what must hold.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut node = Node::new();
    for _ in 0..STEPS_MAX {
        if choices.are_over() {
            break;
        }
        match choices.below(8) {
            0..=4 => {
                let call = call(&mut choices, &node);
                let envelope = Envelope { to: node.follower().status().incarnation, master_port: 5_000 };
                let _ = node.receive(envelope, &call);
            }
            5 => node.learn(decisions(&mut choices, &node)),
            6 => node.restart(),
            _ => {
                let id = choices.one_in(2).then(|| node.follower().last().plus(choices.below(4)));
                node.receive_foreign(id, text(&mut choices));
            }
        }
    }
}

fn call(choices: &mut Choices<'_>, node: &Node) -> Call {
    let status = node.follower().status();
    let is_new = status.epoch == Epoch::NONE;
    let epoch = match choices.below(8) {
        0..=4 => status.epoch.get() + u64::from(is_new),
        5 => status.epoch.get() + 1,
        6 => choices.below(4),
        _ => status.epoch.get() + choices.below(4),
    };
    let epoch = Epoch::new(epoch);
    let other_master = u64::from(choices.one_in(8));
    let master = status.master.filter(|_| epoch == status.epoch && other_master == 0);
    let (after, through, entries, refused) = slots(choices, node, epoch);
    let decided = match choices.below(4) {
        0 => through,
        1 => status.decided.plus(choices.below(4)),
        2 => Id::new(through.get().saturating_sub(choices.below(4))),
        _ => Id::new(choices.number()),
    };
    Call {
        log_id: LogId::new(1 + u128::from(choices.one_in(16))),
        epoch,
        master: master.unwrap_or(Incarnation::new(100 * epoch.get() + other_master)),
        epoch_start: (epoch != status.epoch || choices.one_in(4)).then(|| epoch_start(choices, node)),
        history: choices.one_in(4).then(|| history(choices, epoch)).flatten(),
        roster: None,
        base: if choices.one_in(8) { base(choices, after) } else { None },
        after,
        through,
        entries,
        restored: Vec::new(),
        refused,
        decided,
        session: choices.below(4),
        admitted: choices.one_in(2),
    }
}

/// A base before a call that begins after an id.
fn base(choices: &mut Choices<'_>, after: Id) -> Option<Base> {
    let id = Id::new(after.get().saturating_sub(choices.below(3)));
    (id > Id::ZERO).then(|| Base { id, fingerprint: Fingerprint::default(), messages: id.get() / 2 })
}

fn epoch_start(choices: &mut Choices<'_>, node: &Node) -> EpochStart {
    let status = node.follower().status();
    let since = if choices.one_in(8) { Epoch::new(choices.below(4)) } else { status.epoch };
    EpochStart { since, overtaken_from: Id::new(status.last.next().get().saturating_sub(choices.below(5))) }
}

fn history(choices: &mut Choices<'_>, latest: Epoch) -> Option<EpochHistory> {
    let entry = |epoch: u64, start: u64| EpochEntry {
        epoch: Epoch::new(epoch),
        start: Id::new(start),
        master: Incarnation::new(100 * epoch),
    };
    let earlier = latest.get().saturating_sub(1);
    EpochHistory::new(vec![entry(earlier, 1), entry(latest.get(), choices.below(16))])
}

/// The ids that a call covers: mostly every id once.
fn slots(choices: &mut Choices<'_>, node: &Node, epoch: Epoch) -> (Id, Id, Vec<Arc<Entry>>, Vec<Id>) {
    let last = node.follower().last();
    let after = if choices.one_in(8) {
        last.plus(choices.below(3))
    } else {
        Id::new(last.get().saturating_sub(choices.below(5)))
    };
    let (mut entries, mut refused) = (Vec::new(), Vec::new());
    if choices.one_in(4) {
        refused.push(Id::new(last.get().saturating_sub(choices.below(8))));
    }
    let through = after.plus(choices.below(6));
    for id in after.until(through) {
        match choices.byte() % 16 {
            0..=9 => entries.push(entry(choices, node, id, epoch)),
            10 | 11 => refused.push(id),
            12 => {
                entries.push(entry(choices, node, id, epoch));
                refused.push(id);
            }
            13 => entries.extend(node.held(id).and_then(Slot::into_entry)),
            14 => entries.push(entry(choices, node, id.next(), epoch)),
            _ => {}
        }
    }
    if !choices.one_in(16) {
        refused.sort();
        refused.dedup();
    }
    if choices.one_in(16) {
        refused.push(through.plus(1 + choices.below(3)));
    }
    (after, through, entries, refused)
}

fn entry(choices: &mut Choices<'_>, node: &Node, id: Id, epoch: Epoch) -> Arc<Entry> {
    if !choices.one_in(8)
        && let Some(held) = node.held(id).and_then(Slot::into_entry)
    {
        return held;
    }
    let older = choices.one_in(8) && epoch > Epoch::NONE;
    let epoch = Epoch::new(epoch.get() - u64::from(older) + u64::from(choices.one_in(32)));
    let key = choices.one_in(8).then(|| text(choices));
    Arc::new(Entry {
        id,
        epoch,
        timestamp_ms: choices.below(8),
        message: text(choices),
        key,
        part: WritePart { index: choices.below(2) as u32, of: 2 },
    })
}

fn text(choices: &mut Choices<'_>) -> Arc<str> {
    let length = choices.below(4) as usize;
    String::from_utf8_lossy(choices.bytes(length)).into()
}

fn decisions(choices: &mut Choices<'_>, node: &Node) -> Decisions {
    let status = node.follower().status();
    let near = status.decided.until(status.last.plus(2));
    Decisions {
        log_id: status.log_id.filter(|_| !choices.one_in(8)).unwrap_or(LogId::new(2)),
        epoch: if choices.one_in(8) { status.epoch.next() } else { status.epoch },
        master: status.master.filter(|_| !choices.one_in(8)).unwrap_or(Incarnation::new(3)),
        decided: status.decided.plus(choices.below(6)),
        refused: near.take(16).filter(|_| choices.one_in(3)).collect(),
        sure: choices.one_in(2),
    }
}
