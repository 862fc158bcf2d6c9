//! What `test_client post` and `write` send, and how they tell what they are answered.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of a program needs a stub with sockets and threads"
)]

mod common;
mod stub;

use common::{Run, run, run_with_input};
use serde_json::{Value, json};
use std::time::Duration;
use stub::{Recorder, one_answer};

fn answering(status: u16, headers: &[(&str, &str)], body: &Value) -> Recorder {
    Recorder::start(Duration::ZERO, status, headers, body)
}

fn committed() -> Value {
    json!({ "status": "success", "message_id": 7, "replicated_to": 1, "w": 2, "timestamp": "then", "ms": 3,
            "acks": [{ "server_id": "secondary-1", "ms": 3 }] })
}

fn refused(status: u16, error: &str) -> Recorder {
    answering(status, &[], &json!({ "error": error, "outcome": "not_appended" }))
}

fn batch() -> Value {
    json!({ "status": "success", "message_ids": { "first": 5, "last": 7 }, "count": 3, "replicated_to": 2, "w": 3,
            "timestamp": "then", "ms": 3, "acks": [] })
}

#[test]
fn what_is_asked_for_is_sent() {
    for (options, body) in [
        (&[][..], json!({ "message": "x" })),
        (&["--w", "2"], json!({ "message": "x", "w": 2 })),
        (&["--w", "majority"], json!({ "message": "x", "w": "majority" })),
        (&["--w", "all", "--wait", "2.5"], json!({ "message": "x", "w": "all", "timeout": 2.5 })),
    ] {
        let master = answering(201, &[], &committed());
        run(&master.url, &[&["post", "x"], options].concat()).ends_with(0);
        let request = master.request();
        assert_eq!((&*request.line, request.header("Content-Type")), ("POST /messages", Some("application/json")));
        assert_eq!(serde_json::from_str::<Value>(&request.body).unwrap(), body);
        assert_eq!((request.header("Idempotency-Key"), request.header("If-Match")), (None, None));
    }
    let master = answering(201, &[], &committed());
    run(&master.url, &["post", "x", "--key", "order-4711", "--after", "6"]).ends_with(0);
    let request = master.request();
    assert_eq!(request.header("Idempotency-Key"), Some("order-4711"));
    assert_eq!(request.header("If-Match"), Some("\"6\""));
}

#[test]
fn a_token_is_sent_and_not_printed() {
    let master = answering(201, &[], &committed());
    run(&master.url, &["post", "x"]).ends_with(0);
    assert_eq!(master.request().header("Authorization"), None);
    let master = answering(201, &[], &committed());
    run(&master.url, &["post", "x", "--token", "secret-0123456789"]).ends_with(0);
    assert_eq!(master.request().header("Authorization"), Some("Bearer secret-0123456789"));
    let mut program = common::program();
    program.args(["--help"]).env("CLIENT_TOKEN", "secret-0123456789");
    let help = common::finish(program, b"").ends_with(0);
    assert!(!help.stdout.contains("secret-0123456789"), "{}", help.stdout);
}

#[test]
fn the_client_waits_longer_than_the_master() {
    let slow = |status, body: &Value| Recorder::start(Duration::from_millis(1500), status, &[], body);
    run(&slow(201, &committed()).url, &["post", "x", "--wait", "1", "--timeout", "1"]).ends_with(0);
    run(&slow(201, &committed()).url, &["post", "x", "--timeout", "1"]).ends_with(4);
    run_with_input(&slow(201, &batch()).url, &["post", "--lines", "--wait", "1", "--timeout", "1"], b"a").ends_with(0);
}

#[test]
fn fewer_copies_than_asked_for_are_reported() {
    let mut short = committed();
    (short["status"], short["w"]) = (json!("short"), json!(3));
    run(&answering(202, &[], &short).url, &["post", "x", "--w", "3", "--wait", "1"])
        .ends_with(0)
        .prints("Appended as message 7, held by 1 secondary as well: fewer copies than the 3 that were asked for");
    let document = run(&answering(202, &[], &short).url, &["post", "x", "--json"]).ends_with(0).json();
    assert_eq!(document, short);
}

#[test]
fn a_repeated_answer_is_reported() {
    let replayed = || answering(201, &[("Idempotent-Replayed", "true")], &committed());
    run(&replayed().url, &["post", "x", "--key", "k"])
        .ends_with(0)
        .prints("Written before as message 7, held by 1 secondary as well. Nothing was appended now.");
    let document = run(&replayed().url, &["post", "x", "--key", "k", "--json"]).ends_with(0).json();
    assert_eq!((&document["replayed"], &document["message_id"]), (&json!(true), &json!(7)));
}

#[test]
fn refused_conditions_are_explained() {
    run(&refused(412, "id 9 is the newest now").url, &["post", "x", "--after", "7"])
        .ends_with(1)
        .complains("id 9 is the newest now")
        .complains("Nothing was appended: another message was first");
    run(&refused(422, "this idempotency key belongs to message 3").url, &["post", "x", "--key", "k"])
        .ends_with(1)
        .complains("belongs to message 3")
        .complains("Choose another key");
    let document = run(&refused(412, "no").url, &["post", "x", "--after", "7", "--json"]).ends_with(1).json();
    assert_eq!((&document["outcome"], &document["status"]), (&json!("not_appended"), &json!(412)));
}

#[test]
fn with_a_key_an_unknown_outcome_can_be_asked_for() {
    let unknown = run(&one_answer(Some("")), &["post", "x", "--key", "order-4711"]).ends_with(4);
    unknown.complains("Ask with `test_client write order-4711`");
}

#[test]
fn a_write_is_found_by_its_key() {
    let write = |status, body: Value, code| -> Run {
        let master = answering(status, &[], &body);
        let run_ = run(&master.url, &["write", "order-4711"]).ends_with(code);
        assert_eq!(master.request().line, "GET /writes/order-4711");
        let document =
            run(&answering(status, &[], &body).url, &["write", "order-4711", "--json"]).ends_with(code).json();
        assert_eq!(document["error"], body["error"]);
        assert_eq!(document["outcome"], body["outcome"]);
        run_
    };
    let committed = json!({ "key": "order-4711", "outcome": "committed", "message_id": 7, "timestamp": "then" });
    write(200, committed, 0).prints("Committed as message 7, then.");
    let pending = json!({ "key": "order-4711", "outcome": "pending", "message_id": 7 });
    write(200, pending, 4).prints("Pending as message 7: it may still be refused.");
    let batch = json!({ "key": "order-4711", "outcome": "committed", "message_ids": { "first": 5, "last": 7 },
                        "count": 3, "timestamp": "then" });
    write(200, batch, 0).prints("Committed as messages 5 to 7, then.");
    write(404, json!({ "error": "no message has this key" }), 1).complains("no message has this key");
    run("http://127.0.0.1:9", &["write", "k"]).ends_with(3);
}

#[test]
fn lines_are_posted_together() {
    let master = answering(201, &[], &batch());
    run_with_input(&master.url, &["post", "--lines", "--w", "2", "--wait", "5", "--key", "k"], b"one\n\n\"two\"\r\n")
        .ends_with(0)
        .prints("Appended as 3 messages, 5 to 7, held by 2 secondaries as well.");
    let request = master.request();
    assert_eq!(request.line, "POST /messages?w=2&timeout=5");
    assert_eq!(request.header("Content-Type"), Some("application/x-ndjson"));
    assert_eq!(request.header("Idempotency-Key"), Some("k"));
    assert_eq!(request.body, "\"one\"\n\"\"\n\"\\\"two\\\"\"\n");
    assert_eq!(request.header("Content-Length"), Some(&*request.body.len().to_string()));
    let plain = answering(201, &[], &batch());
    run_with_input(&plain.url, &["post", "-", "--lines"], b"one\ntwo\nthree").ends_with(0);
    assert_eq!(plain.request().line, "POST /messages");
}

#[test]
fn refused_lines_are_reported_like_a_refused_message() {
    let refused = json!({ "error": "not every secondary acknowledged", "outcome": "not_appended",
        "message_ids": { "first": 5, "last": 7 },
        "secondaries": [{ "server_id": "secondary-1", "url": "http://s", "acknowledged": false, "detail": "gone" }] });
    run_with_input(&answering(502, &[], &refused).url, &["post", "--lines"], b"one\n")
        .ends_with(1)
        .complains("not every secondary acknowledged")
        .complains("Nothing was appended")
        .prints("✗ secondary-1  gone");
    let document = run_with_input(&answering(502, &[], &refused).url, &["post", "--lines", "--json"], b"one\n")
        .ends_with(1)
        .json();
    assert_eq!(document["message_ids"], refused["message_ids"]);
}

#[test]
fn invalid_options_are_refused() {
    let nowhere = "http://127.0.0.1:9";
    for options in [
        &["--w", "0"][..],
        &["--w", "most"],
        &["--wait", "-1"],
        &["--wait", "soon"],
        &["--key", ""],
        &["--key", "a/b"],
        &["--after", "x"],
    ] {
        run(nowhere, &[&["post", "x"], options].concat()).ends_with(2);
    }
    run(nowhere, &["write", "a/b"]).ends_with(2);
    run_with_input(nowhere, &["post", "--lines", "text"], b"one\n").ends_with(2).complains("leave the text out");
    run_with_input(nowhere, &["post", "--lines"], b"").ends_with(2).complains("the standard input is empty");
    run_with_input(nowhere, &["post", "--lines"], b"\xff\n").ends_with(2).complains("not UTF-8");
    let document = run_with_input(nowhere, &["post", "--lines", "--json"], b"").ends_with(2).json();
    assert!(document["error"].as_str().unwrap().contains("empty"), "{document}");
}
