//! `test_client tail`, `trace`, `secondaries`, `status` and `completions`: what they ask, and what they show.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of a program needs a stub with sockets and threads"
)]

mod common;
mod stub;

use common::run;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use stub::Recorder;

/// A node whose connections break: each answers with the next of these texts. Tells what it was asked.
fn breaking(answers: Vec<String>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, asks) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            asked.send(lines.next().unwrap()).unwrap();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, asks)
}

/// Messages as a stream, which breaks after them.
fn stream(ids: impl IntoIterator<Item = u64>) -> String {
    let mut text =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for id in ids {
        let line = json!({ "id": id, "message": format!("message {id}"), "timestamp": "then" }).to_string();
        text.push_str(&format!("1\r\n\n\r\n{:x}\r\n{line}\n\r\n", line.len() + 1));
    }
    text
}

#[test]
fn tail_goes_on_where_it_was_when_the_connection_broke() {
    let health = json!({ "status": "healthy", "role": "secondary", "server_id": "s", "decided": 12 }).to_string();
    let health = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{health}", health.len());
    let (url, asks) = breaking(vec![health, stream([3, 4]), stream([]), stream([6, 7, 8])]);
    let shown = run(&url, &["tail", "--count", "4"]).ends_with(0).complains("asking again from id 5");
    let ids: Vec<&str> = shown.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["3", "4", "6", "7"], "{}", shown.stdout);
    let asked: Vec<String> = asks.iter().collect();
    let from = |id: u64| format!("GET /messages?follow=true&view=objects&from={id} HTTP/1.1");
    assert_eq!(asked[1..], [from(3), from(5), from(5)], "ten of twelve, then from where it was");
    let (url, _asks) = breaking(vec![stream([5])]);
    let line = run(&url, &["tail", "--json", "--from", "5", "--count", "1"]).ends_with(0).json();
    assert_eq!(line["message"], "message 5");
}

fn answering(status: u16, body: &Value) -> Recorder {
    Recorder::start(Duration::ZERO, status, &[], body)
}

#[test]
fn a_trace_is_shown_as_bars_and_in_words() {
    let master = answering(
        200,
        &json!({ "message_id": 7, "outcome": "committed", "timestamp": "then", "w": 3, "round": 4, "queued_ms": 0.1, "ms": 2001.6,
            "replicas": [
                { "server_id": "master", "state": "durable", "stored_ms": 1.1 },
                { "server_id": "secondary-1", "state": "durable", "sent_ms": 0.2, "received_ms": 0.5, "durable_ms": 1.0,
                  "delay_ms": 2000.0, "attempts": 2, "acknowledged_ms": 2001.6 },
                { "server_id": "secondary-2", "state": "failed", "detail": "connection refused" } ] }),
    );
    run(&master.url, &["trace", "7"])
        .ends_with(0)
        .prints("message 7: committed after 2002 ms")
        .prints("master: on its own disk after 1.10 ms")
        .prints("secondary-1: sent after 0.20 ms, received 0.50 ms, on disk 1.00 ms, artificial delay 2000 ms, acknowledged 2002 ms, 2 attempts")
        .prints("secondary-2: connection refused");
    assert_eq!(master.request().line, "GET /messages/7/trace");
    let none = answering(404, &json!({ "error": "there is no trace of message 7" }));
    run(&none.url, &["trace", "7"]).ends_with(1).complains("there is no trace of message 7");
}

#[test]
fn secondaries_are_listed_with_how_far_they_are() {
    let health = json!({ "status": "healthy", "role": "master", "server_id": "master", "last": 120, "decided": 120,
        "secondaries": [
            { "server_id": "secondary-1", "url": "http://localhost:1", "state": "in_sync", "matched": 120, "delay_ms": 0, "detail": "takes part" },
            { "server_id": "secondary-2", "url": "http://localhost:2", "state": "catching_up", "matched": 20, "delay_ms": 1500,
              "detail": "is catching up: has 20 of 120" } ] });
    let shown = run(&answering(200, &health).url, &["secondaries"]).ends_with(0);
    let line = |name: &str| shown.stdout.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line("secondary-1").contains("✓") && line("secondary-1").contains("takes part"), "{}", shown.stdout);
    let behind = line("secondary-2");
    assert!(["✗", "20", "100", "1500 ms", "has 20 of 120"].iter().all(|word| behind.contains(word)), "{behind}");
    let listed = run(&answering(200, &health).url, &["--json", "secondaries"]).ends_with(0).json();
    assert_eq!(listed["secondaries"][1]["matched"], 20);
}

#[test]
fn status_is_shown_once_where_no_terminal_is() {
    let cluster = stub::Cluster::start(stub::Script { delays_ms: vec![0, 0], faults: Vec::new() });
    run(&cluster.master, &["status"]).ends_with(0).prints("secondary-1").prints("secondary-2");
    run("http://127.0.0.1:1", &["status"]).ends_with(3);
    run(&cluster.master, &["status", "--every", "0"]).ends_with(2);
}

#[test]
fn shells_can_complete_what_is_typed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        run("http://127.0.0.1:1", &["completions", shell]).ends_with(0).prints("tail").prints("test_client");
    }
}

fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn an_export_is_a_file_when_it_is_whole_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.ndjson");
    let path = file.to_str().unwrap();
    let line = |id: u64| format!("{}\n", json!({ "id": id, "message": format!("message {id}"), "timestamp": "then" }));
    let health = json!({ "status": "healthy", "role": "master", "server_id": "m", "message_count": 2 }).to_string();
    let cut_off = format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\nConnection: close\r\n\r\n{}", line(1));
    let (url, _asks) = breaking(vec![whole(&health), cut_off]);
    run(&url, &["export", path]).ends_with(3).complains("the export was cut off");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left of it");
    let (url, asks) = breaking(vec![whole(&health), whole(&(line(1) + &line(2)))]);
    run(&url, &["export", path]).ends_with(0).prints("2 messages");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), line(1) + &line(2));
    assert_eq!(asks.iter().nth(1).unwrap(), "GET /messages?view=objects&from=oldest HTTP/1.1");
    run(&url, &["export", path]).ends_with(2).complains("choose the name of a new file");
}

#[test]
fn an_import_posts_batches_under_names_that_say_where_they_begin() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.ndjson");
    let path = file.to_str().unwrap();
    let answer = json!({ "status": "success", "message_ids": { "first": 1, "last": 2 }, "count": 2, "replicated_to": 2, "w": 3,
                         "timestamp": "then", "ms": 3, "acks": [] });
    let texts: Vec<String> =
        (1..=1_500).map(|number| json!({ "id": number, "message": format!("m{number}") }).to_string()).collect();
    std::fs::write(&file, texts.join("\n")).unwrap();
    let master = answering(201, &answer);
    run(&master.url, &["import", path, "--w", "2"]).ends_with(0).prints("1500 lines");
    let requests = master.requests();
    let keys: Vec<_> = requests.iter().map(|request| request.header("Idempotency-Key").unwrap().to_owned()).collect();
    assert_eq!(keys, ["log.ndjson:1", "log.ndjson:1001"]);
    assert_eq!(requests[1].body.lines().count(), 500);
    assert_eq!(requests[1].body.lines().next(), Some("\"m1001\""));
    assert!(requests[0].line.starts_with("POST /messages?w=2&timeout=30"), "{}", requests[0].line);
    std::fs::write(&file, "\"fine\"\nnot fine\n").unwrap();
    let master = answering(201, &answer);
    run(&master.url, &["import", path]).ends_with(2).complains("line 2: it is no message in JSON");
    assert!(master.requests().is_empty(), "nothing was sent");
    std::fs::write(&file, "\"one\"\n").unwrap();
    let refusing = answering(502, &json!({ "error": "refused", "outcome": "not_appended" }));
    run(&refusing.url, &["import", path]).ends_with(1).complains("took 0 of 1 lines").complains("run it again");
    let other = answering(422, &json!({ "error": "this idempotency key belongs to message 3, which is another one" }));
    run(&other.url, &["import", path]).ends_with(1).complains("give it another --name");
}
