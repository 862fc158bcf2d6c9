//! The commands for operators: compare the replicas, save the log, restore it, give up a bad copy.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Node, get, wait_until};
use replicated_log::protocol::{Entry, Epoch, EpochHistory, Id, Incarnation, Lineage, LogId, Roster, Slot, WritePart};
use replicated_log::store::{Disk, Identity, ReadLimit, Store, Trouble};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const ALL: ReadLimit = ReadLimit { slots_max: usize::MAX, bytes_max: usize::MAX };

/// Runs a program with the data directory of a node.
fn command(program: &str, node: &Node, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .env("DATA_DIR", node.data())
        .env("LOG_DIR", node.data().with_file_name("logs"))
        .output()
        .expect("the program runs")
}

fn master_command(node: &Node, arguments: &[&str]) -> Output {
    command(env!("CARGO_BIN_EXE_master"), node, arguments)
}

#[track_caller]
fn assert_done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asserts that the program refused with this exit code, and that its message contains `named`.
#[track_caller]
fn assert_refused(output: &Output, code: i32, named: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(named), "{named} in {said}");
}

fn cluster_with(messages: usize) -> Cluster {
    let cluster = Cluster::start(&["0", "0"]);
    for number in 1..=messages {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    cluster
}

fn verify(cluster: &Cluster) -> (u16, Value) {
    let reply = get(&cluster.master.url("/verify"));
    (reply.status, reply.body)
}

/// Changes what a node holds under an id, with all its checksums in order.
fn replace(directory: &Path, id: u64, message: &str) {
    let store = Disk::open(directory).unwrap();
    let mut slots = store.read(Id::new(id - 1), Id::MAX, ALL).unwrap();
    let Slot::Entry(entry) = &slots[0] else { panic!("id {id} is refused") };
    slots[0] = Slot::Entry(Arc::new(Entry { message: message.into(), ..Entry::clone(entry) }));
    store.drop_from(Id::new(id)).unwrap();
    store.append(&slots).unwrap();
    store.close();
}

#[test]
fn replicas_that_hold_the_same_have_the_same_fingerprint() {
    let cluster = cluster_with(10);
    let (status, report) = verify(&cluster);
    assert_eq!((status, &report["identical"], &report["through"]), (200, &json!(true), &json!(10)), "{report}");
    for node in cluster.nodes() {
        let fingerprint = get(&node.url("/fingerprint")).body;
        assert_eq!(fingerprint["fingerprint"], report["fingerprint"], "{}", node.name);
        let part = get(&node.url("/fingerprint?after=3&through=7"));
        assert_eq!((part.status, &part.body["through"]), (200, &json!(7)));
        assert_ne!(part.body["fingerprint"], report["fingerprint"]);
        assert_eq!(get(&node.url("/fingerprint?through=11")).status, 409, "that is not decided");
        assert_eq!(get(&node.url("/fingerprint?after=x")).status, 400);
    }
}

#[test]
fn the_first_id_that_differs_is_named() {
    for changed in [1, 6, 10] {
        let mut cluster = cluster_with(10);
        cluster.secondaries[1].kill();
        replace(&cluster.secondaries[1].data(), changed, "something else");
        cluster.secondaries[1].start();
        let mut answer = (0, Value::Null);
        wait_until("both can be asked", || {
            answer = verify(&cluster);
            answer.0 == 409
        });
        let report = answer.1;
        assert_eq!(report["identical"], false);
        let [same, other] = [0, 1].map(|index| &report["replicas"][index]);
        assert_eq!((&same["identical"], &same["first_difference"]), (&json!(true), &Value::Null), "{report}");
        assert_eq!((&other["identical"], &other["first_difference"]), (&json!(false), &json!(changed)), "{report}");
    }
}

#[test]
fn a_replica_that_cannot_be_asked_is_not_called_identical() {
    let mut cluster = cluster_with(3);
    cluster.secondaries[0].kill();
    let (status, report) = verify(&cluster);
    assert_eq!((status, &report["identical"]), (503, &json!(false)), "{report}");
    assert_eq!(report["replicas"][0]["identical"], Value::Null);
    assert_eq!(report["replicas"][1]["identical"], true);
}

#[test]
fn a_backup_of_a_log_that_grows_is_one_of_its_prefixes() {
    let mut cluster = cluster_with(200);
    let ended = Arc::new(AtomicBool::new(false));
    let writer = {
        let (url, ended) = (cluster.master.url("/messages"), Arc::clone(&ended));
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                common::post(&url, &json!({ "message": "meanwhile" }));
            }
        })
    };
    let file = cluster.master.data().with_file_name("saved");
    let path = file.to_str().unwrap();
    let url = cluster.master.url("");
    let said = assert_done(&master_command(&cluster.master, &["backup", path, "--from", &url]));
    ended.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(said.contains("fingerprint"), "{said}");
    assert_refused(&master_command(&cluster.master, &["backup", path, "--from", &url]), 2, "exists");

    let all = cluster.assert_same_everywhere();
    for node in cluster.nodes_mut() {
        node.kill();
    }
    fs::rename(cluster.master.data(), cluster.master.data().with_file_name("former")).unwrap();
    let said = assert_done(&master_command(&cluster.master, &["restore", path]));
    assert!(said.contains("restored"), "{said}");
    assert_refused(&master_command(&cluster.master, &["restore", path]), 2, "holds a log already");
    cluster.master.start();
    let restored = cluster.master.messages();
    assert!(restored.len() >= 200 && restored == all[..restored.len()], "a prefix of what there was");
}

#[test]
fn a_backup_that_was_cut_or_changed_is_not_restored() {
    let mut cluster = cluster_with(5);
    let file = cluster.master.data().with_file_name("saved");
    let path = file.to_str().unwrap();
    assert_done(&master_command(&cluster.master, &["backup", path, "--from", &cluster.master.url("")]));
    cluster.master.kill();
    cluster.master.lose_disk();
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without = |left_out: usize| {
        let kept = lines.iter().enumerate().filter(|(index, _)| *index != left_out);
        kept.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    for (damaged, named) in [
        (whole[..whole.len() - 1].to_owned(), "cut off"),
        (without(6), "cut off"),
        (without(3), "stands where 3 was due"),
        (without(0), "its first line is not that of a backup"),
        (whole.replace("message 4", "message 5"), "fingerprint"),
        (whole.replace("\"through\":5", "\"through\":6"), "should go up to 6"),
        (String::new(), "cut off"),
    ] {
        fs::write(&file, damaged).unwrap();
        assert_refused(&master_command(&cluster.master, &["restore", path]), 1, named);
    }
    fs::write(&file, whole).unwrap();
    assert_done(&master_command(&cluster.master, &["restore", path]));
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere().len(), 5);
}

#[test]
fn a_master_that_lost_its_disk_is_made_anew_from_a_secondary() {
    let mut cluster = cluster_with(20);
    cluster.secondaries[1].signal(rustix::process::Signal::STOP);
    assert_eq!(cluster.post("refused").status, 502);
    cluster.secondaries[1].signal(rustix::process::Signal::CONT);
    cluster.wait_writable();
    assert_eq!(cluster.post("the last").status, 201);
    let before = cluster.assert_same_everywhere();
    cluster.master.kill();
    cluster.master.lose_disk();
    let secondary = cluster.secondaries[0].url("");
    let said = assert_done(&master_command(&cluster.master, &["restore", &secondary]));
    assert!(said.contains("1 refused"), "{said}");
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere(), before);
    assert_eq!(cluster.post("goes on").body["message_id"], 23, "the refused id is not given again");
    assert_eq!(verify(&cluster).0, 200);
}

#[test]
fn what_a_secondary_holds_pending_is_restored_with_the_rest() {
    let mut cluster = Cluster::start(&["1.5"]);
    let url = cluster.master.url("/messages");
    let writer = thread::spawn(move || common::try_post(&url, &json!({ "message": "in flight" })));
    wait_until("both hold it", || cluster.secondaries[0].health()["last"] == 1 && cluster.master.health()["last"] == 1);
    cluster.master.kill();
    assert!(writer.join().unwrap().is_none(), "the writer does not know");
    cluster.master.lose_disk();
    let secondary = cluster.secondaries[0].url("");
    assert_done(&master_command(&cluster.master, &["restore", &secondary]));
    cluster.master.start();
    wait_until("it is decided", || cluster.master.messages().len() == 1);
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere(), [(1, "in flight".to_owned())]);
}

/// Both masters assign the number 2 to their epoch, and the id 4 to a message.
#[test]
fn two_masters_of_copies_of_one_log_are_told_apart() {
    let mut cluster = cluster_with(3);
    let file = cluster.master.data().with_file_name("saved");
    let path = file.to_str().unwrap();
    assert_done(&master_command(&cluster.master, &["backup", path, "--from", &cluster.master.url("")]));
    cluster.master.kill();
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.post("acknowledged").body["message_id"], 4);
    for node in cluster.nodes_mut() {
        node.kill();
    }
    cluster.master.lose_disk();
    assert_done(&master_command(&cluster.master, &["restore", path]));
    let secondaries = cluster.secondaries.iter().map(|node| node.url("")).collect::<Vec<_>>().join(",");
    cluster.master.set("SECONDARIES", "");
    cluster.master.start();
    assert_eq!(cluster.post("written alone").body["message_id"], 4);
    cluster.master.kill();
    cluster.master.set("SECONDARIES", &secondaries);
    for node in cluster.nodes_mut() {
        node.start();
    }
    let reason = || cluster.master.health()["reason"].as_str().unwrap_or_default().to_owned();
    wait_until("the master stops", || reason().contains("followed another master of this log in epoch 2"));
    assert_eq!(cluster.post("refused").status, 503);
    for node in &cluster.secondaries {
        assert_eq!(node.health()["last"], 4, "nothing is dropped on {}", node.name);
    }
}

#[test]
fn a_directory_without_a_log_is_neither_praised_nor_touched() {
    let cluster = Cluster::prepare(&[]);
    let directory = cluster.master.data();
    fs::create_dir_all(&directory).unwrap();
    assert_refused(&master_command(&cluster.master, &["verify"]), 2, "there is no log");
    assert_refused(&master_command(&cluster.master, &["restore", "no such file"]), 2, "cannot be read");
    fs::create_dir(directory.join("restoring")).unwrap();
    let started = command(env!("CARGO_BIN_EXE_master"), &cluster.master, &["--port", "0"]);
    assert_refused(&started, 2, "a restore into");
}

#[test]
fn a_secondary_that_gives_up_its_copy_gets_everything_again() {
    let mut cluster = cluster_with(20);
    let secondary = env!("CARGO_BIN_EXE_secondary");
    let node = &mut cluster.secondaries[0];
    assert_refused(&command(secondary, node, &["discard"]), 2, "in use by process");
    node.kill();
    replace(&node.data(), 7, "something else");
    let said = assert_done(&command(secondary, node, &["discard"]));
    assert!(said.contains("discarded-"), "{said}");
    assert_refused(&command(secondary, node, &["discard"]), 2, "no log");
    let aside = fs::read_dir(node.data()).unwrap().map(|file| file.unwrap().path());
    let aside = aside.into_iter().find(|path| path.to_string_lossy().contains("discarded-")).expect("it is kept");
    assert_eq!(Disk::open(&aside).unwrap().last(), Id::new(20), "nothing was deleted");
    node.start();
    wait_until("it holds the same again", || verify(&cluster).0 == 200);
}

/// A log in a directory, without a node.
fn long_log(directory: &Path, slots: u64) {
    let store = Disk::open(directory).unwrap();
    let mut history = EpochHistory::default();
    history.begin(Epoch::new(1), Id::new(1), Incarnation::new(1));
    let lineage = Lineage { log_id: LogId::new(1), history, roster: Roster::default(), promised: None };
    let identity = Identity { lineage, members: Vec::new() };
    store.set_identity(&identity).unwrap();
    let entry = |number| {
        let message = format!("message {number}").into();
        Slot::Entry(Arc::new(Entry {
            id: Id::new(number),
            epoch: Epoch::new(1),
            timestamp_ms: 1,
            message,
            key: None,
            part: WritePart::WHOLE,
        }))
    };
    store.append(&(1..=slots).map(entry).collect::<Vec<_>>()).unwrap();
    store.close();
}

#[test]
fn damage_in_the_old_part_of_a_log_is_found_while_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    long_log(directory.path(), 12_000);
    let database = rusqlite::Connection::open(directory.path().join("log.sqlite")).unwrap();
    database.execute("UPDATE slots SET message = 'forged' WHERE id = 1500", []).unwrap();
    drop(database);
    let store = Disk::open(directory.path()).expect("only the end is read before it serves");
    wait_until("the checkpointer finds it", || store.trouble().is_some());
    match store.trouble() {
        Some(Trouble::Failed(sentence)) => {
            assert!(sentence.contains("id 1500") && sentence.contains("log.sqlite"), "{sentence}");
        }
        other => panic!("{other:?}"),
    }
    let entry = Entry {
        id: Id::new(12_001),
        epoch: Epoch::new(1),
        timestamp_ms: 1,
        message: "next".into(),
        key: None,
        part: WritePart::WHOLE,
    };
    store.append(&[Slot::Entry(Arc::new(entry))]).expect_err("nothing is written to such a disk");
    assert_eq!(store.read(Id::new(2_000), Id::new(2_100), ALL).unwrap().len(), 100, "what is whole is served");
}
