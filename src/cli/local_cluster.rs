//! A cluster on this machine: a master and its secondaries as processes of their own, with all logs on one terminal.
//!
//! Each node is this program, started again with `node master` or `node secondary`. It holds the reading end of a pipe
//! from this process, and stops when the pipe closes. So no node survives this process, however it ends.

use super::exit::{EXIT_FAILED, EXIT_USAGE};
use super::run;
use super::settings::{MasterFlags, SecondaryFlags};
use super::table::seconds;
use crate::peer::Peers;
use crate::process::console::Console;
use crate::process::shutdown::{self, STOP_WITH_PARENT};
use crate::process::threads::lock;
use crate::wire::address::NodeUrl;
use clap::{Parser, Subcommand, ValueEnum};
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The port of the master, unless the command line names another.
const PORT: u16 = 5000;
/// The most secondaries on one machine.
const SECONDARIES_MAX: u16 = 32;
/// How long the cluster may take before it takes writes.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a line waits for a terminal that blocks.
const PRINT_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Starts a replicated log on this machine: a master and its secondaries, each a process of its own.
#[derive(Debug, Parser)]
#[command(
    name = "local_cluster",
    version,
    after_help = "EXAMPLES\n  \
                  cargo run                                 a master and two secondaries on 5000 to 5002\n  \
                  cargo run -- --delays 2.0,1.5             with delays that make the master wait visibly\n  \
                  cargo run -- --port 8000 --secondaries 4  four secondaries, on other ports\n\n\
                  The nodes take their other settings from the environment: see `master --help`, `secondary --help`. Each has\n\
                  its own directory below DATA_DIR (./data) and LOG_DIR (./logs); with another port than 5000, below\n\
                  port-PORT in them.\n\n\
                  EXIT CODES\n  0  stopped by a signal\n  1  a node could not be started\n  2  wrong usage, or a port is taken"
)]
pub struct ClusterFlags {
    /// Port of the master; the secondaries get those that follow.
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Number of secondaries.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=i64::from(SECONDARIES_MAX)))]
    secondaries: u16,
    /// Artificial delays of the secondaries before they acknowledge, in seconds, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "SECONDS")]
    delays: Vec<String>,
    #[command(subcommand)]
    command: Option<ClusterCommand>,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Runs one node, configured by the environment.
    Node {
        /// The role of the node.
        role: Role,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Master,
    Secondary,
}

/// Runs a cluster, or a single node if the command line names one.
#[must_use]
pub fn run(flags: &ClusterFlags) -> ExitCode {
    match &flags.command {
        Some(ClusterCommand::Node { role: Role::Master }) => run::master(&MasterFlags::default()),
        Some(ClusterCommand::Node { role: Role::Secondary }) => run::secondary(&SecondaryFlags::default()),
        None => run_cluster(flags).unwrap_or_else(|(code, why)| {
            eprintln!("local_cluster: {why}");
            ExitCode::from(code)
        }),
    }
}

fn run_cluster(flags: &ClusterFlags) -> Result<ExitCode, (u8, String)> {
    let signals = shutdown::watch().map_err(|error| (EXIT_FAILED, format!("cannot watch for signals: {error}")))?;
    let plans = plan(flags).map_err(|why| (EXIT_USAGE, why))?;
    for plan in &plans {
        check_port(plan.port).map_err(|why| (EXIT_USAGE, why))?;
    }
    let terminal = Arc::new(Terminal::new());
    let mut nodes = Vec::new();
    for plan in plans {
        nodes.push(
            Node::start(plan, &terminal).map_err(|error| (EXIT_FAILED, format!("a node did not start: {error}")))?,
        );
    }
    let nodes = Arc::new(Mutex::new(nodes));
    if let Err(why) = introduce(flags, &nodes, &terminal) {
        stop_all(&nodes);
        return Err((EXIT_USAGE, why));
    }
    watch(&nodes, &terminal);
    terminal.say(&format!("stopping because of {}", signals.wait()));
    stop_all(&nodes);
    terminal.say("all nodes have stopped");
    Ok(ExitCode::SUCCESS)
}

/// Stops the nodes, the master first.
fn stop_all(nodes: &Mutex<Vec<Node>>) {
    let mut nodes = std::mem::take(&mut *lock(nodes));
    for node in nodes.iter_mut().rev() {
        node.stop();
    }
}

/// The configuration of one node.
struct Plan {
    name: String,
    role: &'static str,
    port: u16,
    environment: Vec<(&'static str, String)>,
}

/// The nodes in the order of their start. The master is the last, so that it finds its secondaries.
fn plan(flags: &ClusterFlags) -> Result<Vec<Plan>, String> {
    let last_port = u32::from(flags.port) + u32::from(flags.secondaries);
    if last_port > u32::from(u16::MAX) {
        return Err(format!("the last secondary would need port {last_port}; choose a lower --port"));
    }
    if flags.delays.len() > usize::from(flags.secondaries) {
        return Err(format!(
            "{} delays for {} secondaries; give at most one each",
            flags.delays.len(),
            flags.secondaries
        ));
    }
    for delay in &flags.delays {
        seconds(delay, 1.0, 0.0).map_err(|why| format!("--delays: {why}"))?;
    }
    let master_url = format!("http://localhost:{}", flags.port);
    let ports = (1..=flags.secondaries).map(|number| flags.port + number);
    let urls: Vec<String> = ports.clone().map(|port| format!("http://localhost:{port}")).collect();
    let mut plans = Vec::new();
    for (index, port) in ports.enumerate() {
        let mut environment = vec![("SECONDARY_PORT", port.to_string()), ("MASTER_URL", master_url.clone())];
        environment.extend(flags.delays.get(index).map(|delay| ("REPLICATION_DELAY", delay.clone())));
        let name = format!("secondary-{}", index + 1);
        environment.extend(directories(flags.port, &name));
        plans.push(Plan { name, role: "secondary", port, environment });
    }
    let mut environment = vec![("MASTER_PORT", flags.port.to_string()), ("SECONDARIES", urls.join(","))];
    environment.extend(directories(flags.port, "master"));
    plans.push(Plan { name: "master".to_owned(), role: "master", port: flags.port, environment });
    Ok(plans)
}

/// The directories of a node, below those that the environment names for all nodes. Clusters on other ports than the
/// usual ones have their own, so that several can run in one place.
fn directories(port: u16, name: &str) -> impl Iterator<Item = (&'static str, String)> {
    let cluster = if port == PORT { String::new() } else { format!("port-{port}/") };
    [("DATA_DIR", "data"), ("LOG_DIR", "logs")].into_iter().filter_map(move |(variable, default)| {
        let base = run::environment(variable).filter(|base| !base.is_empty()).unwrap_or_else(|| default.to_owned());
        (base != "memory").then(|| (variable, format!("{base}/{cluster}{name}")))
    })
}

fn check_port(port: u16) -> Result<(), String> {
    TcpListener::bind(("127.0.0.1", port)).map(|_| ()).map_err(|error| {
        format!(
            "port {port} cannot be used ({error}); stop the program that uses it, or choose other ports: --port {}",
            suggestion(port)
        )
    })
}

fn suggestion(port: u16) -> u16 {
    if port < 50_000 { port / 1_000 * 1_000 + 3_000 } else { 5_000 }
}

/// A node in operation.
struct Node {
    name: String,
    child: Child,
    restart: String,
    reported: bool,
}

impl Node {
    fn start(plan: Plan, terminal: &Arc<Terminal>) -> io::Result<Node> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command
            .args(["node", plan.role])
            .env("SERVER_ID", &plan.name)
            .env(STOP_WITH_PARENT, "1")
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches this process only, which then stops the master before its secondaries.
            .process_group(0);
        let mut child = command.spawn()?;
        let paint = terminal.next_paint();
        for stream in
            [child.stdout.take().map(Stream::Out), child.stderr.take().map(Stream::Error)].into_iter().flatten()
        {
            let (terminal, name) = (Arc::clone(terminal), plan.name.clone());
            thread::Builder::new().name(plan.name.clone()).spawn(move || terminal.relay(&name, paint, stream))?;
        }
        let settings: String = plan.environment.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let restart = format!("SERVER_ID={} {settings}{} node {}", plan.name, program.display(), plan.role);
        Ok(Node { name: plan.name, child, restart, reported: false })
    }

    /// How it ended, if it did.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended ({status})", self.name))
    }

    /// Closes the pipe, which asks the node to stop, and waits for it.
    fn stop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reports each node that ends while the others go on.
fn watch(nodes: &Arc<Mutex<Vec<Node>>>, terminal: &Arc<Terminal>) {
    let (watched, shown) = (Arc::clone(nodes), Arc::clone(terminal));
    let watching = move || loop {
        for node in &mut *lock(&watched) {
            if node.reported {
                continue;
            }
            if let Some(ended) = node.ended() {
                node.reported = true;
                shown.say(&format!("{ended}; the others go on. Start it again with\n  {}", node.restart));
            }
        }
        thread::sleep(POLL_EVERY);
    };
    if let Err(error) = thread::Builder::new().name("watch".to_owned()).spawn(watching) {
        terminal.say(&format!("cannot start the thread that reports nodes that end: {error}"));
    }
}

/// Waits until the cluster takes writes, and prints commands to try. A node that ends before that has printed what is
/// wrong with its configuration.
fn introduce(flags: &ClusterFlags, nodes: &Mutex<Vec<Node>>, terminal: &Arc<Terminal>) -> Result<(), String> {
    let port = flags.port;
    let master = NodeUrl::new("localhost", port)?;
    let peers = Peers::new(START_TIMEOUT, START_TIMEOUT, run::own_token().as_ref());
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(ended) = lock(nodes).iter_mut().find_map(Node::ended) {
            return Err(format!("{ended} before the cluster was up; its log above says why"));
        }
        if peers.is_writable(&master) {
            break;
        }
        if Instant::now() > deadline {
            terminal.say(&format!("the cluster takes no writes yet; curl http://localhost:{port}/health shows why"));
            return Ok(());
        }
        thread::sleep(POLL_EVERY);
    }
    let last = port + flags.secondaries;
    terminal.say(&format!(
        "the cluster is up: the master on http://localhost:{port}, {} secondaries behind it. Open that in a browser, or try\n  \
         curl -X POST http://localhost:{port}/messages -d '{{\"message\": \"hello\"}}'\n  \
         curl http://localhost:{port}/messages\n  \
         curl http://localhost:{last}/messages\n  \
         curl http://localhost:{port}/health\n\
         Ctrl-C stops all of it.",
        flags.secondaries
    ));
    Ok(())
}

enum Stream {
    Out(std::process::ChildStdout),
    Error(std::process::ChildStderr),
}

/// The output, shared by all nodes: whole lines, each with the name of its node, in colour on a terminal.
struct Terminal {
    colored: bool,
    painted: Mutex<usize>,
    console: Console,
}

/// Colours of the nodes' names: cyan, green, yellow, magenta, blue.
const PAINTS: [&str; 5] = ["\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[34m"];

impl Terminal {
    fn new() -> Terminal {
        Terminal { colored: io::stdout().is_terminal(), painted: Mutex::new(0), console: Console::stdout() }
    }

    fn next_paint(&self) -> &'static str {
        let mut painted = lock(&self.painted);
        *painted += 1;
        PAINTS[(*painted - 1) % PAINTS.len()]
    }

    fn relay(&self, name: &str, paint: &str, stream: Stream) {
        let reader: Box<dyn BufRead> = match stream {
            Stream::Out(stream) => Box::new(BufReader::new(stream)),
            Stream::Error(stream) => Box::new(BufReader::new(stream)),
        };
        let (on, off) = if self.colored { (paint, "\x1b[0m") } else { ("", "") };
        for line in reader.split(b'\n').map_while(Result::ok) {
            self.print(&format!("{on}{name:<12}|{off} {}\n", String::from_utf8_lossy(&line)));
        }
    }

    fn say(&self, text: &str) {
        let (on, off) = if self.colored { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.print(&format!("{on}{text}{off}\n"));
    }

    /// Prints a text, or drops what the output does not take in time. Without that, a reader that ends, as in
    /// `local_cluster | head`, would stop the cluster, and one that reads nothing would keep it from stopping.
    fn print(&self, text: &str) {
        self.console.write(text.as_bytes(), PRINT_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> ClusterFlags {
        ClusterFlags::parse_from([&["local_cluster"], arguments].concat())
    }

    #[test]
    fn every_node_gets_a_port_and_knows_its_master() {
        let plans = plan(&flags(&["--port", "7000", "--delays", "2.0"])).unwrap();
        let ports: Vec<u16> = plans.iter().map(|plan| plan.port).collect();
        assert_eq!(ports, [7001, 7002, 7000], "the master comes last");
        assert!(
            plans[2].environment.contains(&("SECONDARIES", "http://localhost:7001,http://localhost:7002".to_owned()))
        );
        assert!(plans[0].environment.contains(&("REPLICATION_DELAY", "2.0".to_owned())));
        assert!(plans[1].environment.iter().all(|(name, _)| *name != "REPLICATION_DELAY"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(plan(&flags(&["--port", "65534"])).is_err());
        assert!(plan(&flags(&["--delays", "1,2,3"])).is_err());
    }
}
