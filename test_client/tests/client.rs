//! `test_client` as people and scripts meet it: the program, its output and its exit codes, against a stub.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of a program needs a stub with sockets and threads"
)]

mod common;
mod stub;

use common::{run, run_with_input};
use serde_json::Value;
use stub::{Cluster, Fault, Script, one_answer};

/// Two secondaries, the first slower, as in the exercise, but in a hurry.
fn cluster(faults: &[Fault]) -> Cluster {
    Cluster::start(Script { delays_ms: vec![40, 20], faults: faults.to_vec() })
}

#[test]
fn the_demonstration_holds_and_leaves_no_trace_but_its_messages() {
    let cluster = cluster(&[]);
    let run = run(&cluster.master, &["demo"]).ends_with(0);
    println!("{}", run.stdout);
    run.prints("The nodes")
        .prints("message 1, held by the master and 2 secondaries")
        .prints("The slowest secondary was secondary-1: 40 ms")
        .prints("would have taken 60 ms")
        .prints("3 nodes show the same 3 messages, in the same order")
        .prints("502: not every secondary acknowledged")
        .prints("✗ demo-absent  connection refused")
        .prints("no node shows it (3 nodes were asked)")
        .prints("demo-absent is removed again")
        .prints("3 nodes show the same 4 messages, in the same order")
        .prints("Everything held.");
    assert_eq!(cluster.registered(), ["secondary-1", "secondary-2"]);
    assert_eq!(cluster.texts().len(), 4);
}

#[test]
fn the_demonstration_is_one_document_for_scripts() {
    let report = run(&cluster(&[]).master, &["demo", "--json"]).ends_with(0).json();
    assert_eq!(report["held"], true);
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["writes"].as_array().unwrap().len(), 4);
    assert_eq!(report["refused"]["status"], 502);
    assert_eq!(report["violations"], Value::Array(Vec::new()));
    assert_eq!(report["absent_still_registered"], false);
}

#[test]
fn the_failure_can_be_left_out() {
    let cluster = cluster(&[Fault::NoRemoval]);
    run(&cluster.master, &["demo", "--no-failure"]).ends_with(0).prints("Left out: the failure, as asked");
    assert_eq!(cluster.texts().len(), 3);
}

#[test]
fn a_cluster_that_registers_no_secondary_skips_the_failure() {
    let run = run(&cluster(&[Fault::NoRegistration]).master, &["demo"]).ends_with(0);
    run.prints(
        "Left out: the failure, because the master registers no secondaries (the secondaries of this master are fixed), and no secondary accepts faults.",
    );
}

#[test]
fn no_secondary_is_blamed_for_a_message_that_was_not_sent() {
    let run = run(&cluster(&[Fault::RefuseBeforehand]).master, &["demo"]).ends_with(0);
    run.prints("· secondary-1  takes part").prints("and called no secondary").prints("Everything held.");
}

#[test]
fn a_master_without_secondaries_is_demonstrated_too() {
    let alone = Cluster::start(Script::default());
    run(&alone.master, &["demo"])
        .ends_with(0)
        .prints("message 1, held by the master and 0 secondaries")
        .prints("the master shows 3 messages, and these among them");
}

#[test]
fn what_an_earlier_demonstration_left_over_is_removed() {
    let cluster = cluster(&[Fault::LeftOver]);
    run(&cluster.master, &["demo", "--no-failure"]).ends_with(0).prints("demo-absent is left over");
    assert_eq!(cluster.registered(), ["secondary-1", "secondary-2"]);
}

#[test]
fn broken_promises_are_found() {
    for (fault, finding) in [
        (Fault::ConfirmEarly, "before secondary-1 acknowledged it"),
        (Fault::IgnoreAbsent, "was confirmed although demo-absent cannot have acknowledged it"),
        (Fault::ShowRefused, "secondary-2 shows the message that was refused"),
        (Fault::LoseOne, "secondary-2: message 2 is missing"),
    ] {
        let cluster = cluster(&[fault]);
        let run = run(&cluster.master, &["demo"]).ends_with(5);
        let broken = run.stdout.lines().any(|line| line.starts_with("Broken:") && line.contains(finding));
        assert!(broken, "{fault:?}\n{}", run.stdout);
        assert_eq!(cluster.registered(), ["secondary-1", "secondary-2"], "{fault:?}");
    }
}

#[test]
fn the_absent_secondary_is_removed_even_if_the_answer_to_registering_it_was_lost() {
    let cluster = cluster(&[Fault::LoseRegistrationAnswer]);
    run(&cluster.master, &["demo"]).ends_with(4).prints("demo-absent is removed again").prints("Stopped: ");
    assert_eq!(cluster.registered(), ["secondary-1", "secondary-2"]);
}

#[test]
fn an_absent_secondary_that_cannot_be_removed_is_reported_on_stderr() {
    for args in [&["demo"][..], &["demo", "--json"]] {
        let cluster = cluster(&[Fault::NoRemoval]);
        run(&cluster.master, args)
            .ends_with(1)
            .complains("demo-absent IS STILL REGISTERED")
            .complains(&format!("curl -X DELETE {}/secondaries/demo-absent", cluster.master));
    }
}

#[test]
fn the_demonstration_stops_where_nothing_would_make_sense() {
    let run = |faults| run(&cluster(faults).master, &["demo", "--timeout", "1"]);
    run(&[Fault::NotWritable])
        .ends_with(1)
        .prints("the master takes no messages for all nodes: secondary-2 is catching up");
    run(&[Fault::RefuseAll])
        .ends_with(1)
        .prints("✓ secondary-1  acknowledged after 40 ms")
        .prints("Stopped: not every secondary acknowledged");
    run(&[Fault::UnknownOutcome]).ends_with(4).prints("Stopped: the master was stopped while it waited");
}

#[test]
fn the_demonstration_wants_the_master() {
    run(&cluster(&[]).secondaries[0], &["demo"]).ends_with(3).prints("is a secondary: give the address of the master");
}

#[test]
fn names_of_the_inside_are_found_on_the_masters_host() {
    let cluster = cluster(&[Fault::UnknownNames]);
    let run_ = run(&cluster.master, &["health"]).ends_with(0).prints(&cluster.secondaries[0]);
    assert!(!run_.stdout.contains("invalid") && run_.stderr.is_empty(), "{}{}", run_.stdout, run_.stderr);
    run(&cluster.master, &["demo"]).ends_with(0).prints("3 nodes show the same 4 messages");
}

#[test]
fn another_node_is_not_taken_for_the_one_that_was_meant() {
    let cluster = cluster(&[Fault::SwappedNames]);
    run(&cluster.master, &["health"]).ends_with(3).prints("is secondary-2");
    let run = run(&cluster.master, &["demo"]).ends_with(3);
    run.prints("Not seen: secondary-1, secondary-2 could not be read from here");
}

#[test]
fn health_shows_every_node() {
    let cluster = cluster(&[]);
    run(&cluster.master, &["health"])
        .ends_with(0)
        .prints("✓ master ")
        .prints("takes messages")
        .prints("✓ secondary-1")
        .prints("in sync, acknowledges after 40 ms");
    let document = run(&cluster.master, &["health", "--json"]).ends_with(0).json();
    assert_eq!(document["all_reachable"], true);
    assert_eq!(document["nodes"][2]["health"]["delay_ms"], 20);
}

#[test]
fn health_shows_who_is_missing() {
    let cluster = cluster(&[Fault::Absent]);
    run(&cluster.master, &["health"]).ends_with(3).prints("✗ secondary-1").prints("connection refused");
    let document = run(&cluster.master, &["health", "--json"]).ends_with(3).json();
    assert_eq!((&document["nodes"][0]["reachable"], &document["nodes"][1]["reachable"]), (&true.into(), &false.into()));
}

#[test]
fn posting_shows_the_wait() {
    let cluster = cluster(&[]);
    run(&cluster.master, &["post", "Hello World"])
        .ends_with(0)
        .prints("Appended as message 1, held by 2 secondaries as well.")
        .prints("secondary-2  ")
        .prints("you waited   ");
    let reply = run(&cluster.master, &["--json", "post", "again"]).ends_with(0).json();
    assert_eq!((&reply["message_id"], &reply["status"]), (&2.into(), &"success".into()));
    assert_eq!(cluster.texts(), ["Hello World", "again"]);
}

#[test]
fn the_text_may_come_from_the_input_or_begin_with_a_hyphen() {
    let cluster = cluster(&[]);
    run_with_input(&cluster.master, &["post", "-"], "two\nlines \u{202e}\r\n".as_bytes()).ends_with(0);
    run_with_input(&cluster.master, &["post", "-"], b"").ends_with(0);
    run(&cluster.master, &["post", "--", "-n"]).ends_with(0);
    assert_eq!(cluster.texts(), ["two\nlines \u{202e}", "", "-n"]);
    run_with_input(&cluster.master, &["post", "-"], b"\xff").ends_with(2).complains("not UTF-8");
    assert_eq!(cluster.texts().len(), 3);
}

#[test]
fn a_refusal_lists_the_secondaries() {
    let cluster = cluster(&[Fault::RefuseAll]);
    run(&cluster.master, &["post", "no"])
        .ends_with(1)
        .complains("not every secondary acknowledged")
        .complains("Nothing was appended")
        .prints("secondary-1  acknowledged after 40 ms");
    let document = run(&cluster.master, &["post", "no", "--json"]).ends_with(1).json();
    assert_eq!((&document["outcome"], &document["status"]), (&"not_appended".into(), &502.into()));
    assert_eq!(document["secondaries"].as_array().unwrap().len(), 2);
}

#[test]
fn an_unknown_outcome_is_never_called_a_refusal() {
    let not_http = one_answer(Some("what?\r\n\r\n"));
    let cut_off = one_answer(Some("HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{\"status\""));
    let not_json = one_answer(Some("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"));
    let strange = one_answer(Some("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"));
    let said = cluster(&[Fault::UnknownOutcome]).master;
    for master in [one_answer(Some("")), one_answer(None), not_http, cut_off, not_json, strange, said] {
        let document = run(&master, &["post", "x", "--json", "--timeout", "1"]).ends_with(4).json();
        assert_eq!(document["outcome"], "unknown", "{document}");
    }
    run(&one_answer(None), &["post", "x", "--timeout", "1"]).ends_with(4).complains("did not answer within 1 s");
    run(&one_answer(Some("")), &["post", "x"]).ends_with(4).complains("appended. Look with");
}

#[test]
fn a_refusal_needs_no_explanation() {
    let teapot = one_answer(Some("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"));
    run(&teapot, &["post", "x"]).ends_with(1).complains("answered 418, but not as a node");
}

#[test]
fn a_node_that_is_not_there_is_exit_code_3() {
    for master in ["http://127.0.0.1:9", "http://no-such-host.invalid:5000"] {
        for args in [&["demo"][..], &["post", "x"], &["get"], &["health"]] {
            run(master, args).ends_with(3);
            run(master, &[args, &["--json"]].concat()).ends_with(3).json();
        }
    }
    run("http://127.0.0.1:9", &["post", "x"]).ends_with(3).complains("nothing listens on http://127.0.0.1:9");
    run("http://no-such-host.invalid", &["get"]).ends_with(3).complains("cannot resolve the name");
}

#[test]
fn get_escapes_control_characters() {
    let cluster = cluster(&[]);
    run(&cluster.master, &["get"]).ends_with(0).prints("0 messages at").prints(", master\n");
    run(&cluster.master, &["post", "red \x1b[31m and\nnew line"]).ends_with(0);
    let row = r" 1  2026-11-21T22:44:09.123Z  red \u{1b}[31m and\nnew line";
    run(&cluster.master, &["get"]).ends_with(0).prints(row);
    run(&cluster.master, &["get", &cluster.secondaries[1]]).ends_with(0).prints(row).prints("secondary secondary-2");
    let listed = run(&cluster.master, &["get", "--json"]).ends_with(0).json();
    assert_eq!(listed["messages"][0]["message"], "red \x1b[31m and\nnew line");
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    let cluster = cluster(&[]);
    assert!(!run(&cluster.master, &["health"]).stdout.contains('\x1b'));
    assert!(run(&cluster.master, &["health", "--color", "always"]).stdout.contains('\x1b'));
    assert!(!run(&cluster.master, &["health", "--color", "always", "--json"]).stdout.contains('\x1b'));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [
        &[][..],
        &["dance"],
        &["post"],
        &["post", "two", "words"],
        &["get", "https://localhost:5000"],
        &["get", "--timeout", "0"],
        &["get", "--color", "blue"],
        &["get", "--master", "http://localhost:5000/messages"],
    ] {
        run("http://127.0.0.1:9", args).ends_with(2);
    }
}

#[test]
fn the_help_teaches() {
    run("http://127.0.0.1:9", &["--help"]).ends_with(0).prints("Exit codes:").prints("Examples:").prints("MASTER_URL");
}
