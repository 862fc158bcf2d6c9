//! `test_client check`: the same verdict again from a file, and a clear sentence about a file that is none.

mod common;

use common::{Run, finish, program};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A small history in which everything holds.
fn good() -> Vec<Value> {
    let shown = json!([[1, "t one"], [3, "t three"]]);
    vec![
        json!({ "header": { "version": 1, "seed": 7, "tag": "t", "nodes": ["master", "secondary-1"], "first": 1,
                            "alone": true, "options": {}, "began": 0 } }),
        json!({ "write": { "client": "w", "call": 10, "return": 20, "texts": ["t one"], "w": "all",
                "outcome": { "committed": { "first": 1, "copies": 2, "in_time": true, "replayed": false } } } }),
        json!({ "write": { "client": "w", "call": 30, "return": 40, "texts": ["t two"],
                "outcome": { "refused": { "status": 502, "why": "no secondary answers" } } } }),
        json!({ "write": { "client": "w", "call": 50, "return": 60, "texts": ["t three"], "key": "k",
                "outcome": { "unknown": { "gave_up": false, "why": "it broke" } } } }),
        json!({ "read": { "client": "r", "call": 70, "return": 80, "node": 1, "how": "usual", "from": 1,
                          "entries": [[1, "t one"]] } }),
        json!({ "fault": { "class": "kill", "what": "<master> killed", "nodes": [0], "begin": 45, "end": 65 } }),
        json!({ "final": { "node": 0, "entries": shown.clone() } }),
        json!({ "final": { "node": 1, "entries": shown } }),
        json!({ "end": { "at": 100, "lines": 9 } }),
    ]
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn check(file: &Path, more: &[&str]) -> Run {
    let mut command = program();
    command.arg("check").arg(file).args(more);
    finish(command, b"")
}

fn check_text(text: impl AsRef<[u8]>) -> Run {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("history.ndjson");
    fs::write(&file, text).unwrap();
    check(&file, &[])
}

#[test]
fn a_good_history_is_good_for_people_for_scripts_and_as_a_picture() {
    let directory = TempDir::new().unwrap();
    let (file, plot) = (directory.path().join("good.ndjson"), directory.path().join("plot.svg"));
    fs::write(&file, text(&good())).unwrap();
    check(&file, &[])
        .ends_with(0)
        .prints("Every promise held")
        .prints("1 acknowledged, 1 refused, 1 unknown (1 of them");
    let report = check(&file, &["--json", "--plot", plot.to_str().unwrap()]).ends_with(0).json();
    assert_eq!((&report["held"], &report["exit_code"], &report["seed"]), (&json!(true), &json!(0), &json!(7)));
    assert_eq!(report["promises"]["kept"], json!({ "checked": 1, "violations": 0 }), "{report:#}");
    let drawing = fs::read_to_string(plot).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.ends_with("</svg>\n"), "{drawing}");
    assert!(drawing.contains("&lt;master&gt; killed") && !drawing.contains("NaN"), "{drawing}");
}

#[test]
fn a_broken_promise_is_reported_with_its_lines() {
    let mut lines = good();
    lines[4]["read"]["entries"] = json!([[1, "t one"], [2, "t two"]]);
    check_text(text(&lines))
        .ends_with(5)
        .prints("A promise was broken: 1 violation")
        .prints("secondary-1 (0.000 s) shows id 2 \"t two\", which was refused at 0.000 s (lines 3, 5)");
    let mut lines = good();
    lines[7]["final"]["entries"] = json!([[3, "t three"]]);
    check_text(text(&lines)).ends_with(5).prints(
        "secondary-1 (in the end) does not show id 1 \"t one\", which was acknowledged at 0.000 s (lines 2, 8)",
    );
    let mut lines = good();
    lines[8]["end"]["not_back"] = json!("the master is read-only");
    check_text(text(&lines)).ends_with(5).prints("the cluster did not come back: the master is read-only");
}

#[test]
fn a_history_that_is_cut_off_anywhere_is_no_history() {
    let whole = text(&good());
    // Without its last line break it is whole.
    for length in (0..whole.len() - 1).step_by(37) {
        check_text(&whole[..length]).ends_with(2).complains("is no whole history");
    }
    let mut lines = good();
    lines.remove(4);
    check_text(text(&lines)).ends_with(2).complains("it has 8 lines and had 9");
}

#[test]
fn a_history_without_the_logs_in_the_end_proves_nothing() {
    let without = |line: usize| {
        let mut lines = good();
        lines.remove(line);
        lines[7]["end"]["lines"] = json!(8);
        lines
    };
    check_text(text(&without(7))).ends_with(2).complains("it lacks the log of secondary-1 in the end");
    // A cluster that did not come back may not have told it.
    let mut lines = without(7);
    lines[7]["end"]["not_back"] = json!("secondary-1 does not answer");
    check_text(text(&lines)).ends_with(5).prints("not judged: the log in the end of secondary-1");
}

#[test]
fn a_history_of_nothing_is_no_proof() {
    let mut lines = good();
    lines.drain(1..6);
    lines[1]["final"]["entries"] = json!([]);
    lines[2]["final"]["entries"] = json!([]);
    lines[3]["end"]["lines"] = json!(4);
    check_text(text(&lines)).ends_with(0).prints("Nothing was acknowledged").prints("· A 201 is kept");
}

#[test]
fn a_plot_that_cannot_be_written_is_reported_first() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("good.ndjson");
    fs::write(&file, text(&good())).unwrap();
    check(&file, &["--plot", "/nowhere/at/all.svg"]).ends_with(2).complains("the plot cannot be written to /nowhere");
}

#[test]
fn damage_is_reported_in_a_sentence() {
    let damaged = |line: usize, change: &dyn Fn(&mut Value)| {
        let mut lines = good();
        change(&mut lines[line]);
        text(&lines)
    };
    for (history, sentence) in [
        (
            damaged(0, &|header| header["header"]["version"] = json!(2)),
            "its version is 2; this program reads version 1",
        ),
        (damaged(0, &|header| header["header"]["nodes"] = json!([])), "its header names no node"),
        (damaged(0, &|header| *header = json!({ "end": { "at": 1, "lines": 1 } })), "its first line is no header"),
        (damaged(1, &|write| write["write"]["return"] = json!(5)), "line 2: it ended at 5 before it began at 10"),
        (damaged(1, &|write| write["write"]["texts"] = json!([])), "line 2: a write of nothing"),
        (damaged(2, &|write| write["write"]["texts"] = json!(["t one"])), "line 3: line 2 wrote the same text"),
        (
            damaged(1, &|write| write["write"]["outcome"]["committed"]["first"] = json!(u64::MAX)),
            "line 2: 18446744073709551615 is no id",
        ),
        (damaged(4, &|read| read["read"]["node"] = json!(7)), "line 5: there is no node 7"),
        (damaged(5, &|fault| fault["fault"]["nodes"] = json!([2])), "line 6: there is no node 2"),
        (damaged(7, &|shown| shown["final"]["node"] = json!(0)), "line 8: a second final log of one node"),
        (
            damaged(3, &|line| *line = json!({ "weather": "fine" })),
            "line 4: it is no line of a history: unknown variant",
        ),
        (text(&good()).replace("\"it broke\"", "\n"), "line 4: it ends in the middle"),
        (text(&good()) + "{}\n", "line 10: it comes after the last line"),
        (text(&[good(), good()].concat()), "line 10: it comes after the last line"),
        (String::new(), "it is empty"),
        ("hello\n".to_owned(), "its first line is no header"),
    ] {
        check_text(&history).ends_with(2).complains(sentence);
    }
    check_text([0xff, 0xfe, 0x00]).ends_with(2).complains("it is no text");
    check(Path::new("/"), &[]).ends_with(2).complains("it cannot be read");
    check(Path::new("/nowhere/at/all"), &[]).ends_with(2).complains("cannot be opened");
}
