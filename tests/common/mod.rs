//! Real nodes for tests: processes on ports of their own, in a directory of their own, gone when the test ends.

#![allow(dead_code, unused_imports, reason = "each test file uses its part of this")]

pub(crate) mod examples;
mod ports;
pub(crate) mod random;
pub(crate) mod succession;

pub(crate) use ports::free_ports;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::typestate::WithBody;
use ureq::{Agent, RequestBuilder};

/// How long anything may take that normally takes milliseconds: tests share slow machines.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A reply: its status, its body as JSON, and some of its headers.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) location: Option<String>,
    /// Whether it is the answer of an earlier post.
    pub(crate) replayed: bool,
    pub(crate) etag: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) server_timing: Option<String>,
}

/// Calls a node.
pub(crate) fn get(url: &str) -> Reply {
    read(agent().get(url).call())
}

/// Calls a node that may be down. `None` if no whole reply came.
pub(crate) fn try_get(url: &str) -> Option<Reply> {
    try_read(agent().get(url).call()).ok()
}

pub(crate) fn delete(url: &str) -> Reply {
    read(agent().delete(url).call())
}

pub(crate) fn put(url: &str, body: &Value) -> Reply {
    read(agent().put(url).header("Content-Type", "application/json").send(body.to_string()))
}

pub(crate) fn post(url: &str, body: &Value) -> Reply {
    read(posting(url).send(body.to_string()))
}

/// Posts with a header.
pub(crate) fn post_with(url: &str, name: &str, value: &str, body: &Value) -> Reply {
    read(posting(url).header(name, value).send(body.to_string()))
}

/// Posts lines of JSON.
pub(crate) fn post_lines(url: &str, lines: &str) -> Reply {
    read(agent().post(url).header("Content-Type", "application/x-ndjson").send(lines))
}

/// Posts to a node that may be down, or go down meanwhile. `None` if no whole reply came.
pub(crate) fn try_post(url: &str, body: &Value) -> Option<Reply> {
    try_read(posting(url).send(body.to_string())).ok()
}

/// The messages of a listing.
pub(crate) fn pairs(listing: &Value) -> Vec<(u64, String)> {
    let pair = |entry: &Value| (entry["id"].as_u64().unwrap(), entry["message"].as_str().unwrap().to_owned());
    listing["messages"].as_array().expect("a list").iter().map(pair).collect()
}

fn posting(url: &str) -> RequestBuilder<WithBody> {
    agent().post(url).header("Content-Type", "application/json")
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_recv_response(Some(TIMEOUT))
        .timeout_global(Some(4 * TIMEOUT))
        .build();
    config.into()
}

type Answer = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn read(answer: Answer) -> Reply {
    try_read(answer).unwrap_or_else(|why| panic!("no whole reply: {why}"))
}

fn try_read(answer: Answer) -> Result<Reply, String> {
    let mut answer = answer.map_err(|error| error.to_string())?;
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let reply = Reply {
        status: answer.status().as_u16(),
        body: Value::Null,
        location: header("Location"),
        replayed: header("Idempotent-Replayed").is_some(),
        etag: header("ETag"),
        retry_after: header("Retry-After"),
        server_timing: header("Server-Timing"),
    };
    if (300..400).contains(&reply.status) {
        return Ok(reply);
    }
    let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string().map_err(|error| error.to_string())?;
    let body = serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?;
    Ok(Reply { body, ..reply })
}

/// Waits until something holds, or fails with what it is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {TIMEOUT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says that something is over when it is dropped, also by a panic: those who go on until then would be waited for.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A node as a process.
pub(crate) struct Node {
    program: &'static str,
    /// A command that its command line is handed to, if any.
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
    pub(crate) name: String,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    /// The messages that it shows.
    pub(crate) fn messages(&self) -> Vec<(u64, String)> {
        let reply = get(&self.url("/messages"));
        assert_eq!(reply.status, 200, "{reply:?}");
        pairs(&reply.body)
    }

    /// Asks for what is not JSON. Gives the head and the body.
    pub(crate) fn get_text(&self, path: &str) -> (String, String) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(connection, "GET {path} HTTP/1.0\r\nHost: node\r\n\r\n").unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }

    pub(crate) fn health(&self) -> Value {
        get(&self.url("/health")).body
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// The memory that it occupies.
    pub(crate) fn resident_bytes(&self) -> usize {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
        let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes << 10
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Changes a variable of its environment, from its next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Runs it through a command that becomes the node in the end, from its next start on.
    pub(crate) fn run_through(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    pub(crate) fn move_to_another_port(&mut self) {
        self.port = free_ports(1)[0];
        self.set("SECONDARY_PORT", &self.port.to_string());
    }

    /// What happens to its log when its disk is replaced.
    pub(crate) fn lose_disk(&self) {
        fs::remove_dir_all(self.data()).unwrap();
    }

    /// Waits until its log file says something.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &str) {
        wait_until(words, || self.log().contains(words));
    }

    /// Its log file, rotated ones not included. The latest lines may be missing.
    pub(crate) fn log(&self) -> String {
        let role = if self.name == "master" { "master.log" } else { "secondary.log" };
        fs::read_to_string(self.directory.join("logs").join(role)).unwrap_or_default()
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.wrapper.iter().map(String::as_str).chain([self.program]);
        let mut command = Command::new(words.next().expect("at least the program"));
        command
            .args(words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LOG_DIR", self.directory.join("logs"))
            .env("DATA_DIR", self.data());
        command
    }

    /// Starts it with other outputs than those that the tests read.
    pub(crate) fn start_printing_to(&mut self, stdout: Stdio, stderr: Stdio) {
        let mut command = self.command();
        command.env("STOP_WITH_PARENT", "1").stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        self.child = Some(command.spawn().expect("the program starts"));
        wait_until("it is alive", || agent().get(self.url("/livez")).call().is_ok_and(|reply| reply.status() == 200));
    }

    /// Starts it, on the port that it always had. What it prints is read, and thrown away.
    pub(crate) fn start(&mut self) {
        let mut child = self
            .command()
            .env("STOP_WITH_PARENT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (serves, served) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains(" serves on http://") {
                    let _ = serves.send(());
                }
            }
        });
        served.recv_timeout(TIMEOUT).expect("the node says that it serves");
        self.child = Some(child);
    }

    /// What kill -9 does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("running");
        let mut status = None;
        wait_until("the node ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A master and its secondaries.
pub(crate) struct Cluster {
    pub(crate) master: Node,
    pub(crate) secondaries: Vec<Node>,
    directory: TempDir,
}

impl Cluster {
    /// Starts a master and a secondary for each delay (in seconds), and waits until it takes writes.
    pub(crate) fn start(delays: &[&str]) -> Cluster {
        Cluster::start_with(delays, &[])
    }

    /// The same, with these variables in the environment of every node.
    pub(crate) fn start_with(delays: &[&str], variables: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::prepare(delays);
        for node in cluster.secondaries.iter_mut().chain([&mut cluster.master]) {
            variables.iter().for_each(|(name, value)| node.set(name, value));
            node.start();
        }
        cluster.wait_writable();
        cluster
    }

    /// Makes a cluster whose nodes are not started yet.
    pub(crate) fn prepare(delays: &[&str]) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let ports = free_ports(delays.len() + 1);
        let secondaries: Vec<Node> = delays
            .iter()
            .enumerate()
            .map(|(index, delay)| {
                let port = ports[index + 1];
                let name = format!("secondary-{}", index + 1);
                let environment = vec![
                    ("SECONDARY_PORT".to_owned(), port.to_string()),
                    ("REPLICATION_DELAY".to_owned(), (*delay).to_owned()),
                ];
                node(&directory, env!("CARGO_BIN_EXE_secondary"), &name, port, environment)
            })
            .collect();
        let urls: Vec<String> = secondaries.iter().map(|node| node.url("")).collect();
        let environment = vec![
            ("MASTER_PORT".to_owned(), ports[0].to_string()),
            ("SECONDARIES".to_owned(), urls.join(",")),
            ("REPLICATION_TIMEOUT".to_owned(), "10".to_owned()),
        ];
        let master = node(&directory, env!("CARGO_BIN_EXE_master"), "master", ports[0], environment);
        Cluster { master, secondaries, directory }
    }

    /// One more node in the directory of this cluster, not started yet.
    pub(crate) fn extra(&self, program: &'static str, name: &str, environment: &[(&str, String)]) -> Node {
        let port = free_ports(1)[0];
        let variable = if program == env!("CARGO_BIN_EXE_master") { "MASTER_PORT" } else { "SECONDARY_PORT" };
        let mut environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        environment.push((variable.to_owned(), port.to_string()));
        node(&self.directory, program, name, port, environment)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        [&self.master].into_iter().chain(&self.secondaries)
    }

    /// The master first.
    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        [&mut self.master].into_iter().chain(&mut self.secondaries)
    }

    /// Kills all nodes, starts them again, and waits until the cluster takes writes.
    pub(crate) fn restart(&mut self) {
        self.nodes_mut().for_each(Node::kill);
        self.nodes_mut().for_each(Node::start);
        self.wait_writable();
    }

    pub(crate) fn wait_writable(&self) {
        wait_until("the cluster takes writes", || self.master.health()["writable"] == true);
    }

    pub(crate) fn post(&self, message: &str) -> Reply {
        post(&self.master.url("/messages"), &json!({ "message": message }))
    }

    /// Every node shows the same messages.
    pub(crate) fn assert_same_everywhere(&self) -> Vec<(u64, String)> {
        let on_master = self.master.messages();
        for node in &self.secondaries {
            assert_eq!(node.messages(), on_master, "on {}", node.name);
        }
        on_master
    }
}

fn node(directory: &TempDir, program: &'static str, name: &str, port: u16, environment: Vec<(String, String)>) -> Node {
    let mut environment = environment;
    environment.push(("SERVER_ID".to_owned(), name.to_owned()));
    Node {
        program,
        wrapper: Vec::new(),
        environment,
        directory: directory.path().join(name),
        name: name.to_owned(),
        port,
        child: None,
    }
}
