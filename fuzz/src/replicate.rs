//! A body of `POST /replicate`, read and given to replicas: one that no master has called, and one with a log.

use super::node::Node;
use replicated_log::protocol::{Call, Entry, Epoch, Id, Incarnation, LogId, WritePart};
use replicated_log::wire::node::{Envelope, Replicate};
use std::sync::Arc;

/// Reads the bytes. What is not a call is refused with an error. See `node.rs` for the rest.
pub fn check(bytes: &[u8]) {
    let mut nodes = [Node::new(), node_with_a_log()];
    match Replicate::from_json(bytes) {
        Ok(Replicate::Call(call)) => {
            for node in &mut nodes {
                // Sent twice, as after an acknowledgement that was lost.
                let first = node.receive(call.0, &call.1);
                let second = node.receive(call.0, &call.1);
                assert_eq!(first.is_ok(), second.is_ok(), "{first:?} and then {second:?}");
                node.restart();
            }
        }
        Ok(Replicate::Bare { id, message }) => nodes.iter_mut().for_each(|node| {
            node.receive_foreign(id, Arc::clone(&message));
            node.restart();
        }),
        Err(why) => assert!(!why.is_empty()),
    }
}

/// Log 1 in epoch 2: five ids, of which the second is refused and three are decided.
fn node_with_a_log() -> Node {
    let entry = |id: u64| {
        let message = format!("message {id}").into();
        Arc::new(Entry {
            id: Id::new(id),
            epoch: Epoch::new(2),
            timestamp_ms: 7,
            message,
            key: None,
            part: WritePart::WHOLE,
        })
    };
    let call = Call {
        log_id: LogId::new(1),
        epoch: Epoch::new(2),
        master: Incarnation::new(9),
        epoch_start: Some(replicated_log::protocol::EpochStart { since: Epoch::NONE, overtaken_from: Id::new(1) }),
        history: None,
        roster: None,
        base: None,
        after: Id::ZERO,
        through: Id::new(5),
        entries: [1, 3, 4, 5].map(entry).to_vec(),
        restored: Vec::new(),
        refused: vec![Id::new(2)],
        decided: Id::new(3),
        session: 1,
        admitted: true,
    };
    let mut node = Node::new();
    let acknowledged = node.receive(Envelope { to: Incarnation::new(1), master_port: 5_000 }, &call);
    assert!(acknowledged.is_ok(), "{acknowledged:?}");
    node
}
