//! Several messages posted as one write: all of them are committed, or none.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Reply, get, post, post_lines, post_with, wait_until};
use serde_json::{Value, json};

fn write(cluster: &Cluster, messages: &Value) -> Reply {
    post(&cluster.master.url("/messages"), messages)
}

fn texts(cluster: &Cluster) -> Vec<String> {
    cluster.assert_same_everywhere().into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_list_and_lines_are_appended_in_order() {
    let cluster = Cluster::start(&["0", "0"]);
    let list = write(&cluster, &json!(["a", { "message": "b" }, { "msg": "c" }]));
    assert_eq!((list.status, list.location.as_deref()), (201, Some("/messages?from=1&limit=3")), "{list:?}");
    assert_eq!((&list.body["message_ids"], &list.body["count"]), (&json!({ "first": 1, "last": 3 }), &json!(3)));
    assert_eq!((&list.body["replicated_to"], &list.body["message_id"]), (&json!(2), &Value::Null));
    let lines = post_lines(&cluster.master.url("/messages?w=1"), "\"d\"\n\n{\"message\":\"e\"}\r\n");
    assert_eq!((lines.status, &lines.body["w"]), (201, &json!(1)), "{lines:?}");
    assert_eq!(lines.body["message_ids"], json!({ "first": 4, "last": 5 }));
    assert_eq!(write(&cluster, &json!(["f"])).body["message_ids"], json!({ "first": 6, "last": 6 }));
    assert_eq!(texts(&cluster), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn one_bad_message_refuses_all_of_them_by_its_number() {
    let cluster = Cluster::start(&["0"]);
    let url = cluster.master.url("/messages");
    for (body, words) in [
        (json!(["a", 3]), "message 2"),
        (json!(["a", "b", { "text": "c" }]), "message 3"),
        (json!(["a", { "message": "b", "w": 1 }]), "message 2"),
        (json!([]), "empty"),
    ] {
        let refused = write(&cluster, &body);
        assert_eq!((refused.status, &refused.body["outcome"]), (400, &json!("not_appended")), "{refused:?}");
        assert!(refused.body["error"].as_str().unwrap().contains(words), "{refused:?}");
    }
    for (lines, words) in [("\"a\"\nb\n", "line 2"), ("\n\n\"a\"\n\n{}", "line 5"), ("\n", "empty")] {
        let refused = post_lines(&url, lines);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body["error"].as_str().unwrap().contains(words), "{refused:?}");
    }
    let too_long = write(&cluster, &json!(["a", "x".repeat((1 << 20) + 1)]));
    assert_eq!(too_long.status, 413, "{too_long:?}");
    assert!(too_long.body["error"].as_str().unwrap().starts_with("message 2 of the batch"), "{too_long:?}");
    assert_eq!(post_lines(&url, &"\"\"\n".repeat(10_001)).status, 413);
    assert_eq!(write(&cluster, &json!(vec![""; 10_001])).status, 413);
    assert_eq!(cluster.master.health()["last"], 0, "no id was used");
}

/// A batch may be larger than a round of single messages, in messages and in bytes.
#[test]
fn the_largest_batch_is_one_write() {
    let cluster = Cluster::start(&["0", "0"]);
    let many: Vec<String> = (0..10_000).map(|number| format!("message {number}")).collect();
    let reply = write(&cluster, &json!(many));
    assert_eq!((reply.status, &reply.body["count"]), (201, &json!(10_000)), "{reply:?}");
    let long = "\u{1}".repeat(600 << 10);
    assert_eq!(write(&cluster, &json!([long, long])).status, 201);
    let shown = texts(&cluster);
    assert_eq!((&shown[..10_000], shown.len()), (&many[..], 10_002));
    assert_eq!(cluster.master.health()["rounds_in_flight"], 0);
}

#[test]
fn a_batch_that_is_refused_leaves_nothing() {
    let mut cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[1].kill();
    let refused = write(&cluster, &json!(["a", "b"]));
    assert_eq!((refused.status, &refused.body["outcome"]), (502, &json!("not_appended")), "{refused:?}");
    cluster.secondaries[1].start();
    cluster.wait_writable();
    assert_eq!(write(&cluster, &json!(["c", "d"])).status, 201);
    assert_eq!(texts(&cluster), ["c", "d"]);
}

#[test]
fn a_key_names_the_whole_batch_also_after_a_restart() {
    let mut cluster = Cluster::start(&["0"]);
    let url = cluster.master.url("/messages");
    let keyed = |body: &Value| post_with(&url, "Idempotency-Key", "batch-1", body);
    assert_eq!(cluster.post("before").status, 201);
    let first = keyed(&json!(["a", "b", "c"]));
    assert_eq!((first.status, first.replayed), (201, false));
    for restarted in [false, true] {
        if restarted {
            cluster.restart();
        }
        let again = keyed(&json!(["a", "b", "c"]));
        assert_eq!((again.status, again.replayed), (201, true), "{again:?}");
        assert_eq!((&again.body["message_ids"], again.location), (&first.body["message_ids"], first.location.clone()));
        for other in [json!(["a", "b"]), json!(["a", "b", "c", "d"]), json!(["a", "b", "d"]), json!({ "message": "a" })]
        {
            assert_eq!(keyed(&other).status, 422, "{other}");
        }
        let known = get(&cluster.master.url("/writes/batch-1")).body;
        assert_eq!(
            (&known["outcome"], &known["message_ids"]),
            (&json!("committed"), &json!({ "first": 2, "last": 4 }))
        );
    }
    assert_eq!(texts(&cluster), ["before", "a", "b", "c"]);
}

#[test]
fn a_batch_that_waits_is_sealed_as_a_whole_and_holds_up_nobody() {
    let mut cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[1].kill();
    let url = cluster.master.url("/messages?w=3&timeout=60");
    let waits = std::thread::spawn(move || post(&url, &json!(["a", "b"])));
    wait_until("the master has it", || cluster.master.health()["last"] == 2);
    assert!(cluster.master.messages().is_empty(), "no reader sees what may still be refused");
    let sealing = post(&cluster.master.url("/messages?w=1"), &json!({ "message": "c" }));
    assert_eq!((sealing.status, &sealing.body["message_id"]), (201, &json!(3)));
    assert_eq!(cluster.master.messages().len(), 3, "what is sealed is visible");
    cluster.secondaries[1].start();
    let sealed = waits.join().unwrap();
    assert_eq!((sealed.status, &sealed.body["message_ids"]), (201, &json!({ "first": 1, "last": 2 })));
    wait_until("the other has everything", || cluster.secondaries[1].messages().len() == 3);
    assert_eq!(texts(&cluster), ["a", "b", "c"]);
}
