//! Runs a node or a command, from the command line to the exit code.

use super::commands;
use super::exit::{EXIT_FAILED, EXIT_USAGE};
use super::settings::{self, MasterFlags, SecondaryFlags};
use super::table::Faults;
use crate::http::{self, Server};
use crate::node::logging::{self, NodeLog};
use crate::node::settings::CommonSettings;
use crate::process::console::Console;
use crate::process::{random, shutdown};
use crate::protocol::{CopyId, Id, Promotion};
use crate::store::{Disk, Memory, Store};
use crate::succession::{NodeSettings, Program, RoleService, Roles};
use crate::wire::token::Token;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long the last line waits for an error output that blocks.
const COMPLAINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a master until a signal stops it, or the command that the command line names.
#[must_use]
pub fn master(flags: &MasterFlags) -> ExitCode {
    shutdown::ignore_file_size_signal();
    let settings = match flags.resolve(&environment) {
        Ok(settings) => settings,
        Err(faults) => return refuse("master", &faults),
    };
    match &flags.command {
        _ if flags.check_health => commands::check_health("master", &settings.leading.common),
        Some(command) => commands::of_master(command, &settings.leading.common),
        None => run("master", Program::Master, settings),
    }
}

/// Runs a secondary until a signal stops it, or the command that the command line names.
#[must_use]
pub fn secondary(flags: &SecondaryFlags) -> ExitCode {
    shutdown::ignore_file_size_signal();
    let settings = match flags.resolve(&environment) {
        Ok(settings) => settings,
        Err(faults) => return refuse("secondary", &faults),
    };
    match &flags.command {
        _ if flags.check_health => commands::check_health("secondary", &settings.following.common),
        Some(command) => commands::of_secondary(command, &settings.following.common),
        None => run("secondary", Program::Secondary, settings),
    }
}

/// Warns of variables that look like settings, and are none.
#[allow(clippy::disallowed_methods, reason = "beside `environment`, the one place where the environment is read")]
fn warn_of_misspelt_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, meant) in settings::misspelt(names) {
        log::warn!("the variable {} is set, and no setting has this name; is {meant} meant?", name.escape_debug());
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The token with which this process calls nodes: the one that a master with this environment has.
pub(crate) fn own_token() -> Option<Token> {
    let settings = MasterFlags::default().resolve(&environment).ok()?;
    settings.leading.common.access.own().cloned()
}

fn refuse(role: &str, faults: &Faults) -> ExitCode {
    let faults: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    complain(&format!(
        "{role}: the configuration is wrong; nothing was started{faults}\n{role} --help lists the settings"
    ));
    ExitCode::from(EXIT_USAGE)
}

/// Writes to the error output why this process ends. An output that blocks does not keep it from ending.
fn complain(why: &str) {
    Console::stderr().write(format!("{why}\n").as_bytes(), COMPLAINT_TIMEOUT);
}

fn run(role: &str, program: Program, settings: NodeSettings) -> ExitCode {
    let common = &settings.leading.common.clone();
    let signals = match shutdown::watch() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&format!("{role}: cannot watch for signals: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let listener = match http::bind(common.listen, &common.limits) {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!(
                "{role}: cannot listen on {}: {error}; choose another --port, or stop the program that uses it",
                common.listen
            ));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let log = logging::start(&common.log);
    http::raise_descriptor_limit();
    warn_of_misspelt_variables();
    if !common.listen.ip().is_loopback() && common.access.cluster.is_none() {
        log::warn!("every client that reaches {} can change this cluster: there is no CLUSTER_TOKEN", common.listen);
    }
    if common.access.client.is_none() && common.access.origins.are_all() {
        log::warn!(
            "a page of any site can use a browser to read and write here: ALLOW_ORIGIN is * and there is no CLIENT_TOKEN"
        );
    }
    if common.access.client.is_none() && common.access.hosts.are_all() {
        log::warn!(
            "a page of any site can use a browser to read and write here: ALLOW_HOSTS is * and there is no CLIENT_TOKEN"
        );
    }
    let served = listener.local_addr().map_err(|error| error.to_string()).and_then(|address| {
        let store = open_store(role, common, &log)?;
        let settings = with_room_for_calls(program, settings, &*store)?;
        let limits = settings.leading.common.limits.clone();
        let node = Roles::start(program, settings, address.port(), store, log)?;
        let service = Arc::new(RoleService(Arc::clone(&node)));
        let server = Server::start(listener, limits, service).map_err(|error| error.to_string())?;
        log::info!("{} serves on http://{}", common.server_id, server.address());
        Ok((server, node))
    });
    match served {
        Ok((server, node)) => {
            let reason = signals.wait();
            log::info!("stopping because of {reason}");
            node.stop();
            server.stop();
            log::logger().flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("cannot start: {error}");
            log::logger().flush();
            complain(&format!("{role}: cannot start: {error}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// The settings of a node that may come to follow: the program of a master has less room for bodies otherwise.
fn with_room_for_calls(
    program: Program,
    mut settings: NodeSettings,
    store: &dyn Store,
) -> Result<NodeSettings, String> {
    let known = store.identity().map_err(|error| error.to_string())?;
    let promotes = known.is_some_and(|known| known.lineage.roster.allows_promotion());
    if program == Program::Master && (promotes || settings.leading.promotion == Some(Promotion::On)) {
        settings.take_calls();
    }
    Ok(settings)
}

fn open_store(role: &str, common: &CommonSettings, log: &NodeLog) -> Result<Arc<dyn Store>, String> {
    match &common.data_dir {
        Some(directory) => {
            let store = Disk::open_with_cache(directory, common.cache_bytes).map_err(|error| error.to_string())?;
            log::info!("the data directory is {}", directory.display());
            let is_empty = store.last() == Id::ZERO && store.identity().is_ok_and(|identity| identity.is_none());
            if is_empty && log.goes_on() {
                let otherwise = match role {
                    "master" => "put the directory back, or restore it with \"master restore\"",
                    _ => "put the directory back; otherwise its master sends everything again",
                };
                log::warn!(
                    "{} holds no log, though {} has lines of an earlier start of this node. If it held one, stop this node \
                     and {otherwise}",
                    directory.display(),
                    common.log.file.display()
                );
            }
            Ok(store)
        }
        None => {
            log::warn!("DATA_DIR is \"memory\", so this node loses its log when it ends");
            Ok(Arc::new(Memory::new(CopyId::new(random::bits_64()))))
        }
    }
}
