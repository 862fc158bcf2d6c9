//! `test_client bench`: what it counts, prints and finds wrong, against stubs; and a second of load on real nodes.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of a program needs a stub with sockets and threads"
)]

mod common;
mod nodes;
mod stub;

use common::{Run, program, run};
use nodes::{Nodes, has_nodes};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use stub::{Cluster, Fault, Recorder, Script};
use tempfile::TempDir;

/// A short run: what is counted must be right, however little it is.
const SHORT: [&str; 5] = ["bench", "--seconds", "1", "--warm-up", "0"];

fn bench(master: &str, args: &[&str]) -> Run {
    run(master, &[&SHORT[..], args].concat())
}

fn cluster(faults: &[Fault]) -> Cluster {
    Cluster::start(Script { delays_ms: vec![1, 1], faults: faults.to_vec() })
}

/// A master that answers a post as this says, given its number; and nothing else as a node does.
fn answering(answer: impl Fn(u64) -> (u16, Value) + Send + Sync + 'static) -> String {
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let url = format!("http://{}", server.server_addr().to_ip().unwrap());
    let (answer, posts) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    for _ in 0..4 {
        let (server, answer, posts) = (Arc::clone(&server), Arc::clone(&answer), Arc::clone(&posts));
        thread::spawn(move || {
            for request in server.incoming_requests() {
                let (status, body) = match request.method() {
                    tiny_http::Method::Post => answer(posts.fetch_add(1, Ordering::SeqCst) + 1),
                    _ => (404, json!({ "error": "there is nothing" })),
                };
                let response = tiny_http::Response::from_string(body.to_string()).with_status_code(status);
                let _ = request.respond(response);
            }
        });
    }
    url
}

#[test]
fn every_message_is_counted_once() {
    let cluster = cluster(&[]);
    let report = bench(&cluster.master, &["--writers", "3", "--size", "40", "--json"]).ends_with(0).json();
    let texts = cluster.texts();
    assert_eq!(report["checks"], json!({ "acknowledged_ids": texts.len(), "violations": [] }), "{report:#}");
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "no two texts are the same");
    assert!(texts.iter().all(|text| text.len() == 40), "{texts:?}");
    let writes = &report["writes"];
    let counted = writes["messages"].as_u64().unwrap();
    assert_eq!(writes["outcomes"], json!({ "201": counted }));
    // Each of three writers may have been answered when the second was over.
    assert!(counted >= 1 && (texts.len() as u64 - counted) <= 3, "{counted} of {}", texts.len());
    assert_eq!((&report["reads"], &report["exit_code"]), (&Value::Null, &json!(0)));
    assert_eq!(report["seconds"].as_array().unwrap().len(), 1);
    assert_eq!(report["seconds"][0]["writes"]["per_second"], writes["per_second"]);
    let figure = |name: &str| writes["latency_ms"][name].as_f64().unwrap();
    assert!(figure("p50") > 0.0 && figure("p50") <= figure("p99_9") && figure("p99_9") <= figure("max"), "{report:#}");
    assert!(report["client"]["cpu_percent"].as_f64().is_some(), "{report:#}");
}

#[test]
fn a_person_gets_a_table() {
    let run = bench(&cluster(&[]).master, &["--writers", "2", "--readers", "1"]).ends_with(0);
    assert_eq!(run.stderr, "", "no progress where there is no terminal");
    run.prints(
        "2 writers, messages of 100 bytes, one after the other (closed loop); 1 reader, pages of 100; 1.0 s measured",
    )
    .prints("a second       p50       p90       p99     p99.9       max      mean")
    .prints("201, committed")
    .prints("each once, rising on every connection")
    .prints("% of one core");
}

#[test]
fn a_schedule_is_kept() {
    let cluster = cluster(&[]);
    let report = bench(&cluster.master, &["--writers", "4", "--rate", "50", "--json"]).ends_with(0).json();
    // The last ones may still be under way.
    assert!((1..=50).contains(&report["writes"]["messages"].as_u64().unwrap()), "{report:#}");
    assert_eq!(report["options"]["loop"], "open");
    assert!(cluster.texts().len() <= 51, "{}", cluster.texts().len());
}

#[test]
fn a_queue_is_reported() {
    let slow = Cluster::start(Script { delays_ms: vec![50], faults: Vec::new() });
    bench(&slow.master, &["--writers", "2", "--rate", "2000"])
        .ends_with(0)
        .prints("posts that were due still waited for a connection at the end: the rate is more than");
}

#[test]
fn pages_are_read_from_the_node_that_was_named() {
    let cluster = cluster(&[]);
    for _ in 0..3 {
        run(&cluster.master, &["post", "x"]);
    }
    let args = ["--writers", "0", "--readers", "2", "--json", "--read-from", &cluster.secondaries[0]];
    let report = bench(&cluster.master, &args).ends_with(0).json();
    assert!(report["reads"]["pages"].as_u64().unwrap() >= 1, "{report:#}");
    assert!(report["reads"]["answer_bytes"].as_u64().unwrap() > 100, "{report:#}");
    assert_eq!((&report["writes"], cluster.texts().len()), (&Value::Null, 3));
}

#[test]
fn a_batch_counts_as_its_messages() {
    let batches = |number: u64| json!({ "message_ids": { "first": number * 5 - 4, "last": number * 5 }, "count": 5 });
    let report = bench(&answering(move |number| (201, batches(number))), &["--batch", "5", "--writers", "1", "--json"]);
    let report = report.ends_with(0).json();
    let (messages, posts) = (&report["writes"]["messages"], &report["writes"]["outcomes"]["201"]);
    assert_eq!(messages.as_u64().unwrap(), posts.as_u64().unwrap() * 5, "{report:#}");
}

#[test]
fn wrong_ids_are_found() {
    let same = answering(|_| (201, json!({ "message_id": 7 })));
    bench(&same, &["--writers", "1"])
        .ends_with(5)
        .prints("✗ id 7 was acknowledged")
        .complains("twice, or out of order");
    let twice = answering(|number| (201, json!({ "message_id": number.div_ceil(2) })));
    bench(&twice, &["--writers", "2", "--threads", "2"]).ends_with(5).prints("was acknowledged twice");
    let falling = answering(|number| (201, json!({ "message_id": 1_000_000 - number })));
    bench(&falling, &["--writers", "1"]).ends_with(5).prints("on the same connection");
    let none = answering(|_| (201, json!({ "messages": ["the whole log"] })));
    let report = bench(&none, &["--writers", "1", "--json"]).ends_with(5).json();
    assert_eq!(report["checks"]["violations"][0], "a 201 came without a message id");
}

#[test]
fn refusals_and_unknown_outcomes_are_distinguished() {
    let report = bench(&cluster(&[Fault::RefuseAll]).master, &["--writers", "4", "--json"]).ends_with(1).json();
    assert!(report["writes"]["outcomes"]["502"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!((&report["writes"]["messages"], &report["writes"]["latency_ms"]), (&json!(0), &Value::Null));
    bench(&cluster(&[Fault::RefuseAll]).master, &["--writers", "4"])
        .ends_with(1)
        .prints("502, refused  not every secondary acknowledged")
        .complains("every message was refused; nothing was appended");
    bench(&cluster(&[Fault::UnknownOutcome]).master, &["--writers", "4"]).ends_with(4).prints("504, unknown outcome");
    let mixed = answering(|number| match number {
        1 => (202, json!({ "message_id": 1 })),
        _ => (503, json!({ "error": "read-only" })),
    });
    bench(&mixed, &["--writers", "4"])
        .ends_with(0)
        .prints("202, committed with fewer copies")
        .prints("503, refused  read-only");
}

/// It may answer before it has all of a long request, read no more, and leave the connection open.
#[test]
fn an_early_refusal_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let length = stream.read(&mut [0; 1024]).unwrap();
            if length > 0 {
                stream.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            }
            open.push(stream);
        }
    });
    let run = bench(&url, &["--writers", "1", "--size", "20000000"]).ends_with(1);
    run.prints("413, refused");
}

#[test]
fn write_options_are_sent() {
    let first_post = |args: &[&str]| {
        let master = Recorder::start(Duration::from_millis(50), 201, &[], &json!({ "message_id": 1 }));
        bench(&master.url, &[&["--writers", "1", "--w", "2", "--wait", "0.5"], args].concat());
        master.requests().into_iter().find(|request| request.line.starts_with("POST")).unwrap()
    };
    let post = first_post(&["--size", "12"]);
    assert_eq!((&*post.line, post.header("Content-Type")), ("POST /messages", Some("application/json")));
    let body: Value = serde_json::from_str(&post.body).unwrap();
    assert_eq!(body, json!({ "message": "000000000000", "w": 2, "timeout": 0.5 }));
    let post = first_post(&["--batch", "2"]);
    assert_eq!(post.line, "POST /messages?w=2&timeout=0.5");
    assert_eq!(serde_json::from_str::<Vec<String>>(&post.body).unwrap().len(), 2);
}

#[test]
fn an_absent_master_is_reported() {
    bench("http://127.0.0.1:9", &[]).ends_with(3).complains("connection refused");
    let report = bench("http://127.0.0.1:9", &["--json"]).ends_with(3).json();
    assert!(report["error"].as_str().unwrap().contains("connection refused"), "{report:#}");
    bench(&cluster(&[]).secondaries[0], &[]).ends_with(3).complains("give the address of the master");
    bench(&cluster(&[]).master, &["--readers", "1", "--read-from", "http://127.0.0.1:9"]).ends_with(3);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let master = cluster(&[]).master;
    bench(&master, &["--writers", "0"]).ends_with(2).complains("nothing to measure");
    bench(&master, &["--read-from", &master]).ends_with(2);
    bench(&master, &["--plot", "/nowhere/at/all.svg"]).ends_with(2).complains("cannot write /nowhere/at/all.svg");
    for wrong in [["--size", "3"], ["--rate", "-1"], ["--writers", "x"], ["--seconds", "0"], ["--w", "most"]] {
        bench(&master, &wrong).ends_with(2);
    }
}

#[test]
fn a_plot_is_drawn() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("bench.svg");
    let args = ["--writers", "2", "--readers", "2", "--plot", file.to_str().unwrap()];
    bench(&cluster(&[]).master, &args).ends_with(0);
    let drawing = fs::read_to_string(file).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.trim_end().ends_with("</svg>"), "{drawing}");
    assert!(drawing.contains("writes p99") && drawing.contains("pages a second"), "{drawing}");
    assert!(!drawing.contains("NaN") && !drawing.contains("inf"), "{drawing}");
}

#[test]
fn ctrl_c_ends_it_early_with_a_report() {
    let cluster = cluster(&[]);
    let mut command = program();
    command
        .args(["bench", "--writers", "2", "--seconds", "600", "--warm-up", "0", "--json"])
        .env("MASTER_URL", &cluster.master);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while cluster.texts().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is posted");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stdout}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["ended_early"], true);
    assert_eq!(report["checks"]["acknowledged_ids"], cluster.texts().len(), "{report:#}");
}

#[test]
fn real_nodes_are_loaded() {
    if !has_nodes() {
        return;
    }
    let nodes = Nodes::start(&[]);
    run(&nodes.master, &["post", "--wait", "30", "they need a moment to find each other"]).ends_with(0);
    let args = ["--writers", "8", "--readers", "2", "--threads", "2", "--json"];
    let report = bench(&nodes.master, &args).ends_with(0).json();
    assert_eq!(report["checks"]["violations"], json!([]), "{report:#}");
    assert_eq!(report["writes"]["outcomes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["201"], "{report:#}");
    assert_eq!(report["reads"]["outcomes"].as_object().unwrap().keys().collect::<Vec<_>>(), ["200"], "{report:#}");
    assert_eq!(report["unanswered"]["requests"], 0, "{report:#}");
    let held = run(&nodes.master, &["health", "--json"]).ends_with(0).json();
    let acknowledged = report["checks"]["acknowledged_ids"].as_u64().unwrap();
    assert_eq!(held["nodes"][0]["health"]["message_count"], acknowledged + 1);
    let batches = ["--writers", "2", "--batch", "50", "--w", "majority", "--wait", "5", "--rate", "1000", "--json"];
    let report = bench(&nodes.master, &batches).ends_with(0).json();
    assert!(report["writes"]["messages"].as_u64().unwrap() >= 50, "{report:#}");
}
