//! What must not stop a node: outputs that are not read, more bodies than memory, clients that send and do not read,
//! signals that come twice, clocks beyond the calendar, files that may not grow. Real processes, wide bounds;
//! `benches/limits/run` prints figures.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;

use common::{Cluster, Ends, Node, TIMEOUT, get, post, try_post, wait_until};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What a node may occupy, whatever clients do: half of what the compose file gives it.
const RESIDENT_BYTES_MAX: usize = 256 * MIB;

/// Tests that send hundreds of megabytes do so one after another.
static HEAVY: Mutex<()> = Mutex::new(());

/// A pipe that takes nothing more, and whose reader reads nothing.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer.into())
}

#[test]
fn nodes_whose_outputs_are_not_read_go_on_and_stop_when_they_are_asked() {
    const WRITES: usize = 1_000;
    let mut cluster = Cluster::prepare(&["0"]);
    let mut pipes = Vec::new();
    for node in [&mut cluster.secondaries[0], &mut cluster.master] {
        let [(first, stdout), (second, stderr)] = [full_pipe(), full_pipe()];
        pipes.extend([first, second]);
        node.set("LOG_LEVEL", "debug");
        node.start_printing_to(stdout, stderr);
    }
    cluster.wait_writable();
    for number in 0..WRITES {
        assert_eq!(cluster.post(&format!("message {number}")).status, 201);
    }
    for node in cluster.nodes() {
        for probe in ["/livez", "/readyz", "/health"] {
            assert_eq!(get(&node.url(probe)).status, 200, "{probe} of {}", node.name);
        }
        node.wait_for_log(&format!("id {WRITES}"));
    }
    for node in cluster.nodes_mut() {
        node.signal(Signal::TERM);
        let asked = Instant::now();
        assert!(node.wait().success());
        assert!(asked.elapsed() < Duration::from_secs(20), "{} took {:?}", node.name, asked.elapsed());
        assert!(node.log().contains("stopped"), "{}", node.log());
    }
}

#[test]
fn under_load_writes_are_summed_up_and_debug_has_every_one() {
    let lines = |level: &str| {
        let mut cluster = Cluster::start_with(&["0"], &[("LOG_LEVEL", level)]);
        assert_eq!(cluster.post("one by itself").status, 201);
        let (began, mut many) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_millis(2_500) || many < 300 {
            assert_eq!(cluster.post("one of many").status, 201);
            many += 1;
        }
        let last = cluster.master.health()["last"].as_u64().unwrap();
        for node in cluster.nodes_mut() {
            node.signal(Signal::TERM);
            assert!(node.wait().success());
        }
        let logs: Vec<String> = cluster.nodes().map(Node::log).collect();
        for words in ["id 1 received (1 message), sent to", "id 1 acknowledged by secondary-1", "id 1 committed after"]
        {
            assert!(logs[0].contains(words), "{words} in {}", logs[0]);
        }
        assert!(logs[1].contains("id 1 received (1 message) and stored"), "{}", logs[1]);
        (logs, last)
    };
    let (logs, last) = lines("info");
    for (log, words) in logs.iter().zip([" committed, ", " stored, pending, "]) {
        let written = log.lines().count() as u64;
        assert!(written < last * 2, "{written} lines of {last} writes, which take three or more each:\n{log}");
        assert!(log.lines().any(|line| line.contains(words) && line.contains(" times in ")), "{log}");
        let words = words.trim_end_matches(", ");
        let has_sum =
            |line: &str| line.contains(&format!("{last}{words}")) || line.contains(&format!("id {last} received"));
        assert!(log.lines().any(has_sum), "a stop logs the sums up to id {last}: {log}");
    }
    let (logs, last) = lines("debug");
    let committed = (1..=last).filter(|id| logs[0].contains(&format!("id {id} committed after"))).count() as u64;
    assert!(committed > last / 2, "{committed} lines of {last} writes: each has its line");
}

/// Sends a post and as much of its body as there is. Gives the head of the reply, if one comes in time.
fn send(node: &Node, declared: usize, body: &[u8]) -> (TcpStream, Option<String>) {
    let mut connection = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head = format!("POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {declared}\r\n\r\n");
    let sent = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
    if body.len() < declared {
        connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    } else {
        sent.expect("the node takes all of it");
    }
    let mut reply = vec![0; 4_096];
    let head = match connection.read(&mut reply) {
        Ok(read) if read > 0 => Some(String::from_utf8_lossy(&reply[..read]).into_owned()),
        _ => None,
    };
    (connection, head)
}

/// Writers that send little until `meanwhile` has ended. Gives the statuses of their replies.
fn honest_writers<T>(cluster: &Cluster, meanwhile: impl FnOnce() -> T) -> (T, Vec<u16>) {
    let (over, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let done = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // Longer than what is taken without a share of any budget, and short enough for the last quarter.
                    let message = json!({ "message": "honest".repeat(1_000) });
                    let status = try_post(&cluster.master.url("/messages"), &message);
                    answers.lock().unwrap().push(status.map_or(0, |reply| reply.status));
                }
            });
        }
        let _ends_the_others = Ends(&over);
        meanwhile()
    });
    (done, answers.into_inner().unwrap())
}

fn assert_refused_in_time(head: &str) {
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
}

/// Watches the memory of all nodes meanwhile.
fn assert_resident<T>(cluster: &Cluster, meanwhile: impl FnOnce() -> T) -> T {
    let (over, most) = (AtomicBool::new(false), Mutex::new(vec![0; 3]));
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (most, node) in most.lock().unwrap().iter_mut().zip(cluster.nodes()) {
                    *most = node.resident_bytes().max(*most);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let _ends_the_others = Ends(&over);
        meanwhile()
    });
    let most = most.into_inner().unwrap();
    assert!(most.iter().all(|&bytes| bytes < RESIDENT_BYTES_MAX), "{most:?} bytes");
    done
}

#[test]
fn more_text_than_a_node_has_memory_for_is_refused_before_it_is_read() {
    const POSTS: usize = 60;
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(&["1", "1"]);
    let batch = serde_json::to_vec(&vec!["x".repeat(MIB / 2); 14]).unwrap();
    let attack = || {
        thread::scope(|scope| {
            let posts: Vec<_> =
                (0..POSTS).map(|_| scope.spawn(|| send(&cluster.master, batch.len(), &batch).1.unwrap())).collect();
            posts.into_iter().map(|post| post.join().unwrap()).collect::<Vec<String>>()
        })
    };
    let (heads, honest) = assert_resident(&cluster, || honest_writers(&cluster, attack));
    let (taken, refused): (Vec<String>, Vec<String>) =
        heads.into_iter().partition(|head| head.starts_with("HTTP/1.1 201 "));
    assert!(!taken.is_empty() && refused.len() > POSTS / 2, "{} were taken", taken.len());
    refused.iter().for_each(|head| assert_refused_in_time(head));
    assert!(!honest.is_empty() && honest.iter().all(|&status| status == 201), "{honest:?}");
    let budgets = &cluster.master.health()["budgets"];
    let refusals = |budget: &str| budgets[budget]["refused"].as_u64().unwrap();
    assert!(refusals("pending") + refusals("bodies") >= refused.len() as u64, "{budgets}");
    wait_until("nothing is pending any more", || cluster.master.health()["budgets"]["pending"]["bytes"] == 0);
    let (_, metrics) = cluster.master.get_text("/metrics");
    assert!(metrics.contains("replicated_log_budget_bytes_max{budget=\"pending\"}"), "{metrics}");
}

#[test]
fn bodies_that_are_half_sent_do_not_fill_the_memory() {
    const BODIES: usize = 150;
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(&["0", "0"]);
    let half = [b"{\"message\":\"".as_slice(), &vec![b'x'; 4 * MIB]].concat();
    let attack = || {
        thread::scope(|scope| {
            let bodies: Vec<_> = (0..BODIES).map(|_| scope.spawn(|| send(&cluster.master, 8 * MIB, &half))).collect();
            bodies.into_iter().map(|body| body.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let (connections, honest) = assert_resident(&cluster, || honest_writers(&cluster, attack));
    let refused: Vec<&String> = connections.iter().filter_map(|(_, head)| head.as_ref()).collect();
    assert!(refused.len() > BODIES / 2, "{} were refused", refused.len());
    refused.iter().for_each(|head| assert_refused_in_time(head));
    assert!(!honest.is_empty() && honest.iter().all(|&status| status == 201), "{honest:?}");
}

#[test]
fn a_long_body_that_is_only_declared_keeps_no_room_from_others() {
    const DECLARED: usize = 30;
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start(&["0"]);
    let declare = |node: &Node, request: &str| {
        let mut connection = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        let length = 8 * MIB;
        write!(connection, "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nx").unwrap();
        connection
    };
    let _silent: Vec<TcpStream> = (0..DECLARED)
        .flat_map(|_| {
            [
                declare(&cluster.master, "POST /messages"),
                declare(&cluster.master, "GET /livez"),
                declare(&cluster.secondaries[0], "POST /replicate"),
                declare(&cluster.secondaries[0], "GET /messages"),
            ]
        })
        .collect();
    let batch = serde_json::to_vec(&vec!["x".repeat(MIB / 2); 14]).unwrap();
    for _ in 0..3 {
        let head = send(&cluster.master, batch.len(), &batch).1.unwrap();
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    }
}

#[test]
fn a_client_that_sends_before_it_reads_gets_an_answer_to_a_body_beyond_every_limit() {
    let cluster = Cluster::start_with(&[], &[("IDLE_TIMEOUT", "2")]);
    let (mut connection, head) = send(&cluster.master, 70_000_000, &vec![b'x'; 70_000_000]);
    let head = head.expect("it is answered");
    assert!(head.starts_with("HTTP/1.1 413 ") && head.contains("Connection: close"), "{head}");
    connection.set_read_timeout(Some(4 * TIMEOUT)).unwrap();
    let ended = connection.read_to_end(&mut Vec::new());
    assert!(
        ended.as_ref().is_ok_and(|rest| *rest < 4_096)
            || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
    assert_eq!(cluster.post("the next").status, 201);
}

#[test]
fn a_signal_that_comes_twice_is_one_request_to_stop_and_a_hangup_is_one_too() {
    for signals in [[Signal::TERM, Signal::TERM], [Signal::HUP, Signal::HUP], [Signal::HUP, Signal::TERM]] {
        let mut cluster = Cluster::start(&["1"]);
        let url = cluster.master.url("/messages");
        let in_flight = thread::spawn(move || post(&url, &json!({ "message": "in flight" })));
        wait_until("it is under way", || cluster.master.health()["pending"] == 1);
        signals.iter().for_each(|&signal| cluster.master.signal(signal));
        assert_eq!(in_flight.join().unwrap().status, 201, "{signals:?}");
        assert!(cluster.master.wait().success(), "{signals:?}");
    }
}

#[test]
fn a_node_that_was_started_to_survive_its_terminal_does() {
    let mut cluster = Cluster::prepare(&[]);
    cluster.master.run_through(["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"].map(str::to_owned).to_vec());
    cluster.master.start();
    cluster.master.signal(Signal::HUP);
    assert_eq!(cluster.post("after the hangup").status, 201);
    cluster.master.signal(Signal::TERM);
    assert!(cluster.master.wait().success());
}

#[test]
fn a_file_that_may_not_grow_is_a_disk_that_is_full() {
    let mut cluster = Cluster::prepare(&[]);
    // In units of 512 bytes: 16 MiB.
    cluster.master.run_through(["sh", "-c", "ulimit -f 32768; exec \"$@\"", "sh"].map(str::to_owned).to_vec());
    cluster.master.start();
    let text = "x".repeat(MIB / 2);
    let mut taken = 0;
    let refused = loop {
        match cluster.post(&text) {
            reply if reply.status == 201 => taken += 1,
            reply => break reply,
        }
        assert!(taken < 100, "the limit holds");
    };
    assert!(taken > 5, "{taken} were taken before {refused:?}");
    assert_eq!((refused.status, &refused.body["outcome"]), (503, &json!("not_appended")), "{refused:?}");
    assert!(refused.body.to_string().contains("ulimit -f"), "{refused:?}");
    assert_eq!(cluster.post(&text).status, 503, "and the node lives on");
    assert_eq!(cluster.master.messages().len(), taken);
    cluster.master.run_through(Vec::new());
    cluster.restart();
    assert_eq!(cluster.post(&text).status, 201);
    assert_eq!(cluster.master.messages().len(), taken + 1);
}

#[test]
fn a_clock_beyond_the_calendar_refuses_messages_and_hangs_nothing() {
    const LIBRARIES: [&str; 2] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    let Some(library) = LIBRARIES.into_iter().find(|library| fs::exists(library).unwrap_or(false)) else {
        writeln!(io::stderr().lock(), "skipped: libfaketime is not installed (apt-get install libfaketime)").unwrap();
        return;
    };
    let mut cluster = Cluster::prepare(&[]);
    let (data, variables) = (cluster.master.data(), ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"]);
    for (variable, value) in variables.into_iter().zip([library, "+8000y", "1"]) {
        cluster.master.set(variable, value);
    }
    cluster.master.start();
    for _ in 0..3 {
        let refused = cluster.post("of another age");
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.body.to_string().contains("beyond the year 9999"), "{refused:?}");
    }
    for probe in ["/livez", "/readyz", "/health", "/messages"] {
        assert_eq!(get(&cluster.master.url(probe)).status, 200, "{probe}");
    }
    assert_eq!(cluster.master.health()["writable"], false);
    // A body that is not read: then the HTTP library writes the head.
    let unread = ureq::post(cluster.master.url("/messages")).content_type("image/png").send("x".repeat(5_000));
    assert!(unread.is_err_and(|error| matches!(error, ureq::Error::StatusCode(415))));
    cluster.master.wait_for_log("9999-12-31T23:59:59.999Z [INFO ] master e1: ");
    cluster.master.kill();
    variables.into_iter().for_each(|variable| cluster.master.set(variable, ""));
    cluster.master.start();
    assert_eq!(cluster.post("of this one").status, 201);
    assert!(data.exists());
}
