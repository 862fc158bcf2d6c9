//! Injected faults.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Node, Reply, delete, get, post, post_with, put, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A cluster with fault injection.
fn start() -> Cluster {
    Cluster::start_with(&["0", "0"], &[("ENABLE_FAULTS", "1")])
}

fn ask(node: &Node, fault: &Value) -> Reply {
    let reply = put(&node.url("/faults"), fault);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

fn hits(node: &Node) -> u64 {
    get(&node.url("/faults")).body["hits"].as_u64().unwrap()
}

fn write(cluster: &Cluster, body: &Value) -> Reply {
    post(&cluster.master.url("/messages"), body)
}

#[test]
fn a_node_shows_no_faults_unless_it_was_started_for_that() {
    let cluster = Cluster::start(&["0"]);
    for node in cluster.nodes() {
        let url = node.url("/faults");
        assert_eq!(put(&url, &json!({ "delay": 1 })).status, 403);
        assert_eq!(delete(&url).status, 403);
        assert_eq!(get(&url).body, json!({ "enabled": false, "active": null, "hits": 0 }));
    }
}

#[test]
fn a_fault_is_shown_and_ends_by_itself() {
    let cluster = start();
    for node in cluster.nodes() {
        let url = node.url("/faults");
        for wrong in
            [json!({}), json!({ "delay": -1 }), json!({ "fail": "maybe" }), json!({ "delay": 1, "for": 4_000 })]
        {
            assert_eq!(put(&url, &wrong).status, 400, "{wrong}");
        }
        let active = ask(node, &json!({ "delay": 0.5, "fail": "before", "for": 0.3 })).body["active"].clone();
        assert_eq!((&active["delay"], &active["fail"]), (&json!(0.5), &json!("before")));
        assert!(active["ends_in_ms"].as_u64().unwrap() <= 300, "{active}");
        wait_until("it ends", || node.health()["fault"].is_null());
        node.wait_for_log("the fault ended by itself");
        ask(node, &json!({ "delay": 3_000, "for": 3_600 }));
        assert_eq!(node.health()["fault"]["delay"], 3_000.0);
        assert_eq!(delete(&url).body["active"], Value::Null);
        assert!(node.health()["fault"].is_null());
    }
    assert_eq!(cluster.post("all is well").status, 201);
}

#[test]
fn an_acknowledgement_is_delayed_on_a_secondary_and_on_the_master() {
    let cluster = start();
    for (node, calls) in
        [(&cluster.secondaries[1], json!({ "delay": 0.4, "calls": 2 })), (&cluster.master, json!({ "delay": 0.4 }))]
    {
        ask(node, &calls);
        let began = Instant::now();
        assert_eq!(write(&cluster, &json!({ "message": "late" })).status, 201);
        assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
        assert_eq!(hits(node), 1);
        delete(&node.url("/faults"));
    }
    assert_eq!(cluster.assert_same_everywhere().len(), 2);
}

#[test]
fn a_secondary_that_refuses_is_named_and_nothing_of_the_message_is_left() {
    let cluster = start();
    ask(&cluster.secondaries[1], &json!({ "fail": "before", "calls": 1 }));
    let refused = write(&cluster, &json!({ "message": "refused" }));
    assert_eq!((refused.status, &refused.body["outcome"]), (502, &json!("not_appended")), "{refused:?}");
    let detail = refused.body["secondaries"][1]["detail"].as_str().unwrap();
    assert!(detail.contains("nothing was appended"), "{detail}");
    assert_eq!(write(&cluster, &json!({ "message": "kept", "timeout": 30 })).status, 201);
    assert_eq!(cluster.assert_same_everywhere(), [(2, "kept".to_owned())]);
}

/// The test of deduplication in the exercise.
#[test]
fn a_secondary_that_appends_and_answers_with_an_error_holds_the_message_once() {
    let cluster = start();
    ask(&cluster.secondaries[1], &json!({ "fail": "after", "calls": 1 }));
    let reply = write(&cluster, &json!({ "message": "once", "timeout": 30 }));
    assert_eq!((reply.status, &reply.body["replicated_to"]), (201, &json!(2)), "{reply:?}");
    assert_eq!(hits(&cluster.secondaries[1]), 1);
    assert_eq!(cluster.assert_same_everywhere(), [(1, "once".to_owned())]);
}

/// The test of total order in the exercise: a later message arrives first, and stays hidden.
#[test]
fn a_message_that_arrives_before_an_earlier_one_is_not_shown_without_it() {
    let cluster = start();
    let secondary = &cluster.secondaries[1];
    ask(secondary, &json!({ "hold": 1.5, "calls": 1 }));
    for message in ["first", "second"] {
        assert_eq!(write(&cluster, &json!({ "message": message, "w": 1 })).status, 201);
    }
    let all = [(1, "first".to_owned()), (2, "second".to_owned())];
    wait_until("the second arrives early", || secondary.health()["early_calls"].as_u64() >= Some(1));
    wait_until("both are shown", || {
        let shown = common::pairs(&get(&secondary.url("/messages?consistency=prefix")).body);
        assert!(all.starts_with(&shown), "{shown:?}");
        shown.len() == 2
    });
    assert_eq!(cluster.assert_same_everywhere(), all);
}

#[test]
fn a_cut_secondary_is_found_out_and_comes_back() {
    let cluster = start();
    for (index, cut) in ["in", "out", "both"].into_iter().enumerate() {
        ask(&cluster.secondaries[1], &json!({ "cut": cut, "for": 60 }));
        let health = || cluster.master.health()["secondaries"][1].clone();
        wait_until("the master notices", || health()["state"] == "unreachable");
        let message = format!("during {cut}");
        assert_eq!(write(&cluster, &json!({ "message": message })).status, 502);
        assert_eq!(write(&cluster, &json!({ "message": message, "w": 2 })).status, 201);
        wait_until("it is known to be unhealthy", || health()["health"] == "unhealthy");
        delete(&cluster.secondaries[1].url("/faults"));
        cluster.wait_writable();
        assert_eq!(cluster.assert_same_everywhere().len(), index + 1, "{cut}");
    }
}

/// A call that hangs fails long after its secondary has come back, when its failure has no meaning for the secondary.
#[test]
fn a_call_that_fails_late_does_not_harm_a_secondary_that_came_back() {
    let variables = [("ENABLE_FAULTS", "1"), ("REPLICATION_TIMEOUT", "2.5"), ("HEARTBEAT_INTERVAL", "0.1")];
    let cluster = Cluster::start_with(&["0.4", "0"], &variables);
    let (master, secondary) = (&cluster.master, &cluster.secondaries[1]);
    let losses = || master.log().lines().filter(|line| line.contains("leaves the rounds")).count();
    let began = Instant::now();
    ask(secondary, &json!({ "hold": 60, "calls": 1 }));
    assert_eq!(write(&cluster, &json!({ "message": "hangs there", "w": 1 })).status, 201);
    wait_until("its call hangs", || hits(secondary) == 1);
    ask(master, &json!({ "cut": "in", "for": 0.5 }));
    wait_until("both left the rounds", || losses() >= 2);
    cluster.wait_writable();
    let before = losses();
    // A call is always under way, also when the one that hangs times out.
    while began.elapsed() < Duration::from_millis(3_500) {
        assert_eq!(write(&cluster, &json!({ "message": "for all nodes" })).status, 201);
    }
    assert_eq!(losses(), before, "{}", master.log());
    cluster.assert_same_everywhere();
}

/// A held call goes on when its fault ends, though its own time is not over.
#[test]
fn what_is_held_goes_on_when_the_fault_ends() {
    let cluster = start();
    ask(&cluster.master, &json!({ "hold": 3_000, "for": 0.3 }));
    assert_eq!(write(&cluster, &json!({ "message": "held" })).status, 201);
    ask(&cluster.secondaries[0], &json!({ "hold": 3_000, "for": 3_000 }));
    let url = cluster.master.url("/messages");
    let held = std::thread::spawn(move || post(&url, &json!({ "message": "held there", "timeout": 20 })));
    wait_until("it is held", || hits(&cluster.secondaries[0]) == 1);
    delete(&cluster.secondaries[0].url("/faults"));
    assert_eq!(held.join().unwrap().status, 201);
    let both = put(&cluster.master.url("/faults"), &json!({ "delay": 1, "calls": 1 }));
    assert_eq!(both.status, 400, "{both:?}");
}

/// Its calls arrive and have their effect, and only the answers are lost. So each call is repeated, and counts once.
#[test]
fn a_master_that_hears_no_answers_writes_nothing_twice() {
    let cluster = start();
    ask(&cluster.master, &json!({ "cut": "in", "for": 1.5 }));
    let reply = write(&cluster, &json!({ "message": "once", "timeout": 60 }));
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(cluster.assert_same_everywhere(), [(1, "once".to_owned())]);
}

#[test]
fn a_master_that_appends_and_answers_with_an_error_is_asked_by_key() {
    let cluster = start();
    let url = cluster.master.url("/messages");
    let keyed = || post_with(&url, "Idempotency-Key", "once", &json!({ "message": "once" }));
    ask(&cluster.master, &json!({ "fail": "after", "calls": 1 }));
    let unknown = keyed();
    assert_eq!((unknown.status, &unknown.body["outcome"]), (504, &json!("unknown")), "{unknown:?}");
    wait_until("it is known", || get(&cluster.master.url("/writes/once")).body["outcome"] == "committed");
    let again = keyed();
    assert_eq!((again.status, again.replayed), (201, true), "{again:?}");
    ask(&cluster.master, &json!({ "fail": "before", "calls": 1 }));
    assert_eq!(write(&cluster, &json!({ "message": "never" })).status, 503);
    assert_eq!(cluster.assert_same_everywhere(), [(1, "once".to_owned())]);
}

/// Faults apply to writes and to calls between nodes, never to readers.
#[test]
fn readers_are_answered_whatever_the_fault() {
    let cluster = start();
    assert_eq!(cluster.post("shown").status, 201);
    // A secondary learns of the decision milliseconds after the 201. A fault that comes before cuts it off from it.
    cluster.assert_same_everywhere();
    for node in cluster.nodes() {
        for fault in [json!({ "cut": "both" }), json!({ "fail": "before" }), json!({ "hold": 60 })] {
            ask(node, &fault);
            for path in ["/health", "/livez", "/messages/1", "/messages?consistency=prefix"] {
                assert_eq!(get(&node.url(path)).status, 200, "{path} under {fault}");
            }
        }
        delete(&node.url("/faults"));
    }
}
