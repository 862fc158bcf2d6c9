//! What a reader of a secondary sees of messages that were acknowledged with fewer copies than all.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, get, pairs, post, put};
use serde_json::json;

/// A secondary that receives the first call with messages half a second late, and a message committed without it.
fn with_a_late_secondary() -> Cluster {
    let cluster = Cluster::start_with(&["0"], &[("ENABLE_FAULTS", "1")]);
    let late = put(&cluster.secondaries[0].url("/faults"), &json!({ "hold": 0.5, "calls": 1 }));
    assert_eq!(late.status, 200, "{late:?}");
    assert_eq!(post(&cluster.master.url("/messages"), &json!({ "message": "early", "w": 1 })).status, 201);
    cluster
}

#[test]
fn a_strong_read_waits_for_what_was_acknowledged_and_a_prefix_does_not() {
    let cluster = with_a_late_secondary();
    let secondary = &cluster.secondaries[0];
    let prefix = get(&secondary.url("/messages?consistency=prefix"));
    assert_eq!((prefix.status, pairs(&prefix.body)), (200, Vec::new()));
    let strong = get(&secondary.url("/messages?consistency=strong"));
    assert_eq!((strong.status, pairs(&strong.body)), (200, vec![(1, "early".to_owned())]));
    assert_eq!(get(&secondary.url("/messages/1?consistency=strong")).status, 200);
    assert_eq!(pairs(&get(&cluster.master.url("/messages?consistency=strong")).body).len(), 1);
}

#[test]
fn a_strong_read_that_cannot_be_sure_gets_no_answer() {
    let mut cluster = with_a_late_secondary();
    cluster.master.kill();
    let secondary = &cluster.secondaries[0];
    for path in ["/messages", "/messages/1"] {
        let strong = get(&secondary.url(&format!("{path}?consistency=strong")));
        assert_eq!((strong.status, strong.retry_after.as_deref()), (503, Some("1")), "{strong:?}");
        assert_eq!(get(&secondary.url(&format!("{path}?consistency=weak"))).status, 400);
    }
    assert_eq!(get(&secondary.url("/messages?consistency=prefix")).status, 200);
}

/// What a master finds at a restart may have been acknowledged: until it is decided, no node can give a strong read.
#[test]
fn nobody_is_sure_while_the_master_is_in_doubt() {
    let mut cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[1].kill();
    let (url, last) = (cluster.master.url("/messages"), |cluster: &Cluster| cluster.master.health()["last"].clone());
    let writer = std::thread::spawn(move || common::try_post(&url, &json!({ "message": "?", "timeout": 60 })));
    common::wait_until("it is pending", || last(&cluster) == 1 && cluster.secondaries[0].health()["last"] == 1);
    cluster.master.kill();
    assert!(writer.join().unwrap().is_none(), "its outcome is unknown");
    cluster.master.start();
    common::wait_until("the first takes part", || cluster.master.health()["secondaries"][0]["state"] == "in_sync");
    for node in [&cluster.master, &cluster.secondaries[0]] {
        assert_eq!(get(&node.url("/messages?consistency=strong")).status, 503, "{}", node.name);
        assert_eq!(get(&node.url("/messages")).body["possibly_stale"], true, "{}", node.name);
    }
    cluster.secondaries[1].start();
    cluster.wait_writable();
    common::wait_until("it is decided", || get(&cluster.master.url("/messages?consistency=strong")).status == 200);
    let strong = get(&cluster.secondaries[0].url("/messages?consistency=strong"));
    assert_eq!((strong.status, pairs(&strong.body).len()), (200, 1), "{strong:?}");
}
