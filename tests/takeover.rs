//! What must not go wrong while a master is replaced: posts that arrive slowly, a second command, a restored master, a node
//! that has moved, and promotion that is turned off again.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::succession::{leads, preview, promote, start, wait_for_peace, wait_for_voters, write};
use common::{Cluster, Node, Reply, delete, get, post, put, wait_until};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// Posts that wait for a switchover: more than a secondary passes on at a time.
const HELD: usize = 400;

/// A client that sends its message slowly neither holds a switchover up nor loses the message.
#[test]
fn a_post_that_arrives_slowly_does_not_hold_a_switchover_up() {
    let cluster = start();
    let body = json!({ "message": "slow" }).to_string();
    let mut slow = TcpStream::connect(("127.0.0.1", cluster.master.port)).unwrap();
    // Longer than what the library reads ahead.
    let padding = " ".repeat(8_000);
    let bytes = body.len() + padding.len();
    write!(slow, "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n").unwrap();
    write!(slow, "Content-Length: {bytes}\r\nConnection: close\r\n\r\n{padding}").unwrap();
    thread::sleep(Duration::from_millis(200));
    let reply = post(&cluster.master.url("/switchover"), &json!({}));
    assert_eq!(reply.status, 200, "{reply:?}");
    slow.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(!leads(&cluster.master));
    wait_for_peace(&cluster);
    assert_eq!(cluster.assert_same_everywhere(), [(1, "slow".to_owned())]);
}

/// Posts that come during a switchover wait for it, however long it takes. A second command is refused at once.
#[test]
fn posts_wait_for_a_switchover_and_a_second_one_is_refused() {
    let cluster = Cluster::start_with(&["0", "0"], &[("PROMOTION", "on"), ("ENABLE_FAULTS", "1")]);
    wait_for_voters(&cluster, 3);
    let switch_over = |to: &str| post(&cluster.master.url("/switchover"), &json!({ "to": to }));
    assert_eq!(put(&cluster.secondaries[0].url("/faults"), &json!({ "delay": 3.0, "calls": 1 })).status, 200);
    thread::scope(|scope| {
        // The first post keeps the switchover waiting.
        let first = scope.spawn(|| cluster.post("first"));
        wait_until("it is open", || cluster.master.health()["pending"] == 1);
        let switchover = scope.spawn(|| {
            let mut reply = Reply::default();
            wait_until("no voter is being added", || {
                reply = switch_over("secondary-2");
                !reply.body["error"].as_str().unwrap_or_default().contains("the voters are changing right now")
            });
            reply
        });
        cluster.master.wait_for_log("posts wait: this node is to hand over to secondary-2");
        let second = switch_over("secondary-2");
        assert_eq!(second.status, 409, "{second:?}");
        assert!(second.body["error"].as_str().unwrap_or_default().contains("is handing over already"), "{second:?}");
        let cluster = &cluster;
        let held: Vec<_> =
            (0..HELD).map(|number| scope.spawn(move || cluster.post(&format!("held {number}")))).collect();
        assert_eq!(first.join().unwrap().status, 201);
        let reply = switchover.join().unwrap();
        assert_eq!((reply.status, &reply.body["leader"]), (200, &json!("secondary-2")), "{reply:?}");
        for held in held {
            let reply = held.join().unwrap();
            assert_eq!(reply.status, 201, "{reply:?}");
        }
    });
    wait_for_peace(&cluster);
    assert_eq!(cluster.assert_same_everywhere().len(), HELD + 1);
}

/// A voter that comes back under another address is asked there for its promise.
#[test]
fn a_voter_that_has_moved_is_found() {
    let mut cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    let master = cluster.master.url("");
    let moved = &mut cluster.secondaries[0];
    moved.kill();
    moved.move_to_another_port();
    moved.set("MASTER_URL", &master);
    moved.start();
    wait_until("the master calls it there", || cluster.post("two").status == 201);
    let address = cluster.secondaries[0].url("");
    wait_until("the other one knows that", || {
        let known = preview(&cluster.secondaries[1])["others"].as_array().cloned().unwrap_or_default();
        known.iter().any(|node| node["url"] == *address)
    });
    cluster.master.kill();
    let reply = promote(&cluster.secondaries[1]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body["with"], json!(["secondary-1", "secondary-2"]), "{reply:?}");
}

/// The data directory of a master that was restored from a backup does not say that another node may lead.
#[test]
fn a_restored_master_does_not_depose_a_promoted_one() {
    let mut cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    cluster.master.kill();
    assert_eq!(promote(&cluster.secondaries[0]).status, 200);
    cluster.master.lose_disk();
    let source = cluster.secondaries[0].url("");
    let restored = cluster.master.command().args(["restore", &source]).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let refused = cluster.master.command().output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("secondary-1 at") && why.contains("leads this log, in epoch 2"), "{why}");
    assert_eq!(write(&cluster.secondaries[0], &json!({ "message": "two", "w": 2 })).status, 201);

    // The operator gives the promoted node up. It comes back, and follows.
    cluster.secondaries[0].kill();
    cluster.master.lose_disk();
    let source = cluster.secondaries[1].url("");
    let restored = cluster.master.command().args(["restore", &source]).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    cluster.master.start();
    let body = json!({ "message": "three", "w": 2 });
    wait_until("the restored master leads", || write(&cluster.master, &body).status == 201);
    cluster.secondaries[0].start();
    wait_for_peace(&cluster);
    assert!(leads(&cluster.master));
    let shown: Vec<String> = cluster.assert_same_everywhere().into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, ["one", "two", "three"]);
}

/// When promotion is off again, the node that led last leads, whichever program it runs.
#[test]
fn promotion_is_turned_off_where_it_leads_and_nowhere_else() {
    let mut cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    let reply = post(&cluster.master.url("/switchover"), &json!({ "to": "secondary-1" }));
    assert_eq!(reply.status, 200, "{reply:?}");
    wait_for_peace(&cluster);
    let leader = &mut cluster.secondaries[0];
    leader.kill();
    leader.set("PROMOTION", "off");
    leader.start();
    wait_until("it leads again", || leads(&cluster.secondaries[0]));
    let is_off = |node: &Node| get(&node.url("/promotion")).status == 409;
    wait_until("every node knows", || is_off(&cluster.master) && is_off(&cluster.secondaries[1]));
    cluster.nodes_mut().for_each(Node::kill);
    cluster.master.start();
    cluster.secondaries[1].start();
    assert!(!leads(&cluster.master));
    assert_eq!(cluster.post("nobody leads").status, 503);
    cluster.secondaries[0].start();
    wait_until("it takes posts", || cluster.post("two").status == 201);
    assert_eq!(cluster.nodes().filter(|node| leads(node)).count(), 1);
    wait_for_peace(&cluster);
}

/// What only the master had acknowledged, as its client asked, is put aside when another node leads.
#[test]
fn a_node_that_has_shown_what_no_other_node_has_is_let_back() {
    let mut cluster = Cluster::start_with(&["0", "0"], &[("PROMOTION", "on"), ("ENABLE_FAULTS", "1")]);
    wait_for_voters(&cluster, 3);
    assert_eq!(cluster.post("shared").status, 201);
    for node in &cluster.secondaries {
        assert_eq!(put(&node.url("/faults"), &json!({ "fail": "before" })).status, 200);
    }
    assert_eq!(write(&cluster.master, &json!({ "message": "alone", "w": 1 })).status, 201);
    wait_until("it is shown", || cluster.master.messages().len() == 2);
    cluster.master.kill();
    cluster.secondaries.iter().for_each(|node| assert_eq!(delete(&node.url("/faults")).status, 200));
    assert_eq!(promote(&cluster.secondaries[0]).status, 200);
    assert_eq!(write(&cluster.secondaries[0], &json!({ "message": "later", "w": 2 })).status, 201);
    cluster.master.start();
    cluster.secondaries[0].wait_for_log("until an operator lets it put them aside");
    assert_eq!(cluster.master.messages().len(), 2, "it drops nothing by itself");

    let rejoin = |put_aside: bool| post(&cluster.master.url("/rejoin"), &json!({ "put_aside": put_aside }));
    let reply = rejoin(false);
    let why = reply.body["error"].as_str().unwrap_or_default();
    assert!(reply.status == 409 && why.contains("ids 2 to 2 differ"), "{reply:?}");
    let reply = rejoin(true);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body["put_aside"], json!({ "messages": 1, "from": 2, "to": 2 }), "{reply:?}");
    wait_for_peace(&cluster);
    let shown: Vec<String> = cluster.assert_same_everywhere().into_iter().map(|(_, text)| text).collect();
    assert_eq!(shown, ["shared", "later"]);
    let files = fs::read_dir(cluster.master.data()).unwrap().filter_map(Result::ok).map(|file| file.path());
    let kept: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with("-e1-2-2.ndjson")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let kept = fs::read_to_string(&kept[0]).unwrap();
    assert!(kept.contains("\"message\":\"alone\""), "{kept}");
    let again = rejoin(true);
    assert_eq!(again.status, 409, "{again:?}");
}

/// A node that answers has to promise, also when a promotion is forced: of two that are forced at once, one leads.
#[test]
fn of_two_nodes_promoted_by_force_at_once_one_leads() {
    let mut cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    cluster.master.kill();
    let replies: Vec<Reply> = thread::scope(|scope| {
        let force = |node: &Node| post(&node.url("/promotion"), &json!({ "force": true }));
        let asked: Vec<_> = cluster.secondaries.iter().map(|node| scope.spawn(move || force(node))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let epochs: Vec<_> = replies.iter().filter(|reply| reply.status == 200).map(|reply| &reply.body["epoch"]).collect();
    assert!(!epochs.is_empty(), "{replies:?}");
    assert!(epochs.len() == 1 || epochs[0] != epochs[1], "two masters in one epoch: {replies:?}");
    // No voter was left out.
    assert!(replies.iter().all(|reply| !reply.body["kept"].as_str().unwrap_or_default().contains("may be lost,")));
    cluster.master.start();
    wait_for_peace(&cluster);
    assert_eq!(cluster.nodes().filter(|node| leads(node)).count(), 1);
    assert_eq!(cluster.assert_same_everywhere().len(), 1);
}

/// Two of three nodes are lost for good. The third one goes on when an operator says so, and others join it.
#[test]
fn a_node_leads_by_force_when_the_majority_is_lost() {
    let mut cluster = start();
    assert_eq!(cluster.post("one").status, 201);
    cluster.master.kill();
    cluster.secondaries[1].kill();
    let survivor = &cluster.secondaries[0];
    assert_eq!(promote(survivor).status, 409);
    let reply = post(&survivor.url("/promotion"), &json!({ "force": true }));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body["removed"], json!(["master", "secondary-2"]), "{reply:?}");
    assert!(reply.body["epoch"].as_u64().unwrap() > 1 << 32, "no candidate comes to the same epoch: {reply:?}");
    assert_eq!(write(survivor, &json!({ "message": "two" })).status, 201);
    // One comes back without its disk, and the other one as it was.
    cluster.secondaries[1].lose_disk();
    cluster.secondaries[1].start();
    cluster.master.start();
    wait_for_peace(&cluster);
    assert_eq!(cluster.assert_same_everywhere().len(), 2);
    wait_for_voters(&cluster, 3);
    cluster.secondaries[0].kill();
    wait_until("the others have their votes again", || promote(&cluster.master).status == 200);
}
