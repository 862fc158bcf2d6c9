//! Tests the Docker files as users work with them: builds, starts, uses, crashes and stops the cluster.
//!
//! This needs an engine, Compose (version 1 or 2), and the base images or a registry that has them. Where something is
//! missing, the test prints `skipped` and why, and passes. With `REQUIRE_DOCKER=1` it fails.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests of the running system")]

mod common;

use common::examples::{agree, blocks, lasting};
use common::{Reply, free_ports, get, post};
use rustix::process::geteuid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A build from nothing takes a minute or two, and downloads the crates.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The larger base image has some 250 MB.
const PULL_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The time for any other command of the engine.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// The time for what the cluster does by itself: becoming healthy, coming back after a crash. A writer waits as long
/// for a node that is lost.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// The longest delay in the compose file: no write is faster.
const SLOWEST_DELAY: Duration = Duration::from_secs(2);

/// The user that a node runs as when its log directory belonged to root; `docker/entrypoint.sh` names it.
const NODE_USER: u32 = 10_001;
/// The owner of a log directory that exists before the cluster starts.
const OTHER_USER: u32 = 12_345;

/// The nodes by the names of their services, the master first.
const SERVICES: [&str; 3] = ["master", "secondary-1", "secondary-2"];

/// A way to lose secondary-2, and to get it back.
struct Loss {
    name: &'static str,
    begin: fn(&Stack),
    end: fn(&Stack),
}

/// The ways to lose a container that an engine offers.
const LOSSES: [Loss; 4] = [
    Loss { name: "stop", begin: |stack| stack.say("stop"), end: |stack| stack.say("start") },
    Loss { name: "pause", begin: |stack| stack.say("pause"), end: |stack| stack.say("unpause") },
    Loss { name: "disconnect", begin: disconnect, end: connect },
    Loss { name: "kill", begin: kill, end: |stack| stack.say("start") },
];

/// Every variable that the compose file reads: the environment of the tests must set none of them.
const VARIABLES: [&str; 12] = [
    "MASTER_PORT",
    "SECONDARY_1_PORT",
    "SECONDARY_2_PORT",
    "SECONDARY_1_DELAY",
    "SECONDARY_2_DELAY",
    "MESSAGE_VIEW",
    "LOG_LEVEL",
    "ENABLE_FAULTS",
    "LOGS",
    "PUBLISH_AT",
    "NODE_MEMORY",
    "PROMOTION",
];

#[test]
fn the_cluster_of_the_compose_file_is_built_used_crashed_and_stopped() {
    let compose = match find_docker() {
        Ok(compose) => compose,
        Err(why) => {
            assert!(std::env::var_os("REQUIRE_DOCKER").is_none_or(|value| value != "1"), "docker is required: {why}");
            // The test harness hides what println! prints in a test that passes.
            writeln!(io::stderr(), "skipped: {}", why.replace('\n', " ")).unwrap();
            return;
        }
    };
    let stack = Stack::new(compose);
    the_other_ports_are_one_file_away(&stack);

    stack.compose(&["build"], BUILD_TIMEOUT);
    stack.compose(&["up", "-d", "--no-build"], ENGINE_TIMEOUT);
    stack.wait_until("every container is healthy", || {
        SERVICES.iter().all(|service| stack.inspect(service, "{{.State.Health.Status}}") == "healthy")
    });
    stack.wait_until("the master takes writes", || stack.health("master")["writable"] == true);

    a_write_waits_for_both_secondaries(&stack);
    the_logs_can_be_read_on_the_host(&stack);
    a_killed_secondary_comes_back_and_is_caught_up(&stack);
    for loss in &LOSSES {
        let began = Instant::now();
        a_message_that_waits_for_a_lost_node_holds_up_no_other(&stack, loss);
        println!("the acceptance with {} took {:.1} s", loss.name, began.elapsed().as_secs_f64());
    }
    the_page_is_as_it_says(&stack);
    a_secondary_takes_the_place_of_the_master(&stack);
    all_nodes_stop_as_asked(&stack);
}

/// The builder takes the second image from the cache only while this holds.
#[test]
fn both_dockerfiles_build_in_the_same_way() {
    let build = |name: &str| {
        let text = fs::read_to_string(in_repository(name)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        lines.take_while(|line| !line.starts_with("FROM debian")).collect::<Vec<_>>()
    };
    let (master, secondary) = (build("Dockerfile.master"), build("Dockerfile.secondary"));
    assert!(master.iter().any(|line| line.contains("cargo build --release --locked --bins")), "{master:#?}");
    assert_eq!(master, secondary);
}

fn the_other_ports_are_one_file_away(stack: &Stack) {
    let mut command = stack.command_with(&in_repository("port-8000.env"));
    let resolved = run(command.arg("config"), ENGINE_TIMEOUT).replace(['"', '\''], "");
    for setting in [
        "MASTER_PORT: 8000",
        "SECONDARY_PORT: 8001",
        "SECONDARY_PORT: 8002",
        "SECONDARIES: http://secondary-1:8001,http://secondary-2:8002",
        "REPLICATION_DELAY: 0\n",
        "REPLICATION_DELAY: 1.5\n",
        "MESSAGE_VIEW: text",
    ] {
        assert!(resolved.contains(setting), "{setting} in\n{resolved}");
    }
}

fn a_write_waits_for_both_secondaries(stack: &Stack) {
    let began = Instant::now();
    let reply = post(&stack.url("master", "/messages"), &json!({ "message": "first" }));
    let took = began.elapsed();
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!((&reply.body["message_id"], &reply.body["replicated_to"]), (&json!(1), &json!(2)), "{reply:?}");
    assert!(took >= SLOWEST_DELAY, "{took:?}");
    stack.wait_until("all nodes show the message", || stack.shown_by_all().is_some_and(|shown| shown.len() == 1));
}

fn the_logs_can_be_read_on_the_host(stack: &Stack) {
    for service in SERVICES {
        let path = stack.log(service);
        stack.wait_until(&format!("{} tells of id 1", path.display()), || {
            fs::read_to_string(&path).is_ok_and(|log| log.contains("id 1 "))
        });
        let owner = fs::metadata(&path).unwrap().uid();
        assert_ne!(owner, 0, "{service} runs as root");
        if let Some(expected) = stack.owner_of_log(service) {
            assert_eq!(owner, expected, "{}", path.display());
        }
    }
}

fn a_killed_secondary_comes_back_and_is_caught_up(stack: &Stack) {
    // Not `docker kill`: the engine takes that for a request to stop, and does not start the container again.
    let kill = ["exec", &stack.container("secondary-2"), "sh", "-c", "kill -9 $(pidof secondary)"];
    // The container may end before this command does, which then fails. The count of restarts is checked below.
    let _ = try_run(docker().args(kill), ENGINE_TIMEOUT);

    // The secondary holds nothing now. Until it has caught up the master refuses writes, and accepts none without it.
    stack.wait_until("a write is accepted again", || {
        let reply = post(&stack.url("master", "/messages"), &json!({ "message": "second" }));
        assert!([201, 502, 503].contains(&reply.status), "{reply:?}");
        reply.status == 201
    });
    assert_eq!(stack.inspect("secondary-2", "{{.RestartCount}}"), "1");
    stack.wait_until("all nodes show the same again", || {
        let shown = stack.shown_by_all().unwrap_or_default();
        let ends = [shown.first(), shown.last()].map(|message| message.map(|message| &message["message"]));
        ends == [Some(&json!("first")), Some(&json!("second"))]
    });
}

/// The acceptance test of the exercise.
fn a_message_that_waits_for_a_lost_node_holds_up_no_other(stack: &Stack, loss: &Loss) {
    let all = [1, 2, 3, 4].map(|number| format!("Msg{number} of {}", loss.name));
    let [first, second, third, fourth] = &all;
    stack.wait_until("all nodes take part", || stack.health("master")["writable"] == true);
    (loss.begin)(stack);

    assert_written(&write(stack, first, 1));
    assert_written(&write(stack, second, 2));
    let waiting = begin_write(stack, third, 3);
    assert_eq!(texts(stack, "master", loss), all[..2], "no reader sees what may still be refused");
    stack.wait_until("secondary-1 shows what is acknowledged", || texts(stack, "secondary-1", loss) == all[..2]);

    assert_written(&write(stack, fourth, 1));
    assert_eq!(texts(stack, "master", loss), all, "what is sealed is visible, in order");
    stack.wait_until("secondary-1 shows what is sealed", || texts(stack, "secondary-1", loss) == all);
    assert!(!waiting.is_finished(), "its writer wants three copies");

    (loss.end)(stack);
    let reply = waiting.join().unwrap();
    assert_written(&reply);
    assert_eq!(reply.body["w"], 3, "{reply:?}");
    stack.wait_until("all nodes show the same", || stack.shown_by_all().is_some());
    assert_eq!(texts(stack, "secondary-2", loss), all);
}

/// Types what docs/docker.md shows for a missing node into one shell, as its reader does.
fn the_page_is_as_it_says(stack: &Stack) {
    let all: Vec<_> = blocks("docs/docker.md").into_iter().flatten().collect();
    let at = |command: &str| all.iter().position(|example| example.command == command).unwrap();
    let examples =
        &all[at("docker compose stop secondary-2")..at("curl 'http://localhost:5002/messages?view=text'") + 1];
    assert!(examples.len() >= 9, "{} examples", examples.len());

    let mut typed = String::new();
    for example in examples {
        let command = SERVICES.iter().zip(5_000..).fold(example.command.clone(), |command, (service, usual)| {
            command.replace(&format!("http://localhost:{usual}"), &stack.url(service, ""))
        });
        let command = command.replace("docker compose", "\"$@\"").replace("/tmp/", "./");
        typed += &format!("{command}\nsleep 1\necho; echo '-- next'\n");
    }
    let compose = stack.command();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &typed, "sh"])
        .arg(compose.get_program())
        .args(compose.get_args())
        .current_dir(stack.directory.path());
    for (name, value) in compose.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let printed = run(&mut shell, CLUSTER_TIMEOUT);
    let printed: Vec<&str> = printed.split("-- next").collect();
    for (example, printed) in examples.iter().zip(printed) {
        let form = |lines: &mut dyn Iterator<Item = &str>| lines.map(lasting).collect::<Vec<_>>();
        let really = form(&mut printed.lines().filter(|line| !line.is_empty()));
        let shown = form(&mut example.printed.iter().map(String::as_str));
        assert!(shown.is_empty() || agree(&shown, &really), "docs/docker.md: {}\nprinted {printed}", example.command);
    }
}

/// Cuts secondary-2 off from the other nodes. Its published port does not answer meanwhile.
fn disconnect(stack: &Stack) {
    engine(&["network", "disconnect", &stack.network(), &stack.container("secondary-2")]);
}

/// The other nodes know it by its alias, the name of its service. A reconnect has to repeat it.
fn connect(stack: &Stack) {
    let (network, container) = (stack.network(), stack.container("secondary-2"));
    engine(&["network", "connect", "--alias", "secondary-2", &network, &container]);
}

/// Not restarted either: the engine takes this for a request to stop.
fn kill(stack: &Stack) {
    stack.compose(&["kill", "-s", "KILL", "secondary-2"], ENGINE_TIMEOUT);
    stack.wait_until("it is down", || stack.inspect("secondary-2", "{{.State.Status}}") == "exited");
}

fn write(stack: &Stack, message: &str, w: u64) -> Reply {
    post(&stack.url("master", "/messages"), &json!({ "message": message, "w": w }))
}

/// Posts on a thread of its own, and waits until the nodes that run have the message.
fn begin_write(stack: &Stack, message: &str, w: u64) -> JoinHandle<Reply> {
    let last = |service| stack.health(service)["last"].as_u64().unwrap();
    let (url, before) = (stack.url("master", "/messages"), last("master"));
    let body = json!({ "message": message, "w": w, "timeout": CLUSTER_TIMEOUT.as_secs() });
    let writer = thread::spawn(move || post_patiently(&url, &body));
    stack.wait_until("the master has it", || last("master") > before);
    stack.wait_until("secondary-1 has it", || last("secondary-1") > before);
    writer
}

/// Waits for the reply as long as the master may take: the other tests give up earlier.
fn post_patiently(url: &str, body: &Value) -> Reply {
    let config = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(CLUSTER_TIMEOUT + ENGINE_TIMEOUT));
    let request = config.build().new_agent().post(url).header("Content-Type", "application/json");
    let mut answer = request.send(body.to_string()).expect("the master answers");
    let text = answer.body_mut().read_to_string().expect("the reply is whole");
    Reply { status: answer.status().as_u16(), body: serde_json::from_str(&text).unwrap(), ..Reply::default() }
}

#[track_caller]
fn assert_written(reply: &Reply) {
    assert_eq!(reply.status, 201, "{reply:?}");
}

/// The messages that a node shows among those that were sent while secondary-2 was lost in this way.
fn texts(stack: &Stack, service: &str, loss: &Loss) -> Vec<String> {
    let texts = stack.messages(service).into_iter().map(|message| message["message"].as_str().unwrap().to_owned());
    texts.filter(|text| text.ends_with(loss.name)).collect()
}

/// The walk-through of docs/docker.md: promotion is turned on, the master is killed, and secondary-1 leads until the end.
fn a_secondary_takes_the_place_of_the_master(stack: &Stack) {
    let with_promotion = |arguments: &[&str]| {
        run(stack.command().env("PROMOTION", "on").args(arguments), ENGINE_TIMEOUT);
    };
    with_promotion(&["up", "-d", "--no-build"]);
    stack.wait_until("all three nodes vote", || {
        let preview = get(&stack.url("secondary-1", "/promotion")).body;
        preview["voters"] == 3 && preview["would_lead"] == true
    });
    assert_written(&write(stack, "before the promotion", 3));
    stack.compose(&["kill", "-s", "KILL", "master"], ENGINE_TIMEOUT);
    let reply = post(&stack.url("secondary-1", "/promotion"), &json!({}));
    assert_eq!((reply.status, &reply.body["leader"]), (200, &json!("secondary-1")), "{reply:?}");
    let url = stack.url("secondary-1", "/messages");
    assert_written(&post_patiently(&url, &json!({ "message": "without the old master" })));
    with_promotion(&["start", "master"]);
    stack.wait_until("the old master follows", || stack.health("master")["role"] == "secondary");
    stack.wait_until("it is one of three again", || {
        let preview = get(&stack.url("secondary-2", "/promotion")).body;
        preview["voters"] == 3
    });
    assert_written(&post_patiently(&url, &json!({ "message": "with it", "w": 3 })));
    stack.wait_until("all show the same", || stack.shown_by_all().is_some_and(|shown| !shown.is_empty()));
}

fn all_nodes_stop_as_asked(stack: &Stack) {
    stack.compose(&["stop"], ENGINE_TIMEOUT);
    for service in SERVICES {
        assert_eq!(stack.inspect(service, "{{.State.Status}} {{.State.ExitCode}}"), "exited 0", "{service}");
        let log = fs::read_to_string(stack.log(service)).unwrap();
        assert!(log.contains("stopping because of SIGTERM"), "{log}");
    }
}

/// A cluster under a name, on ports and with log files of its own. Dropping it removes everything.
struct Stack {
    program: Vec<&'static str>,
    project: String,
    ports: [u16; 3],
    directory: TempDir,
}

impl Stack {
    fn new(program: Vec<&'static str>) -> Stack {
        let directory = tempfile::tempdir().unwrap();
        // Given by name, so that an .env file in the repository does not count.
        File::create(directory.path().join("empty.env")).unwrap();
        let project = format!("replicated-log-test-{}", std::process::id());
        let ports = free_ports(3).try_into().unwrap();
        let stack = Stack { program, project, ports, directory };
        stack.prepare_log_directories();
        stack
    }

    /// As root, makes one directory, with another owner, and leaves the others to the engine. As any other user, makes
    /// all of them, and so can remove what the nodes write.
    fn prepare_log_directories(&self) {
        let made: &[&str] = if geteuid().is_root() { &SERVICES[2..] } else { &SERVICES };
        for service in made {
            let log = self.log(service);
            fs::create_dir_all(log.parent().unwrap()).unwrap();
            if geteuid().is_root() {
                chown(log.parent().unwrap(), Some(OTHER_USER), Some(OTHER_USER)).unwrap();
            }
        }
    }

    /// The expected owner of a log file, as root sees it: an engine without root's rights maps users to others.
    fn owner_of_log(&self, service: &str) -> Option<u32> {
        let owner = if service == SERVICES[2] { OTHER_USER } else { NODE_USER };
        geteuid().is_root().then_some(owner)
    }

    fn log(&self, service: &str) -> PathBuf {
        let file = if service == "master" { "master.log" } else { "secondary.log" };
        self.directory.path().join("logs").join(service).join(file)
    }

    fn url(&self, service: &str, path: &str) -> String {
        let index = SERVICES.iter().position(|name| *name == service).unwrap();
        format!("http://127.0.0.1:{}{path}", self.ports[index])
    }

    fn messages(&self, service: &str) -> Vec<Value> {
        let reply = get(&self.url(service, "/messages"));
        reply.body["messages"].as_array().cloned().unwrap_or_default()
    }

    fn health(&self, service: &str) -> Value {
        get(&self.url(service, "/health")).body
    }

    /// The messages that all nodes show, ids included, or `None` if they differ.
    fn shown_by_all(&self) -> Option<Vec<Value>> {
        let [master, first, second] = SERVICES.map(|service| self.messages(service));
        (master == first && master == second).then_some(master)
    }

    /// Runs a Compose command on secondary-2.
    fn say(&self, command: &str) {
        self.compose(&[command, "secondary-2"], ENGINE_TIMEOUT);
    }

    fn compose(&self, arguments: &[&str], timeout: Duration) -> String {
        let began = Instant::now();
        let output = run(self.command().args(arguments), timeout);
        println!("{} took {:.1} s", arguments.join(" "), began.elapsed().as_secs_f64());
        output
    }

    fn command(&self) -> Command {
        let mut command = self.command_with(&self.directory.path().join("empty.env"));
        let ports = self.ports.map(|port| port.to_string());
        command
            .envs(["MASTER_PORT", "SECONDARY_1_PORT", "SECONDARY_2_PORT"].into_iter().zip(ports))
            .env("LOGS", self.directory.path().join("logs"));
        command
    }

    fn command_with(&self, env_file: &Path) -> Command {
        let mut command = Command::new(self.program[0]);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command
            .args(&self.program[1..])
            .arg("--file")
            .arg(in_repository("docker-compose.yml"))
            .arg("--env-file")
            .arg(env_file)
            .args(["--project-name", &self.project])
            .env_remove("COMPOSE_PROFILES");
        command
    }

    /// The container of a service. The two versions of Compose name it differently, but label it alike.
    fn container(&self, service: &str) -> String {
        let labels = [("project", self.project.as_str()), ("service", service)];
        let filters = labels.map(|(label, value)| format!("--filter=label=com.docker.compose.{label}={value}"));
        let id = run(docker().args(["ps", "--all", "--quiet"]).args(filters), ENGINE_TIMEOUT);
        assert_eq!(id.lines().count(), 1, "containers of {service}: {id}");
        id
    }

    fn network(&self) -> String {
        let filter = format!("--filter=label=com.docker.compose.project={}", self.project);
        run(docker().args(["network", "ls", "--quiet", &filter]), ENGINE_TIMEOUT)
    }

    fn inspect(&self, service: &str, format: &str) -> String {
        run(docker().args(["inspect", "--format", format, &self.container(service)]), ENGINE_TIMEOUT)
    }

    /// Waits until something holds, or fails with the last log lines of the nodes.
    #[track_caller]
    fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + CLUSTER_TIMEOUT;
        while !holds() {
            if Instant::now() > deadline {
                let logs = self.compose(&["logs", "--tail=20"], ENGINE_TIMEOUT);
                panic!("{what}: not within {CLUSTER_TIMEOUT:?}\n{logs}");
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let down = ["down", "--volumes", "--remove-orphans", "--rmi", "local"];
        if let Err(why) = try_run(self.command().args(down), ENGINE_TIMEOUT) {
            eprintln!("{} may be left behind: {why}", self.project);
        }
    }
}

/// The command for Compose, or why the files cannot be built and run here.
fn find_docker() -> Result<Vec<&'static str>, String> {
    try_run(docker().args(["info", "--format", "{{.ServerVersion}}"]), ENGINE_TIMEOUT)
        .map_err(|why| format!("no Docker engine answers: {why}"))?;
    let answers = |program: &Vec<&str>| {
        try_run(Command::new(program[0]).args(&program[1..]).arg("version"), ENGINE_TIMEOUT).is_ok()
    };
    let compose = [vec!["docker", "compose"], vec!["docker-compose"]]
        .into_iter()
        .find(answers)
        .ok_or("neither docker compose nor docker-compose answers")?;
    for image in base_images() {
        if try_run(docker().args(["image", "inspect", &image]), ENGINE_TIMEOUT).is_err() {
            try_run(docker().args(["pull", "--quiet", &image]), PULL_TIMEOUT)
                .map_err(|why| format!("the base image {image} is not here and cannot be pulled: {why}"))?;
        }
    }
    Ok(compose)
}

fn base_images() -> Vec<String> {
    let text = fs::read_to_string(in_repository("Dockerfile.master")).unwrap();
    let images = text.lines().filter_map(|line| line.strip_prefix("FROM ")?.split_whitespace().next());
    images.map(str::to_owned).collect()
}

fn engine(arguments: &[&str]) {
    run(docker().args(arguments), ENGINE_TIMEOUT);
}

fn docker() -> Command {
    Command::new("docker")
}

fn in_repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[track_caller]
fn run(command: &mut Command, timeout: Duration) -> String {
    try_run(command, timeout).unwrap_or_else(|why| panic!("{why}"))
}

/// Runs a program to its end, and returns its output. A program that takes too long is killed.
fn try_run(command: &mut Command, timeout: Duration) -> Result<String, String> {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let outcome = finish(command, timeout).map_err(|error| format!("{shown}: {error}"))?;
    match outcome {
        (Some(true), stdout, _) => Ok(stdout.trim().to_owned()),
        (Some(false), stdout, stderr) => Err(format!("{shown} failed: {}", ending(&format!("{stdout}\n{stderr}")))),
        (None, _, stderr) => Err(format!("{shown} took longer than {timeout:?}: {}", ending(&stderr))),
    }
}

/// Whether it succeeded, or `None` if it had to be killed, and its output. Files take the output: a pipe could fill.
fn finish(command: &mut Command, timeout: Duration) -> io::Result<(Option<bool>, String, String)> {
    let (stdout, stderr) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    let mut child = command.stdin(Stdio::null()).stdout(stdout.reopen()?).stderr(stderr.reopen()?).spawn()?;
    let deadline = Instant::now() + timeout;
    let succeeded = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.success());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let read = |file: &Path| fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((succeeded, read(stdout.path())?, read(stderr.path())?))
}

/// The last lines: a failed build prints thousands, and ends with the reason.
fn ending(text: &str) -> String {
    const LINES_SHOWN: usize = 40;
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}
