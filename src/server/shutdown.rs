//! Stopping as asked.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// Set for a node that must not outlive the process that started it: it stops when its standard input ends.
pub(crate) const STOP_WITH_PARENT: &str = "STOP_WITH_PARENT";

/// A signal that comes again within this time is the same wish: GNU `timeout` sends one to the process and one to its
/// group, and a terminal may send SIGHUP beside SIGTERM.
const SAME_WISH: Duration = Duration::from_secs(2);

/// The signals that ask this process to stop.
pub(crate) struct StopSignals(Signals);

/// From now on signals that ask for a stop are kept for [`StopSignals::wait`], and a file that reaches the size that this
/// process may write (`ulimit -f`) is an error of that write, and not the end of the process.
///
/// # Errors
/// If the system does not allow it.
pub(crate) fn watch() -> io::Result<StopSignals> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let hangup = (!is_hangup_ignored()).then_some(SIGHUP);
    Ok(StopSignals(Signals::new([SIGTERM, SIGINT].into_iter().chain(hangup))?))
}

impl StopSignals {
    /// Waits for a signal, or for the end of the process that started this one, and gives the name of what came. A signal
    /// that comes more than [`SAME_WISH`] later ends the process at once.
    pub(crate) fn wait(mut self) -> &'static str {
        if std::env::var_os(STOP_WITH_PARENT).is_some() {
            stop_with_parent(self.0.handle());
        }
        let reason = match self.0.forever().next() {
            Some(SIGTERM) => "SIGTERM",
            Some(SIGHUP) => "SIGHUP",
            Some(_) => "Ctrl-C",
            None => "the process that started this one ended",
        };
        let asked = Instant::now();
        let started = thread::Builder::new().name("impatience".to_owned()).spawn(move || {
            if self.0.forever().any(|_| asked.elapsed() > SAME_WISH) {
                log::warn!("stopped at once, as asked again");
                log::logger().flush();
                std::process::exit(130);
            }
        });
        if let Err(error) = started {
            log::warn!("a second signal will not make the stop shorter: no thread could be started: {error}");
        }
        reason
    }
}

fn stop_with_parent(handle: Handle) {
    let started = thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        handle.close();
    });
    if let Err(error) = started {
        log::warn!("this process will not stop with the one that started it: no thread could be started: {error}");
    }
}

/// Whether this process was started to survive the end of its terminal, as `nohup` does it.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (SIGHUP - 1) & 1 == 1))
}
