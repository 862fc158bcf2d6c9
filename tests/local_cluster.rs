//! One command starts a cluster, and stops all of it again, however the command ends.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::{free_ports, get, post, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use tempfile::TempDir;

/// A cluster that the program started, in a directory of its own.
struct Running {
    child: Child,
    lines: Receiver<String>,
    port: u16,
    _directory: Arc<TempDir>,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        Running::start_in(&Arc::new(tempfile::tempdir().unwrap()), arguments, &[])
    }

    fn start_in(directory: &Arc<TempDir>, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let (directory, port) = (Arc::clone(directory), free_ports(3)[0]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_local_cluster"))
            .args(["--port", &port.to_string()])
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || output.map_while(Result::ok).try_for_each(|line| say.send(line)));
        Running { child, lines, port, _directory: directory }
    }

    /// Waits for a line that contains some words.
    fn hears(&self, words: &str) -> String {
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(common::TIMEOUT) {
            if line.contains(words) {
                return line;
            }
            heard.push(line);
        }
        panic!("\"{words}\" was not said, but {heard:#?}");
    }

    fn url(&self, node: u16, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port + node)
    }

    fn all_ports_are_free(&self) -> bool {
        (0..3).all(|node| TcpStream::connect(("127.0.0.1", self.port + node)).is_err())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn one_command_brings_up_a_cluster_and_ctrl_c_takes_it_down() {
    let mut cluster = Running::start(&["--delays", "0.3,0.2"]);
    cluster.hears("the cluster is up");
    let reply = post(&cluster.url(0, "/messages"), &json!({ "message": "hello" }));
    assert_eq!((reply.status, &reply.body["replicated_to"]), (201, &json!(2)));
    for node in 0..3 {
        assert_eq!(get(&cluster.url(node, "/messages")).body["total"], 1);
    }
    assert!(cluster.hears("id 1 committed").starts_with("master      | "));
    signal(cluster.child.id(), Signal::INT);
    cluster.hears("all nodes have stopped");
    assert_eq!(cluster.child.wait().unwrap().code(), Some(0));
    assert!(cluster.all_ports_are_free());
}

#[test]
fn no_node_is_left_behind_when_the_cluster_is_killed() {
    let cluster = Running::start(&[]);
    cluster.hears("the cluster is up");
    signal(cluster.child.id(), Signal::KILL);
    wait_until("every node ends", || cluster.all_ports_are_free());
}

#[test]
fn a_node_that_ends_is_named_with_the_command_that_brings_it_back() {
    let cluster = Running::start(&[]);
    cluster.hears("the cluster is up");
    let nodes = Command::new("pgrep").args(["-P", &cluster.child.id().to_string()]).output().unwrap();
    let last: u32 = String::from_utf8(nodes.stdout).unwrap().lines().last().unwrap().parse().unwrap();
    signal(last, Signal::KILL);
    let said = cluster.hears("the others go on");
    let name = said.split(' ').next().unwrap().to_owned();
    assert!(cluster.hears("SERVER_ID=").contains(&name));
}

#[test]
fn a_wrong_setting_of_a_node_stops_all_of_it() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut cluster = Running::start_in(&directory, &[], &[("MAX_THREADS", "many")]);
    assert_eq!(cluster.child.wait().unwrap().code(), Some(2));
    cluster.hears("MAX_THREADS: \"many\" must be a whole number");
    assert!(cluster.all_ports_are_free());
    // What the command line says wrongly stops it before any node is started.
    let mut cluster = Running::start_in(&directory, &["--delays", "2,soon"], &[]);
    assert_eq!(cluster.child.wait().unwrap().code(), Some(2));
    assert!(cluster.lines.recv_timeout(common::TIMEOUT).is_err(), "no node said anything");
}

#[test]
fn two_clusters_live_in_one_directory() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let variables = [("DATA_DIR", "logs of both"), ("LOG_DIR", "lines")];
    let clusters = [0, 1].map(|_| Running::start_in(&directory, &[], &variables));
    for cluster in &clusters {
        cluster.hears("the cluster is up");
        assert_eq!(post(&cluster.url(0, "/messages"), &json!({ "message": "own" })).body["message_id"], 1);
        for node in ["master", "secondary-1", "secondary-2"] {
            let own = format!("port-{}/{node}", cluster.port);
            assert!(directory.path().join("logs of both").join(&own).join("log.sqlite").exists(), "{own}");
            assert!(directory.path().join("lines").join(&own).exists(), "{own}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_a_way_out() {
    let port = free_ports(3)[0];
    let _taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let mut refused = Command::new(env!("CARGO_BIN_EXE_local_cluster"))
        .args(["--port", &port.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(refused.wait().unwrap().code(), Some(2));
    let mut why = String::new();
    refused.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(why.contains(&format!("port {}", port + 1)) && why.contains("--port"), "{why}");
}
