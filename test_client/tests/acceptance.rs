//! `test_client acceptance`: on real nodes it holds; on a stub that breaks promises, or lacks what is needed, it says
//! so.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of a program needs a stub with sockets and threads"
)]

mod common;
mod nodes;
mod stub;

use common::{finish, program, run};
use nodes::{Nodes, has_nodes};
use serde_json::{Value, json};
use std::fs;
use stub::{Cluster, Fault, Script};
use tempfile::TempDir;

fn cluster(secondaries: usize, faults: &[Fault]) -> Cluster {
    Cluster::start(Script { delays_ms: vec![0; secondaries], faults: faults.to_vec() })
}

/// Commands that take no node away, so that a message that should wait is answered at once.
const HARMLESS: [&str; 5] = ["acceptance", "--down", "true", "--up", "true"];

/// What each step of a report came to.
fn verdicts(report: &Value) -> Vec<&str> {
    report["steps"].as_array().unwrap().iter().map(|step| step["verdict"].as_str().unwrap()).collect()
}

#[test]
fn it_holds_on_a_given_cluster_with_faults() {
    if !has_nodes() {
        return;
    }
    let nodes = Nodes::start(&[("ENABLE_FAULTS", "1")]);
    run(&nodes.master, &["post", "somebody else's"]);
    for _ in 0..2 {
        let report = run(&nodes.master, &["acceptance", "--json"]).ends_with(0).json();
        assert_eq!((&report["held"], &report["own_cluster"]), (&json!(true), &json!(false)), "{report:#}");
        assert_eq!(verdicts(&report)[..4], ["held"; 4], "{report:#}");
    }
}

/// A process that is stopped goes on to accept connections, and answers none: as a container does that is paused.
#[test]
fn it_holds_on_a_given_cluster_without_faults() {
    if !has_nodes() {
        return;
    }
    let nodes = Nodes::start(&[]);
    let last = nodes.processes[2].id();
    let (down, up) = (format!("kill -STOP {last}"), format!("kill -CONT {last}"));
    let report = run(&nodes.master, &["acceptance", "--json", "--down", &down, "--up", &up]).ends_with(0).json();
    assert_eq!(verdicts(&report), ["held", "held", "left_out", "held", "left_out"], "{report:#}");
}

#[test]
fn it_holds_on_nodes_of_its_own_and_leaves_nothing_behind() {
    if !has_nodes() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let mut command = program();
    // Settings of a cluster of the person's own are not for these nodes.
    command.args(["acceptance", "--json"]).env("TMPDIR", directory.path()).env("WRITE_CONCERN", "7").env("BIND", "x");
    let report = finish(command, b"").ends_with(0).json();
    assert_eq!((&report["held"], &report["own_cluster"]), (&json!(true), &json!(true)), "{report:#}");
    let verdicts = verdicts(&report);
    assert_eq!(verdicts[..4], ["held"; 4], "{report:#}");
    // Whether a later message arrives first is a race, which it may lose.
    assert!(matches!(verdicts[4..], ["held" | "not_shown"]), "{report:#}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the directory of the nodes is removed");
}

#[test]
fn a_message_that_does_not_wait_is_found() {
    let cluster = cluster(2, &[]);
    run(&cluster.master, &HARMLESS)
        .ends_with(5)
        .prints("✗ Msg3 does not wait for the missing node, it was answered: 201")
        .prints("did not hold.");
    let report = run(&cluster.master, &[&HARMLESS[..], &["--json"]].concat()).ends_with(5).json();
    assert_eq!((&report["held"], &report["exit_code"]), (&json!(false), &json!(5)), "{report:#}");
    assert_eq!(verdicts(&report)[..2], ["held", "broken"], "{report:#}");
}

#[test]
fn what_was_changed_is_changed_back() {
    let askable = cluster(2, &[Fault::Askable]);
    run(&askable.master, &["acceptance"]).ends_with(5).prints("a fault cuts it off from the other nodes");
    let asked = askable.asked();
    assert_eq!(asked[..2], [r#"2 PUT {"cut":"both","for":120}"#, "2 DELETE"], "{asked:?}");
    assert_eq!(asked.last().unwrap(), "2 DELETE", "{asked:?}");

    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("back");
    let up = format!("touch {}", trace.display());
    run(&cluster(2, &[]).master, &["acceptance", "--down", "exit 3", "--up", &up])
        .ends_with(2)
        .prints("Stopped: `exit 3` failed (exit status: 3)");
    assert!(trace.exists(), "it may be half away, so it is brought back");
}

#[test]
fn a_node_that_cannot_be_brought_back_is_reported_on_stderr() {
    for args in [
        &["acceptance", "--down", "true", "--up", "false"][..],
        &["acceptance", "--json", "--down", "true", "--up", "false"],
    ] {
        run(&cluster(2, &[]).master, args)
            .complains("the last secondary is still away")
            .complains("Bring it back: false");
    }
}

#[test]
fn an_unfit_cluster_is_refused() {
    run(&cluster(2, &[]).master, &["acceptance"])
        .ends_with(2)
        .prints("--down 'docker compose pause secondary-2'")
        .prints("ENABLE_FAULTS=1");
    run(&cluster(1, &[]).master, &HARMLESS).ends_with(2).prints("needs 2 secondaries or more");
    run(&cluster(2, &[Fault::Absent]).master, &HARMLESS).ends_with(3);
    run(&cluster(2, &[Fault::NotWritable]).master, &[&HARMLESS[..], &["--timeout", "1"]].concat())
        .ends_with(1)
        .prints("the master takes no messages");
    run(&cluster(2, &[]).secondaries[0], &HARMLESS).ends_with(3).prints("give the address of the master");
    run("http://127.0.0.1:9", &HARMLESS).ends_with(3);
    let report = run("http://127.0.0.1:9", &[&HARMLESS[..], &["--json"]].concat()).ends_with(3).json();
    assert_eq!((&report["held"], verdicts(&report)), (&json!(false), vec!["unfinished"]), "{report:#}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    run("http://127.0.0.1:9", &["acceptance", "--down", "true"]).ends_with(2);
    run("http://127.0.0.1:9", &["acceptance", "--up", "true"]).ends_with(2);
    let mut without_a_cluster = program();
    without_a_cluster.args(HARMLESS);
    finish(without_a_cluster, b"").ends_with(2).prints("are for a cluster that is given with --master");
}
