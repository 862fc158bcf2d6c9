//! The timeline of a write, in its reply and afterwards.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, get, post, wait_until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

fn trace(cluster: &Cluster, id: u64) -> Value {
    let reply = get(&cluster.master.url(&format!("/messages/{id}/trace")));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// Checks one node's part in a trace, or one acknowledgement of a reply.
#[track_caller]
fn part<'a>(list: &'a Value, server_id: &str) -> &'a Value {
    let found = list.as_array().expect("a list").iter().find(|part| part["server_id"] == server_id);
    found.unwrap_or_else(|| panic!("{server_id} in {list}"))
}

fn ms(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} in {value}"))
}

#[test]
fn a_reply_tells_when_each_copy_was_sent_received_durable_and_acknowledged() {
    let cluster = Cluster::start(&["0.4", "0"]);
    let reply = cluster.post("where does the time go");
    assert_eq!(reply.status, 201);
    let traced = trace(&cluster, 1);
    assert_eq!((&traced["outcome"], &traced["message_id"], &traced["w"]), (&json!("committed"), &json!(1), &json!(3)));
    for (name, delay_ms) in [("secondary-1", Some(400.0)), ("secondary-2", None)] {
        let (ack, replica) = (part(&reply.body["acks"], name), part(&traced["replicas"], name));
        let moments = ["sent_ms", "received_ms", "durable_ms", "acknowledged_ms"].map(|moment| ms(ack, moment));
        assert!(moments.is_sorted(), "{ack}");
        assert_eq!(ack["delay_ms"].as_f64(), delay_ms);
        let after_disk = moments[3] - moments[2];
        assert!(after_disk >= delay_ms.unwrap_or_default(), "{ack}");
        assert_eq!((&ack["attempts"], &replica["state"]), (&json!(1), &json!("durable")));
        for moment in ["sent_ms", "received_ms", "durable_ms", "acknowledged_ms", "attempts"] {
            assert_eq!(ack[moment], replica[moment], "{moment} of {name}");
        }
    }
    assert_eq!(reply.body["slowest"], "secondary-1");
    assert_eq!(part(&traced["replicas"], "master")["stored_ms"], reply.body["stored_ms"]);
    assert!(ms(&traced, "ms") >= 400.0 && ms(&reply.body, "stored_ms") < 400.0, "{traced}");
    let timing = reply.server_timing.expect("a header");
    assert!(timing.starts_with("total;dur=4") && timing.contains(", secondary-1;dur=4"), "{timing}");
    assert!(timing.contains(", master;dur=") && timing.contains(", secondary-2;dur="), "{timing}");
}

#[test]
fn a_write_can_be_watched_while_it_is_under_way_and_its_late_copies_afterwards() {
    let cluster = Cluster::start(&["1.0", "0"]);
    let url = cluster.master.url("/messages");
    let writer = thread::spawn({
        let url = url.clone();
        move || post(&url, &json!({ "message": "slow" }))
    });
    wait_until("one copy is there and one is not", || {
        let reply = get(&cluster.master.url("/messages/1/trace"));
        reply.status == 200 && part(&reply.body["replicas"], "secondary-2")["state"] == "durable" && {
            let late = part(&reply.body["replicas"], "secondary-1");
            assert_eq!((&reply.body["outcome"], &late["state"]), (&json!("pending"), &json!("sent")));
            late["sent_ms"].is_number() && late["acknowledged_ms"].is_null()
        }
    });
    assert_eq!(writer.join().unwrap().status, 201);
    let quick = post(&url, &json!({ "message": "quick", "w": 1 }));
    assert_eq!((quick.status, &quick.body["slowest"]), (201, &json!("master")));
    assert_eq!(part(&trace(&cluster, 2)["replicas"], "secondary-1")["acknowledged_ms"], Value::Null);
    wait_until("the late copy is traced, too", || {
        part(&trace(&cluster, 2)["replicas"], "secondary-1")["acknowledged_ms"].as_f64() >= Some(1_000.0)
    });
    assert!(ms(&trace(&cluster, 2), "ms") < 1_000.0, "its writer did not wait for that");
}

#[test]
fn a_refused_write_has_a_trace_and_an_unknown_one_has_none() {
    let mut cluster = Cluster::start_with(&["0", "0"], &[("REPLICATION_TIMEOUT", "1")]);
    let batch = post(&cluster.master.url("/messages"), &json!(["one", "two", "three"]));
    assert_eq!(batch.status, 201);
    assert_eq!(trace(&cluster, 2)["message_ids"], json!({ "first": 1, "last": 3 }));
    cluster.secondaries[1].signal(rustix::process::Signal::STOP);
    assert_eq!(cluster.post("in vain").status, 502);
    let refused = trace(&cluster, 4);
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(part(&refused["replicas"], "secondary-1")["state"], "durable");
    let failed = part(&refused["replicas"], "secondary-2");
    assert!(failed["state"] == "failed" && failed["detail"].is_string(), "{failed}");
    cluster.secondaries[1].kill();
    wait_until("the late copies are no copies", || {
        let given_up = get(&cluster.master.url("/secondaries")).body["secondaries"][0]["matched"] == 4;
        given_up && part(&trace(&cluster, 4)["replicas"], "secondary-2")["state"] == "failed"
    });
    for path in ["/messages/5/trace", "/messages/0/trace", "/messages/x/trace"] {
        assert_eq!(get(&cluster.master.url(path)).status, 404, "{path}");
    }
    let redirected = get(&cluster.secondaries[0].url("/messages/1/trace"));
    assert_eq!(redirected.status, 307);
    assert!(redirected.location.unwrap().ends_with(&format!(":{}/messages/1/trace", cluster.master.port)));
}

#[test]
fn a_node_whose_name_is_no_name_does_not_take_part() {
    let cluster = Cluster::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let body = r#"{"server_id":"a\r\nSet-Cookie: b","copy":"0000000000000001","incarnation":"1","log_id":null,"epoch":0,"last":0,"decided":0,
                "delay_ms":0,"foreign":0,"diverged":null,"master":"0","history":[],"admitted":false}"#;
            let _ = stream.read(&mut [0; 4_096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(post(&cluster.master.url("/secondaries"), &json!({ "url": url })).status, 200);
    let mut detail = String::new();
    wait_until("its name is refused", || {
        let listed = get(&cluster.master.url("/secondaries")).body;
        detail = listed["secondaries"][0]["detail"].as_str().unwrap_or_default().to_owned();
        detail.contains("is not a name")
    });
}
