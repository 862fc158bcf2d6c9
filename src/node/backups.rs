//! `GET /backup`: the decided part of the log as a file, while the node serves.

use crate::http::{Pieces, Reply};
use crate::process::clock;
use crate::protocol::{Base, Id};
use crate::store::{Identity, ReadLimit, Store};
use crate::wire::backup::{Head, SecondaryLine, Tally, write_line, write_slot};
use crate::wire::timestamp::rfc3339;
use std::io;
use std::sync::Arc;

/// The most that a node reads and sends at a time.
const PIECE: ReadLimit = ReadLimit { slots_max: 1_000, bytes_max: 256 << 10 };

/// Answers with everything up to a decided id.
pub(crate) fn backup(store: &Arc<dyn Store>, server_id: &str, through: Id) -> Reply {
    match store.identity() {
        Ok(Some(identity)) => {
            let base = store.base();
            let head = head_of(identity, server_id.to_owned(), (base, through));
            Reply::lines(pieces(Arc::clone(store), &head, base))
        }
        Ok(None) => Reply::not_found("this node holds no log yet"),
        Err(error) => Reply::no_answer(500, &error.to_string()),
    }
}

fn head_of(identity: Identity, server_id: String, (base, through): (Base, Id)) -> Head {
    let secondary = |member: crate::store::KnownMember| SecondaryLine { server_id: member.name, url: member.url };
    let Identity { lineage, members } = identity;
    let secondaries = members.into_iter().map(secondary).collect();
    Head::new(rfc3339(clock::now_ms()), server_id, lineage.log_id, &lineage.history, base, through, secondaries)
}

fn pieces(store: Arc<dyn Store>, head: &Head, base: Base) -> Pieces {
    let through = head.through();
    let mut first = Vec::new();
    write_line(&mut first, head);
    let head_line = first.clone();
    let mut first = Some(first);
    let mut tally = Tally::after(base);
    let mut ended = false;
    Box::new(move || {
        if let Some(line) = first.take() {
            return Ok(Some(line));
        }
        if ended {
            return Ok(None);
        }
        let mut lines = Vec::with_capacity(PIECE.bytes_max);
        if tally.last < through {
            let slots = store.read(tally.last, through, PIECE).map_err(io::Error::other)?;
            if slots.is_empty() {
                return Err(io::Error::other(format!("the store lacks id {}", tally.last.next())));
            }
            for slot in &slots {
                tally.add(slot);
                write_slot(&mut lines, slot);
            }
        } else {
            write_line(&mut lines, &tally.end(&head_line));
            ended = true;
        }
        Ok(Some(lines))
    })
}
