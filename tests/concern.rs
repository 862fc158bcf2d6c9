//! How many copies a message needs, and how long its writer waits for them.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Reply, post, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::thread::{self, JoinHandle};

fn write(cluster: &Cluster, message: &str, w: impl Into<Value>) -> Reply {
    post(&cluster.master.url("/messages"), &json!({ "message": message, "w": w.into() }))
}

/// Posts on a thread of its own, and waits until the master has the message.
fn begin(cluster: &Cluster, message: &str, w: impl Into<Value>, timeout: f64) -> JoinHandle<Reply> {
    let last = |cluster: &Cluster| cluster.master.health()["last"].as_u64().unwrap();
    let (url, before) = (cluster.master.url("/messages"), last(cluster));
    let body = json!({ "message": message, "w": w.into(), "timeout": timeout });
    let writer = thread::spawn(move || post(&url, &body));
    wait_until("the master has it", || last(cluster) > before);
    writer
}

fn texts(cluster: &Cluster, node: usize) -> Vec<String> {
    cluster.nodes().nth(node).unwrap().messages().into_iter().map(|(_, text)| text).collect()
}

/// A master and two secondaries, of which the second is not started.
fn without_the_second() -> Cluster {
    let mut cluster = Cluster::prepare(&["0", "0"]);
    cluster.master.start();
    cluster.secondaries[0].start();
    wait_until("the first takes part", || cluster.master.health()["secondaries"][0]["state"] == "in_sync");
    cluster
}

/// The acceptance test of the exercise.
#[test]
fn a_message_that_waits_for_a_missing_node_holds_up_no_other() {
    let mut cluster = without_the_second();
    assert_eq!(write(&cluster, "Msg1", 1).status, 201);
    assert_eq!(write(&cluster, "Msg2", 2).status, 201);
    let third = begin(&cluster, "Msg3", 3, 60.0);
    assert_eq!(texts(&cluster, 0), ["Msg1", "Msg2"], "no reader sees what may still be refused");
    let fourth = write(&cluster, "Msg4", 1);
    assert_eq!((fourth.status, &fourth.body["message_id"]), (201, &json!(4)));
    assert_eq!(texts(&cluster, 0), ["Msg1", "Msg2", "Msg3", "Msg4"], "what is sealed is visible, in order");
    wait_until("the first secondary shows what is sealed", || texts(&cluster, 1).len() == 4);
    assert!(!third.is_finished(), "its writer wants three copies");
    cluster.master.wait_for_log("id 3 committed: sealed by a later message");
    cluster.secondaries[1].start();
    let third = third.join().unwrap();
    assert_eq!((third.status, &third.body["message_id"], &third.body["w"]), (201, &json!(3), &json!(3)));
    let acks = third.body["acks"].as_array().unwrap();
    assert_eq!((acks.len(), &third.body["slowest"]), (2, &json!("secondary-2")), "the last copy is named: {acks:?}");
    wait_until("the second has everything", || texts(&cluster, 2).len() == 4);
    assert_eq!(cluster.assert_same_everywhere().len(), 4);
}

#[test]
fn a_sealed_message_whose_time_is_over_is_kept_with_the_copies_that_it_has() {
    let mut cluster = without_the_second();
    let short = begin(&cluster, "short", 3, 1.0);
    assert_eq!(write(&cluster, "seals it", 1).status, 201);
    let short = short.join().unwrap();
    assert_eq!((short.status, &short.body["status"]), (202, &json!("short")));
    assert_eq!((&short.body["message_id"], &short.body["replicated_to"]), (&json!(1), &json!(1)));
    cluster.secondaries[1].start();
    wait_until("the second has everything", || texts(&cluster, 2).len() == 2);
    assert_eq!(cluster.assert_same_everywhere().len(), 2);
}

#[test]
fn a_message_whose_time_is_over_is_refused_for_ever() {
    let mut cluster = without_the_second();
    let refused = begin(&cluster, "late", 3, 0.5).join().unwrap();
    assert_eq!((refused.status, &refused.body["outcome"]), (502, &json!("not_appended")));
    assert!(refused.body["error"].as_str().unwrap().contains("2 of the 3 nodes"), "{refused:?}");
    cluster.secondaries[1].start();
    cluster.wait_writable();
    assert_eq!(write(&cluster, "next", "all").status, 201);
    assert_eq!(cluster.assert_same_everywhere(), [(2, "next".to_owned())]);
}

#[test]
fn a_message_that_does_not_wait_is_refused_at_once_unless_it_needs_fewer_copies() {
    let cluster = without_the_second();
    assert_eq!(write(&cluster, "needs all", "all").status, 502);
    assert_eq!(write(&cluster, "needs three", 3).status, 502);
    assert_eq!(write(&cluster, "needs two", 2).status, 201);
    assert_eq!(write(&cluster, "needs most", "majority").status, 201);
    assert_eq!(texts(&cluster, 0), ["needs two", "needs most"]);
}

#[test]
fn nonsense_changes_nothing() {
    let cluster = Cluster::start(&["0"]);
    for w in [json!(0), json!(3), json!(-1), json!(1.5), json!("most"), json!([1]), json!(true)] {
        let refused = write(&cluster, "nonsense", w.clone());
        assert_eq!((refused.status, &refused.body["outcome"]), (400, &json!("not_appended")), "{w}: {refused:?}");
    }
    for query in ["w=0", "w=3", "w=many", "timeout=-1", "timeout=x", "colour=red", "w=1&timeout=1e9"] {
        let refused = post(&cluster.master.url(&format!("/messages?{query}")), &json!({ "message": "nonsense" }));
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
    }
    let twice = post(&cluster.master.url("/messages?w=1"), &json!({ "message": "nonsense", "w": 1 }));
    assert_eq!(twice.status, 400, "{twice:?}");
    assert_eq!(cluster.master.health()["last"], 0, "no id was used");
    let asked = post(&cluster.master.url("/messages?w=1&timeout=2.5"), &json!({ "message": "sense" }));
    assert_eq!((asked.status, &asked.body["w"]), (201, &json!(1)));
}

#[test]
fn the_default_is_the_servers() {
    let mut cluster = Cluster::prepare(&["0"]);
    cluster.master.set("WRITE_CONCERN", "1");
    cluster.master.start();
    assert_eq!(cluster.post("alone").status, 201);
    assert_eq!(write(&cluster, "not alone", "all").status, 502);
}

/// The writer of a slow message begins first, and gets its reply last.
#[test]
fn a_slow_node_holds_up_only_those_who_need_it() {
    let cluster = Cluster::start(&["0", "5"]);
    let slow = begin(&cluster, "slow", "all", 0.0);
    for number in 0..20 {
        assert_eq!(write(&cluster, &format!("quick {number}"), 2).status, 201);
    }
    assert!(!slow.is_finished(), "twenty writes, one after another, took less than one delay");
    assert_eq!(slow.join().unwrap().status, 201);
    wait_until("the slow one has everything", || texts(&cluster, 2).len() == 21);
    assert_eq!(cluster.assert_same_everywhere().len(), 21);
}

#[test]
fn a_node_that_hangs_holds_up_only_those_who_need_it() {
    let cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[1].signal(Signal::STOP);
    let stuck = begin(&cluster, "stuck", "all", 60.0);
    for number in 0..100 {
        assert_eq!(write(&cluster, &format!("quick {number}"), 2).status, 201);
    }
    assert!(!stuck.is_finished());
    cluster.secondaries[1].signal(Signal::CONT);
    assert_eq!(stuck.join().unwrap().status, 201);
    cluster.wait_writable();
    wait_until("the other has everything", || texts(&cluster, 2).len() == 101);
    assert_eq!(cluster.assert_same_everywhere().len(), 101);
}
