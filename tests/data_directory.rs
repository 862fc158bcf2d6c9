//! Changes to the files of a running node: they go away, are replaced, are read by another process, or the end of the
//! log is dropped while a reader is in it.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;

use common::{Cluster, Ends, Node, get, post, wait_until};
use replicated_log::protocol::{Call, Entry, Epoch, EpochStart, Id, Incarnation, LogId, WritePart};
use replicated_log::wire::node::{EntriesText, Envelope, write_call};
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Waits until a node reports that its files are gone, and that it is not ready.
fn wait_until_noticed(node: &Node, reason: &str) {
    wait_until("it is noticed", || node.health()[reason].as_str().is_some_and(|why| why.contains("does not lead to")));
    assert_eq!(get(&node.url("/readyz")).status, 503);
    node.wait_for_log("does not lead to the files of this log any more");
}

/// Saves the log of a running node, and returns the output of the program.
fn backup(node: &Node, file: &std::path::Path) -> String {
    let saved = Command::new(env!("CARGO_BIN_EXE_master"))
        .args(["backup", file.to_str().unwrap(), "--from", &node.url("")])
        .output()
        .unwrap();
    assert!(saved.status.success(), "{saved:?}");
    String::from_utf8(saved.stdout).unwrap()
}

#[test]
fn a_master_whose_files_are_gone_acknowledges_nothing_and_can_be_saved() {
    let mut cluster = Cluster::start(&["0"]);
    for number in 1..=20 {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    fs::remove_dir_all(cluster.master.data()).unwrap();
    wait_until_noticed(&cluster.master, "reason");
    let taken = cluster.master.health()["message_count"].as_u64().unwrap();
    let refused = cluster.post("too late");
    assert_eq!((refused.status, &refused.body["outcome"]), (503, &json!("not_appended")), "{refused:?}");
    assert_eq!(get(&cluster.master.url("/verify")).status, 503, "nothing says that all is well");
    assert_eq!(cluster.master.messages().len() as u64, taken, "what is open can be read");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.backup");
    assert!(backup(&cluster.master, &file).contains(&format!("{taken} messages")));

    // The steps that the node's message names.
    cluster.master.kill();
    let restored = Command::new(env!("CARGO_BIN_EXE_master"))
        .args(["restore", file.to_str().unwrap()])
        .env("DATA_DIR", cluster.master.data())
        .output()
        .unwrap();
    assert!(restored.status.success(), "{restored:?}");
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.post("after it was restored").status, 201);
    assert_eq!(cluster.assert_same_everywhere().len() as u64, taken + 1);
}

#[test]
fn a_secondary_whose_files_were_replaced_leaves_the_rounds() {
    let mut cluster = Cluster::start(&["0", "0"]);
    assert_eq!(cluster.post("before").status, 201);
    let data = cluster.secondaries[0].data();
    let aside = data.with_extension("aside");
    fs::rename(&data, &aside).unwrap();
    fs::create_dir(&data).unwrap();
    for file in fs::read_dir(&aside).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), data.join(file.file_name())).unwrap();
    }
    wait_until_noticed(&cluster.secondaries[0], "failure");
    wait_until("its master counts on it no more", || cluster.master.health()["writable"] == false);
    assert_eq!(cluster.post("for all").status, 502);
    assert_eq!(post(&cluster.master.url("/messages"), &json!({ "message": "for two", "w": 2 })).status, 201);
    assert_eq!(cluster.secondaries[0].messages()[0].1, "before", "readers are served");

    cluster.secondaries[0].kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    cluster.secondaries[0].start();
    cluster.wait_writable();
    assert_eq!(cluster.post("for all again").status, 201);
    wait_until("all have it", || cluster.nodes().all(|node| node.messages().len() == 3));
}

#[test]
fn a_start_on_an_empty_directory_is_told_where_there_was_a_log() {
    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("before").status, 201);
    assert_eq!(cluster.assert_same_everywhere().len(), 1, "the secondary knows that it is decided");
    cluster.master.kill();
    cluster.master.lose_disk();
    cluster.master.start();
    cluster.master.wait_for_log("has lines of an earlier start of this node");
    cluster.master.wait_for_log("this master found its data directory empty and began the new log");
    let reason = cluster.master.health()["reason"].to_string();
    assert!(reason.contains("has ids up to 1") && reason.contains("master restore"), "{reason}");
    assert_eq!(cluster.post("for all").status, 502);
    assert_eq!(cluster.secondaries[0].messages()[0].1, "before", "it goes on to serve readers");

    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("before").status, 201);
    cluster.secondaries[0].kill();
    cluster.secondaries[0].lose_disk();
    cluster.secondaries[0].start();
    cluster.secondaries[0].wait_for_log("has lines of an earlier start of this node");
    cluster.master.wait_for_log("its disk has lost that, and it is sent again");
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere().len(), 1);
}

#[test]
fn a_reader_with_an_old_snapshot_is_named_and_a_start_beside_it_is_refused() {
    let mut cluster = Cluster::start(&[]);
    assert_eq!(cluster.post("before").status, 201);
    let database = cluster.master.data().join("log.sqlite");
    let reader = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count: i64 = reader.query_row("SELECT count(*) FROM slots", [], |row| row.get(0)).unwrap();
    let batch = json!(vec!["x".repeat(100_000); 50]);
    let log = cluster.master.data().join("log.sqlite-wal");
    let bytes = || fs::metadata(&log).unwrap().len();
    while bytes() < 80 << 20 {
        assert_eq!(post(&cluster.master.url("/messages"), &batch).status, 201);
    }
    let warning = || cluster.master.health()["warning"].as_str().map(str::to_owned);
    wait_until("there is a warning", || warning().is_some());
    let named = format!("process {} (", std::process::id());
    assert!(warning().unwrap().contains(&named), "{:?} should name {named}", warning());
    cluster.master.wait_for_log(&named);
    let (_, metrics) = cluster.master.get_text("/metrics");
    assert!(metrics.contains("replicated_log_store_warning 1"), "{metrics}");

    cluster.master.kill();
    let verified = cluster.master.command().arg("verify").output().unwrap();
    assert!(verified.status.success(), "a log that was moved in part is sound: {verified:?}");
    // The checkpointer may have moved a part of the log before the reader came: `verify` does not examine that part.
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(said.contains("Not examined") || said.contains("nothing is missing"), "{verified:?}");
    let mut waiting = cluster.master.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it watches for signals", || catches_sigterm(waiting.id()));
    kill_process(Pid::from_child(&waiting), Signal::TERM).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(130), "a start that waits can be ended");
    let refused = cluster.master.command().output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("cannot be made durable") && why.contains(&named), "{why}");
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    cluster.master.start();
    assert_eq!(cluster.post("after").status, 201);
    assert!(cluster.master.messages().len() as i64 > count);
    assert!(bytes() < 80 << 20, "it is begun anew");
}

/// Whether a process has a handler for SIGTERM, according to Linux.
fn catches_sigterm(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> (Signal::TERM.as_raw() - 1) & 1 == 1)
}

/// A master as a value: it starts one epoch after another, each of which overtakes what the last one left undecided.
struct Usurper {
    url: String,
    port: u16,
    log_id: LogId,
}

impl Usurper {
    fn state(&self) -> Value {
        get(&format!("{}/replicate/state", self.url)).body
    }

    /// Starts an epoch at the second id, or at the first in an empty log, and sends some entries of it.
    fn open(&self, epoch: u64, since: u64, entries: u64) {
        let state = self.state();
        let incarnation = u64::from_str_radix(state["incarnation"].as_str().unwrap(), 16).unwrap();
        let entry = |id| {
            let message = format!("of epoch {epoch}").into();
            Arc::new(Entry {
                id: Id::new(id),
                epoch: Epoch::new(epoch),
                timestamp_ms: 1,
                message,
                key: None,
                part: WritePart::WHOLE,
            })
        };
        let first = if since == 0 { 1 } else { 2 };
        let through = first + entries - 1;
        let call = Call {
            log_id: self.log_id,
            epoch: Epoch::new(epoch),
            master: Incarnation::new(epoch),
            epoch_start: Some(EpochStart { since: Epoch::new(since), overtaken_from: Id::new(first) }),
            history: Some(self.history(epoch, first)),
            roster: None,
            base: None,
            after: Id::new(first - 1),
            through: Id::new(through),
            entries: Vec::new(),
            restored: Vec::new(),
            refused: Vec::new(),
            decided: Id::new(u64::from(since == 0)),
            session: epoch,
            admitted: true,
        };
        let envelope = Envelope { to: Incarnation::new(incarnation), master_port: self.port };
        let text = write_call(envelope, &call, &EntriesText::new(&(first..=through).map(entry).collect::<Vec<_>>()));
        let body: Value = serde_json::from_slice(&text.to_vec()).unwrap();
        let reply = post(&format!("{}/replicate", self.url), &body);
        assert_eq!(reply.status, 200, "epoch {epoch}: {reply:?}");
    }

    fn history(&self, epoch: u64, first: u64) -> replicated_log::protocol::EpochHistory {
        let mut history = replicated_log::protocol::EpochHistory::default();
        history.begin(Epoch::new(1), Id::new(1), Incarnation::new(1));
        if epoch > 1 {
            history.begin(Epoch::new(epoch), Id::new(first), Incarnation::new(epoch));
        }
        history
    }
}

#[test]
fn a_thousand_changes_of_epoch_beside_readers_are_no_damage() {
    const EPOCHS: u64 = 1_000;
    let mut cluster = Cluster::prepare(&["0"]);
    let secondary = &mut cluster.secondaries[0];
    secondary.start();
    let usurper = Usurper { url: secondary.url(""), port: 1, log_id: LogId::new(7) };
    usurper.open(1, 0, 20);
    let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let paths = [
        "/replicate/slots?after=0",
        "/replicate/slots?after=10",
        "/replicate/state",
        "/messages?consistency=prefix",
        "/messages/1?consistency=prefix",
        "/fingerprint",
        "/health",
    ];
    thread::scope(|scope| {
        for path in paths {
            let (url, over, reads) = (secondary.url(path), &over, &reads);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let reply = get(&url);
                    assert_eq!(reply.status, 200, "{url}: {reply:?}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ends_the_readers = Ends(&over);
        for epoch in 2..=EPOCHS {
            usurper.open(epoch, epoch - 1, 1 + epoch * 7 % 20);
        }
    });
    assert!(reads.load(Ordering::Relaxed) > 100, "{reads:?} reads");
    let health = secondary.health();
    assert!(health["failure"].is_null(), "{health}");
    assert_eq!(health["epoch"], EPOCHS);
}
