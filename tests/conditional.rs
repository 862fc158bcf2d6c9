//! A conditional write: it is appended only if no message came in since its writer read the log.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, Reply, post, post_with, wait_until};
use rustix::process::Signal;
use serde_json::json;
use std::thread;

fn write_after(cluster: &Cluster, id: &str, message: &str) -> Reply {
    post_with(&cluster.master.url("/messages"), "If-Match", id, &json!({ "message": message }))
}

#[track_caller]
fn assert_overtaken(reply: &Reply, newest: u64) {
    assert_eq!((reply.status, &reply.body["outcome"]), (412, &json!("not_appended")), "{reply:?}");
    let tag = reply.etag.as_deref().unwrap_or_default();
    assert!(tag.starts_with(&format!("\"{newest}.0.")), "{tag}");
}

#[test]
fn a_message_follows_the_one_that_its_writer_saw_or_is_not_written() {
    let mut cluster = Cluster::start(&["0", "0"]);
    assert_eq!(write_after(&cluster, "0", "first").status, 201, "on an empty log");
    assert_overtaken(&write_after(&cluster, "0", "late"), 1);
    assert_eq!(write_after(&cluster, "\"1\"", "second").status, 201);
    assert_overtaken(&write_after(&cluster, "3", "early"), 2);
    cluster.secondaries[1].signal(Signal::STOP);
    assert_eq!(cluster.post("refused").status, 502);
    cluster.secondaries[1].signal(Signal::CONT);
    cluster.wait_writable();
    assert_eq!(write_after(&cluster, "2", "third").status, 201, "a refused message is none that came in between");
    cluster.restart();
    assert_overtaken(&write_after(&cluster, "3", "late"), 4);
    assert_eq!(write_after(&cluster, "4", "fourth").status, 201);
    assert_overtaken(&write_after(&cluster, "W/\"6\"", "weak"), 5);
    for bad in ["", "one", "-1", "4, one"] {
        assert_eq!(write_after(&cluster, bad, "bad").status, 400, "{bad:?}");
    }
    let texts: Vec<String> = cluster.assert_same_everywhere().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["first", "second", "third", "fourth"]);
}

#[test]
fn a_message_that_may_still_be_written_comes_in_between() {
    let cluster = Cluster::start(&["0.5"]);
    let url = cluster.master.url("/messages");
    let pending = thread::spawn(move || post(&url, &json!({ "message": "pending" })));
    wait_until("the master has it", || cluster.master.health()["last"] == 1);
    assert_overtaken(&write_after(&cluster, "0", "late"), 1);
    assert_eq!(pending.join().unwrap().status, 201);
}

/// Each writer reads the last number and writes the next one: none is lost or written twice.
#[test]
fn writers_who_count_together_do_not_lose_a_number() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 10;
    let cluster = Cluster::start(&["0"]);
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut written = 0;
                while written < EACH {
                    let (id, number) =
                        cluster.master.messages().last().map_or((0, 0), |(id, text)| (*id, text.parse().unwrap()));
                    let reply = write_after(&cluster, &id.to_string(), &u64::to_string(&(number + 1)));
                    assert!(reply.status == 201 || reply.status == 412, "{reply:?}");
                    written += u64::from(reply.status == 201);
                }
            });
        }
    });
    let numbers: Vec<u64> = cluster.assert_same_everywhere().iter().map(|(_, text)| text.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=WRITERS * EACH).collect::<Vec<_>>());
}
