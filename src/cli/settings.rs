//! The settings of both roles: the tables from which come the command line, its `--help` and the checks, and what the
//! settings mean.
//!
//! A flag wins over the specific variable, that over the general one, that over the default. Every fault is found
//! before anything starts, and all of them are reported at once.

use super::commands::{MasterCommand, SecondaryCommand};
use super::quantity;
use super::table::Check::{Other, Seconds, Switch, Whole};
use super::table::{Environment, Faults, Reader, Row, Values, seconds, table};
use crate::http::Limits;
use crate::master::{ForAbsent, MasterSettings, Retention};
use crate::node::access::Access;
use crate::node::hosts::Hosts;
use crate::node::logging::LogSettings;
use crate::node::origins::Origins;
use crate::node::reading::FollowLimits;
use crate::node::settings::CommonSettings;
use crate::process::budget::Budget;
use crate::process::text::version;
use crate::protocol::Promotion;
use crate::secondary::SecondarySettings;
use crate::succession::NodeSettings;
use crate::wire::address::NodeUrl;
use crate::wire::batch::WRITE_BYTES_CEILING;
use crate::wire::client::{Copies, View};
use crate::wire::node::CALL_BYTES_MAX;
use crate::wire::server_id;
use crate::wire::token::Token;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Less would leave a reader without a page.
const CACHE_BYTES_MIN: usize = 256 << 10;

/// Settings that only a master has. With their defaults for bytes of text under way and of bodies, the JSON of each
/// round and what a body is parsed into, a master stays within half of the 512 MiB that the compose file gives it.
const MASTER: &[Row] = table! {
    "port" "PORT" Whole(0, 65_535), "5000", "Port to listen on.", ["MASTER_PORT", "PORT"];
    "host" "HOST" Other, "localhost", "Host under which other nodes reach this one.", ["MASTER_HOST"];
    "promotion" "on or off" Other, "as the log says; off for a new one",
        "Whether a secondary can be promoted while this node is away; on suits three nodes or more.";
    "secondaries" "URLS" Other, "none", "Addresses of the secondaries, separated by commas.";
    "write-concern" "COPIES" Other, "all",
        "Copies that a message needs unless it says otherwise: a number of nodes, \"majority\" or \"all\".";
    "quorum" "NODES" Other, "more than half",
        "Healthy nodes, the master included, without which no writes are taken.";
    "idempotency-keys" "NUMBER" Whole(1, 100_000_000), "100000",
        "Idempotency keys that the master knows, the latest ones; each takes some 200 bytes of memory.";
    "ack-timeout" "SECONDS" Seconds(0.0), "0",
        "Seconds that a message waits for missing nodes unless it says otherwise; 0 to refuse it at once.";
    "heartbeat-interval" "SECONDS" Seconds(0.05), "1",
        "Seconds between two health checks of a secondary; after three without an answer it is unhealthy.";
    "replication-timeout" "SECONDS" Seconds(0.01), "30", "Seconds to wait for the acknowledgement of a secondary.";
    "retain-messages" "NUMBER" Other, "all", "Messages that are kept; older ones are dropped on every node.";
    "retain-bytes" "SIZE" Other, "all",
        "Size of the database from which the oldest messages are dropped, such as 20GiB.";
    "retain-age" "TIME" Other, "for ever", "How long messages are kept, such as 12h or 90d.";
    "retain-for-absent" "SIZE or TIME" Other, "1GiB",
        "What is kept longer while a secondary that lacks it is away: so much, or for so long; then it begins anew.";
    "max-message-bytes" "BYTES" Whole(1, WRITE_BYTES_CEILING), "1048576", "Bytes of the longest message taken.";
    "max-body-bytes" "BYTES" Whole(1, CALL_BYTES_MAX), "8388608", "Bytes of the longest request body taken.";
    "max-pending" "NUMBER" Whole(1, 1_000_000), "10000", "Messages that may be pending at the same time.";
    "max-pending-bytes" "BYTES" Other, "50331648",
        "Bytes of text of messages that may be under way at the same time; a quarter is for small ones.";
    "max-bodies-bytes" "BYTES" Other, "50331648",
        "Bytes of request bodies that may be read at the same time; a quarter is for small ones.";
    "server-id" "NAME" Other, "master", "Name of this node in replies and logs.";
};

/// Settings that only a secondary has. The default for bytes of bodies is room for one call as large as a call may be,
/// and others.
const SECONDARY: &[Row] = table! {
    "port" "PORT" Whole(0, 65_535), "5001", "Port to listen on.", ["SECONDARY_PORT", "PORT"];
    "host" "HOST" Other, "localhost", "Host under which the master reaches this node.", ["SECONDARY_HOST"];
    "master-url" "URLS" Other, "none; the master knows this node",
        "Address of the master, to register there; several, separated by commas, if other nodes may come to lead.";
    "forward" "0 or 1" Switch, "1",
        "Pass posts on to the master and give back its replies; 0 to redirect their clients instead.";
    "public-url" "URL" Other, "the address that this node knows",
        "Address under which clients reach the master, for redirects.";
    "replication-delay" "SECONDS" Seconds(0.0), "0",
        "Artificial delay before an acknowledgement, in seconds; DELAY_MS gives it in milliseconds.";
    "max-bodies-bytes" "BYTES" Other, "100663296",
        "Bytes of request bodies that may be read at the same time; a quarter is for small ones.";
    "server-id" "NAME" Other, "secondary-PORT", "Name of this node in replies and logs.";
};

/// Settings that both have.
const COMMON: &[Row] = table! {
    "bind" "ADDRESS" Other, "127.0.0.1", "Address to listen on; 0.0.0.0 for all.";
    "data-dir" "DIRECTORY" Other, "./data/SERVER_ID", "Directory of the data; \"memory\" keeps nothing.";
    "cache-bytes" "BYTES" Whole(CACHE_BYTES_MIN, 1 << 40), "2097152",
        "Bytes of memory for pages of the database, for writing and for reading each.";
    "log-dir" "DIRECTORY" Other, "./logs/SERVER_ID", "Directory of the log files.";
    "log-level" "LEVEL" Other, "info", "What is logged: error, warn, info, debug.";
    "log-file-bytes" "BYTES" Whole(1_024, 1 << 40), "10485760", "Bytes at which a new log file is begun.";
    "log-files" "NUMBER" Whole(1, 1_000), "5", "Log files kept, the current one included.";
    "message-view" "VIEW" Other, "objects", "How GET /messages lists messages: objects or text.";
    "max-threads" "NUMBER" Whole(16, 65_536), "1024", "Threads for slow requests.";
    "max-connections" "NUMBER" Whole(16, 1_000_000), "10000", "Open connections, about; each costs two open files.";
    "idle-timeout" "SECONDS" Seconds(1.0), "30",
        "Seconds after which a silent connection ends, or BODY_TIMEOUT if that is shorter.";
    "body-timeout" "SECONDS" Seconds(0.1), "30", "Seconds in which the body of a request has to arrive.";
    "write-timeout" "SECONDS" Seconds(0.1), "10", "Seconds for which a client may leave a reply unread.";
    "max-followers" "NUMBER" Whole(0, 1_000_000), "10000", "Followers, and readers that wait, at the same time.";
    "follow-heartbeat" "SECONDS" Seconds(0.1), "10",
        "Seconds without a message after which a follower is sent a heartbeat.";
    "cluster-token-file" "FILE" Other, "none",
        "File with the token that nodes of this cluster show each other; CLUSTER_TOKEN is the token itself.";
    "client-token-file" "FILE" Other, "none; clients need no token",
        "File with the token that clients show; CLIENT_TOKEN is the token itself.";
    "allow-hosts" "NAMES" Other, "none",
        "Names beside IP addresses, localhost and names without a dot under which this node is served without a token, \
         separated by commas; *.example.org for all below.";
    "allow-origin" "ORIGINS" Other, "none",
        "Sites whose pages may use this node from a browser, such as https://app.example.org, separated by commas; * for \
         all.";
    "insecure" "0 or 1" Switch, "0",
        "Listen without a cluster token on an address that others reach: any of them can change the cluster.";
    "enable-faults" "0 or 1" Switch, "0",
        "Show faults when asked to with PUT /faults: for demonstrations and tests.";
};

/// Variables without a flag.
const VARIABLES: [&str; 4] = ["CLIENT_TOKEN", "CLUSTER_TOKEN", "DELAY_MS", "STOP_WITH_PARENT"];

/// Variables that are set and name no setting, each with the setting that it may be meant for. The environment of a
/// process has many other variables, so these are no faults.
pub(super) fn misspelt(variables: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let rows = [MASTER, SECONDARY, COMMON].into_iter().flatten();
    let known: Vec<String> = rows.flat_map(Row::variables).chain(VARIABLES.map(str::to_owned)).collect();
    let meant = |name: &String| {
        let is_near = |known: &&String| {
            let letters_per_mistake = 5;
            strsim::damerau_levenshtein(known, name) <= known.len().min(name.len()) / letters_per_mistake
        };
        known.iter().find(is_near).cloned()
    };
    let unknown = variables.filter(|name| !known.contains(name));
    unknown.filter_map(|name| meant(&name).map(|meant| (name, meant))).collect()
}

/// Flags that may stand behind a subcommand, too.
const GLOBAL: [&str; 6] = ["port", "server-id", "data-dir", "cluster-token-file", "client-token-file", "insecure"];

/// The command line of a node, whose subcommands are `C`.
#[derive(Debug)]
pub struct Flags<C> {
    values: Values,
    pub(super) check_health: bool,
    /// What to do instead of serving.
    pub(super) command: Option<C>,
}

/// The command line of a master.
pub type MasterFlags = Flags<MasterCommand>;
/// The command line of a secondary.
pub type SecondaryFlags = Flags<SecondaryCommand>;

/// What differs between the command lines of the roles.
pub(super) trait Role: Subcommand {
    /// The name of the program.
    const NAME: &str;
    /// What it is.
    const ABOUT: &str;
    /// Commands to try.
    const EXAMPLES: &str;
    /// Its settings beside those of all nodes.
    const TABLE: &[Row];
}

impl Role for MasterCommand {
    const NAME: &str = "master";
    const ABOUT: &str =
        "The master of a replicated log: takes messages, sends them to every secondary, and answers when all hold them";
    const EXAMPLES: &str = "  master --secondaries http://localhost:5001,http://localhost:5002\n  \
                            curl -X POST http://localhost:5000/messages -d '{\"message\": \"hello\"}'";
    const TABLE: &[Row] = MASTER;
}

impl Role for SecondaryCommand {
    const NAME: &str = "secondary";
    const ABOUT: &str =
        "A secondary of a replicated log: holds what its master sends, acknowledges it, and serves readers";
    const EXAMPLES: &str = "  secondary --server-id secondary-1 --port 5001 --replication-delay 2.0 --master-url \
                            http://localhost:5000\n  \
         curl http://localhost:5001/messages";
    const TABLE: &[Row] = SECONDARY;
}

impl<C> Default for Flags<C> {
    fn default() -> Flags<C> {
        Flags { values: Values::new(), check_health: false, command: None }
    }
}

fn reader<'a, C: Role>(flags: &'a Flags<C>, environment: Environment<'a>) -> Reader<'a> {
    Reader { tables: [C::TABLE, COMMON], values: &flags.values, environment, faults: Faults::new() }
}

impl MasterFlags {
    /// What they mean, with the environment.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub(crate) fn resolve(&self, environment: Environment<'_>) -> Result<NodeSettings, Faults> {
        let mut reader = reader(self, environment);
        let (port, body_bytes_max) = (reader.number("port"), reader.number("max-body-bytes"));
        let mut common = common(&mut reader, port, "master", "master.log", body_bytes_max);
        let (host, secondaries) = (host(&mut reader), urls(&mut reader, "secondaries"));
        common.access.hosts = common.access.hosts.and(&host);
        let leading = leading(&mut reader, common.clone(), host.clone(), secondaries);
        let mut others = Reader { tables: [SECONDARY, COMMON], ..reader };
        let following = following(&mut others, common, host);
        others.finish(NodeSettings { leading, following })
    }
}

impl SecondaryFlags {
    /// What they mean, with the environment.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub(crate) fn resolve(&self, environment: Environment<'_>) -> Result<NodeSettings, Faults> {
        let mut reader = reader(self, environment);
        let port = reader.number("port");
        let mut common = common(&mut reader, port, &format!("secondary-{port}"), "secondary.log", CALL_BYTES_MAX);
        let host = host(&mut reader);
        common.access.hosts = common.access.hosts.and(&host);
        let following = following(&mut reader, common.clone(), host.clone());
        let mut others = Reader { tables: [MASTER, COMMON], ..reader };
        let leading = leading(&mut others, common, host, Vec::new());
        others.finish(NodeSettings { leading, following })
    }
}

/// What a node leads with.
fn leading(reader: &mut Reader<'_>, common: CommonSettings, host: String, secondaries: Vec<NodeUrl>) -> MasterSettings {
    let message_bytes_max = reader.number("max-message-bytes");
    let body_bytes_max = reader.number("max-body-bytes");
    if body_bytes_max < message_bytes_max {
        reader.faults.push(format!(
            "MAX_BODY_BYTES is {body_bytes_max}, but a message of MAX_MESSAGE_BYTES, {message_bytes_max}, must fit in"
        ));
    }
    let retention = retention(reader, &common);
    MasterSettings {
        common,
        host,
        secondaries,
        promotion: reader.optional("promotion", |text| match text {
            "on" => Ok(Promotion::On),
            "off" => Ok(Promotion::Off),
            _ => Err(format!("\"{}\" must be on or off", text.escape_debug())),
        }),
        replication_timeout: reader.seconds("replication-timeout"),
        heartbeat: reader.seconds("heartbeat-interval"),
        write_concern: reader.value("write-concern", Copies::parse),
        ack_timeout: reader.seconds("ack-timeout"),
        quorum: reader.optional("quorum", |text| match text.parse() {
            Ok(nodes) if nodes > 0 => Ok(nodes),
            _ => Err(format!("\"{}\" must be a number of nodes from 1", text.escape_debug())),
        }),
        keys_max: reader.number("idempotency-keys"),
        retention,
        message_bytes_max,
        body_bytes_max,
        pending_max: reader.number("max-pending"),
        pending_bytes_max: budget(reader, "max-pending-bytes", body_bytes_max),
    }
}

/// What is kept of the log.
fn retention(reader: &mut Reader<'_>, common: &CommonSettings) -> Retention {
    let retention = Retention {
        messages: reader.optional("retain-messages", |text| match text.parse() {
            Ok(messages) if messages > 0 => Ok(messages),
            _ => Err(format!("\"{}\" must be a number of messages from 1", text.escape_debug())),
        }),
        bytes: reader.optional("retain-bytes", quantity::bytes),
        age: reader.optional("retain-age", quantity::time),
        for_absent: reader.value("retain-for-absent", |text| {
            let time = quantity::time(text).map(ForAbsent::Younger);
            time.or_else(|_| quantity::bytes(text).map(ForAbsent::Bytes))
                .map_err(|_| format!("\"{}\" must be a size or a time, such as 1GiB or 24h", text.escape_debug()))
        }),
    };
    if retention.bytes.is_some() && common.data_dir.is_none() {
        reader.faults.push("RETAIN_BYTES limits a database, and DATA_DIR=memory has none".to_owned());
    }
    retention
}

/// What a node follows with.
fn following(reader: &mut Reader<'_>, common: CommonSettings, host: String) -> SecondarySettings {
    let delay = match reader.given(reader.row("replication-delay")) {
        Some(_) => reader.seconds("replication-delay"),
        None => reader.variable_alone("DELAY_MS", |text| seconds(text, 0.001, 0.0)).unwrap_or_default(),
    };
    SecondarySettings {
        common,
        host,
        master_urls: urls(reader, "master-url"),
        forward: reader.switch("forward"),
        public_url: reader.optional("public-url", public_url),
        delay,
    }
}

/// Reads an address for clients: it may be that of a proxy, with TLS and a path.
fn public_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_url = rest.is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()) && !rest.contains(['?', '#', '@'])
    });
    if is_url {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(format!(
        "\"{}\" must be a URL without a query, such as http://localhost:5000 or https://log.example.org",
        text.escape_debug()
    ))
}

fn common(reader: &mut Reader<'_>, port: u16, name: &str, log_file: &str, body_bytes_max: usize) -> CommonSettings {
    let bind: IpAddr = reader.value("bind", |text| {
        text.parse().map_err(|_| format!("\"{}\" must be an IP address, such as 0.0.0.0", text.escape_debug()))
    });
    let server_id = reader.optional("server-id", server_id::parse).unwrap_or_else(|| name.to_owned());
    let data_dir = reader.optional("data-dir", |text| Ok((text != "memory").then(|| PathBuf::from(text))));
    let data_dir = data_dir.unwrap_or_else(|| Some(PathBuf::from("data").join(&server_id)));
    let log_dir = reader.optional("log-dir", |text| Ok(PathBuf::from(text)));
    let log_dir = log_dir.unwrap_or_else(|| PathBuf::from("logs").join(&server_id));
    let access = Access {
        cluster: token(reader, "cluster-token-file", "CLUSTER_TOKEN"),
        client: token(reader, "client-token-file", "CLIENT_TOKEN"),
        hosts: reader.optional("allow-hosts", Hosts::parse).unwrap_or_default(),
        origins: reader.optional("allow-origin", Origins::parse).unwrap_or_default(),
    };
    if access.client.is_some() && access.cluster.is_none() {
        let why = "there is a CLIENT_TOKEN and no CLUSTER_TOKEN: nodes and clients could not be distinguished";
        reader.faults.push(why.to_owned());
    }
    if !reader.switch("insecure") && !bind.is_loopback() && access.cluster.is_none() {
        reader.faults.push(format!(
            "BIND is {bind}, where others reach this node, and there is no CLUSTER_TOKEN: any of them could change the \
             cluster. Set one, the same on every node, or say --insecure (INSECURE=1)"
        ));
    }
    CommonSettings {
        listen: SocketAddr::new(bind, port),
        data_dir,
        cache_bytes: reader.number("cache-bytes"),
        log: LogSettings {
            node: server_id.clone(),
            file: log_dir.join(log_file),
            level: reader.value("log-level", level),
            file_bytes_max: reader.number("log-file-bytes"),
            files_max: reader.number("log-files"),
        },
        server_id,
        view: reader.value("message-view", View::parse),
        limits: Limits {
            body_bytes_max,
            bodies: Budget::new(budget(reader, "max-bodies-bytes", body_bytes_max)),
            threads_max: reader.number("max-threads"),
            connections_max: reader.number("max-connections"),
            idle_timeout: reader.seconds("idle-timeout"),
            body_timeout: reader.seconds("body-timeout"),
            write_timeout: reader.seconds("write-timeout"),
            ..Limits::default()
        },
        follow: FollowLimits {
            followers_max: reader.number("max-followers"),
            heartbeat: reader.seconds("follow-heartbeat"),
        },
        access,
        faults_enabled: reader.switch("enable-faults"),
    }
}

/// The host under which other nodes reach this one.
fn host(reader: &mut Reader<'_>) -> String {
    reader.value("host", |host| NodeUrl::new(host, 1).map(|url| url.host().to_owned()))
}

/// A list of addresses.
fn urls(reader: &mut Reader<'_>, flag: &str) -> Vec<NodeUrl> {
    let Some((source, text)) = reader.given(reader.row(flag)) else { return Vec::new() };
    let mut urls: Vec<NodeUrl> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match NodeUrl::parse(part) {
            Ok(url) if urls.contains(&url) => reader.faults.push(format!("{source}: {url} is listed twice")),
            Ok(url) => urls.push(url),
            Err(_) if part.contains(char::is_whitespace) => {
                reader
                    .faults
                    .push(format!("{source}: \"{}\" has a blank; separate addresses by commas", part.escape_debug()));
            }
            Err(why) => reader.faults.push(format!("{source}: {why}")),
        }
    }
    urls
}

/// Bytes of a budget, three quarters of which must have room for the largest request. The default grows with that.
fn budget(reader: &mut Reader<'_>, flag: &str, body_bytes_max: usize) -> usize {
    let least = Budget::least_for(body_bytes_max);
    let default = reader.row(flag).default.parse().unwrap_or(least);
    let given = reader.optional(flag, |text| match text.parse::<usize>() {
        Ok(bytes) if bytes >= least => Ok(bytes),
        _ => Err(format!(
            "\"{}\" must be a number of bytes from {least}: the largest request, {body_bytes_max} bytes, has to fit \
             into three quarters of it",
            text.escape_debug()
        )),
    });
    given.unwrap_or(least.max(default))
}

/// A token, from a file or from a variable: other users of the machine can read the command line of a process.
fn token(reader: &mut Reader<'_>, flag: &str, variable: &str) -> Option<Token> {
    let from_file = reader.optional(flag, |path| {
        let text =
            fs::read_to_string(path).map_err(|error| format!("\"{}\" cannot be read: {error}", path.escape_debug()))?;
        Token::parse(&text)
    });
    let itself = reader.variable_alone(variable, Token::parse);
    if from_file.is_some() && itself.is_some() {
        reader.faults.push(format!("{variable} and a file with the token are both given; give one"));
    }
    from_file.or(itself)
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| format!("\"{}\" must be one of error, warn, info, debug, trace, off", text.escape_debug()))
}

impl<C: Role> CommandFactory for Flags<C> {
    fn command() -> Command {
        let settings = C::TABLE.iter().chain(COMMON);
        let settings = settings.map(|row| row.argument().global(GLOBAL.contains(&row.flag)));
        let check_health = Arg::new("check-health").long("check-health").action(ArgAction::SetTrue).help(
            "Start nothing; ask the node that runs here with this configuration whether it is alive, and exit with 0 \
             or 1",
        );
        let program = C::augment_subcommands(Command::new(C::NAME).version(version()).args(settings).arg(check_health));
        program.about(C::ABOUT).after_help(format!(
            "Every option can be given as the environment variable named in [env: …]; the option wins.\n\n\
             EXAMPLES\n{}\n\n\
             EXIT CODES\n  0  stopped as asked, alive, or done\n  1  could not go on, not alive, or not done\n  \
             2  wrong configuration or command; nothing was started",
            C::EXAMPLES
        ))
    }

    fn command_for_update() -> Command {
        Self::command()
    }
}

impl<C: Role> FromArgMatches for Flags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags<C>, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for id in matches.ids() {
            if let Ok(Some(value)) = matches.try_get_one::<String>(id.as_str()) {
                self.values.insert(id.to_string(), value.clone());
            }
        }
        self.check_health = matches.get_flag("check-health");
        self.command = matches.subcommand_name().map(|_| C::from_arg_matches(matches)).transpose()?;
        Ok(())
    }
}

impl<C: Role> Parser for Flags<C> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn environment(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    }

    fn master(flags: &[&str], variables: &[(&str, &str)]) -> Result<MasterSettings, Faults> {
        let flags = MasterFlags::parse_from([&["master"], flags].concat());
        flags.resolve(&environment(variables)).map(|settings| settings.leading)
    }

    fn secondary(variables: &[(&str, &str)]) -> Result<SecondarySettings, Faults> {
        SecondaryFlags::default().resolve(&environment(variables)).map(|settings| settings.following)
    }

    #[test]
    fn the_tables_make_sound_command_lines() {
        for command in [MasterFlags::command(), SecondaryFlags::command()] {
            assert!(command.get_about().unwrap().to_string().contains("of a replicated log"));
            command.debug_assert();
        }
    }

    #[test]
    fn a_flag_may_stand_behind_a_subcommand_and_a_switch_without_a_value() {
        let settings = master(&["verify", "--port", "6000", "--insecure"], &[("BIND", "0.0.0.0")]).unwrap();
        assert_eq!(settings.common.listen.to_string(), "0.0.0.0:6000");
        let flags = MasterFlags::parse_from(["master", "verify", "--data-dir", "here"]);
        assert!(matches!(flags.command, Some(MasterCommand::Verify)));
        assert!(master(&["--enable-faults"], &[]).unwrap().common.faults_enabled);
        assert!(!master(&["--enable-faults", "0"], &[("ENABLE_FAULTS", "1")]).unwrap().common.faults_enabled);
    }

    #[test]
    fn the_flag_wins_over_the_specific_variable_over_the_general_one() {
        let port = |flags: &[&str], variables: &[(&str, &str)]| master(flags, variables).unwrap().common.listen.port();
        assert_eq!(port(&[], &[]), 5000);
        assert_eq!(port(&[], &[("PORT", "8000")]), 8000);
        assert_eq!(port(&[], &[("PORT", "8000"), ("MASTER_PORT", "7000")]), 7000);
        assert_eq!(port(&["--port", "6000"], &[("PORT", "8000"), ("MASTER_PORT", "7000")]), 6000);
        assert_eq!(port(&[], &[("MASTER_PORT", "")]), 5000, "an empty variable is not set");
    }

    #[test]
    fn a_delay_is_given_in_seconds_or_in_milliseconds() {
        let delay = |variables: &[(&str, &str)]| secondary(variables).unwrap().delay;
        assert_eq!(delay(&[]), Duration::ZERO);
        assert_eq!(delay(&[("DELAY_MS", "1500")]), Duration::from_millis(1_500));
        assert_eq!(delay(&[("DELAY_MS", "1500"), ("REPLICATION_DELAY", "2.0")]), Duration::from_secs(2));
    }

    #[test]
    fn all_faults_are_reported_at_once_by_the_name_of_their_source() {
        let faults = master(
            &["--port", "eighty"],
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
