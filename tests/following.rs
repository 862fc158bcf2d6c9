//! Followers get every message once and in order, first old ones and then new ones. Readers may wait for a message.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;

use common::{Cluster, Node, TIMEOUT, get, post, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection with a stream. It speaks HTTP/1.0, so that the stream comes without chunks.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Asks for a stream, and asserts that the node grants it.
    #[track_caller]
    fn open(node: &Node, query: &str, headers: &str) -> Stream {
        let (status, stream) = Stream::ask(node, query, headers);
        assert_eq!(status, "HTTP/1.1 200 OK");
        stream
    }

    fn ask(node: &Node, query: &str, headers: &str) -> (String, Stream) {
        let mut connection = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        connection.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(connection, "GET /messages{query} HTTP/1.0\r\nHost: node\r\n{headers}\r\n").unwrap();
        let mut stream = Stream(BufReader::new(connection));
        let status = stream.line().expect("a status line");
        while stream.line().is_some_and(|line| !line.is_empty()) {}
        (status, stream)
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok().filter(|&bytes| bytes > 0).map(|_| line.trim_end().to_owned())
    }

    /// The next event: its id and its data.
    fn event(&mut self) -> Option<(u64, Value)> {
        let mut id = None;
        while let Some(line) = self.line() {
            if let Some(number) = line.strip_prefix("id: ") {
                id = number.split('.').next().map(|id| id.parse().expect("an id"));
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((id.expect("the id comes first"), serde_json::from_str(data).expect("JSON")));
            }
        }
        None
    }

    /// Checks that the next events are these ids.
    #[track_caller]
    fn expect(&mut self, ids: impl IntoIterator<Item = u64>) {
        for expected in ids {
            let (id, entry) = self.event().unwrap_or_else(|| panic!("the stream ended before {expected}"));
            assert_eq!((id, &entry["id"]), (expected, &json!(expected)));
            assert_eq!(entry["message"], format!("message {expected}"));
        }
    }
}

/// Posts messages whose texts name their ids. They wait for nodes that have just been started.
#[track_caller]
fn fill(cluster: &Cluster, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        let message = json!({ "message": format!("message {id}"), "timeout": TIMEOUT.as_secs() });
        assert_eq!(post(&cluster.master.url("/messages"), &message).body["message_id"], id);
    }
}

#[test]
fn history_comes_first_and_then_what_is_written_on_every_node() {
    let cluster = Cluster::start(&["0", "0"]);
    fill(&cluster, 1..=5);
    let mut followers: Vec<Stream> = cluster.nodes().map(|node| Stream::open(node, "?follow=true", "")).collect();
    followers.iter_mut().for_each(|follower| follower.expect(1..=5));
    fill(&cluster, 6..=8);
    followers.iter_mut().for_each(|follower| follower.expect(6..=8));
}

#[test]
fn a_follower_says_where_it_begins_and_how_it_wants_them_written() {
    let cluster = Cluster::start(&["0"]);
    fill(&cluster, 1..=4);
    let node = &cluster.master;
    let events = "Accept: text/event-stream\r\n";
    Stream::open(node, "", events).expect(1..=4);
    Stream::open(node, "?from=3", events).expect(3..=4);
    Stream::open(node, "?from=1&follow=true", "Last-Event-ID: 3\r\n").expect([4]);
    Stream::open(node, "?from=end", "Accept: text/html, text/event-stream;q=0.9\r\nLast-Event-ID: 2\r\n").expect(3..=4);
    let mut from_now = Stream::open(node, "?follow=1&from=end", "");
    let mut from_later = Stream::open(node, "?follow=1&from=5", "");
    let mut texts = Stream::open(node, "?follow&from=4&view=text", "");
    assert_eq!(texts.event(), Some((4, json!("message 4"))));
    let mut lines = Stream::open(node, "?follow=true&from=4", "Accept: application/x-ndjson\r\n");
    let line: Value = serde_json::from_str(&lines.line().unwrap()).unwrap();
    assert_eq!((&line["id"], &line["message"]), (&json!(4), &json!("message 4")));
    fill(&cluster, 5..=6);
    from_now.expect(5..=6);
    from_later.expect(5..=6);
    assert_eq!(texts.event(), Some((5, json!("message 5"))));
    assert!(lines.line().unwrap().contains("message 5"));
    for (query, headers, complaint) in [
        ("?follow=perhaps", "", "follow is"),
        ("?follow=true&limit=3", "", "do not go together"),
        ("?follow=true&wait=3", "", "do not go together"),
        ("?follow=true&consistency=strong", "", "do not go together"),
        ("?follow=true&from=first", "", "from is"),
        ("?follow=true", "Last-Event-ID: x\r\n", "Last-Event-ID is"),
        ("?from=end", "", "from is"),
        ("?wait=long", "", "wait is"),
        ("?wait=61", "", "wait is"),
    ] {
        let (status, mut reply) = Stream::ask(node, query, headers);
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{query}");
        let why = reply.line().unwrap();
        assert!(why.contains(complaint), "{query}: {why}");
    }
}

#[test]
fn followers_who_come_while_others_write_miss_nothing_and_get_nothing_twice() {
    const FOLLOWERS: usize = 12;
    let cluster = Cluster::start(&["0", "0"]);
    let (master, nodes): (_, Vec<&Node>) = (&cluster.master, cluster.nodes().collect());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut written = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let reply =
                            post(&master.url("/messages"), &json!({ "message": format!("{writer}-{written}") }));
                        assert_eq!(reply.status, 201);
                        written += 1;
                    }
                })
            })
            .collect();
        let followers: Vec<_> = (0..FOLLOWERS)
            .map(|number| {
                let (node, is_over) = (nodes[number % nodes.len()], &is_over);
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(40) * u32::try_from(number).unwrap());
                    let mut stream = Stream::open(node, "?follow=true", "");
                    let mut last = 0;
                    while !(is_over.load(Ordering::Relaxed) && last >= 200) {
                        let (id, _) = stream.event().expect("it goes on");
                        assert_eq!(id, last + 1, "on {}", node.name);
                        last = id;
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        wait_until("there is enough to follow", || master.health()["message_count"].as_u64() > Some(250));
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        // Readers that had read the last message before the test was over need one more to notice its end.
        assert_eq!(cluster.post("the end").status, 201);
        followers.into_iter().for_each(|follower| follower.join().unwrap());
    });
}

#[test]
fn who_follows_a_node_that_is_killed_goes_on_where_it_was() {
    let mut cluster = Cluster::start(&["0", "0"]);
    let mut next = 1;
    for round in 0..3 {
        let node = round % 3;
        fill(&cluster, next..next + 5);
        let mut last = next - 1;
        let followed: Vec<&Node> = cluster.nodes().collect();
        let mut stream = Stream::open(followed[node], "?follow=true", &format!("Last-Event-ID: {last}\r\n"));
        stream.expect(next..next + 3);
        last += 3;
        cluster.nodes_mut().nth(node).unwrap().kill();
        // The node may have sent more before it was killed.
        while let Some((id, _)) = stream.event() {
            assert_eq!(id, last + 1);
            last = id;
        }
        cluster.nodes_mut().nth(node).unwrap().start();
        cluster.wait_writable();
        fill(&cluster, [next + 5]);
        let mut stream =
            Stream::open(cluster.nodes().nth(node).unwrap(), "?follow=true", &format!("Last-Event-ID: {last}\r\n"));
        stream.expect(last + 1..=next + 5);
        next += 6;
    }
}

#[test]
fn a_stream_has_a_sign_of_life_and_outlives_the_idle_time_out() {
    let cluster = Cluster::start_with(&["0"], &[("FOLLOW_HEARTBEAT", "0.2"), ("IDLE_TIMEOUT", "1")]);
    let mut events = Stream::open(&cluster.secondaries[0], "?follow=true", "");
    let mut lines = Stream::open(&cluster.master, "?follow=true", "Accept: application/x-ndjson\r\n");
    assert_eq!(events.line().as_deref(), Some("retry: 1000"));
    assert!(events.line().is_some_and(|line| line.starts_with("id: 0.0.")));
    assert_eq!(events.line().as_deref(), Some(""));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(events.line().as_deref(), Some(":"));
        assert_eq!(events.line().as_deref(), Some(""));
        assert_eq!(lines.line().as_deref(), Some(""));
    }
    fill(&cluster, [1]);
    events.expect([1]);
    wait_until("the message comes", || lines.line().is_some_and(|line| line.contains("message 1")));
}

#[test]
fn a_node_that_stops_ends_its_streams_properly() {
    let mut cluster = Cluster::start(&["0"]);
    fill(&cluster, 1..=2);
    let mut connection = TcpStream::connect(("127.0.0.1", cluster.master.port)).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    connection.write_all(b"GET /messages?follow=true&from=2 HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    let waiting = thread::spawn({
        let url = cluster.master.url("/messages?from=3&wait=30");
        move || get(&url)
    });
    wait_until("both are there", || cluster.master.log().contains("follows the log after id 1"));
    thread::sleep(Duration::from_millis(100));
    cluster.master.signal(rustix::process::Signal::TERM);
    let mut all = String::new();
    connection.read_to_string(&mut all).unwrap();
    assert!(all.contains("id: 2.1."), "{all}");
    assert!(all.ends_with("\r\n0\r\n\r\n"), "{all}");
    assert_eq!(waiting.join().unwrap().body["messages"], json!([]));
    assert!(cluster.master.wait().success());
}

#[test]
fn there_are_no_more_followers_than_allowed_and_a_place_is_free_again_when_one_is_gone() {
    let variables = [("MAX_FOLLOWERS", "2"), ("FOLLOW_HEARTBEAT", "0.1")];
    let cluster = Cluster::start_with(&["0"], &variables);
    let node = &cluster.master;
    let first = Stream::open(node, "?follow=true", "");
    let _second = Stream::open(node, "?follow=true", "");
    let lines = "Accept: application/x-ndjson\r\n";
    let (status, mut refused) = Stream::ask(node, "?follow=true", lines);
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(refused.line().unwrap().contains("2 followers"));
    let waiting = get(&node.url("/messages?wait=1"));
    assert_eq!(waiting.status, 503, "{waiting:?}");
    assert_eq!(get(&node.url("/messages")).status, 200, "a reader that does not wait needs no free place");
    drop(first);
    wait_until("the first is missed", || Stream::ask(node, "?follow=true", lines).0 == "HTTP/1.1 200 OK");
}

#[test]
fn a_follower_who_does_not_read_is_dropped_and_one_who_is_slow_gets_everything() {
    const MESSAGES: u64 = 120;
    let cluster = Cluster::start_with(&["0"], &[("WRITE_TIMEOUT", "1.5")]);
    let (_deaf, mut slow, mut honest) = (
        Stream::open(&cluster.master, "?follow=true", ""),
        Stream::open(&cluster.master, "?follow=true", ""),
        Stream::open(&cluster.master, "?follow=true", ""),
    );
    let slow = thread::spawn(move || {
        for id in 1..=MESSAGES {
            thread::sleep(Duration::from_millis(25));
            assert_eq!(slow.event().expect("it goes on").0, id);
        }
    });
    for id in 1..=MESSAGES {
        // More than the buffers of a connection take.
        assert_eq!(cluster.post(&"x".repeat(100_000)).status, 201);
        assert_eq!(honest.event().expect("it goes on").0, id);
    }
    wait_until("the deaf one is dropped", || cluster.master.log().contains("does not follow the log any more"));
    slow.join().unwrap();
    let log = cluster.master.log();
    assert_eq!(log.matches("does not follow the log any more").count(), 1, "{log}");
    assert!(log.contains("the client has read nothing for 1.5 s"), "{log}");
}

#[test]
fn many_followers_who_do_not_read_hold_up_the_others_for_a_moment_only() {
    const STUCK: usize = 40;
    let mut cluster = Cluster::start_with(&["0"], &[("WRITE_TIMEOUT", "60")]);
    let _stuck: Vec<Stream> = (0..STUCK).map(|_| Stream::open(&cluster.master, "?follow=true", "")).collect();
    let mut honest = Stream::open(&cluster.master, "?follow=true", "");
    for id in 1..=80 {
        assert_eq!(cluster.post(&"x".repeat(200_000)).status, 201);
        let began = Instant::now();
        assert_eq!(honest.event().expect("it goes on").0, id);
        // One after the other they would take half a second and more, each time that all of them are full.
        assert!(began.elapsed() < Duration::from_secs(5), "message {id} came after {:?}", began.elapsed());
    }
    let began = Instant::now();
    cluster.master.signal(rustix::process::Signal::TERM);
    assert!(cluster.master.wait().success());
    assert!(began.elapsed() < TIMEOUT / 2, "the stop took {:?}", began.elapsed());
}

#[test]
fn who_follows_from_the_end_and_is_cut_off_before_a_first_message_misses_nothing() {
    let mut cluster = Cluster::start(&["0"]);
    fill(&cluster, 1..=3);
    let mut stream = Stream::open(&cluster.master, "?follow=true&from=end", "");
    let mut id = None;
    while id.is_none() {
        id = stream.line().expect("it begins").strip_prefix("id: ").map(str::to_owned);
    }
    cluster.master.kill();
    cluster.master.start();
    cluster.wait_writable();
    fill(&cluster, 4..=5);
    // As a browser does: the same request, and the last id that it noted.
    let last = format!("Last-Event-ID: {}\r\n", id.unwrap());
    Stream::open(&cluster.master, "?follow=true&from=end", &last).expect(4..=5);
}

#[test]
fn a_reader_may_wait_for_a_first_message() {
    let cluster = Cluster::start(&["0", "0"]);
    let waiting: Vec<_> = cluster
        .nodes()
        .map(|node| {
            let url = node.url("/messages?from=1&wait=30");
            thread::spawn(move || get(&url))
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    fill(&cluster, [1]);
    for reader in waiting {
        let reply = reader.join().unwrap();
        assert_eq!((reply.status, &reply.body["messages"][0]["id"]), (200, &json!(1)));
    }
    assert_eq!(get(&cluster.master.url("/messages?wait=30")).body["total"], 1, "it lacks a message");
    let began = Instant::now();
    let nothing = get(&cluster.secondaries[0].url("/messages?from=2&wait=0.3"));
    assert_eq!((nothing.status, &nothing.body["messages"]), (200, &json!([])));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_log_is_exported_in_lines() {
    let cluster = Cluster::start(&["0"]);
    fill(&cluster, 1..=30);
    let lines = "Accept: application/x-ndjson\r\n";
    let ids = |query: &str| {
        let mut export = Stream::open(&cluster.secondaries[0], query, lines);
        let mut ids = Vec::new();
        while let Some(line) = export.line() {
            let entry: Value = serde_json::from_str(&line).expect("JSON");
            assert!(entry["timestamp"].is_string());
            ids.push(entry["id"].as_u64().unwrap());
        }
        ids
    };
    assert_eq!(ids(""), (1..=30).collect::<Vec<_>>());
    assert_eq!(ids("?from=20&limit=3"), [20, 21, 22]);
    assert_eq!(ids("?from=31"), Vec::<u64>::new());
    let mut texts = Stream::open(&cluster.master, "?view=text&from=30", lines);
    assert_eq!((texts.line().as_deref(), texts.line()), (Some("\"message 30\""), None));
}

#[test]
fn a_follower_who_has_left_is_missed_at_the_next_heartbeat() {
    let cluster = Cluster::start_with(&["0"], &[("FOLLOW_HEARTBEAT", "8")]);
    let stream = Stream::open(&cluster.master, "?follow=true", "");
    let began = Instant::now();
    drop(stream);
    wait_until("it is missed", || cluster.master.log().contains("does not follow the log any more"));
    assert!(began.elapsed() < Duration::from_secs(15), "before a second heartbeat interval is over");
}
