//! What each kind of node finds at a restart: real processes, real disks.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Node, get, post, try_post, wait_until};
use replicated_log::protocol::{Entry, Epoch, Id, Slot, WritePart};
use replicated_log::store::{Disk, Store};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::thread;

fn texts(messages: &[(u64, String)]) -> Vec<&str> {
    messages.iter().map(|(_, message)| message.as_str()).collect()
}

#[test]
fn everything_is_there_again_after_all_nodes_were_killed() {
    let mut cluster = Cluster::start(&["0", "0"]);
    for number in 1..=20 {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    let before = cluster.assert_same_everywhere();
    let log_id = cluster.master.health()["log_id"].clone();
    for node in cluster.nodes_mut() {
        node.kill();
    }
    for node in cluster.nodes_mut() {
        node.start();
    }
    for node in cluster.nodes() {
        assert_eq!(node.messages(), before, "{} shows what it showed", node.name);
    }
    cluster.wait_writable();
    let health = cluster.master.health();
    assert_eq!((&health["log_id"], &health["epoch"]), (&log_id, &json!(2)), "the same log, a new epoch");
    assert_eq!(cluster.post("after").body["message_id"], 21);
    assert_eq!(cluster.assert_same_everywhere().len(), 21);
}

#[test]
fn a_secondary_alone_shows_what_it_showed() {
    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("kept").status, 201);
    let before = cluster.assert_same_everywhere();
    for node in cluster.nodes_mut() {
        node.kill();
    }
    cluster.secondaries[0].start();
    let listing = get(&cluster.secondaries[0].url("/messages")).body;
    assert_eq!(common::pairs(&listing), before);
    assert_eq!(listing["possibly_stale"], true, "it cannot know what its master has decided since");
}

#[test]
fn a_refusal_is_still_a_refusal_after_the_master_was_killed() {
    let mut cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[1].signal(Signal::STOP);
    let refused = cluster.post("refused");
    assert_eq!((refused.status, &refused.body["outcome"]), (502, &json!("not_appended")));
    cluster.master.kill();
    cluster.secondaries[1].signal(Signal::CONT);
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.post("accepted").status, 201);
    assert_eq!(texts(&cluster.assert_same_everywhere()), ["accepted"]);
}

#[test]
fn a_write_in_flight_when_the_master_is_killed_is_committed_in_the_next_epoch() {
    let mut cluster = Cluster::start(&["1.5"]);
    let master = cluster.master.url("/messages");
    let in_flight = thread::spawn(move || try_post(&master, &json!({ "message": "in flight" })));
    wait_until("both hold it", || cluster.secondaries[0].health()["last"] == 1 && cluster.master.health()["last"] == 1);
    cluster.master.kill();
    assert!(in_flight.join().unwrap().is_none(), "the writer does not know");
    cluster.master.start();
    cluster.wait_writable();
    wait_until("the next epoch decides it", || cluster.master.messages().len() == 1);
    assert_eq!(texts(&cluster.assert_same_everywhere()), ["in flight"]);
}

#[test]
fn a_secondary_that_lost_its_disk_is_filled_again() {
    let mut cluster = Cluster::start(&["0", "0"]);
    for number in 1..=10 {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    cluster.secondaries[0].kill();
    cluster.secondaries[0].lose_disk();
    cluster.secondaries[0].start();
    // Until its master has noticed the restart, the cluster counts as writable, and this node does not know its master.
    wait_until("it is filled again", || cluster.secondaries[0].messages().len() == 10);
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere().len(), 10);
}

#[test]
fn a_master_whose_log_is_older_than_its_secondaries_writes_nothing_and_says_what_to_do() {
    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("in the backup").status, 201);
    cluster.master.kill();
    let backup = cluster.master.data().with_extension("backup");
    copy(&cluster.master.data(), &backup);
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.post("not in the backup").status, 201);
    assert_eq!(cluster.assert_same_everywhere().len(), 2);
    cluster.master.kill();
    cluster.master.lose_disk();
    copy(&backup, &cluster.master.data());
    cluster.master.start();
    wait_until("the master stops writing", || cluster.master.health()["writable"] == false);
    let refused = cluster.post("refused");
    assert!(refused.status == 503 || refused.status == 502, "{refused:?}");
    let told = || cluster.master.health()["reason"].as_str().unwrap_or_default().to_owned();
    wait_until("both ends and a way out are named", || {
        told().contains("secondary-1") && (told().contains("restore") || told().contains("stop one"))
    });
    assert_eq!(cluster.secondaries[0].messages().len(), 2, "nothing is dropped");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn what_the_masters_disk_lost_of_its_last_batch_is_taken_over_from_a_secondary() {
    let mut cluster = Cluster::start(&["1.5"]);
    let master = cluster.master.url("/messages");
    let in_flight = thread::spawn(move || try_post(&master, &json!({ "message": "in flight" })));
    wait_until("both hold it", || cluster.secondaries[0].health()["last"] == 1 && cluster.master.health()["last"] == 1);
    cluster.master.kill();
    assert!(in_flight.join().unwrap().is_none(), "the writer does not know");
    let store = Disk::open(&cluster.master.data()).unwrap();
    store.drop_from(Id::new(1)).unwrap();
    store.close();
    drop(store);
    cluster.master.start();
    cluster.master.wait_for_log("taken over from");
    wait_until("it is decided", || cluster.master.messages().len() == 1);
    cluster.wait_writable();
    assert_eq!(cluster.post("after").body["message_id"], 2);
    assert_eq!(texts(&cluster.assert_same_everywhere()), ["in flight", "after"]);
}

/// As after a power loss, which a note of the high watermark need not survive.
#[test]
fn a_master_without_secondaries_shows_what_it_has_as_soon_as_it_starts() {
    let mut cluster = Cluster::start(&[]);
    let watermark_file = cluster.master.data().join("watermark");
    let before = fs::read(&watermark_file).unwrap();
    assert_eq!(cluster.post("one").status, 201);
    assert_eq!(cluster.post("two").status, 201);
    cluster.master.kill();
    fs::write(&watermark_file, before).unwrap();
    cluster.master.start();
    assert_eq!(texts(&cluster.master.messages()), ["one", "two"]);
}

#[test]
fn registered_secondaries_are_known_after_a_restart() {
    let mut cluster = Cluster::start(&["0"]);
    let extra = ("MASTER_URL", cluster.master.url(""));
    let mut registered = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "registered", &[extra]);
    registered.start();
    wait_until("it takes part", || cluster.master.health()["secondaries"].as_array().unwrap().len() == 2);
    cluster.wait_writable();
    registered.kill();
    cluster.master.kill();
    cluster.master.start();
    let known = cluster.master.health()["secondaries"].as_array().unwrap().len();
    assert_eq!(known, 2, "a write must not be acknowledged without a secondary that is only away");
    assert_eq!(cluster.post("refused").status, 502);
}

#[test]
fn a_registered_secondary_is_called_where_it_is() {
    let cluster = Cluster::start(&["0"]);
    let extra = ("MASTER_URL", cluster.master.url(""));
    let mut registered = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "registered", &[extra]);
    registered.start();
    wait_until("it takes part", || cluster.post("before").body["w"] == 3);
    registered.kill();
    registered.move_to_another_port();
    registered.start();
    wait_until("it takes part again", || cluster.post("after").status == 201);
    assert_eq!(registered.messages(), cluster.master.messages());
}

#[test]
fn secondaries_of_the_configuration_are_those_of_the_latest_one() {
    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("before").status, 201);
    cluster.master.kill();
    cluster.secondaries[0].kill();
    cluster.secondaries[0].move_to_another_port();
    cluster.secondaries[0].start();
    let moved = cluster.secondaries[0].url("");
    cluster.master.set("SECONDARIES", &moved);
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(cluster.post("after").body["replicated_to"], 1);
    assert_eq!(cluster.assert_same_everywhere().len(), 2);
}

/// Starts a master that has to refuse, and waits for its end.
fn master_on_the_data_of(node: &Node) -> Output {
    Command::new(env!("CARGO_BIN_EXE_master"))
        .args(["--port", "0"])
        .env("DATA_DIR", node.data())
        .env("LOG_DIR", node.data().with_extension("logs"))
        .output()
        .unwrap()
}

#[test]
fn a_second_process_on_the_same_data_is_refused_and_told_which_is_the_first() {
    let cluster = Cluster::start(&[]);
    let second = master_on_the_data_of(&cluster.master);
    assert_eq!(second.status.code(), Some(2));
    let why = String::from_utf8_lossy(&second.stderr);
    assert!(why.contains("in use by process") && why.contains("DATA_DIR"), "{why}");
}

#[test]
fn a_secondarys_data_does_not_make_a_master_of_another_log() {
    let mut cluster = Cluster::prepare(&[]);
    let mut free = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "free", &[]);
    free.start();
    assert_eq!(post(&free.url("/replicate"), &json!({ "msg": "foreign" })).status, 200);
    free.kill();
    copy(&free.data(), &cluster.master.data());
    let master = master_on_the_data_of(&cluster.master);
    assert_eq!(master.status.code(), Some(2));
    free.start();
    assert_eq!(texts(&free.messages()), ["foreign"], "what a foreign master sent is kept, too");
    cluster.master.kill();
}

#[test]
fn a_data_directory_is_verified_offline() {
    let mut cluster = Cluster::start(&["0"]);
    for number in 1..=5 {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    let verify = |cluster: &Cluster| {
        Command::new(env!("CARGO_BIN_EXE_secondary"))
            .arg("verify")
            .env("DATA_DIR", cluster.secondaries[0].data())
            .output()
            .unwrap()
    };
    let in_use = verify(&cluster);
    assert_eq!(in_use.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("in use by process"));
    let data = cluster.secondaries[0].data();
    let (database, text) = (data.join("log.sqlite"), b"message 3");
    let place_of_text = || std::fs::read(&database).unwrap().windows(9).position(|window| window == text);
    // The index of the write-ahead log counts its frames, and those that are moved and synced.
    let is_moved = || {
        let index = std::fs::read(data.join("log.sqlite-shm")).unwrap();
        let number = |at: usize| u32::from_ne_bytes(index[at..at + 4].try_into().unwrap());
        number(16) > 0 && number(16) == number(96)
    };
    wait_until("the text is moved into the database", || is_moved() && place_of_text().is_some());
    cluster.secondaries[0].kill();
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| (std::fs::read(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    let before = files();
    let whole = verify(&cluster);
    let said = String::from_utf8_lossy(&whole.stdout);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    assert!(said.contains("ids 1 to 5: 5 messages, 0 refused"), "{said}");
    assert!(files() == before, "verify changed what it examined");

    let mut bytes = std::fs::read(&database).unwrap();
    bytes[place_of_text().unwrap()] ^= 1;
    std::fs::write(&database, bytes).unwrap();
    let before = files();
    let damaged = verify(&cluster);
    let said = String::from_utf8_lossy(&damaged.stderr);
    assert_eq!(damaged.status.code(), Some(1), "{said}");
    assert!(said.contains("is not what was moved there"), "the write-ahead log holds that page, too: {said}");
    assert!(files() == before, "verify changed what it examined");
}

/// On a copy that is read-only, as on a file system that is mounted so, and not as its owner.
#[test]
fn a_copy_is_verified_by_a_user_who_may_only_read_it() {
    const NOBODY: u32 = 65_534;
    let mut cluster = Cluster::start(&[]);
    assert_eq!(cluster.post("once").status, 201);
    cluster.master.kill();
    let data = cluster.master.data();
    for (path, mode) in std::fs::read_dir(&data).unwrap().map(|file| (file.unwrap().path(), 0o444)).chain([
        (data.clone(), 0o555),
        (data.parent().unwrap().to_owned(), 0o755),
        (data.parent().unwrap().parent().unwrap().to_owned(), 0o755),
    ]) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = data.parent().unwrap().join("master-program");
    // Another process copies it: a program cannot be started while a process that a test beside this one has just forked
    // still has it open for writing.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_master")).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(program);
    command.arg("verify").env("DATA_DIR", &data);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let verified = command.output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    assert!(String::from_utf8_lossy(&verified.stdout).contains("1 message, 0 refused"), "{verified:?}");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Such a message is visible at once. So the node shows one that was stored, even if a kill came before it noted that.
#[test]
fn a_bare_message_that_was_stored_is_shown() {
    let mut cluster = Cluster::prepare(&["0"]);
    let secondary = &mut cluster.secondaries[0];
    secondary.start();
    assert_eq!(post(&secondary.url("/replicate"), &json!({ "id": 1, "message": "noted" })).status, 200);
    secondary.kill();
    let store = Disk::open(&secondary.data()).unwrap();
    let (id, message) = (Id::new(3), "stored".into());
    let entry = Entry { id, epoch: Epoch::NONE, timestamp_ms: 0, message, key: None, part: WritePart::WHOLE };
    store.append(&[Slot::Refused(Id::new(2)), Slot::Entry(entry.into())]).unwrap();
    drop(store);

    secondary.start();
    assert_eq!(texts(&secondary.messages()), ["noted", "stored"]);
    assert_eq!(secondary.health()["message_count"], 2);
    assert_eq!(post(&secondary.url("/replicate"), &json!({ "id": 3, "message": "stored" })).body["total_messages"], 2);
    cluster.master.start();
    wait_until("no master of ours gets it", || cluster.master.health().to_string().contains("2 messages of another"));
}
