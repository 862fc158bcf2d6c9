//! A message that is posted again under the same idempotency key is written once.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Reply, get, post_with, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::thread;

/// Posts under a key. Returns the reply, and whether it is that of an earlier post.
fn post_keyed(url: &str, key: &str, body: &Value) -> (Reply, bool) {
    let reply = post_with(url, "Idempotency-Key", key, body);
    let replayed = reply.replayed;
    (reply, replayed)
}

fn write(cluster: &Cluster, key: &str, body: &Value) -> (Reply, bool) {
    post_keyed(&cluster.master.url("/messages"), key, body)
}

fn texts(cluster: &Cluster) -> Vec<String> {
    cluster.assert_same_everywhere().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_retry_gets_the_first_answer_also_after_a_restart() {
    let mut cluster = Cluster::start(&["0", "0"]);
    let body = json!({ "message": "once" });
    let (first, replayed) = write(&cluster, "key-1", &body);
    assert_eq!((first.status, replayed), (201, false));
    for round in 0..3 {
        let (again, replayed) = write(&cluster, "key-1", &body);
        assert_eq!((again.status, replayed), (201, true), "round {round}");
        for field in ["status", "message_id", "replicated_to", "timestamp"] {
            assert_eq!(again.body[field], first.body[field], "{field} in round {round}");
        }
        if round == 1 {
            cluster.restart();
        }
    }
    let (text, replayed) = write(&cluster, "\"key-1\"", &json!({ "msg": "once" }));
    assert_eq!((text.status, replayed, &text.body), (201, true, &json!({ "messages": ["once"] })), "the other dialect");
    assert_eq!(texts(&cluster), ["once"]);
}

#[test]
fn another_message_under_the_same_key_is_refused() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(write(&cluster, "key", &json!({ "message": "first" })).0.status, 201);
    let (other, _) = write(&cluster, "key", &json!({ "message": "second" }));
    assert_eq!((other.status, &other.body["outcome"]), (422, &json!("not_appended")));
    assert!(other.body["error"].as_str().unwrap().contains("message 1"), "{other:?}");
    for bad in ["", "a b", "a/b", &"k".repeat(129)] {
        assert_eq!(write(&cluster, bad, &json!({ "message": "bad" })).0.status, 400, "{bad:?}");
    }
    assert_eq!(texts(&cluster), ["first"]);
}

#[test]
fn those_who_post_at_the_same_time_share_one_message() {
    let cluster = Cluster::start(&["0.5"]);
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let url = cluster.master.url("/messages");
            thread::spawn(move || post_keyed(&url, "shared", &json!({ "message": "together" })))
        })
        .collect();
    let answers: Vec<(Reply, bool)> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    assert!(answers.iter().all(|(reply, _)| reply.status == 201 && reply.body["message_id"] == 1), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1, "one of them was the first");
    assert_eq!(texts(&cluster), ["together"]);
}

#[test]
fn a_key_is_free_again_after_a_refusal() {
    let cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[1].signal(Signal::STOP);
    let body = json!({ "message": "at last" });
    assert_eq!(write(&cluster, "key", &body).0.status, 502);
    assert_eq!(get(&cluster.master.url("/writes/key")).status, 404);
    cluster.secondaries[1].signal(Signal::CONT);
    cluster.wait_writable();
    let (written, replayed) = write(&cluster, "key", &body);
    assert_eq!((written.status, replayed), (201, false), "{written:?}");
    assert_eq!(texts(&cluster), ["at last"]);
}

#[test]
fn an_unknown_outcome_is_resolved_by_the_key() {
    let mut cluster = Cluster::start(&["1.5"]);
    let url = cluster.master.url("/messages");
    let body = json!({ "message": "in flight" });
    let in_flight = {
        let (url, body) = (url.clone(), body.clone());
        thread::spawn(move || std::panic::catch_unwind(|| post_keyed(&url, "lost", &body)).is_err())
    };
    wait_until("both hold it", || cluster.secondaries[0].health()["last"] == 1 && cluster.master.health()["last"] == 1);
    assert_eq!(get(&cluster.master.url("/writes/lost")).body["outcome"], "pending");
    cluster.master.kill();
    assert!(in_flight.join().unwrap(), "the writer gets no answer");
    cluster.master.start();
    let (again, replayed) = post_keyed(&url, "lost", &body);
    assert_eq!((again.status, replayed, &again.body["message_id"]), (201, true, &json!(1)), "{again:?}");
    let known = get(&cluster.master.url("/writes/lost")).body;
    assert_eq!((&known["outcome"], &known["message_id"]), (&json!("committed"), &json!(1)), "{known}");
    assert_eq!(texts(&cluster), ["in flight"]);
}

/// The reply to a repeat names the copies that exist, and not those that the repeat asks for.
#[test]
fn a_repeat_of_a_message_that_is_short_of_copies_says_so() {
    let mut cluster = Cluster::prepare(&["0", "0"]);
    cluster.master.set("REPLICATION_TIMEOUT", "1");
    cluster.master.start();
    cluster.secondaries[0].start();
    let body = json!({ "message": "short", "w": 3, "timeout": 1 });
    let refused = write(&cluster, "before", &json!({ "message": "refused", "w": 3, "timeout": 0.1 })).0;
    assert_eq!(refused.status, 502);
    let short = {
        let (url, body) = (cluster.master.url("/messages"), body.clone());
        thread::spawn(move || post_keyed(&url, "short", &body).0)
    };
    wait_until("the master has it", || cluster.master.health()["last"] == 2);
    let seal = json!({ "message": "seals it", "w": 1 });
    assert_eq!(write(&cluster, "seal", &seal).0.status, 201);
    assert_eq!(short.join().unwrap().status, 202);
    let (again, replayed) = write(&cluster, "short", &body);
    assert_eq!((again.status, &again.body["status"], replayed), (202, &json!("short"), true), "{again:?}");

    cluster.secondaries[1].start();
    cluster.wait_writable();
    let (again, _) = write(&cluster, "short", &body);
    assert_eq!((again.status, &again.body["replicated_to"]), (201, &json!(2)), "{again:?}");
    assert_eq!(texts(&cluster), ["short", "seals it"]);
}

/// The repeat waits for missing nodes. A sealed message is visible, so it is decided, even if nodes are missing.
#[test]
fn a_repeat_of_a_message_in_doubt_is_told_when_that_is_sealed() {
    let mut cluster = Cluster::prepare(&["0", "0"]);
    cluster.master.set("REPLICATION_TIMEOUT", "1");
    cluster.master.start();
    cluster.secondaries[0].start();
    let body = json!({ "message": "in doubt", "w": 3, "timeout": 60 });
    let url = cluster.master.url("/messages");
    thread::scope(|scope| {
        scope.spawn(|| std::panic::catch_unwind(|| post_keyed(&url, "doubt", &body)));
        wait_until("both hold it", || cluster.nodes().take(2).all(|node| node.health()["last"] == 1));
        cluster.master.signal(Signal::KILL);
    });
    cluster.master.kill();
    cluster.master.start();
    let body = json!({ "message": "in doubt", "w": 3, "timeout": 0.5 });
    let waits = write(&cluster, "doubt", &body).0;
    assert_eq!((waits.status, &waits.body["outcome"]), (504, &json!("unknown")), "{waits:?}");
    assert_eq!(write(&cluster, "seal", &json!({ "message": "seals it", "w": 1 })).0.status, 201);
    assert_eq!(cluster.master.messages().len(), 2);
    let told = write(&cluster, "doubt", &body).0;
    assert_eq!((told.status, &told.body["message_id"]), (202, &json!(1)), "{told:?}");
}

#[test]
fn only_the_latest_keys_are_known() {
    let mut cluster = Cluster::prepare(&[]);
    cluster.master.set("IDEMPOTENCY_KEYS", "2");
    cluster.master.start();
    for key in ["a", "b", "c"] {
        assert_eq!(write(&cluster, key, &json!({ "message": key })).0.status, 201);
    }
    for _ in 0..2 {
        let status = |key: &str| get(&cluster.master.url(&format!("/writes/{key}"))).status;
        assert_eq!([status("a"), status("b"), status("c")], [404, 200, 200]);
        cluster.master.kill();
        cluster.master.start();
    }
    assert!(write(&cluster, "c", &json!({ "message": "c" })).1);
    let (again, replayed) = write(&cluster, "a", &json!({ "message": "a" }));
    assert_eq!((&again.body["message_id"], replayed), (&json!(4), false), "it was forgotten");
}
