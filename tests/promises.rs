//! Forty writers with every kind of wish, readers on every node, and faults of every kind: the promises hold.
//!
//! What is judged is what clients were told, against what the nodes show in the end and what readers saw meanwhile; the
//! code's own opinion counts for nothing.
//!
//! `PROMISES_SECONDS=60 cargo test --release --test promises -- --nocapture` is the long version; `PROMISES_SEED` repeats
//! the choices of a run, though not its timing.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::random::{self, Random};
use common::{Cluster, Node, Reply, delete, get, pairs, post, put, try_get, try_post_keyed};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: u64 = 40;
/// Between two writes of a writer, at most: the log stays small enough to be read as a whole in the end.
const WRITER_PAUSE_MS: u64 = 40;
const COPIES: [&str; 6] = ["", "1", "2", "3", "majority", "all"];
const TIMEOUTS: [f64; 4] = [0.0, 0.0, 0.3, 2.0];

/// A write: one message, or a batch.
struct Write {
    texts: Vec<String>,
    key: Option<String>,
    copies: &'static str,
    timeout: f64,
}

impl Write {
    fn by_chance(name: &str, random: &mut Random) -> Write {
        let count = if random.one_in(8) { 2 + random.below(4) } else { 1 };
        Write {
            texts: (0..count).map(|part| format!("{name}, part {part} of {count}")).collect(),
            key: random.one_in(2).then(|| name.replace([' ', ','], "-")),
            copies: random.one_of(&COPIES),
            timeout: random.one_of(&TIMEOUTS),
        }
    }

    fn body(&self) -> Value {
        match &self.texts[..] {
            [text] => json!({ "message": text }),
            texts => json!(texts),
        }
    }

    /// How many nodes have to hold it: three, unless it says otherwise.
    fn wanted(&self) -> u64 {
        match self.copies {
            "1" => 1,
            "2" | "majority" => 2,
            _ => 3,
        }
    }
}

/// What a writer was told at last.
#[derive(Debug)]
enum Told {
    /// It is in the log, the first of its messages under this id.
    Committed(u64),
    Refused,
    Unknown,
}

impl Told {
    /// Reads a reply, and checks what it says of itself.
    fn of(write: &Write, reply: Option<&Reply>) -> Told {
        let Some(reply) = reply else { return Told::Unknown };
        match reply.status {
            201 | 202 => {
                let copies = reply.body["replicated_to"].as_u64().unwrap() + 1;
                let enough = reply.status == 202 || copies >= write.wanted() || reply.body["ms"] == 0;
                assert!(enough, "{copies} copies of {}: {reply:?}", write.wanted());
                let ids = &reply.body["message_ids"];
                let first = if ids.is_null() { &reply.body["message_id"] } else { &ids["first"] };
                Told::Committed(first.as_u64().unwrap())
            }
            _ if reply.body["outcome"] == "not_appended" => Told::Refused,
            504 => Told::Unknown,
            _ => panic!("{reply:?}"),
        }
    }
}

/// A write that was acknowledged.
struct Acknowledged {
    first: u64,
    texts: Vec<String>,
    sent: Instant,
    answered: Instant,
}

/// Everything that clients were told.
#[derive(Default)]
struct History {
    acknowledged: Mutex<Vec<Acknowledged>>,
    refused: Mutex<BTreeSet<String>>,
    unknown: Mutex<Vec<Vec<String>>>,
    replays: AtomicU64,
    reads: AtomicU64,
    /// The highest id that was acknowledged, and the highest of those that every node was to hold.
    newest: AtomicU64,
    newest_everywhere: AtomicU64,
}

impl History {
    fn note(&self, write: &Write, told: &Told, sent: Instant) {
        let texts = write.texts.clone();
        match told {
            Told::Committed(first) => {
                let last = first + texts.len() as u64 - 1;
                self.newest.fetch_max(last, Ordering::SeqCst);
                let answered = Instant::now();
                self.acknowledged.lock().unwrap().push(Acknowledged { first: *first, texts, sent, answered });
            }
            Told::Refused => self.refused.lock().unwrap().extend(texts),
            Told::Unknown => self.unknown.lock().unwrap().push(texts),
        }
    }
}

#[test]
fn the_promises_hold_whatever_writers_want_and_whatever_fails() {
    let lasts = Duration::from_secs(random::variable("PROMISES_SECONDS").unwrap_or(8));
    let seed = random::seed("PROMISES_SEED");
    println!("PROMISES_SEED={seed}");
    let variables = [("ENABLE_FAULTS", "1"), ("HEARTBEAT_INTERVAL", "0.2"), ("REPLICATION_TIMEOUT", "2")];
    let mut cluster = Cluster::start_with(&["0", "0"], &variables);
    let urls: Vec<String> = cluster.nodes().map(|node| node.url("/messages")).collect();
    let (history, ended) = (History::default(), AtomicBool::new(false));
    let faults = thread::scope(|scope| {
        let (history, ended) = (&history, &ended);
        for url in &urls {
            scope.spawn(move || read_until(url, history, ended));
        }
        for writer in 0..WRITERS {
            let url = &urls[0];
            scope.spawn(move || write_until(url, writer, Random::new(seed ^ (writer << 32)), history, ended));
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| trouble(&mut cluster, lasts, Random::new(seed))));
        ended.store(true, Ordering::SeqCst);
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    });
    // A fault outlasts the trouble, and may be there to fail the next call.
    for node in cluster.nodes() {
        assert_eq!(delete(&node.url("/faults")).status, 200);
    }
    let last = post(&cluster.master.url("/messages?timeout=60"), &json!({ "message": "the end" }));
    assert_eq!(last.status, 201, "{last:?}");
    let log = cluster.assert_same_everywhere();
    println!("PROMISES_SEED={seed}: {faults} faults; {}", judge(&history, &log));
}

/// One fault after another, with a moment of peace in between.
fn trouble(cluster: &mut Cluster, lasts: Duration, mut random: Random) -> u64 {
    let end = Instant::now() + lasts;
    let mut faults = 0;
    while Instant::now() < end {
        let node = cluster.nodes_mut().nth(random.below(3) as usize).expect("three nodes");
        harm(node, &mut random);
        faults += 1;
        thread::sleep(Duration::from_millis(random.below(400)));
    }
    faults
}

fn harm(node: &mut Node, random: &mut Random) {
    let seconds = (1 + random.below(15)) as f64 / 10.0;
    let fault = match random.below(9) {
        0 => json!({ "hold": seconds / 3.0, "calls": 1 + random.below(3) }),
        1 => json!({ "delay": seconds / 3.0 }),
        2 => json!({ "fail": "before", "calls": 1 + random.below(3) }),
        3 => json!({ "fail": "after", "calls": 1 + random.below(3) }),
        4 => json!({ "cut": "in" }),
        5 => json!({ "cut": "out" }),
        6 => json!({ "cut": "both" }),
        7 => {
            node.signal(Signal::STOP);
            thread::sleep(Duration::from_secs_f64(seconds / 2.0));
            node.signal(Signal::CONT);
            return;
        }
        _ => {
            node.kill();
            thread::sleep(Duration::from_millis(random.below(200)));
            node.start();
            return;
        }
    };
    let mut fault = fault;
    fault["for"] = json!(seconds);
    assert_eq!(put(&node.url("/faults"), &fault).status, 200, "{fault}");
}

fn write_until(url: &str, writer: u64, mut random: Random, history: &History, ended: &AtomicBool) {
    for number in 0.. {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        let write = Write::by_chance(&format!("writer {writer}, write {number}"), &mut random);
        let sent = Instant::now();
        let told = post_write(url, &write, false, history);
        history.note(&write, &told, sent);
        if let (Told::Committed(first), true) = (&told, write.key.is_some() && random.one_in(4)) {
            let again = post_write(url, &write, true, history);
            assert!(matches!(again, Told::Committed(again) if again == *first), "{first} is now {again:?}");
            history.replays.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(random.below(WRITER_PAUSE_MS)));
    }
}

/// Posts a write; one with a key as often as it takes to know what became of it.
fn post_write(url: &str, write: &Write, mut is_retry: bool, history: &History) -> Told {
    let copies = if write.copies.is_empty() { String::new() } else { format!("&w={}", write.copies) };
    let url = format!("{url}?timeout={}{copies}", write.timeout);
    loop {
        let reply = try_post_keyed(&url, write.key.as_deref(), &write.body());
        let told = Told::of(write, reply.as_ref());
        // What is refused for now says nothing of an earlier attempt.
        let says_nothing = is_retry && reply.as_ref().is_some_and(|reply| reply.status == 503);
        if write.key.is_none() || !(says_nothing || matches!(told, Told::Unknown)) {
            let is_everywhere = write.wanted() == 3 && reply.is_some_and(|reply| reply.status == 201 && !is_retry);
            if let (Told::Committed(first), true) = (&told, is_everywhere) {
                let last = first + write.texts.len() as u64 - 1;
                history.newest_everywhere.fetch_max(last, Ordering::SeqCst);
            }
            return told;
        }
        is_retry = true;
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reads a node again and again: it keeps showing what it showed, and it shows what was acknowledged before the read
/// began, unless it says that it may not.
fn read_until(url: &str, history: &History, ended: &AtomicBool) {
    let mut shown: Vec<(u64, String)> = Vec::new();
    for number in 0_u64.. {
        if ended.load(Ordering::SeqCst) {
            break;
        }
        let from = shown.last().map_or(1, |(id, _)| *id);
        let (consistency, expected) = match number % 3 {
            0 => ("&consistency=strong", &history.newest),
            1 => ("&consistency=prefix", &AtomicU64::new(0)),
            _ => ("", &history.newest_everywhere),
        };
        let expected = expected.load(Ordering::SeqCst);
        let Some(reply) = try_get(&format!("{url}?from={from}{consistency}")).filter(|reply| reply.status == 200)
        else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut listed = pairs(&reply.body);
        if let Some(last) = shown.pop() {
            assert_eq!(listed.first(), Some(&last), "{url} showed id {} and does not any more", last.0);
        }
        shown.append(&mut listed);
        let newest = shown.last().map_or(0, |(id, _)| *id);
        let is_sure = reply.body["possibly_stale"] != true;
        assert!(newest >= expected || !is_sure, "{url}{consistency} shows {newest}, but {expected} was acknowledged");
        history.reads.fetch_add(1, Ordering::Relaxed);
    }
    let whole = pairs(&get(url).body);
    assert!(whole.starts_with(&shown), "{url} showed what it does not show any more");
}

fn judge(history: &History, log: &[(u64, String)]) -> String {
    let by_id: BTreeMap<u64, &str> = log.iter().map(|(id, text)| (*id, text.as_str())).collect();
    let ids: BTreeMap<&str, u64> = log.iter().map(|(id, text)| (text.as_str(), *id)).collect();
    assert_eq!(ids.len(), log.len(), "a message is in the log twice");

    let acknowledged = history.acknowledged.lock().unwrap();
    for write in acknowledged.iter() {
        for (id, text) in (write.first..).zip(&write.texts) {
            assert_eq!(by_id.get(&id), Some(&text.as_str()), "acknowledged under {id}");
        }
    }
    let refused = history.refused.lock().unwrap();
    for text in refused.iter() {
        assert_eq!(ids.get(text.as_str()), None, "{text} was refused and is shown");
    }
    let unknown = history.unknown.lock().unwrap();
    let mut appeared = 0;
    for texts in unknown.iter() {
        let held: Vec<u64> = texts.iter().filter_map(|text| ids.get(text.as_str()).copied()).collect();
        assert!(held.is_empty() || held.len() == texts.len(), "a part of a batch is in the log: {texts:?}");
        assert!(held.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a batch was torn apart: {texts:?}");
        appeared += held.len();
    }
    let messages: usize = acknowledged.iter().map(|write| write.texts.len()).sum();
    assert_eq!(log.len(), messages + appeared + 1, "nothing came from nowhere");
    judge_order(&acknowledged);
    format!(
        "{} messages acknowledged, {} refused, {} writes unknown ({appeared} messages of them in the log), {} replays, \
         {} reads: nothing lost, nothing shown that was refused, one order",
        messages,
        refused.len(),
        unknown.len(),
        history.replays.load(Ordering::Relaxed),
        history.reads.load(Ordering::Relaxed)
    )
}

/// A write that was sent after another one had been acknowledged comes after it.
fn judge_order(acknowledged: &[Acknowledged]) {
    let mut by_sent: Vec<&Acknowledged> = acknowledged.iter().collect();
    by_sent.sort_by_key(|write| write.sent);
    let mut by_answered = by_sent.clone();
    by_answered.sort_by_key(|write| write.answered);
    let (mut highest, mut earlier) = (0, by_answered.into_iter().peekable());
    for write in by_sent {
        while let Some(before) = earlier.next_if(|before| before.answered < write.sent) {
            highest = highest.max(before.first);
        }
        assert!(write.first > highest, "id {} was sent after id {highest} had been acknowledged", write.first);
    }
}
