//! What a write and a read cost, part by part, without a network: `cargo bench --bench hot_paths`.
//!
//! The figures say which part to look at first; what a user gets is measured by `test_client bench`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark measures edges, too")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use replicated_log::protocol::{
    Acknowledgement, Call, Entry, EntryRef, Epoch, EpochHistory, FoundLog, Id, Incarnation, Ledger, LogId, MemberId,
    Patience, Replica, Slot, WriteConcern,
};
use replicated_log::store::{Disk, ReadLimit, Store};
use replicated_log::wire::client::{Posted, View, write_entry};
use replicated_log::wire::node::{EntriesText, Envelope, Replicate, write_call};
use std::sync::Arc;

fn main() {
    divan::main();
}

/// Messages of a round: of a lone writer, and of 16, 64 and 256.
const ROUNDS: [u64; 4] = [1, 16, 64, 256];

fn entry(id: Id) -> Arc<Entry> {
    let (epoch, message) = (Epoch::new(1), "x".repeat(100).into());
    Arc::new(Entry { id, epoch, timestamp_ms: 1_760_000_000_000, message, key: None })
}

fn entries(after: Id, count: u64) -> Vec<Arc<Entry>> {
    after.until(after.plus(count)).map(entry).collect()
}

fn slots(after: Id, count: u64) -> Vec<Slot> {
    entries(after, count).into_iter().map(Slot::Entry).collect()
}

/// What a round has for its shape: a thread for each secondary, started and joined.
#[divan::bench(args = [1, 2, 5])]
fn threads_of_a_scope(secondaries: usize) {
    crossbeam::thread::scope(|scope| {
        for secondary in 0..secondaries {
            scope.spawn(move |_| black_box(secondary));
        }
    })
    .unwrap();
}

/// A log on disk: an append is durable when it returns.
mod store {
    use super::*;

    #[divan::bench(args = ROUNDS)]
    fn append(bencher: Bencher<'_, '_>, count: u64) {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        bencher
            .counter(ItemsCount::new(count))
            .with_inputs(|| slots(disk.last(), count))
            .bench_local_values(|slots| disk.append(&slots).unwrap());
    }

    #[divan::bench]
    fn page_of_100(bencher: Bencher<'_, '_>) {
        const MESSAGES: u64 = 100_000;
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        for start in (0..MESSAGES).step_by(10_000) {
            disk.append(&slots(Id::new(start), 10_000)).unwrap();
        }
        let limit = ReadLimit { slots_max: 100, bytes_max: usize::MAX };
        let mut after = 0;
        bencher.counter(ItemsCount::new(100_u64)).bench_local(|| {
            after = (after + 7_919) % (MESSAGES - 100);
            disk.read(Id::new(after), Id::MAX, limit).unwrap()
        });
    }
}

/// The master's bookkeeping: it must not depend on how much is open.
mod ledger {
    use super::*;

    const MEMBERS: [u32; 2] = [1, 2];

    fn begin(open: u64) -> Ledger {
        let (log_id, master) = (LogId::new(1), Incarnation::new(1));
        let mut history = EpochHistory::default();
        history.begin(Epoch::new(1), Id::new(1), master);
        let mut ledger = Ledger::begin(log_id, master, history, FoundLog::default());
        for number in MEMBERS {
            let (member, incarnation) = (MemberId::new(number), Incarnation::new(number.into()));
            ledger.join(member);
            let _ = ledger.reported(member, &Replica::empty(incarnation).holdings()).unwrap();
            let _ = ledger.dispatch_catch_up(member, 1);
            let _ = ledger.acknowledged(member, acknowledgement(number, Id::ZERO));
            assert!(ledger.admit(member));
        }
        if open > 0 {
            ledger.append(open, WriteConcern::All, Patience::UntilDeadline);
        }
        ledger
    }

    fn acknowledgement(number: u32, durable: Id) -> Acknowledgement {
        let incarnation = Incarnation::new(number.into());
        Acknowledgement { incarnation, durable, decided: Id::ZERO, turn: 1, admitted: true }
    }

    /// A round from its first message to its last answer.
    #[divan::bench(args = ROUNDS)]
    fn round(bencher: Bencher<'_, '_>, count: u64) {
        let mut ledger = begin(0);
        bencher.counter(ItemsCount::new(count)).bench_local(|| {
            for _ in 0..count {
                black_box(ledger.append(1, WriteConcern::All, Patience::FailFast));
            }
            let through = ledger.last();
            for number in MEMBERS {
                black_box(ledger.dispatch(MemberId::new(number), through));
            }
            let _ = black_box(ledger.stored(through));
            for number in MEMBERS {
                let _ = black_box(ledger.acknowledged(MemberId::new(number), acknowledgement(number, through)));
            }
        });
    }
}

/// JSON between clients and nodes, and between nodes.
mod wire {
    use super::*;

    #[divan::bench]
    fn read_posted(bencher: Bencher<'_, '_>) {
        let body = format!("{{\"message\":\"{}\"}}", "x".repeat(100));
        bencher.counter(ItemsCount::new(1_u64)).bench(|| Posted::from_json(black_box(body.as_bytes())).unwrap());
    }

    #[divan::bench(args = ROUNDS)]
    fn write_entries(bencher: Bencher<'_, '_>, count: u64) {
        let entries = entries(Id::ZERO, count);
        bencher.counter(ItemsCount::new(count)).bench(|| EntriesText::new(black_box(&entries)));
    }

    #[divan::bench(args = ROUNDS)]
    fn read_call(bencher: Bencher<'_, '_>, count: u64) {
        let envelope = Envelope { to: Incarnation::new(1), master_port: 5000 };
        let call = Call {
            log_id: LogId::new(1),
            epoch: Epoch::new(1),
            master: Incarnation::new(1),
            opening: None,
            history: None,
            after: Id::ZERO,
            through: Id::new(count),
            entries: Vec::new(),
            refused: Vec::new(),
            decided: Id::ZERO,
            turn: 1,
            admitted: true,
        };
        let call = write_call(envelope, &call, &EntriesText::new(&entries(Id::ZERO, count))).to_vec();
        bencher.counter(ItemsCount::new(count)).bench(|| Replicate::from_json(black_box(&call)).unwrap());
    }

    #[divan::bench(args = [View::Objects, View::Text])]
    fn write_page(bencher: Bencher<'_, '_>, view: View) {
        let entries = entries(Id::ZERO, 100);
        bencher.counter(ItemsCount::new(100_u64)).bench(|| {
            let mut json = Vec::with_capacity(32 << 10);
            entries.iter().for_each(|entry| write_entry(&mut json, EntryRef::from(black_box(&**entry)), view));
            json
        });
    }
}
