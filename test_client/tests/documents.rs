//! The examples of docs/client.md: each is run against a cluster of its own, and prints what the page shows.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

#[path = "../../tests/common/examples.rs"]
mod examples;
mod nodes;

use examples::{agree, blocks, lasting};
use nodes::{Nodes, has_nodes};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

#[test]
fn the_page_of_the_client_is_as_it_says() {
    if !has_nodes() {
        return;
    }
    let nodes = Nodes::start_with(&[], ["0.3", "0.2"]);
    let program = Path::new(env!("CARGO_BIN_EXE_test_client"));
    let mut checked = 0;
    for example in blocks("docs/client.md").into_iter().flatten() {
        // The compose test plays what needs containers.
        if example.printed.is_empty() {
            continue;
        }
        let command =
            example.command.replace("localhost:5001", &nodes.secondary(1)).replace("--seconds 20", "--seconds 2");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display()));
        if !command.contains("torture") {
            shell.env("MASTER_URL", &nodes.master);
        }
        let output = shell.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        let is_shown_in_part = example.printed.iter().any(|line| line == "…");
        if is_shown_in_part {
            // What there was to judge differs from run to run.
            let really: HashSet<String> = printed.lines().map(|line| lasting(subject(line)).to_string()).collect();
            let shown =
                example.printed.iter().filter(|line| *line != "…").map(|line| lasting(subject(line)).to_string());
            let missing: Vec<_> = shown.filter(|line| !really.contains(line)).collect();
            assert!(missing.is_empty(), "{command}: no {missing:?} in {printed}");
        } else {
            let really: Vec<_> = printed.lines().filter(|line| !line.trim().is_empty()).map(lasting).collect();
            let shown: Vec<_> = example.printed.iter().map(|line| lasting(line)).collect();
            assert!(agree(&shown, &really), "{command}\nprinted {printed}\n{really:#?}\nis not {shown:#?}");
        }
        checked += 1;
    }
    assert!(checked >= 9, "{checked} examples");
}

/// What a line is about: without its mark, and without what stands in further columns.
fn subject(line: &str) -> &str {
    let text = line.trim_start().trim_start_matches(['✓', '·']).trim_start();
    text.split("  ").next().unwrap_or_default()
}
