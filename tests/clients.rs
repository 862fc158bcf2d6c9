//! Clients as they are: what libraries, proxies, browsers and log shippers really send is taken, and what they are told
//! does not mislead them.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;
#[path = "hostile/support.rs"]
#[allow(dead_code, reason = "hostile.rs uses the rest")]
mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Node, Reply, post, post_with, wait_until};

/// A post with these header lines, and the length of the body.
fn sent(headers: &str, body: &str) -> String {
    post_with(&format!("{headers}Content-Length: {}\r\n", body.len()), body)
}

/// A request with a method, a target and header lines.
fn asked(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: node:5000\r\n{headers}\r\n")
}

#[test]
fn what_clients_send_is_stored_as_they_mean_it() {
    let node = Node::master(&[]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let ndjson = "Content-Type: application/x-ndjson\r\n";
    let fluent_bit = r#"[{"date":1700000000.5,"log":"line"},{"date":1700000001,"log":"b\u00e4"}]"#;
    let vector = "{\"message\":\"up\",\"host\":\"a\"}\n{\"message\":\"down\", \"host\":\"b\"}\n";
    let raw = |request: String| request.replacen("/messages", "/messages?raw=true", 1);
    let rows: [(&str, String, &[&str]); 14] = [
        // The offer of the JDK's HttpClient and of `curl --http2` to speak HTTP/2 (RFC 9110, section 7.8).
        (
            "an offer of HTTP/2",
            sent(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
                r#"{"message":"h2c"}"#,
            ),
            &["h2c"],
        ),
        ("nginx as it passes WebSockets on", sent("Connection: upgrade\r\n", r#"{"message":"nginx"}"#), &["nginx"]),
        (
            "a longer body behind an offer",
            sent("Connection: Upgrade\r\nUpgrade: h2c\r\n", &format!(r#"{{"message":"{}"}}"#, "x".repeat(2_000))),
            &[&*Box::leak("x".repeat(2_000).into_boxed_str())],
        ),
        (
            "a proxy's target",
            sent("", r#"{"message":"proxy"}"#).replacen("/messages", "http://node:80/messages", 1),
            &["proxy"],
        ),
        ("an encoded path", sent("", r#"{"message":"path"}"#).replacen("/messages", "/%6dessages", 1), &["path"]),
        ("curl -d with JSON", sent(form, r#"{"message":"curl"}"#), &["curl"]),
        ("a form", sent(form, "message=a+b%26c%3D%C3%A4"), &["a b&c=\u{e4}"]),
        // What Python's HTTPHandler sends of a record.
        (
            "HTTPHandler",
            sent(form, "name=root&msg=disk+is+%25s&args=%28%27full%27%2C%29&levelname=ERROR"),
            &["disk is %s"],
        ),
        ("HTTPHandler behind a formatter", sent(form, "msg=disk+is+%25s&message=disk+is+full"), &["disk is full"]),
        ("a text with its charset", sent("Content-Type: text/plain; charset=UTF-8\r\n", "plain"), &["plain"]),
        (
            "Fluent Bit, format json",
            raw(sent("Content-Type: application/json\r\nUser-Agent: Fluent-Bit\r\n", fluent_bit)),
            &[r#"{"date":1700000000.5,"log":"line"}"#, r#"{"date":1700000001,"log":"b\u00e4"}"#],
        ),
        (
            "Fluent Bit, format json_lines, and Vector",
            raw(sent(ndjson, vector)),
            &[r#"{"message":"up","host":"a"}"#, r#"{"message":"down", "host":"b"}"#],
        ),
        ("one object as it is", raw(sent("", r#"{"any": [1, 2.0]}"#)), &[r#"{"any": [1, 2.0]}"#]),
        ("a timeout with a point", sent("", r#"{"message":"t","timeout":0.5,"w":1}"#), &["t"]),
    ];
    let mut next = 1;
    for (what, request, texts) in rows {
        let reply = node.ask(&request);
        assert_eq!(reply.status, 201, "{what}: {request}\n{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(node.messages_from(next), texts, "{what}");
        next += texts.len() as u64;
    }
}

#[test]
fn a_refusal_says_what_was_sent_and_what_to_send() {
    let node = Node::master(&[]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (what, request, status, words) in [
        ("a form without a message", sent(form, "text=a"), 400, "a form without a field message or msg"),
        ("copies in quotation marks", sent("", r#"{"message":"a","w":"2"}"#), 400, "without the quotation marks"),
        ("copies with a fraction", sent("", r#"{"message":"a","w":2.0}"#), 400, "\"2.0\" is not a number of copies"),
        (
            "a timeout in quotation marks",
            sent("", r#"{"message":"a","timeout":"10"}"#),
            400,
            "without the quotation marks",
        ),
        (
            "copies given twice",
            sent("", "{}").replacen("/messages", "/messages?w=2&w=1", 1),
            400,
            "w is given more than once",
        ),
        ("UTF-16", sent("Content-Type: text/plain; charset=utf-16\r\n", "a"), 415, "send UTF-8"),
        ("gzip", sent("Content-Encoding: gzip\r\n", "a"), 415, "gzip is not taken"),
        ("a byte order mark", sent("", "\u{feff}{\"message\":\"a\"}"), 400, "byte order mark"),
        ("half a pair", sent("", r#"{"message":"\ud800"}"#), 400, "half of a surrogate pair"),
        ("two keys", sent("Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "{}"), 400, "more than one Idempotency-Key"),
    ] {
        let reply = node.ask(&request);
        let sentence = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == status && sentence.contains(words), "{what}: {} {sentence}", reply.status);
    }
    assert_eq!(node.messages_from(1), Vec::<String>::new());
}

#[test]
fn a_reply_to_chunks_says_that_the_connection_ends() {
    let node = Node::master(&[]);
    for (headers, status) in [("Content-Type: text/plain\r\n", 411), ("Content-Type: image/png\r\n", 415), ("", 400)] {
        let reply = node.ask(post_with(&format!("{headers}Transfer-Encoding: chunked\r\n"), "3\r\nbad\r\n0\r\n\r\n"));
        let connection: Vec<&str> = reply.head.lines().filter(|line| line.starts_with("Connection: ")).collect();
        assert_eq!((reply.status, connection), (status, vec!["Connection: close"]), "{headers}");
    }
}

#[test]
fn old_clients_keep_their_connection() {
    let node = Node::master(&[]);
    let mut connection = node.connect();
    for _ in 0..3 {
        let reply = connection.ask("GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")), "{}", reply.head);
    }
    let last = connection.ask("GET /health HTTP/1.0\r\n\r\n");
    assert!(last.ends_connection(), "{}", last.head);
}

#[test]
fn a_connection_that_has_waited_too_long_says_that_it_ends() {
    let node = Node::master(&[("IDLE_TIMEOUT", "1")]);
    assert_eq!(node.commit("known"), 1);
    let reply = node.get("/messages?from=2&wait=2");
    assert!(reply.status == 200 && reply.ends_connection(), "{}", reply.head);
}

#[test]
fn no_reply_may_be_kept_and_each_has_a_date() {
    let master = Node::master(&[]);
    let secondary = Node::secondary_of(&master);
    for node in [&master, &secondary] {
        for target in ["/", "/messages", "/messages?consistency=strong", "/writes/k", "/readyz", "/nowhere", "/metrics"]
        {
            let reply = node.get(target);
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{target}: {}", reply.head);
            assert!(reply.header("vary").is_some_and(|vary| vary.contains("Accept")), "{target}: {}", reply.head);
            assert!(reply.header("date").is_some_and(|date| date.ends_with(" GMT")), "{target}: {}", reply.head);
        }
    }
    // The body is not read, so the HTTP library writes this reply.
    let refused = master.ask(post_with("Content-Length: 99999999\r\n", ""));
    assert_eq!((refused.status, refused.header("cache-control")), (413, Some("no-store")), "{}", refused.head);
}

#[test]
fn the_type_that_a_client_likes_best_is_sent() {
    let node = Node::master(&[]);
    for (accept, content_type) in [
        ("", "application/json"),
        ("Accept: */*\r\n", "application/json"),
        ("Accept: text/html\r\n", "application/json"),
        ("Accept: application/x-ndjson\r\n", "application/x-ndjson"),
        ("Accept: text/event-stream;q=0, */*\r\n", "application/json"),
        ("Accept: application/json, text/event-stream\r\n", "application/json"),
        ("Accept: application/json;q=0.5, text/event-stream\r\n", "text/event-stream"),
        ("Accept: text/html, text/event-stream;q=0.9\r\n", "text/event-stream"),
        ("Accept: text/event-stream, */*\r\n", "text/event-stream"),
        ("Accept: text/*;q=0.9, application/json;q=0.1\r\n", "text/event-stream"),
        ("Accept: text/html\r\nAccept: application/x-ndjson\r\n", "application/x-ndjson"),
    ] {
        // The head is enough: a stream has no end.
        let reply = node.ask(asked("HEAD", "/messages", accept));
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)), "{accept}");
    }
}

#[test]
fn options_and_pages_of_other_sites_are_answered_as_the_standards_say() {
    let app = "https://app.example.org";
    let open = Node::master(&[("ALLOW_ORIGIN", app)]);
    let closed = Node::master(&[]);
    for node in [&open, &closed] {
        let reply = node.ask(asked("OPTIONS", "/messages", ""));
        assert_eq!((reply.status, reply.header("allow")), (204, Some("GET, HEAD, POST, OPTIONS")));
        assert_eq!(node.ask("OPTIONS / HTTP/1.0\r\n\r\n").status, 204, "the bare check of haproxy");
        assert_eq!(node.ask(asked("OPTIONS", "*", "")).status, 204);
        assert_eq!(node.ask(asked("OPTIONS", "/nowhere", "")).status, 404);
    }
    let origin = |name: &str| format!("Origin: {name}\r\n");
    let question = |name: &str| format!("{}Access-Control-Request-Method: POST\r\n", origin(name));
    let allowed = open.ask(asked("OPTIONS", "/messages", &question(app)));
    assert_eq!(allowed.header("access-control-allow-origin"), Some(app), "{}", allowed.head);
    assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, HEAD, POST, OPTIONS"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("Idempotency-Key"));
    let cross = |name: &str| sent(&format!("{}Sec-Fetch-Site: cross-site\r\n", origin(name)), r#"{"message":"page"}"#);
    let posted = open.ask(cross(app));
    assert_eq!((posted.status, posted.header("access-control-allow-origin")), (201, Some(app)));
    assert!(posted.header("access-control-expose-headers").unwrap().contains("Log-End"));
    let read = open.ask(asked("GET", "/messages", &origin(app)));
    assert_eq!(read.header("access-control-allow-origin"), Some(app));
    for (node, name) in [(&open, "https://other.example.org"), (&closed, app), (&open, "null")] {
        assert_eq!(node.ask(cross(name)).status, 403, "{name}");
        let asked = node.ask(asked("OPTIONS", "/messages", &question(name)));
        assert_eq!(asked.header("access-control-allow-origin"), None, "{name}");
    }
    assert_eq!(closed.messages_from(1), Vec::<String>::new());
    // The page of the node itself, behind a proxy that ends TLS at the default port.
    let own = sent("Origin: https://log.example.org\r\n", r#"{"message":"own"}"#)
        .replace("Host: node", "Host: log.example.org:443");
    let named = Node::master(&[("ALLOW_HOSTS", "log.example.org")]);
    assert_eq!(named.ask(own).status, 201);
}

#[test]
fn any_node_takes_a_post() {
    let mut master = Node::master(&[]);
    let secondary = Node::secondary_of(&master);
    let to = |target: &str, headers: &str, body: &str| sent(headers, body).replacen("/messages", target, 1);
    let stable = |reply: Reply| {
        let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        for field in ["ms", "timestamp", "stored_ms", "slowest", "acks", "message_id", "message_ids"] {
            body.as_object_mut().map(|fields| fields.remove(field));
        }
        let headers = ["content-type", "idempotent-replayed", "log-id", "log-begin"]
            .map(|name| reply.header(name).map(str::to_owned));
        (reply.status, headers, body)
    };
    // The master commits what is missing in the other's list, so both are asked for the same.
    for (what, request) in [
        ("a message", to("/messages", "", r#"{"message":"a"}"#)),
        ("copies and a timeout", to("/messages?w=2&timeout=5", "", r#"{"message":"b"}"#)),
        ("too many copies", to("/messages?w=3", "", r#"{"message":"c"}"#)),
        ("a batch", to("/messages", "Content-Type: application/x-ndjson\r\n", "\"d\"\n\"e\"\n")),
        ("a wrong body", to("/messages", "", r#"{"massage":"f"}"#)),
        ("an empty log wanted", to("/messages", "If-Match: \"0\"\r\n", r#"{"message":"g"}"#)),
        ("another type", to("/messages", "Content-Type: image/png\r\n", "x")),
        ("a target that is no URI", to("/messages?w=<2>", "", r#"{"message":"h"}"#)),
        ("another parameter", to("/messages?colour=red", "", r#"{"message":"h"}"#)),
    ] {
        let (there, here) = (stable(master.ask(&request)), stable(secondary.ask(&request)));
        assert_eq!(here, there, "{what}");
    }
    // Half of it would look whole.
    let chunks = "Transfer-Encoding: chunked\r\n";
    for (target, content_type) in [("/messages", "Content-Type: text/plain\r\n"), ("/messages?raw=true", "")] {
        let cut = post_with(&format!("{content_type}{chunks}"), "2\r\n12\r\n").replacen("/messages", target, 1);
        for node in [&master, &secondary] {
            let mut connection = node.connect();
            connection.send(&cut).unwrap();
            connection.finish_sending();
            assert_eq!(connection.reply().expect("an answer").status, 411, "{target}");
        }
    }
    let keyed = to("/messages", "Idempotency-Key: order:1\r\n", r#"{"message":"once"}"#);
    let (first, again) = (secondary.ask(&keyed), master.ask(&keyed));
    assert_eq!((first.status, again.status, again.header("idempotent-replayed")), (201, 201, Some("true")));
    assert_eq!(first.json()["message_id"], again.json()["message_id"]);
    assert_eq!(master.get("/writes/order%3A1").status, 200, "as encodeURIComponent writes it");
    let msg = secondary.ask(to("/messages", "", r#"{"msg":"the other dialect"}"#));
    assert_eq!(msg.json()["messages"].as_array().unwrap().last(), Some(&json!("the other dialect")));
    assert_eq!(secondary.messages_from(1), master.messages_from(1));
    let circle = secondary.ask(to("/messages", "Via: 1.1 secondary-9 (replicated-log)\r\n", r#"{"message":"round"}"#));
    assert_eq!(circle.status, 503, "{circle:?}");
    master.assert_alive();
    let before = secondary.get("/messages?consistency=prefix").json()["total"].clone();
    assert_eq!(master.stop(), Some(0));
    let refused = secondary.ask(to("/messages", "", r#"{"message":"too late"}"#));
    assert_eq!((refused.status, &refused.json()["outcome"]), (503, &json!("not_appended")), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(secondary.get("/messages?consistency=prefix").json()["total"], before);
}

#[test]
fn a_post_whose_master_dies_or_hangs_has_an_unknown_outcome() {
    for end in [Signal::KILL, Signal::STOP] {
        let master = Node::master(&[]);
        let secondary = Node::secondary_with(&master, &[("REPLICATION_DELAY", "60")]);
        let mut writer = secondary.connect();
        writer.send(sent("", r#"{"message":"in flight"}"#)).unwrap();
        wait_until("the message is on its way", || secondary.get("/health").json()["last"] == 1);
        master.signal(end);
        let reply = writer.reply().expect("an answer");
        assert_eq!((reply.status, &reply.json()["outcome"]), (504, &json!("unknown")), "{reply:?}");
    }
}

#[test]
fn a_redirect_keeps_the_query_and_leads_where_clients_are() {
    let master = Node::master(&[]);
    for (public, base) in [
        (None, format!("http://{}", master.address)),
        (Some("https://log.example.org/audit/"), "https://log.example.org/audit".to_owned()),
    ] {
        let mut variables = vec![("FORWARD", "0")];
        variables.extend(public.map(|url| ("PUBLIC_URL", url)));
        let secondary = Node::secondary_with(&master, &variables);
        let reply = secondary.ask(post("{}").replacen("/messages", "/messages?w=3&timeout=10", 1));
        assert_eq!((reply.status, reply.header("location")), (307, Some(&*format!("{base}/messages?w=3&timeout=10"))));
        assert_eq!(secondary.stop(), Some(0));
        let removal = "DELETE /secondaries/secondary-1 HTTP/1.1\r\nHost: node\r\n\r\n";
        assert_eq!(master.ask(removal).status, 200);
    }
}

#[test]
fn a_write_without_a_timeout_waits_as_long_as_the_master_says() {
    let master = Node::master(&[("ACK_TIMEOUT", "60")]);
    let secondary = Node::secondary_of(&master);
    secondary.signal(Signal::STOP);
    wait_until("the master knows", || master.get("/health").json()["writable"] == false);
    let mut patient = master.connect();
    patient.send(sent("", r#"{"message":"patient"}"#)).unwrap();
    let refused = master.ask(sent("", r#"{"message":"hasty","timeout":0}"#));
    assert_eq!(refused.status, 502, "a write may say otherwise");
    assert!(!patient.is_answered_within(Duration::from_millis(300)));
    secondary.signal(Signal::CONT);
    assert_eq!(patient.reply().expect("an answer").status, 201);
}

/// The events of a stream until one has this name or data, each as name, id and data.
fn events(node: &Node, target: &str, headers: &str, count: usize) -> Vec<(String, String, Value)> {
    let mut connection = node.connect();
    connection.send(asked("GET", target, &format!("Accept: text/event-stream\r\n{headers}"))).unwrap();
    connection.events(count)
}

#[test]
fn a_position_of_another_log_is_never_silent() {
    let master = Node::master(&[]);
    let secondary = Node::secondary_of(&master);
    (1..=3).for_each(|number| assert_eq!(master.commit(&format!("m{number}")), number));
    let log_id = master.get("/health").json()["log_id"].as_str().unwrap().to_owned();
    for node in [&master, &secondary] {
        let read = node.get("/messages?limit=1");
        let marks = ["log-id", "log-begin", "log-end"].map(|name| read.header(name).map(str::to_owned));
        assert_eq!(marks, [Some(log_id.clone()), Some("1".into()), Some("3".into())]);
        assert_eq!(read.json()["next"], format!("2.1.{log_id}"));
        let one = node.get("/messages/2");
        assert_eq!(one.header("log-end"), Some("3"));
        // What belongs here goes on, as a position and as a bare id.
        for reached in [format!("2.1.{log_id}"), "2".to_owned()] {
            let got = events(node, "/messages", &format!("Last-Event-ID: {reached}\r\n"), 2);
            assert_eq!(got[0].1, format!("2.1.{log_id}"), "the preamble");
            assert_eq!((&*got[1].1, &got[1].2["message"]), (&*format!("3.1.{log_id}"), &json!("m3")));
        }
        // What does not is announced, and the log begins anew.
        let foreign =
            [format!("2.1.{}", "0".repeat(32)), "500".to_owned(), format!("500.1.{log_id}"), format!("2.7.{log_id}")];
        for reached in foreign {
            for (target, headers) in [
                ("/messages".to_owned(), format!("Last-Event-ID: {reached}\r\n")),
                (format!("/messages?lastEventId={reached}"), String::new()),
            ] {
                let got = events(node, &target, &headers, 3);
                assert_eq!(got[0].0, "reset", "{reached}: {got:?}");
                assert!(got[0].2["error"].as_str().unwrap().contains(&*format!("log {log_id} from id 1 to 3")));
                assert_eq!(got[2].2["message"], "m1");
            }
            let next = reached.replacen("2.", "3.", 1);
            for lines in ["", "follow=true&"] {
                let request =
                    asked("GET", &format!("/messages?{lines}from={next}"), "Accept: application/x-ndjson\r\n");
                assert_eq!(node.ask(request).status, 410, "{next}");
            }
        }
    }
    let tag = |tag: &str| sent(&format!("If-Match: {tag}\r\n"), r#"{"message":"if"}"#);
    let refused = master.ask(tag("\"2\""));
    assert_eq!((refused.status, refused.header("etag")), (412, Some(&*format!("\"3.0.{log_id}\""))));
    assert_eq!(master.ask(tag(&format!("\"3.1.{}\"", "0".repeat(32)))).status, 412);
    assert_eq!(master.ask(tag(&format!("\"3.2.{log_id}\""))).status, 412, "another message of this id");
    assert_eq!(master.ask(tag(refused.header("etag").unwrap())).status, 201);
    assert_eq!(master.ask(tag("\"1\", \"4\"")).status, 201, "one of a list");
    assert_eq!(master.ask(tag("*")).status, 201, "there is a log");
}

#[test]
fn a_client_that_is_ahead_of_a_secondary_waits_there() {
    let master = Node::master(&[]);
    let secondary = Node::secondary_with(&master, &[("ENABLE_FAULTS", "1")]);
    assert_eq!(master.commit("m1"), 1);
    wait_until("it is shown", || secondary.messages_from(1).len() == 1);
    let hold = r#"{"hold":60,"calls":1}"#;
    let held = format!("PUT /faults HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n{hold}", hold.len());
    assert_eq!(secondary.ask(held).status, 200);
    let written = master.ask(sent("", r#"{"message":"m2","w":1}"#));
    assert_eq!(written.status, 201, "{written:?}");
    let log_id = written.header("log-id").unwrap();
    for position in ["3".to_owned(), format!("3.1.{log_id}")] {
        for consistency in ["", "&consistency=prefix"] {
            let read = secondary.get(&format!("/messages?from={position}{consistency}"));
            assert_eq!((read.status, &read.json()["messages"]), (200, &json!([])), "{position}{consistency}");
        }
    }
    let reached = format!("2.1.{log_id}");
    let got = events(&secondary, "/messages", &format!("Last-Event-ID: {reached}\r\n"), 1);
    assert_eq!((&*got[0].0, &*got[0].1), ("", &*reached), "it keeps its position");
}

#[test]
fn a_refused_offer_to_upgrade_says_that_the_connection_ends() {
    let node = Node::master(&[]);
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Type: image/png\r\n";
    let reply = node.ask(sent(offer, &"x".repeat(5_000)));
    let closes = reply.head.lines().any(|line| line == "Connection: close");
    assert!(reply.status == 415 && closes, "{}", reply.head);
}

#[test]
fn a_stream_without_room_makes_an_event_source_come_again() {
    let node = Node::master(&[("MAX_FOLLOWERS", "0")]);
    let reply = node.ask(asked("GET", "/messages", "Accept: text/event-stream\r\n"));
    let text = String::from_utf8(reply.body).unwrap();
    assert_eq!(reply.status, 200, "{text}");
    assert!(text.starts_with("retry: 10000\nevent: unavailable\n"), "{text}");
    let lines = node.ask(asked("GET", "/messages?follow=true", "Accept: application/x-ndjson\r\n"));
    assert_eq!((lines.status, lines.header("retry-after")), (503, Some("10")));
}

/// Runs a program of a language, if the machine has it. Gives what it printed.
fn run(program: &str, arguments: &[&str], script: &str) -> Option<String> {
    let started = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        println!("skipped: this machine has no {program}");
        return None;
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_http_client_of_the_jdk_is_served_as_it_is() {
    let node = Node::master(&[]);
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("Post.java");
    let program = r#"
        import java.net.URI;
        import java.net.http.*;
        public class Post {
            public static void main(String[] arguments) throws Exception {
                HttpClient client = HttpClient.newHttpClient();
                for (int number = 1; number <= 3; number++) {
                    HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/messages"))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString("{\"message\":\"java " + number + "\"}")).build();
                    System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
                }
            }
        }"#;
    fs::write(&source, program).unwrap();
    let url = format!("http://{}", node.address);
    if let Some(printed) = run("java", &[source.to_str().unwrap(), &url], "") {
        assert_eq!(printed.split_whitespace().collect::<Vec<_>>(), ["201", "201", "201"]);
        assert_eq!(node.messages_from(1), ["java 1", "java 2", "java 3"]);
    }
}

#[test]
fn the_http_handler_of_python_logs_here() {
    let node = Node::master(&[]);
    let script = format!(
        "import logging, logging.handlers\n\
         logger = logging.getLogger('shop')\n\
         logger.addHandler(logging.handlers.HTTPHandler('{}', '/messages', method='POST'))\n\
         logger.warning('order 4711 & more')\n",
        node.address
    );
    if run("python3", &["-"], &script).is_some() {
        assert_eq!(node.messages_from(1), ["order 4711 & more"]);
    }
}

#[test]
fn curl_may_offer_http_2_and_be_redirected() {
    let master = Node::master(&[]);
    let secondary = Node::secondary_with(&master, &[("FORWARD", "0")]);
    let data = r#"{"message":"curl"}"#;
    for node in [&master, &secondary] {
        let url = format!("http://{}/messages?w=2", node.address);
        let options = [
            "-sS",
            "--http2",
            "--location",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
            "-X",
            "POST",
            "-d",
            data,
            &url,
        ];
        if let Some(printed) = run("curl", &options, "") {
            assert!(printed.ends_with("\n201"), "{printed}");
            assert!(printed.contains("\"w\":2"), "{printed}");
        }
    }
}

/// A follower in Python, which reconnects by hand, and one in JavaScript, whose library does that.
const HTTPX_SSE: &str = r#"
import json, sys, time, httpx, httpx_sse
last, left = None, int(sys.argv[2])
while left:
    try:
        headers = {"Last-Event-ID": last} if last else {}
        with httpx.Client(timeout=None) as client, httpx_sse.connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
            for event in source.iter_sse():
                last = event.id or last
                if event.data:
                    print(event.event, json.loads(event.data)["id"], flush=True)
                    left -= 1
                    if not left:
                        break
    except httpx.HTTPError:
        time.sleep(0.1)
"#;
const EVENT_SOURCE: &str = r#"
const library = require("eventsource");
const source = new (library.EventSource || library)(process.argv[2]);
let left = Number(process.argv[3]);
source.onmessage = event => {
    console.log("message", JSON.parse(event.data).id);
    if (--left === 0) process.exit(0);
};
source.addEventListener("reset", event => { console.log("reset", event.data); process.exit(1); });
"#;

#[test]
fn foreign_followers_miss_nothing_through_four_crashes() {
    const EACH: u64 = 25;
    let mut cluster = common::Cluster::start(&["0"]);
    let count = (EACH * 5).to_string();
    let url = cluster.master.url("/messages?follow=true");
    let mut followers = Vec::new();
    for (program, probe, script) in [
        ("python3", ["-c", "import httpx, httpx_sse"], HTTPX_SSE),
        ("node", ["-e", "require('eventsource')"], EVENT_SOURCE),
    ] {
        let is_there =
            Command::new(program).args(probe).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !is_there {
            println!("skipped: this machine has no {program} with the library of {probe:?}");
            continue;
        }
        let mut child = Command::new(program)
            .args(["-", &url, &count])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        followers.push((program, child));
    }
    for life in 0..5 {
        for number in 1..=EACH {
            assert_eq!(cluster.post(&format!("{life} {number}")).status, 201);
        }
        if life < 4 {
            cluster.master.kill();
            cluster.master.start();
            cluster.wait_writable();
        }
    }
    let expected: Vec<String> = (1..=EACH * 5).map(|id| format!("message {id}")).collect();
    for (program, child) in followers {
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{program}: no gap, and nothing twice");
    }
}
