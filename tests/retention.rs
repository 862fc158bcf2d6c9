//! A log that loses its beginning: by itself, by hand, beside secondaries that are away, through kills and promotions.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::succession::{promote, wait_for_voters};
use common::{Cluster, Node, Reply, get, post, post_lines, post_with, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

const PER_BATCH: u64 = 100;

/// Posts so many messages, all of them in sync, as writes of a hundred.
fn fill(cluster: &Cluster, messages: u64, options: &str) {
    let url = cluster.master.url(&format!("/messages{options}"));
    for batch in 0..messages / PER_BATCH {
        let lines: String =
            (0..PER_BATCH).map(|number| format!("{}\n", json!({ "message": format!("{batch}.{number}") }))).collect();
        let reply = post_lines(&url, &lines);
        assert_eq!(reply.status, 201, "{reply:?}");
    }
}

fn begins(node: &Node) -> u64 {
    node.health()["begins"].as_u64().unwrap()
}

fn trim(cluster: &Cluster, body: &Value) -> Reply {
    post(&cluster.master.url("/trim"), body)
}

fn wait_for_beginning(cluster: &Cluster, id: u64) {
    wait_until("all logs are trimmed", || cluster.nodes().all(|node| begins(node) == id));
}

fn assert_identical(cluster: &Cluster) -> Value {
    let mut report = Value::Null;
    wait_until("the nodes hold the same", || {
        let reply = get(&cluster.master.url("/verify"));
        report = reply.body;
        reply.status == 200
    });
    report
}

#[test]
fn a_limit_on_messages_holds_on_every_node_and_through_a_kill() {
    let mut cluster = Cluster::start_with(&["0", "0"], &[("RETAIN_MESSAGES", "500")]);
    fill(&cluster, 2_000, "");
    wait_for_beginning(&cluster, 1_501);
    let report = assert_identical(&cluster);
    assert_eq!((&report["begins"], &report["messages"]), (&json!(1_501), &json!(500)));
    for node in cluster.nodes() {
        let health = node.health();
        assert_eq!((&health["message_count"], &health["last"]), (&json!(500), &json!(2_000)));
        assert_eq!(node.messages().len(), 500);
    }
    // The space of what was deleted is reused.
    wait_until("it is free", || cluster.nodes().all(|node| node.health()["free_bytes"].as_u64() > Some(0)));
    cluster.nodes_mut().for_each(Node::kill);
    cluster.nodes_mut().for_each(Node::start);
    cluster.wait_writable();
    assert!(cluster.nodes().all(|node| begins(node) == 1_501));
    assert_eq!(assert_identical(&cluster)["fingerprint"], report["fingerprint"]);
    fill(&cluster, 300, "");
    wait_for_beginning(&cluster, 1_801);
    assert_identical(&cluster);
}

#[test]
fn messages_go_when_they_are_too_old() {
    let cluster = Cluster::start_with(&["0"], &[("RETAIN_AGE", "3s")]);
    fill(&cluster, 200, "");
    assert_eq!(cluster.post("a little later").status, 201);
    wait_for_beginning(&cluster, 201);
    assert_eq!(cluster.assert_same_everywhere(), [(201, "a little later".to_owned())], "the newest one stays");
}

#[test]
fn a_reader_never_gets_a_silent_gap() {
    let cluster = Cluster::start(&["0"]);
    fill(&cluster, 300, "");
    let asked = trim(&cluster, &json!({ "before": 201, "dry_run": true }));
    assert_eq!(asked.body, json!({ "begins": 201, "messages": 200, "dry_run": true }), "{asked:?}");
    assert_eq!(begins(&cluster.master), 1);
    let whole = get(&cluster.master.url("/fingerprint"));
    // A write is trimmed as a whole.
    let reply = trim(&cluster, &json!({ "before": 250 }));
    assert_eq!((&reply.body["begins"], &reply.body["messages"]), (&json!(201), &json!(200)), "{reply:?}");
    wait_for_beginning(&cluster, 201);
    assert_eq!(get(&cluster.master.url("/fingerprint")).body, whole.body, "the chain goes on from what was trimmed");
    for node in cluster.nodes() {
        for path in ["/messages?from=200", "/messages?from=1", "/messages/200", "/messages?from=7&follow=true"] {
            let reply = if path.contains("follow") { get_lines(node, path) } else { get(&node.url(path)) };
            assert_eq!(reply.status, 410, "{path}: {reply:?}");
            let why = reply.body["error"].as_str().unwrap();
            assert!(why.contains("the log begins with id 201"), "{why}");
        }
        for path in ["/messages?limit=1", "/messages?from=oldest&limit=1", "/messages?from=201&limit=1"] {
            let reply = get(&node.url(path));
            assert_eq!(reply.body["messages"][0]["id"], 201, "{path}");
            assert_eq!((&reply.body["begins"], &reply.body["total"]), (&json!(201), &json!(100)), "{path}");
        }
        let events = first_events(node, "/messages?from=5");
        assert!(events.starts_with("event: trimmed\ndata: {\"begins\":201"), "{events}");
        assert!(events.contains("event: log\ndata: {\"begins\":201}"), "{events}");
        assert!(events.contains("data: {\"id\":201,"), "{events}");
        let events = first_events(node, "/messages");
        assert!(!events.contains("event: trimmed") && events.contains("data: {\"id\":201,"), "{events}");
    }
    assert_eq!(trim(&cluster, &json!({ "before": 0 })).status, 400);
    let nothing = trim(&cluster, &json!({ "before": 100_000 }));
    assert_eq!((&nothing.body["begins"], &nothing.body["messages"]), (&json!(201), &json!(0)), "{nothing:?}");
    assert!(nothing.body["why"].as_str().unwrap().contains("the newest message always stays"), "{nothing:?}");
    assert_eq!(cluster.post("alone").status, 201);
    assert_eq!(trim(&cluster, &json!({ "before": 100_000 })).body["begins"], 301);
    wait_for_beginning(&cluster, 301);
    assert_identical(&cluster);
}

fn get_lines(node: &Node, path: &str) -> Reply {
    let mut stream = request(node, path, "application/x-ndjson");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, body: serde_json::from_str(body).unwrap(), ..Reply::default() }
}

fn request(node: &Node, path: &str, accept: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// What a stream of events begins with, up to the first message.
fn first_events(node: &Node, path: &str) -> String {
    let stream = BufReader::new(request(node, path, "text/event-stream"));
    let mut events = String::new();
    let mut is_body = false;
    for line in stream.lines().map(Result::unwrap) {
        // The lengths of chunks stand in lines of their own.
        let is_chunk = u64::from_str_radix(&line, 16).is_ok();
        if is_body && !is_chunk && !(line.is_empty() && events.is_empty()) {
            events += &line;
            events.push('\n');
        }
        is_body |= line.is_empty();
        if line.starts_with("data: {\"id\"") {
            return events;
        }
    }
    panic!("the stream ended: {events}")
}

/// A secondary that is away holds trimming up as long as the settings say, and begins anew then.
#[test]
fn a_secondary_that_is_away_too_long_begins_anew() {
    let mut cluster =
        Cluster::start_with(&["0", "0"], &[("RETAIN_MESSAGES", "200"), ("RETAIN_FOR_ABSENT", "50kB"), ("QUORUM", "1")]);
    fill(&cluster, 100, "");
    let kept = assert_identical(&cluster)["fingerprint"].clone();
    cluster.secondaries[1].kill();
    fill(&cluster, 500, "?w=2");
    // Some 45 bytes each: less than what is kept for it.
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(begins(&cluster.master), 101, "it has decided as much");
    let held_up = cluster.master.health()["bytes_held_up"].as_u64().unwrap();
    assert!((1..50_000).contains(&held_up), "{held_up}");
    let by_hand = trim(&cluster, &json!({ "before": 400 }));
    assert_eq!((&by_hand.body["begins"], &by_hand.body["held_up_by"]), (&json!(101), &json!(["secondary-2"])));
    fill(&cluster, 3_000, "?w=2");
    wait_until("it is left behind", || begins(&cluster.master) > 1_000);
    cluster.secondaries[1].start();
    cluster.secondaries[1].wait_for_log("begins at id");
    cluster.wait_writable();
    fill(&cluster, 100, "");
    wait_for_beginning(&cluster, 3_501);
    let report = assert_identical(&cluster);
    assert_ne!(report["fingerprint"], kept);
    assert_eq!(cluster.assert_same_everywhere().len(), 200);
}

/// A node without its disk begins at the beginning that there is.
#[test]
fn a_newcomer_begins_where_the_log_does() {
    let mut cluster = Cluster::start(&["0", "0"]);
    fill(&cluster, 300, "");
    assert_eq!(trim(&cluster, &json!({ "before": 201 })).status, 200);
    cluster.secondaries[0].kill();
    cluster.secondaries[0].lose_disk();
    cluster.secondaries[0].start();
    cluster.wait_writable();
    wait_for_beginning(&cluster, 201);
    let report = assert_identical(&cluster);
    let verified = {
        cluster.secondaries[0].kill();
        let output = cluster.secondaries[0].command().arg("verify").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(verified.contains("ids 201 to 300: 100 messages"), "{verified}");
    assert!(verified.contains(report["fingerprint"].as_str().unwrap()), "{verified}");
}

/// A backup of a trimmed log restores it with the same fingerprint, and keys that were trimmed are forgotten.
#[test]
fn a_backup_keeps_where_the_log_begins() {
    let mut cluster = Cluster::start(&["0"]);
    let keyed = |cluster: &Cluster| {
        post_with(&cluster.master.url("/messages"), "Idempotency-Key", "a-key", &json!({ "message": "keyed" }))
    };
    assert_eq!(keyed(&cluster).body["message_id"], 1);
    fill(&cluster, 200, "");
    assert_eq!(trim(&cluster, &json!({ "before": 102 })).body["begins"], 102);
    assert_eq!(get(&cluster.master.url("/writes/a-key")).status, 404);
    assert_eq!(keyed(&cluster).body["message_id"], 202, "it is written again");
    wait_for_beginning(&cluster, 102);
    let report = assert_identical(&cluster);
    let file = cluster.master.data().with_file_name("log.backup");
    let saved = cluster.master.command().args(["backup", file.to_str().unwrap()]).output().unwrap();
    assert!(saved.status.success(), "{saved:?}");
    cluster.master.kill();
    cluster.master.lose_disk();
    let restored = cluster.master.command().args(["restore", file.to_str().unwrap()]).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    cluster.master.start();
    cluster.wait_writable();
    assert_eq!(begins(&cluster.master), 102);
    assert_eq!(assert_identical(&cluster)["fingerprint"], report["fingerprint"]);
    assert_eq!(keyed(&cluster).body["message_id"], 202, "the key is known again");
}

/// A promoted secondary goes on where the log begins, and the old master follows it.
#[test]
fn a_promoted_node_goes_on_with_a_trimmed_log() {
    let mut cluster = Cluster::start_with(&["0", "0"], &[("PROMOTION", "on"), ("RETAIN_MESSAGES", "200")]);
    wait_for_voters(&cluster, 3);
    fill(&cluster, 1_000, "");
    wait_for_beginning(&cluster, 801);
    let before = assert_identical(&cluster)["fingerprint"].clone();
    cluster.master.kill();
    let elected = promote(&cluster.secondaries[0]);
    assert_eq!(elected.status, 200, "{elected:?}");
    let reply = post(&cluster.secondaries[0].url("/messages?w=2"), &json!({ "message": "goes on" }));
    assert_eq!((reply.status, &reply.body["message_id"]), (201, &json!(1_001)), "{reply:?}");
    let trimmed = post(&cluster.secondaries[0].url("/trim"), &json!({ "before": 901, "leave_behind": true }));
    assert_eq!(trimmed.body["begins"], 901, "{trimmed:?}");
    cluster.master.start();
    wait_until("all hold the same", || {
        let reply = get(&cluster.secondaries[0].url("/verify"));
        reply.status == 200 && reply.body["replicas"].as_array().is_some_and(|replicas| replicas.len() == 2)
    });
    wait_for_beginning(&cluster, 901);
    assert_ne!(get(&cluster.master.url("/fingerprint")).body["fingerprint"], before);
    assert_eq!(cluster.master.messages().len(), 101);
}
