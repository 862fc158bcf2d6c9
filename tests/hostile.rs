//! Hostile clients against real nodes: they get the answer that their row names, nothing else happens, and all other
//! clients are served.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;
#[path = "hostile/rows.rs"]
mod rows;
#[path = "hostile/support.rs"]
#[allow(dead_code, reason = "clients.rs uses the rest")]
mod support;

use rows::{Gets, NOT_MET, Row};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Connection, Node, TIMEOUT, get, post, post_with, wait_until};

/// An honest client is answered within this time, whatever others do. It is no measure of speed.
const HONEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends what a row says and checks what comes back.
fn check(node: &Node, row: &Row) {
    let Row { what, gets, sent } = row;
    let mut connection = node.connect();
    let mut reply = |status: u16| {
        let _ = connection.send(sent);
        let reply = connection.reply().unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        reply
    };
    match *gets {
        Gets::Refused(status) => {
            let reply = reply(status);
            assert_sentence(what, &reply);
            assert!(!reply.ends_connection(), "{what}: {}", reply.head);
            assert_eq!(connection.ask(get("/livez")).status, 200, "{what}: the connection goes on");
        }
        Gets::RefusedAtLast(status) => {
            let reply = reply(status);
            assert_sentence(what, &reply);
            assert!(reply.ends_connection(), "{what}: {}", reply.head);
            let _ = connection.send(post(r#"{"message":"smuggled"}"#));
        }
        Gets::Curt(status) => {
            assert_eq!(reply(status).body, b"", "{what}");
            assert!(connection.reply().is_none(), "{what}: the connection ends");
        }
        Gets::Served(status) => {
            reply(status);
        }
        Gets::Closed => {
            let _ = connection.send(sent);
            let reply = connection.reply();
            assert!(reply.is_none(), "{what}: {reply:?}");
        }
        Gets::KeptByDrops => {
            for byte in sent {
                connection.send([*byte]).expect("it is taken");
                thread::sleep(Duration::from_millis(100));
                assert!(!connection.is_closed(), "{what}: closed");
            }
        }
        Gets::Silence => connection.send(sent).expect("it is taken"),
        Gets::Untried => {}
    }
}

#[track_caller]
fn assert_sentence(what: &str, reply: &support::Reply) {
    let body = reply.json();
    let sentence = body["error"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(sentence.contains(' ') && !sentence.contains(char::is_control), "{what}: {sentence:?}");
}

/// Checks rows one after another, and after each that nothing was stored and that the next message is.
fn check_each(node: &mut Node, secondary: Option<&Node>, rows: &[Row]) {
    let mut last = node.commit("good");
    for row in rows {
        println!("{}", row.what);
        check(secondary.unwrap_or(node), row);
        node.assert_alive();
        assert_eq!(node.commit("good"), last + 1, "{}: an id was used", row.what);
        last += 1;
        assert_eq!(node.messages_from(last), ["good"], "{}: it left something", row.what);
    }
    let stored = node.messages_from(1);
    assert!(stored.iter().all(|text| text == "good"), "{stored:?}");
}

#[test]
fn a_bad_head_is_refused_and_nothing_else_happens() {
    let mut master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    check_each(&mut master, None, &rows::bad_heads());
}

#[test]
fn a_bad_message_is_refused_and_nothing_else_happens() {
    let mut master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    check_each(&mut master, None, &rows::bad_messages());
}

#[test]
fn a_bad_read_is_refused_by_every_node() {
    let mut master = Node::master(&[]);
    let secondary = Node::secondary_of(&master);
    check_each(&mut master, None, &rows::bad_reads());
    check_each(&mut master, Some(&secondary), &rows::bad_reads());
}

#[test]
fn a_bad_registration_is_refused_and_no_node_is_called() {
    let mut master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    let port = master.address.port();
    check_each(&mut master, None, &rows::bad_registrations(port));
    assert_eq!(master.get("/secondaries").json()["secondaries"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_met_is_harmless() {
    let mut master = Node::master(&[("IDLE_TIMEOUT", "2")]);
    let _secondary = Node::secondary_of(&master);
    thread::scope(|scope| {
        for not_met in NOT_MET {
            let row = Row { what: not_met.what, gets: not_met.gets, sent: not_met.sent.to_vec() };
            assert!(!not_met.wanted.is_empty());
            let master = &master;
            scope.spawn(move || check(master, &row));
        }
        for _ in 0..20 {
            master.commit("good");
        }
    });
    master.assert_alive();
    master.commit("good");
    assert_eq!(master.messages_from(1), vec!["good"; 21]);
}

#[test]
fn a_terabyte_that_never_comes_does_not_end_the_process() {
    let mut master = Node::master(&[]);
    for method in ["GET", "HEAD", "POST", "DELETE", "BREW"] {
        for length in [1_u64 << 40, 1 << 62] {
            let request = format!("{method} /messages HTTP/1.1\r\nHost: node\r\nContent-Length: {length}\r\n\r\nx");
            assert_eq!(master.ask(&request).status, 413, "{method} {length}");
            let mut crashing = master.connect();
            crashing.send(&request).unwrap();
            crashing.reset();
        }
    }
    assert_eq!(master.get("/livez").status, 200);
    master.commit("good");
    master.assert_alive();
    assert_eq!(master.messages_from(1), ["good"]);
}

#[test]
fn a_hidden_request_with_a_long_body_delays_no_other_client() {
    let mut master = Node::master(&[]);
    let hidden = "POST /messages HTTP/1.1\r\nHost: node\r\nContent-Length: 5000\r\n\r\nonly a little of it";
    let held: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = master.connect();
            let outer = post_with("Content-Length: 17\r\nContent-Length: 17\r\n", r#"{"message":"bad"}"#);
            connection.send(outer + hidden).unwrap();
            assert_eq!(connection.reply().unwrap().status, 400);
            connection
        })
        .collect();
    assert_honest_client_is_served(&master);
    drop(held);
    master.assert_alive();
    assert_eq!(master.messages_from(1), ["honest"]);
}

#[track_caller]
fn assert_honest_client_is_served(node: &Node) {
    let began = Instant::now();
    let id = node.commit("honest");
    let posted = began.elapsed();
    assert_eq!(node.messages_from(id).first().map(String::as_str), Some("honest"));
    let read = began.elapsed() - posted;
    assert!(posted < HONEST_TIMEOUT && read < HONEST_TIMEOUT, "posted in {posted:?}, read in {read:?}");
}

/// Messages of [`fill`].
const MANY: usize = 48;

/// Makes the log longer than what the sockets of a narrow connection take up.
fn fill(node: &Node) {
    let text = "x".repeat(64 << 10);
    for _ in 0..MANY {
        node.commit(&text);
    }
}

#[test]
fn three_hundred_slow_clients_delay_no_other_client() {
    let mut master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    fill(&master);
    let before = master.descriptors();
    let half_a_body = format!("{{\"message\":\"bad{}", "x".repeat(2_500));
    let slow: Vec<Connection> = (0..300)
        .map(|number| {
            let mut connection = if number % 3 == 2 { master.connect_narrow() } else { master.connect() };
            let sent = match number % 3 {
                0 => "GET /messages HTTP/1.1\r\nHost: no".to_owned(),
                1 => post_with("Content-Length: 5000\r\n", &half_a_body),
                _ => get("/messages"),
            };
            connection.send(sent).unwrap();
            connection
        })
        .collect();
    for _ in 0..3 {
        assert_honest_client_is_served(&master);
    }
    master.assert_alive();
    drop(slow);
    wait_until("the descriptors of clients that left are free again", || master.descriptors() <= before + 8);
    assert_honest_client_is_served(&master);
}

/// A request that is refused at once, with as many bytes as it has.
fn refused_at_length() -> String {
    post_with(&format!("Content-Length: 2\r\nContent-Type: {}\r\n", "x".repeat(8_000)), "{}")
}

#[test]
fn clients_that_ask_on_and_on_and_never_read_delay_no_other_client() {
    let mut master = Node::master(&[]);
    let request = refused_at_length();
    let deaf: Vec<Connection> = (0..4)
        .map(|_| {
            let mut connection = master.connect_narrow();
            for _ in 0..100 {
                connection.send(&request).unwrap();
                thread::yield_now();
            }
            connection
        })
        .collect();
    for _ in 0..3 {
        assert_honest_client_is_served(&master);
    }
    drop(deaf);
    master.assert_alive();
}

#[test]
fn a_writer_that_does_not_read_the_log_it_asked_for_delays_no_other() {
    let master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    fill(&master);
    let deaf: Vec<Connection> = (0..16)
        .map(|_| {
            let mut connection = master.connect_narrow();
            connection.send(post(r#"{"msg":"deaf"}"#)).unwrap();
            connection
        })
        .collect();
    for _ in 0..3 {
        assert_honest_client_is_served(&master);
    }
    drop(deaf);
}

#[test]
fn writers_that_do_not_read_delay_no_writer_of_their_rounds() {
    const WRITES: usize = 1_000;
    let mut master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    let mut deaf: Vec<Connection> = (0..32).map(|_| master.connect_narrow()).collect();
    for connection in &mut deaf {
        (0..8).for_each(|_| connection.send(refused_at_length()).unwrap());
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = master.connect();
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    assert_eq!(connection.ask(post(r#"{"message":"honest"}"#)).status, 201);
                    let took = began.elapsed();
                    assert!(
                        took < HONEST_TIMEOUT,
                        "a reply took {took:?}, as long as the write timeout of another client"
                    );
                }
            });
        }
        for _ in 0..WRITES {
            deaf.iter_mut().for_each(|connection| drop(connection.send(post(r#"{"message":"deaf"}"#))));
            thread::sleep(Duration::from_millis(2));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let written = master.messages_from(1).iter().filter(|message| *message == "deaf").count();
    assert!(written < deaf.len() * WRITES, "no connection was ever full");
    assert!(written > deaf.len(), "only {written} of the deaf writers' messages came in");
    master.assert_alive();
}

#[test]
fn every_connection_of_a_burst_is_answered() {
    let mut master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    for size in [8, 16, 64, 256] {
        let mut burst: Vec<Connection> = (0..size).map(|_| master.connect()).collect();
        for connection in &mut burst {
            connection.send(get("/livez")).unwrap();
        }
        for connection in &mut burst {
            assert_eq!(connection.reply().expect("an answer").status, 200, "of {size}");
        }
    }
    let mut burst: Vec<Connection> = (0..64).map(|_| master.connect()).collect();
    for connection in &mut burst {
        connection.send(post(r#"{"message":"burst"}"#)).unwrap();
    }
    for connection in &mut burst {
        assert_eq!(connection.reply().expect("an answer").status, 201);
    }
    assert_eq!(master.messages_from(1), vec!["burst"; 64]);
    master.assert_alive();
}

#[test]
fn a_silent_connection_ends_and_the_listener_lives_on() {
    let mut master = Node::master(&[("IDLE_TIMEOUT", "2")]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let mut connection = master.connect();
        assert_eq!(connection.ask(get("/livez")).status, 200);
        assert!(connection.reply().is_none(), "it was silent for too long");
        assert_honest_client_is_served(&master);
    }
    master.assert_alive();
    assert!(!master.log().contains("refused"), "{}", master.log());
}

#[test]
fn a_body_that_takes_too_long_is_given_up() {
    let mut master = Node::master(&[("BODY_TIMEOUT", "1")]);
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut stalled = [
        post_with("Content-Length: 5000\r\n", "half of it"),
        post_with(chunked, "10\r\nhalf of it"),
        post_with(chunked, "1"),
        post_with("Content-Length: 17\r\nExpect: 100-continue\r\n", ""),
    ]
    .map(|sent| {
        let mut connection = master.connect();
        connection.send(sent).unwrap();
        connection
    });
    let mut dripping = master.connect();
    dripping.send(post_with("Content-Length: 5000\r\n", "")).unwrap();
    wait_until("it is refused while it drips", || {
        let _ = dripping.send("x");
        dripping.is_answered_within(Duration::from_millis(50))
    });
    for connection in stalled.iter_mut().chain([&mut dripping]) {
        let mut reply = connection.reply().expect("an answer");
        if reply.status == 100 {
            reply = connection.reply().expect("an answer after the first");
        }
        assert_eq!(reply.status, 408, "{reply:?}");
        assert_sentence("a slow body", &reply);
        assert!(reply.ends_connection(), "{}", reply.head);
    }
    assert_honest_client_is_served(&master);
    master.assert_alive();
}

#[test]
fn a_body_that_is_cut_off_is_not_stored() {
    let mut master = Node::master(&[]);
    for (what, sent) in [
        ("a short one", post_with("Content-Length: 100\r\n", r#"{"message":"bad"}"#)),
        ("a long one", post_with("Content-Length: 5000\r\n", r#"{"message":"bad"}"#)),
        ("text", post_with("Content-Type: text/plain\r\nContent-Length: 5000\r\n", "bad")),
        ("chunks", post_with("Transfer-Encoding: chunked\r\n", "64\r\n{\"message\":\"b")),
        ("text in chunks", post_with("Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n", "64\r\nbad")),
    ] {
        let mut connection = master.connect();
        connection.send(sent).unwrap();
        connection.finish_sending();
        if let Some(reply) = connection.reply() {
            assert!(matches!(reply.status, 400 | 411), "{what}: {reply:?}");
        }
        assert_eq!(master.messages_from(1), [""; 0], "{what}");
    }
    master.assert_alive();
}

/// The status that a new client gets, if it gets one within a second.
fn status_of(master: &Node) -> Option<u16> {
    let timeout = Duration::from_secs(1);
    let mut connection = master.try_connect(timeout)?;
    let _ = connection.send(get("/livez"));
    if connection.is_answered_within(timeout) { connection.reply().map(|reply| reply.status) } else { None }
}

/// Fills a node with silent connections until it refuses more, and empties it again.
fn crowd_and_leave(master: &Node) {
    let mut early = master.connect();
    assert_eq!(early.ask(get("/livez")).status, 200);
    let mut crowd = Vec::new();
    wait_until("the node refuses more connections", || {
        crowd.extend((0..8).filter_map(|_| master.try_connect(Duration::from_millis(100))));
        status_of(master) == Some(503)
    });
    assert_eq!(early.ask(get("/livez")).status, 200, "an earlier connection is served");
    drop(crowd);
    wait_until("the node takes connections again", || status_of(master) == Some(200));
    assert_eq!(early.ask(get("/livez")).status, 200, "an earlier connection is still served");
}

#[test]
fn a_crowded_node_refuses_more_and_serves_again_when_there_is_room() {
    let mut master = Node::master(&[("MAX_CONNECTIONS", "100")]);
    let _secondary = Node::secondary_of(&master);
    for _ in 0..3 {
        crowd_and_leave(&master);
        assert_honest_client_is_served(&master);
    }
    master.assert_alive();
}

#[test]
fn a_node_without_descriptors_serves_again_when_it_has_some() {
    let mut master = Node::master_with_descriptors(64, &[]);
    let mut crowd = Vec::new();
    wait_until("the node has no descriptor left, or refuses connections before that", || {
        crowd.extend((0..8).filter_map(|_| master.try_connect(Duration::from_millis(100))));
        status_of(&master) != Some(200)
    });
    drop(crowd);
    wait_until("the node serves again", || status_of(&master) == Some(200));
    assert_honest_client_is_served(&master);
    master.assert_alive();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let master = Node::master(&[]);
    let _secondary = Node::secondary_of(&master);
    let mut connection = master.connect();
    let mut sent = String::new();
    for number in 1..=20 {
        sent += &post(&json!({ "message": format!("number {number}") }).to_string());
        sent += &get(&format!("/messages/{number}"));
        let _ = write!(sent, "{}", get("/nowhere"));
    }
    connection.send(sent).unwrap();
    for number in 1..=20 {
        let posted = connection.reply().unwrap();
        assert_eq!((posted.status, posted.json()["message_id"].as_u64()), (201, Some(number)));
        assert_eq!(connection.reply().unwrap().json()["message"], format!("number {number}"));
        assert_eq!(connection.reply().unwrap().status, 404);
    }
    let stored = master.messages_from(1);
    assert_eq!(stored, (1..=20).map(|number| format!("number {number}")).collect::<Vec<_>>());
}

#[test]
fn chunks_are_taken_and_are_the_last_of_their_connection() {
    let master = Node::master(&[]);
    let mut connection = master.connect();
    let chunks = "9\r\n{\"message\r\n1;extension=x\r\n\"\r\nB\r\n:\"chunked!\"\r\n1\r\n}\r\n0\r\n\r\n";
    connection.send(post_with("Transfer-Encoding: chunked\r\n", chunks) + &post(r#"{"message":"behind"}"#)).unwrap();
    let reply = connection.reply().unwrap();
    assert_eq!(reply.status, 201, "{reply:?}");
    assert!(reply.ends_connection(), "{}", reply.head);
    assert_eq!(master.commit("after"), 2);
    assert_eq!(master.messages_from(1), ["chunked!", "after"]);
}

#[test]
fn every_text_comes_back_exactly() {
    let master = Node::master(&[]);
    let secondary = Node::secondary_of(&master);
    let long = "0123456789abcdef".repeat(1 << 16);
    let texts =
        ["", " ", "NUL \0", "line\r\nbreak", "\u{1b}[31m", "\u{202e}right to left", "🦀\u{feff}", "\\\"", &long];
    for text in texts {
        master.commit(text);
    }
    let plain = "text/plain, \"as it is\"\n";
    let head = format!("Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n", plain.len());
    assert_eq!(master.ask(post_with(&head, plain)).status, 201);
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 25\r\n";
    assert_eq!(master.ask(post_with(form, r#"{"message":"as curl does"}"#)).status, 400, "a byte is left over");
    let form = form.replace("25", "26");
    assert_eq!(master.ask(post_with(&form, r#"{"message":"as curl does"}"#)).status, 201);
    let expected: Vec<&str> = texts.into_iter().chain([plain, "as curl does"]).collect();
    assert_eq!(master.messages_from(1), expected);
    assert_eq!(secondary.messages_from(1), expected);
}

#[test]
fn a_question_before_the_body_is_answered() {
    let master = Node::master(&[]);
    let mut connection = master.connect();
    let body = r#"{"message":"after 100"}"#;
    let head = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    assert_eq!(connection.ask(post_with(&head, "")).status, 100);
    assert_eq!(connection.ask(body).status, 201);
    assert_eq!(connection.ask(get("/messages/1")).json()["message"], "after 100");
    for (refused, status) in [("/nowhere", 404), ("/health", 405)] {
        let request = post_with(&head, "").replace("/messages", refused);
        assert_eq!(master.ask(request).status, status, "and not 100");
    }
}

#[test]
fn heads_have_no_body_and_old_clients_no_chunks() {
    let master = Node::master(&[]);
    fill(&master);
    let mut connection = master.connect();
    for target in ["/messages", "/messages/1", "/health", "/nowhere"] {
        let head = connection.ask(get(target).replace("GET", "HEAD"));
        assert_eq!(head.status, if target == "/nowhere" { 404 } else { 200 });
        assert_eq!(head.header("content-type"), Some("application/json"));
    }
    let streamed = connection.ask(get("/messages"));
    assert_eq!(streamed.header("transfer-encoding"), Some("chunked"));
    let whole = master.ask("GET /messages HTTP/1.0\r\n\r\n");
    assert_eq!((whole.status, whole.header("transfer-encoding"), whole.header("content-length")), (200, None, None));
    assert_eq!(whole.body, streamed.body);
    assert!(whole.body.len() > MANY << 16);
    assert_eq!(whole.json()["total"], MANY);
}

#[test]
fn a_reader_may_send_a_body_in_vain() {
    let master = Node::master(&[]);
    master.commit("good");
    let mut connection = master.connect();
    for body in ["x".repeat(10), "x".repeat(5_000)] {
        let request = format!("GET /messages HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let reply = connection.ask(request);
        assert_eq!((reply.status, reply.json()["total"].clone()), (200, json!(1)));
    }
    let chunked = "GET /messages HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(connection.ask(chunked).json()["total"], 1);
}

#[test]
fn reading_begins_and_ends_where_the_query_says() {
    let master = Node::master(&[]);
    let secondary = Node::secondary_of(&master);
    for number in 1..=7 {
        master.commit(&number.to_string());
    }
    for node in [&master, &secondary] {
        let read = |query: &str| {
            let reply = node.get(&format!("/messages?{query}"));
            assert_eq!(reply.status, 200, "{query}: {reply:?}");
            reply.json()
        };
        let texts = |query: &str| read(&format!("view=text&{query}"));
        assert_eq!(texts("from=0"), json!({ "messages": ["1", "2", "3", "4", "5", "6", "7"] }));
        assert_eq!(texts("from=6"), json!({ "messages": ["6", "7"] }));
        let page = texts("from=2&limit=2");
        assert_eq!(page["messages"], json!(["2", "3"]));
        let next = page["next"].as_str().unwrap();
        assert!(next.starts_with("4.1."), "{next}");
        assert_eq!(texts(&format!("limit=2&from={next}"))["messages"], json!(["4", "5"]));
        assert_eq!(texts("from=4&limit=4"), json!({ "messages": ["4", "5", "6", "7"] }), "there is nothing next");
        assert_eq!(
            texts("limit=0"),
            json!({ "messages": [], "next": format!("1.0.{}", node.get("/health").json()["log_id"].as_str().unwrap()) })
        );
        assert_eq!(texts("limit=1000000000000")["limit"], 10_000, "it is cut, and says so");
        assert_eq!(texts("from=8"), json!({ "messages": [] }));
        let objects = read("view=objects&from=7");
        assert_eq!((&objects["messages"][0]["id"], &objects["total"]), (&json!(7), &json!(7)));
        assert_eq!(node.get("/messages/3").json()["message"], "3");
        let refused = node.ask(get("/messages/3").replace("GET", "DELETE"));
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
        let refused = node.ask(get("/messages").replace("GET", "DELETE"));
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, POST, OPTIONS")));
        assert_eq!(node.ask(get("/messages").replace("GET", "get")).status, 501);
    }
    let unknown = Node::lonely_secondary().ask(post(r#"{"message":"bad"}"#));
    assert_eq!((unknown.status, unknown.header("retry-after")), (503, Some("1")));
}

/// A call of the master to this secondary, to be changed.
fn call_to(secondary: &Node) -> Value {
    let state = secondary.get("/replicate/state").json();
    json!({
        "log_id": state["log_id"], "epoch": state["epoch"], "master": "0123456789abcdef", "master_port": 1,
        "to": state["incarnation"], "after": state["last"], "through": state["last"], "decided": 0, "refused": [],
        "entries": [],
    })
}

#[test]
fn a_secondary_takes_no_call_that_is_not_its_masters() {
    let mut master = Node::master(&[]);
    let mut secondary = Node::secondary_of(&master);
    for _ in 0..3 {
        master.commit("good");
    }
    let entry = |id: u64, text: &str| json!({ "id": id, "epoch": 1, "timestamp_ms": 0, "message": text });
    let changes: [(&str, u16, Value); 18] = [
        ("another log", 409, json!({ "log_id": "00000000000000000000000000000007" })),
        ("an older epoch", 409, json!({ "epoch": 0 })),
        ("an epoch that no master can have", 400, json!({ "epoch": u64::MAX })),
        ("another start of the secondary", 409, json!({ "to": "7" })),
        ("a gap", 409, json!({ "after": 9, "through": 10, "entries": [entry(10, "bad")] })),
        ("another content under an id", 409, json!({ "after": 2, "through": 3, "entries": [entry(3, "bad")] })),
        ("a call from the end of all ids", 409, json!({ "after": u64::MAX, "through": u64::MAX })),
        (
            "ids that do not rise",
            409,
            json!({ "after": 3, "through": 5, "entries": [entry(5, "bad"), entry(4, "bad")] }),
        ),
        ("an id twice", 409, json!({ "after": 3, "through": 5, "entries": [entry(4, "bad"), entry(4, "bad")] })),
        ("an id before its range", 409, json!({ "after": 3, "through": 4, "entries": [entry(1, "bad")] })),
        ("a range that ends before it begins", 409, json!({ "after": 3, "through": 1 })),
        ("no receiver", 400, json!({ "to": null })),
        ("no epoch", 400, json!({ "epoch": null })),
        ("a negative epoch", 400, json!({ "epoch": -1 })),
        ("an id that is a fraction", 400, json!({ "after": 0.5 })),
        ("a log id that is none", 400, json!({ "log_id": "seven" })),
        ("an unknown field", 400, json!({ "colour": "red" })),
        ("text where entries should be", 400, json!({ "entries": "bad" })),
    ];
    for (what, status, change) in changes {
        let mut call = call_to(&secondary);
        for (field, value) in change.as_object().unwrap() {
            call[field] = value.clone();
        }
        let reply = secondary.ask(post(&call.to_string()).replace("/messages", "/replicate"));
        assert_eq!(reply.status, status, "{what}: {}", reply.json());
        assert_sentence(what, &reply);
        secondary.assert_alive();
        assert_eq!(secondary.messages_from(1), ["good"; 3], "{what}");
    }
    for (what, body) in [
        ("a single message, now that a master is known", r#"{"id":4,"message":"bad"}"#),
        ("the same in the other dialect", r#"{"msg":"bad"}"#),
    ] {
        let reply = secondary.ask(post(body).replace("/messages", "/replicate"));
        assert_eq!(reply.status, 409, "{what}: {}", reply.json());
    }
    let flood = post_with("Content-Length: 99999999\r\n", "x").replace("/messages", "/replicate");
    assert_eq!(secondary.ask(flood).status, 413);
    master.assert_alive();
}

#[test]
fn a_message_cannot_forge_a_log_line() {
    let master = Node::master(&[("LOG_LEVEL", "debug")]);
    let secondary = Node::secondary_of(&master);
    let forged = "2026-01-01T00:00:00.000Z [ERROR] master e1: the log was deleted";
    let escape = "\u{1b}[2J";
    master.commit(&format!("hello\n{forged}\r\n{escape}"));
    let path = format!("/a{escape}");
    assert_eq!(master.get(&path).status, 400);
    assert_eq!(secondary.get(&path).status, 400);
    let registration = json!({ "url": format!("http://h\n{forged}\n{escape}"), "server_id": format!("\n{forged}") });
    assert_eq!(master.ask(post(&registration.to_string()).replace("/messages", "/secondaries")).status, 400);
    assert_eq!(secondary.ask(post("{}").replace("/messages", "/replicate")).status, 400);
    for node in [&master, &secondary] {
        wait_until("what happened is logged", || node.log().contains("id 1") && node.printed().contains("id 1"));
        for text in [node.log(), node.printed()] {
            assert!(!text.lines().any(|line| line.starts_with("2026-01-01")), "{text}");
            assert!(!text.contains(|character: char| character.is_control() && character != '\n'), "{text:?}");
            assert!(text.lines().all(|line| line.contains(" [")), "{text}");
        }
    }
    assert_eq!(secondary.stop(), Some(0));
    assert_eq!(master.stop(), Some(0));
}

/// Runs a program that must end by itself; gives its exit code and what it wrote to stderr.
fn ended(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .env("LOG_DIR", "/nonexistent/never-made")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_wrong_configuration_starts_nothing_and_all_faults_are_reported() {
    let (master, secondary) = (env!("CARGO_BIN_EXE_master"), env!("CARGO_BIN_EXE_secondary"));
    let variables = [
        ("MASTER_PORT", "70000"),
        ("BIND", "everywhere"),
        ("SERVER_ID", "../../etc"),
        ("SECONDARIES", "http://a:1,https://b:2,http://a:1"),
        ("REPLICATION_TIMEOUT", "-3"),
        ("IDLE_TIMEOUT", "0"),
        ("MAX_MESSAGE_BYTES", "many\u{1b}[31m"),
        ("LOG_LEVEL", "loud"),
    ];
    let (code, printed) = ended(master, &[], &variables);
    assert_eq!(code, Some(2), "{printed}");
    for (name, _) in variables {
        assert!(printed.contains(name), "{name} in {printed}");
    }
    assert!(printed.contains("https://b:2") && printed.contains("listed twice"), "{printed}");
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    let variables = [("REPLICATION_DELAY", "soon"), ("MASTER_URL", "http://user@master:5000"), ("PORT", "x")];
    let (code, printed) = ended(secondary, &[], &variables);
    assert_eq!(code, Some(2), "{printed}");
    assert!(variables.iter().all(|(name, _)| printed.contains(name)), "{printed}");
    let (code, printed) = ended(master, &["--no-such-flag"], &[]);
    assert_eq!(code, Some(2), "{printed}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for program in [env!("CARGO_BIN_EXE_master"), env!("CARGO_BIN_EXE_secondary")] {
        let (code, printed) = ended(program, &["--port", &port], &[]);
        assert_eq!(code, Some(2), "{printed}");
        assert!(printed.contains(&port) && printed.contains("in use"), "{printed}");
    }
}
