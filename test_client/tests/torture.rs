//! `test_client torture`: on real nodes every promise holds whatever fails; on a stub that breaks one, it says so. And
//! whatever happens, it leaves nothing behind.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test of a program needs a stub with sockets and threads, and waits for what it sees"
)]

mod common;
mod nodes;
mod stub;

use common::{Run, finish, program, run};
use nodes::{Nodes, free_ports, has_nodes};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use stub::{Cluster, Fault, Script};
use tempfile::TempDir;

const WAIT_MAX: Duration = Duration::from_secs(120);

fn cluster(faults: &[Fault]) -> Cluster {
    Cluster::start(Script { delays_ms: vec![0; 2], faults: faults.to_vec() })
}

/// A torture of own nodes, which keep everything in a directory.
fn own(directory: &TempDir, args: &[&str]) -> Command {
    let mut command = program();
    let port = free_ports(3)[0].to_string();
    command.args(["torture", "--port", &port]).args(args).env("TMPDIR", directory.path());
    command
}

/// What a verdict is about.
fn verdict(report: &Value) -> Vec<&Value> {
    ["held", "seed", "operations", "promises", "violations", "messages", "reads", "faults", "not_judged"]
        .map(|field| &report[field])
        .to_vec()
}

#[test]
fn every_promise_holds_on_own_nodes_whatever_fails() {
    torture_own("all", "1", &["--seconds", "8"]);
}

#[test]
fn nothing_is_lost_or_taken_back_by_kill_9() {
    torture_own("kill", "9", &["--seconds", "8", "--writers", "8", "--rate", "400"]);
}

#[test]
fn forty_writers_with_every_option_get_honest_answers() {
    torture_own("kill,pause,api", "3", &["--seconds", "8", "--writers", "40", "--rate", "400"]);
}

#[test]
fn secondaries_that_are_removed_come_back() {
    torture_own("members", "4", &["--seconds", "6"]);
}

#[test]
fn whichever_node_leads_every_promise_holds() {
    torture_own("failover", "5", &["--seconds", "10"]);
    torture_own("failover,kill,pause,api", "6", &["--seconds", "10"]);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("torture-5.ndjson");
    if has_nodes() {
        let history = fs::read_to_string(file).unwrap();
        let changes =
            history.lines().filter(|line| line.contains("handed over") || line.contains(" promoted\"")).count();
        assert!(changes > 0, "no other node came to lead");
    }
}

/// Tortures own nodes: every promise holds. The history stays, so that a failure can be judged again.
fn torture_own(faults: &str, seed: &str, args: &[&str]) {
    if !has_nodes() {
        return;
    }
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let plot = elsewhere.path().join("plot.svg");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{seed}.ndjson"));
    let mut command = own(&directory, &["--faults", faults, "--seed", seed, "--json"]);
    command.args(args).arg("--history").arg(&file).arg("--plot").arg(&plot);
    println!("{command:?}");
    let report = finish(command, b"").ends_with(0).json();
    assert_eq!(report["held"], json!(true), "{report:#}");
    assert_eq!(report["run"]["ended_early"], json!(false), "{report:#}");
    assert!(report["messages"]["acknowledged"].as_u64() > Some(0), "{report:#}");
    assert!(!report["faults"].as_object().unwrap().is_empty(), "{report:#}");
    assert!(fs::read_to_string(plot).unwrap().contains("</svg>"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(verdict(&check(&file).ends_with(0).json()), verdict(&report));

    let history = fs::read_to_string(&file).unwrap();
    assert!(!history.contains("not as a node does"), "an answer is not that of a node: {}", file.display());
    let lines: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // A cluster that has become smaller refuses a number of copies beyond its size.
    let is_smaller = ["members", "failover"].iter().any(|class| !report["faults"][class].is_null());
    let beyond = is_smaller.then_some(400);
    for status in lines.iter().filter_map(|line| line["write"]["outcome"]["refused"]["status"].as_u64()) {
        assert!([502, 503].into_iter().chain(beyond).any(|allowed| allowed == status), "{status}: {}", file.display());
    }
    every_forgery_is_found(&lines);
}

/// `check` finds a broken promise in a good history of which something was changed.
fn every_forgery_is_found(good: &[Value]) {
    let is_first_201 = |answer: &Value| answer["in_time"] == true && answer["replayed"] == false;
    let write = good.iter().position(|line| is_first_201(&line["write"]["outcome"]["committed"])).unwrap();
    let last = good.iter().rposition(|line| !line["final"].is_null()).unwrap();
    let text = &good[write]["write"]["texts"][0];
    type Forge<'a> = &'a dyn Fn(&mut Vec<Value>);
    let forgeries: [(&str, Forge<'_>); 4] = [
        ("kept", &|lines| {
            lines[last]["final"]["entries"].as_array_mut().unwrap().retain(|entry| entry[1] != *text);
        }),
        ("kept", &|lines| {
            lines[write]["write"]["w"] = json!("3");
            lines[write]["write"]["outcome"]["committed"]["copies"] = json!(2);
        }),
        ("refused", &|lines| {
            lines.retain(|line| line["write"]["texts"][0] != *text);
            let refused = json!({ "refused": { "status": 502, "why": "forged" } });
            let write = json!({ "client": "w", "call": 1, "return": 2, "texts": [text], "outcome": refused });
            lines.insert(1, json!({ "write": write }));
        }),
        ("one_order", &|lines| {
            let entries = lines[last]["final"]["entries"].as_array_mut().unwrap();
            let (first, second) = (entries[0][1].take(), entries[1][1].take());
            (entries[0][1], entries[1][1]) = (second, first);
        }),
    ];
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("forged.ndjson");
    for (promise, forge) in forgeries {
        let mut lines = good.to_vec();
        forge(&mut lines);
        *lines.last_mut().unwrap() = json!({ "end": { "at": u32::MAX, "lines": lines.len() } });
        fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let report = check(&file).ends_with(5).json();
        assert!(report["promises"][promise]["violations"].as_u64() > Some(0), "{report:#}");
    }
}

fn check(file: &Path) -> Run {
    let mut command = program();
    command.arg("check").arg(file).arg("--json");
    finish(command, b"")
}

#[test]
fn ctrl_c_ends_it_early_and_it_is_judged() {
    if !has_nodes() {
        return;
    }
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = elsewhere.path().join("history.ndjson");
    let options = ["--seconds", "3000", "--faults", "pause", "--history", file.to_str().unwrap(), "--json"];
    let child = spawn(own(&directory, &options));
    wait_for_lines(&file, 50);
    signal(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["held"], &report["run"]["ended_early"]), (&json!(true), &json!(true)), "{report:#}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn no_run_begins_whose_output_cannot_be_written() {
    for option in ["--history", "--plot"] {
        let stub = cluster(&[]);
        run(&stub.master, &[&GIVEN[..], &[option, "/nowhere/at/all"]].concat())
            .ends_with(2)
            .complains("/nowhere/at/all cannot be written");
    }
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let stub = cluster(&[Fault::RefuseAll]);
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("history.ndjson");
    let mut command = program();
    command.args(["torture", "--cluster", "given", "--master", &stub.master, "--faults", "none"]);
    command.args(["--seconds", "3000", "--back-within", "3000", "--history"]).arg(&file);
    let mut child = spawn(command);
    wait_for_lines(&file, 50);
    signal(&child);
    // When it has said so, it waits for a cluster that never comes back.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("ending early; the next signal")));
    signal(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

fn wait_for_lines(file: &Path, count: usize) {
    let begun = Instant::now();
    while fs::read_to_string(file).unwrap_or_default().lines().count() < count {
        assert!(begun.elapsed() < WAIT_MAX, "no history is written");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A second on a given cluster, without faults.
const GIVEN: [&str; 9] = ["torture", "--cluster", "given", "--faults", "none", "--seconds", "1", "--back-within", "20"];

#[test]
fn a_given_cluster_that_keeps_its_promises_is_good() {
    let stub = cluster(&[]);
    let report = run(&stub.master, &[&GIVEN[..], &["--json"]].concat()).ends_with(0).json();
    assert_eq!(report["held"], json!(true), "{report:#}");
}

#[test]
fn a_lost_message_is_found() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("history.ndjson");
    run(&cluster(&[Fault::LoseOne]).master, &[&GIVEN[..], &["--history", file.to_str().unwrap()]].concat())
        .ends_with(5)
        .prints("A promise was broken")
        .prints("which was acknowledged")
        .prints("secondary-2 (in the end) does not show id 2");
}

#[test]
fn a_refused_message_that_is_shown_is_found() {
    let stub = cluster(&[Fault::RefuseAll, Fault::ShowRefused]);
    let args = [&GIVEN[..7], &["--back-within", "1", "--json"]].concat();
    let report = run(&stub.master, &args).ends_with(5).json();
    assert!(report["promises"]["refused"]["violations"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["promises"]["back"]["violations"], json!(1), "no message for all nodes is taken: {report:#}");
    let file = report["history"].as_str().expect("the proof is kept");
    fs::remove_file(file).unwrap();
}

/// Stands in for `docker-compose`: services are processes, and its arguments are written down. There is no `docker`.
const COMPOSE: &str = r#"#!/bin/sh
echo "$*" >> "$HERE/told"
if [ "$1" = version ]; then exit 0; fi
if [ "$1 $2" != "-p tortured" ]; then echo "no project was named: $*" >&2; exit 1; fi
shift 2
case "$1" in
  config) printf 'master\nsecondary-1\nsecondary-2\n';;
  pause) kill -STOP "$(cat "$HERE/$2")";;
  unpause) kill -CONT "$(cat "$HERE/$2")";;
  *) echo "unknown: $1" >&2; exit 1;;
esac
"#;

#[test]
fn containers_are_paused_and_unpaused() {
    if !has_nodes() {
        return;
    }
    let nodes = Nodes::start(&[("REPLICATION_TIMEOUT", "2"), ("HEARTBEAT_INTERVAL", "0.3")]);
    let here = TempDir::new().unwrap();
    for (name, process) in ["master", "secondary-1", "secondary-2"].iter().zip(&nodes.processes) {
        fs::write(here.path().join(name), process.id().to_string()).unwrap();
    }
    for (program, text) in [("docker-compose", COMPOSE), ("docker", "#!/bin/sh\nexit 1\n")] {
        fs::write(here.path().join(program), text).unwrap();
        fs::set_permissions(here.path().join(program), Permissions::from_mode(0o755)).unwrap();
    }
    let torture = |faults: &str| {
        let mut command = program();
        command.args(["torture", "--cluster", "compose", "--project", "tortured", "--master", &nodes.master]);
        command.args(["--seconds", "4", "--faults", faults, "--json"]).env("HERE", here.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", here.path().display()));
        finish(command, b"")
    };
    let report = torture("pause").ends_with(0).json();
    assert_eq!(report["held"], json!(true), "{report:#}");
    let told = fs::read_to_string(here.path().join("told")).unwrap();
    let count = |word: &str| told.lines().filter(|line| line.starts_with(&format!("-p tortured {word} "))).count();
    assert!(count("pause") > 0 && count("pause") == count("unpause"), "{told}");
    assert!(torture("disk").ends_with(2).json()["error"].as_str().unwrap().contains("there is no class disk"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let stub = cluster(&[]);
    for args in [
        &["torture", "--cluster", "given", "--faults", "kill"][..],
        &["torture", "--cluster", "given", "--faults", "api"],
        &["torture", "--cluster", "given", "--port", "7400"],
        &["torture", "--cluster", "given", "--project", "log"],
        &["torture", "--faults", "earthquake"],
        &["torture", "--seconds", "0"],
    ] {
        run(&stub.master, args).ends_with(2);
    }
    run(&stub.master, &["torture"]).ends_with(2).complains("say --cluster given");
    run(&stub.master, &["torture", "--cluster", "given", "--faults", "api"]).complains("ENABLE_FAULTS=1");
    run("http://127.0.0.1:9", &["torture", "--cluster", "given"]).ends_with(3);
}
