//! The cost of a write and of a read, part by part, without a network: `cargo bench --bench hot_paths`.
//!
//! The figures show which part to look at first. `test_client bench` measures what a user gets.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark measures edges, too")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use replicated_log::protocol::{
    Acknowledgement, Call, CopyId, Dispatch, Entry, EntryRef, Epoch, EpochHistory, Event, Follower, FollowerSettings,
    Found, FoundLog, Id, Incarnation, Leader, LeaderSettings, LogId, MemberId, Post, Roster, Slot, Ticket, Time,
    Timing, Watermark, WriteConcern, WritePart,
};
use replicated_log::store::{Disk, ReadLimit, Store};
use replicated_log::wire::client::{Posted, View, write_entry};
use replicated_log::wire::node::{EntriesText, Envelope, Replicate, write_call};
use std::sync::Arc;
use std::time::Duration;

fn main() {
    divan::main();
}

/// Messages of a round: those of one writer, and of 16, 64 and 256.
const ROUNDS: [u64; 4] = [1, 16, 64, 256];

fn entry(id: Id) -> Arc<Entry> {
    let (epoch, message) = (Epoch::new(1), "x".repeat(100).into());
    Arc::new(Entry { id, epoch, timestamp_ms: 1_760_000_000_000, message, key: None, part: WritePart::WHOLE })
}

fn entries(after: Id, count: u64) -> Vec<Arc<Entry>> {
    after.until(after.plus(count)).map(entry).collect()
}

fn slots(after: Id, count: u64) -> Vec<Slot> {
    entries(after, count).into_iter().map(Slot::Entry).collect()
}

/// The threads of a round: one for each secondary, started and joined.
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

/// The leader's bookkeeping.
mod leader {
    use super::*;

    const MEMBERS: [u32; 2] = [1, 2];

    fn begin() -> Leader {
        let settings = LeaderSettings {
            timing: Timing::new(Duration::from_secs(1_000_000)),
            quorum: None,
            pending_max: u64::MAX,
            keys_max: 0,
            catch_up_max: 1,
            in_doubt_wait: Duration::ZERO,
            promotion: None,
        };
        let mut history = EpochHistory::default();
        history.begin(Epoch::new(1), Id::new(1), Incarnation::new(1));
        let found = FoundLog::default();
        let mut leader =
            Leader::begin(settings, LogId::new(1), Incarnation::new(1), history, Roster::default(), found, Vec::new());
        for number in MEMBERS {
            let member = MemberId::new(number);
            let _ = leader.step(Time::ZERO, Event::Joined(member, None));
            let _ = leader.step(Time::ZERO, Event::Tick);
            let (incarnation, copy) = (Incarnation::new(number.into()), CopyId::new(number.into()));
            let found = Found { copy, ..Found::default() };
            let report = Ok(Follower::begin(FollowerSettings::default(), incarnation, found).status());
            let ready = leader.step(Time::ZERO, Event::Reported { member, report });
            acknowledge(&mut leader, ready.calls);
        }
        leader
    }

    fn acknowledge(leader: &mut Leader, calls: Vec<Dispatch>) -> Option<Watermark> {
        let mut note = None;
        for dispatch in calls {
            let acknowledgement = Acknowledgement {
                incarnation: dispatch.incarnation,
                durable: dispatch.carries,
                decided: dispatch.decided,
                session: dispatch.session,
                admitted: dispatch.admitted,
            };
            let sent = dispatch.carries;
            let ready = leader.step(Time::ZERO, Event::Acknowledged { dispatch, sent, acknowledgement });
            note = ready.note.or(note);
        }
        note
    }

    fn post(ticket: u64) -> Post {
        let (messages, concern) = (vec!["x".into()], WriteConcern::All);
        Post { ticket: Ticket(ticket), messages, key: None, concern, timeout: None, follows: None, timestamp_ms: 0 }
    }

    /// A round from its first message to its last reply.
    #[divan::bench(args = ROUNDS)]
    fn round(bencher: Bencher<'_, '_>, count: u64) {
        let (mut leader, mut now) = (begin(), Time::ZERO);
        bencher.counter(ItemsCount::new(count)).bench_local(|| {
            for ticket in 0..count {
                let _ = black_box(leader.step(now, Event::Posted(post(ticket))));
            }
            now = now.plus(Duration::from_millis(10));
            let round = leader.step(now, Event::Tick).round.expect("a round is due");
            let _ = black_box(leader.step(now, Event::Appended));
            let note = acknowledge(&mut leader, round.calls);
            assert!(note.is_some());
            let replies = leader.step(now, Event::WatermarkNoted).replies;
            assert_eq!(replies.len() as u64, count);
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
            epoch_start: None,
            history: None,
            roster: None,
            base: None,
            after: Id::ZERO,
            through: Id::new(count),
            entries: Vec::new(),
            restored: Vec::new(),
            refused: Vec::new(),
            decided: Id::ZERO,
            session: 1,
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
