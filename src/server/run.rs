//! From the command line to a node in operation, and to its exit code.

use super::config::{
    CommonFlags, CommonSettings, Faults, MasterFlags, MasterSettings, SecondaryFlags, SecondarySettings,
};
use super::http::{self, Server, Service};
use super::logging::{self, EpochOfLog};
use super::master::{Master, MasterService};
use super::peer::Peers;
use super::secondary::{Secondary, SecondaryService};
use super::shutdown;
use super::verification;
use crate::store::{Disk, Memory, Store};
use crate::wire::address::NodeUrl;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The node stopped because something failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The configuration, the port or the data directory cannot be used; nothing was started.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Bounds the sending of a health check; peers bound the rest of a short question themselves.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a master until it is told to stop.
#[must_use]
pub fn master(flags: &MasterFlags) -> ExitCode {
    run(
        "master",
        MasterSettings::resolve(flags, &environment),
        &flags.common,
        |settings| settings.common.clone(),
        |settings, port, store, epoch| {
            let master = Master::start(settings, port, store, &epoch)?;
            let service: Arc<dyn Service> = Arc::new(MasterService(Arc::clone(&master)));
            Ok((service, Box::new(move || master.stop()) as Box<dyn FnOnce()>))
        },
    )
}

/// Runs a secondary until it is told to stop.
#[must_use]
pub fn secondary(flags: &SecondaryFlags) -> ExitCode {
    run(
        "secondary",
        SecondarySettings::resolve(flags, &environment),
        &flags.common,
        |settings| settings.common.clone(),
        |settings, port, store, epoch| {
            let secondary = Secondary::start(settings, port, store, epoch)?;
            let service: Arc<dyn Service> = Arc::new(SecondaryService(Arc::clone(&secondary)));
            Ok((service, Box::new(move || secondary.stop()) as Box<dyn FnOnce()>))
        },
    )
}

#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What a node serves with, and how it is stopped.
type Node = (Arc<dyn Service>, Box<dyn FnOnce()>);

fn run<S>(
    role: &str,
    settings: Result<S, Faults>,
    flags: &CommonFlags,
    common: impl Fn(&S) -> CommonSettings,
    start: impl FnOnce(S, u16, Arc<dyn Store>, EpochOfLog) -> Result<Node, String>,
) -> ExitCode {
    let settings = match settings {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("{role}: the configuration is wrong; nothing was started");
            for fault in faults {
                eprintln!("  {fault}");
            }
            eprintln!("{role} --help tells what can be set");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let common = common(&settings);
    if flags.check_health {
        return check_health(role, common.listen);
    }
    if flags.verify {
        return verify(role, common.data_dir.as_deref());
    }
    let listener = match http::bind(common.listen, &common.limits) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!(
                "{role}: cannot listen on {}: {error}; choose another port with --port, or stop what uses it",
                common.listen
            );
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let epoch = logging::start(&common.log);
    http::raise_descriptor_limit();
    let served = listener.local_addr().map_err(|error| error.to_string()).and_then(|address| {
        let store = open_store(common.data_dir.as_deref())?;
        let (service, stop) = start(settings, address.port(), store, epoch)?;
        let server = Server::start(listener, common.limits, service).map_err(|error| error.to_string())?;
        log::info!("{} serves on http://{}", common.server_id, server.address());
        Ok((server, stop))
    });
    match served {
        Ok((server, stop)) => serve_until_told(&server, stop),
        Err(error) => {
            log::error!("cannot start: {error}");
            log::logger().flush();
            eprintln!("{role}: cannot start: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Asks the node that listens here whether it is alive, as the health check of a container does: it needs no other
/// program in the image, and knows the port in the same way as the node.
fn check_health(role: &str, listen: SocketAddr) -> ExitCode {
    let alive = NodeUrl::parse(&format!("http://{}", http::reachable(listen))).and_then(|node| {
        Peers::new(HEALTH_TIMEOUT, HEALTH_TIMEOUT).live(&node).map_err(|error| format!("{node} {error}"))
    });
    match alive {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{role}: not alive: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Reads and checks everything that a data directory holds.
fn verify(role: &str, data_dir: Option<&Path>) -> ExitCode {
    let Some(directory) = data_dir else {
        eprintln!("{role}: nothing is kept with DATA_DIR=memory, so there is nothing to verify");
        return ExitCode::from(EXIT_USAGE);
    };
    if !directory.is_dir() {
        eprintln!("{role}: there is no data directory {}", directory.display());
        return ExitCode::from(EXIT_USAGE);
    }
    match verification::verify(directory) {
        Ok(summary) => {
            println!("{}: {summary}", directory.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn open_store(data_dir: Option<&Path>) -> Result<Arc<dyn Store>, String> {
    match data_dir {
        Some(directory) => {
            let store = Disk::open(directory).map_err(|error| error.to_string())?;
            log::info!("the data is in {}", directory.display());
            Ok(store)
        }
        None => {
            log::warn!("nothing is kept: DATA_DIR is \"memory\", and what this node holds is gone when it ends");
            Ok(Arc::new(Memory::new()))
        }
    }
}

fn serve_until_told(server: &Server, stop: Box<dyn FnOnce()>) -> ExitCode {
    match shutdown::wait() {
        Ok(reason) => {
            log::info!("stopping because of {reason}");
            stop();
            server.stop();
            log::logger().flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("cannot watch for signals: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
