//! The cluster as its users meet it: real processes, real sockets, kill -9.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{Cluster, TIMEOUT, delete, get, pairs, post, try_post, wait_until};
use rustix::process::Signal;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn the_first_dialect_works_as_its_readme_says() {
    let cluster = Cluster::start(&["0.2", "0.1"]);
    let health = cluster.master.health();
    assert_eq!((&health["status"], &health["role"]), (&json!("healthy"), &json!("master")));
    let reply = cluster.post("Test message");
    assert_eq!(reply.status, 201);
    assert_eq!(reply.body["status"], "success");
    assert_eq!(reply.body["message_id"], 1);
    assert_eq!(reply.body["replicated_to"], 2);
    for node in cluster.nodes() {
        let listed = get(&node.url("/messages")).body;
        assert_eq!(listed["total"], 1);
        assert_eq!(listed["messages"][0]["id"], 1);
        assert_eq!(listed["messages"][0]["message"], "Test message");
        assert!(listed["messages"][0]["timestamp"].is_string());
        assert_eq!(listed["server_role"], if node.name == "master" { "master" } else { "secondary" });
    }
    let health = cluster.secondaries[0].health();
    assert_eq!((&health["role"], &health["server_id"]), (&json!("secondary"), &json!("secondary-1")));
    assert_eq!(health["message_count"], 1);
}

#[test]
fn the_second_dialect_works_as_its_readme_says() {
    let cluster = Cluster::start(&["0", "0"]);
    let send = |text: &str| post(&cluster.master.url("/messages"), &json!({ "msg": text }));
    assert_eq!(send("first").body, json!({ "messages": ["first"] }));
    let reply = send("second");
    assert_eq!((reply.status, reply.body), (201, json!({ "messages": ["first", "second"] })));
    for node in cluster.nodes() {
        assert_eq!(get(&node.url("/messages?view=text")).body, json!({ "messages": ["first", "second"] }));
    }
}

#[test]
fn a_post_waits_for_the_slowest_secondary_and_only_for_that() {
    let cluster = Cluster::start(&["0.6", "0.4"]);
    let began = Instant::now();
    let reply = cluster.post("slow");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(600), "{took:?}");
    let acks = reply.body["acks"].as_array().unwrap();
    let of = |name: &str| acks.iter().find(|ack| ack["server_id"] == name).unwrap()["ms"].as_u64().unwrap();
    assert!(of("secondary-1") >= 600 && of("secondary-2") >= 400, "{acks:?}");
    assert!(of("secondary-2") < of("secondary-1"), "both were asked at the same time: {acks:?}");
}

#[test]
fn writers_who_come_together_wait_together_and_readers_do_not_wait() {
    const WRITERS: usize = 64;
    let cluster = Cluster::start(&["1.0", "0.7"]);
    let posting = AtomicBool::new(true);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let cluster = &cluster;
                scope.spawn(move || {
                    let began = Instant::now();
                    assert_eq!(cluster.post(&format!("message {number}")).status, 201);
                    began.elapsed()
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while posting.load(Ordering::Relaxed) {
                for node in cluster.nodes() {
                    assert_eq!(node.health()["status"], "healthy");
                    node.messages();
                    reads += 1;
                }
            }
            reads
        });
        let longest = writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap();
        posting.store(false, Ordering::Relaxed);
        // One after another they would take 64 s. Each waits for its own delay, and little more for its round.
        assert!(longest < Duration::from_secs(10), "the last of {WRITERS} writers waited {longest:?}");
        assert!(reader.join().unwrap() > 3, "readers were served meanwhile");
    });
    assert_eq!(cluster.assert_same_everywhere().len(), WRITERS);
}

#[test]
fn nobody_sees_a_message_before_it_is_acknowledged() {
    let cluster = Cluster::start(&["0.8", "0"]);
    thread::scope(|scope| {
        let writer = scope.spawn(|| cluster.post("pending"));
        wait_until("the fast secondary holds it", || cluster.secondaries[1].health()["last"] == 1);
        for node in cluster.nodes() {
            assert_eq!(node.messages(), [], "on {}", node.name);
            assert_eq!(get(&node.url("/messages/1")).status, 404);
        }
        assert!(!writer.is_finished(), "all of that was read while the writer waited");
        assert_eq!(writer.join().unwrap().status, 201);
    });
    assert_eq!(cluster.assert_same_everywhere(), [(1, "pending".to_owned())]);
}

#[test]
fn a_read_after_the_201_sees_the_message_on_every_node() {
    const WRITERS: u64 = 6;
    const MESSAGES: u64 = 60;
    let cluster = Cluster::start(&["0", "0"]);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let cluster = &cluster;
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let reply = cluster.post(&format!("{writer}/{number}"));
                    let id = reply.body["message_id"].as_u64().unwrap();
                    let node = cluster.nodes().nth(((writer + number) % 3) as usize).unwrap();
                    let read = get(&node.url(&format!("/messages/{id}")));
                    assert_eq!(read.status, 200, "id {id} on {}: {read:?}", node.name);
                }
            });
        }
    });
    assert_eq!(cluster.assert_same_everywhere().len() as u64, WRITERS * MESSAGES);
}

#[test]
fn a_secondary_killed_during_a_write_makes_it_refused_for_ever() {
    let mut cluster = Cluster::start(&["0", "2.0"]);
    assert_eq!(cluster.post("before").status, 201);
    let master = cluster.master.url("/messages");
    let refused = thread::spawn(move || post(&master, &json!({ "message": "refused" })));
    wait_until("the write is on its way", || cluster.secondaries[1].health()["last"] == 2);
    cluster.secondaries[1].kill();
    let reply = refused.join().unwrap();
    assert_eq!((reply.status, &reply.body["outcome"]), (502, &json!("not_appended")));
    let reports = reply.body["secondaries"].as_array().unwrap();
    let report_of = |name: &str| reports.iter().find(|report| report["server_id"] == name).unwrap();
    assert_eq!(report_of("secondary-1")["acknowledged"], true);
    assert_eq!(report_of("secondary-2")["acknowledged"], false);

    let before = [(1, "before".to_owned())];
    assert_eq!(cluster.master.messages(), before);
    assert_eq!(cluster.secondaries[0].messages(), before);
    cluster.secondaries[1].start();
    cluster.wait_writable();
    assert_eq!(cluster.assert_same_everywhere(), before, "also after it came back");
    assert_eq!(cluster.post("after").status, 201);
    assert_eq!(cluster.assert_same_everywhere(), [(1, "before".to_owned()), (3, "after".to_owned())]);
}

#[test]
fn a_write_is_refused_at_once_while_a_secondary_is_known_to_be_down() {
    let mut cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[0].kill();
    wait_until("the master knows", || cluster.master.health()["writable"] == false);
    let reply = cluster.post("refused");
    assert_eq!((reply.status, &reply.body["outcome"]), (502, &json!("not_appended")));
    assert!(reply.body["message_id"].is_null(), "no id was used: {reply:?}");
    assert!(reply.body.to_string().contains("secondary-1"), "{reply:?}");
    assert_eq!(get(&cluster.master.url("/messages")).body["total"], 0);
}

#[test]
fn a_stopped_process_is_noticed_and_nothing_it_held_comes_back() {
    let cluster = Cluster::start(&["0", "0"]);
    cluster.secondaries[0].signal(Signal::STOP);
    let reply = cluster.post("to a frozen node");
    assert_eq!((reply.status, &reply.body["outcome"]), (502, &json!("not_appended")));
    cluster.secondaries[0].signal(Signal::CONT);
    cluster.wait_writable();
    assert_eq!(cluster.post("afterwards").status, 201);
    let messages = cluster.assert_same_everywhere();
    assert_eq!(messages.len(), 1, "what reached the frozen node late stays refused: {messages:?}");
}

#[test]
fn a_secondary_that_joins_late_gets_everything_before_writes_count_on_it() {
    let cluster = Cluster::start(&["0"]);
    for number in 1..=50 {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    let master = ("MASTER_URL", cluster.master.url(""));
    let mut late = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "latecomer", &[master]);
    late.start();
    wait_until("it takes part", || cluster.master.health()["secondaries"].as_array().unwrap().len() == 2);
    cluster.wait_writable();
    assert_eq!(late.messages(), cluster.master.messages());
    let reply = cluster.post("to all");
    assert_eq!(reply.body["replicated_to"], 2);
    assert_eq!(late.messages().len(), 51);
}

#[test]
fn secondaries_are_registered_again_and_removed() {
    let cluster = Cluster::start(&["0"]);
    let secondaries = cluster.master.url("/secondaries");
    let again = post(&secondaries, &json!({ "url": cluster.secondaries[0].url("") }));
    assert_eq!((again.status, again.body), (200, json!({ "status": "registered", "total_secondaries": 1 })));
    let absent = post(&secondaries, &json!({ "url": "http://127.0.0.1:9", "server_id": "absent" }));
    assert_eq!(absent.body["total_secondaries"], 2);
    assert_eq!(cluster.post("refused").status, 502);
    let taken = post(&secondaries, &json!({ "url": "http://127.0.0.1:10", "server_id": "absent" }));
    assert_eq!(taken.status, 409);
    let itself = post(&secondaries, &json!({ "url": cluster.master.url("") }));
    assert_eq!(itself.status, 400);
    assert_eq!(delete(&format!("{secondaries}/absent")).status, 200);
    assert_eq!(delete(&format!("{secondaries}/absent")).status, 404);
    assert_eq!(cluster.post("accepted").status, 201);
}

/// Otherwise its readers would take the beginning of the log for the whole log.
#[test]
fn a_secondary_that_was_removed_does_not_answer_readers_alone() {
    let cluster = Cluster::start(&["0", "0"]);
    let secondaries = cluster.master.url("/secondaries");
    assert_eq!(cluster.post("with it").status, 201);
    let removed = delete(&format!("{secondaries}/secondary-2"));
    assert_eq!((removed.status, &removed.body["notified"]), (200, &json!(true)));
    assert_eq!(cluster.post("without it").status, 201);
    let read = || get(&cluster.secondaries[1].url("/messages")).body;
    let before = read();
    assert_eq!((pairs(&before).len(), &before["possibly_stale"]), (1, &json!(true)), "{before}");

    post(&secondaries, &json!({ "url": cluster.secondaries[1].url("") }));
    wait_until("it is brought up to date again", || pairs(&read()).len() == 2);
    cluster.wait_writable();
    assert_eq!(read().get("possibly_stale"), None);

    cluster.secondaries[1].signal(Signal::STOP);
    wait_until("the master notices", || cluster.master.health()["writable"] == false);
    let removed = delete(&format!("{secondaries}/secondary-2"));
    assert_eq!((removed.status, &removed.body["notified"]), (200, &json!(false)), "the notice cannot reach it");
}

#[test]
fn one_node_under_two_addresses_is_one_secondary() {
    let cluster = Cluster::start(&["0"]);
    let secondaries = || cluster.master.health()["secondaries"].as_array().unwrap().len();
    let other_address = format!("http://127.0.0.1:{}", cluster.secondaries[0].port);
    for text in ["once", "again"] {
        let registered = post(&cluster.master.url("/secondaries"), &json!({ "url": other_address }));
        assert_eq!(registered.status, 200, "{}", registered.body);
        wait_until("the master finds out", || secondaries() == 1);
        cluster.wait_writable();
        let posted = cluster.post(text);
        assert_eq!((posted.status, &posted.body["replicated_to"]), (201, &json!(1)), "{}", posted.body);
    }
    cluster.assert_same_everywhere();
    let rounds = || cluster.master.health()["rounds"].as_u64().unwrap();
    let before = rounds();
    thread::sleep(Duration::from_millis(300));
    assert!(rounds() < before + 10, "the master does not repeat its calls");
}

#[test]
fn a_master_that_starts_later_or_again_learns_of_its_secondaries() {
    let mut cluster = Cluster::prepare(&[]);
    let master = ("MASTER_URL", cluster.master.url(""));
    let mut secondary = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "early", &[master]);
    secondary.start();
    let registered = |cluster: &Cluster| cluster.master.health()["secondaries"].as_array().unwrap().len() == 1;
    cluster.master.start();
    wait_until("it registers with a master that starts later", || registered(&cluster));
    cluster.master.kill();
    cluster.master.start();
    wait_until("it registers with a master that was restarted", || registered(&cluster));
    cluster.wait_writable();
    assert_eq!(cluster.post("both hold it").body["replicated_to"], 1);
    assert_eq!(secondary.messages(), cluster.master.messages());
}

#[test]
fn a_master_that_lost_its_log_does_not_get_the_secondaries_of_the_old_one() {
    let mut cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("precious").status, 201);
    assert_eq!(cluster.assert_same_everywhere().len(), 1, "the secondary knows that it is decided");
    cluster.master.kill();
    cluster.master.lose_disk();
    cluster.master.start();
    wait_until("the master reports it", || cluster.master.health().to_string().contains("belongs to another log"));
    assert_eq!(cluster.post("refused").status, 502);
    assert_eq!(cluster.secondaries[0].messages(), [(1, "precious".to_owned())], "nothing is dropped");
}

#[test]
fn a_second_master_gets_none_of_the_secondaries_of_the_first() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("first").status, 201);
    let secondaries = ("SECONDARIES", cluster.secondaries[0].url(""));
    let mut second = cluster.extra(env!("CARGO_BIN_EXE_master"), "second", &[secondaries]);
    second.start();
    wait_until("it is refused", || second.health().to_string().contains("belongs to another log"));
    assert_eq!(post(&second.url("/messages"), &json!({ "message": "intruder" })).status, 502);
    assert_eq!(cluster.post("second").status, 201, "the first master goes on");
    assert_eq!(cluster.assert_same_everywhere().len(), 2);
}

#[test]
fn a_master_that_is_not_ours_may_use_a_free_secondary() {
    let cluster = Cluster::prepare(&[]);
    let mut free = cluster.extra(env!("CARGO_BIN_EXE_secondary"), "free", &[]);
    free.start();
    let replicate = free.url("/replicate");
    let first = json!({ "id": 1, "message": "one", "timestamp": "2024-05-01T10:00:00" });
    let reply = post(&replicate, &first);
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        json!({ "status": "replicated", "message_id": 1, "server_id": "free", "total_messages": 1 })
    );
    assert_eq!(post(&replicate, &first).status, 200, "sent again");
    assert_eq!(post(&replicate, &json!({ "id": 1, "message": "other" })).status, 409);
    assert_eq!(post(&replicate, &json!({ "msg": "two" })).body, json!({ "status": "ok" }));
    assert_eq!(free.messages(), [(1, "one".to_owned()), (2, "two".to_owned())]);

    let secondaries = ("SECONDARIES", free.url(""));
    let mut ours = cluster.extra(env!("CARGO_BIN_EXE_master"), "ours", &[secondaries]);
    ours.start();
    wait_until("ours keeps off it", || ours.health().to_string().contains("messages of another master"));
}

#[test]
fn a_bare_message_is_refused_once_a_master_of_ours_is_known() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(post(&cluster.secondaries[0].url("/replicate"), &json!({ "msg": "intruder" })).status, 409);
    assert_eq!(cluster.secondaries[0].messages(), []);
}

#[test]
fn a_write_can_be_followed_through_the_logs() {
    let mut cluster = Cluster::start(&["0", "0"]);
    cluster.post("one");
    // Before the kill: a node writes its log beside the service, and what is not written yet is lost with the process.
    for secondary in &cluster.secondaries {
        wait_until("the secondary's log", || secondary.log().contains("id 1 received (1 message)"));
    }
    cluster.secondaries[1].kill();
    wait_until("the master knows", || cluster.master.health()["writable"] == false);
    let in_master = |words: &str| wait_until(words, || cluster.master.log().contains(words));
    in_master("id 1 received (1 message), sent to 2 secondaries in round ");
    in_master("id 1 acknowledged by secondary-1 after");
    in_master("id 1 acknowledged by secondary-2 after");
    in_master("id 1 committed after");
    let log = cluster.master.log();
    let at = |words: &str| log.find(words).unwrap();
    for name in ["secondary-1", "secondary-2"] {
        assert!(at(&format!("id 1 acknowledged by {name}")) < at("id 1 committed after"), "in this order: {log}");
    }
    in_master("secondary-2 (http://localhost");
    let line = cluster.master.log().lines().find(|line| line.contains("id 1 committed")).unwrap().to_owned();
    assert!(line.contains("[INFO ] master e1: "), "time, level, node, epoch: {line}");
}

#[test]
fn a_stop_lets_writes_in_flight_finish() {
    let mut cluster = Cluster::start(&["0.7"]);
    let master = cluster.master.url("/messages");
    let in_flight = thread::spawn(move || post(&master, &json!({ "message": "last" })));
    wait_until("the write is on its way", || cluster.secondaries[0].health()["last"] == 1);
    cluster.master.signal(Signal::TERM);
    let too_late = || try_post(&cluster.master.url("/messages"), &json!({ "message": "too late" }));
    wait_until("no new writes are taken", || too_late().is_none_or(|reply| reply.status == 503));
    assert_eq!(in_flight.join().unwrap().status, 201);
    assert_eq!(cluster.master.wait().code(), Some(0));
    cluster.secondaries[0].signal(Signal::INT);
    assert_eq!(cluster.secondaries[0].wait().code(), Some(0));
}

#[test]
fn a_stop_refuses_what_cannot_finish() {
    let mut cluster = Cluster::start(&["0"]);
    cluster.secondaries[0].signal(Signal::STOP);
    let master = cluster.master.url("/messages");
    let began = Instant::now();
    let in_flight = thread::spawn(move || post(&master, &json!({ "message": "stuck" })));
    wait_until("the write is on its way", || cluster.master.health()["last"] == 1);
    cluster.master.signal(Signal::TERM);
    let reply = in_flight.join().unwrap();
    assert_eq!((reply.status, &reply.body["outcome"]), (502, &json!("not_appended")));
    assert_eq!(cluster.master.wait().code(), Some(0));
    assert!(began.elapsed() < TIMEOUT);
    cluster.secondaries[0].signal(Signal::CONT);
}

#[test]
fn a_full_read_is_never_in_memory_as_a_whole() {
    const MESSAGES: usize = 60;
    let cluster = Cluster::start(&["0"]);
    let text = "x".repeat(1 << 20);
    for _ in 0..MESSAGES {
        assert_eq!(cluster.post(&text).status, 201);
    }
    for node in cluster.nodes() {
        let before = node.resident_bytes();
        let mut reading = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        reading.write_all(b"GET /messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut received = 0;
        let mut most = before;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = reading.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            received += read;
            most = most.max(node.resident_bytes());
        }
        assert!(received > MESSAGES << 20, "{received} bytes");
        let growth = most.saturating_sub(before);
        assert!(growth < 10 << 20, "{} grew by {growth} bytes while it sent {received}", node.name);
    }
}

#[test]
fn what_is_told_meanwhile_does_not_cut_a_delay_short() {
    let cluster = Cluster::start(&["1.0"]);
    thread::scope(|scope| {
        let first = scope.spawn(|| cluster.post("first"));
        wait_until("the first is on its way", || cluster.secondaries[0].health()["last"] == 1);
        thread::sleep(Duration::from_millis(500));
        // The master decides the first message, and passes that on, while the second still waits for its own delay.
        let began = Instant::now();
        assert_eq!(cluster.post("second").status, 201);
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(first.join().unwrap().status, 201);
    });
}
