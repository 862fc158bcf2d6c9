//! The examples in the documents: their commands are run, in the order of the page, and what they print has the form that
//! the page shows.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::examples::{Example, agree, blocks, lasting};
use common::{free_ports, get, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

/// A cluster as the README starts it, on ports of its own.
struct Running {
    cluster: Child,
    restarted: Vec<Child>,
    lines: Arc<Mutex<Vec<String>>>,
    port: u16,
    directory: TempDir,
}

impl Running {
    fn start(delays: &str) -> Running {
        Running::start_with(delays, &[("ENABLE_FAULTS", "1")])
    }

    fn start_with(delays: &str, settings: &[(&str, &str)]) -> Running {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_ports(3)[0]);
        let mut cluster = Command::new(env!("CARGO_BIN_EXE_local_cluster"))
            .args(["--port", &port.to_string(), "--delays", delays])
            .envs(settings.iter().copied())
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, kept) = (BufReader::new(cluster.stdout.take().unwrap()), Arc::clone(&lines));
        thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line)));
        let running = Running { cluster, restarted: Vec::new(), lines, port, directory };
        wait_until("the cluster is up", || running.says("the cluster is up").is_some());
        running
    }

    fn says(&self, words: &str) -> Option<String> {
        self.lines.lock().unwrap().iter().find(|line| line.contains(words)).cloned()
    }

    fn url(&self, node: u16, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port + node)
    }

    /// Runs a command of a page, with the ports of this cluster.
    fn run(&self, command: &str) -> String {
        let command = (0..3).fold(command.to_owned(), |command, node| {
            let (usual, own) = (5_000 + node, self.port + node);
            command.replace(&format!("localhost:{usual}"), &format!("localhost:{own}"))
        });
        let output = Command::new("sh").args(["-c", &command]).current_dir(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends the node that listens on a port, and waits until the master knows.
    fn kill(&self, node: u16) {
        let setting = format!("SECONDARY_PORT={}\0", self.port + node);
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_it = |path: &std::path::PathBuf| {
            fs::read(path.join("environ")).is_ok_and(|variables| String::from_utf8_lossy(&variables).contains(&setting))
        };
        let process = processes.into_iter().find(is_it).expect("the node runs");
        let id: i32 = process.file_name().unwrap().to_str().unwrap().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        wait_until("the master knows", || {
            get(&self.url(0, "/health")).body["secondaries"][usize::from(node) - 1]["state"] == "unreachable"
        });
    }

    /// Runs the command that the cluster printed for a node that ended, and waits until it has caught up.
    fn bring_back(&mut self, node: u16) {
        let words = format!("SERVER_ID=secondary-{node} ");
        wait_until("the command is printed", || self.says(&words).is_some());
        let command = self.says(&words).unwrap();
        let command = &command[command.find("SERVER_ID=").unwrap()..];
        let child = Command::new("sh")
            .args(["-c", &format!("exec env {command}")])
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .spawn();
        self.restarted.push(child.unwrap());
        wait_until("it has caught up", || get(&self.url(0, "/health")).body["writable"] == true);
    }

    /// Checks that an example prints what its page shows.
    #[track_caller]
    fn check(&self, page: &str, example: &Example) {
        let Example { command, printed } = example;
        let output = self.run(command);
        let lines: Vec<&str> = output.lines().filter(|line| !line.is_empty()).collect();
        if printed.is_empty() {
            return;
        }
        let shown: Vec<Value> = printed.iter().map(|line| lasting(line)).collect();
        let really: Vec<Value> = lines.iter().map(|line| lasting(line)).collect();
        assert!(agree(&shown, &really), "{page}: {command}\nprinted {output}\n{really:#?}\nis not {shown:#?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.restarted.iter_mut().chain([&mut self.cluster]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        println!("skipped: this machine has no {program}");
    }
    is_there
}

#[test]
fn the_first_minute_of_the_readme_is_as_it_says() {
    if !is_there("curl") {
        return;
    }
    let mut running = Running::start("0,0");
    let mut checked = 0;
    for example in blocks("README.md").into_iter().flatten() {
        if example.command.starts_with("kill -9 ") {
            running.kill(2);
        } else if example.command.starts_with("curl -N ") {
            assert!(running.run(&format!("timeout 2 {} || true", example.command)).contains("data: {"));
        } else if example.command.starts_with("curl ") {
            if example.command.contains("5002/messages") && checked >= 4 {
                running.bring_back(2);
            }
            running.check("README.md", &example);
            checked += 1;
        }
    }
    assert!(checked >= 7, "{checked} examples");
}

#[test]
fn the_examples_of_the_pages_are_as_they_say() {
    if !is_there("curl") {
        return;
    }
    let mut checked = 0;
    for (page, delays) in [
        ("docs/api.md", "0,0"),
        ("docs/monitoring.md", "0.2,0.1"),
        ("docs/operations.md", "0,0"),
        ("docs/fault-injection.md", "0,0"),
    ] {
        let running = Running::start(delays);
        for text in ["hello", "two will do"] {
            running.run(&format!("curl -s http://localhost:5000/messages -d '{{\"message\": \"{text}\"}}'"));
        }
        for example in blocks(page).into_iter().flatten() {
            let command = &example.command;
            let is_curl = command.starts_with("curl ") || command.starts_with("printf ");
            if command.starts_with("curl -N ") {
                let output = running.run(&format!("timeout 2 {command} || true"));
                let begins: Vec<String> = output.lines().take(example.printed.len()).map(str::to_owned).collect();
                assert!(begins.iter().any(|line| line.starts_with("id: 0.0.")), "{page}: {output}");
                assert!(begins.iter().any(|line| line.starts_with("data: {\"id\":1,")), "{page}: {output}");
            } else if command.ends_with("python3 -m json.tool") {
                // The page leaves some of it out.
                let names = |lines: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
                    lines.filter_map(|line| Some(line.trim().split_once("\": ")?.0.to_owned())).collect()
                };
                let output = running.run(command);
                let really = names(&mut output.lines());
                let shown = names(&mut example.printed.iter().map(String::as_str));
                assert!(shown.len() > 5 && shown.is_subset(&really), "{page}: {command}\n{output}");
            } else if is_curl {
                running.check(page, &example);
            } else {
                continue;
            }
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked} examples");
}

#[test]
fn the_lesson_is_as_it_says() {
    if !is_there("curl") {
        return;
    }
    let running = Running::start("0,0");
    let mut checked = 0;
    for example in blocks("docs/teaching.md").into_iter().flatten() {
        let command = &example.command;
        if command.starts_with("kill -9 ") {
            [1, 2].into_iter().for_each(|node| running.kill(node));
            wait_until("both count as unhealthy", || {
                let secondaries = get(&running.url(0, "/secondaries")).body["secondaries"].clone();
                secondaries.as_array().unwrap().iter().all(|one| one["health"] == "unhealthy")
            });
        } else if command.starts_with("curl ") {
            running.check("docs/teaching.md", &example);
            checked += 1;
        }
    }
    assert!(checked >= 9, "{checked} examples");
}

/// The settings that stand before the program in a command, or after `export`.
fn settings(command: &str) -> Vec<(&str, &str)> {
    let words = command.trim_start_matches("export ").split_whitespace();
    words
        .map_while(|word| {
            word.split_once('=').filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        })
        .collect()
}

#[test]
fn a_redirect_leads_where_the_page_says() {
    if !is_there("curl") {
        return;
    }
    let [started, asked] = &blocks("docs/proxies.md")[0][..] else { panic!("two commands") };
    let running = Running::start_with("0,0", &settings(&started.command));
    let printed = running.run(&asked.command);
    assert_eq!(printed.trim(), asked.printed[0], "{}", asked.command);
}

#[test]
fn tokens_open_what_the_page_says() {
    if !is_there("curl") || !is_there("openssl") {
        return;
    }
    let [made, asked] = &blocks("docs/security.md")[0][..] else { panic!("two commands") };
    let made = format!("{}; echo $CLUSTER_TOKEN $CLIENT_TOKEN", made.command);
    let made = Command::new("sh").args(["-c", &made]).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let [cluster, client] = made.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{made}") };
    let running = Running::start_with("0,0", &[("CLUSTER_TOKEN", cluster), ("CLIENT_TOKEN", client)]);
    let without = running.run("curl -s -o /dev/null -w '%{http_code}' http://localhost:5000/messages");
    assert_eq!(without, "401");
    let printed = running.run(&format!("CLIENT_TOKEN={client}; {}", asked.command));
    assert!(printed.starts_with("{\"messages\":[]"), "{printed}");
}
