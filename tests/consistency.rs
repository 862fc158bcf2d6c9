//! What a reader of a secondary sees of messages that were acknowledged with fewer copies than all.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, get, pairs, post, put};
use serde_json::json;

/// A secondary that looks at the first call with messages half a second late, and one that was acknowledged without it.
fn with_a_late_secondary() -> Cluster {
    let mut cluster = Cluster::prepare(&["0"]);
    for node in cluster.nodes_mut() {
        node.set("ENABLE_FAULTS", "1");
        node.start();
    }
    cluster.wait_writable();
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
