//! Configuration, in two stages: what was given (flags and environment), and what it means, which each role defines.
//!
//! A flag wins over the specific variable, that over the general one, that over the default. Every fault is found
//! before anything starts, and all of them are told at once.

use super::commands::{MasterCommand, SecondaryCommand};
use crate::http::Limits;
use crate::master::MasterSettings;
use crate::node::access::Access;
use crate::node::hosts::Hosts;
use crate::node::logging::LogSettings;
use crate::node::reading::FollowLimits;
use crate::node::settings::CommonSettings;
use crate::process::budget::Budget;
use crate::secondary::SecondarySettings;
use crate::store::CACHE_BYTES_DEFAULT;
use crate::wire::address::NodeUrl;
use crate::wire::batch::WRITE_BYTES_CEILING;
use crate::wire::client::{Copies, View};
use crate::wire::node::CALL_BYTES_MAX;
use crate::wire::server_id;
use crate::wire::token::Token;
use clap::{Args, Parser};
use log::LevelFilter;
use std::fmt::Display;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Bytes of text under way, and of bodies being read by a master. With what is made of them, the JSON of each round and
/// what a body is parsed into, a master stays within half of the 512 MiB that the compose file gives it.
const PENDING_BYTES_DEFAULT: usize = 48 << 20;
const BODIES_BYTES_DEFAULT: usize = 48 << 20;
/// Bytes of bodies being read by a secondary: one call as large as a call may be, and others.
const CALL_BODIES_BYTES_DEFAULT: usize = 96 << 20;
/// Less would leave a reader without a page.
const CACHE_BYTES_MIN: usize = 256 << 10;
/// No artificial delay, time-out or interval is longer than this.
const DURATION_MAX_S: f64 = 86_400.0;

/// What both kinds of node can be told.
#[derive(Args, Debug, Default)]
pub struct CommonFlags {
    /// Address to listen on; 0.0.0.0 for all. [env: BIND] [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// Name of this node in replies and logs. [env: SERVER_ID]
    #[arg(long, global = true, value_name = "NAME")]
    pub server_id: Option<String>,
    /// Directory of the data; "memory" keeps nothing. [env: DATA_DIR] [default: ./data/SERVER_ID]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub data_dir: Option<String>,
    /// Bytes of memory for pages of the database, for writing and for reading each. [env: CACHE_BYTES] [default: 8388608]
    #[arg(long, value_name = "BYTES")]
    pub cache_bytes: Option<String>,
    /// Directory of the log files. [env: LOG_DIR] [default: ./logs/SERVER_ID]
    #[arg(long, value_name = "DIRECTORY")]
    pub log_dir: Option<String>,
    /// What is logged: error, warn, info, debug. [env: LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Bytes at which a log file is put aside. [env: LOG_FILE_BYTES] [default: 10485760]
    #[arg(long, value_name = "BYTES")]
    pub log_file_bytes: Option<String>,
    /// Log files kept, the current one included. [env: LOG_FILES] [default: 5]
    #[arg(long, value_name = "NUMBER")]
    pub log_files: Option<String>,
    /// How GET /messages lists messages: objects or text. [env: MESSAGE_VIEW] [default: objects]
    #[arg(long, value_name = "VIEW")]
    pub message_view: Option<String>,
    /// Threads for slow requests. [env: MAX_THREADS] [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    pub max_threads: Option<String>,
    /// Bytes of request bodies that may be read at the same time; a quarter is for small ones. [env: MAX_BODIES_BYTES]
    /// [default: 50331648 on a master, 100663296 on a secondary]
    #[arg(long, value_name = "BYTES")]
    pub max_bodies_bytes: Option<String>,
    /// Open connections, about; each costs two open files. [env: MAX_CONNECTIONS] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub max_connections: Option<String>,
    /// Seconds after which a silent connection ends, or BODY_TIMEOUT if that is shorter. [env: IDLE_TIMEOUT] [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub idle_timeout: Option<String>,
    /// Seconds in which the body of a request has to arrive. [env: BODY_TIMEOUT] [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub body_timeout: Option<String>,
    /// Seconds for which a client may leave a reply unread. [env: WRITE_TIMEOUT] [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub write_timeout: Option<String>,
    /// Followers, and readers who wait, at the same time. [env: MAX_FOLLOWERS] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub max_followers: Option<String>,
    /// Seconds without a message after which a follower is sent a sign of life. [env: FOLLOW_HEARTBEAT] [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub follow_heartbeat: Option<String>,
    /// File with the token that nodes of this cluster show each other. [env: CLUSTER_TOKEN_FILE, or CLUSTER_TOKEN itself]
    #[arg(long, global = true, value_name = "FILE")]
    pub cluster_token_file: Option<String>,
    /// File with the token that clients show. [env: CLIENT_TOKEN_FILE, or CLIENT_TOKEN itself] [default: none is needed]
    #[arg(long, global = true, value_name = "FILE")]
    pub client_token_file: Option<String>,
    /// Names beside IP addresses, localhost and names without a dot under which this node is served without a token,
    /// separated by commas; *.example.org for all below. [env: ALLOW_HOSTS] [default: none]
    #[arg(long, value_name = "NAMES")]
    pub allow_hosts: Option<String>,
    /// Listen on an address that others reach without a cluster token: anybody there can change the cluster.
    /// [env: INSECURE=1] [default: 0]
    #[arg(long, global = true, value_name = "0 or 1", num_args = 0..=1, default_missing_value = "1")]
    pub insecure: Option<String>,
    /// Show faults when asked to with PUT /faults: for demonstrations and tests. [env: ENABLE_FAULTS=1] [default: 0]
    #[arg(long, value_name = "0 or 1", num_args = 0..=1, default_missing_value = "1")]
    pub enable_faults: Option<String>,
    /// Start nothing; ask the node that runs here with this configuration whether it is alive, and exit with 0 or 1.
    #[arg(long)]
    pub check_health: bool,
}

/// The master of a replicated log: takes messages, sends them to every secondary, and answers when all hold them.
#[derive(Debug, Default, Parser)]
#[command(
    name = "master",
    version,
    after_help = "Every option can be given as the environment variable named in [env: …]; the option wins.\n\n\
                  EXAMPLES\n  \
                  master --secondaries http://localhost:5001,http://localhost:5002\n  \
                  curl -X POST http://localhost:5000/messages -d '{\"message\": \"hello\"}'\n\n\
                  EXIT CODES\n  0  stopped as asked, alive, or done\n  1  could not go on, not alive, or not done\n  \
                  2  wrong configuration or command; nothing was started"
)]
pub struct MasterFlags {
    /// Port to listen on. [env: MASTER_PORT or PORT] [default: 5000]
    #[arg(long, global = true, value_name = "PORT")]
    pub port: Option<String>,
    /// Addresses of the secondaries, separated by commas. [env: SECONDARIES] [default: none]
    #[arg(long, value_name = "URLS")]
    pub secondaries: Option<String>,
    /// Copies that a message needs unless it says otherwise: a number of nodes, "majority" or "all". [env: WRITE_CONCERN]
    /// [default: all]
    #[arg(long, value_name = "COPIES")]
    pub write_concern: Option<String>,
    /// Healthy nodes, the master included, without which no writes are taken. [env: QUORUM] [default: more than half]
    #[arg(long, value_name = "NODES")]
    pub quorum: Option<String>,
    /// Idempotency keys that are known, the latest ones; each takes some 200 bytes of memory. [env: IDEMPOTENCY_KEYS]
    /// [default: 100000]
    #[arg(long, value_name = "NUMBER")]
    pub idempotency_keys: Option<String>,
    /// Seconds between two questions to a secondary whether it is well; after three without an answer it is unhealthy.
    /// [env: HEARTBEAT_INTERVAL] [default: 1]
    #[arg(long, value_name = "SECONDS")]
    pub heartbeat_interval: Option<String>,
    /// Seconds to wait for the acknowledgement of a secondary. [env: REPLICATION_TIMEOUT] [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub replication_timeout: Option<String>,
    /// Bytes of the longest message taken. [env: MAX_MESSAGE_BYTES] [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub max_message_bytes: Option<String>,
    /// Bytes of the longest request body taken. [env: MAX_BODY_BYTES] [default: 8388608]
    #[arg(long, value_name = "BYTES")]
    pub max_body_bytes: Option<String>,
    /// Messages that may are undecided at the same time. [env: MAX_PENDING] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    pub max_pending: Option<String>,
    /// Bytes of text of messages that may be under way at the same time; a quarter is for small ones.
    /// [env: MAX_PENDING_BYTES] [default: 50331648]
    #[arg(long, value_name = "BYTES")]
    pub max_pending_bytes: Option<String>,
    /// What both kinds of node can be told.
    #[command(flatten)]
    pub common: CommonFlags,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<MasterCommand>,
}

/// A secondary of a replicated log: holds what its master sends, acknowledges it, and serves readers.
#[derive(Debug, Default, Parser)]
#[command(
    name = "secondary",
    version,
    after_help = "Every option can be given as the environment variable named in [env: …]; the option wins.\n\n\
                  EXAMPLES\n  \
                  secondary --server-id secondary-1 --port 5001 --replication-delay 2.0 --master-url http://localhost:5000\n  \
                  curl http://localhost:5001/messages\n\n\
                  EXIT CODES\n  0  stopped as asked, alive, or done\n  1  could not go on, not alive, or not done\n  \
                  2  wrong configuration or command; nothing was started"
)]
pub struct SecondaryFlags {
    /// Port to listen on. [env: SECONDARY_PORT or PORT] [default: 5001]
    #[arg(long, global = true, value_name = "PORT")]
    pub port: Option<String>,
    /// Host under which the master reaches this node. [env: SECONDARY_HOST] [default: localhost]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Address of the master, to register there. [env: MASTER_URL] [default: none; the master knows this node]
    #[arg(long, value_name = "URL")]
    pub master_url: Option<String>,
    /// Artificial delay before an acknowledgement, in seconds. [env: REPLICATION_DELAY, or DELAY_MS in ms] [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub replication_delay: Option<String>,
    /// What both kinds of node can be told.
    #[command(flatten)]
    pub common: CommonFlags,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<SecondaryCommand>,
}

/// Everything that is wrong with a configuration, a sentence each.
pub(crate) type Faults = Vec<String>;

/// Looks a variable up; an empty one counts as not set, as compose files make them.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl MasterFlags {
    /// What they mean, with the environment.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub(crate) fn resolve(&self, environment: Environment<'_>) -> Result<MasterSettings, Faults> {
        let mut resolver = Resolver { environment, faults: Vec::new() };
        let message_bytes_max = resolver.number(
            &self.max_message_bytes,
            "--max-message-bytes",
            &["MAX_MESSAGE_BYTES"],
            1 << 20,
            1,
            WRITE_BYTES_CEILING,
        );
        let body_bytes_max =
            resolver.number(&self.max_body_bytes, "--max-body-bytes", &["MAX_BODY_BYTES"], 8 << 20, 1, CALL_BYTES_MAX);
        if body_bytes_max < message_bytes_max {
            resolver.faults.push(format!(
                "MAX_BODY_BYTES is {body_bytes_max}, but a message of MAX_MESSAGE_BYTES, {message_bytes_max}, must fit in"
            ));
        }
        let settings = MasterSettings {
            common: resolver.common(
                &self.common,
                &self.port,
                "MASTER_PORT",
                5000,
                |_| "master".to_owned(),
                "master.log",
                body_bytes_max,
                BODIES_BYTES_DEFAULT,
            ),
            secondaries: resolver.secondaries(&self.secondaries),
            replication_timeout: resolver.seconds(
                &self.replication_timeout,
                "--replication-timeout",
                "REPLICATION_TIMEOUT",
                30.0,
                0.01,
            ),
            heartbeat: resolver.seconds(
                &self.heartbeat_interval,
                "--heartbeat-interval",
                "HEARTBEAT_INTERVAL",
                1.0,
                0.05,
            ),
            write_concern: resolver.value(
                &self.write_concern,
                "--write-concern",
                &["WRITE_CONCERN"],
                Copies::All,
                Copies::parse,
            ),
            quorum: resolver.value(&self.quorum, "--quorum", &["QUORUM"], None, |text| match text.parse() {
                Ok(nodes) if nodes > 0 => Ok(Some(nodes)),
                _ => Err(format!("\"{}\" must be a number of nodes from 1", text.escape_debug())),
            }),
            keys_max: resolver.number(
                &self.idempotency_keys,
                "--idempotency-keys",
                &["IDEMPOTENCY_KEYS"],
                100_000,
                1,
                100_000_000,
            ),
            message_bytes_max,
            pending_max: resolver.number(&self.max_pending, "--max-pending", &["MAX_PENDING"], 10_000, 1, 1_000_000),
            pending_bytes_max: resolver.budget(
                &self.max_pending_bytes,
                "--max-pending-bytes",
                "MAX_PENDING_BYTES",
                PENDING_BYTES_DEFAULT,
                body_bytes_max,
            ),
        };
        resolver.finish(settings)
    }
}

impl SecondaryFlags {
    /// What they mean, with the environment.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub(crate) fn resolve(&self, environment: Environment<'_>) -> Result<SecondarySettings, Faults> {
        let mut resolver = Resolver { environment, faults: Vec::new() };
        let name = |port: u16| format!("secondary-{port}");
        let mut common = resolver.common(
            &self.common,
            &self.port,
            "SECONDARY_PORT",
            5001,
            name,
            "secondary.log",
            CALL_BYTES_MAX,
            CALL_BODIES_BYTES_DEFAULT,
        );
        let host = resolver.value(&self.host, "--host", &["SECONDARY_HOST"], "localhost".to_owned(), |host| {
            NodeUrl::new(host, 1).map(|url| url.host().to_owned())
        });
        common.access.hosts = common.access.hosts.and(&host);
        let settings = SecondarySettings {
            common,
            host,
            master_url: resolver
                .value(&self.master_url, "--master-url", &["MASTER_URL"], None, |url| NodeUrl::parse(url).map(Some)),
            delay: resolver.delay(&self.replication_delay),
        };
        resolver.finish(settings)
    }
}

struct Resolver<'a> {
    environment: Environment<'a>,
    faults: Faults,
}

impl Resolver<'_> {
    /// The first of flag and variables that is given, with its name.
    fn given(&self, flag: &Option<String>, flag_name: &str, variables: &[&str]) -> Option<(String, String)> {
        if let Some(value) = flag {
            return Some((flag_name.to_owned(), value.clone()));
        }
        variables.iter().find_map(|variable| {
            (self.environment)(variable).filter(|value| !value.is_empty()).map(|value| ((*variable).to_owned(), value))
        })
    }

    fn value<T>(
        &mut self,
        flag: &Option<String>,
        flag_name: &str,
        variables: &[&str],
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let Some((source, text)) = self.given(flag, flag_name, variables) else { return default };
        parse(text.trim()).unwrap_or_else(|why| {
            self.faults.push(format!("{source}: {why}"));
            default
        })
    }

    fn number<T: FromStr + PartialOrd + Display + Copy>(
        &mut self,
        flag: &Option<String>,
        flag_name: &str,
        variables: &[&str],
        default: T,
        min: T,
        max: T,
    ) -> T {
        self.value(flag, flag_name, variables, default, |text| match text.parse::<T>() {
            Ok(number) if number >= min && number <= max => Ok(number),
            _ => Err(format!("\"{}\" must be a whole number from {min} to {max}", text.escape_debug())),
        })
    }

    fn seconds(&mut self, flag: &Option<String>, flag_name: &str, variable: &str, default: f64, min: f64) -> Duration {
        let seconds = |text: &str| seconds_from(text, 1.0, min);
        self.value(flag, flag_name, &[variable], Duration::from_secs_f64(default), seconds)
    }

    /// `REPLICATION_DELAY` is in seconds, `DELAY_MS` in milliseconds.
    fn delay(&mut self, flag: &Option<String>) -> Duration {
        if self.given(flag, "--replication-delay", &["REPLICATION_DELAY"]).is_some() {
            return self.seconds(flag, "--replication-delay", "REPLICATION_DELAY", 0.0, 0.0);
        }
        self.value(&None, "", &["DELAY_MS"], Duration::ZERO, |text| seconds_from(text, 0.001, 0.0))
    }

    fn secondaries(&mut self, flag: &Option<String>) -> Vec<NodeUrl> {
        let Some((source, text)) = self.given(flag, "--secondaries", &["SECONDARIES"]) else { return Vec::new() };
        let mut urls: Vec<NodeUrl> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match NodeUrl::parse(part) {
                Ok(url) if urls.contains(&url) => self.faults.push(format!("{source}: {url} is listed twice")),
                Ok(url) => urls.push(url),
                Err(why) => self.faults.push(format!("{source}: {why}")),
            }
        }
        urls
    }

    #[allow(clippy::too_many_arguments, reason = "what differs between the two kinds of node, spelled out once each")]
    fn common(
        &mut self,
        flags: &CommonFlags,
        port: &Option<String>,
        port_variable: &str,
        default_port: u16,
        default_name: impl Fn(u16) -> String,
        log_file: &str,
        body_bytes_max: usize,
        bodies_bytes_default: usize,
    ) -> CommonSettings {
        let port = self.number(port, "--port", &[port_variable, "PORT"], default_port, 0, u16::MAX);
        let bind = self.value(&flags.bind, "--bind", &["BIND"], IpAddr::from([127, 0, 0, 1]), |text| {
            text.parse().map_err(|_| format!("\"{}\" must be an IP address, such as 0.0.0.0", text.escape_debug()))
        });
        let server_id =
            self.value(&flags.server_id, "--server-id", &["SERVER_ID"], default_name(port), server_id::parse);
        let data_dir = Some(PathBuf::from("data").join(&server_id));
        let data_dir = self.value(&flags.data_dir, "--data-dir", &["DATA_DIR"], data_dir, |text| {
            Ok((text != "memory").then(|| PathBuf::from(text)))
        });
        let cache_bytes = self.number(
            &flags.cache_bytes,
            "--cache-bytes",
            &["CACHE_BYTES"],
            CACHE_BYTES_DEFAULT,
            CACHE_BYTES_MIN,
            1 << 40,
        );
        let log_dir =
            self.value(&flags.log_dir, "--log-dir", &["LOG_DIR"], PathBuf::from("logs").join(&server_id), |text| {
                Ok(PathBuf::from(text))
            });
        let log = LogSettings {
            node: server_id.clone(),
            file: log_dir.join(log_file),
            level: self.value(&flags.log_level, "--log-level", &["LOG_LEVEL"], LevelFilter::Info, level),
            file_bytes_max: self.number(
                &flags.log_file_bytes,
                "--log-file-bytes",
                &["LOG_FILE_BYTES"],
                10 << 20,
                1_024,
                1 << 40,
            ),
            files_max: self.number(&flags.log_files, "--log-files", &["LOG_FILES"], 5, 1, 1_000),
        };
        let bodies_bytes_max = self.budget(
            &flags.max_bodies_bytes,
            "--max-bodies-bytes",
            "MAX_BODIES_BYTES",
            bodies_bytes_default,
            body_bytes_max,
        );
        let limits = Limits {
            body_bytes_max,
            bodies: Budget::new(bodies_bytes_max),
            threads_max: self.number(&flags.max_threads, "--max-threads", &["MAX_THREADS"], 1_024, 16, 65_536),
            connections_max: self.number(
                &flags.max_connections,
                "--max-connections",
                &["MAX_CONNECTIONS"],
                10_000,
                16,
                1_000_000,
            ),
            idle_timeout: self.seconds(&flags.idle_timeout, "--idle-timeout", "IDLE_TIMEOUT", 30.0, 1.0),
            body_timeout: self.seconds(&flags.body_timeout, "--body-timeout", "BODY_TIMEOUT", 30.0, 0.1),
            write_timeout: self.seconds(&flags.write_timeout, "--write-timeout", "WRITE_TIMEOUT", 10.0, 0.1),
            ..Limits::default()
        };
        let follow = FollowLimits {
            followers_max: self.number(
                &flags.max_followers,
                "--max-followers",
                &["MAX_FOLLOWERS"],
                10_000,
                0,
                1_000_000,
            ),
            heartbeat: self.seconds(&flags.follow_heartbeat, "--follow-heartbeat", "FOLLOW_HEARTBEAT", 10.0, 0.1),
        };
        let view = self.value(&flags.message_view, "--message-view", &["MESSAGE_VIEW"], View::default(), View::parse);
        let faults_enabled = self.flag(&flags.enable_faults, "--enable-faults", "ENABLE_FAULTS");
        let access = Access {
            cluster: self.token(&flags.cluster_token_file, "--cluster-token-file", "CLUSTER_TOKEN"),
            client: self.token(&flags.client_token_file, "--client-token-file", "CLIENT_TOKEN"),
            hosts: self.value(&flags.allow_hosts, "--allow-hosts", &["ALLOW_HOSTS"], Hosts::default(), Hosts::parse),
        };
        if access.client.is_some() && access.cluster.is_none() {
            self.faults
                .push("there is a CLIENT_TOKEN and no CLUSTER_TOKEN: nodes could not be told from others".to_owned());
        }
        let insecure = self.flag(&flags.insecure, "--insecure", "INSECURE");
        if !bind.is_loopback() && access.cluster.is_none() && !insecure {
            self.faults.push(format!(
                "BIND is {bind}, where others reach this node, and there is no CLUSTER_TOKEN: anybody could change the \
                 cluster. Set one, the same on every node, or say --insecure (INSECURE=1)"
            ));
        }
        let listen = SocketAddr::new(bind, port);
        CommonSettings { listen, server_id, data_dir, cache_bytes, log, view, limits, follow, access, faults_enabled }
    }

    /// Bytes of a budget, three quarters of which must have room for the largest request.
    fn budget(
        &mut self,
        flag: &Option<String>,
        flag_name: &str,
        variable: &str,
        default: usize,
        body_bytes_max: usize,
    ) -> usize {
        let least = Budget::least_for(body_bytes_max);
        self.value(flag, flag_name, &[variable], default.max(least), |text| match text.parse::<usize>() {
            Ok(bytes) if bytes >= least => Ok(bytes),
            _ => Err(format!(
                "\"{}\" must be a number of bytes from {least}: the largest request, {body_bytes_max} bytes, has to fit into \
                 three quarters of it",
                text.escape_debug()
            )),
        })
    }

    /// Yes or no; no by default.
    fn flag(&mut self, flag: &Option<String>, flag_name: &str, variable: &str) -> bool {
        self.value(flag, flag_name, &[variable], false, |text| match text {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(format!("\"{}\" must be 1 or 0", text.escape_debug())),
        })
    }

    /// A token, from a file or from a variable: the command line of a process can be read by everybody.
    fn token(&mut self, file: &Option<String>, flag_name: &str, variable: &str) -> Option<Token> {
        let file_variable = format!("{variable}_FILE");
        let from_file = self.value(file, flag_name, &[&file_variable], None, |path| {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("\"{}\" cannot be read: {error}", path.escape_debug()))?;
            Token::parse(&text).map(Some)
        });
        let itself = self.value(&None, "", &[variable], None, |text| Token::parse(text).map(Some));
        if from_file.is_some() && itself.is_some() {
            self.faults.push(format!("{variable} and a file with the token are both given; give one"));
        }
        from_file.or(itself)
    }

    fn finish<T>(self, settings: T) -> Result<T, Faults> {
        if self.faults.is_empty() { Ok(settings) } else { Err(self.faults) }
    }
}

fn seconds_from(text: &str, unit_s: f64, min_s: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if number * unit_s >= min_s && number * unit_s <= DURATION_MAX_S => {
            Ok(Duration::from_secs_f64(number * unit_s))
        }
        _ => Err(format!(
            "\"{}\" must be a number from {} to {}, such as {}",
            text.escape_debug(),
            min_s / unit_s,
            DURATION_MAX_S / unit_s,
            1.5 / unit_s
        )),
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    LevelFilter::from_str(text)
        .map_err(|_| format!("\"{}\" must be one of error, warn, info, debug, trace, off", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(flags: &MasterFlags, variables: &[(&str, &str)]) -> Result<MasterSettings, Faults> {
        let environment =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        flags.resolve(&environment)
    }

    fn secondary(variables: &[(&str, &str)]) -> Result<SecondarySettings, Faults> {
        let environment =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        SecondaryFlags::default().resolve(&environment)
    }

    #[test]
    fn the_flag_wins_over_the_specific_variable_over_the_general_one() {
        let port = |flag: Option<&str>, variables: &[(&str, &str)]| {
            let flags = MasterFlags { port: flag.map(str::to_owned), ..MasterFlags::default() };
            master(&flags, variables).unwrap().common.listen.port()
        };
        assert_eq!(port(None, &[]), 5000);
        assert_eq!(port(None, &[("PORT", "8000")]), 8000);
        assert_eq!(port(None, &[("PORT", "8000"), ("MASTER_PORT", "7000")]), 7000);
        assert_eq!(port(Some("6000"), &[("PORT", "8000"), ("MASTER_PORT", "7000")]), 6000);
        assert_eq!(port(None, &[("MASTER_PORT", "")]), 5000, "an empty variable is not set");
    }

    #[test]
    fn a_delay_is_given_in_seconds_or_in_milliseconds() {
        let delay = |variables: &[(&str, &str)]| secondary(variables).unwrap().delay;
        assert_eq!(delay(&[]), Duration::ZERO);
        assert_eq!(delay(&[("DELAY_MS", "1500")]), Duration::from_millis(1_500));
        assert_eq!(delay(&[("DELAY_MS", "1500"), ("REPLICATION_DELAY", "2.0")]), Duration::from_secs(2));
    }

    #[test]
    fn all_faults_are_told_at_once_by_the_name_of_their_source() {
        let faults = master(
            &MasterFlags { port: Some("eighty".to_owned()), ..MasterFlags::default() },
            &[
                ("SECONDARIES", "http://a:1,ftp://b:2,http://a:1/"),
                ("BIND", "everywhere"),
                ("SERVER_ID", "../master"),
                ("LOG_LEVEL", "loud"),
                ("REPLICATION_TIMEOUT", "NaN"),
                ("MAX_MESSAGE_BYTES", "2000"),
                ("MAX_BODY_BYTES", "1000"),
            ],
        )
        .unwrap_err();
        for name in [
            "--port",
            "SECONDARIES",
            "BIND",
            "SERVER_ID",
            "LOG_LEVEL",
            "REPLICATION_TIMEOUT",
            "MAX_BODY_BYTES",
            "twice",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(name)), "{name} in {faults:#?}");
        }
        assert_eq!(faults.len(), 8, "{faults:#?}");
        assert_eq!(secondary(&[("REPLICATION_DELAY", "-1"), ("MASTER_URL", "localhost:5000")]).unwrap_err().len(), 2);
    }
}
