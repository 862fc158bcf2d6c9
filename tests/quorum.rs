//! A master that has lost too many nodes is read-only until they are back.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Reply, post, wait_until};
use rustix::process::Signal;
use serde_json::json;

fn write(cluster: &Cluster, message: &str, w: u64) -> Reply {
    post(&cluster.master.url("/messages"), &json!({ "message": message, "w": w }))
}

fn health_of(cluster: &Cluster, secondary: usize) -> String {
    cluster.master.health()["secondaries"][secondary]["health"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_read_only(cluster: &Cluster) {
    let refused = write(cluster, "refused", 1);
    assert_eq!((refused.status, &refused.body["outcome"]), (503, &json!("not_appended")), "{refused:?}");
    assert!(refused.retry_after.is_some(), "{refused:?}");
    let why = refused.body["error"].as_str().unwrap();
    assert!(why.contains("read-only") && why.contains("secondary-1"), "{why}");
    let health = cluster.master.health();
    assert_eq!(health["writable"], false);
    assert!(health["reason"].as_str().unwrap().contains("read-only"), "{health}");
}

#[test]
fn without_a_majority_nothing_is_written_and_everything_is_read() {
    let mut cluster = Cluster::start_with(&["0", "0"], &[("HEARTBEAT_INTERVAL", "0.2")]);
    assert_eq!(write(&cluster, "before", 1).status, 201);
    cluster.secondaries[0].kill();
    wait_until("it is suspected, then unhealthy", || health_of(&cluster, 0) == "unhealthy");
    assert_eq!(health_of(&cluster, 1), "healthy");
    assert_eq!(write(&cluster, "two of three", 2).status, 201, "a majority is left");
    cluster.secondaries[1].kill();
    wait_until("it is unhealthy, too", || health_of(&cluster, 1) == "unhealthy");
    let last = cluster.master.health()["last"].clone();
    assert_read_only(&cluster);
    assert_eq!(cluster.master.health()["last"], last, "nothing was appended");
    assert_eq!(cluster.master.messages().len(), 2);
    cluster.master.wait_for_log("is unhealthy");
    cluster.master.wait_for_log("secondary-2");
    cluster.secondaries[1].start();
    wait_until("it ends by itself", || write(&cluster, "after", 2).status == 201);
    cluster.secondaries[0].start();
    wait_until("all are healthy", || health_of(&cluster, 0) == "healthy");
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere().len(), 3);
}

#[test]
fn how_many_nodes_are_enough_can_be_set() {
    for (quorum, takes) in [("1", true), ("3", false)] {
        let cluster = Cluster::start_with(&["0", "0"], &[("QUORUM", quorum), ("HEARTBEAT_INTERVAL", "0.2")]);
        cluster.secondaries[0].signal(Signal::STOP);
        wait_until("a hanging one is unhealthy", || health_of(&cluster, 0) == "unhealthy");
        if takes {
            assert_eq!(write(&cluster, "taken", 1).status, 201);
        } else {
            assert_read_only(&cluster);
        }
        cluster.secondaries[0].signal(Signal::CONT);
        cluster.wait_writable();
    }
}
