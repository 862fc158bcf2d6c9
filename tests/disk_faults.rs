//! How many syncs a write costs, and what happens when a disk fails or is full: real processes, real faults. strace
//! counts the syncs of running nodes and makes some fail. A full disk is a small one of the node's own.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;
#[path = "disk_faults/small_disk.rs"]
mod small_disk;
#[path = "disk_faults/strace.rs"]
mod strace;

use common::{Cluster, Ends, Node, Reply, get, post, post_with, try_post, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use small_disk::SmallDisk;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;
use strace::Strace;

const LONE_WRITES: usize = 40;
const BURST: usize = 64;
const WRITERS: usize = 8;
const LARGE_BYTES: usize = 100_000;
/// The pause of a writer between two messages while the cluster refuses them.
const WRITER_PAUSE: Duration = Duration::from_millis(5);

/// Whether a requirement of some tests is met. If it is not, prints why, or fails where the environment demands it.
fn is_available(required: &str, find: impl FnOnce() -> Result<(), String>) -> bool {
    let found = find();
    if let Err(why) = &found {
        assert!(std::env::var_os(required).is_none_or(|value| value != "1"), "{required} is set: {why}");
        // The test harness hides what println! prints in a test that passes.
        writeln!(io::stderr().lock(), "skipped: {}", why.replace('\n', " ")).unwrap();
    }
    found.is_ok()
}

#[test]
fn a_round_costs_one_sync_on_each_node() {
    if !strace::is_available() {
        return;
    }
    let cluster = Cluster::start(&["0", "0"]);
    assert_eq!(cluster.post("before").status, 201);
    let recordings: Vec<_> = cluster.nodes().map(Strace::record).collect();
    for number in 1..=LONE_WRITES {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    wait_until_all_is_decided(&cluster);
    let syncs: Vec<_> = recordings.into_iter().map(strace::Recording::syncs_of_writes).collect();
    assert_eq!(syncs, [LONE_WRITES; 3], "one for each write, none for a decision");
}

/// The delay holds up the first round, so that most of the burst waits for it: the delay decides how many rounds begin,
/// and not the speed of the machine.
#[test]
fn a_burst_of_writes_shares_its_syncs() {
    if !strace::is_available() {
        return;
    }
    let cluster = Cluster::start(&["1", "0"]);
    assert_eq!(cluster.post("before").status, 201);
    wait_until_all_is_decided(&cluster);
    let rounds_before = rounds_with_messages(&cluster);
    let recordings: Vec<_> = cluster.nodes().map(Strace::record).collect();
    post_at_once(&cluster, BURST);
    wait_until_all_is_decided(&cluster);
    let rounds = rounds_with_messages(&cluster) - rounds_before;
    let syncs: Vec<_> = recordings.into_iter().map(strace::Recording::syncs_of_writes).collect();
    // Rounds that begin while the master's disk is busy are stored together, and so are those that reach a secondary in
    // another order.
    assert!(syncs.iter().all(|count| (1..=rounds).contains(count)), "{syncs:?} in {rounds} rounds");
    assert!(rounds <= BURST / 4, "{rounds} rounds for {BURST} messages");
    assert_eq!(cluster.assert_same_everywhere().len(), 1 + BURST);
}

fn post_at_once(cluster: &Cluster, count: usize) {
    let begin = Barrier::new(count);
    thread::scope(|scope| {
        for number in 1..=count {
            let begin = &begin;
            scope.spawn(move || {
                begin.wait();
                assert_eq!(cluster.post(&format!("message {number} of a burst")).status, 201);
            });
        }
    });
}

/// Waits until the secondaries know every decision of the master: no write has any more work to do then.
fn wait_until_all_is_decided(cluster: &Cluster) {
    let last = cluster.master.health()["last"].clone();
    wait_until("everything is decided everywhere", || cluster.nodes().all(|node| node.health()["decided"] == last));
}

fn rounds_with_messages(cluster: &Cluster) -> usize {
    let (_, metrics) = cluster.master.get_text("/metrics");
    let count = metrics.lines().find_map(|line| line.strip_prefix("replicated_log_round_messages_count "));
    count.expect("they are counted").parse().unwrap()
}

/// A write that waits for the disk behind one that fails gets no 201 either, though its own sync would not fail.
#[test]
fn a_failed_sync_is_the_last_write_also_for_those_who_wait_behind_it() {
    if !strace::is_available() {
        return;
    }
    let cluster = Cluster::start(&[]);
    assert_eq!(cluster.post("before").status, 201);
    let _fault = Strace::fail_slow_syncs_of_rounds(&cluster.master, &cluster.master.data().join("log.sqlite-wal"));
    let url = cluster.master.url("/secondaries");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let post = scope.spawn(|| cluster.post("on a broken disk").status);
        wait_until("it is under way", || cluster.master.health()["pending"] == 1);
        let register = |number: u32| {
            let url = &url;
            let body = json!({ "url": format!("http://localhost:{}", 1_000 + number) });
            scope.spawn(move || common::post(url, &body).status)
        };
        let registrations = [1, 2, 3].map(register);
        [post].into_iter().chain(registrations).map(|request| request.join().unwrap()).collect()
    });
    assert_eq!(statuses, [504, 503, 503, 503], "none of them is acknowledged");
    assert_eq!(cluster.master.health()["writable"], false);
}

#[test]
fn a_failed_sync_is_the_last_write_of_a_master() {
    if !strace::is_available() {
        return;
    }
    let mut cluster = Cluster::start(&["0", "0"]);
    assert_eq!(cluster.post("before").status, 201);
    let fault = Strace::fail_syncs(&cluster.master, &cluster.master.data().join("log.sqlite-wal"));
    let post_with_key = || {
        let body = json!({ "message": "on a broken disk" });
        post_with(&cluster.master.url("/messages"), "Idempotency-Key", "broken", &body)
    };
    let failed = post_with_key();
    drop(fault);
    assert_eq!(outcome(&failed.body), "unknown", "{failed:?}");
    let again = post_with_key();
    assert_eq!((again.status, outcome(&again.body)), (504, "unknown"), "a secondary may hold it: {again:?}");

    for _ in 0..3 {
        let refused = cluster.post("refused");
        assert_eq!((refused.status, outcome(&refused.body)), (503, "not_appended"), "{refused:?}");
        assert_names(&refused.body["error"], &["could not be written", "log.sqlite"]);
    }
    let health = cluster.master.health();
    assert_eq!(health["writable"], false, "{health}");
    assert_names(&health["reason"], &["could not be written", "log.sqlite"]);
    cluster.master.wait_for_log("this master takes no more writes");
    for node in cluster.nodes() {
        assert_eq!(node.messages()[0].1, "before", "{} goes on to serve reads", node.name);
    }

    cluster.nodes_mut().for_each(Node::kill);
    start(&mut cluster);
    assert_eq!(cluster.post("after").status, 201);
    let mut messages = texts(&cluster);
    messages.retain(|message| message != "on a broken disk");
    assert_eq!(messages, ["before", "after"]);
}

/// The secondary holds a message that the master lost when it was killed, and the master has given its id to another
/// one. In the call that brings the other one, the secondary drops the old message, and syncs its watermark file.
#[test]
fn a_secondary_killed_while_it_enters_an_epoch_holds_nothing_of_the_one_before() {
    if !strace::is_available() {
        return;
    }
    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("first").status, 201);
    let slow = Strace::delay_writes(&cluster.master, &cluster.master.data().join("log.sqlite-wal"));
    thread::scope(|scope| {
        let url = cluster.master.url("/messages");
        scope.spawn(move || try_post(&url, &json!({ "message": "never written by the master" })));
        wait_until("the secondary holds the message", || cluster.secondaries[0].health()["last"] == 2);
        cluster.master.signal(Signal::KILL);
    });
    drop(slow);
    cluster.nodes_mut().for_each(Node::kill);
    cluster.master.start();
    assert_eq!(post(&cluster.master.url("/messages?w=1"), &json!({ "message": "second" })).body["message_id"], 2);

    cluster.master.signal(Signal::STOP);
    cluster.secondaries[0].start();
    let killer = Strace::kill_at_sync(&cluster.secondaries[0], &cluster.secondaries[0].data().join("watermark"));
    cluster.master.signal(Signal::CONT);
    cluster.secondaries[0].wait();
    drop(killer);
    cluster.secondaries[0].start();
    cluster.wait_writable();
    assert_eq!(cluster.post("third").status, 201);
    assert_eq!(texts(&cluster), ["first", "second", "third"]);
}

#[test]
fn a_failed_sync_is_the_last_write_of_a_secondary() {
    if !strace::is_available() {
        return;
    }
    let mut cluster = Cluster::start(&["0", "0"]);
    assert_eq!(cluster.post("before").status, 201);
    let broken = &cluster.secondaries[1];
    wait_until("the secondary knows that it is decided", || broken.health()["decided"] == 1);
    let fault = Strace::fail_syncs(broken, &broken.data().join("log.sqlite-wal"));
    let failed = cluster.post("on a broken disk");
    drop(fault);
    assert_refused_without(&failed, "secondary-2");
    assert_names(&failed.body["secondaries"][1]["detail"], &["could not be written", "log.sqlite"]);

    for _ in 0..3 {
        assert_refused_without(&cluster.post("refused"), "secondary-2");
    }
    let reason = || cluster.master.health()["reason"].as_str().unwrap_or_default().to_owned();
    wait_until("the master says why", || reason().contains("secondary-2: cannot store messages"));
    assert_eq!(cluster.master.health()["writable"], false);
    let health = cluster.secondaries[1].health();
    assert_names(&health["failure"], &["could not be written", "log.sqlite"]);
    assert_eq!(get(&cluster.secondaries[1].url("/readyz")).status, 503);
    for node in cluster.nodes() {
        assert_eq!(node.messages()[0].1, "before", "{} goes on to serve reads", node.name);
    }

    cluster.secondaries[1].kill();
    cluster.secondaries[1].start();
    cluster.wait_writable();
    assert_eq!(cluster.post("after").status, 201);
    assert_eq!(texts(&cluster), ["before", "after"]);
}

#[test]
fn a_master_on_a_full_disk_refuses_messages_until_there_is_room() {
    if !small_disk::is_available() {
        return;
    }
    let (mut cluster, disk) = SmallDisk::prepare(&["0", "0"], |cluster| &mut cluster.master);
    start(&mut cluster);
    let mut writer = Writer::new("writer");
    writer.post_until_refused_on_full(&cluster, &disk);
    assert_refused_for_want_of_room(&writer.last);
    wait_until("the ballast is given up", || !disk.file("ballast").exists());
    for _ in 0..5 {
        assert!(!writer.post(&cluster, 1));
        assert_refused_for_want_of_room(&writer.last);
        assert_master_is_full(&cluster);
    }
    assert_eq!(texts(&cluster), writer.kept, "reads go on, and nothing that was refused is anywhere");

    cluster.master.kill();
    cluster.master.start();
    assert_master_is_full(&cluster);
    assert!(!writer.post(&cluster, 1), "the disk is as full as before");
    assert_eq!(texts(&cluster), writer.kept);

    assert_goes_on_by_itself(&mut cluster, &disk, &mut writer);
}

#[test]
fn a_secondary_on_a_full_disk_is_not_counted_on_until_there_is_room() {
    if !small_disk::is_available() {
        return;
    }
    let (mut cluster, disk) = SmallDisk::prepare(&["0", "0"], |cluster| &mut cluster.secondaries[1]);
    start(&mut cluster);
    let mut writer = Writer::new("writer");
    writer.post_until_refused_on_full(&cluster, &disk);
    wait_until("the ballast is given up", || !disk.file("ballast").exists());
    for _ in 0..5 {
        assert_refused_without(&writer.last, "secondary-2");
        assert_names(&writer.last.body["secondaries"][1]["detail"], &["the disk is full"]);
        assert_secondary_is_full(&cluster);
        assert!(!writer.post(&cluster, 1));
    }
    assert_eq!(texts(&cluster), writer.kept, "reads go on, and nothing that was refused is anywhere");

    cluster.secondaries[1].kill();
    cluster.secondaries[1].start();
    assert_secondary_is_full(&cluster);
    assert!(!writer.post(&cluster, 1), "the disk is as full as before");
    assert_eq!(texts(&cluster), writer.kept);

    assert_goes_on_by_itself(&mut cluster, &disk, &mut writer);
}

/// A log that is limited makes room by itself, also for a secondary that is away.
#[test]
fn a_full_disk_makes_room_for_what_is_kept() {
    if !small_disk::is_available() {
        return;
    }
    let of_master: fn(&mut Cluster) -> &mut Node = |cluster| &mut cluster.master;
    for (who, choose) in [("master", of_master), ("secondary-1", |cluster| &mut cluster.secondaries[0])] {
        let (mut cluster, _disk) = SmallDisk::prepare(&["0", "0"], choose);
        cluster.master.set("RETAIN_MESSAGES", "30");
        cluster.master.set("QUORUM", "1");
        start(&mut cluster);
        cluster.secondaries[1].kill();
        let post = |number: usize| {
            let body = json!({ "message": format!("{number} {}", "x".repeat(LARGE_BYTES)), "w": 2 });
            post(&cluster.master.url("/messages"), &body).status
        };
        let mut posted = 0;
        let mut post_until = |what: &str, status: &dyn Fn(u16) -> bool| {
            wait_until(what, || {
                posted += 1;
                status(post(posted))
            });
        };
        post_until(&format!("the disk of {who} is full"), &|status| status != 201);
        assert_eq!(cluster.master.health()["begins"], 1, "it was kept for secondary-2");
        for _ in 0..50 {
            post_until(&format!("{who} takes messages again"), &|status| status == 201);
        }
        cluster.secondaries[1].start();
        cluster.wait_writable();
        wait_until("all hold the same", || get(&cluster.master.url("/verify")).status == 200);
        wait_until("the limit holds again", || cluster.nodes().all(|node| node.health()["message_count"] == 30));
    }
}

#[test]
fn the_disk_of_the_master_fills_while_many_write() {
    fill_while_many_write(|cluster| &mut cluster.master);
}

#[test]
fn the_disk_of_a_secondary_fills_while_many_write() {
    fill_while_many_write(|cluster| &mut cluster.secondaries[0]);
}

fn fill_while_many_write(choose: impl Fn(&mut Cluster) -> &mut Node) {
    if !small_disk::is_available() {
        return;
    }
    // With a delay, more than one round is under way when the disk is full.
    let (mut cluster, disk) = SmallDisk::prepare(&["0.05", "0"], choose);
    start(&mut cluster);
    let (kept, refused, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let writers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 1..=WRITERS {
            let (cluster, kept, refused, done, writers) = (&cluster, &kept, &refused, &done, &writers);
            scope.spawn(move || {
                let mut writer = Writer::new(&format!("writer {number}"));
                while !done.load(Ordering::Relaxed) {
                    if writer.post(cluster, LARGE_BYTES / WRITERS) {
                        kept.fetch_add(1, Ordering::Relaxed);
                    } else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(WRITER_PAUSE);
                    }
                }
                writers.lock().unwrap().push(writer);
            });
        }
        let _ends_the_writers = Ends(&done);
        let until_more = |what: &str, count: &AtomicUsize| {
            let before = count.load(Ordering::Relaxed);
            wait_until(what, || count.load(Ordering::Relaxed) >= before + 5 * WRITERS);
        };
        until_more("messages are taken", &kept);
        disk.fill();
        until_more("messages are refused", &refused);
        disk.make_room();
        until_more("messages are taken again", &kept);
    });
    let taken: Vec<_> = writers.into_inner().unwrap().into_iter().flat_map(|writer| writer.kept).collect();
    let found = texts(&cluster);
    assert_eq!(missing_in(&found, &taken), [""; 0], "was taken, and is not there");
    assert_eq!(missing_in(&taken, &found), [""; 0], "was refused, and is there");
    assert_eq!(found.len(), taken.len(), "each is there once");
}

/// The beginning of each text that is missing in `others`.
fn missing_in<'a>(others: &[String], texts: &'a [String]) -> Vec<&'a str> {
    texts.iter().filter(|text| !others.contains(text)).map(|text| &text[..text.len().min(30)]).collect()
}

fn start(cluster: &mut Cluster) {
    for node in cluster.nodes_mut() {
        node.start();
    }
    cluster.wait_writable();
}

/// A client that posts, and remembers what the cluster acknowledged.
struct Writer {
    name: String,
    posted: usize,
    kept: Vec<String>,
    last: Reply,
}

impl Writer {
    fn new(name: &str) -> Writer {
        let last = Reply::default();
        Writer { name: name.to_owned(), posted: 0, kept: Vec::new(), last }
    }

    /// Posts a message of so many bytes, or a few more. Returns whether it was acknowledged. If not, it was refused.
    fn post(&mut self, cluster: &Cluster, bytes: usize) -> bool {
        self.posted += 1;
        let message = format!("{} posts {} {}", self.name, self.posted, "x".repeat(bytes));
        self.last = cluster.post(&message);
        match (self.last.status, outcome(&self.last.body)) {
            (201, _) => self.kept.push(message),
            (502 | 503, "not_appended") => {}
            _ => panic!("neither taken nor refused: {:?}", self.last),
        }
        self.last.status == 201
    }

    /// Posts messages, fills the disk, and goes on to post until a message is refused: the first ones may still fit,
    /// small ones most of all.
    fn post_until_refused_on_full(&mut self, cluster: &Cluster, disk: &SmallDisk) {
        for bytes in [1, LARGE_BYTES, 1, LARGE_BYTES, 1] {
            assert!(self.post(cluster, bytes), "{:?}", self.last);
        }
        disk.fill();
        wait_until("a message is refused", || !self.post(cluster, 1) || !self.post(cluster, LARGE_BYTES));
    }
}

fn assert_refused_for_want_of_room(reply: &Reply) {
    assert_eq!((reply.status, outcome(&reply.body)), (503, "not_appended"), "{reply:?}");
    assert_names(&reply.body["error"], &["the disk is full"]);
    assert!(reply.retry_after.is_some(), "{reply:?}");
}

fn assert_master_is_full(cluster: &Cluster) {
    let health = cluster.master.health();
    assert_eq!(health["writable"], false, "{health}");
    assert_names(&health["reason"], &["the disk is full"]);
}

fn assert_secondary_is_full(cluster: &Cluster) {
    assert_names(&cluster.secondaries[1].health()["failure"], &["the disk is full"]);
    let health = cluster.master.health();
    assert_eq!(health["writable"], false, "{health}");
    assert_names(&health["reason"], &["secondary-2"]);
}

/// No node restarts for this. At the end all of them do, and find everything again.
fn assert_goes_on_by_itself(cluster: &mut Cluster, disk: &SmallDisk, writer: &mut Writer) {
    disk.make_room();
    cluster.wait_writable();
    for bytes in [1, LARGE_BYTES, 1] {
        assert!(writer.post(cluster, bytes), "{:?}", writer.last);
    }
    let reserved = || fs::metadata(disk.file("ballast")).is_ok_and(|file| file.len() >= 1 << 20);
    assert!(reserved(), "there is a ballast again");
    assert_eq!(texts(cluster), writer.kept);

    cluster.nodes_mut().for_each(Node::kill);
    start(cluster);
    assert_eq!(texts(cluster), writer.kept, "after a restart");
    assert!(writer.post(cluster, LARGE_BYTES), "{:?}", writer.last);
    assert_eq!(texts(cluster), writer.kept);
}

/// The master refused a message, and reports that a secondary did not acknowledge it.
fn assert_refused_without(reply: &Reply, secondary: &str) {
    assert_eq!((reply.status, outcome(&reply.body)), (502, "not_appended"), "{reply:?}");
    let reports = reply.body["secondaries"].as_array().unwrap();
    let missing: Vec<_> = reports.iter().filter(|report| report["acknowledged"] == false).collect();
    assert!(missing.iter().any(|report| report["server_id"] == secondary), "{reply:?}");
}

fn assert_names(sentence: &Value, parts: &[&str]) {
    let sentence = sentence.as_str().unwrap_or_else(|| panic!("no sentence but {sentence}"));
    for part in parts {
        assert!(sentence.contains(part), "\"{part}\" in \"{sentence}\"");
    }
}

fn outcome(body: &Value) -> &str {
    body["outcome"].as_str().unwrap_or_default()
}

fn texts(cluster: &Cluster) -> Vec<String> {
    cluster.assert_same_everywhere().into_iter().map(|(_, message)| message).collect()
}
