//! Nodes are killed with kill -9, one, two or all of them at once, while writers write and readers read. Afterwards every
//! message that was acknowledged is on every node at its id, no message that was refused is anywhere, and nothing that a
//! reader saw has gone.
//!
//! `CRASH_ROUNDS=200 cargo test --release --test crashes` is the long version; `CRASH_SEED` repeats a run.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::random::{self, Random};
use common::{Cluster, Reply, try_get, try_post};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const WRITERS: u64 = 8;
/// Between two messages of a writer, so that the log stays small enough to be read as a whole all the time.
const WRITER_PAUSE: Duration = Duration::from_millis(3);

/// What the writers were told.
#[derive(Default)]
struct Told {
    acknowledged: Mutex<BTreeMap<u64, String>>,
    refused: Mutex<Vec<String>>,
    unknown: AtomicU64,
}

impl Told {
    fn note(&self, message: String, reply: Option<Reply>) {
        match reply {
            Some(reply) if reply.status == 201 => {
                let id = reply.body["message_id"].as_u64().unwrap();
                let before = self.acknowledged.lock().unwrap().insert(id, message);
                assert_eq!(before, None, "id {id} was given twice");
            }
            Some(reply) if reply.body["outcome"] == "not_appended" => self.refused.lock().unwrap().push(message),
            _ => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_appears_through_kill_9() {
    let rounds = random::variable("CRASH_ROUNDS").unwrap_or(6);
    let seed = random::seed("CRASH_SEED");
    println!("CRASH_SEED={seed}");
    let mut random = Random::new(seed);
    let mut cluster = Cluster::start(&["0", "0"]);
    let urls: Vec<String> = cluster.nodes().map(|node| node.url("/messages")).collect();
    let (told, ended) = (Told::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (told, ended) = (&told, &ended);
        for url in &urls {
            scope.spawn(move || read_until(url, ended));
        }
        for writer in 0..WRITERS {
            let url = &urls[0];
            scope.spawn(move || write_until(url, writer, told, ended));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..rounds {
                crash_once(&mut cluster, &mut random, told);
            }
        }));
        ended.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    cluster.wait_writable();
    assert_eq!(cluster.post("the end").status, 201);
    check(&cluster, &told, seed);
}

/// Lets some messages through, kills some nodes, and starts them again in some order.
fn crash_once(cluster: &mut Cluster, random: &mut Random, told: &Told) {
    let before = told.acknowledged.lock().unwrap().len();
    common::wait_until("messages get through", || told.acknowledged.lock().unwrap().len() > before + 20);
    let victims = 1 + random.below(7);
    let is_victim = |index: usize| victims & (1 << index) != 0;
    thread::sleep(Duration::from_micros(random.below(20_000)));
    for (_, node) in cluster.nodes_mut().enumerate().filter(|(index, _)| is_victim(*index)) {
        node.kill();
    }
    let master_first = random.below(2) == 0;
    let mut indices: Vec<usize> = (0..3).filter(|&index| is_victim(index)).collect();
    if !master_first {
        indices.reverse();
    }
    for index in indices {
        cluster.nodes_mut().nth(index).unwrap().start();
    }
    cluster.wait_writable();
}

fn write_until(url: &str, writer: u64, told: &Told, ended: &AtomicBool) {
    for number in 0.. {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        let message = format!("writer {writer}, message {number}");
        let reply = try_post(url, &json!({ "message": message }));
        told.note(message, reply);
        thread::sleep(WRITER_PAUSE);
    }
}

/// Reads a node again and again: what it showed it must keep showing, also after it was killed.
fn read_until(url: &str, ended: &AtomicBool) {
    let mut shown: Vec<(u64, String)> = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let from = shown.last().map_or(1, |(id, _)| *id);
        let Some(reply) = try_get(&format!("{url}?from={from}")) else { continue };
        let mut listed = common::pairs(&reply.body);
        if let Some(last) = shown.pop() {
            assert_eq!(listed.first(), Some(&last), "{url} showed id {} and does not any more", last.0);
        }
        shown.append(&mut listed);
    }
    let whole = try_get(url).map(|reply| common::pairs(&reply.body));
    if let Some(whole) = whole {
        assert!(whole.starts_with(&shown), "{url} showed what it does not show any more");
    }
}

fn check(cluster: &Cluster, told: &Told, seed: u64) {
    let messages = cluster.assert_same_everywhere();
    let by_id: BTreeMap<u64, String> = messages.iter().cloned().collect();
    let acknowledged = told.acknowledged.lock().unwrap();
    for (id, message) in acknowledged.iter() {
        assert_eq!(by_id.get(id), Some(message), "acknowledged, CRASH_SEED={seed}");
    }
    let refused = told.refused.lock().unwrap();
    for message in refused.iter() {
        assert!(!by_id.values().any(|shown| shown == message), "{message} was refused and is shown, CRASH_SEED={seed}");
    }
    let unknown = told.unknown.load(Ordering::Relaxed);
    println!("{} acknowledged, {} refused, {unknown} unknown; nothing lost", acknowledged.len(), refused.len());
    assert!(by_id.len() as u64 <= acknowledged.len() as u64 + unknown + 1, "nothing came from nowhere");
}
