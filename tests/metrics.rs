//! `/metrics`: its figures are true, the official tool reads it, and the names in dashboards and alerts exist.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system, over sockets")]

mod common;

use common::{Cluster, Node, get, post, wait_until};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The metrics of a node.
fn scrape(node: &Node) -> String {
    let (head, body) = node.get_text("/metrics");
    assert!(head.contains("200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    body
}

/// The value of a sample, by its name and labels as they are written.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    let line = line.unwrap_or_else(|| panic!("{sample} in {text}"));
    line.rsplit_once(' ').unwrap().1.parse().expect("a number")
}

fn file(path: &str) -> String {
    fs::read_to_string(format!("{}/deploy/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Runs the official tool on a text. Prints a line where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let started = Command::new("promtool")
        .args(arguments)
        .current_dir(format!("{}/deploy/prometheus", env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        println!("skipped: promtool is not installed (Debian's package prometheus has it)");
        return None;
    };
    child.stdin.take().expect("piped").write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[track_caller]
fn assert_clean(output: Option<Output>) {
    if let Some(output) = output {
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn what_happened_is_counted() {
    let mut cluster = Cluster::start(&["0.2", "0"]);
    let url = cluster.master.url("/messages");
    for _ in 0..3 {
        assert_eq!(cluster.post("counted").status, 201);
    }
    assert_eq!(post(&url, &json!({ "wrong": 1 })).status, 400);
    cluster.secondaries[1].kill();
    assert_eq!(cluster.post("in vain").status, 502);
    wait_until("the master has noticed", || {
        value(&scrape(&cluster.master), "replicated_log_secondary_in_sync{secondary=\"secondary-2\"}") == 0.0
    });
    let (master, secondary) = (scrape(&cluster.master), scrape(&cluster.secondaries[0]));
    let of = |sample: &str| value(&master, &format!("replicated_log_{sample}"));
    assert_eq!(of("writes_total{outcome=\"committed\"}"), 3.0);
    assert_eq!(of("writes_total{outcome=\"refused\"}") + of("writes_total{outcome=\"rejected\"}"), 2.0);
    assert_eq!((of("messages"), of("epoch"), of("writable")), (3.0, 1.0, 0.0));
    assert!(of("write_duration_seconds_sum") >= 0.6 && of("write_duration_seconds_count") >= 3.0);
    assert!(of("replica_ack_duration_seconds_sum{secondary=\"secondary-1\"}") >= 0.6);
    assert!(of("append_duration_seconds_count") >= 3.0 && of("round_messages_sum") >= 3.0);
    assert_eq!(of("secondary_delay_seconds{secondary=\"secondary-1\"}"), 0.2);
    assert!(of("data_bytes") > 0.0 && of("disk_free_bytes") > 0.0 && of("http_connections") >= 1.0);
    assert!(master.contains("replicated_log_build_info{role=\"master\",server_id=\"master\",version=\""));
    assert_eq!(value(&secondary, "replicated_log_messages"), 3.0);
    assert!(value(&secondary, "replicated_log_call_duration_seconds_sum") >= 0.6);
    assert_eq!(value(&secondary, "replicated_log_caught_up"), 1.0);
}

#[test]
fn the_official_tool_reads_it_and_has_nothing_to_complain_about() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("read").status, 201);
    for node in cluster.nodes() {
        assert_clean(promtool(&["check", "metrics"], &scrape(node)));
    }
}

#[test]
fn each_alert_fires_and_ends() {
    assert_clean(promtool(&["check", "config", "prometheus.yml"], ""));
    assert_clean(promtool(&["test", "rules", "alerts_test.yml"], ""));
    let (alerts, tests) = (file("prometheus/alerts.yml"), file("prometheus/alerts_test.yml"));
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.matches(&format!("alertname: {name}")).count() >= 2, "{name} is shown firing, and ending");
    }
}

#[test]
fn what_is_drawn_and_alerted_is_really_there() {
    let cluster = Cluster::start(&["0"]);
    assert_eq!(cluster.post("drawn").status, 201);
    let _ = get(&cluster.master.url("/messages?from=wrong"));
    let samples: String = cluster.nodes().map(scrape).collect();
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    let mut names = BTreeSet::new();
    for text in [file("prometheus/alerts.yml"), file("grafana/dashboard.json")] {
        for (place, _) in text.match_indices("replicated_log_") {
            let rest = &text[place..];
            names.insert(rest[..rest.find(|character| !is_part(character)).unwrap()].to_owned());
        }
    }
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let is_it = |line: &str| {
            let line = line.strip_prefix("# TYPE ").unwrap_or(line);
            line.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        assert!(samples.lines().any(is_it), "no node tells {name}");
    }
}
